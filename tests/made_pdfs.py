"""PDF files written byte by byte: ordinary ones, and those that somebody wrote to do harm."""

from __future__ import annotations

import zlib
from typing import NamedTuple


class Text(NamedTuple):
    """A string on a page: where its base line begins, points from the lower left corner."""

    text: str
    x: float
    y: float
    size: float = 10.0
    turn: int = 0  # degrees, counter-clockwise


def show(texts: list[Text]) -> bytes:
    """A content stream that prints them in that order, in Helvetica."""
    turns = {0: "1 0 0 1", 90: "0 1 -1 0", 180: "-1 0 0 -1", 270: "0 -1 1 0"}
    lines = []
    for text in texts:
        escaped = text.text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        lines.append(f"BT /F1 {text.size} Tf {turns[text.turn]} {text.x} {text.y} Tm ({escaped}) Tj ET")
    return "\n".join(lines).encode("latin-1")


def build(objects: dict[int, bytes], *, trailer: bytes = b"", root: int = 1) -> bytes:
    """A file of those objects with a right cross-reference table."""
    data = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = {}
    for number in sorted(objects):
        offsets[number] = len(data)
        data += b"%d 0 obj\n" % number + objects[number] + b"\nendobj\n"
    start = len(data)
    size = max(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        data += b"%010d 00000 n \n" % offsets[number] if number in offsets else b"0000000000 00000 f \n"
    return bytes(data + b"trailer\n<</Size %d/Root %d 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (size, root, trailer, start))


def stream(content: bytes, extra: bytes = b"") -> bytes:
    """A stream object."""
    return b"<</Length %d%s>>\nstream\n" % (len(content), extra) + content + b"\nendstream"


def make_pdf(
    pages: list[list[Text]], *, box: tuple[float, ...] = (0, 0, 612, 792), rotate: int = 0, trailer: bytes = b""
) -> bytes:
    """A page for each list of texts."""
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    }
    kids = []
    for number, texts in enumerate(pages):
        page, content = 10 + 2 * number, 11 + 2 * number
        kids.append(b"%d 0 R" % page)
        media = b" ".join(b"%.3f" % side for side in box)
        objects[page] = (
            b"<</Type/Page/Parent 2 0 R/MediaBox[" + media + b"]/Rotate %d" % rotate
            + b"/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>" % content
        )  # fmt: skip
        objects[content] = stream(show(texts))
    objects[2] = b"<</Type/Pages/Count %d/Kids[" % len(pages) + b" ".join(kids) + b"]>>"
    return build(objects, trailer=trailer)


def make_lines(lines: list[str], *, x: float = 72, top: float = 700, step: float = 14, size: float = 10) -> list[Text]:
    """Lines of text below each other."""
    return [Text(line, x, top - step * number, size) for number, line in enumerate(lines)]


def make_encrypted() -> bytes:
    """A file that asks for a password nobody knows."""
    crypt = b"/ID[<00112233445566778899aabbccddeeff><00112233445566778899aabbccddeeff>]"
    crypt += b"/Encrypt<</Filter/Standard/V 2/R 3/Length 128/P -4/O<" + b"5a" * 32 + b">/U<" + b"a5" * 32 + b">>>"
    return make_pdf([make_lines(["a secret"])], trailer=crypt)


def make_laughing(levels: int = 14, width: int = 10, *, last: bytes = b"BT /F1 9 Tf 72 700 Td (ha) Tj ET") -> bytes:
    """A page whose content calls a form ten times, which calls another ten times, and so on: 10^levels times `last`."""
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Count 1/Kids[4 0 R]>>",
        3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        4: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</XObject<</X 10 0 R>>>>/Contents 5 0 R>>",
        5: stream(b"/X Do " * width),
    }  # fmt: skip
    for level in range(levels):
        inner = b"/X Do " * width if level < levels - 1 else last
        extra = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>/XObject<</X %d 0 R>>>>" % (
            11 + level
        )
        objects[10 + level] = stream(inner, extra)
    return build(objects)


def make_bomb(num_bytes: int = 1 << 32) -> bytes:
    """A page whose content is num_bytes of spaces, compressed twice."""
    packer = zlib.compressobj(9)
    block = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated
    once = (
        block + block[2:] * ((num_bytes >> 20) - 1) + zlib.compressobj(9).flush()[2:]
    )  # the checksum is wrong; nobody looks
    twice = zlib.compress(once, 9)
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Count 1/Kids[4 0 R]>>",
        4: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<<>>/Contents 5 0 R>>",
        5: stream(twice, b"/Filter[/FlateDecode/FlateDecode]"),
    }  # fmt: skip
    return build(objects)
