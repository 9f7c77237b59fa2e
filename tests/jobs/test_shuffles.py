"""Results on the driver: sorted runs written by executors and merged, whatever the partitions and however many rows."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines import shuffles
from pipelines.repeated_ids import choose_names
from pipelines.shuffles import collect_sorted
from pipelines.steps import StepContext


def make_context(spark, folder):
    return StepContext(lambda: spark, Corpus(str(folder)), None, "step", "runs/r/00-step", "f", 0, {})


def make_frame(spark, rows, partitions):
    """Pairs in no order: many rows share `first`."""
    return spark.range(0, rows, 1, partitions).selectExpr(
        "(id * 7919) % 13 AS first", "(id * 104729) % 1000003 AS second", "concat('n', id) AS name"
    )


@pytest.mark.parametrize(("rows", "partitions"), [(0, 2), (1, 3), (500, 1), (500, 7)])
def test_merged_runs_are_the_sorted_table(spark, tmp_path, monkeypatch, rows, partitions):
    """The oracle is a sort in Python; runs of many row groups, empty partitions, ties in the first key."""
    monkeypatch.setattr(shuffles, "RUN_ROWS", 8)
    context = make_context(spark, tmp_path)
    frame = make_frame(spark, rows, partitions)
    found = collect_sorted(frame, by=["first", "second"], limit=500, what="rows", context=context)
    expected = sorted(
        ({"first": n * 7919 % 13, "second": n * 104729 % 1000003, "name": f"n{n}"} for n in range(rows)),
        key=lambda row: (row["first"], row["second"]),
    )
    assert found.to_pylist() == expected
    assert found.schema.types == [pa.int64(), pa.int64(), pa.string()]
    assert found == collect_sorted(frame, by=["first", "second"], limit=500, what="rows")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_more_rows_than_the_limit_are_refused_by_their_number(spark, tmp_path):
    context = make_context(spark, tmp_path)
    with pytest.raises(ConfigError, match="at most 499 rows") as caught:
        collect_sorted(make_frame(spark, 500, 3), by=["first", "second"], limit=499, what="members", context=context)
    assert (caught.value.key, caught.value.got) == ("members", 500)


@pytest.mark.timeout(60)
def test_many_documents_of_one_id_are_named_in_linear_time():
    """200,000 of them: a search from 2 on for each would be 2 * 10^10 steps."""
    number = 200_000
    names = choose_names(["x"] * number, ["x"] * (number - 1) + ["x#3"], list(range(number)))
    assert names[:3] == [(1, "x#2"), (2, "x#4"), (3, "x#5")] and len(names) == number - 2
