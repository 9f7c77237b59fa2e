"""Train a fastText quality classifier from files of good and bad text, read on the driver; megabytes suffice.

The trainer is that of `classifier train` without a corpus (taggers.train_labels). Writes runs/<recipe>/<step>/<name>.bin, its card and the
picture of its calibration, and names the model as an artifact for the tagger `quality`.

    spark-submit pipelines/train_classifier.py --config classifier.yaml
"""

from __future__ import annotations

import logging
import sys
from collections import Counter

from pydantic import Field, model_validator

from dolma_py import config, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.input_files import describe_left_out
from pipelines.steps import StepContext, StepResult, expand_inputs
from taggers.labelled_texts import ExampleSource
from taggers.train_classifier import FastTextOptions
from taggers.train_labels import TrainLabelsConfig, quantized_path, train_labels

logger = logging.getLogger("dolma_py.build")

# 2: its manifest names no view; 3: and counts the examples that could not be read; 4: n-grams repeat; 5: the trainer of labels
VERSION = 5
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
    positive_label: str = Field(default="hq", pattern=r"^\w+$", description="label of the good texts; DCLM: hq")
    negative_label: str = Field(default="cc", pattern=r"^\w+$", description="label of the bad ones; DCLM: cc")
    max_docs: int = Field(
        default=4000, ge=10, description="documents of each side: those with the smallest hash of their text"
    )
    max_text_bytes: int = Field(default=4000, ge=100, description="of each document, its first bytes are read")
    target_precision: float = Field(
        default=0.9, gt=0, le=1, description="precision for which the card suggests a threshold"
    )
    quantize: bool = Field(default=False, description="write a quantised model (.ftz) too, as artifact NAME_quantized")
    classifier: FastTextOptions = Field(default=FastTextOptions(), description="of fastText")

    @model_validator(mode="after")
    def _check_labels(self) -> TrainClassifierConfig:
        if self.positive_label == self.negative_label:
            raise ValueError("positive_label and negative_label must differ")
        return self


def fingerprint_inputs(corpus: Corpus, settings: TrainClassifierConfig) -> str:
    """Of the example files."""
    marks = []
    for key, patterns in (("positives", settings.positives), ("negatives", settings.negatives)):
        for info in expand_inputs(patterns, corpus=corpus, key=key).files:
            marks.append([info.path.removeprefix(corpus.root), storage.fingerprint_input(info.path, info.num_bytes)])
    return config.fingerprint(marks)


def run(context: StepContext, settings: TrainClassifierConfig) -> StepResult:
    """Read, train, measure; write model, card and picture."""
    for key, patterns in (("positives", settings.positives), ("negatives", settings.negatives)):
        found = expand_inputs(patterns, corpus=context.corpus, key=context.setting_key(key))
        if found.left_out:
            logger.warning("%s: %s", key, describe_left_out(found.left_out))
    path = f"{context.folder}/{settings.name}.bin"
    storage.make_folder(context.corpus.path(context.folder))
    card, _ = train_labels(
        labels_config(settings),
        output_path=context.corpus.path(path),
        seed=context.seed,
        folder=context.corpus.root,
        replace=True,  # the step's folder is its own
    )
    unreadable: Counter[str] = Counter()  # by reason
    for source in card["data"]["sources"].values():
        for key, count in source["counts"].items():
            if key.startswith("unreadable:"):
                unreadable[key.removeprefix("unreadable:")] += count
    if unreadable:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(unreadable.items()))
        logger.warning("examples: %d records could not be read (%s)", unreadable.total(), reasons)
    artifacts = {
        settings.name: path,
        f"{settings.name}_card": f"{path}.card.json",
        f"{settings.name}_calibration": f"{path}.calibration.svg",
    }
    if settings.quantize:
        artifacts[f"{settings.name}_quantized"] = quantized_path(path)
    return StepResult(
        artifacts=artifacts, facts={"card": card, "unreadable_examples": dict(sorted(unreadable.items()))}
    )


def labels_config(settings: TrainClassifierConfig) -> TrainLabelsConfig:
    """Two sources of one label each; {folder} stands for the corpus folder, so that the card names no place of this machine."""
    sides = [
        ("positives", settings.positives, settings.positives_where, settings.positive_label),
        ("negatives", settings.negatives, settings.negatives_where, settings.negative_label),
    ]
    sources = [
        ExampleSource(
            name=name,
            inputs=[pattern.replace("{corpus}", "{folder}") for pattern in patterns],
            where=where,
            label=label,
            max_docs=settings.max_docs,
            max_text_bytes=settings.max_text_bytes,
        )
        for name, patterns, where, label in sides
    ]
    return TrainLabelsConfig(
        examples=sources,
        classifier=settings.classifier,
        positive_label=settings.positive_label,
        target_precision=settings.target_precision,
        quantize=settings.quantize,
    )


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("train_classifier", argv)


if __name__ == "__main__":
    sys.exit(main())
