"""The disk of a MinHash plan beside what the run writes, and the peak that its files and Spark's shuffles really have."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipelines import dedup_decisions, dedup_minhash
from pipelines.build_recipe import BuildOptions
from pipelines.job_main import plan_step_file, run_step_file
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
