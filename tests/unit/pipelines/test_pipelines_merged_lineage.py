"""A lineage merged in several rounds has the bytes of one sorted and written at once."""

import random

import pyarrow as pa
import pytest

from dolma_py import parquet_files
from dolma_py.corpus import Corpus
from dolma_py.storage import write_attempt
from mixers.shards import LINEAGE_SCHEMA
from pipelines import merged_lineage, steps
from pipelines.steps import StepContext
from pipelines.units import UnitTimes


def run_in_order(spark, units, work, *, done, attempts, **_):
    """The units, one after another, in this process."""
    for unit in units:
        done.publish(unit.name, *work(unit.params, attempts))
    return UnitTimes(0.0, 0)


def make_lineage(part):
    """Rows of one part, in no order of ids; every third document has two copies, in two parts."""
    numbers = random.Random(part).sample(range(part, 400, 5), 40 if part < 4 else 0)
    rows = [{"id": f"doc-\u00e9{number}", "copy": 0, "part": part, "start": number} for number in numbers]
    rows += [{"id": f"doc-\u00e9{number - 1}", "copy": 1, "part": part, "start": 0} for number in numbers[::3]]
    rest = {"end": 7, "source": "web", "shard": 1, "row": 3}
    return pa.Table.from_pylist([row | rest for row in rows], LINEAGE_SCHEMA)


@pytest.mark.parametrize(("fan_in", "levels"), [(2, 3), (4, 2), (64, 1)])
def test_bytes_are_those_of_one_sorted_table(tmp_path, monkeypatch, fan_in, levels):
    monkeypatch.setattr(steps, "run_units", run_in_order)
    monkeypatch.setattr(merged_lineage, "FAN_IN", fan_in)
    monkeypatch.setattr(merged_lineage, "RUN_ROWS", 7)
    monkeypatch.setattr(parquet_files, "ROW_GROUP_ROWS", 50)
    context = StepContext(lambda: None, Corpus(str(tmp_path)), None, "s", "runs/r/00-s", "f", 0, {})
    lineages = [make_lineage(part) for part in range(5)]
    runs = []
    for part, lineage in enumerate(lineages):
        path = f"{context.work}/lineage/part-{part:05d}.parquet"
        file = write_attempt(
            str(tmp_path), context.attempts, path, lambda sink, lineage=lineage: merged_lineage.write_run(sink, lineage)
        )
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.attempt).rename(tmp_path / path)
        runs.append(path)
    file = merged_lineage.merge_runs(context, runs, "tokens/m/lineage.parquet")
    whole = pa.concat_tables(lineages).sort_by([("id", "ascending"), ("copy", "ascending")])
    checksum = parquet_files.write_table(str(tmp_path / "expected.parquet"), whole)
    assert (file["path"], file["checksum"], file["rows"]) == ("tokens/m/lineage.parquet", checksum, whole.num_rows)
    assert (tmp_path / "tokens/m/lineage.parquet").read_bytes() == (tmp_path / "expected.parquet").read_bytes()
    assert sorted(path.name for path in (tmp_path / context.work).glob("lineage-*")) == [
        f"lineage-{level}" for level in range(levels)
    ]
