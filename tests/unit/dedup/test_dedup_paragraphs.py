"""Lines and paragraphs against bytes.split, marks against dictionaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import normalise, paragraphs
from dedup.paragraphs import ParagraphConfig
from dolma_py.errors import SchemaError
from tests.reference import paragraphs as reference
from tests.strategies import any_bytes

PIECES = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b" ", b"\t", b"a b c", b"A b, c", b"--", b"\xff", b"\xc3\xa9t\xc3\xa9", b"\n\n"]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=14).map(b"".join), any_bytes())


def to_arrays(texts):
    data = np.frombuffer(b"xx" + b"".join(texts), np.uint8)  # read-only, does not start at 0
    return data, (2 + np.concatenate([[0], np.cumsum([len(text) for text in texts])])).astype(np.int64)


@given(st.lists(TEXTS, max_size=6), st.booleans())
def test_split_units_equals_twin(texts, by_paragraph):
    start, end, cut, offsets = paragraphs.split_units(*to_arrays(texts), unit="paragraph" if by_paragraph else "line")
    rows = list(zip(start.tolist(), end.tolist(), cut.tolist(), strict=True))
    found = [rows[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]
    assert found == [reference.split_units(text, by_paragraph) for text in texts]


def normal(text):
    data = np.frombuffer(text, np.uint8)
    return bytes(normalise.normalise_texts(data, np.array([0, len(text)])).data)


def keys_of(config):
    def keys(text):
        for start, end, cut in reference.split_units(text, config.unit == "paragraph"):
            words = normal(text[start:end])
            key = words if config.text == "normalised" else text[start:end]
            is_long = end - start >= config.min_bytes and reference.count_words(words) >= config.min_words
            if is_long and (words or config.text == "raw"):
                yield start, cut, key

    return keys


CONFIGS = st.builds(
    ParagraphConfig, unit=st.sampled_from(["line", "paragraph"]), text=st.sampled_from(["raw", "normalised"]),
    min_bytes=st.sampled_from([1, 3]), min_words=st.sampled_from([0, 2]), keep=st.sampled_from(["first", "none"]),
)  # fmt: skip


@given(st.lists(TEXTS, max_size=6), CONFIGS, st.integers(0, 6))
def test_spans_equal_twin_however_the_texts_are_cut_in_two(texts, config, border):
    """Two row groups: what the first has is lost to the second, as the job does it."""
    groups = [texts[:border], texts[border:]]
    units = [paragraphs.digest_units(*to_arrays(group), paragraphs=config) for group in groups]
    counted = [paragraphs.count_digests(unit.high, unit.low) for unit in units]
    counts = {}
    for high, low, occurrences in counted:
        for key in zip(high.tolist(), low.tolist(), occurrences.tolist(), strict=True):
            counts.setdefault(key[:2], []).append(key[2])
    found = []
    for number, (group, unit) in enumerate(zip(groups, units, strict=True)):
        own = set(zip(counted[number][0].tolist(), counted[number][1].tolist(), strict=True))
        before = set(zip(counted[0][0].tolist(), counted[0][1].tolist(), strict=True)) if number else set()
        lost = [key for key in own if (key in before if config.keep == "first" else sum(counts[key]) > 1)]
        arrays = tuple(np.array([key[side] for key in lost], np.uint64) for side in (0, 1))
        spans = paragraphs.cut_units(unit, paragraphs.mark_repeats(unit, arrays, keep=config.keep), len(group))
        rows = list(zip(spans.starts.tolist(), spans.ends.tolist(), strict=True))
        found += [rows[a:b] for a, b in zip(spans.offsets, spans.offsets[1:], strict=False)]
    assert found == reference.find_repeats(texts, keys_of(config), config.keep)


def test_by_hand():
    text = b"Menu\nOne two\n\nMenu\r\nOne two\nMenu"
    config = ParagraphConfig(unit="line", min_words=0)
    units = paragraphs.digest_units(*to_arrays([text]), paragraphs=config)
    none = np.empty(0, np.uint64)
    spans = paragraphs.cut_units(units, paragraphs.mark_repeats(units, (none, none), keep="first"), 1)
    assert [text[a:b] for a, b in zip(spans.starts, spans.ends, strict=True)] == [b"Menu\r\nOne two\nMenu"]
    config = ParagraphConfig(min_words=0)
    units = paragraphs.digest_units(*to_arrays([b"a\nb\n \n\na\nb", b"a\nb\n\nc"]), paragraphs=config)
    assert paragraphs.mark_repeats(units, (none, none), keep="first").tolist() == [False, True, True, False]
    assert units.cut_byte.tolist() == [7, 10, 5, 6]


@pytest.mark.parametrize("texts", [[], [b""], [b""] * 5, [b"\n" * 50]], ids=["nothing", "empty", "all empty", "blank"])
def test_texts_without_units(texts):
    units = paragraphs.digest_units(*to_arrays(texts), paragraphs=ParagraphConfig())
    assert len(units.document) == 0
    none = np.empty(0, np.uint64)
    spans = paragraphs.cut_units(units, paragraphs.mark_repeats(units, (none, none), keep="first"), len(texts))
    assert spans.offsets.tolist() == [0] * (len(texts) + 1)


def test_a_million_equal_lines_in_one_document_count_as_one():
    text = b"one line that is there again and again and again\n" * 1_000_000
    units = paragraphs.digest_units(*to_arrays([text]), paragraphs=ParagraphConfig(unit="line", min_words=0))
    assert paragraphs.count_digests(units.high, units.low)[2].tolist() == [1_000_000]


def test_bad_offsets_are_refused_with_the_value():
    with pytest.raises(SchemaError, match="9"):
        paragraphs.split_units(np.zeros(3, np.uint8), np.array([0, 9]), unit="line")
