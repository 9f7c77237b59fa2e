"""What the pages of a Parquet row group would become in memory, read from their headers: footers lie, and Arrow decodes pages whole.

A page of 2 GB takes 64 kB of file under zstd, a dictionary's text is written out for each row that names it, and a level repeated a
billion times is two bytes. None of that is seen in the footer, and all of it in the headers of the pages, of which there is one a megabyte.

Source: apache/parquet-format, parquet.thrift (PageHeader, Encoding) and Thrift's compact protocol.
"""

from __future__ import annotations

from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

from dolma_py.formats.limits import Limits
from dolma_py.formats.parquet_batches import FIRST_ROWS
from dolma_py.formats.parquet_words import DATA_PAGE, DATA_PAGE_V2, DICTIONARY_PAGE, RLE, ColumnWords, PageHeader

HEADER_BYTES = 4096  # read at a time; a header with long statistics takes more
MAX_HEADER_BYTES = 16 << 20  # as Arrow
MAX_REPEATED_BYTES = 256 << 20  # of one batch, where each row were the longest text that may be repeated
VALUE_BYTES = 16  # of a number, or of a string beside its letters, at most
LEVEL_BYTES = 4  # of a value in a nested column, in memory: two levels of 16 bits
DELTA_BYTE_ARRAY = 7  # the encoding whose values begin as the one before them
# types of Thrift's compact protocol
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


class PagesError(ValueError):
    """The bytes are no page header. Arrow is left to say what is wrong."""


class GroupShape(NamedTuple):
    """What reading a row group would take."""

    reason: str  # "", bomb, or bad_parquet where pages and footer differ
    detail: str
    max_rows: int  # of a batch, so that texts which are repeated stay within MAX_REPEATED_BYTES
    packed_bytes: int  # of all its columns
    first_rows: int = (
        FIRST_ROWS  # of its first batch, so that they take about limits.batch_text_bytes whatever they are
    )
    column_bytes: dict[str, int] | None = None  # most that all rows of each column take, None where that is not known


class CompactReader:
    """Thrift's compact protocol over bytes; a value is an int, bytes, or None for what nobody asks for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read_struct(self, depth: int = 0) -> dict[int, Any]:
        """Field id -> value; structs are dicts of the same kind, lists their items."""
        found: dict[int, Any] = {}
        field = 0
        while True:
            head = self._byte()
            if head == 0:
                return found
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            found[field] = self._value(head & 15, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in (I16, I32, I64):
            return self._zigzag()
        if kind == BINARY:
            return self._skip(self._varint())
        if kind == STRUCT and depth < 8:
            return self.read_struct(depth + 1)
        if kind in (BYTE, DOUBLE):
            return self._skip(1 if kind == BYTE else 8)
        raise PagesError(f"type {kind}")  # lists and maps stand in no page header

    def _skip(self, num_bytes: int) -> None:
        self.at += num_bytes

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise EOFError
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise PagesError("varint")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def measure_group(stream: BinaryIO, file: pq.ParquetFile, group: int, limits: Limits) -> GroupShape:
    """Look at the headers of all pages of a row group; `stream` is that of the file and is moved.

    What is no Parquet has the shape of an ordinary group: reading it tells. Errors of the stream raise.
    """
    metadata = file.metadata.row_group(group)
    packed = plain = repeated = words = spread = 0
    is_known = True  # what a row takes, at most
    column_bytes: dict[str, int] = {}
    for index in range(metadata.num_columns):
        column, levels = metadata.column(index), file.schema.column(index)
        is_nested = levels.max_repetition_level > 0
        values = word = own = 0
        is_known &= not is_nested
        dictionary = ColumnWords(stream, column, levels)
        try:
            for page in iterate_pages(stream, column):
                decoded = max(page.plain_bytes, LEVEL_BYTES * page.num_values if is_nested else page.num_values)
                if is_bomb(decoded, page.packed_bytes, limits):
                    detail = f"a page of {page.packed_bytes} bytes holds {decoded} bytes of {column.path_in_schema}"
                    return GroupShape("bomb", detail, 1, packed)
                packed, plain, own = packed + page.packed_bytes, plain + decoded, own + decoded
                dictionary.see(page)
                if page.encoding == DELTA_BYTE_ARRAY and page.kind != DICTIONARY_PAGE:
                    repeated, word = max(repeated, page.plain_bytes), max(word, page.plain_bytes)
                values += page.num_values if page.kind != DICTIONARY_PAGE else 0
        except PagesError:
            packed += max(0, column.total_compressed_size)
            repeated, is_known = max(repeated, dictionary.measure(0)[0]), False
            continue
        longest, named = dictionary.measure(limits.batch_text_bytes)
        repeated, word, spread = max(repeated, longest), max(word, longest), spread + named
        words += word
        column_bytes[column.path_in_schema] = own + named + metadata.num_rows * (word + VALUE_BYTES)
        if not is_nested and values != metadata.num_rows:
            detail = f"pages of {column.path_in_schema} hold {values} values, the footer says {metadata.num_rows} rows"
            return GroupShape("bad_parquet", detail, 1, packed)
    if is_bomb(plain, packed, limits):
        return GroupShape("bomb", f"{packed} bytes hold {plain}", 1, packed)
    max_rows = max(1, MAX_REPEATED_BYTES // max(1, repeated))
    if not is_known:
        return GroupShape("", "", max_rows, packed)
    first_rows = max(FIRST_ROWS, (2 * limits.batch_text_bytes - plain - spread) // max(1, words))
    return GroupShape("", "", max_rows, packed, first_rows, column_bytes)


def is_bomb(plain_bytes: int, packed_bytes: int, limits: Limits) -> bool:
    """Whether so much may not come out of so little."""
    return plain_bytes > limits.ratio_floor_bytes and plain_bytes > limits.max_ratio * packed_bytes


def iterate_pages(stream: BinaryIO, column: Any) -> Any:
    """Page headers of a column chunk, where Arrow looks for them, the stream at each page's body; ends at num_values or at the chunk's end."""
    at = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset and 0 < column.dictionary_page_offset < at:
        at = column.dictionary_page_offset
    end = at + column.total_compressed_size
    values = 0
    while at < end and values < column.num_values:
        page, num_bytes = read_page_header(stream, at, end)
        stream.seek(at + num_bytes)
        yield page
        at += num_bytes + page.packed_bytes
        values += page.num_values if page.kind != DICTIONARY_PAGE else 0


def read_page_header(stream: BinaryIO, at: int, end: int) -> tuple[PageHeader, int]:
    """(the page whose header stands at a place of the file, bytes of that header)."""
    size = HEADER_BYTES
    while True:
        stream.seek(at)
        data = stream.read(min(size, end - at))
        reader = CompactReader(data)
        try:
            fields = reader.read_struct()
            break
        except EOFError:
            if len(data) < size or size >= MAX_HEADER_BYTES:
                raise PagesError("cut off") from None
            size *= 16
    kind, plain_bytes, packed_bytes = (fields.get(number) for number in (1, 2, 3))
    own = {DATA_PAGE: fields.get(5), DICTIONARY_PAGE: fields.get(7), DATA_PAGE_V2: fields.get(8)}.get(kind or 0)
    own = own if isinstance(own, dict) else {}
    num_values, encoding = own.get(1, 0), own.get(4 if kind == DATA_PAGE_V2 else 2, 0)
    sizes = (kind, plain_bytes, packed_bytes, num_values, encoding, own.get(3, RLE) if kind == DATA_PAGE else RLE)
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise PagesError("sizes")
    return PageHeader(*sizes), reader.at  # type: ignore[arg-type]
