"""Train a fastText quality classifier from files of good and bad text, read on the driver; megabytes suffice.

Writes runs/<recipe>/<step>/<name>.bin and its card, and names the model as an artifact for the tagger `quality`.

    spark-submit pipelines/train_classifier.py --config classifier.yaml
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
from pydantic import Field

from dolma_py import config, hashing, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.formats import FieldMap, Limits, Rejection, read_any
from dolma_py.input_files import describe_left_out
from pipelines.steps import StepContext, StepResult, expand_inputs
from taggers.labelled_texts import cut_text
from taggers.train_classifier import ClassifierConfig, train_classifier

logger = logging.getLogger("dolma_py.build")

VERSION = 4  # 2: its manifest names no view; 3: and counts the examples that could not be read; 4: n-grams repeat
READS_VIEW = False  # files of good and bad text alone: it gets no view and leaves none


class TrainClassifierConfig(Config):
    """Where the examples are, and the classifier's settings."""

    name: str = Field(default="quality", pattern=r"^[a-z0-9_-]+$", description="of the artifact and the model file")
    positives: list[str] = Field(
        min_length=1, description="files, folders and globs of good text; {corpus} is the corpus folder"
    )
    negatives: list[str] = Field(min_length=1, description="the same for bad text")
    positives_where: dict[str, str] = Field(default_factory=dict, description="metadata that a good document must have")
    negatives_where: dict[str, str] = Field(default_factory=dict, description="metadata that a bad document must have")
    max_docs: int = Field(
        default=4000, ge=10, description="documents of each side: those with the smallest hash of their id"
    )
    max_text_bytes: int = Field(default=4000, ge=100, description="of each document, its first bytes are read")
    classifier: ClassifierConfig = Field(default=ClassifierConfig(), description="of fastText")


def fingerprint_inputs(corpus: Corpus, settings: TrainClassifierConfig) -> str:
    """Of the example files."""
    marks = []
    for key, patterns in (("positives", settings.positives), ("negatives", settings.negatives)):
        for info in expand_inputs(patterns, corpus=corpus, key=key).files:
            marks.append([info.path.removeprefix(corpus.root), storage.fingerprint_input(info.path, info.num_bytes)])
    return config.fingerprint(marks)


def run(context: StepContext, settings: TrainClassifierConfig) -> StepResult:
    """Read, train, write model and card."""
    unreadable: Counter[str] = Counter()  # by reason
    sides = [
        read_examples(context, "positives", settings, unreadable),
        read_examples(context, "negatives", settings, unreadable),
    ]
    if unreadable:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(unreadable.items()))
        logger.warning("examples: %d records could not be read (%s)", unreadable.total(), reasons)
    path = f"{context.folder}/{settings.name}.bin"
    storage.make_folder(context.corpus.path(context.folder))
    card = train_classifier(
        *sides, output_path=context.corpus.path(path), seed=context.seed, config=settings.classifier
    )
    return StepResult(
        artifacts={settings.name: path, f"{settings.name}_card": f"{path}.card.json"},
        facts={"card": card, "unreadable_examples": dict(sorted(unreadable.items()))},
    )


def read_examples(
    context: StepContext, side: str, settings: TrainClassifierConfig, unreadable: Counter[str]
) -> list[str]:
    """The first bytes of the `max_docs` documents with the smallest hash, in that order; adds to `unreadable`.

    side: "positives" or "negatives".
    """
    patterns: list[str] = getattr(settings, side)
    where: dict[str, str] = getattr(settings, f"{side}_where")
    rows: list[tuple[int, str]] = []
    for batch in _read_batches(context.corpus, patterns, unreadable):
        if where:
            metadata = [orjson.loads(values) if values else {} for values in batch.column("metadata").to_pylist()]
            matches = [all(values.get(key) == value for key, value in where.items()) for values in metadata]
            batch = batch.filter(pa.array(matches, pa.bool_()))
        order = hashing.hash_ids(batch.column("id"), seed=context.seed, name=f"classifier:{settings.name}")
        texts = batch.column("text").to_pylist()
        rows.extend((int(key), cut_text(text, settings.max_text_bytes)) for key, text in zip(order, texts, strict=True))
        rows = sorted(rows)[: settings.max_docs]
    if len(rows) < 2:
        raise ConfigError(context.setting_key(side), patterns, f"expected at least 2 documents, they have {len(rows)}")
    return [text for _, text in rows]


def _read_batches(corpus: Corpus, patterns: list[str], unreadable: Counter[str]) -> Iterator[pa.RecordBatch]:
    found = expand_inputs(patterns, corpus=corpus)
    if found.left_out:
        logger.warning("examples: %s", describe_left_out(found.left_out))
    for info in found.files:
        items: Any = read_any(
            info.path,
            source="examples",
            limits=Limits(),
            fields=FieldMap(),
            added=None,
            open_stream=storage.open_read,
            root=corpus.root,
        )
        for item in items:
            if isinstance(item, Rejection):
                unreadable[item.reason] += 1
            else:
                yield item


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("train_classifier", argv)


if __name__ == "__main__":
    sys.exit(main())
