"""A long document cut into sections of 8K to 32K tokens near natural breaks, and where passages may be set between them.

Olmo 3 report 3.6.2 (Longmino): documents of 32,768 to 65,535 tokens are cut into 2 to 8 sections of 8K to 32K tokens. A section is a span of
bytes; sections cover the document, each byte once. How many and how long is drawn by a hash of the document's id.
Tokens of a section are those of its pieces (from one break to the next), each encoded by itself: a piece's tokens do not depend on where the
sections end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dolma_py.config import Config
from dolma_py.errors import SchemaError
from dolma_py.hashing import derive_seed
from mixers.long_sections_kernels import FORCED, HEADING, LINE, PARAGRAPH, SENTENCE, find_breaks_kernel
from mixers.tokenization import LoadedTokenizer, encode_texts

__all__ = [
    "FORCED", "HEADING", "LINE", "PARAGRAPH", "SENTENCE", "Breaks", "Section", "SectionConfig", "choose_sections", "cut_document",
    "find_breaks",
]  # fmt: skip
MAX_PIECE = 4096  # bytes between two breaks at most
EMPTY_PLACES, EMPTY_RANKS = np.empty(0, np.int64), np.empty(0, np.int8)


class SectionConfig(Config):
    """How long the sections of a document are. The defaults are Olmo 3's."""

    min_document_tokens: int = Field(default=32_768, ge=2, description="shorter documents are left out")
    max_document_tokens: int = Field(default=65_535, ge=2, description="longer documents are left out")
    min_tokens: int = Field(default=8_192, ge=1, description="tokens of a section at least")
    max_tokens: int = Field(default=32_768, ge=1, description="tokens of a section at most")
    max_sections: int = Field(default=8, ge=2, le=64, description="sections of a document at most; at least two")
    near_tokens: int = Field(
        default=1_024, ge=0, description="a better break within so many tokens of the drawn place is taken"
    )
    scale: int = Field(
        default=1,
        ge=1,
        description="all numbers of tokens here are divided by it: with 16, documents of 2,048 to 4,095 tokens are cut",
    )

    @model_validator(mode="after")
    def _check_order(self) -> SectionConfig:
        if self.max_tokens < self.min_tokens:
            raise ValueError("max_tokens must be min_tokens or more")
        if self.max_document_tokens < self.min_document_tokens:
            raise ValueError("max_document_tokens must be min_document_tokens or more")
        if self.scale > self.min_tokens:
            raise ValueError("scale must be min_tokens or less: a section has a token at least")
        return self

    def apply_scale(self) -> SectionConfig:
        """The numbers that hold, of scale 1; a document's bounds stay a half-open range of the divided numbers.

        >>> small = SectionConfig(scale=16).apply_scale()
        >>> small.min_document_tokens, small.max_document_tokens, small.min_tokens, small.max_tokens, small.near_tokens
        (2048, 4095, 512, 2048, 64)
        """
        if self.scale == 1:
            return self
        names = ("min_document_tokens", "min_tokens", "max_tokens", "near_tokens")
        divided = {name: getattr(self, name) // self.scale for name in names}
        most = (self.max_document_tokens + 1) // self.scale - 1
        return SectionConfig(**divided, max_document_tokens=most, max_sections=self.max_sections)


class Breaks(NamedTuple):
    """Where pieces of a text begin, the first piece (at 0) left out."""

    places: npt.NDArray[np.int64]  # (P,) bytes, ascending, inside the text
    ranks: npt.NDArray[np.int8]  # (P,) FORCED < LINE < SENTENCE < PARAGRAPH < HEADING


class Section(NamedTuple):
    """Bytes of a document."""

    start: int
    end: int
    tokens: int


def find_breaks(data: npt.NDArray[np.uint8], max_piece: int = MAX_PIECE) -> Breaks:
    """The places where a text may be cut; see the kernel. Raises SchemaError for max_piece below 8."""
    if max_piece < 8:
        raise SchemaError("max_piece", "8 bytes or more", max_piece)
    number = find_breaks_kernel(data, max_piece, EMPTY_PLACES, EMPTY_RANKS)
    places, ranks = np.empty(number, np.int64), np.empty(number, np.int8)
    find_breaks_kernel(data, max_piece, places, ranks)
    return Breaks(places, ranks)


def choose_sections(
    tokens_before: npt.NDArray[np.int64], ranks: npt.NDArray[np.int8], total: int, key: int, config: SectionConfig
) -> list[int] | None:
    """Which breaks are borders of sections, as indices; None where no number of sections fits.

    Parameters
    ----------
    tokens_before : int64 (P,)      tokens before each break, ascending
    ranks : int8 (P,)               of each break
    total : int                     tokens of the document
    key : int                       64 bits that decide every draw

    The number is drawn among those whose sections can be long enough and short enough, and each border among the token counts that leave
    room for the rest; of the breaks there the best rank within near_tokens of the drawn count is taken, then the nearest, then the first.
    """
    least = max(2, -(-total // config.max_tokens))
    most = min(config.max_sections, total // config.min_tokens)
    if least > most:
        return None
    first = derive_seed(key, "number") % (most - least + 1)
    for step in range(most - least + 1):  # a number whose borders find no break gives way to the next
        number = least + (first + step) % (most - least + 1)
        borders = _choose_borders(tokens_before, ranks, total, number, key, config)
        if borders is not None:
            return borders
    return None


def _choose_borders(
    tokens_before: npt.NDArray[np.int64], ranks: npt.NDArray[np.int8], total: int, number: int, key: int, config: SectionConfig
) -> list[int] | None:  # fmt: skip
    borders: list[int] = []
    before = 0
    for border in range(1, number):
        left = number - border
        low = max(before + config.min_tokens, total - left * config.max_tokens)
        high = min(before + config.max_tokens, total - left * config.min_tokens)
        first, stop = np.searchsorted(tokens_before, low), np.searchsorted(tokens_before, high, side="right")
        if low > high or first == stop:
            return None
        target = low + derive_seed(key, "border", number, border) % (high - low + 1)
        distance = np.abs(tokens_before[first:stop] - target)
        rank = np.where(distance <= config.near_tokens, ranks[first:stop].astype(np.int64), -1)
        best = int(first + np.lexsort((distance, -rank))[0])  # stable: the first of equals
        borders.append(best)
        before = int(tokens_before[best])
    return borders


def cut_document(
    text: str, tokenizer: LoadedTokenizer, config: SectionConfig, *, doc_id: str, seed: int
) -> tuple[list[Section], Breaks] | str:
    """The sections of a document and its breaks; or, in one word, why it has none: `short`, `long`, or `uncut`.

    short, long: fewer or more tokens than the settings allow. uncut: no number of sections of the allowed lengths fits its breaks.
    """
    data = np.frombuffer(text.encode(), np.uint8)
    breaks = find_breaks(data)
    edges = np.concatenate([[0], breaks.places, [len(data)]]).astype(np.int64)
    raw = data.tobytes()
    pieces = [raw[start:end].decode() for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    counts = np.array([len(ids) for ids in encode_texts(tokenizer, pieces)], np.int64)
    before = np.concatenate([[0], np.cumsum(counts)])
    total = int(before[-1])
    if total < config.min_document_tokens:
        return "short"
    if total > config.max_document_tokens:
        return "long"
    chosen = choose_sections(before[1:-1], breaks.ranks, total, derive_seed(seed, "sections", doc_id), config)
    if chosen is None:
        return "uncut"
    marks = [0, *(border + 1 for border in chosen), len(edges) - 1]
    sections = [
        Section(int(edges[first]), int(edges[last]), int(before[last] - before[first]))
        for first, last in zip(marks[:-1], marks[1:], strict=True)
    ]
    return sections, breaks
