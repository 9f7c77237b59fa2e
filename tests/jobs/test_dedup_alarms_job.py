"""A source that loses too much or a cluster too large stops a job before anything is complete; allowed, it goes on from there."""

import json

import pytest

from dolma_py.errors import DedupAlarmError
from pipelines.build_recipe import BuildOptions
from pipelines.plain_commands import PlainOptions, run_plain
from tests.dedup_jobs import list_output, metadata, run_job

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")

TEXT = "the same words in every copy of this text, more than ten of them"
SHARDS = [
    [[{"text": TEXT, "source": "web", "metadata": metadata(url="https://a.org/")}] * 12],
    [[{"text": f"{n} {TEXT} {n} " * 3, "source": "books", "metadata": metadata(url=f"https://b.org/{n}")} for n in range(12)]],
]  # fmt: skip
SETS = {
    "dedup_exact": "exact-v1",
    "dedup_urls": "urls-v1",
    "dedup_minhash": "minhash-v1",
    "dedup_paragraphs": "paragraphs-v1",
}


def written(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")}


@pytest.mark.parametrize("kind", list(SETS))
def test_a_source_that_loses_too_much_is_named_and_allowing_it_goes_on(tmp_path, kind):
    root = tmp_path / "corpus"
    with pytest.raises(
        DedupAlarmError, match=r"source web loses 11 of 12 documents .*--set 'alarms\.allow=\[web\]'"
    ) as caught:
        run_job(kind, root, SHARDS, {"alarms": {"min_source_docs": 12}})
    assert "books" not in str(caught.value)
    assert not (root / "attributes" / SETS[kind] / "_done.jsonl").exists()
    assert not list(root.rglob("manifest.json")) and not list((root / "views").glob("*.yaml"))
    before = written(root)
    allowed = {"alarms": {"min_source_docs": 12, "allow": ["web"]}}
    outcome = run_job(kind, root, SHARDS, allowed)
    kept = {path: time for path, time in before.items() if "/work/" not in str(path)}
    assert kept and kept.items() <= written(root).items()
    web = outcome.manifest["facts"]["sources"]["web"]
    assert (web["documents"], web["removed_documents"], web["bytes"]) == (12, 11, 12 * len(TEXT))
    assert outcome.manifest["facts"]["alarms"]["allow"] == ["web"]
    run_job(kind, tmp_path / "other", SHARDS, allowed)
    assert list_output(root) == list_output(tmp_path / "other")
    assert run_job(kind, root, SHARDS, {}).skipped  # what is complete stays complete


@pytest.mark.parametrize("kind", ["dedup_exact", "dedup_urls", "dedup_minhash"])
def test_a_cluster_too_large_is_named(tmp_path, kind):
    with pytest.raises(DedupAlarmError, match=r"cluster of 0-0-0 has 12 members; allowed are 11.*alarms\.max_cluster"):
        run_job(kind, tmp_path / "corpus", SHARDS, {"alarms": {"max_cluster_size": 11}})
    assert not (tmp_path / "corpus" / "attributes" / SETS[kind]).exists()
    assert not run_job(kind, tmp_path / "corpus", SHARDS, {"alarms": {"max_cluster_size": 12}}).skipped


def test_plain_files_are_not_written_before_it_is_allowed(tmp_path):
    lines = [json.dumps({"text": f"{TEXT} {n if n > 9 else 0}"}) for n in range(16)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    plain = PlainOptions([str(tmp_path / "in.jsonl")], str(tmp_path / "out"), "text", None, False)
    run = {"name": "dedup-minhash", "seed": 0}
    options = BuildOptions(show_progress=False)
    with pytest.raises(DedupAlarmError, match="source input loses 15 of 16"):
        run_plain("dedup_minhash", {"alarms": {"min_source_docs": 10}}, run, plain, options)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".dolma-py"]
    settings = {"alarms": {"min_source_docs": 10, "max_source_removed_frac": 1.0}}
    outcomes = run_plain("dedup_minhash", settings, run, plain, options)
    assert [outcome.skipped for outcome in outcomes] == [True, False, False]
    assert outcomes[-1].manifest["facts"]["kept"] == 1
