"""mixers.sampling against its twin, conservation, independence of order and of other cells."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import derive_seed, hash_ids
from mixers import sampling
from tests.reference import sampling as reference

# cell, tokens; a few documents far longer than the others
DOCUMENTS = st.lists(st.tuples(st.integers(-1, 3), st.one_of(st.integers(1, 9), st.integers(1, 1 << 40))), max_size=60)
BUDGETS = st.lists(st.floats(0, 9.5), min_size=4, max_size=4)
SEEDS = np.array([derive_seed(7, "cell", i) for i in range(4)], np.uint64)


def draw(documents, budgets):
    cell = np.array([d[0] for d in documents], np.int32)
    tokens = np.array([d[1] for d in documents], np.int64)
    id_hash = hash_ids([f"doc-{i}" for i in range(len(documents))], seed=1, name="test")
    available = np.array([tokens[cell == c].sum() for c in range(4)], np.int64)
    planned = np.array([int(int(a) * b) for a, b in zip(available, budgets, strict=True)], np.int64)
    return cell, tokens, id_hash, planned


@given(DOCUMENTS, BUDGETS)
def test_copies_match_reference(documents, budgets):
    cell, tokens, id_hash, planned = draw(documents, budgets)
    got = sampling.sample_copies(cell, tokens=tokens, id_hash=id_hash, planned_tokens=planned, cell_seeds=SEEDS)
    expected = reference.sample_copies(
        cell.tolist(),
        tokens=tokens.tolist(),
        id_hash=id_hash.tolist(),
        planned_tokens=planned.tolist(),
        cell_seeds=SEEDS.tolist(),
    )
    assert got.dtype == np.int32 and got.tolist() == expected


@given(DOCUMENTS, BUDGETS)
def test_written_tokens_are_planned_tokens_within_half_a_document(documents, budgets):
    cell, tokens, id_hash, planned = draw(documents, budgets)
    copies = sampling.sample_copies(cell, tokens=tokens, id_hash=id_hash, planned_tokens=planned, cell_seeds=SEEDS)
    assert (copies[cell < 0] == 0).all()
    for c in range(4):
        mine = cell == c
        longest = int(tokens[mine].max(initial=0))
        assert 2 * abs(int((tokens[mine] * copies[mine]).sum()) - int(planned[c])) <= longest
        available = int(tokens[mine].sum())
        whole = int(planned[c]) // available if available else 0
        assert set(copies[mine].tolist()) <= {whole, whole + 1}


@given(DOCUMENTS, BUDGETS, st.randoms(use_true_random=False))
def test_copies_do_not_depend_on_row_order_or_other_cells(documents, budgets, random):
    cell, tokens, id_hash, planned = draw(documents, budgets)
    straight = sampling.sample_copies(cell, tokens=tokens, id_hash=id_hash, planned_tokens=planned, cell_seeds=SEEDS)
    order = list(range(len(documents)))
    random.shuffle(order)
    shuffled = sampling.sample_copies(
        cell[order], tokens=tokens[order], id_hash=id_hash[order], planned_tokens=planned, cell_seeds=SEEDS
    )
    assert np.array_equal(straight[order], shuffled)
    mine = cell == 2
    alone = sampling.sample_copies(
        np.zeros(int(mine.sum()), np.int32),
        tokens=tokens[mine],
        id_hash=id_hash[mine],
        planned_tokens=planned[2:3],
        cell_seeds=SEEDS[2:3],
    )
    assert np.array_equal(straight[mine], alone)


def test_a_larger_budget_keeps_what_a_smaller_one_took():
    tokens = np.full(1000, 10, np.int64)
    id_hash = hash_ids([str(i) for i in range(1000)], seed=3, name="test")
    arguments = {"tokens": tokens, "id_hash": id_hash, "cell_seeds": SEEDS[:1]}
    taken = [
        sampling.sample_copies(np.zeros(1000, np.int32), planned_tokens=np.int64([budget]), **arguments)
        for budget in (1000, 2500, 9990)
    ]
    assert [int(t.sum()) for t in taken] == [100, 250, 999]
    assert (taken[0] <= taken[1]).all() and (taken[1] <= taken[2]).all()
    other = sampling.sample_copies(
        np.zeros(1000, np.int32), tokens=tokens, id_hash=id_hash, planned_tokens=np.int64([1000]), cell_seeds=SEEDS[1:2]
    )
    # two independent tenths share about a hundredth
    assert int((taken[0] & other).sum()) < 30


def test_docstring_example_read_only_and_empty():
    cell = np.int32([0, 0])
    cell.flags.writeable = False
    arguments = {"planned_tokens": np.int64([20]), "cell_seeds": np.uint64([9])}
    got = sampling.sample_copies(cell, tokens=np.int64([5, 5]), id_hash=np.uint64([1, 2]), **arguments)
    assert got.tolist() == [2, 2]
    none = np.empty(0, np.int64)
    empty = {"tokens": none, "id_hash": np.empty(0, np.uint64), "cell_seeds": np.uint64([9])}
    assert len(sampling.sample_copies(np.empty(0, np.int32), planned_tokens=np.int64([0]), **empty)) == 0


def test_a_budget_for_an_empty_cell_is_an_error():
    with pytest.raises(ConfigError) as caught:
        sampling.sample_copies(
            np.int32([0]),
            tokens=np.int64([5]),
            id_hash=np.uint64([1]),
            planned_tokens=np.int64([5, 3]),
            cell_seeds=SEEDS[:2],
        )
    assert caught.value.key == "plan.cells[1].planned_tokens" and caught.value.got == 3


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": np.int64([0])},
        {"tokens": np.int64([1, 2])},
        {"id_hash": np.empty(0, np.uint64)},
        {"planned_tokens": np.int64([-5])},
        {"planned_tokens": np.empty(0, np.int64)},
    ],
)
def test_bad_columns_are_refused(change):
    good = {
        "tokens": np.int64([1]),
        "id_hash": np.uint64([1]),
        "planned_tokens": np.int64([1]),
        "cell_seeds": SEEDS[:1],
    }
    sampling.sample_copies(np.int32([0]), **good)
    with pytest.raises(SchemaError):
        sampling.sample_copies(np.int32([0]), **{**good, **change})


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
