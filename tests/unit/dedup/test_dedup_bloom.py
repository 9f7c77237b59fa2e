"""Bloom filters: equal to a set of bits, as often wrong as said and no more, and files that cannot be taken for others."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import bloom
from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.xxh3 import digest_ranges
from tests.reference import bloom as reference

WORDS = st.one_of(st.sampled_from([0, 1, 2**32 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
KEYS = st.lists(st.tuples(WORDS, WORDS), max_size=12)
KIND = {"unit": "document", "text": "raw"}


def to_columns(keys):
    return tuple(np.array([key[side] for key in keys], np.uint64) for side in (0, 1))


def made_keys(first, count):
    """Digests of the numbers first, first + 1, ..."""
    data = np.arange(first, first + count).view(np.uint8)
    bounds = np.arange(0, len(data) + 1, 8)
    return digest_ranges(data, bounds[:-1], bounds[1:])


@given(KEYS, KEYS, st.integers(1, 24), st.integers(1, 9))
def test_insert_and_find_equal_twin(keys, asked, num_hashes, num_blocks):
    found = bloom.BloomFilter(np.zeros((num_blocks, 8), np.uint64), num_hashes, len(keys), KIND)
    bloom.insert_keys(found, *to_columns(keys))
    pairs = reference.insert_keys(keys, num_hashes, num_blocks)
    rows = np.unpackbits(found.bits.view(np.uint8), axis=1, bitorder="little")
    assert set(zip(*(side.tolist() for side in np.nonzero(rows)), strict=True)) == pairs
    expected = reference.find_keys(asked + keys, num_hashes, num_blocks, pairs)
    assert bloom.find_keys(found, *to_columns(asked + keys)).tolist() == expected
    assert all(expected[len(asked) :])


@pytest.mark.parametrize("share", [1e-2, 1e-3, 1e-5])
def test_a_million_keys_are_found_and_a_million_new_ones_are_taken_for_seen_as_often_as_said(share):
    """The count of false positives is binomial: it lies within four standard deviations of what the bits say, and of the plan."""
    made = bloom.make_filter(1_000_000, share, KIND)
    bloom.insert_keys(made, *made_keys(0, 1_000_000))
    assert bloom.find_keys(made, *made_keys(0, 1_000_000)).all()
    false = int(bloom.find_keys(made, *made_keys(5_000_000, 1_000_000)).sum())
    measured = bloom.measure_share(made)
    planned = bloom.false_positive_share(made.bits.size * 64 / 1_000_000, made.num_hashes)
    assert abs(false - 1e6 * measured) <= 4 * math.sqrt(1e6 * measured) + 1
    assert false <= 1e6 * share * 1.1 + 4 * math.sqrt(
        1e6 * share
    )  # the formula leaves out the spread of bits inside a block
    assert abs(measured / planned - 1) < 0.1


def test_plan_by_hand():
    """One hash, 512 bits a key: a block holds Poisson(1) keys, sum over i of e^-1 / i! * (1 - (511/512)^i)."""
    expected = sum(math.exp(-1) / math.factorial(i) * (1 - (511 / 512) ** i) for i in range(30))
    assert bloom.false_positive_share(512, 1) == pytest.approx(expected, rel=1e-12)
    blocks, hashes = bloom.plan_filter(10_000, 1e-3)
    assert bloom.false_positive_share(blocks * 512 / 10_000, hashes) <= 1e-3
    assert bloom.false_positive_share((blocks - 20) * 512 / 10_000, hashes) > 1e-3
    assert bloom.plan_filter(0, 0.1)[0] == 1


def test_union_and_order():
    """The bits of parts or-ed are those of the whole, in whatever order; other sizes and kinds are refused."""
    high, low = made_keys(0, 3_000)
    whole = bloom.make_filter(3_000, 1e-3, KIND)
    bloom.insert_keys(whole, high[::-1].copy(), low[::-1].copy())
    parts = []
    for start in (0, 1_000, 2_000):
        parts.append(bloom.make_filter(3_000, 1e-3, KIND)._replace(num_keys=1_000))
        bloom.insert_keys(parts[-1], high[start : start + 1_000], low[start : start + 1_000])
    merged = bloom.merge_filters(parts)
    assert np.array_equal(merged.bits, whole.bits) and merged.num_keys == 3_000
    with pytest.raises(ConfigError, match="blocks"):
        bloom.merge_filters([whole, bloom.make_filter(9, 1e-3, KIND)])
    with pytest.raises(ConfigError, match="url"):
        bloom.merge_filters([whole, whole._replace(keys={"unit": "url"})])


def test_saved_and_loaded(tmp_path):
    made = bloom.make_filter(500, 1e-4, KIND)
    bloom.insert_keys(made, *made_keys(0, 500))
    path = str(tmp_path / "day1.bloom")
    num_bytes = bloom.save_filter(path, made)
    content = (tmp_path / "day1.bloom").read_bytes()
    assert len(content) == num_bytes
    loaded = bloom.load_filter(path, KIND)
    assert np.array_equal(loaded.bits, made.bits) and loaded[1:] == made[1:]
    bloom.save_filter(path, loaded)
    assert (tmp_path / "day1.bloom").read_bytes() == content


def test_a_mapped_filter_answers_as_a_loaded_one_and_cannot_be_changed(tmp_path):
    """Its bits begin where a cache line does, as no array's in memory need to."""
    made = bloom.make_filter(500, 1e-4, KIND)
    bloom.insert_keys(made, *made_keys(0, 500))
    path = str(tmp_path / "day1.bloom")
    bloom.save_filter(path, made)
    checksum = bloom.check_filter(path)["checksum"]
    with pytest.raises(DataError, match="another filter than when the job began"):
        bloom.map_filter(path, checksum[:-1] + "xy"[checksum[-1] == "x"])
    mapped = bloom.map_filter(path, checksum)
    assert np.array_equal(mapped.bits, made.bits) and mapped[1:] == made[1:]
    assert mapped.bits.ctypes.data % 64 == 0
    assert bloom.find_keys(mapped, *made_keys(0, 500)).all()
    with pytest.raises(SchemaError, match="mapped"):
        bloom.insert_keys(mapped, *made_keys(500, 1))
    loaded = bloom.load_filter(path)
    bloom.insert_keys(loaded, *made_keys(500, 1))
    assert np.array_equal(mapped.bits, made.bits)


