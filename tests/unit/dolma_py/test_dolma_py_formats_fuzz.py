"""Files of every kind with a stretch of bytes changed, cut out or cut off: each is read or rejected, and nothing is raised."""

from __future__ import annotations

import gzip
import io
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hostile_records import CHUNKED, RECORD, SENTENCE, make_page, make_record
from dolma_py.formats import FieldMap, Limits, Rejection, Skipped, find_reader

LINES = b"".join(
    json.dumps(
        {
            "id": str(number),
            "text": "caf\u00e9 \U0001f600 " * number,
            "metadata": {"x": [number, None, {"y": 1e3}]},
            "created": "2020-01-02",
        }
    ).encode()
    + b"\n"
    for number in range(12)
)
PAGE = (
    make_page(SENTENCE + "\u00e9 \u4e2d".encode(), b"<meta charset=utf-8><script>x</script>")
    + b"<!-- a --><table><tr><td a='b'>1"
)
WARC = (
    RECORD
    + make_record(PAGE, head=b"Content-Encoding: gzip\r\n")
    + make_record(b"5\r\nabcde\r\n0\r\n\r\n", head=CHUNKED)
    + RECORD
)
FILES = {
    "a.jsonl": LINES, "a.jsonl.gz": gzip.compress(LINES[:300]) + gzip.compress(LINES[300:]), "a.jsonl.zst": zstandard.compress(LINES) * 2,
    "a.html": PAGE, "a.html.gz": gzip.compress(PAGE), "a.txt": PAGE, "b.txt": PAGE.decode().encode("utf-16"), "a.warc": WARC,
    "a.warc.gz": gzip.compress(WARC[:700]) + gzip.compress(WARC[700:]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@given(place=st.floats(0, 1), length=st.integers(0, 60), put=st.binary(max_size=12), cut=st.booleans())
def test_changed_files_are_read_or_rejected(name, place, length, put, cut) -> None:
    data = FILES[name]
    at = int(place * len(data))
    changed = data[:at] + put + (b"" if cut else data[at + length :])
    events = list(find_reader(name)(name, source="s", limits=Limits(max_header_bytes=4096), fields=FieldMap(), added=None,
                                    open_stream=lambda path: io.BytesIO(changed)))  # fmt: skip
    rows = sum(0 if isinstance(event, Rejection | Skipped) else event.num_rows for event in events)
    assert rows <= 30 and all(event.reason for event in events if isinstance(event, Rejection))
