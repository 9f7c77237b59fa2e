"""What the words of a Parquet dictionary become in memory: how often its most frequent one is named, or how long its longest one is.

A dictionary's text is written out for each row that names it, and its header does not say how often that is. Its indices do, and are small
(most files that others write name each text once); only where one is named often are the words themselves taken apart.

Source: apache/parquet-format, Encodings.md (PLAIN, RLE / bit-packed hybrid, dictionary encoding).
"""

from __future__ import annotations

from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.formats.parquet_pages_kernels import count_indices_kernel, longest_word_kernel

SMALL_BYTES = 1 << 10  # a dictionary that is not looked into: the whole counts as a word
MAX_LOOKED_BYTES = 16 << 20  # nor is a larger one taken apart
MAX_COUNTED_BYTES = 64 << 20  # of a dictionary whose words are counted by its indices; it is not read
MAX_COUNTED_WORDS = 4 << 20
MAX_INDEX_BYTES = 8 << 20  # of one page
WORD_BYTES = 4  # a word's length stands before it, so there are no more of them than that
CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "ZSTD": "zstd", "BROTLI": "brotli"}
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
PLAIN_DICTIONARY, RLE, RLE_DICTIONARY = 2, 3, 8


class PageHeader(NamedTuple):
    """One page: sizes are those of its body, num_values counts nulls."""

    kind: int
    plain_bytes: int
    packed_bytes: int
    num_values: int
    encoding: int
    level_encoding: int = RLE  # of what says which values are null


class ColumnWords:
    """The dictionary of one column chunk, from its pages one after the other, the stream at each page's body."""

    def __init__(self, stream: BinaryIO, column: Any, kind: Any) -> None:
        """column, kind: what the row group's footer and the file's schema say of it."""
        self.stream, self.column, self.max_level = stream, column, kind.max_definition_level
        self.is_text = column.physical_type == "BYTE_ARRAY"
        self.fixed_bytes = kind.length if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0
        self.may_count = self.is_text and kind.max_repetition_level == 0 and self.max_level <= 1
        self.dictionaries: list[tuple[PageHeader, int]] = []  # and where its body stands
        self.counts: npt.NDArray[np.int64] | None = None  # how often each word is named

    def see(self, page: PageHeader) -> None:
        """Take notice of a page; moves the stream where it reads its indices."""
        if page.kind == DICTIONARY_PAGE:
            self.dictionaries.append((page, self.stream.tell()))
            is_fit = SMALL_BYTES < page.plain_bytes <= MAX_COUNTED_BYTES and len(self.dictionaries) == 1
            self.may_count &= is_fit and page.num_values <= min(MAX_COUNTED_WORDS, page.plain_bytes // WORD_BYTES)
            self.counts = np.zeros(page.num_values, np.int64) if self.may_count else None
        elif page.kind != DATA_PAGE or page.encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY):
            body = None if self.counts is None else self._read_indices(page)
            if self.counts is None or body is None or count_indices_kernel(body, page.num_values, self.counts) < 0:
                self.may_count, self.counts = False, None

    def measure(self, most_bytes: int) -> tuple[int, int]:
        """(bytes of the longest word that any row may name, bytes of all named words together beside those of the dictionary).

        The second counts, and the first is 0, where all that rows name is at most most_bytes or twice the dictionary. Otherwise the
        words are read, and the first says all bytes of a dictionary that is too large, too small or no list of words.
        """
        if self.counts is not None and len(self.counts):
            words = self.dictionaries[0][0].plain_bytes
            named = int(self.counts.max()) * words
            if named <= max(2 * words, most_bytes):
                return 0, max(0, named - words)
        longest = max((self._measure_longest(page, at) for page, at in self.dictionaries), default=0)
        return max(longest, self.fixed_bytes), 0

    def _read_indices(self, page: PageHeader) -> npt.NDArray[np.uint8] | None:
        """A page of indices, behind its levels; None where it is another kind of page than is written here."""
        if page.kind != DATA_PAGE or page.level_encoding != RLE or page.plain_bytes > MAX_INDEX_BYTES:
            return None
        data = self._read(page)
        if data is None or len(data) != page.plain_bytes:
            return None
        first = 0
        if self.max_level:
            first = 4 + int.from_bytes(bytes(data[:4]), "little")
        return data[first:] if first < len(data) else None

    def _measure_longest(self, page: PageHeader, at: int) -> int:
        if not self.is_text or not SMALL_BYTES < page.plain_bytes <= MAX_LOOKED_BYTES:
            return page.plain_bytes if self.is_text else 0
        self.stream.seek(at)
        data = self._read(page)
        longest = -1 if data is None or len(data) != page.plain_bytes else int(longest_word_kernel(data))
        return longest if longest >= 0 else page.plain_bytes

    def _read(self, page: PageHeader) -> npt.NDArray[np.uint8] | None:
        """A page's body, where the stream stands, unpacked; None where that fails or its codec is another one."""
        data = self.stream.read(page.packed_bytes)
        if self.column.compression == "UNCOMPRESSED":
            return np.frombuffer(data, np.uint8)
        if self.column.compression not in CODECS:
            return None
        try:
            return np.frombuffer(pa.decompress(data, page.plain_bytes, codec=CODECS[self.column.compression]), np.uint8)
        except (pa.ArrowException, OSError):
            return None