@pytest.mark.parametrize("blanks", range(9))
def test_a_filter_of_version_1_whose_bits_begin_anywhere_is_read(tmp_path, blanks):
    made = bloom.make_filter(500, 1e-4, KIND | {"rule": "x" * blanks})
    bloom.insert_keys(made, *made_keys(0, 500))
    path = tmp_path / "old.bloom"
    bloom.save_filter(str(path), made)
    content = path.read_bytes()
    size = int.from_bytes(content[8:12], "little")
    header = content[12 : 12 + size].rstrip(b" ").replace(b'"version": 2', b'"version": 1')
    path.write_bytes(content[:8] + len(header).to_bytes(4, "little") + header + content[12 + size :])
    checksum = bloom.check_filter(str(path))["checksum"]
    for old in (bloom.load_filter(str(path)), bloom.map_filter(str(path), checksum)):
        assert np.array_equal(old.bits, made.bits) and old[1:] == made[1:]
        assert bloom.find_keys(old, *made_keys(0, 500)).all()
        assert bloom.find_keys(old, *made_keys(1000, 500)).sum() <= 5
    assert bloom.check_filter(str(path))["version"] == 1


def test_a_wrong_or_damaged_file_is_refused(tmp_path):
    made = bloom.make_filter(50, 1e-2, KIND)
    path = tmp_path / "a.bloom"
    bloom.save_filter(str(path), made)
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="'url'"):
        bloom.load_filter(str(path), {"unit": "url"})
    cut, flipped, foreign = content[:-1], content[:-1] + b"\x01", b"x" * 100
    no_size, no_json = content[:8] + b"\xff" * 4 + content[12:], content[:14] + b"[" + content[15:]
    for damaged in (cut, flipped, b"", content[:10], foreign, no_size, no_json):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="a.bloom"):
            bloom.load_filter(str(path), KIND)
    path.write_bytes(content.replace(b'"version": 2', b'"version": 7'))
    with pytest.raises(DataError, match="version 7"):
        bloom.load_filter(str(path))
    with pytest.raises(DataError, match="no such filter"):
        bloom.load_filter(str(tmp_path / "none"))


def test_bad_values_are_refused():
    with pytest.raises(ConfigError, match="1.5"):
        bloom.plan_filter(10, 1.5)
    with pytest.raises(ConfigError, match="1e-30"):
        bloom.plan_filter(10, 1e-30)
    with pytest.raises(SchemaError, match="int64"):
        bloom.find_keys(bloom.make_filter(1, 0.1, KIND), np.zeros(1, np.int64), np.zeros(1, np.uint64))
