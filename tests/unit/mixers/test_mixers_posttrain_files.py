"""mixers.posttrain_files: which rows, in which order and part; what a part of chats holds."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import DataError
from dolma_py.storage import HashingWriter
from mixers.posttrain_files import name_repeats, plan_rows, work_schema, write_chats


def plan(ids, sources=None, tokens=None, counts=None, seed=1, tokens_per_part=100):
    return plan_rows(
        ids, sources or ["s"] * len(ids), np.array(tokens or [10] * len(ids), np.int64), counts=counts or {}, seed=seed,
        tokens_per_part=tokens_per_part,
    )  # fmt: skip


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "b#2#2", ""]), max_size=12))
def test_ids_are_different_and_the_first_keeps_its_own(ids):
    names = name_repeats(ids)
    assert len(set(names)) == len(ids)
    assert all(names[ids.index(name)] == name for name in set(ids))
    assert all(name.startswith(own) for own, name in zip(ids, names, strict=True))


def test_every_row_is_there_once_in_another_order():
    ids = [f"row {number}" for number in range(50)]
    found = plan(ids, tokens_per_part=95)
    assert sorted(found.rows.tolist()) == list(range(50)) and found.rows.tolist() != list(range(50))
    assert found.ids == [ids[row] for row in found.rows]
    assert found.bounds == [0, 10, 20, 30, 40, 50] and found.num_parts == 5
    assert plan(ids, seed=2).rows.tolist() != found.rows.tolist()


def test_the_order_is_that_of_ids_whatever_the_files_were():
    ids = [f"row {number}" for number in range(30)]
    assert plan(ids[::-1]).ids == plan(ids).ids


def test_counts_take_some_of_a_source_and_more_of_them_the_same():
    ids, sources = [str(number) for number in range(40)], ["s", "t"] * 20
    few, more = (plan(ids, sources, counts={"s": count}) for count in (5, 9))
    of_s = [{row for row in found.rows.tolist() if sources[row] == "s"} for found in (few, more)]
    assert (len(of_s[0]), len(of_s[1])) == (5, 9) and of_s[0] < of_s[1]
    assert sum(sources[row] == "t" for row in few.rows.tolist()) == 20
    assert len(plan(ids, sources, counts={"s": 99}).rows) == 40


def test_a_long_row_is_a_part_and_none_is_no_part():
    assert plan(["a", "b"], tokens=[500, 500]).num_parts == 2
    assert plan([]).bounds == [0]


def chats(rows):
    columns = {
        "id": [],
        "ids": [],
        "mask": [],
        "source": [],
        "path": [],
        "line": [],
        "tokens": [],
        "trained_tokens": [],
    }
    for number, (ids, mask) in enumerate(rows):
        values = [f"r,{number}", ids, mask, "s", "a.jsonl", number + 1, len(ids), sum(mask)]
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.table(columns, schema=work_schema("sft"))


def write(table, dtype="uint16"):
    streams = [io.BytesIO() for _ in range(3)]
    facts = write_chats(table, dtype=dtype, eos_token_id=0, sinks=tuple(HashingWriter(stream) for stream in streams))
    return facts, [stream.getvalue() for stream in streams]


def test_a_part_of_chats():
    facts, (ids, mask, sidecar) = write(chats([([5, 6, 0], [False, True, True]), ([7, 0], [True, False])]))
    assert facts == {"tokens": 5, "documents": 2, "trained_tokens": 3}
    assert np.frombuffer(ids, "<u2").tolist() == [5, 6, 0, 7, 0]
    assert np.frombuffer(mask, np.bool_).tolist() == [False, True, True, True, False]
    assert gzip.decompress(sidecar).decode() == '0,3,"r,0",a.jsonl,1\n3,5,"r,1",a.jsonl,2\n'
    assert write(chats([([5, 0], [True, True])]), "uint32")[1][0] == np.array([5, 0], "<u4").tobytes()


@pytest.mark.parametrize(
    "rows",
    [
        [([5, 6], [True, True])],
        [([5, 0, 6, 0], [True] * 4)],
        [([], [])],
        [([5, 0], [True])],
        [([70_000, 0], [True, True])],
    ],
)
def test_a_part_that_breaks_the_rules_is_not_written(rows):
    with pytest.raises(DataError, match=r"end-of-text token, or its mask|does not fit uint16"):
        write(chats(rows))
