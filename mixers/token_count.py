"""The tagger that counts tokens: what a plan needs to know of a document before anything is sampled."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py.config import Config
from mixers.tokenization import encode_batch, load_tokenizer, use_one_thread


class TokenCountConfig(Config):
    """Which tokenizer counts."""

    tokenizer: str = Field(description="tokenizer.json, a folder that holds one, or a hub name")
    eos_token: str | None = Field(
        default=None, description="token that ends a document; null: the first usual name it has"
    )


class TokenCountTagger:
    """tokens: int32, of the text as it will be written, the end-of-text token included."""

    name = "token_count"
    version = 1
    schema = pa.schema([pa.field("tokens", pa.int32())])
    config_model = TokenCountConfig
    tokenizer_options = ("tokenizer",)  # what the driver reads once for all workers (pipelines.named_tokenizers)

    def __init__(self, config: TokenCountConfig) -> None:
        use_one_thread()
        self.config = config
        self.tokenizer = load_tokenizer(config.tokenizer, eos_token=config.eos_token)

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One number per document."""
        _, offsets = encode_batch(self.tokenizer, batch.column("text"))
        return pa.RecordBatch.from_arrays([pa.array(np.diff(offsets).astype(np.int32))], schema=self.schema)
