"""The tagger of length buckets: tokens of a document, and between which powers of two they lie.

`bucket` is a name, so it is the `topic` of `mix plan` and `mix sample` (topic: length_buckets-v1.bucket) and plans have shares by length;
rules compare `tokens`. Olmo 3 report 3.6, table 11: 8-16K, 16-32K, ... 1M and more.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py.config import Config
from mixers.tokenization import encode_batch, load_tokenizer, use_one_thread


class LengthBucketsConfig(Config):
    """Which tokenizer counts, and from where to where buckets go."""

    tokenizer: str = Field(description="tokenizer.json, a folder that holds one, or a hub name")
    eos_token: str | None = Field(
        default=None, description="token that ends a document; null: the first usual name it has"
    )
    least: int = Field(default=8_192, ge=1, description="a power of two; fewer tokens are one bucket, 0-LEAST")
    most: int = Field(default=1 << 20, ge=1, description="a power of two; so many or more are one bucket, MOST-up")
    scale: int = Field(
        default=1,
        ge=1,
        description="a document's tokens count so many times for its bucket: with 16, 512 to 1,023 tokens are 8K-16K, "
        "so that a mix of short documents has the buckets of a long one; `tokens` stays as it is",
    )

    @model_validator(mode="after")
    def _check_powers(self) -> LengthBucketsConfig:
        if self.least & (self.least - 1) or self.most & (self.most - 1) or self.least > self.most:
            raise ValueError("least and most must be powers of two, least not above most")
        return self


def name_tokens(number: int) -> str:
    """A power of two in few letters.

    >>> [name_tokens(1 << power) for power in (9, 13, 19, 20)]
    ['512', '8K', '512K', '1M']
    """
    if number >= 1 << 20:
        return f"{number >> 20}M"
    return f"{number >> 10}K" if number >= 1 << 10 else str(number)


def name_buckets(least: int, most: int) -> list[str]:
    """All buckets, shortest first.

    >>> name_buckets(8192, 32768)
    ['0-8K', '8K-16K', '16K-32K', '32K-up']
    """
    edges = [least << power for power in range((most // least).bit_length())]
    names = [name_tokens(edge) for edge in edges]
    between = [f"{low}-{high}" for low, high in zip(names[:-1], names[1:], strict=True)]
    return [f"0-{names[0]}", *between, f"{names[-1]}-up"]


class LengthBucketsTagger:
    """tokens: int32, the end-of-text token included. bucket: string, "16K-32K" for 16,384 to 32,767 tokens."""

    name = "length_buckets"
    version = 1
    schema = pa.schema([pa.field("tokens", pa.int32()), pa.field("bucket", pa.string())])
    config_model = LengthBucketsConfig
    tokenizer_options = ("tokenizer",)  # what the driver reads once for all workers (pipelines.named_tokenizers)

    def __init__(self, config: LengthBucketsConfig) -> None:
        use_one_thread()
        self.config = config
        self.tokenizer = load_tokenizer(config.tokenizer, eos_token=config.eos_token)
        self.names = name_buckets(config.least, config.most)
        self.edges = np.array([config.least << power for power in range(len(self.names) - 1)], np.int64)

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row per document."""
        _, offsets = encode_batch(self.tokenizer, batch.column("text"))
        tokens = np.diff(offsets)
        places = np.searchsorted(self.edges, tokens * self.config.scale, side="right")
        columns = [pa.array(tokens.astype(np.int32)), pa.array(self.names, pa.string()).take(pa.array(places))]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
