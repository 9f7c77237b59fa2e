"""xxh64 against the xxhash package and the specification's twin; keys and uniform numbers beyond 2^63."""

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dolma_py import hashing
from dolma_py.errors import SchemaError
from dolma_py.hashing_kernels import mix64_kernel, xxh64_kernel
from tests.reference import hashing as reference

SEEDS = st.sampled_from([0, 1, 2**63, 2**64 - 1])
UINT64 = st.integers(0, 2**64 - 1)


def to_arrays(texts):
    data = np.frombuffer(b"".join(texts), np.uint8)  # read-only
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    return data, offsets


@given(st.lists(st.binary(max_size=90), max_size=6), SEEDS)
def test_hash_texts_equals_twin_and_the_xxhash_package(texts, seed):
    hashes = hashing.hash_texts(*to_arrays(texts), seed=seed)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [reference.xxh64(text, seed) for text in texts]
    assert hashes.tolist() == [xxhash.xxh64_intdigest(text, seed) for text in texts]


@pytest.mark.parametrize("num_bytes", [*range(0, 100), 1_000_003])
def test_every_tail_length_equals_the_xxhash_package(num_bytes):
    text = np.random.default_rng(7).bytes(num_bytes)
    assert hashing.hash_texts(*to_arrays([text])).tolist() == [xxhash.xxh64_intdigest(text)]


@given(st.binary(min_size=1, max_size=120), st.data())
def test_hash_ranges_equals_twin_for_overlapping_ranges(text, draw):
    position = st.integers(0, len(text))
    ranges = [tuple(sorted(pair)) for pair in draw.draw(st.lists(st.tuples(position, position), max_size=8))]
    start, end = np.array(ranges, np.int64).reshape(-1, 2).T
    hashes = hashing.hash_ranges(np.frombuffer(text, np.uint8), start_byte=start, end_byte=end)
    assert hashes.tolist() == reference.hash_ranges(text, ranges)


def test_docstring_examples():
    data = np.frombuffer(b"abcabc", np.uint8)
    hashes = hashing.hash_ranges(data, start_byte=np.array([0, 3, 2]), end_byte=np.array([3, 6, 2]))
    assert hashes.tolist() == [0x44BC2CF5AD770999, 0x44BC2CF5AD770999, 0xEF46DB3751D8E999]
    assert xxh64_kernel(data, 0, 3, np.uint64(0)) == 0x44BC2CF5AD770999
    assert mix64_kernel(np.uint64(0)) == 0xE220A8397B1DCDAF


def test_kernels_return_unsigned_values_above_2_to_the_63():
    value = mix64_kernel(np.uint64(2**63 + 1))
    assert int(value) == reference.mix64(2**63 + 1) >= 2**63
    assert hashing.mix_keys(np.array([2**64 - 1], np.uint64)).dtype == np.uint64


@given(st.lists(UINT64, max_size=20), SEEDS)
def test_mix_keys_and_uniform_hash_equal_twins(keys, seed):
    array = np.array(keys, np.uint64)
    assert hashing.mix_keys(array, seed=seed).tolist() == reference.mix_keys(keys, seed)
    uniform = hashing.uniform_hash(array, seed=seed)
    assert uniform.dtype == np.float64
    assert uniform.tolist() == reference.uniform_hash(keys, seed)


def test_uniform_hash_is_uniform_and_below_one():
    numbers = hashing.uniform_hash(np.arange(200_000, dtype=np.uint64), seed=3)
    assert numbers.min() >= 0.0 and numbers.max() < 1.0
    counts = np.bincount((numbers * 20).astype(int), minlength=20)
    # 20 cells of 10,000: standard deviation 97; 5 of them
    assert np.abs(counts - 10_000).max() < 500


def test_hash_ids_depends_on_seed_name_and_id_alone():
    ids = [f"doc-{i}" for i in range(50)] + ["", "\u00e9\U0001f600"]
    column = pa.array(ids)
    keys = hashing.hash_ids(column, seed=5, name="mix:web")
    assert keys.tolist() == [xxhash.xxh64_intdigest(i.encode(), hashing.derive_seed(5, "mix:web")) for i in ids]
    assert hashing.hash_ids(column.slice(3, 7), seed=5, name="mix:web").tolist() == keys[3:10].tolist()
    assert hashing.hash_ids(column.cast(pa.large_string()), seed=5, name="mix:web").tolist() == keys.tolist()
    assert not np.intersect1d(keys, hashing.hash_ids(column, seed=5, name="mix:code")).size
    assert not np.intersect1d(keys, hashing.hash_ids(column, seed=6, name="mix:web")).size


def test_derive_seed_keeps_names_apart():
    seeds = [hashing.derive_seed(0, *names) for names in (("a", "bc"), ("ab", "c"), ("abc",), (1,), ("1",), ())]
    assert len(set(seeds)) == len(seeds)


def test_derive_seed_is_the_same_for_ever():
    assert hashing.derive_seed(1, "minhash") == xxhash.xxh64_intdigest((8).to_bytes(8, "little") + b"sminhash", 1)


@pytest.mark.parametrize("split", [1, 3, 1000])
def test_hashes_do_not_depend_on_batches_slices_or_strides(split):
    texts = [np.random.default_rng(i).bytes(i % 70) for i in range(60)]
    data, offsets = to_arrays(texts)
    whole = hashing.hash_texts(data, offsets)
    parts = [hashing.hash_texts(data, offsets[i : i + split + 1]) for i in range(0, 60, split)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    strided = np.repeat(data, 2)[::2]
    assert hashing.hash_texts(strided, offsets).tolist() == whole.tolist()


def test_bad_input_is_refused_with_the_value():
    data = np.zeros(4, np.uint8)
    with pytest.raises(SchemaError, match=r"\(2, 9\) at 1"):
        hashing.hash_ranges(data, start_byte=np.array([0, 2]), end_byte=np.array([1, 9]))
    with pytest.raises(SchemaError, match="after index 1"):
        hashing.hash_texts(data, np.array([0, 3, 2]))
    with pytest.raises(SchemaError, match="-1"):
        hashing.derive_seed(-1)
    with pytest.raises(SchemaError, match="int64"):
        hashing.uniform_hash(np.array([1]))
    with pytest.raises(SchemaError, match="nulls"):
        hashing.hash_ids(pa.array(["a", None]), seed=0, name="x")
