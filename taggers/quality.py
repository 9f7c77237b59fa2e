"""Quality as a fastText model sees it: P(label) of the whole document."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError
from taggers.fasttext_model import check_label, load_model, predict_label


class QualityTaggerConfig(Config):
    """Which model and which of its labels."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_path",)

    model_path: str = Field(min_length=1, description="local path of a supervised fastText model (.bin or .ftz)")
    model_fingerprint: str = Field(
        "", description="xxh3-128 of the file, 32 hex digits; checked when given, else filled in"
    )
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
        if config.model_fingerprint not in ("", self.model.fingerprint):
            got = self.model.fingerprint
            rule = f"expected the fingerprint of {config.model_path}, which is {got}"
            raise ConfigError("quality.model_fingerprint", config.model_fingerprint, rule, "Is it another model?")
        check_label(self.model, config.label, "quality.label")
        self.config = config.model_copy(update={"model_fingerprint": self.model.fingerprint})

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One score per document."""
        texts = batch.column("text").to_pylist()
        scores = predict_label(self.model, texts, label=self.config.label)
        return pa.RecordBatch.from_arrays([pa.array(scores, pa.float32())], schema=self.schema)
