"""Text files of any kind (.txt, .rst, .md, source code): one file is one document."""

from __future__ import annotations

import codecs
import datetime as dt
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.limits import Limits, Rejection, make_relative


class Decoded(NamedTuple):
    """Text with the encoding it was in; or the reason why there is none."""

    text: str
    encoding: str
    reason: str = ""


def decode_text(data: bytes) -> Decoded:
    """Bytes to text: a byte order mark decides, else UTF-8, else Windows-1252, else Latin-1. A NUL means binary.

    >>> decode_text(bytes([99, 97, 102, 233]))
    Decoded(text='caf\\xe9', encoding='windows-1252', reason='')
    """
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                return Decoded("", encoding, "bad_encoding")
            return Decoded("", encoding, "binary") if "\0" in text else Decoded(text, encoding)
    if b"\0" in data:
        return Decoded("", "", "binary")
    for encoding in ("utf-8", "windows-1252"):
        try:
            return Decoded(data.decode("utf-8-sig" if encoding == "utf-8" else encoding), encoding)
        except UnicodeDecodeError:
            continue
    return Decoded(data.decode("latin-1"), "latin-1")


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
    """One batch of one document, or one rejection. Line ends stay as they are; metadata gets `path` and `encoding`."""
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
        metadata = {"path": name, "encoding": decoded.encoding}
        builder.add(Record(None, decoded.text, source, None, None, metadata), len(data))
    yield from builder.drain()
