"""The checksum in pdf_outputs.json: the text of made PDFs, beside the version that guards it (dolma_py.formats.pdf:VERSION).

    PYTHONPATH=. python tests/golden/make_pdf_outputs.py

Run it after a change that is meant to change the text of PDFs, and raise the version: documents say by it how they were read. It refuses
other text of the same version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import xxhash

from dolma_py.formats.pdf import VERSION, PdfConfig, extract_pdf
from dolma_py.pdf_process import PdfProcess
from tests.made_pdfs import Text, make_lines, make_pdf

RECORD = Path(__file__).parent / "pdf_outputs.json"


def make_files() -> list[bytes]:
    """Prose with paragraphs and margins, a table with headings, columns row by row, a turned and a cropped page."""
    prose = [make_lines([f"A line of prose, number {n} of its page." for n in range(12)]) for _ in range(4)]
    pages = [
        [Text("The Journal of Things", 72, 760), *lines, Text("After a gap.", 72, 500), Text(f"{number}", 300, 30)]
        for number, lines in enumerate(prose, 1)
    ]
    table = [Text(word, 150 + 100 * at, 700) for at, word in enumerate(("Left", "Middle", "Right"))]
    for row in range(6):
        table += [Text(f"row {row}", 60, 680 - 14 * row)]
        table += [Text(f"{row}.{at}", 150 + 50 * at, 680 - 14 * row) for at in range(6)]
    columns = [
        Text(f"{side} column, line {row}", x, 700 - 14 * row)
        for row in range(10)
        for side, x in (("left", 60), ("right", 320))
    ]
    return [
        make_pdf(pages),
        make_pdf([table]),
        make_pdf([columns]),
        make_pdf([make_lines(["a page on its side"], x=200, top=400)], rotate=90),
        make_pdf([make_lines(["a page that was cropped"], x=300, top=900)], box=(200, 500, 600, 1000)),
    ]


def describe_texts() -> dict[str, Any]:
    """The version, and the xxh3-128 of all texts."""
    process = PdfProcess(PdfConfig().limits)
    digest = xxhash.xxh3_128()
    for data in make_files():
        found = extract_pdf(data, PdfConfig(), process)
        digest.update(json.dumps([found.text, found.reason, found.facts]).encode() + b"\n")
    process.close()
    return {"version": VERSION, "xxh3_128": digest.hexdigest()}


def main() -> int:
    found = describe_texts()
    if RECORD.exists():
        record = json.loads(RECORD.read_text())
        if record != found and record["version"] == found["version"]:
            print("other text of the same version: raise dolma_py.formats.pdf:VERSION", file=sys.stderr)
            return 1
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
