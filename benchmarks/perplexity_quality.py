"""What perplexity says of quality: human labels of TQ-IS, DCLM and HPLT, by models counted here, with 95 % bootstrap intervals.

    DOLMA_PY_DATA=<folder> python -m benchmarks.perplexity_quality [--only tq-is dclm hplt]

Every document is scored by models that have not seen it: five folds by hash of the text; a document's models are counted on the texts of
three other folds, and a threshold, where one is needed, is chosen on the fourth. "one model": perplexity under a model of good texts;
"two models": log10 probability per token under it minus that under a model of bad texts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
import zstandard

from dolma_py.arrow_buffers import TextView, view_text
from taggers.classifier_figures import area_under_curve
from taggers.language_model import load_model, score_texts
from taggers.language_model_tokens import LanguageModelText
from taggers.language_model_training import LanguageModelConfig, train_language_model

FOLDS = 5
RESAMPLES = 1000
WORDS = LanguageModelConfig(order=3)
CHARACTERS = LanguageModelConfig(order=6, text=LanguageModelText(tokens="characters"))
Floats = npt.NDArray[np.float64]


class Labelled(NamedTuple):
    """Texts with labels."""

    texts: list[str]
    good: npt.NDArray[np.bool_]
    groups: list[str]  # models are counted for each by itself: languages
    more: dict[str, list[str]] = {}  # group -> texts without labels, for every model of good texts


def main() -> None:
    readers = {"tq-is": ("TQ-IS", read_tqis), "dclm": ("DCLM", read_dclm), "hplt": ("HPLT, natural", read_hplt)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", choices=list(readers), default=list(readers), help="sets")
    data = Path(os.environ["DOLMA_PY_DATA"])
    sets = [readers[key] for key in parser.parse_args().only]
    print("| set | models | texts (good) | AUC | F1 of the good |\n|---|---|---|---|---|")
    for name, read in sets:
        labelled = read(data)
        for models, config in (("words, order 3", WORDS), ("characters, order 6", CHARACTERS)):
            for kind in ("one model", "two models"):
                print(
                    f"| {name} | {kind}: {models} | {describe(labelled, config, two=kind == 'two models')} |",
                    flush=True,
                )
        every = np.ones(len(labelled.good), np.bool_)
        print(f"| {name} | keep everything | | | {f1_score(every, labelled.good):.3f} |")


def describe(labelled: Labelled, config: LanguageModelConfig, *, two: bool) -> str:
    """The cells of one row: texts, AUC, F1."""
    scores, kept = cross_fit(labelled, config, two=two)
    auc = find_interval(len(kept), lambda rows: within_groups(labelled, scores, rows))
    f1 = find_interval(len(kept), lambda rows: f1_score(kept[rows], labelled.good[rows]))
    return f"{len(kept)} ({int(labelled.good.sum())}) | {auc} | {f1}"


def cross_fit(labelled: Labelled, config: LanguageModelConfig, *, two: bool) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(score, kept) of each text, higher is better, by models and thresholds that have not seen it."""
    folds = np.array([xxhash.xxh64_intdigest(text.encode()) % FOLDS for text in labelled.texts])
    groups = np.array(labelled.groups)
    scores, kept = np.zeros(len(folds)), np.zeros(len(folds), np.bool_)
    for fold in range(FOLDS):
        chosen = folds == (fold + 1) % FOLDS  # for the threshold
        seen = ~chosen & (folds != fold)
        held = np.zeros(len(folds))  # scores of the fold and of the one that the threshold comes from
        for group in sorted(set(labelled.groups)):
            rows = np.flatnonzero((groups == group) & ~seen)
            base = seen & (groups == group)
            good = [labelled.texts[row] for row in np.flatnonzero(base & labelled.good)] + labelled.more.get(group, [])
            held[rows] = score_under(good, [labelled.texts[row] for row in rows], config)
            bad = [labelled.texts[row] for row in np.flatnonzero(base & ~labelled.good)]
            if two and bad:
                held[rows] -= score_under(bad, [labelled.texts[row] for row in rows], config)
        tested = folds == fold
        scores[tested] = held[tested]
        kept[tested] = held[tested] >= best_threshold(held[chosen], labelled.good[chosen])
    return scores, kept


