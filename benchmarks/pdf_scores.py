"""olmOCR-bench's tests on both routes of PDF ingestion, beside pdfium's and poppler's own text; pages a second.

    DOLMA_PY_DATA=<folder> python -m benchmarks.pdf_scores

Reads <folder>/pdf/tests.jsonl and the PDFs beside it. `pdfium` is what pypdfium2 gives for a page, `pdftotext` poppler's program where
it is installed. The route `vision` is scored with tesseract where that is installed, behind the chat server of the tests: a reader that
sees the pictures and nothing else, but neither tables nor formulas; so its line says how the plumbing does and not how a vision model would.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pypdfium2

from benchmarks.olmocr_tests import load_tests, passes
from dolma_py.endpoint import Endpoint, EndpointConfig
from dolma_py.formats.pdf import PdfConfig, extract_pdf
from dolma_py.pdf_process import PdfProcess
from tests.chat_server import ChatServer, images_of

KINDS = ("present", "absent", "order", "table", "math")


def read_pdfium(data: bytes) -> str:
    """pdfium's own text of the first page."""
    document = pypdfium2.PdfDocument(data)
    return document[0].get_textpage().get_text_bounded()


def read_pdftotext(*options: str) -> Callable[[bytes], str]:
    """Poppler's text."""
    return lambda data: subprocess.run(
        ["pdftotext", *options, "-", "-"], input=data, capture_output=True, check=True
    ).stdout.decode("utf-8", "replace")


def read_by(settings: PdfConfig, process: PdfProcess, endpoint: Endpoint | None = None) -> Callable[[bytes], str]:
    """Our route with those settings."""

    def read(data: bytes) -> str:
        found = extract_pdf(data, settings, process, endpoint)
        if found.reason:
            raise SystemExit(f"a file of the benchmark was rejected: {found.reason}")
        return found.text

    return read


def ask_tesseract(body: dict) -> str:
    """What tesseract sees on the picture of a request."""
    png = base64.b64decode(images_of(body)[0].partition(",")[2])
    command = ["tesseract", "stdin", "stdout", "--dpi", "110"]
    run = subprocess.run(
        command, input=png, capture_output=True, check=True, env=os.environ | {"OMP_THREAD_LIMIT": "1"}
    )
    return run.stdout.decode() or "EMPTY"


def print_row(name: str, read: Callable[[bytes], str], folder: Path) -> None:
    """One reader's passes per kind of test, and pages a second of wall time, the first page apart."""
    tests = load_tests(folder / "tests.jsonl")
    files = {test["pdf"]: (folder / test["pdf"]).read_bytes() for test in tests}
    read(next(iter(files.values())))  # starts what has to be started
    started = time.perf_counter()
    texts = {pdf: read(data) for pdf, data in files.items()}
    seconds = time.perf_counter() - started
    passed: Counter[str] = Counter()
    for test in tests:
        is_passed = passes(test, texts[test["pdf"]])
        passed[test["type"]] += is_passed
        if "-v" in sys.argv and not is_passed:
            print(f"    {name} fails {test['id']}: {test['type']}")
    totals = Counter(test["type"] for test in tests)
    cells = " | ".join(f"{passed[kind]}/{totals[kind]}" for kind in KINDS)
    print(f"| {name} | {cells} | {passed.total()}/{len(tests)} | {len(files) / seconds:.1f} |", flush=True)


def main() -> None:
    """Print the table."""
    folder = Path(os.environ.get("DOLMA_PY_DATA", "")) / "pdf"
    if not (folder / "tests.jsonl").is_file():
        raise SystemExit("Set DOLMA_PY_DATA to a folder with pdf/tests.jsonl.")
    print(f"| reader | {' | '.join(KINDS)} | all | pages/s |")
    print("|---" * (len(KINDS) + 3) + "|")
    print_row("pdfium", read_pdfium, folder)
    if shutil.which("pdftotext"):
        print_row("pdftotext", read_pdftotext(), folder)
        print_row("pdftotext -layout", read_pdftotext("-layout"), folder)
    process = PdfProcess(PdfConfig().limits)
    print_row(
        "route text, margins and tables left", read_by(PdfConfig(tables=False, drop_margins=False), process), folder
    )
    print_row("route text", read_by(PdfConfig(), process), folder)
    if shutil.which("tesseract"):
        with tempfile.TemporaryDirectory() as cache, ChatServer(ask_tesseract) as server:
            for side in (1288, 2048):
                # a cache of its own for each row: the first page is read before the clock starts
                endpoint = EndpointConfig(base_url=server.url, model="tesseract", cache=f"{cache}/{side}")
                settings = PdfConfig(route="vision", endpoint=endpoint, long_side_pixels=side)
                with Endpoint(endpoint) as opened:
                    print_row(f"route vision, tesseract, {side} pixels", read_by(settings, process, opened), folder)
    process.close()


if __name__ == "__main__":
    main()
