"""The cases of benchmarks/hostile_formats.py at a small scale: what is told of each, and that memory does not grow with the input."""

from __future__ import annotations

import tracemalloc

import pytest

from benchmarks.hostile_formats import CASES, run_case

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
