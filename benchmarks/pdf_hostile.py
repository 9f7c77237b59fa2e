"""What becomes of PDFs that do harm, or are just large: outcome, seconds, and the memory of the process that parses and of this one.

    python -m benchmarks.pdf_hostile

Each file gets a parsing process of its own, with the default limits (120 s, 1 GiB of address space) but for the last row's 3 s.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from dolma_py.formats.pdf import PdfConfig, extract_pdf
from dolma_py.machine import read_peak_bytes, reset_peak
from dolma_py.pdf_process import PdfProcess
from tests import made_pdfs
from tests.made_pdfs import make_lines, make_pdf

GOOD = make_pdf([make_lines(["an ordinary page"])])
FILES = {
    "an ordinary page": lambda: GOOD,
    "empty file": lambda: b"",
    "not a PDF": lambda: b"<html>" + b"x" * 100_000,
    "first 300 bytes of a PDF": lambda: GOOD[:300],
    "256 kB of noise after %PDF": lambda: b"%PDF-1.7\n" + bytes(range(256)) * 1000,
    "password": made_pdfs.make_encrypted,
    "no pages": lambda: make_pdf([]),
    "10,000 pages": lambda: make_pdf([make_lines([f"page {number}"]) for number in range(10_000)]),
    "10,001 pages": lambda: make_pdf([[]] * 10_001),
    "a page of 35 km": lambda: make_pdf([make_lines(["wide"])], box=(0, 0, 1e8, 1e8)),
    "content of 4 GiB in 10 kB": made_pdfs.make_bomb,
    "forms in forms, 10^6 strings": lambda: made_pdfs.make_laughing(6),
    "forms in forms, 10^14 times nothing": lambda: made_pdfs.make_laughing(last=b"q Q"),
    "the same, max_seconds 3": lambda: made_pdfs.make_laughing(last=b"q Q"),
}


class PeakWatch:
    """The largest resident set of a process, looked at every 5 ms."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self.path = Path(f"/proc/{pid}/status")
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.is_over.wait(0.005):
            self._look()

    def _look(self) -> None:
        try:
            lines = [line for line in self.path.read_text().splitlines() if line.startswith("VmHWM")]
        except OSError:
            return
        if lines:  # none of a process that has ended
            self.peak_bytes = max(self.peak_bytes, int(lines[0].split()[1]) << 10)

    def stop(self) -> int:
        self.is_over.set()
        self.thread.join()
        self._look()
        return self.peak_bytes


def main() -> None:
    """Print the table."""
    print("| file | bytes | what happened | s | MB, parsing process | MB more, this process |")
    print("|---|---|---|---|---|---|")
    for name, make in FILES.items():
        data = make()
        settings = PdfConfig(max_seconds=3.0) if "max_seconds" in name else PdfConfig()
        process = PdfProcess(settings.limits)
        process.count_pages(GOOD)
        assert process._process is not None
        watch = PeakWatch(process._process.pid)
        reset_peak()
        before = read_peak_bytes()
        started = time.perf_counter()
        found = extract_pdf(data, settings, process)
        seconds = time.perf_counter() - started
        grown = max(0, read_peak_bytes() - before)
        outcome = f"rejected: {found.reason}" if found.reason else f"read, {found.facts['pdf_pages']} pages"
        print(
            f"| {name} | {len(data):,} | {outcome} | {seconds:.2f} | {watch.stop() >> 20} | {grown >> 20} |", flush=True
        )
        process.close()


if __name__ == "__main__":
    main()
