"""The disk of a MinHash plan beside what the run writes, and the peak that its files and Spark's shuffles really have."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from dolma_py.corpus import Corpus
from pipelines import components_spark, dedup_decisions, dedup_keys, dedup_minhash
from pipelines.build_recipe import BuildOptions
from pipelines.job_main import plan_step_file, run_step_file
from pipelines.shuffles import write_runs
from pipelines.steps import StepContext
from tests.tiny_corpus import write_corpus

WRITE_DECISIONS, FIND_COMPONENTS = dedup_decisions.write_decisions, dedup_minhash.find_components
FACTOR = 2.0  # the plan is above what is used, and at most this often as much


def folder_bytes(*folders: Path) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def shuffle_files(spark) -> dict[str, int]:
    """The shuffle files of a session, by name."""
    folders = spark.sparkContext._jvm.java.lang.System.getenv("SPARK_LOCAL_DIRS").split(",")
    paths = [path for folder in folders for path in Path(folder).rglob("shuffle_*.data")]
    return {path.name: path.stat().st_size for path in paths}


@pytest.mark.parametrize("num_copies", [0, 2])
def test_the_plan_of_disk_holds_and_is_not_far_off(tmp_path, _spark_of_this_run, num_copies):
    """A corpus that the sample takes in whole; without copies, and with two near copies of every text."""
    rng = random.Random(3)
    vocabulary = ["".join(rng.choices("abcdefghijklmnop", k=rng.randrange(2, 9))) for _ in range(20_000)]
    texts = [" ".join(rng.choices(vocabulary, k=400)) for _ in range(900)]
    rows = [{"text": f"{text} {copy}"} for copy in range(num_copies + 1) for text in texts[: 900 // (num_copies + 1)]]
    rng.shuffle(rows)
    corpus = write_corpus(str(tmp_path / "corpus"), [[rows[n::4]] for n in range(4)])
    values = {"corpus": corpus.root, "name": "near", "step": {}}
    (line,) = plan_step_file("dedup_minhash", values)["steps"]
    before, used = shuffle_files(_spark_of_this_run), {}

    def after_shuffle(context, *arguments, **options):
        found = FIND_COMPONENTS(context, *arguments, **options)
        now = shuffle_files(_spark_of_this_run)
        used["shuffle"] = sum(size for name, size in now.items() if name not in before)
        return found

    def before_attributes(context, *arguments, **options):
        used["work"] = folder_bytes(tmp_path / "corpus" / "runs")  # bands, members, sets, decisions of buckets
        return WRITE_DECISIONS(context, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup_minhash, "find_components", after_shuffle)
        patch.setattr(dedup_minhash, "write_decisions", before_attributes)
        run_step_file("dedup_minhash", values, BuildOptions(show_progress=False))
    used["attributes"] = folder_bytes(tmp_path / "corpus" / "attributes" / "minhash-v1")
    assert min(used.values()) > 0
    total = sum(used.values())
    assert total <= line["disk_bytes"] <= FACTOR * total, (used, line["details"])
    kept = folder_bytes(tmp_path / "corpus" / "runs" / "near")
    assert kept <= 1.2 * line["details"]["band_file_bytes"]


@pytest.mark.parametrize("num_copies", [0, 2])
def test_the_plan_of_exact_copies_holds_too(tmp_path, _spark_of_this_run, monkeypatch, num_copies):
    rng = random.Random(4)
    texts = [rng.randbytes(200).hex() for _ in range(3000 // (num_copies + 1))]
    rows = [{"text": text, "id": rng.randbytes(16).hex()} for text in texts for _ in range(num_copies + 1)]
    corpus = write_corpus(str(tmp_path / "corpus"), [[rows[n::2]] for n in range(2)])
    values = {"corpus": corpus.root, "name": "same", "step": {"alarms": {"max_source_removed_frac": 1.0}}}
    (line,) = plan_step_file("dedup_exact", values)["steps"]
    before, used = shuffle_files(_spark_of_this_run), {}
    write_duplicates = dedup_keys.write_duplicates

    def before_attributes(context, *arguments, **options):
        used["work"] = folder_bytes(tmp_path / "corpus" / "runs")  # keys and decisions
        now = shuffle_files(_spark_of_this_run)
        used["shuffle"] = sum(size for name, size in now.items() if name not in before)
        return write_duplicates(context, *arguments, **options)

    monkeypatch.setattr(dedup_keys, "write_duplicates", before_attributes)
    run_step_file("dedup_exact", values, BuildOptions(show_progress=False))
    used["attributes"] = folder_bytes(tmp_path / "corpus" / "attributes" / "exact-v1")
    assert min(used.values()) > 0
    assert sum(used.values()) <= line["disk_bytes"] <= 2 * FACTOR * sum(used.values()), used


@pytest.mark.slow
def test_the_rounds_of_components_need_what_is_planned(tmp_path, _spark_of_this_run, monkeypatch):
    """At the end of each round: its shuffles, those of the one before that Spark has not removed yet, and the files of both."""
    rng = random.Random(5)
    edges = sorted({tuple(sorted(rng.sample(range(8000), 2))) for _ in range(6000)})
    context = StepContext(
        spark=lambda: _spark_of_this_run, corpus=Corpus(str(tmp_path)), view=None, name="t", folder="runs/t/t",
        fingerprint="f", seed=0, artifacts={}, partitions=2,
    )  # fmt: skip
    frame = _spark_of_this_run.createDataFrame(
        pa.table({"first": [a for a, _ in edges], "member": [b for _, b in edges]})
    )
    runs = write_runs(context, frame, by=["first", "member"])
    before, used = shuffle_files(_spark_of_this_run), []
    count = components_spark.count_unsettled

    def counted(stars):
        left = count(stars)
        now = shuffle_files(_spark_of_this_run)
        used.append(sum(size for name, size in now.items() if name not in before) + folder_bytes(tmp_path))
        return left

    monkeypatch.setattr(components_spark, "count_unsettled", counted)
    components_spark.spark_components(context, [path for path, _ in runs], max_rounds=40)
    planned = components_spark.EDGE_DISK_BYTES * len(edges)
    assert len(used) > 4 and max(used) <= planned <= 2 * FACTOR * used[0], (used, planned)
