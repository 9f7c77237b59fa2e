"""The scans of a page's bytes against regular expressions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.formats.html_shape import cut_raw, find_long_tags
from tests.reference import html_shape as reference

PIECES = [
    b"<", b">", b"/", b"!", b"--", b"-", b'"', b"'", b"a", b" x=1", b"<p>", b"</p>", b"<!--", b"-->", b"<script", b"</script>", b"<SCRIPT ",
    b"</ScRipt",
    b"<style>", b"</style", b"<title", b"</title>", b"<textarea>", b"</textarea>", b"<scripts>", b"<script_", b"<title1", b"\xff", b"\x13cript",
    b"<\x53tyle\n",
    b'<a href="', b"<a b='>' ", b"</", b"\xc3\xa9",
]  # fmt: skip


@settings(max_examples=400)
@given(
    st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join), st.binary(max_size=40)), st.integers(0, 12)
)
def test_scans_equal_reference(data, min_bytes) -> None:
    assert cut_raw(data) == reference.cut_raw(data)
    assert find_long_tags(data, min_bytes) == reference.find_long_tags(data, min_bytes)


@pytest.mark.parametrize(
    "data", [b'<a "' + b"' " * 300_000, b"<" * 500_000, b"<a b='" * 100_000, b"<!--" * 200_000, b"<p>" * 200_000]
)
def test_large_odd_pages_equal_reference(data) -> None:
    assert cut_raw(data) == reference.cut_raw(data)
    assert find_long_tags(data, 4_096) == reference.find_long_tags(data, 4_096)


def test_labelled_pages_equal_reference(data_dir) -> None:
    from benchmarks.html_extraction import list_pages

    pages = list_pages(data_dir)[::2]
    for page in pages:
        assert cut_raw(page.data) == reference.cut_raw(page.data)
        assert find_long_tags(page.data, 100) == reference.find_long_tags(page.data, 100)
    assert len(pages) > 20 and any(np.frombuffer(page.data, np.uint8).max() > 127 for page in pages)
