"""The cases of benchmarks/hostile_formats.py at a small scale: what is told of each, and that memory does not grow with the input."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import pytest

from benchmarks import hostile_records
from benchmarks.hostile_formats import CASES, run_case
from tests.conftest import REPOSITORY

MIB = 1 << 20
SCALE = 0.1
TOLD = {
    "a page without end": {"rejected too_long": 1, "rejected truncated": 1},
    "bzip2 bomb": {"rejected bomb": 1},
    "gzip bomb in a page": {"rejected too_long": 1, "rejected bomb": 1},
    "templates that are never closed": {"documents": 1},
    "links, quotes and tables in each other": {"documents": 1},
    "100,000 nested tags": {"rejected bad_xml": 1},
    "a file of 2 GB": {"passed over too_long": 1},
    "gzip bomb": {"rejected bomb": 1},
    "a header that says 1 TB": {"rejected truncated": 1},
    "a pax header of 2 GB": {"rejected bad_header": 1},
    "names that climb out": {"rejected bad_path": 1638},
    "zip bomb": {"passed over binary": 51},
    "macros that grow": {"rejected too_large": 1},
    "braces that are never closed": {"documents": 1},
    "an entry of 2 GB": {"rejected too_long": 1},
}
KIB_CASES = ("templates that are never closed", "links, quotes and tables in each other")  # each sign becomes an object


@pytest.mark.parametrize("number", range(len(CASES)))
def test_memory_is_bounded(number) -> None:
    case = CASES[number]
    if case.kind == "repository":
        pytest.importorskip("enry")
        pytest.importorskip("askalono")
    told = {"rejected too_long": 1} if (case.kind, case.what) == ("arxiv", "gzip bomb") else TOLD[case.what]
    scale = SCALE / 10 if case.what in KIB_CASES else SCALE
    run_case(case, 0.001)  # what is imported and compiled is no part of it
    tracemalloc.start()
    try:
        counts = run_case(case, scale)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts == told
    assert peak < 80 * MIB, peak  # gzip hands out 16 MiB at once, and readers copy them


def read_rows(table: str) -> list[list[str]]:
    return [
        line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ") and line.count(" | ") == 5
    ]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "warc", "html", "text"])
def test_records_are_told_as_the_documentation_says(kind) -> None:
    """In processes of their own, for Arrow's memory is not Python's: kind, input, MiB, what is told, memory, seconds."""
    command = [sys.executable, "-m", "benchmarks.hostile_formats", "--kinds", kind, "--most", "205"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=600)
    made = [row for row in read_rows(answer.stdout) if row[0] == kind]
    documented = [row for row in read_rows((REPOSITORY / "docs" / "inputs.md").read_text()) if row[0] == kind]
    assert [(row[1], row[3]) for row in made] == [(row[1], row[3]) for row in documented]
    assert len(made) == sum(case.kind == kind for case in hostile_records.CASES)
    bound = {row[1]: 800 if "60 MB, 10,000 times" in row[1] else 320 for row in made}
    assert {row[1]: row[4] for row in made if int(row[4]) > bound[row[1]]} == {}
