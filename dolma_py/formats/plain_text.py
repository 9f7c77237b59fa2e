"""Text files of any kind (.txt, .rst, .md, source code): one file is one document."""

from __future__ import annotations

import codecs
import contextlib
import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from dolma_py.formats.batches import BatchBuilder
from dolma_py.formats.decompress import find_codec, read_whole
from dolma_py.formats.fields import FieldMap, Record
from dolma_py.formats.limits import Limits, Rejection, make_relative

C1_CONTROL = re.compile("[\x80-\x9f]")
# encodings that the detector (uchardet's statistics, in resiliparse) tells from Windows-1252 by a few letters; others, such as
# ISO 8859-10, it takes for Spanish words
DETECTED = frozenset((
    "shift_jis", "cp932", "euc_jp", "gb2312", "gbk", "gb18030", "big5", "euc_kr", "cp949", "koi8-r", "cp1251", "cp866", "mac_cyrillic",
    "iso8859-5", "cp1250", "iso8859-2", "cp1253", "iso8859-7", "cp1254", "iso8859-9", "cp1255", "iso8859-8", "cp1256", "iso8859-6", "cp874",
    "tis-620", "iso8859-11",
))  # fmt: skip


class Decoded(NamedTuple):
    """Text with the encoding it was in; or the reason why there is none."""

    text: str
    encoding: str
    reason: str = ""


def decode_text(data: bytes) -> Decoded:
    """Bytes to text: a byte order mark decides, else UTF-8, else one of DETECTED that the bytes look like, else Windows-1252.

    A NUL means binary; bytes of which Windows-1252 has no letters are bad_encoding.

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
    with contextlib.suppress(UnicodeDecodeError):
        return Decoded(data.decode("utf-8-sig"), "utf-8")
    detected, western = _decode(data, _detect(data)), _decode(data, "windows-1252")
    if detected is None or (western is not None and detected.text == western.text):
        return western or Decoded("", "", "bad_encoding")
    return detected


def _decode(data: bytes, encoding: str) -> Decoded | None:
    """The text in that encoding; None where it has control characters that no text has (U+0080 to U+009F)."""
    with contextlib.suppress(UnicodeDecodeError, LookupError):
        text = data.decode(encoding)
        return None if C1_CONTROL.search(text) else Decoded(text, encoding)
    return None


def _detect(data: bytes) -> str:
    """One of DETECTED, else windows-1252."""
    from resiliparse.parse.encoding import detect_encoding  # few files need it

    found = detect_encoding(data)
    return found if found in DETECTED else "windows-1252"


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
