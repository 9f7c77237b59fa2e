"""The entries of a tar stream, one at a time and in bounded memory, when headers lie, are broken, or name places outside.

Nothing is ever unpacked onto a disk: an entry is a name and bytes. Formats: ustar, GNU long names, pax names and sizes. A header is
believed when its sum is right; otherwise it is one bad entry, and the search goes on from block to block for the next good one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dolma_py.formats.decompress import Break
from dolma_py.formats.limits import EXCERPT_BYTES

BLOCK = 512
MAX_EXTRA_BYTES = 1 << 20  # of a long name or a pax header: a path has 4 KiB at most
# by type flag; every other one (devices, pipes, sparse files) is special
KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"1": "link", b"2": "link", b"5": "folder"}


class Entry(NamedTuple):
    """One entry of an archive. Files have `data`, unless they are too long (`is_long`); bad ones a `reason`."""

    number: int  # 1-based
    offset_bytes: int  # of the header in the plain stream; -1 in a zip
    name: str  # forward slashes
    kind: str  # file, folder, link, special
    data: bytes = b""
    is_long: bool = False
    reason: str = ""


def iterate_tar(events: Iterator[bytes | Break], max_file_bytes: int) -> Iterator[Entry]:
    """Entries of a stream of plain bytes. Reasons: bad_header (of more than a megabyte, too), truncated, and those of the compressed stream."""
    reader = _Blocks(events)
    extra: dict[str, str] = {}
    number, is_searching = 0, False
    while True:
        offset_bytes = reader.offset_bytes
        header = reader.take(BLOCK)
        if len(header) < BLOCK:
            if header or reader.reason:
                yield Entry(
                    number + 1, offset_bytes, "", "file", header[:EXCERPT_BYTES], reason=reader.reason or "truncated"
                )
            return
        if not header.strip(b"\0"):
            continue  # two empty blocks end an archive, but archives that follow each other are read on
        size = _parse_header(header)
        if size is None:
            if not is_searching:
                number += 1
                yield Entry(number, offset_bytes, "", "file", header[:EXCERPT_BYTES], reason="bad_header")
            is_searching = True
            continue
        is_searching = False
        flag = header[156:157]
        if flag in b"xgLK" and flag:
            content = reader.take_padded(size, MAX_EXTRA_BYTES)
            if size > MAX_EXTRA_BYTES:
                number += 1
                yield Entry(number, offset_bytes, "", "file", content[:EXCERPT_BYTES], reason="bad_header")
            elif flag == b"x":
                extra |= _parse_pax(content)
            elif flag == b"L":
                extra["path"] = _decode(content.rstrip(b"\0"))
            continue
        number += 1
        name = extra.get("path") or _decode(_join_prefix(header))
        stated = extra.get("size", "")
        size = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else size
        extra = {}
        kind = KINDS.get(flag, "special")
        if kind == "file" and name.endswith("/"):
            kind = "folder"
        if kind in ("link", "folder"):
            size = 0  # whatever the header says, no content follows
        is_long = kind == "file" and size > max_file_bytes
        data = reader.take_padded(size, size if kind == "file" and not is_long else 0)
        if reader.is_short:
            yield Entry(number, offset_bytes, name, kind, data[:EXCERPT_BYTES], reason=reader.reason or "truncated")
            return
        yield Entry(number, offset_bytes, name, kind, data, is_long)


class _Blocks:
    """Bytes off the front of a stream."""

    def __init__(self, events: Iterator[bytes | Break]) -> None:
        self.events = events
        self.buffer = bytearray()
        self.offset_bytes = 0
        self.reason = ""
        self.is_short = False  # less came than was asked for

    def take(self, num_bytes: int) -> bytes:
        while len(self.buffer) < num_bytes and self._fill():
            pass
        data = bytes(self.buffer[:num_bytes])
        self._drop(len(data))
        self.is_short = len(data) < num_bytes
        return data

    def take_padded(self, num_bytes: int, max_bytes: int) -> bytes:
        """At most max_bytes of the next num_bytes; the others and the padding to whole blocks are stepped over."""
        kept = self.take(min(num_bytes, max_bytes))
        is_short = self.is_short
        left = num_bytes - len(kept) + -num_bytes % BLOCK
        while left and not is_short:
            step = min(left, len(self.buffer))
            self._drop(step)
            left -= step
            if left and not self._fill():
                is_short = left > -num_bytes % BLOCK  # the last padding may be missing
                break
        self.is_short = is_short
        return kept

    def _fill(self) -> bool:
        for event in self.events:
            if isinstance(event, Break):
                self.reason = event.reason or self.reason
                continue
            self.buffer += event
            return True
        return False

    def _drop(self, num_bytes: int) -> None:
        del self.buffer[:num_bytes]
        self.offset_bytes += num_bytes


def is_tar_header(block: bytes) -> bool:
    """Whether a stream that begins with these 512 bytes is a tar archive."""
    return len(block) == BLOCK and bool(block.strip(b"\0")) and _parse_header(block) is not None


def _parse_header(header: bytes) -> int | None:
    """The size of the entry's content; None when the header's sum is wrong."""
    stated = _parse_number(header[148:156])
    plain = header[:148] + b" " * 8 + header[156:]
    size = _parse_number(header[124:136])
    signed = sum(plain) - 256 * sum(byte > 127 for byte in plain)  # some old writers summed signed characters
    return size if stated in (sum(plain), signed) else None


def _parse_number(field: bytes) -> int | None:
    """Octal digits, or binary with a leading 0x80 for large files."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip()
    if not digits:
        return 0
    return int(digits, 8) if all(byte in b"01234567" for byte in digits) else None


def _join_prefix(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _parse_pax(content: bytes) -> dict[str, str]:
    """The path and size of a pax header: records of `length key=value`."""
    found = {}
    position = 0
    while position < len(content):
        length, blank, _ = content[position : position + 20].partition(b" ")
        if not blank or not length.isdigit() or int(length) <= len(length) + 1:
            break
        key, _, value = content[position + len(length) + 1 : position + int(length)].rstrip(b"\n").partition(b"=")
        if key in (b"path", b"size"):
            found[key.decode()] = _decode(value)
        position += int(length)
    return found


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "replace")
