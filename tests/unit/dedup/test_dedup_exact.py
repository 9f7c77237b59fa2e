"""Exact duplicates and keep order against dictionaries and Python's sort."""

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dedup import exact, keepers
from dolma_py.errors import SchemaError
from tests.reference import exact as reference

TEXTS = st.sampled_from([b"", b"a", b"A", b"a ", b"--", b"-", "\U0001f600".encode(), b"\xff\xfe", b"x" * 1_000_000])
NUMBERS = st.one_of(st.none(), st.sampled_from([float("nan"), -1.5, 0.0, 2.0, 3.0]))


def to_arrays(texts):
    data = np.frombuffer(b"".join(texts), np.uint8)  # read-only
    return data, np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)


def to_rows(kept):
    columns = (kept.is_duplicate, kept.cluster_id, kept.cluster_size, kept.kept_address)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(st.lists(TEXTS, max_size=12), st.permutations(range(12)), st.permutations(range(12)))
def test_choose_kept_equals_twin(texts, addresses, places):
    address = np.array(addresses[: len(texts)], np.int64) << 40
    place = np.array(places[: len(texts)], np.int64)
    digests = exact.digest_texts(*to_arrays(texts))
    number = exact.number_digests(digests.high, digests.low)
    found = keepers.choose_kept(number, address, place=place)
    assert to_rows(found) == reference.choose_kept(texts, address.tolist(), place.tolist())
    in_corpus_order = keepers.choose_kept(number, address)
    assert to_rows(in_corpus_order) == reference.choose_kept(texts, address.tolist())


def test_digests_are_xxh3_128_in_two_columns():
    texts = [b"", b"hello", "\u6f22".encode()]
    digests = exact.digest_texts(*to_arrays(texts))
    assert digests.high.dtype == digests.low.dtype == np.uint64
    numbers = [(int(h) << 64) | int(low) for h, low in zip(digests.high, digests.low, strict=True)]
    assert numbers == [xxhash.xxh3_128_intdigest(text) for text in texts]


def test_equal_halves_alone_do_not_make_a_duplicate():
    top = 2**64 - 1
    high, low = np.array([1, 1, top, top], np.uint64), np.array([top, 5, 5, top], np.uint64)
    assert not keepers.choose_kept(exact.number_digests(high, low), np.arange(4)).is_duplicate.any()
    assert not keepers.choose_kept(exact.number_digests(high[1:3], low[1:3]), np.arange(2)).is_duplicate.any()


def test_normalised_texts_join_raw_ones_do_not_and_wordless_ones_stay_apart():
    arrays = to_arrays([b"The cat.", b"the  CAT", b"--", b"", b"!!"])
    groups = {}
    for text in ("raw", "normalised"):
        digests = exact.digest_texts(*arrays, text=text)
        groups[text] = keepers.choose_kept(
            exact.number_digests(digests.high, digests.low), np.arange(5)
        ).kept_address.tolist()
    assert groups == {"raw": [0, 1, 2, 3, 4], "normalised": [0, 0, 2, 3, 4]}
    assert digests.is_valid.tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("split", [1, 3])
def test_digests_do_not_depend_on_batches_or_strides(split):
    data, offsets = to_arrays([b"%d words here" % (i % 4) for i in range(9)])
    whole = exact.digest_texts(data, offsets, text="normalised").low
    parts = [exact.digest_texts(data, offsets[i : i + split + 1], text="normalised").low for i in range(0, 9, split)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert exact.digest_texts(np.repeat(data, 2)[::2], offsets, text="normalised").low.tolist() == whole.tolist()


@given(st.lists(st.tuples(st.sampled_from("abc"), NUMBERS, NUMBERS), max_size=10), st.permutations(range(10)))
def test_keep_order_equals_twin(values, addresses):
    rows = [
        {"address": address, "source": source, "quality": quality, "date": date}
        for address, (source, quality, date) in zip(addresses, values, strict=False)
    ]
    schema = pa.schema(
        [("address", pa.int64()), ("source", pa.string()), ("quality", pa.float64()), ("date", pa.float64())]
    )
    table = pa.Table.from_pylist(rows, schema)
    policy = keepers.KeepPolicy(
        source_priority=("c", "a"),
        attributes=(
            keepers.AttributeOrder(name="quality", order="descending"),
            keepers.AttributeOrder(name="date", order="ascending"),
        ),
    )
    place = keepers.keep_order(table, policy=policy)
    assert place.dtype == np.int64
    assert place.tolist() == reference.keep_order(rows, ["c", "a"], [("quality", True), ("date", False)])


def test_keep_order_sorts_dates_and_strings_and_accepts_slices():
    table = pa.table({"address": [0, 1, 2, 3], "crawl": ["2019", "2024", None, "2021"]}).slice(1)
    newest = keepers.KeepPolicy(attributes=(keepers.AttributeOrder(name="crawl", order="descending"),))
    assert keepers.keep_order(table, policy=newest).tolist() == [0, 2, 1]
    assert keepers.keep_order(table.to_batches()[0], policy=newest).tolist() == [0, 2, 1]
    assert keepers.keep_order(table, policy=keepers.KeepPolicy()).tolist() == [0, 1, 2]


def test_keep_order_does_not_depend_on_row_order():
    table = pa.table({"address": [5, 3, 9, 1], "quality": [0.5, 0.5, None, 0.7]})
    policy = keepers.KeepPolicy(attributes=(keepers.AttributeOrder(name="quality", order="descending"),))
    place = keepers.keep_order(table, policy=policy)
    order = [2, 0, 3, 1]
    assert keepers.keep_order(table.take(order), policy=policy).tolist() == place[order].tolist()


def test_bad_input_is_refused_with_the_value():
    with pytest.raises(SchemaError, match="quality"):
        policy = keepers.KeepPolicy(attributes=(keepers.AttributeOrder(name="quality", order="descending"),))
        keepers.keep_order(pa.table({"address": [1]}), policy=policy)
    with pytest.raises(SchemaError, match="repeated"):
        keepers.keep_order(pa.table({"address": [1, 1]}), policy=keepers.KeepPolicy())
    with pytest.raises(SchemaError, match="loud"):
        exact.digest_texts(*to_arrays([b"a"]), text="loud")
