"""mixers.sampling against its twin, conservation, independence of order and of other sources, the held-out split."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, ConservationError, SchemaError
from dolma_py.hashing import derive_seed, hash_ids
from mixers import sampling
from mixers.prefix_search import Ordered
from tests.reference import sampling as reference

NUM_POOLS = 4
CHAINS = np.int32([0, 0, 0, 1])
# pool, tokens; a few documents far longer than the others; keys of few values, so that ties are common
DOCUMENTS = st.lists(
    st.tuples(
        st.integers(-1, NUM_POOLS - 1), st.one_of(st.integers(1, 9), st.integers(1, 1 << 40)), st.integers(0, 9), st.integers(0, 1)
    ),
    max_size=60,
)  # fmt: skip
RATES = st.lists(st.floats(0, 9.5), min_size=NUM_POOLS, max_size=NUM_POOLS)


def order(documents):
    pool, tokens, high, low = (np.array([row[i] for row in documents], np.int64) for i in range(4))
    return Ordered(
        pool.astype(np.int32),
        high.astype(np.uint64) << np.uint64(60),
        low.astype(np.uint64),
        np.arange(len(pool)),
        tokens,
    )


def plan(docs, rates):
    available = np.array([docs.weight[docs.pool == pool].sum() for pool in range(NUM_POOLS)], np.int64)
    planned = np.array([int(int(a) * rate) for a, rate in zip(available, rates, strict=True)], np.int64)
    return planned, available


def draw(docs, planned, available, chain=CHAINS):
    whole, rest = sampling.split_budget(planned, available=available, names=[f"pool {i}" for i in range(len(planned))])
    return sampling.sample_copies(docs, whole=whole, rest=rest, chain=chain)


@given(DOCUMENTS, RATES)
def test_copies_match_reference(documents, rates):
    docs = order(documents)
    planned, available = plan(docs, rates)
    copies, edges = draw(docs, planned, available)
    rows = list(zip(*(column.tolist() for column in docs), strict=True))
    expected = reference.sample_copies(rows, planned_tokens=planned.tolist(), chains=CHAINS.tolist())
    assert copies.dtype == np.int32 and (copies.tolist(), edges.tolist()) == expected


@given(DOCUMENTS, RATES)
def test_written_tokens_are_planned_tokens_within_one_document_and_sources_within_half(documents, rates):
    docs = order(documents)
    planned, available = plan(docs, rates)
    copies, edges = draw(docs, planned, available)
    assert (copies[docs.pool < 0] == 0).all()
    off = np.zeros(NUM_POOLS, object)
    for pool in range(NUM_POOLS):
        mine = docs.pool == pool
        off[pool] = int((docs.weight[mine] * copies[mine]).sum()) - int(planned[pool])
        assert abs(off[pool]) <= int(edges[pool]) <= int(docs.weight[mine].max(initial=0))
        whole = int(planned[pool]) // max(int(available[pool]), 1)
        assert set(copies[mine].tolist()) <= {whole, whole + 1}
    for chain in (0, 1):
        assert 2 * abs(off[chain == CHAINS].sum()) <= int(edges[chain == CHAINS].max())


@given(DOCUMENTS, RATES, st.randoms(use_true_random=False))
def test_copies_do_not_depend_on_row_order_or_other_sources(documents, rates, random):
    docs = order(documents)
    planned, available = plan(docs, rates)
    straight, edges = draw(docs, planned, available)
    rows = list(range(len(documents)))
    random.shuffle(rows)
    shuffled, _ = draw(Ordered(*(column[rows] for column in docs)), planned, available)
    assert np.array_equal(straight[rows], shuffled)
    mine = docs.pool == 3
    alone = Ordered(*(column[mine] for column in docs))._replace(pool=np.zeros(int(mine.sum()), np.int32))
    copies, edge = draw(alone, planned[3:], available[3:], CHAINS[3:])
    assert np.array_equal(straight[mine], copies) and edge[0] == edges[3]


def test_many_small_cells_give_what_they_should_together():
    """A thousand cells of one document of 10 tokens, 3 planned of each: rounding each by itself would give nothing at all."""
    num = 1000
    docs = Ordered(
        np.arange(num, dtype=np.int32),
        np.zeros(num, np.uint64),
        np.zeros(num, np.uint64),
        np.arange(num),
        np.full(num, 10),
    )
    copies, _ = draw(docs, np.full(num, 3), np.full(num, 10), np.zeros(num, np.int32))
    assert int(copies.sum()) == 300
    assert all(abs(int(copies[:part].sum()) * 10 - 3 * part) <= 5 for part in range(num))


def test_a_larger_budget_keeps_what_a_smaller_one_took_but_for_the_edge():
    num = 1000
    docs = Ordered(
        np.zeros(num, np.int32),
        np.arange(num, dtype=np.uint64),
        np.zeros(num, np.uint64),
        np.arange(num),
        np.full(num, 10),
    )
    taken = [draw(docs, np.int64([budget]), np.int64([10 * num]), CHAINS[:1])[0] for budget in (1000, 2500, 9990)]
    assert [int(copies.sum()) for copies in taken] == [100, 250, 999]
    assert (taken[0] <= taken[1]).all() and (taken[1] <= taken[2]).all()


def test_tokens_planned_of_nothing_are_an_error():
    with pytest.raises(ConfigError, match="planned of b, which has no document") as caught:
        sampling.split_budget(np.int64([5, 3]), available=np.int64([5, 0]), names=["a", "b"])
    assert caught.value.got == 3


CELL = st.tuples(st.integers(1, 1 << 40), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.5, 1.0, 4.0, 7.0, 8.37]))


@given(st.lists(CELL, min_size=1, max_size=8))
def test_what_is_excluded_never_raises_copies_above_the_cap(rows):
    tokens = [row[0] for row in rows]
    excluded = [int(row[1] * row[0]) for row in rows]
    caps = [row[3] for row in rows]
    planned = [int(row[2] * row[3] * row[0]) + 1 for row in rows]  # a token above at the cap, as rounding may plan
    cut = sampling.cut_to_caps(
        np.int64(planned), tokens=np.int64(tokens), excluded_tokens=np.int64(excluded), max_repetition=np.array(caps)
    )
    for i in range(len(rows)):
        left = tokens[i] - excluded[i]
        most = math.floor(Fraction(caps[i]) * left)
        expected = max(0, planned[i] - most) if excluded[i] and left else 0
        assert cut[i] == pytest.approx(expected, abs=1) and (cut[i] == 0) == (expected == 0)


def test_more_copies_than_a_selection_allows_are_an_error():
    most = np.float64([7, np.inf])
    whole, rest = sampling.split_budget(
        np.int64([70, 900]), available=np.int64([10, 10]), names=["a", "b"], max_repetition=most
    )
    assert whole.tolist() == [7, 90] and rest.tolist() == [0, 0]
    empty = {"available": np.int64([10, 0]), "names": ["a", "b"], "max_repetition": most}
    assert sampling.split_budget(np.int64([7, 0]), **empty)[0].tolist() == [0, 0]
    with pytest.raises(ConfigError, match="a has 10 tokens, for at most 7 times as many planned") as caught:
        sampling.split_budget(np.int64([71, 0]), available=np.int64([10, 10]), names=["a", "b"], max_repetition=most)
    assert caught.value.key == "selection.max_repetition"
    with pytest.raises(ConfigError, match=r"2\^31"):
        sampling.split_budget(np.int64([1 << 40]), available=np.int64([1]), names=["a"])


GOOD = order([(0, 1, 0, 0)])


@pytest.mark.parametrize(
    ("docs", "planned"),
    [
        (GOOD._replace(weight=np.int64([0])), 1),
        (GOOD._replace(weight=np.int64([1, 2])), 1),
        (GOOD._replace(high=np.empty(0, np.uint64)), 1),
        (GOOD._replace(pool=np.int32([1])), 1),
        (GOOD, -5),
    ],
)
def test_bad_columns_are_refused(docs, planned):
    draw(GOOD, np.int64([1]), np.int64([1]), CHAINS[:1])
    with pytest.raises(SchemaError):
        draw(docs, np.int64([planned]), np.int64([1]), CHAINS[:1])


def test_nothing_gives_nothing():
    copies, edges = draw(order([]), np.int64([0]), np.int64([0]), CHAINS[:1])
    assert len(copies) == 0 and edges.tolist() == [0]
    copies, edges = draw(order([(-1, 4, 0, 0)]), np.empty(0, np.int64), np.empty(0, np.int64), CHAINS[:0])
    assert copies.tolist() == [0] and len(edges) == 0


def sampled_table(**changes):
    values = {
        "source": ["a", "a", "b"], "topic": [""] * 3, "bucket": [0, 1, 0], "pool": [0, 1, 2], "documents": [3] * 3, "tokens": [30] * 3,
        "excluded_documents": [0] * 3, "planned_tokens": [24, 24, 30], "cut_tokens": [0] * 3, "sampled_tokens": [20, 30, 30],
        "sampled_documents": [2, 3, 3],
        "copies": [2, 3, 3], "edge_tokens": [10, 10, 0],
    }  # fmt: skip
    return pa.table([pa.array(values[name]) for name in values] if not changes else [pa.array((values | changes)[name]) for name in values],
                    names=sampling.SAMPLED_SCHEMA.names).cast(sampling.SAMPLED_SCHEMA)  # fmt: skip


def test_what_was_planned_and_sampled_passes():
    sampling.check_conservation(sampled_table())
    # two cells of one pool: only their sums count
    sampling.check_conservation(sampled_table(pool=[0, 0, 1], sampled_tokens=[0, 50, 30]))
    # what was cut is not wanted
    sampling.check_conservation(sampled_table(cut_tokens=[0, 0, 25], sampled_tokens=[20, 30, 5]))


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"sampled_tokens": [13, 35, 30]}, "pool 0"),  # 11 less than planned, one document is 10
        ({"sampled_tokens": [20, 30, 31]}, "pool 2"),  # no edge, so exact
        ({"sampled_tokens": [30, 30, 30]}, "sample of a,"),  # each within 10, both together 12 more than half of 10
        ({"pool": [0, 0, 1], "sampled_tokens": [0, 59, 30]}, "pool 0"),
        ({"cut_tokens": [0, 0, 25]}, "pool 2"),
    ],
)
def test_a_planted_loss_is_found(changes, stage):
    with pytest.raises(ConservationError) as caught:
        sampling.check_conservation(sampled_table(**changes))
    assert stage in f"{caught.value.stage},"


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 20))
def test_heldout_number_matches_reference(source, heldout_docs):
    id_hash = hash_ids([f"doc-{i}" for i in range(len(source))], seed=1, name="test")
    config = sampling.HeldoutConfig(heldout_docs=heldout_docs)
    got = sampling.select_heldout(np.array(source, np.int32), id_hash=id_hash, seed=5, config=config)
    expected = reference.select_heldout(
        source, id_hash=id_hash.tolist(), hash_seed=derive_seed(5, "heldout"), heldout_docs=heldout_docs
    )
    assert got.dtype == np.bool_ and got.tolist() == expected


def test_heldout_share_is_a_matter_of_the_document_alone():
    id_hash = hash_ids([str(i) for i in range(20_000)], seed=1, name="test")
    config = sampling.HeldoutConfig(heldout_frac=0.05)
    source = np.zeros(20_000, np.int32)
    got = sampling.select_heldout(source, id_hash=id_hash, seed=5, config=config)
    assert 850 < int(got.sum()) < 1150  # 1000 +- 5 sigma
    part = sampling.select_heldout(source[::3] + 1, id_hash=id_hash[::3], seed=5, config=config)
    assert np.array_equal(got[::3], part)
    other = sampling.select_heldout(source, id_hash=id_hash, seed=6, config=config)
    assert not np.array_equal(got, other)
    none = sampling.select_heldout(source, id_hash=id_hash, seed=5, config=sampling.HeldoutConfig(heldout_frac=0.0))
    assert not none.any()


def test_heldout_config_wants_exactly_one():
    for values in ({}, {"heldout_frac": 0.1, "heldout_docs": 3}):
        with pytest.raises(pydantic.ValidationError):
            sampling.HeldoutConfig(**values)
