"""Orders of documents against the twin; a weighted draw has the chances it should; pools of cells; the logarithm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import hash_ids
from mixers import selection
from mixers.selection import MODES, SelectionConfig
from tests.reference import selection as reference

SCORES = st.one_of(st.sampled_from([0.0, -0.0, -1.0, 1.0, 5.0, math.inf, 1e-45]), st.floats(-1, 5, width=32))
CELLS = [(source, topic, bucket) for source in ("code", "web") for topic in ("a", "b") for bucket in range(4)]


def pools_of(modes, seed=3):
    cells = [(mode, "", bucket) for mode in sorted(modes) for bucket in range(2)]
    chosen = {mode: SelectionConfig(mode=mode) for mode in modes if mode != "hash"}
    return selection.make_pools(
        cells, planned=np.ones(len(cells), np.int64), num_buckets=2, selection=chosen, seed=seed
    )


@given(st.lists(st.tuples(st.integers(-1, 3), SCORES), max_size=40))
def test_orders_match_reference(documents):
    pools = pools_of(MODES)  # hash 0 and 1, reservoir 2, top 3
    pool, score = np.array([d[0] for d in documents], np.int32), np.array([d[1] for d in documents], np.float32)
    id_hash = hash_ids([str(i) for i in range(len(documents))], seed=1, name="test")
    high, low = selection.order_keys(pool, id_hash=id_hash, score=score, pools=pools)
    assert not high[pool < 0].any() and not low[pool < 0].any()
    for number in range(4):
        mine = np.flatnonzero(pool == number).tolist()
        mode, seed = MODES[pools.mode[number]], int(pools.seeds[number])
        expected = sorted(mine, key=lambda i: reference.rank_document(mode, int(id_hash[i]), float(score[i]), seed))
        assert sorted(mine, key=lambda i: (int(high[i]), int(low[i]))) == expected


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=30), st.floats(2**-20, 1e6, width=32))
def test_draws_are_the_twins_numbers(keys, weight):
    got = selection.draw_by_weight(np.array(keys, np.uint64), np.full(len(keys), weight, np.float32)).view(np.float64)
    assert got.tolist() == [-reference.log_exactly(((key >> 12) + 0.5) / 2**52) / weight for key in keys]


@given(st.lists(st.floats(2.0**-60, 1e30), max_size=50))
def test_the_logarithm_is_the_logarithm(values):
    got = selection.log_exactly(np.array(values))
    # 4e-16 is below 2 units in the last place; ln near 1 is small and has its own last place
    assert np.allclose(got, [math.log(value) for value in values], rtol=4e-16, atol=0)


def test_the_logarithm_has_these_bits_everywhere():
    got = selection.log_exactly(np.array([2.0**-53, 0.1, 0.5, 0.7071067811865475, 0.9999999999999998, 3.0]))
    assert [value.hex() for value in got.tolist()] == RECORDED


RECORDED = [
    "-0x1.25e4f7b2737fap+5", "-0x1.26bb1bbb55515p+1", "-0x1.62e42fefa39efp-1",
    "-0x1.62e42fefa39f1p-2", "-0x1.0000000000001p-52", "0x1.193ea7aad030ap+0",
]  # fmt: skip


def test_the_first_of_a_draw_is_each_document_with_its_share():
    """12,000 draws of four documents with weights 1, 2, 3, 4: first places in proportion, and second ones as without replacement."""
    num = 12_000
    id_hash = hash_ids([str(i) for i in range(4 * num)], seed=2, name="test")
    weight = np.tile(np.float32([1, 2, 3, 4]), num)
    places = np.argsort(selection.draw_by_weight(id_hash, weight).reshape(num, 4), axis=1)
    first = np.bincount(places[:, 0], minlength=4) / num
    assert np.abs(first - np.array([1, 2, 3, 4]) / 10).max() < 0.02  # 4.5 sigma
    after_last = np.bincount(places[places[:, 0] == 3, 1], minlength=4)
    assert np.abs(after_last / after_last.sum() - np.array([1, 2, 3, 0]) / 6).max() < 0.03


def test_scores_of_nothing_come_last_by_hash():
    pools = pools_of(["reservoir"])
    score = np.float32([0, -3, 1e-45, 0])
    id_hash = np.uint64([4, 5, 6, 7])
    high, low = selection.order_keys(np.zeros(4, np.int32), id_hash=id_hash, score=score, pools=pools)
    rows = sorted(range(4), key=lambda i: (int(high[i]), int(low[i])))
    assert rows[0] == 2 and [int(low[i]) for i in rows[1:]] == sorted(int(low[i]) for i in (0, 1, 3))


def test_each_cell_is_a_pool_unless_a_source_has_a_selection():
    planned = np.arange(16, dtype=np.int64)
    plain = selection.make_pools(CELLS, planned=planned, num_buckets=4, selection={}, seed=1)
    assert (
        plain.of_cell.tolist() == plain.of_budget.tolist() == list(range(16))
        and plain.planned.tolist() == planned.tolist()
    )
    assert plain.chain.tolist() == [0] * 8 + [1] * 8 and len(set(plain.seeds.tolist())) == 16
    chosen = {"code": SelectionConfig(mode="reservoir", top_buckets=1)}
    pools = selection.make_pools(CELLS, planned=planned, num_buckets=4, selection=chosen, seed=1)
    assert pools.of_cell.tolist() == [-1, -1, -1, 0, -1, -1, -1, 1, *range(2, 10)]
    assert pools.of_budget.tolist() == [0] * 4 + [1] * 4 + list(range(2, 10))
    assert pools.planned.tolist() == [6, 22, *range(8, 16)] and pools.max_repetition[:3].tolist() == [7, 7, math.inf]
    assert (
        pools.seeds[2:].tolist() == plain.seeds[8:].tolist()
    )  # a cell's draw is its own, whatever the other sources do


@pytest.mark.parametrize(
    ("chosen", "key"),
    [
        ({"pdf": SelectionConfig()}, "selection.pdf"),
        ({"web": SelectionConfig(top_buckets=5)}, "selection.web.top_buckets"),
    ],
)
def test_selections_of_nothing_are_errors(chosen, key):
    with pytest.raises(ConfigError) as caught:
        selection.make_pools(CELLS, planned=np.zeros(16, np.int64), num_buckets=4, selection=chosen, seed=1)
    assert caught.value.key == key


def test_bad_columns_are_refused():
    arguments = {"id_hash": np.uint64([1]), "pools": pools_of(["top"])}
    with pytest.raises(SchemaError, match="NaN"):
        selection.order_keys(np.int32([0]), score=np.float32([np.nan]), **arguments)
    with pytest.raises(SchemaError, match="1 rows"):
        selection.order_keys(np.int32([0]), score=np.float32([]), **arguments)
