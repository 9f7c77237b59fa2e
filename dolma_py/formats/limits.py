"""What untrusted input may cost, and what becomes of a record that cannot be read.

Every reader yields pyarrow record batches of DOCUMENT_SCHEMA and, for each record it cannot read, one Rejection. Bad data never
raises; a missing file or a failing disk does. Readers of dumps and archives also say how many records they passed over (Skipped).
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from dolma_py.config import Config

EXCERPT_BYTES = 200
MAX_OBJECTS = 8_000_000  # of one JSON line: 64 bytes each
MIB = 1 << 20


class Limits(Config):
    """Bounds on one input file; together they bound a reader's memory whatever the file's size."""

    batch_text_bytes: int = Field(
        default=16 * MIB,
        ge=1,
        description="bytes of records per yielded batch; one longer record makes a batch of its own",
    )
    batch_rows: int = Field(
        default=65_536, ge=1, description="rows per yielded batch; bounds the Python objects of many tiny records"
    )
    max_record_bytes: int = Field(
        default=64 * MIB,
        ge=1,
        description="bytes of one JSON line, text file or WARC record; longer ones are rejected (our choice)",
    )
    max_html_bytes: int = Field(
        default=8 * MIB, ge=1, description="bytes of one HTML page before extraction (our choice)"
    )
    max_html_depth: int = Field(
        default=512,
        ge=1,
        description="nested HTML elements; browsers stop at 512, and extraction is quadratic in the depth",
    )
    max_header_bytes: int = Field(default=65_536, ge=64, description="bytes of one WARC record's header block")
    max_ratio: float = Field(
        default=500.0,
        ge=1,
        description="decompressed over compressed bytes of one file, above ratio_floor_bytes; more is a bomb",
    )
    ratio_floor_bytes: int = Field(
        default=64 * MIB, ge=0, description="decompressed bytes below which max_ratio does not count"
    )
    max_window_bytes: int = Field(
        default=128 * MIB,
        ge=1024,
        description="zstd window that a frame may ask for; 128 MiB is what zstd --long=27 writes",
    )


class Rejection(NamedTuple):
    """One record that could not be read.

    Reasons: invalid_json, not_object, not_utf8, lone_surrogate, missing_text, too_long, bomb, truncated, corrupt,
    trailing_garbage, window_too_large, binary, bad_encoding, no_text, too_deep, too_many_attributes, too_many_elements, bad_header,
    bad_length, bad_http, bad_parquet, too_large; of dumps, archives and papers bad_xml, bad_path, encrypted, unsupported, too_many_files,
    invalid_notebook; of PDFs those that dolma_py.formats.pdf lists.
    """

    path: str  # relative to the input root
    line: int  # 1-based line, row or record number
    offset_bytes: int  # of the record in the decompressed stream; -1 where a format has none
    reason: str
    excerpt: str  # first 200 bytes, ASCII with escapes


class Skipped(NamedTuple):
    """Records of one file that were read well and are no documents by the reader's settings, such as redirects of a wiki.

    They are counted in the manifest and are no share of `max_rejected_frac`.
    """

    path: str  # relative to the input root
    reason: str
    records: int


def has_too_many_objects(line: bytes) -> bool:
    """Whether a JSON line may become more than MAX_OBJECTS lists and objects: empty ones take 24 times their bytes of memory."""
    return len(line) > MAX_OBJECTS and line.count(b"{") + line.count(b"[") > MAX_OBJECTS


def make_excerpt(data: bytes | bytearray | memoryview) -> str:
    """The first 200 bytes as printable ASCII: bytes above 126 and control characters become backslash escapes.

    >>> make_excerpt(bytes([97, 10, 255]))
    'a\\\\n\\\\xff'
    """
    return bytes(data[:EXCERPT_BYTES]).decode("latin-1").encode("unicode_escape").decode("ascii")


def make_relative(path: str, root: str) -> str:
    """`path` below `root` with forward slashes; the bare file name when it is not below it. Never an absolute path.

    >>> make_relative("/data/in/a/b.txt", "/data/in"), make_relative("/data/in/a/b.txt", "")
    ('a/b.txt', 'b.txt')
    """
    path, root = path.replace("\\", "/"), root.replace("\\", "/").rstrip("/")
    below = path[len(root) + 1 :] if root and path.startswith(root + "/") else path.rsplit("/", 1)[-1]
    # names that are not UTF-8 arrive as lone surrogates, which no JSON or Arrow string can hold
    return below.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
