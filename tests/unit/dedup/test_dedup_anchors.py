"""Anchors against the definition of winnowing, and the guarantee that a global search stands on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dedup import anchors, anchors_kernels, substring
from dolma_py.errors import ConfigError, SchemaError
from tests.reference import anchors as reference

PIECES = [b"a", b"b", b"ab", "\u00e9".encode(), "\U0001f600".encode(), b"\x80", b"\xff", b"\x00", b"abbaab"]
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=15).map(b"".join), max_size=5)
LENGTHS = st.integers(1, 9)
NUMBERS = st.integers(0, 4) | st.integers(2**63 - 1, 2**63 + 1) | st.just(2**64 - 1)


def to_arrays(texts):
    data = np.frombuffer(b"".join(texts), np.uint8)  # read-only
    return data, np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)


def to_lists(found):
    pairs = list(zip(found.hashes.tolist(), found.start_byte.tolist(), strict=True))
    return [pairs[a:b] for a, b in zip(found.offsets.tolist(), found.offsets.tolist()[1:], strict=False)]


def shape(min_length_bytes):
    gram_bytes = anchors.choose_gram_bytes(min_length_bytes)
    return gram_bytes, min_length_bytes - gram_bytes + 1


@given(TEXTS, LENGTHS)
def test_anchors_equal_twin(texts, min_length_bytes):
    found = anchors.find_anchors(*to_arrays(texts), min_length_bytes=min_length_bytes)
    assert to_lists(found) == [reference.anchors(text, *shape(min_length_bytes)) for text in texts]


@pytest.mark.parametrize("min_length_bytes", [30, 128, 500])
def test_anchors_of_long_texts_equal_twin(min_length_bytes):
    """Several blocks of a window, and a rest; random bytes and words."""
    rng = np.random.Generator(np.random.PCG64(min_length_bytes))
    texts = [rng.integers(0, 256, size, np.uint8).tobytes() for size in (min_length_bytes - 1, min_length_bytes, 2000)]
    texts.append(b" ".join(rng.choice([b"river", b"stone", b"of", b"the"], 400).tolist()))
    found = anchors.find_anchors(*to_arrays(texts), min_length_bytes=min_length_bytes)
    assert to_lists(found) == [reference.anchors(text, *shape(min_length_bytes)) for text in texts]


@given(TEXTS, LENGTHS, st.data())
def test_surroundings_equal_twin(texts, min_length_bytes, data):
    text, offsets = to_arrays(texts)
    found = anchors.find_anchors(text, offsets, min_length_bytes=min_length_bytes)
    chosen = data.draw(st.lists(st.booleans(), min_size=len(found.hashes), max_size=len(found.hashes)))
    spans = anchors.surround(found, np.array(chosen, bool), offsets, min_length_bytes=min_length_bytes)
    pairs = list(zip(spans.start_byte.tolist(), spans.end_byte.tolist(), strict=True))
    bounds = spans.offsets.tolist()
    starts = [[s for s, c in zip(found.start_byte[a:b].tolist(), chosen[a:b], strict=True) if c]
              for a, b in zip(found.offsets.tolist(), found.offsets.tolist()[1:], strict=False)]  # fmt: skip
    expected = [
        reference.surroundings(own, len(t), *shape(min_length_bytes)) for own, t in zip(starts, texts, strict=True)
    ]
    assert [pairs[a:b] for a, b in zip(bounds, bounds[1:], strict=False)] == expected


@given(TEXTS, LENGTHS)
@example([b"a" * 40, b"b" + b"a" * 23], 6)
@example([b"ab" * 30, b"ba" * 20], 7)
def test_repeats_lie_around_anchors_seen_twice(texts, min_length_bytes):
    """So that nothing is lost when only their surroundings are searched."""
    text, offsets = to_arrays(texts)
    found = anchors.find_anchors(text, offsets, min_length_bytes=min_length_bytes)
    values, counts = np.unique(found.hashes, return_counts=True)
    chosen = counts[np.searchsorted(values, found.hashes)] > 1
    around = anchors.surround(found, chosen, offsets, min_length_bytes=min_length_bytes)
    repeats = substring.find_repeats(text, offsets, min_length_bytes=min_length_bytes, keep_first=False)
    for d in range(len(texts)):
        inside = set()
        for k in range(around.offsets[d], around.offsets[d + 1]):
            inside.update(range(around.start_byte[k], around.end_byte[k]))
        for k in range(repeats.offsets[d], repeats.offsets[d + 1]):
            assert set(range(repeats.start_byte[k], repeats.end_byte[k])) <= inside


def search_buckets(texts, offsets, found, num_buckets, settings):
    """Spans by document as sets of bytes: of each bucket the surroundings of its anchors alone, searched on their own."""
    values, counts = np.unique(found.hashes, return_counts=True)
    is_repeated = counts[np.searchsorted(values, found.hashes)] > 1
    inside = [set() for _ in range(len(offsets) - 1)]
    for bucket in range(num_buckets):
        chosen = is_repeated & (found.hashes % np.uint64(num_buckets) == bucket)
        around = anchors.surround(found, chosen, offsets, min_length_bytes=settings["min_length_bytes"])
        document = np.repeat(np.arange(len(offsets) - 1), np.diff(around.offsets))
        places = list(zip(document.tolist(), around.start_byte.tolist(), around.end_byte.tolist(), strict=True))
        regions = to_arrays([texts[offsets[d] + a : offsets[d] + b].tobytes() for d, a, b in places])
        spans = substring.find_repeats(*regions, **settings)
        for k, (d, a, _) in enumerate(places):
            for s in range(spans.offsets[k], spans.offsets[k + 1]):
                inside[d].update(range(a + spans.start_byte[s], a + spans.end_byte[s]))
    return inside


@pytest.mark.parametrize("has_collisions", [False, True])
@given(texts=TEXTS, min_length_bytes=LENGTHS, num_buckets=st.integers(1, 3), keep_first=st.booleans())
@example(texts=[b"a" * 40, b"b" + b"a" * 23], min_length_bytes=6, num_buckets=2, keep_first=True)
@example(texts=[b"ab" * 30, b"ba" * 20, b"ab" * 9], min_length_bytes=7, num_buckets=3, keep_first=True)
def test_buckets_hold_what_one_search_finds(has_collisions, texts, min_length_bytes, num_buckets, keep_first):
    """Each repeat with its first occurrence lies whole in the bucket of its anchor, also where grams share their hash."""
    text, offsets = to_arrays(texts)
    settings = {"min_length_bytes": min_length_bytes, "keep_first": keep_first}
    found = anchors.find_anchors(text, offsets, min_length_bytes=min_length_bytes)
    if has_collisions:
        own = [reference.anchors(each, *shape(min_length_bytes), num_hashes=3) for each in texts]
        flat = [anchor for each in own for anchor in each]
        hashes, starts = np.array([h for h, _ in flat], np.uint64), np.array([s for _, s in flat], np.int32)
        found = anchors.Anchors(
            hashes, starts, np.concatenate([[0], np.cumsum([len(each) for each in own])]).astype(np.int64)
        )
    repeats = substring.find_repeats(text, offsets, **settings)
    expected = [
        {byte for k in range(repeats.offsets[d], repeats.offsets[d + 1])
         for byte in range(repeats.start_byte[k], repeats.end_byte[k])} for d in range(len(texts))
    ]  # fmt: skip
    assert search_buckets(text, offsets, found, num_buckets, settings) == expected


def test_a_text_with_more_anchors_than_expected_is_tried_again():
    """Bytes in the order of their hashes: every window of three has another smallest one."""
    order = sorted(range(256), key=lambda byte: reference.hash_gram(bytes([byte])))
    text = bytes(order)
    found = anchors.find_anchors(*to_arrays([text]), min_length_bytes=3)
    assert len(found.hashes) == 254 > 3 * 256 // 4 + 2
    assert to_lists(found) == [reference.anchors(text, *shape(3))]


@given(st.lists(st.lists(NUMBERS, max_size=8), max_size=5))
def test_what_was_seen_equals_a_counter(batches):
    seen = anchors.NOTHING_SEEN
    for batch in batches:
        seen = anchors.merge_seen(seen, np.array(batch, np.uint64))
    counts = Counter(number for batch in batches for number in batch)
    assert seen.keys.tolist() == sorted(counts)
    for batch in batches:
        found = anchors.find_repeated(seen, np.array(batch, np.uint64))
        assert found.tolist() == [counts[number] > 1 for number in batch]


def test_density_and_a_text_of_one_byte():
    rng = np.random.Generator(np.random.PCG64(1))
    data = rng.integers(0, 256, 1_000_000, np.uint8)
    found = anchors.find_anchors(data, np.array([0, len(data)]), min_length_bytes=500)
    assert len(found.hashes) == pytest.approx(2 * len(data) / 438, rel=0.05)  # 4.6 per kB
    equal = anchors.find_anchors(np.full(5000, 97, np.uint8), np.array([0, 5000]), min_length_bytes=500)
    assert equal.start_byte.tolist() == [*range(0, 4501, 437)] + [
        4500
    ]  # the first gram of each of 4,501 windows, thinned
    assert len(set(equal.hashes.tolist())) == 1


def test_examples_of_the_kernels():
    """What their docstrings say, by hand."""
    assert int(anchors_kernels.mix_gram_kernel(np.uint64(1))) == 0xD6E8FEB8B0B1032B
    order = sorted(range(256), key=lambda byte: reference.hash_gram(bytes([byte])))
    found = anchors.find_anchors(*to_arrays([bytes(order[rank] for rank in (5, 3, 8, 3, 9))]), min_length_bytes=3)
    assert found.start_byte.tolist() == [1, 3] and len(set(found.hashes.tolist())) == 1
    assert anchors.find_anchors(*to_arrays([b"a" * 7]), min_length_bytes=3).start_byte.tolist() == [0, 3, 4]
    made = anchors.Anchors(np.zeros(3, np.uint64), np.array([1, 7, 10], np.int32), np.array([0, 3]))
    for chosen, expected in (([1, 1, 1], [(0, 12)]), ([1, 0, 1], [(0, 5), (8, 12)])):
        spans = anchors.surround(made, np.array(chosen, bool), np.array([0, 12]), min_length_bytes=4)
        assert list(zip(spans.start_byte.tolist(), spans.end_byte.tolist(), strict=True)) == expected


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="min_length_bytes"):
        anchors.find_anchors(np.zeros(3, np.uint8), np.array([0, 3]), min_length_bytes=0)
    with pytest.raises(SchemaError):
        anchors.find_anchors(np.zeros(3, np.uint8), np.array([0, 4]), min_length_bytes=2)
    found = anchors.find_anchors(np.zeros(3, np.uint8), np.array([0, 3]), min_length_bytes=2)
    with pytest.raises(SchemaError, match="is_chosen"):
        anchors.surround(found, np.zeros(9, bool), np.array([0, 3]), min_length_bytes=2)
