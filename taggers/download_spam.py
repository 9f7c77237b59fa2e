"""Pages that want to be found and not read: the share of words such as "download", "free" and "ebook" (olmOCR's filter of PDFs).

Source: Olmo 3 (arXiv 2512.13961, 3.4.2), which drops a PDF when more than 0.4 % of the words of its first pages are on the list; the
list and the five pages are those of olmOCR's filter, which keeps texts that say too little (under 200 characters, or under half of
them letters), for a scan's text layer may be anything.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.metadata import read_fields
from taggers import download_spam_kernels as kernels
from taggers.characters import character_table, lower_table

SPAM_WORDS = (
    "download", "pdf", "epub", "mobi", "free", "ebook", "file", "save", "casino", "viagra", "cialis", "ciprofloxacin",
)  # fmt: skip
PAGE_NUMBERS = "pdf_page_numbers"  # in the metadata: [start, end, page] in characters


def count_listed(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], words: tuple[str, ...]
) -> npt.NDArray[np.int64]:
    """Characters, letters, words and words of a list, int64 (N, 4), columns as named in taggers.download_spam_kernels.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing
    words                       ASCII letters, digits and underscores, in lower case
    """
    counts = np.zeros((len(offsets) - 1, kernels.NUM_COUNTS), np.int64)
    listed = np.frombuffer("".join(words).encode("ascii"), np.uint8)
    listed_offsets = np.cumsum([0, *map(len, words)], dtype=np.int64)
    kernels.count_listed_kernel(data, offsets, character_table(), lower_table(), listed, listed_offsets, counts)
    return counts


class DownloadSpamTaggerConfig(Config):
    """The words, where they are looked for, and when a text is too unclear to judge."""

    words: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], ...] = Field(
        default=SPAM_WORDS, min_length=1, description="words that count, in lower case"
    )
    first_pages: int | None = Field(
        default=5,
        ge=1,
        description="pages of a PDF that are looked at; null, and for documents without pages: all text",
    )
    max_word_frac: float = Field(default=0.004, ge=0, le=1, description="share of words above which is_spam is true")
    least_chars: int = Field(default=200, ge=0, description="is_spam is false for shorter texts")
    least_letter_frac: float = Field(
        default=0.5, ge=0, le=1, description="is_spam is false for texts with fewer letters"
    )


class DownloadSpamTagger:
    """Writes num_words, num_spam_words, spam_word_frac (0 without words), letter_frac and is_spam under attributes/download-spam-v1.

    is_spam is the whole rule of olmOCR's filter, which no rule of a view could say: the share is too high and the text is clear.
    """

    config_model = DownloadSpamTaggerConfig
    name = "download-spam"
    version = 1
    schema = pa.schema(
        [
            ("num_words", pa.int64()),
            ("num_spam_words", pa.int64()),
            ("spam_word_frac", pa.float64()),
            ("letter_frac", pa.float64()),
            ("is_spam", pa.bool_()),
        ]
    )

    def __init__(self, config: DownloadSpamTaggerConfig) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics per document."""
        texts = batch.column("text")
        if self.config.first_pages is not None and "metadata" in batch.schema.names:
            texts = take_first_pages(texts, batch.column("metadata"), self.config.first_pages)
        counts = count_listed(*view_text(texts), self.config.words)
        words, spam = counts[:, kernels.WORDS], counts[:, kernels.LISTED]
        chars = counts[:, kernels.CHARS]
        spam_frac = spam / np.maximum(words, 1)
        letter_frac = counts[:, kernels.LETTERS] / np.maximum(chars, 1)
        is_clear = (chars >= self.config.least_chars) & (letter_frac >= self.config.least_letter_frac)
        is_spam = is_clear & (spam_frac > self.config.max_word_frac)
        columns = [np.ascontiguousarray(column) for column in (words, spam, spam_frac, letter_frac, is_spam)]
        return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=self.schema)


def take_first_pages(texts: pa.Array, metadata: pa.Array, num_pages: int) -> pa.Array:
    """The texts up to the end of page num_pages, where the metadata has pdf_page_numbers; large_string (N,).

    Edits of a view that stand before that place move it by as many characters.
    """
    numbers = read_fields(metadata, [PAGE_NUMBERS])[PAGE_NUMBERS]
    if not any(numbers):
        return texts
    cut = []
    for text, pages in zip(texts.to_pylist(), numbers, strict=True):
        is_cut = isinstance(pages, list) and len(pages) > num_pages and text is not None
        cut.append(text[: int(pages[num_pages - 1][1])] if is_cut else text)
    return pa.array(cut, pa.large_string())
