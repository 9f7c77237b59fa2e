"""Which language a document is in, by a library's detector or by a fastText language model."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from py3langid import langid
from pydantic import Field, model_validator

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.errors import ConfigError
from taggers.fasttext_model import load_model, predict_best

UNDETERMINED = "und"  # ISO 639-2


class LanguageTaggerConfig(Config):
    """Detector and how much of a text it sees."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_path",)

    detector: Literal["langid", "fasttext"] = Field(
        "langid", description="langid: py3langid's own model; fasttext: model_path"
    )
    model_path: str = Field(
        "", description="local path of a fastText language model such as lid.176.bin or lid.176.ftz"
    )
    model_fingerprint: str = Field("", description="xxh3-128 of that file; checked when given, else filled in")
    max_bytes: int = Field(1000, ge=16, description="UTF-8 bytes from the text's start that the detector reads")
    min_chars: int = Field(20, ge=0, description='texts with fewer characters, outer white space apart, get "und"')

    @model_validator(mode="after")
    def _check_model(self) -> LanguageTaggerConfig:
        if (self.detector == "fasttext") != bool(self.model_path):
            raise ValueError("model_path is needed with detector fasttext, and only there")
        return self


@functools.lru_cache(maxsize=1)
def load_detector() -> Any:
    """py3langid's detector with normalised probabilities; 1 s and about 100 MB, once per process."""
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


class LanguageTagger:
    """Writes `lang` (ISO 639-1 or -3 as the model has it, "und" for short texts) and `lang_score` under attributes/language-v1.

    lang_score is the probability of `lang`, float32 in [0, 1]; null with "und". Olmo 3's web pool keeps en with a score of
    0.65 or more by fastText's lid.176 (report, section 3.4.1); scores of other detectors are not on that scale.
    """

    config_model = LanguageTaggerConfig
    name = "language"
    version = 1
    schema = pa.schema([("lang", pa.string()), ("lang_score", pa.float32())])

    def __init__(self, config: LanguageTaggerConfig) -> None:
        self.config = config
        if config.detector == "langid":
            self.detector = load_detector()
            return
        self.model = load_model(config.model_path)
        if config.model_fingerprint not in ("", self.model.fingerprint):
            rule = f"expected the fingerprint of {config.model_path}, which is {self.model.fingerprint}"
            raise ConfigError("language.model_fingerprint", config.model_fingerprint, rule)
        self.config = config.model_copy(update={"model_fingerprint": self.model.fingerprint})

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One language per document."""
        data, offsets = view_text(batch.column("text"))
        ends = np.minimum(offsets[1:], offsets[:-1] + self.config.max_bytes)
        # the cut may fall inside a character, whose first bytes are then ignored
        texts = [
            data[start:end].tobytes().decode("utf-8", "ignore").strip()
            for start, end in zip(offsets[:-1].tolist(), ends.tolist(), strict=True)
        ]
        # a text that fills max_bytes is long enough, whatever min_chars says
        long_enough = [
            row
            for row, text in enumerate(texts)
            if text and (len(text) >= self.config.min_chars or offsets[row + 1] > ends[row])
        ]
        languages: list[str] = [UNDETERMINED] * len(texts)
        scores = np.full(len(texts), np.nan, np.float32)
        for row, (language, score) in zip(long_enough, self._detect([texts[row] for row in long_enough]), strict=True):
            if language is not None:
                languages[row], scores[row] = language, score
        columns = [pa.array(languages, pa.string()), pa.array(scores, pa.float32(), mask=np.isnan(scores))]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _detect(self, texts: list[str]) -> list[tuple[str | None, float]]:
        if self.config.detector == "langid":
            return [self.detector.classify(text) for text in texts]
        labels, scores = predict_best(self.model, texts)
        return list(zip(labels, scores.tolist(), strict=True))
