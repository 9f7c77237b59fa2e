"""Where the language tagger's numbers come from: thresholds chosen on one half and told on the other, and pages that begin in another language.

    DOLMA_PY_DATA=<folder> python -m benchmarks.language_thresholds [--model lid.176.ftz] [--first first.bin] [--documents 20000]

Three tables. With --first: the threshold of the first model, chosen on every other sentence of Lingua's test set, and the accuracy of all
detectors on the other half alone. Then `lang == "en" and lang_score >= t` for several t: which share of English texts it keeps and of others it
lets through, on Lingua's sentences and on web pages of the pool whose language HPLT's detector told (which is wrong at times). Then made
pages: a kilobyte of one language before twenty of another, as pages with navigation are, by how much of a text the detector reads.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.language_accuracy import SAME, ask, list_detectors, read_documents, read_test, score, wilson
from taggers.registry import build_tagger

CHOICES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
THRESHOLDS = (0.0, 0.3, 0.5, 0.65, 0.8, 0.9)
READS = {
    "first 1,000 bytes": {"pieces": 1, "max_bytes": 1000},
    "three pieces of 333 bytes": {"pieces": 3, "max_bytes": 1000},
    "all": {"max_bytes": 0},
}


def print_choice(folder: Path, models: list[str], first: str | None) -> None:
    """The first model's threshold chosen on sentences 0, 2, 4 ... of each language; accuracies on the others."""
    rows: dict[str, list[str]] = collections.defaultdict(list)
    for row in read_test(folder):
        if row["kind"] == "sentences":
            rows[row["lang"]].append(row["text"])
    halves = [[(lang, text) for lang, texts in rows.items() for text in texts[half::2]] for half in (0, 1)]
    detectors = list_detectors(models, first)
    for name, options in detectors.items():
        best = {}
        if "first_model_path" in options:
            means = {t: _mean(options | {"first_min_score": t}, halves[0])[0] for t in CHOICES}
            best = {"first_min_score": max(CHOICES, key=means.__getitem__)}
            shown = ", ".join(f"{t:g} {100 * mean:.2f}" for t, mean in means.items())
            print(f"  {name}: on the half that chooses {shown}; chosen {best['first_min_score']:g}")
        mean, right = _mean(options | best, halves[1])
        low, high = wilson(right, len(halves[1]))
        print(f"| {name} | {100 * mean:.1f} ({100 * low:.1f} - {100 * high:.1f}) of {len(halves[1])} |", flush=True)


def _mean(options: dict[str, Any], rows: list[tuple[str, str]]) -> tuple[float, int]:
    found, _ = ask(options, [text for _, text in rows])
    _, mean, right = score([lang for lang, _ in rows], found)
    return mean, right


def print_english(name: str, options: dict[str, Any], what: str, rows: list[tuple[str, str]]) -> None:
    """One line: kept share of English texts and of others at each threshold."""
    tagger = build_tagger("language", options)
    texts = pa.array([text for _, text in rows], pa.large_string())
    found = tagger.tag(pa.record_batch({"text": texts}))
    is_english = np.array([lang == "en" for lang, _ in rows])
    says = np.array([lang == "en" for lang in found.column("lang").to_pylist()])
    scores = np.nan_to_num(found.column("lang_score").to_numpy(zero_copy_only=False), nan=0.0)
    cells = []
    for threshold in THRESHOLDS:
        kept = says & (scores >= threshold)
        cells.append(f"{100 * kept[is_english].mean():.1f} / {100 * kept[~is_english].mean():.2f}")
    print(f"| {name} | {what} ({is_english.sum()} / {(~is_english).sum()}) | {' | '.join(cells)} |", flush=True)


def print_beginnings(folder: Path, models: list[str]) -> None:
    """Pages whose first kilobyte is in English and the rest in another language, and the other way round."""
    by_lang: dict[str, list[str]] = collections.defaultdict(list)
    for row in read_test(folder):
        if row["kind"] == "sentences":
            by_lang[row["lang"]].append(row["text"].replace("\n", " "))
    pages, wanted = [], []
    others = [lang for lang in ("de", "fr", "es", "ru", "zh", "pl", "it", "pt", "tr", "vi") if lang in by_lang]
    for lang, start in itertools.product(others, range(0, 200, 10)):
        for before, after in (("en", lang), (lang, "en")):
            head = " ".join(by_lang[before][start : start + 20]).encode()[:1100].decode("utf-8", "ignore")
            body = " ".join(by_lang[after][start : start + 300]).encode()[:20_000].decode("utf-8", "ignore")
            pages.append(f"{head}\n\n{body}")
            wanted.append(after)
    kinds: dict[str, dict[str, Any]] = {"py3langid": {}}
    kinds |= {Path(path).name: {"detector": "fasttext", "model_path": path} for path in models}
    print(
        f"\n{len(pages)} made pages, a kilobyte of one language before some 20 of another\n| detector | reads | right | pages/s |"
    )
    for (name, options), (told, reads) in itertools.product(kinds.items(), READS.items()):
        begin = time.process_time()
        found, _ = ask(options | reads, pages)
        seconds = time.process_time() - begin
        right = sum(SAME.get(lang, lang) == truth for lang, truth in zip(found, wanted, strict=True))
        low, high = wilson(right, len(pages))
        print(
            f"| {name} | {told} | {100 * right / len(pages):.1f} ({100 * low:.1f} - {100 * high:.1f}) | {len(pages) / seconds:.0f} |"
        )


def main() -> None:
    """The three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", action="append", default=[], help="fastText language model; may be given again")
    parser.add_argument("--first", help="fastText model of languages that the others lack")
    parser.add_argument("--documents", type=int, default=20_000, help="of the pool, at most")
    arguments = parser.parse_args()
    folder = Path(os.environ["DOLMA_PY_DATA"])
    print("Lingua's sentences, the half that chose nothing: mean accuracy over languages")
    print_choice(folder, arguments.model, arguments.first)
    sentences = [(row["lang"], row["text"]) for row in read_test(folder) if row["kind"] == "sentences"]
    chosen = (row for row in read_documents(folder) if row[0] == "web_hplt_v2")
    pages = [(lang, text) for _, lang, text in itertools.islice(chosen, arguments.documents)]
    print('\nlang == "en" and lang_score >= t: % of English texts kept / % of others let through')
    print(f"| detector | texts | {' | '.join(f't = {t:g}' for t in THRESHOLDS)} |")
    kinds: dict[str, dict[str, Any]] = {"py3langid": {}}
    kinds |= {Path(path).name: {"detector": "fasttext", "model_path": path} for path in arguments.model}
    for name, options in kinds.items():
        print_english(name, options, "Lingua's sentences", sentences)
        print_english(name, options, "HPLT's pages", pages)
    print_beginnings(folder, arguments.model)


if __name__ == "__main__":
    main()
