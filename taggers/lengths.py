"""How long a document is: bytes, characters, words, lines, paragraphs. The pattern of a rule tagger; copy this file."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from taggers import lengths_kernels as kernels
from taggers.characters import character_table


class Lengths(NamedTuple):
    """Counts of N documents, each int64 (N,) but the mean."""

    num_bytes: npt.NDArray[np.int64]
    num_chars: npt.NDArray[np.int64]  # Unicode code points
    num_words: npt.NDArray[np.int64]  # runs of characters that are not white space
    num_lines: npt.NDArray[np.int64]  # parts between line feeds that are not blank
    num_paragraphs: npt.NDArray[np.int64]  # parts between two or more line feeds in a row that are not blank
    mean_word_chars: npt.NDArray[np.float64]  # float64 (N,); 0 without words


def count_lengths(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Lengths:
    """Count what the columns of Lengths say, for N texts in UTF-8.

    Parameters
    ----------
    data : uint8 (B,)           texts, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing, need not start at 0

    Guarantees                  same values for any batch split; input that is not UTF-8 gives some count, never a crash
    Cost                        O(B) time, O(N) memory

    Examples
    --------
    >>> text = np.frombuffer(b"ab c", np.uint8)
    >>> lengths = count_lengths(text, np.array([0, 4]))
    >>> lengths.num_words.tolist(), lengths.mean_word_chars.tolist()
    ([2], [1.5])
    """
    counts = np.zeros((len(offsets) - 1, kernels.NUM_COUNTS), np.int64)
    kernels.count_lengths_kernel(data, offsets, character_table(), counts)
    words, word_chars = counts[:, kernels.WORDS], counts[:, kernels.WORD_CHARS]
    return Lengths(
        num_bytes=np.diff(offsets),
        num_chars=counts[:, kernels.CHARS],
        num_words=words,
        num_lines=counts[:, kernels.LINES],
        num_paragraphs=counts[:, kernels.PARAGRAPHS],
        mean_word_chars=word_chars / np.maximum(words, 1),
    )


class LengthTaggerConfig(Config):
    """No options: lengths are facts."""


class LengthTagger:
    """Writes the columns of Lengths under attributes/lengths-v1."""

    config_model = LengthTaggerConfig
    name = "lengths"
    version = 1
    schema = pa.schema([(column, pa.int64()) for column in Lengths._fields[:-1]] + [("mean_word_chars", pa.float64())])

    def __init__(self, config: LengthTaggerConfig) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of lengths per document."""
        lengths = count_lengths(*view_text(batch.column("text")))
        # kernel rows are strided columns of one matrix; Arrow wants each column contiguous
        columns = [pa.array(np.ascontiguousarray(column)) for column in lengths]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
