"""How far a small fastText model tells rejected answers from chosen ones: the nearest to a labelled toxic set that lies in the sample data.

    DOLMA_PY_DATA=<folder> python -m benchmarks.toxicity_quality

Pairs of hh-rlhf (harmless-base, test): of two answers to one prompt people preferred one as less harmful. That is no label of toxic text:
both answers may be harmless, or both harmful, so the figures say little of Jigsaw's models, which no sample here can measure. Five folds
by hash of the prompt; the model has not seen the prompt. "pairs": share of pairs whose rejected answer scores higher, ties half;
intervals by 1,000 bootstrap samples of pairs. The tagger's own text splitting and spans are tested, not measured here.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import xxhash

from benchmarks.perplexity_quality import FOLDS, find_interval
from taggers.classifier_figures import area_under_curve
from taggers.fasttext_model import load_model, normalize_text, predict_label
from taggers.train_classifier import FastTextOptions, train_model

OPTIONS = FastTextOptions(epochs=10, learning_rate=0.3)


def main() -> None:
    path = Path(os.environ["DOLMA_PY_DATA"]) / "posttrain" / "hh_harmless_a.jsonl.gz"
    with gzip.open(path, "rt") as stream:
        rows = [json.loads(line) for line in stream]
    pairs = [(prompt_of(row), reply_of(row["chosen"]), reply_of(row["rejected"])) for row in rows]
    folds = np.array([xxhash.xxh64_intdigest(prompt.encode()) % FOLDS for prompt, _, _ in pairs])
    scores = np.zeros((len(pairs), 2), np.float32)
    for fold in range(FOLDS):
        seen = [pairs[row] for row in np.flatnonzero(folds != fold)]
        asked = np.flatnonzero(folds == fold)
        with tempfile.TemporaryDirectory() as folder:
            path_of_model = os.path.join(folder, "model.bin")
            training = {"toxic": [row[2] for row in seen], "non_toxic": [row[1] for row in seen]}
            training = {label: list(map(normalize_text, texts)) for label, texts in training.items()}
            train_model(training, folder, 1, OPTIONS).save_model(path_of_model)
            model = load_model(path_of_model)
            for side in (0, 1):
                scores[asked, side] = predict_label(model, [pairs[row][1 + side] for row in asked], label="toxic")
            load_model.cache_clear()
    scores = np.nan_to_num(scores, nan=0.5)
    auc = find_interval(len(pairs), lambda rows: area_under_curve(scores[rows, 1], scores[rows, 0]))
    right = (scores[:, 1] > scores[:, 0]) + 0.5 * (scores[:, 1] == scores[:, 0])
    print(
        f"| pairs | AUC | pairs told apart |\n|---|---|---|\n| {len(pairs)} | {auc} | {find_interval(len(pairs), lambda rows: right[rows].mean())} |"
    )


def prompt_of(row: dict[str, str]) -> str:
    """What both answers answer."""
    return os.path.commonprefix([row["chosen"], row["rejected"]]).rpartition("\n\nAssistant:")[0]


def reply_of(conversation: str) -> str:
    """The last answer."""
    return conversation.rpartition("\n\nAssistant:")[2].strip()


if __name__ == "__main__":
    main()
