"""Quality and topic as fastText models see them: P(label) of the whole document, or the best label; several models in one pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.errors import ConfigError
from taggers.fasttext_model import FastTextModel, LabelScores, check_fingerprint, check_label, load_model, score_texts

_MODEL = "local path of a supervised fastText model (.bin or .ftz)"
_FINGERPRINT = "xxh3-128 of the file, 32 hex digits; checked when given, else filled in"


def _score(models: list[FastTextModel], batch: pa.RecordBatch) -> list[LabelScores]:
    data, offsets = view_text(batch.column("text"))
    return score_texts(models, data, offsets[:-1], offsets[1:])


class QualityTaggerConfig(Config):
    """Which model and which of its labels."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_path",)

    model_path: str = Field(min_length=1, description=_MODEL)
    model_fingerprint: str = Field("", description=_FINGERPRINT)
    label: str = Field("hq", description='label whose probability is the score, without "__label__"; DCLM\'s model: hq')


class QualityTagger:
    """Writes `score` (float32, in [0, 1], NaN where the model knows nothing of the text, which no rule keeps) under attributes/quality-v1.

    Lines are joined by spaces before prediction, as DCLM and Olmo 3 do. DCLM keeps score >= 0.018112 (its top 10 %).
    """

    config_model = QualityTaggerConfig
    name = "quality"
    version = 1
    schema = pa.schema([("score", pa.float32())])

    def __init__(self, config: QualityTaggerConfig) -> None:
        self.model = load_model(config.model_path)
        check_fingerprint(self.model, config.model_fingerprint, "quality.model_fingerprint")
        self.label = check_label(self.model, config.label, "quality.label")
        self.config = config.model_copy(update={"model_fingerprint": self.model.fingerprint})

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One score per document."""
        (found,) = _score([self.model], batch)
        return pa.RecordBatch.from_arrays([pa.array(found.probabilities(self.label), pa.float32())], schema=self.schema)


class TopicTaggerConfig(Config):
    """Which model."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_path",)

    model_path: str = Field(min_length=1, description=_MODEL)
    model_fingerprint: str = Field("", description=_FINGERPRINT)


class TopicTagger:
    """Writes `topic`, the label with the highest probability, and `topic_score`, that probability (float32 in [0, 1]), under attributes/topic-v1.

    Both are null where the model knows nothing of the text. Olmo 3's model has 24 topics (report, section 3.4.1 and A.2.3).
    """

    config_model = TopicTaggerConfig
    name = "topic"
    version = 1
    schema = pa.schema([("topic", pa.string()), ("topic_score", pa.float32())])

    def __init__(self, config: TopicTaggerConfig) -> None:
        self.model = load_model(config.model_path)
        check_fingerprint(self.model, config.model_fingerprint, "topic.model_fingerprint")
        self.config = config.model_copy(update={"model_fingerprint": self.model.fingerprint})

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One topic per document."""
        (found,) = _score([self.model], batch)
        return pa.RecordBatch.from_arrays(_best_columns(self.model, found), schema=self.schema)


def _best_columns(model: FastTextModel, found: LabelScores) -> list[pa.Array]:
    scores = found.best_probabilities()
    names = pa.array(model.labels, pa.string())
    best = pa.array(found.best, mask=found.best < 0)
    return [names.take(best), pa.array(scores, pa.float32(), mask=np.isnan(scores))]


class ClassifiersTaggerConfig(Config):
    """Models and what is written of each, by place."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_paths",)

    model_paths: list[str] = Field(min_length=1, description=f"of each model, {_MODEL}")
    model_fingerprints: list[str] = Field([], description=f"of each model, {_FINGERPRINT}")
    columns: list[str] = Field(
        min_length=1,
        description='of each model: "NAME" writes its best label as NAME and that label\'s probability as NAME_score, "NAME:LABEL" writes '
        'P(LABEL) as NAME, "NAME:*" writes P of every label as NAME_<label>; several of them are parted by blanks',
    )

    @model_validator(mode="after")
    def _check_lengths(self) -> ClassifiersTaggerConfig:
        if len(self.columns) != len(self.model_paths):
            raise ValueError(f"{len(self.model_paths)} model_paths and {len(self.columns)} columns: expected as many")
        if len(self.model_fingerprints) not in (0, len(self.model_paths)):
            raise ValueError(
                f"{len(self.model_fingerprints)} model_fingerprints for {len(self.model_paths)} model_paths"
            )
        return self


class _Wanted(NamedTuple):
    """Columns of one model: the best label (label None) or P of a label."""

    name: str
    label: int | None


class ClassifiersTagger:
    """Writes what the columns of several models say under attributes/classifiers-v1; words of a text are split and hashed once for all.

    Best labels are null, and probabilities NaN, where a model knows nothing of a text.
    """

    config_model = ClassifiersTaggerConfig
    name = "classifiers"
    version = 1

    def __init__(self, config: ClassifiersTaggerConfig) -> None:
        self.models = [load_model(path) for path in config.model_paths]
        for model, fingerprint in zip(self.models, config.model_fingerprints or [""] * len(self.models), strict=True):
            check_fingerprint(model, fingerprint, "classifiers.model_fingerprints")
        self.config = config.model_copy(update={"model_fingerprints": [model.fingerprint for model in self.models]})
        self.wanted = [_read_columns(model, text) for model, text in zip(self.models, config.columns, strict=True)]
        fields: list[Any] = []
        for column in (column for wanted in self.wanted for column in wanted):
            fields.append((column.name, pa.string() if column.label is None else pa.float32()))
            if column.label is None:
                fields.append((f"{column.name}_score", pa.float32()))
        names = [name for name, _ in fields]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError("classifiers.columns", twice, "expected each column once")
        self.schema = pa.schema(fields)

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row per document."""
        columns = []
        for model, wanted, found in zip(self.models, self.wanted, _score(self.models, batch), strict=True):
            for column in wanted:
                if column.label is None:
                    columns += _best_columns(model, found)
                else:
                    columns.append(pa.array(found.probabilities(column.label), pa.float32()))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _name_columns(name: str, labels: Sequence[str]) -> list[str]:
    """NAME_LABEL of each label, other signs than ASCII letters and digits as _; equal names are numbered in the labels' order."""
    found: list[str] = []
    for label in labels:
        plain = column = f"{name}_{re.sub(r'[^0-9A-Za-z]+', '_', label)}"
        number = 2
        while column in found:
            column, number = f"{plain}_{number}", number + 1
        found.append(column)
    return found


def _read_columns(model: FastTextModel, text: str) -> list[_Wanted]:
    wanted = []
    for item in text.split():
        name, colon, label = item.partition(":")
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise ConfigError(
                "classifiers.columns", item, "expected NAME, NAME:LABEL or NAME:*, the name of letters, digits and _"
            )
        if label == "*":
            wanted += [_Wanted(column, number) for number, column in enumerate(_name_columns(name, model.labels))]
        else:
            wanted.append(_Wanted(name, check_label(model, label, "classifiers.columns") if colon else None))
    if not wanted:
        raise ConfigError("classifiers.columns", text, "expected a column of every model")
    return wanted
