"""Loops: an n-gram that stands many times in a row, as broken pages and models that lost their way write them.

Olmo 3's tool drops a document in which an n-gram of 1 to 13 tokens of cl100k repeats 32 times or more. Items here are tokens of a tokenizer
that you give, or, without one, words (at white space) or bytes; the count is exact, no hash of an n-gram is compared.

Source: datamap-rs, `ngram_repetition_filter` (periods 1 to 13, 32 repeats).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.config import Config
from dolma_py.token_ids import encode_documents, load_backend
from taggers.characters import character_table
from taggers.gopher import Rule
from taggers.ngram_loops_kernels import find_loops_kernel, find_word_loops_kernel

LOOP_RULES: tuple[Rule, ...] = (
    Rule("ngram_loops", "loop_repeats", "<", 32, "datamap-rs ngram_repetition_filter: 32 repeats drop a document"),
)


def find_loops(
    texts: TextView, *, items: str = "words", max_period: int = 13, tokenizer: str | None = None
) -> npt.NDArray[np.int64]:
    """int64 (N, 2): most copies in a row of an n-gram of at most max_period items, and the shortest n that has as many.

    Parameters
    ----------
    texts : TextView            N texts in UTF-8
    items : str                 "words", "bytes", or "tokens" of `tokenizer`
    max_period : int            largest n, in items

    Guarantees                  same values for any batch split; (0, 0) for a document without items, (1, 1) without a repeat
    Cost                        O(B) for each period at worst, mostly far less; four bytes of scratch per byte of the longest text

    Examples
    --------
    >>> text = np.frombuffer(b"go to go to go to", np.uint8)
    >>> find_loops(TextView(text, np.array([0, len(text)]))).tolist()
    [[3, 2]]
    """
    loops = np.empty((len(texts.offsets) - 1, 2), np.int64)
    if items == "words":
        longest = int(np.diff(texts.offsets).max(initial=0))
        find_word_loops_kernel(*texts, character_table(), max_period, np.empty(longest // 2 + 1, np.uint64), loops)
    elif items == "bytes":
        find_loops_kernel(*texts, max_period, loops)
    else:
        assert tokenizer is not None, "tokens need a tokenizer"
        find_loops_kernel(*encode_documents(texts, tokenizer=tokenizer, key="ngram-loops.tokenizer"), max_period, loops)
    return loops


class NgramLoopsTaggerConfig(Config):
    """What repeats."""

    items: Literal["words", "bytes", "tokens"] = Field(
        "words", description="what an n-gram is made of; tokens need a tokenizer"
    )
    tokenizer: str | None = Field(
        None, description="tokenizer.json, a folder that holds one, or a hub name; cl100k is Olmo 3's choice"
    )
    max_period: int = Field(13, ge=1, le=1000, description="largest n, in items")

    @model_validator(mode="after")
    def _tokens_have_a_tokenizer(self) -> NgramLoopsTaggerConfig:
        if (self.items == "tokens") != (self.tokenizer is not None):
            raise ValueError("expected a tokenizer with items: tokens, and only there")
        return self


class NgramLoopsTagger:
    """Writes loop_repeats and loop_period, int64, under attributes/ngram-loops-v1."""

    config_model = NgramLoopsTaggerConfig
    name = "ngram-loops"
    version = 1
    schema = pa.schema([("loop_repeats", pa.int64()), ("loop_period", pa.int64())])

    def __init__(self, config: NgramLoopsTaggerConfig) -> None:
        self.config = config
        if config.tokenizer is not None:  # a wrong one is told before any work
            load_backend(config.tokenizer, "ngram-loops.tokenizer")

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The longest loop of each document."""
        config = self.config
        loops = find_loops(
            view_text(batch.column("text")),
            items=config.items,
            max_period=config.max_period,
            tokenizer=config.tokenizer,
        )
        return pa.RecordBatch.from_arrays(
            [pa.array(loops[:, 0].copy()), pa.array(loops[:, 1].copy())], schema=self.schema
        )
