"""The tagger of traces: its numbers and flags, found by its dotted name."""

from __future__ import annotations

import pyarrow as pa

from taggers.base import tag_checked
from taggers.registry import build_tagger

NAME = "mixers.trace_filters:TraceFiltersTagger"
TEXTS = {
    "<think>It is even.</think>So it is 4.": (1, 1, 1, 0.0, False, False, False, False),
    "": (0, 0, 0, 0.0, True, True, False, False),
    "<think>A line comes again.\n" * 3: (3, 1, 2, 0.0, False, True, False, False),
    "<think>x</think>中文ab": (1, 1, 0, 2 / 20, False, False, False, False),
    "<think>I am Claude. My knowledge cutoff was May.</think>Yes.": (1, 1, 1, 0.0, False, False, True, True),
}


def test_numbers_and_flags():
    tagger = build_tagger(NAME, {"thinking": "required"})
    batch = pa.record_batch({"text": pa.array(list(TEXTS), pa.large_string())})
    rows = tag_checked(tagger, batch).to_pylist()
    assert [tuple(row.values()) for row in rows] == list(TEXTS.values())
    for row in range(batch.num_rows):
        assert tag_checked(tagger, batch.slice(row, 1)).to_pylist() == [rows[row]]
    assert tag_checked(tagger, batch.slice(0, 0)).num_rows == 0
