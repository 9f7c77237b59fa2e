"""PDFs are parsed in a process that may be lost: what is ordinary is read, what is not costs its own file."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest

from dolma_py.errors import DataError
from dolma_py.machine import read_peak_bytes
from dolma_py.pdf_process import PdfLimits, PdfProcess
from tests import made_pdfs
from tests.conftest import REPOSITORY
from tests.made_pdfs import Text, make_lines, make_pdf

GOOD = make_pdf([make_lines(["one", "two"]), make_lines(["three"])])


@pytest.fixture(scope="module")
def process():
    process = PdfProcess(PdfLimits())
    yield process
    process.close()


def texts_of(parsed) -> list[list[str]]:
    return [[line.text for line in page.lines] for page in parsed.pages]


def decode_png(png: bytes) -> np.ndarray:
    """(height, width, 3) of what we write: filter 0 alone."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and png.endswith(b"IEND\xaeB`\x82")
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind) == (8, 2)
    start = png.index(b"IDAT")
    size = struct.unpack(">I", png[start - 4 : start])[0]
    assert struct.unpack(">I", png[start + 4 + size : start + 8 + size])[0] == zlib.crc32(png[start : start + 4 + size])
    rows = np.frombuffer(zlib.decompress(png[start + 4 : start + 4 + size]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_an_ordinary_file(process):
    parsed = process.read_text(GOOD)
    assert (parsed.num_pages, parsed.reason) == (2, "")
    assert texts_of(parsed) == [["one", "two"], ["three"]]
    assert parsed.pages[0].size == (612.0, 792.0)
    line = parsed.pages[0].lines[0]
    assert 71 < line.x0 < 73 and 699 < line.y0 < 701 and 705 < line.y1 < 711


def test_pages_are_counted(process):
    assert process.count_pages(GOOD) == (2, [], "")


@pytest.mark.parametrize(
    ("box", "rotate", "expected"),
    [
        ((0, 0, 200, 400), 0, (50, 300)),
        ((0, 0, 200, 400), 90, (300, 150)),
        ((0, 0, 200, 400), 180, (150, 100)),
        ((0, 0, 200, 400), 270, (100, 50)),
        ((10, 100, 210, 500), 0, (40, 200)),
        ((10, 100, 210, 500), 90, (200, 160)),
    ],
)
def test_a_glyph_stands_where_it_is_shown(process, box, rotate, expected):
    """By where its ink is in the picture of the page."""
    page = make_pdf([[Text("-", 50, 300, 20)]], box=box, rotate=rotate)
    line = process.read_text(page).pages[0].lines[0]
    assert (line.x0, line.y0) == pytest.approx(expected, abs=12)
    drawn = process.render(page, 0, 1, long_side=400).pages[0]
    picture = decode_png(drawn.png)
    height, width = picture.shape[:2]
    assert (width, height) == ((400, 200) if rotate in (90, 270) else (200, 400))
    rows, columns = np.nonzero(picture[:, :, 0] < 128)
    assert line.x0 == pytest.approx(columns.min(), abs=3)
    assert line.y0 == pytest.approx(height - rows.max(), abs=6)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_page_is_turned_clockwise(process, turn):
    page = make_pdf([[Text("HH", 20, 350, 30)]], box=(0, 0, 200, 400))  # ink at the top left
    picture = decode_png(process.render(page, 0, 1, long_side=400, turn=turn).pages[0].png)
    rows, columns = np.nonzero(picture[:, :, 0] < 128)
    height, width = picture.shape[:2]
    is_top, is_left = rows.mean() < height / 2, columns.mean() < width / 2
    assert (is_top, is_left) == {0: (True, True), 90: (True, False), 180: (False, False), 270: (False, True)}[turn]


def test_the_same_picture_each_time(process):
    first = process.render(GOOD, 0, 2, long_side=300)
    assert [page.number for page in first.pages] == [0, 1]
    assert first == process.render(GOOD, 0, 2, long_side=300)


@pytest.mark.parametrize(
    ("side", "box"), [(1288, (0, 0, 612, 792)), (64, (0, 0, 14400, 14400)), (512, (0, 0, 10000, 1))]
)
def test_the_longer_side_is_as_set(process, side, box):
    picture = decode_png(process.render(make_pdf([make_lines(["a"])], box=box), 0, 1, long_side=side).pages[0].png)
    assert max(picture.shape) == side


HOSTILE = {
    "encrypted": (made_pdfs.make_encrypted, "encrypted"),
    "a beginning and no more": (lambda: GOOD[:300], "bad_pdf"),
    "no objects": (lambda: b"%PDF-1.7\n", "bad_pdf"),
    "noise": (lambda: b"%PDF-1.7\n" + bytes(range(256)) * 1000, "bad_pdf"),
    "no pages": (lambda: make_pdf([]), "bad_pdf"),
    "10,001 pages": (lambda: make_pdf([[]] * 10_001), "too_many_pages"),
    "4 GiB of blanks in 20 kB": (made_pdfs.make_bomb, "pdf_crash"),
    "forms in forms, 10^6 strings": (
        lambda: made_pdfs.make_laughing(6),
        ("pdf_crash", "too_much_memory", "pdf_timeout"),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_itself(process, name):
    make, reasons = HOSTILE[name]
    parsed = process.read_text(make())
    assert parsed.reason in reasons and parsed.pages == []
    assert texts_of(process.read_text(GOOD)) == [["one", "two"], ["three"]]


def test_ten_thousand_pages(process):
    parsed = process.read_text(make_pdf([make_lines([f"page {number}"]) for number in range(10_000)]))
    assert (parsed.num_pages, parsed.reason, len(parsed.pages)) == (10_000, "", 10_000)
    assert texts_of(parsed)[9_999] == ["page 9999"]


def test_a_huge_page(process):
    parsed = process.read_text(make_pdf([make_lines(["on a square of 35 km"])], box=(0, 0, 1e8, 1e8)))
    assert texts_of(parsed) == [["on a square of 35 km"]]


def test_what_is_outside_of_the_page_is_not_read(process):
    assert texts_of(process.read_text(make_pdf([[Text("in", 50, 50), Text("out", 50, 5000)]]))) == [["in"]]


def test_a_file_that_hangs_is_given_up_in_time():
    process = PdfProcess(PdfLimits(max_seconds=2.0))
    process.read_text(GOOD)
    started = time.monotonic()
    assert process.read_text(made_pdfs.make_laughing(last=b"q Q")).reason == "pdf_timeout"
    assert 2 <= time.monotonic() - started < 6
    assert texts_of(process.read_text(GOOD)) == [["one", "two"], ["three"]]
    assert process.num_started == 2
    process.close()


def test_memory_is_bounded():
    """The parsing process stays below its limit, and this one does not grow."""
    process = PdfProcess(PdfLimits(max_memory_bytes=400 << 20))
    process.read_text(GOOD)
    before = read_peak_bytes()
    assert process.read_text(made_pdfs.make_bomb()).reason == "pdf_crash"
    assert read_peak_bytes() - before < 64 << 20
    process.close()


def test_a_process_that_is_killed_meanwhile():
    process = PdfProcess(PdfLimits())
    process.read_text(GOOD)
    child = process._process.pid
    threading.Timer(0.5, os.kill, (child, signal.SIGKILL)).start()
    assert process.read_text(made_pdfs.make_laughing()).reason == "pdf_crash"
    assert texts_of(process.read_text(GOOD)) == [["one", "two"], ["three"]]
    process.close()


def test_answers_are_bounded():
    process = PdfProcess(PdfLimits(max_text_bytes=3_000))
    assert process.read_text(make_pdf([make_lines(["long " * 100] * 40)])).reason == "too_long"
    process.close()


def test_nobody_to_answer_it_ends():
    """The parent is killed with -9 while a file hangs: the kernel ends the process that parses, by its bound on CPU time."""
    parent = """
import sys
from dolma_py.pdf_process import PdfLimits, PdfProcess
from tests.made_pdfs import make_laughing
process = PdfProcess(PdfLimits(max_seconds=1.0))
process.count_pages(make_laughing())
print(process._process.pid, flush=True)
process.limits = process.limits._replace(max_seconds=600.0)
process.read_text(make_laughing())
"""
    run = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True)
    child = int(run.stdout.readline())
    time.sleep(0.5)
    run.kill()
    run.communicate(timeout=30)
    end = time.monotonic() + 30
    while time.monotonic() < end and os.path.exists(f"/proc/{child}/stat"):
        with open(f"/proc/{child}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
        time.sleep(0.1)
    assert time.monotonic() < end


def test_it_may_neither_open_files_nor_sockets():
    """What the process gave up, asked of one that confined itself the same way."""
    program = """
import resource, socket
from dolma_py import pdf_worker
pdf_worker._confine(1 << 30)
found = []
for name, act in (("file", lambda: open("/etc/hostname")), ("socket", socket.socket)):
    try:
        act()
        found.append(name)
    except OSError as error:
        found.append(error.strerror)
print(found, resource.getrlimit(resource.RLIMIT_FSIZE), resource.getrlimit(resource.RLIMIT_CORE))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert run.stdout == "['Too many open files', 'Too many open files'] (0, 0) (0, 0)\n"


def test_the_working_folder_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "dolma_py").mkdir()
    (tmp_path / "dolma_py" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    process = PdfProcess(PdfLimits())
    assert texts_of(process.read_text(GOOD)) == [["one", "two"], ["three"]]
    process.close()


def test_a_process_that_cannot_start_is_an_error(tmp_path, monkeypatch):
    """Not a rejection of each file."""
    (tmp_path / "pypdfium2.py").write_text("raise ImportError('none of it')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    process = PdfProcess(PdfLimits())
    with pytest.raises(DataError, match="cannot be started .ImportError: none of it.*Is pypdfium2 installed"):
        process.read_text(GOOD)
    process.close()


@pytest.mark.parametrize("seed", range(40))
def test_damaged_copies_never_raise(process, seed):
    """Flipped, cut out and doubled bytes, and other numbers: read or rejected, never an exception."""
    choose = random.Random(seed)
    data = bytearray(make_pdf([make_lines([f"line {n}" for n in range(20)])] * 3))
    for _ in range(choose.choice([1, 10, 100])):
        at = choose.randrange(len(data))
        kind = choose.randrange(3)
        if kind == 0:
            data[at] = choose.randrange(256)
        elif kind == 1:
            del data[at : at + choose.randrange(1, 50)]
        else:
            data[at:at] = data[at : at + choose.randrange(1, 500)]
    parsed = process.read_text(bytes(data))
    assert parsed.reason == "" or parsed.pages == []
    assert process.render(bytes(data), 0, 1, long_side=64).reason in ("", parsed.reason)
