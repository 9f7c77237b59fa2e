"""Perplexity of documents under an n-gram language model: of this program, of an ARPA file, or of KenLM's own binary format.

Source: Wenzek et al. 2020, CCNet: perplexity of a document is 10^(-log10 P / tokens) over its lines, each line's end a token; low is like
the model's text. CCNet cuts a language's documents into thirds by it, head, middle and tail.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.config import Config
from dolma_py.errors import ConfigError, DataError
from dolma_py.storage import file_bytes, open_read
from taggers.kenlm_model import KenlmModel, is_kenlm, load_kenlm, score_with_kenlm
from taggers.language_model import LanguageModel, Scores, load_model, resolve_text, score_texts
from taggers.language_model_arpa import is_arpa, read_arpa
from taggers.language_model_tokens import LanguageModelText

_MAX_LOSS = 300.0  # log10; no model of any text comes near, and a float64 holds it


class PerplexityTaggerConfig(Config):
    """Which model, and how texts are read for it."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_path", "tokenizer")

    model_path: str = Field(
        min_length=1,
        description="a model of `dolma-py language-model train`, an ARPA file, or a binary model of KenLM (needs its Python module)",
    )
    model_fingerprint: str = Field(
        "", description="xxh3-128 of the file, 32 hex digits; checked when given, else filled in"
    )
    text: LanguageModelText | None = Field(
        None, description="how texts are read; null: as the model's own were, CCNet's way for models of other programs"
    )
    tokenizer: str = Field(
        "",
        description="of a model of pieces, the one it was trained with: a tokenizer.json, a folder that holds one, or a name on the hub; "
        "what the model's file calls it is not opened",
    )


class PerplexityTagger:
    """Writes attributes/perplexity-v2; all but the counts are null for a document without a token that counts (num_tokens 0).

    perplexity : float64                    of the document; lower is more like the model's text
    num_tokens : int64                      tokens, ends of units not among them
    unknown_frac : float32                  share of the tokens that the model does not know, in [0, 1]
    min_, max_, mean_unit_perplexity        float64, of its lines (paragraphs with text.unit: paragraph); the mean is over units
    """

    config_model = PerplexityTaggerConfig
    name = "perplexity"
    version = 2
    schema = pa.schema(
        [
            ("perplexity", pa.float64()),
            ("num_tokens", pa.int64()),
            ("unknown_frac", pa.float32()),
            ("min_unit_perplexity", pa.float64()),
            ("max_unit_perplexity", pa.float64()),
            ("mean_unit_perplexity", pa.float64()),
        ]
    )

    def __init__(self, config: PerplexityTaggerConfig) -> None:
        self.model = load_any_model(config.model_path)
        got = self.model.fingerprint
        if config.model_fingerprint not in ("", got):
            rule = f"expected the fingerprint of {config.model_path}, which is {got}"
            raise ConfigError("perplexity.model_fingerprint", config.model_fingerprint, rule, "Is it another model?")
        if isinstance(self.model, KenlmModel):
            self.text = config.text or LanguageModelText()
        else:
            self.text = resolve_text(self.model, config.text, config.tokenizer)
        self.config = config.model_copy(update={"model_fingerprint": got})

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of perplexities per document."""
        scores = score_any(self.model, view_text(batch.column("text")), self.text)
        empty = scores.num_tokens == 0  # also units of sentence marks alone, whose ends would be all that is scored
        losses = -scores.log_probs / np.maximum(scores.num_tokens + scores.num_units, 1)
        losses, units = (np.minimum(values, _MAX_LOSS) for values in (losses, scores.unit_losses))
        unknown = scores.num_unknown / np.maximum(scores.num_tokens, 1)
        columns = [
            pa.array(10.0**losses, mask=empty),
            pa.array(scores.num_tokens),
            pa.array(unknown.astype(np.float32), mask=empty),
            *(pa.array(10.0 ** units[:, k], mask=empty) for k in range(3)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def load_any_model(path: str) -> LanguageModel | KenlmModel:
    """The model of a file, whichever program made it; DataError when it is none, ConfigError when KenLM's module is missing."""
    if not file_bytes(path):
        raise DataError(path, "no such file, or an empty one", hint="Expected a language model.")
    with open_read(path) as stream:
        start = stream.read(64)
    if is_kenlm(start):
        return load_kenlm(path)
    return read_arpa(path) if is_arpa(start) else load_model(path)


def score_any(model: LanguageModel | KenlmModel, texts: TextView, text: LanguageModelText) -> Scores:
    """What N texts score."""
    if isinstance(model, KenlmModel):
        return score_with_kenlm(model, texts, text)
    return score_texts(model, texts, text)