def score_under(training: list[str], texts: list[str], config: LanguageModelConfig) -> Floats:
    """log10 probability per token of texts under a model of others: minus the logarithm of perplexity."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.lm")
        train_language_model([view(training)], output_path=path, config=config)
        found = score_texts(load_model(path), view(texts))
        load_model.cache_clear()
    return found.log_probs / np.maximum(found.num_tokens + found.num_units, 1)


def view(texts: list[str]) -> TextView:
    return view_text(pa.array(texts, pa.large_string()))


def best_threshold(scores: Floats, good: npt.NDArray[np.bool_]) -> float:
    """The one of the scores from which on F1 of the good is best."""
    found = [(f1_score(scores >= score, good), score) for score in scores]
    return float(max(found)[1])


def f1_score(kept: npt.NDArray[np.bool_], good: npt.NDArray[np.bool_]) -> float:
    return float(2 * (kept & good).sum() / max(int(kept.sum() + good.sum()), 1))


def within_groups(labelled: Labelled, scores: Floats, rows: npt.NDArray[np.int64]) -> float:
    """AUC over pairs of one group, groups weighed by their pairs."""
    groups = np.array(labelled.groups)[rows]
    total = pairs = 0.0
    for group in set(groups.tolist()):
        own = rows[groups == group]
        good, bad = scores[own[labelled.good[own]]], scores[own[~labelled.good[own]]]
        weight = float(len(good) * len(bad))
        if weight:
            total += weight * area_under_curve(good.astype(np.float32), bad.astype(np.float32))
            pairs += weight
    return total / max(pairs, 1.0)


def find_interval(num_rows: int, measure: Callable[[Any], float]) -> str:
    """A figure and the middle 95 % of what it is over resampled rows."""
    generator = np.random.Generator(np.random.PCG64(1))
    found = [measure(generator.integers(0, num_rows, num_rows)) for _ in range(RESAMPLES)]
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{measure(np.arange(num_rows)):.3f} ({low:.3f}-{high:.3f})"


def read_tqis(data: Path) -> Labelled:
    rows = [json.loads(line) for line in (data / "quality" / "tq_is.jsonl").read_text().splitlines()]
    return Labelled([row["text"] for row in rows], np.array([row["label"] == 1 for row in rows]), ["is"] * len(rows))


def read_dclm(data: Path) -> Labelled:
    rows = [json.loads(line) for line in (data / "quality" / "dclm_human.jsonl").read_text().splitlines()]
    pages = [row["text"] for row in read_pool(data / "pool" / "web", "web_c4_sample")]
    good = np.array([row["label"] == 1 for row in rows])
    return Labelled([row["text"] for row in rows], good, ["en"] * len(rows), {"en": pages})


def read_hplt(data: Path) -> Labelled:
    """Texts that all annotators judged alike and that are not blank, as benchmarks.classifier_quality reads them."""
    with gzip.open(data / "quality" / "hplt_human.jsonl.gz", "rt") as stream:
        rows = [json.loads(line) for line in stream]
    seen = {row["id"] for row in rows}
    rows = [row for row in rows if row["unnatural"] in (0, 1) and row["text"].strip()]
    more = defaultdict(list)
    for row in read_pool(data / "pool" / "multilingual", "web_hplt_v2"):
        if row["metadata"]["hplt_id"] not in seen:
            more[row["metadata"]["hplt_lang"]].append(row["text"])
    good = np.array([row["unnatural"] == 0 for row in rows])
    return Labelled([row["text"] for row in rows], good, [row["lang"] for row in rows], dict(more))


def read_pool(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob(f"{name}-*.jsonl.zst")):
        with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
            for line in stream.read().splitlines():
                yield json.loads(line)


if __name__ == "__main__":
    main()
