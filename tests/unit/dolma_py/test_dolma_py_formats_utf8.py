"""UTF-8 in blocks of 32 bytes against the standard library."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.formats.utf8 import copy_valid_text, is_utf8, is_valid_text
from dolma_py.formats.utf8_kernels import EDGE_BYTES, are_utf8_kernel, copy_utf8_kernel
from tests.reference import utf8 as reference

# first and last of each length, of what is forbidden, and beyond
EDGES = list(bytes.fromhex("00417f 808f909fa0bf c0c1c2df e0e1ecedeeef f0f1f3f4f5ff"))
PIECES = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.text("\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff", max_size=20).map(str.encode),
    st.binary(max_size=4),
    st.lists(st.sampled_from(EDGES), max_size=4).map(bytes),
    st.integers(0, 70).map(lambda length: b"a" * length),
)


def as_column(texts, kind, is_valid=None):
    offsets = pa.array(
        itertools.accumulate(map(len, texts), initial=0), pa.int64() if kind == pa.large_string() else pa.int32()
    )
    bits = None if is_valid is None else pa.py_buffer(np.packbits(np.array(is_valid, bool), bitorder="little"))
    return pa.Array.from_buffers(kind, len(texts), [bits, offsets.buffers()[1], pa.py_buffer(b"".join(texts))])


@settings(max_examples=500)
@given(pieces=st.lists(PIECES, max_size=6), cut=st.integers(0, 5), around=st.sampled_from([b"", b"\x80", b"\xf0\x9f"]))
def test_bytes_are_utf8_where_python_says_so(pieces, cut, around):
    data = b"".join(pieces)
    data = data[: max(0, len(data) - cut)]
    assert is_utf8(around + data + around, len(around), len(around) + len(data)) == reference.is_utf8(data)


@pytest.mark.parametrize("place", [0, 1, 28, 29, 30, 31, 32, 33, 60, 61, 62, 63, 64])
def test_every_character_of_four_edges_in_every_place(place):
    """390,625 sequences, most of them none, behind letters and in front of them, on both sides of a block's end."""
    for ending in (b"", b"z" * 40):
        for code in itertools.product(EDGES[::2] if ending else EDGES[1::2], repeat=4):
            data = b"a" * place + bytes(code) + ending
            assert is_utf8(data, 0, len(data)) == reference.is_utf8(data), (place, code)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 1 << 20])
@pytest.mark.parametrize("unit", [b"a", "\xe9".encode(), "\U0001f600".encode()])
def test_one_wrong_byte_in_a_long_text_is_seen(length, unit):
    data = bytearray(unit * length)
    assert is_utf8(bytes(data), 0, len(data))
    for place in {0, len(data) // 2, len(data) - 1}:
        broken = data.copy()
        broken[place] = 0xFF
        assert not is_utf8(bytes(broken), 0, len(data))


@settings(max_examples=300)
@given(
    texts=st.lists(st.one_of(st.text(max_size=40).map(str.encode), PIECES), max_size=6), kind=st.sampled_from([pa.string(), pa.large_string()]),
    nulls=st.lists(st.booleans(), min_size=6, max_size=6), start=st.integers(0, 6), has_nulls=st.booleans(),
)  # fmt: skip
def test_columns_are_valid_where_each_text_is(texts, kind, nulls, start, has_nulls):
    """Slices too; the bytes behind a null do not count."""
    is_valid = nulls[: len(texts)] if has_nulls else None
    column = as_column(texts, kind, is_valid)[start:]
    meant = [text for place, text in enumerate(texts) if place >= start and (is_valid is None or is_valid[place])]
    assert is_valid_text(column) == reference.are_utf8(meant)


@settings(max_examples=300)
@given(
    texts=st.lists(st.one_of(st.text(max_size=90).map(str.encode), PIECES), max_size=6), kind=st.sampled_from([pa.string(), pa.large_string()]),
    start=st.integers(0, 6), to=st.integers(0, 40),
)  # fmt: skip
def test_a_copy_is_made_where_every_text_is_valid(texts, kind, start, to):
    """Slices too; nothing in front of the copy or behind it is touched."""
    end = to + sum(map(len, texts[start:]))
    out = np.full(end + 3, 7, np.uint8)
    is_valid = copy_valid_text(as_column(texts, kind)[start:], out, to)
    assert (out[to:end].tobytes() if is_valid else None) == reference.copy_utf8(texts[start:])
    assert out[:to].tobytes() == b"\x07" * to and out[end:].tobytes() == b"\x07" * 3


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 1 << 20])
@pytest.mark.parametrize("unit", [b"a", "\xe9".encode(), "\U0001f600".encode()])
def test_a_long_copy_is_whole(length, unit):
    column = as_column([unit * length, b"", unit], pa.large_string())
    out = np.zeros(len(unit) * (length + 1), np.uint8)
    assert copy_valid_text(column, out, 0) and out.tobytes() == unit * (length + 1)
    assert not copy_valid_text(
        as_column([unit * length + b"\xff"], pa.large_string()), np.zeros(len(out) + 1, np.uint8), 0
    )


@pytest.mark.parametrize("texts", [[b"\xc3", b"\xa9"], [b"a\xf0\x9f", b"\x98\x80"], [b"", b"\x80"]])
def test_a_character_that_two_texts_share_is_none(texts):
    assert not is_valid_text(as_column(texts, pa.string()))
    assert not copy_valid_text(as_column(texts, pa.string()), np.empty(9, np.uint8), 0)
    assert is_valid_text(as_column([b"".join(texts)], pa.string())) == (texts[0] != b"")


@pytest.mark.parametrize("offsets", [[0, 2, 1], [0, 1, 4], [-1, 1, 2]])
def test_offsets_that_go_back_or_leave_the_bytes_are_refused(offsets):
    data, edge = np.frombuffer(b"abc", np.uint8), np.empty(EDGE_BYTES, np.uint8)
    assert are_utf8_kernel(data, np.array([0, 2, 3]), edge)
    assert not are_utf8_kernel(data, np.array(offsets), edge)
    assert not copy_utf8_kernel(data, np.array(offsets), np.empty(3, np.uint8), 0, edge)
