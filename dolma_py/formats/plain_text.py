"""Text files of any kind (.txt, .rst, .md, source code): one file is one document."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.limits import Limits, Rejection, make_relative
from dolma_py.formats.text_encoding import Decoded, decode_text


def read_documents(
    path: str,
    *,
    source: str,
    limits: Limits,
    fields: FieldMap,
    added: dt.datetime | None,
    open_stream: Callable[[str], BinaryIO],
    root: str = "",
) -> Iterator[pa.RecordBatch | Rejection]:
    """One batch of one document, or one rejection. Line ends stay as they are; metadata gets `path`, `encoding` and,
    where some characters could not be read, `replaced_chars` (dolma_py.formats.text_encoding)."""
    name = make_relative(path, root)
    builder = BatchBuilder(name, source=source, added=added, limits=limits)
    with open_stream(path) as stream:
        data, reason = read_whole(stream, find_codec(path), limits=limits)
    decoded = decode_text(data) if not reason else Decoded("", "", reason)
    if not decoded.reason and not decoded.text.strip():
        decoded = Decoded("", "", "no_text")
    if decoded.reason:
        builder.reject(decoded.reason, data, line=1, offset_bytes=0)
    else:
        metadata = {"path": name} | decoded.facts
        builder.add(Record(None, decoded.text, source, None, None, metadata), len(data))
    yield from builder.drain()
