"""Toxic and adult text as a fastText model sees it: the whole document, and its sentences, lines or paragraphs as spans to cut.

No model comes with this program. Made for models such as those of Dolma (Soldaini et al. 2024, 3.1.2): one for hate speech and one for
NSFW text, both trained on Jigsaw's comments; there sentences from a probability of 0.4 on are cut.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError
from dolma_py.spans import Spans, build_spans
from taggers.fasttext_model import (
    Bytes,
    FastTextModel,
    Floats,
    Ints,
    check_fingerprint,
    check_label,
    load_model,
    score_texts,
)
from taggers.text_units import TextUnit, find_units


class ToxicityTaggerConfig(Config):
    """Which model, which of its labels, and what is marked."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_path",)

    model_path: str = Field(min_length=1, description="path of a supervised fastText model (.bin or .ftz)")
    model_fingerprint: str = Field(
        "", description="xxh3-128 of the file, 32 hex digits; checked when given, else filled in"
    )
    label: str = Field(
        "",
        description='label whose probability is the score, without "__label__"; empty: of two labels the one without "non" or "not" in front',
    )
    unit: TextUnit = Field("sentence", description="what a span is")
    min_span_score: float = Field(0.4, ge=0, le=1, description="units from this probability on are spans; Dolma: 0.4")


class ToxicityTagger:
    """Writes attributes/toxicity-v1.

    score : float32             P(label) of the whole document, in [0, 1]; null where the model knows nothing of the text
    max_unit_score : float32    of its worst unit; null as above, units that the model knows nothing of apart
    num_units : int32
    span_frac : float32         bytes in spans per byte of text, in [0, 1]
    spans                       units with a score of min_span_score or more, each with its score
    """

    config_model = ToxicityTaggerConfig
    name = "toxicity"
    version = 1
    schema = pa.schema(
        [
            ("score", pa.float32()),
            ("max_unit_score", pa.float32()),
            ("num_units", pa.int32()),
            ("span_frac", pa.float32()),
            ("spans", SPANS),
        ]
    )

    def __init__(self, config: ToxicityTaggerConfig) -> None:
        self.model = load_model(config.model_path)
        check_fingerprint(self.model, config.model_fingerprint, f"{self.name}.model_fingerprint")
        label = config.label or find_positive(self.model, f"{self.name}.label")
        self.label = check_label(self.model, label, f"{self.name}.label")
        self.config = config.model_copy(update={"model_fingerprint": self.model.fingerprint, "label": label})

    def _score(self, data: Bytes, starts: Ints, ends: Ints) -> Floats:
        (found,) = score_texts([self.model], data, starts, ends)
        return found.probabilities(self.label)

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of scores and one list of spans per document."""
        texts = batch.column("text")
        view = view_text(texts)
        units = find_units(view, self.config.unit)
        counts = np.diff(units.offsets)
        rows = np.repeat(np.arange(len(texts)), counts)
        firsts = view.offsets[:-1][rows]
        scores = self._score(view.data, view.offsets[:-1], view.offsets[1:])
        unit_scores = self._score(view.data, firsts + units.starts, firsts + units.ends)
        known = np.flatnonzero(~np.isnan(unit_scores))
        worst = np.full(len(texts), -1.0, np.float32)
        np.maximum.at(worst, rows[known], unit_scores[known])
        # false for NaN
        marked = unit_scores >= np.float32(self.config.min_span_score)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows[marked], minlength=len(texts)))])
        spans = Spans(offsets, units.starts[marked], units.ends[marked])
        num_marked = np.bincount(rows[marked], weights=(spans.ends - spans.starts), minlength=len(texts))
        columns = [
            pa.array(scores, pa.float32(), mask=np.isnan(scores)),
            pa.array(worst, pa.float32(), mask=worst < 0),
            pa.array(counts.astype(np.int32)),
            pa.array((num_marked / np.maximum(np.diff(view.offsets), 1)).astype(np.float32)),
            build_spans(spans, unit_scores[marked]),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class AdultTaggerConfig(ToxicityTaggerConfig):
    """The same options."""


class AdultTagger(ToxicityTagger):
    """The same columns under attributes/adult-v1, so that a model for adult text can stand beside one for toxic text."""

    config_model = AdultTaggerConfig
    name = "adult"


def find_positive(model: FastTextModel, key: str) -> str:
    """Of two labels the one whose negation the other is, such as `toxic` beside `non_toxic`; ConfigError under `key` otherwise."""
    labels = list(model.labels)
    positive = [label for label in labels if not label.lower().startswith(("non", "not"))]
    if len(labels) != 2 or len(positive) != 1:
        raise ConfigError(
            key,
            "",
            'expected a label, as the model has not two of which one begins with "non"',
            f"It has: {labels[:20]}.",
        )
    return positive[0]
