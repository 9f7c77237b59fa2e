"""Sums by place against counting by hand, rows of a split numbered by all groups, state that comes back from JSON; splits without rows."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import SchemaError
from mixers.prefix_search import Ends, Search
from mixers.selection import SelectionConfig, make_pools
from pipelines import mix_passes, mix_tasks
from pipelines.mix_table import ROW_SCHEMA

GROUPS = [("code", ""), ("web", "art"), ("web", "law")]
COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1 << 40), st.integers(0, 3)), max_size=40)


@given(COUNTS, st.integers(1, 4))
def test_sums_by_place_add_up_over_parts(rows, parts):
    expected = defaultdict(lambda: [0, 0])
    for place, weight, count in rows:
        expected[place][0] += weight
        expected[place][1] += count
    columns = [np.array([row[part] for row in rows], np.int64) for part in range(3)]
    tables = [
        mix_tasks.sum_by_place(
            columns[0][part::parts], (columns[1][part::parts], columns[2][part::parts]), mix_tasks.PLACE_SCHEMA
        )
        for part in range(parts)
    ]
    merged = mix_tasks.merge_places(tables, mix_tasks.PLACE_SCHEMA)
    assert merged.to_pylist() == [
        {"place": place, "weight": expected[place][0], "count": expected[place][1]} for place in sorted(expected)
    ]
    sums = mix_passes.add_places(tables, 10, ("weight", "count"))
    assert [(int(a), int(b)) for a, b in zip(*sums, strict=True)] == [tuple(expected[place]) for place in range(10)]


def test_a_place_below_nothing_is_an_error():
    with pytest.raises(SchemaError, match="place"):
        mix_tasks.sum_by_place(np.int64([-1]), (np.int64([1]), np.int64([1])), mix_tasks.PLACE_SCHEMA)


def make_table(pairs):
    rows = [
        {"address": at, "source": source, "score": 0.5, "tokens": 3, "bytes": 9, "id_hash": at * 7, "topic": topic}
        for at, (source, topic) in enumerate(pairs)
    ]
    return pa.Table.from_pylist(rows, ROW_SCHEMA)


def test_rows_are_numbered_by_all_groups_of_the_mix():
    rows = mix_tasks.split_rows(make_table([("web", "law"), ("code", ""), ("web", "law")]), GROUPS, np.int64([1, 99]))
    assert rows.group.tolist() == [2, 0, 2] and rows.source.tolist() == [1, 0, 1]
    assert rows.is_excluded.tolist() == [False, True, False]


def test_a_split_without_rows_has_no_sums():
    rows = mix_tasks.split_rows(make_table([]), GROUPS, np.empty(0, np.int64))
    cells = [(*group, 0) for group in GROUPS]
    pools = make_pools(cells, planned=np.ones(3, np.int64), num_buckets=1, selection={}, seed=0)
    cell = np.empty(0, np.int32)
    assert len(mix_tasks.order_rows(pools, rows, cell).pool) == 0
    assert mix_tasks.sum_cells(rows, cell).num_rows == mix_tasks.sum_drawn(rows, cell, cell).num_rows == 0
    assert mix_tasks.merge_places([], mix_tasks.CELL_SUMS).num_rows == 0


def test_state_comes_back_from_json():
    big = np.uint64([(1 << 64) - 1, 0])
    search = Search(3, big, np.int64([5, 0]), np.int64([1, 0]), np.int64([1 << 50, 0]))
    ends = Ends(big, big[::-1].copy(), np.int64([1 << 60, 2]))
    chosen = {"code": SelectionConfig(mode="top")}
    pools = make_pools(
        [("code", "", 0), ("web", "", 0)], planned=np.int64([3, 4]), num_buckets=1, selection=chosen, seed=1
    )
    loads = ((search, mix_tasks.load_search), (ends, mix_tasks.load_ends), (pools, mix_tasks.load_pools))
    for values, load in loads:
        back = load(json.loads(json.dumps(mix_tasks.dump_arrays(values))))
        assert [np.asarray(column).dtype for column in back] == [np.asarray(column).dtype for column in values]
        assert all(np.array_equal(a, b) for a, b in zip(back, values, strict=True))
