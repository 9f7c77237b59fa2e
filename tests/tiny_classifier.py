"""A classifier of two labels from texts at hand, for tests of what reads models."""

import tempfile
from pathlib import Path
from typing import Any

import orjson

from taggers.labelled_texts import ExampleSource
from taggers.train_classifier import FastTextOptions
from taggers.train_labels import TrainLabelsConfig, train_labels


def train_two(
    positives: list[str],
    negatives: list[str],
    *,
    output_path: str,
    seed: int,
    labels: tuple[str, str] = ("hq", "cc"),
    **options: Any,
) -> dict[str, Any]:
    """Train by taggers.train_labels and return the card; `options` are of fastText."""
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for label, texts in zip(labels, (positives, negatives), strict=True):
            path = Path(folder) / f"{label}.jsonl"
            path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
            sources.append(ExampleSource(name=label, inputs=["{folder}/" + path.name], label=label))
        config = TrainLabelsConfig(examples=sources, classifier=FastTextOptions(**options), positive_label=labels[0])
        card, _ = train_labels(config, output_path=output_path, seed=seed, folder=folder)
    return card
