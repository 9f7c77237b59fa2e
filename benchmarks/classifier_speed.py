"""fastText inference beside the library's, and documents per second through the whole web chain: rules, language, quality, topic.

    DOLMA_PY_DATA=<folder> python -m benchmarks.classifier_speed --lid lid.176.ftz [--megabytes 16] [--buckets 2000000] [--whole] [--lingua PYTHON]

Trains on documents of <folder>/pool, in a temporary folder: `words` (one row a word), `quality` (word 2-grams, 2 labels) and `topic` (word
2-grams, 24 labels), all of 100 dimensions with --buckets rows of word n-grams, as many as fastText has by default; and `quality` quantised.
What they answer is of no use: the speed is that of models of that size. Then prints

models  MB/s of one core by CPU time, ours and the library's by turns over the same documents, and where they differ: labels, and the largest
        difference of a probability. --whole: differences over every document of the pool, not over the timed ones.
chain   pages of 2 kB, cut from English documents: milliseconds of each tagger and documents per second per core of all, from Arrow batches to
        attributes, every rule on every document; then as the recipe runs it with short_circuit, over the pool's documents of all languages.
Lingua  texts per second of its 75 languages over the sentences of <folder>/langid, and ours over the same, in one run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa

from benchmarks.language_accuracy import ask, ask_lingua
from benchmarks.minhash_signatures import read_pool
from dolma_py.arrow_buffers import TextView, build_text
from pipelines.short_circuit import ShortCircuit
from taggers.fasttext_model import load_model, normalize_text, score_texts
from taggers.registry import build_tagger
from taggers.web_filter import PRESETS

PAGE_BYTES = 2000
NUM_TOPICS = 24
ROUNDS = 3


def cpu_sec(action: Any) -> float:
    begin = time.process_time()
    action()
    return time.process_time() - begin


def list_texts(view: TextView) -> list[str]:
    bounds = view.offsets
    return [view.data[bounds[i] : bounds[i + 1]].tobytes().decode() for i in range(len(bounds) - 1)]


def train_models(texts: list[str], folder: Path, num_buckets: int) -> dict[str, str]:
    """Paths by name; labels follow from what a document starts with, so that there is something to learn."""
    paths = {}
    for name, labels, ngrams in (("words", 2, 1), ("quality", 2, 2), ("topic", NUM_TOPICS, 2)):
        lines = [
            f"__label__t{sum(map(ord, text[:40])) % labels} {normalize_text(text)[:4000]}\n"
            for text in texts
            if text.strip()
        ]
        (folder / "train.txt").write_text("".join(lines), encoding="utf-8")
        # fewer than 11 threads leave most of the matrix as the memory was
        model = fasttext.train_supervised(
            str(folder / "train.txt"), dim=100, epoch=1, wordNgrams=ngrams, bucket=num_buckets, thread=16, verbose=0
        )
        paths[name] = str(folder / f"{name}.bin")
        model.save_model(paths[name])
        if name == "quality":
            model.quantize(str(folder / "train.txt"), cutoff=200_000, retrain=False, qnorm=True)
            paths["quality.ftz"] = str(folder / "quality.ftz")
            model.save_model(paths["quality.ftz"])
    return paths


def compare(path: str, view: TextView, checked: TextView) -> str:
    """Speeds by turns, then differences."""
    model = load_model(path)
    texts = [normalize_text(text) for text in list_texts(view)]
    bounds = view.offsets[:-1], view.offsets[1:]
    score_texts([model], view.data, bounds[0][:8], bounds[1][:8])
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(cpu_sec(lambda: score_texts([model], view.data, *bounds)))
        theirs.append(cpu_sec(lambda: model.model.predict(texts, k=1)))
    (found,) = score_texts([model], checked.data, checked.offsets[:-1], checked.offsets[1:])
    names, values = model.model.predict([normalize_text(text) for text in list_texts(checked)], k=1)
    mine = [f"__label__{model.labels[label]}" if label >= 0 else None for label in found.best.tolist()]
    wrong = sum(label != (its[0] if its else None) for label, its in zip(mine, names, strict=True))
    shares = found.logs[np.arange(len(mine)), found.best]
    worst = max(
        abs(float(np.exp(share)) - float(its[0])) for share, its in zip(shares, values, strict=True) if len(its)
    )
    size = len(view.data) / 1e6
    return (
        f"{size / median(ours):8.1f} {size / median(theirs):8.1f} {median(theirs) / median(ours):6.2f}   "
        f"{wrong} of {len(mine)} labels differ, largest difference {worst:.1e}"
    )


def cut_pages(view: TextView) -> TextView:
    """Pages of about 2 kB, cut at line ends or else at blanks."""
    pages = []
    for text in list_texts(view):
        data = text.encode()
        while len(data) >= PAGE_BYTES:
            cut = (
                max(data.rfind(b"\n", PAGE_BYTES // 2, PAGE_BYTES), 0)
                or max(data.rfind(b" ", 0, PAGE_BYTES), 0)
                or len(data)
            )
            pages.append(data[:cut])
            data = data[cut + 1 :]
    sizes = np.cumsum([0, *map(len, pages)]).astype(np.int64)
    return TextView(np.frombuffer(b"".join(pages), np.uint8), sizes)


def make_batches(view: TextView, rows: int = 2048) -> list[pa.RecordBatch]:
    num_docs = len(view.offsets) - 1
    columns = {
        "id": pa.array([str(row) for row in range(num_docs)]),
        "source": pa.array(["web"] * num_docs),
        "text": build_text(view.data, view.offsets),
    }
    return pa.Table.from_pydict(columns).to_batches(max_chunksize=rows)


def print_chain(view: TextView, english: TextView, lid: str, paths: dict[str, str]) -> None:
    preset = PRESETS["olmo3-web"]
    taggers = {
        "olmo3-web-v1": build_tagger("web-filter", {"preset": "olmo3-web"}),
        "language-v3": build_tagger("language", {"detector": "fasttext", "model_path": lid}),
        "classifiers-v1": build_tagger(
            "classifiers", {"model_paths": [paths["quality"], paths["topic"]], "columns": ["quality:t0", "topic"]}
        ),
    }
    batches = make_batches(english)
    rows = len(english.offsets) - 1
    for tagger in taggers.values():
        tagger.tag(batches[0].slice(0, 8))
    print(f"\nchain: {rows} pages, mean {len(english.data) / rows:.0f} bytes; microseconds a page, median of {ROUNDS}")
    total = []
    times: dict[str, list[float]] = {name: [] for name in taggers}
    for _ in range(ROUNDS):
        for name, tagger in taggers.items():
            times[name].append(cpu_sec(lambda tagger=tagger: [tagger.tag(batch) for batch in batches]))
        total.append(sum(its[-1] for its in times.values()))
    for name, its in times.items():
        print(f"  {name:20s} {1e6 * median(its) / rows:7.1f}")
    print(f"  every rule on every page: {rows / median(total):8.0f} pages/s per core")
    # sentence rules stand behind the language rule in the recipe; here they come with the filter's other parts
    rules: list[dict[str, Any]] = [
        {"name": rule.name, "attributes": "olmo3-web-v1", "keep": rule.expression} for rule in preset.rules
    ]
    rules.append({"name": "english", "attributes": "language-v3", "keep": 'lang == "en" and lang_score >= 0.65'})
    for title, texts in (("the same pages", english), ("pages of the whole pool", view)):
        its_batches = make_batches(texts)
        its_rows = len(texts.offsets) - 1
        circuit = ShortCircuit(rules, seed=1, whole_frac=0.01)
        made = [circuit.tag(taggers, batch) for batch in its_batches]
        reached = sum(batch["classifiers-v1"].num_rows - batch["classifiers-v1"].column(0).null_count for batch in made)
        its = [
            cpu_sec(
                lambda its_batches=its_batches, circuit=circuit: [circuit.tag(taggers, batch) for batch in its_batches]
            )
            for _ in range(ROUNDS)
        ]
        print(
            f"  short-circuited, {title}: {its_rows / median(its):8.0f} pages/s per core; {its_rows} pages, "
            f"mean {len(texts.data) / its_rows:.0f} bytes, "
            f"{100 * reached / its_rows:.1f} % reach the classifiers"
        )


def print_lingua(folder: Path, lingua: str, lid: str) -> None:
    with gzip.open(folder / "langid" / "lingua_testdata.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    texts = [row["text"] for row in rows if row["kind"] == "sentences"][::7]
    _, theirs = ask_lingua(lingua, texts)
    print(f"\nsentences: {len(texts)}; texts/s: Lingua {len(texts) / theirs:.0f}")
    for name, options in (("langid", {}), (Path(lid).name, {"detector": "fasttext", "model_path": lid})):
        seconds = median(ask(options, texts)[1] for _ in range(ROUNDS))
        print(f"  {name:14s} {len(texts) / seconds:9.0f}, {theirs / seconds:5.1f} times Lingua's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lid", required=True, help="fastText language model")
    parser.add_argument(
        "--model", action="append", default=[], help="another model to compare with the library; may be given again"
    )
    parser.add_argument("--megabytes", type=float, default=16)
    parser.add_argument("--buckets", type=int, default=2_000_000)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--lingua", help="interpreter with lingua-language-detector")
    arguments = parser.parse_args()
    data = Path(os.environ["DOLMA_PY_DATA"])
    view = read_pool(data, int(arguments.megabytes * 1e6))
    checked = read_pool(data, 10**12) if arguments.whole else view
    texts = list_texts(view)
    english = [text for text in texts if text.isascii()]
    pages = cut_pages(view)
    sizes = np.cumsum([0, *map(len, english)]).astype(np.int64)
    english_pages = cut_pages(TextView(np.frombuffer("".join(english).encode(), np.uint8), sizes))
    with tempfile.TemporaryDirectory() as folder:
        paths = train_models(texts, Path(folder), arguments.buckets)
        print(f"models: {len(view.data) / 1e6:.1f} MB, {len(texts)} documents; MB/s ours, library, ratio")
        for name, path in [
            *paths.items(),
            (Path(arguments.lid).name, arguments.lid),
            *((Path(path).name, path) for path in arguments.model),
        ]:
            print(f"  {name:14s} {compare(path, view, checked)}", flush=True)
        print_chain(pages, english_pages, arguments.lid, paths)
    if arguments.lingua:
        print_lingua(data, arguments.lingua, arguments.lid)


if __name__ == "__main__":
    main()
