"""The process that parses PDFs, so that one which hangs, crashes or fills memory costs a process and no more.

Started as `python -c` by dolma_py.pdf_process; imports the standard library, pypdfium2 and what arranges a page alone. Before it takes the
first file it gives up the right to open files and sockets, to write to a file and to use more memory than it was told. So fonts that
a PDF does not bring are drawn in those that pdfium has inside, on every machine the same.

Frames on both pipes are eight bytes of length and the content. A request is a JSON object and the PDF's bytes; answers are JSON
objects, each with `pages`, `text`, `png` (a further frame of bytes follows) or, at last, `end`.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import struct
import sys
import zlib
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from dolma_py.pdf_layout import SPLIT_HYPHEN, Glyph
from dolma_py.pdf_tables import arrange_page

MAX_PAGE_GLYPHS = 200_000
LEAST_PIXELS = 8
_MAYBE_HYPHENS = frozenset({0x02, 0x2D, 0xAD, 0x2010})
_HEAD = struct.Struct("<Q")


def serve(max_memory_bytes: int, max_seconds: float) -> None:
    """Answer requests from standard input until it ends; the kernel ends what takes max_seconds of CPU, should nobody wait for it."""
    answers = os.dup(1)
    silence = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):  # what a library prints is no answer
        os.dup2(silence, number)
    os.close(silence)
    _confine(max_memory_bytes)
    _send(answers, b"{}")  # ready
    while (request := _receive()) is not None:
        data = _receive() or b""
        used = resource.getrusage(resource.RUSAGE_SELF)
        _set_limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + max_seconds) + 2, is_soft=True)
        try:
            for answer in _answer(json.loads(request), data):
                _send(answers, answer)
        except MemoryError:
            _send(answers, json.dumps({"end": "too_much_memory"}).encode())
            os._exit(1)  # whatever is left of it is not to be trusted


def _confine(max_memory_bytes: int) -> None:
    _set_limit(resource.RLIMIT_AS, max_memory_bytes)
    for kind, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 3)):
        _set_limit(kind, value)


def _set_limit(kind: int, value: int, *, is_soft: bool = False) -> None:
    most = resource.getrlimit(kind)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, most if is_soft else value))


def _receive() -> bytes | None:
    head = sys.stdin.buffer.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    num_bytes = _HEAD.unpack(head)[0]
    data = sys.stdin.buffer.read(num_bytes)
    return data if len(data) == num_bytes else None


def _send(descriptor: int, data: bytes) -> None:
    rest = memoryview(_HEAD.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _answer(request: dict[str, Any], data: bytes) -> Any:
    """Frames of one request: {"op": "text" or "png", "first", "last" (pages from 0, exclusive), "max_pages", ...}."""
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        yield _end("encrypted" if "password" in str(error).lower() else "bad_pdf")
        return
    try:
        num_pages = len(document)
        yield json.dumps({"pages": num_pages}).encode()
        if num_pages == 0:
            yield _end("no_pages")
        elif num_pages > request["max_pages"]:
            yield _end("too_many_pages")
        else:
            for number in range(request["first"], min(request["last"], num_pages)):
                yield from _answer_page(document, number, request)
            yield _end("")
    finally:
        document.close()


def _end(reason: str) -> bytes:
    return json.dumps({"end": reason}).encode()


def _answer_page(document: Any, number: int, request: dict[str, Any]) -> Any:
    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        yield json.dumps({"text": None, "page": number}).encode()
        return
    try:
        if request["op"] == "png":
            width, height, png = render_png(page, request["long_side"], request["turn"])
            yield json.dumps({"png": [width, height], "page": number}).encode()
            yield png
        else:
            glyphs, is_cut = read_glyphs(page)
            lines = arrange_page(glyphs, tables=request["tables"])
            yield json.dumps({"text": lines, "page": number, "size": page.get_size(), "cut": is_cut}).encode()
    except pypdfium2.PdfiumError:
        yield json.dumps({"text": None, "page": number}).encode()
    finally:
        page.close()


def read_glyphs(page: Any) -> tuple[list[Glyph], bool]:
    """The visible ones of the page's first MAX_PAGE_GLYPHS characters in the order of pdfium, and whether it has more.

    Boxes are in points from the lower left corner of the page as it is shown, turned and cropped; what is outside is not shown.
    """
    text_page = page.get_textpage()
    raw = text_page.raw
    place = _Place(page)
    turn = math.radians(place.rotation)
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    get_code, get_box = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetCharBox
    glyphs: list[Glyph] = []
    angle = 0.0
    is_new = True  # the angle is that of a word's first character
    num_chars = pdfium.FPDFText_CountChars(raw)
    for at in range(min(num_chars, MAX_PAGE_GLYPHS)):
        code = get_code(raw, at)
        if code in _MAYBE_HYPHENS and pdfium.FPDFText_IsHyphen(raw, at) == 1:
            code = ord(SPLIT_HYPHEN)
        if code <= 0x20:
            is_new = True
            if pdfium.FPDFText_IsGenerated(raw, at) == 1:
                glyphs.append(Glyph(chr(code), 0.0, 0.0, 0.0, 0.0, 0.0, True))
                continue
        if code == 0 or 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            continue
        get_box(raw, at, left, right, bottom, top)
        box = place.turn(left.value, bottom.value, right.value, top.value)
        if place.shows(box):
            if is_new:
                angle = pdfium.FPDFText_GetCharAngle(raw, at) + turn
                is_new = False
            glyphs.append(Glyph(chr(code), *box, angle))
    text_page.close()
    return glyphs, num_chars > MAX_PAGE_GLYPHS


class _Place:
    """From the coordinates of a page's content to those of the page as it is shown."""

    def __init__(self, page: Any) -> None:
        x0, y0, x1, y1 = page.get_cropbox()
        self.x0, self.y0 = min(x0, x1), min(y0, y1)
        self.width, self.height = abs(x1 - x0), abs(y1 - y0)
        self.rotation = page.get_rotation()  # clockwise
        if not (self.width and self.height):  # pdfium shows such a page in a size of its own
            sides = page.get_size()
            self.width, self.height = reversed(sides) if self.rotation in (90, 270) else sides
        shown = (self.height, self.width) if self.rotation in (90, 270) else (self.width, self.height)
        self.reach = (2.0 * shown[0], 2.0 * shown[1])

    def turn(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        x0, x1, y0, y1 = x0 - self.x0, x1 - self.x0, y0 - self.y0, y1 - self.y0
        if not self.rotation:
            return x0, y0, x1, y1
        if self.rotation == 90:
            return y0, self.width - x1, y1, self.width - x0
        if self.rotation == 180:
            return self.width - x1, self.height - y1, self.width - x0, self.height - y0
        return self.height - y1, x0, self.height - y0, x1

    def shows(self, box: tuple[float, float, float, float]) -> bool:
        return bool(0 <= box[0] + box[2] <= self.reach[0] and 0 <= box[1] + box[3] <= self.reach[1])


def render_png(page: Any, long_side: int, turn: int) -> tuple[int, int, bytes]:
    """(width, height, PNG) of a page, its longer side `long_side` pixels, turned clockwise by `turn` degrees beyond its own."""
    width, height = page.get_size()
    page.set_rotation((page.get_rotation() + turn) % 360)
    width, height = page.get_size()
    scale = long_side / max(width, height, 1e-3)
    columns, rows = (max(LEAST_PIXELS, round(side * scale)) for side in (width, height))
    bitmap = pypdfium2.PdfBitmap.new_native(columns, rows, pdfium.FPDFBitmap_BGR, rev_byteorder=True)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, columns, rows)
    pdfium.FPDF_RenderPageBitmap(
        bitmap.raw, page.raw, 0, 0, columns, rows, 0, pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
    )
    pixels, stride = memoryview(bitmap.buffer).cast("B"), bitmap.stride
    # each row: filter 0, then red, green, blue
    raw = b"".join(b"\0" + bytes(pixels[row * stride : row * stride + 3 * columns]) for row in range(rows))
    bitmap.close()
    return columns, rows, make_png(columns, rows, raw)


def make_png(columns: int, rows: int, raw: bytes) -> bytes:
    """8-bit RGB rows, each after its filter byte, as a PNG file without a time."""
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)
