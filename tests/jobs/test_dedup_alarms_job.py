"""A source that loses too much or a cluster too large stops a job before anything is complete; allowed, it goes on from there."""

import json
import logging
import shlex

import pytest
import yaml

from dolma_py.errors import DedupAlarmError, TooManyRejectedError
from pipelines.build_recipe import BuildOptions, build_named
from pipelines.job_main import run_job as run_job_file
from pipelines.plain_commands import PlainOptions, run_plain
from tests.dedup_jobs import list_output, metadata, run_job
from tests.tiny_corpus import write_corpus

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


LINES = f"{json.dumps({'text': TEXT})}\n" * 12 + "{broken\n"


def advised_override(text):
    """What the shell hands over as the argument of --set when the advice is typed as it stands."""
    return shlex.split(text.partition("--set ")[2])[0]


def write_job(folder, **values):
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(values | {"step": {"alarms": {"min_source_docs": 12}}}))
    return ["--config", str(path)]


def test_the_advice_of_a_job_file_is_taken_by_its_own_command(tmp_path, caplog):
    write_corpus(str(tmp_path / "corpus"), SHARDS)
    job = write_job(tmp_path, corpus=str(tmp_path / "corpus"))
    with caplog.at_level(logging.INFO, "dolma_py.build"):
        assert run_job_file("dedup_exact", job) == 2
    assert run_job_file("dedup_exact", [*job, "--set", advised_override(caplog.records[-1].getMessage())]) == 0


def test_the_advice_of_a_job_file_over_plain_files_is_taken_by_its_own_command(tmp_path, caplog):
    (tmp_path / "in.jsonl").write_text(LINES)
    job = write_job(tmp_path, inputs=[str(tmp_path / "in.jsonl")], output=str(tmp_path / "out"))
    with caplog.at_level(logging.INFO, "dolma_py.build"):
        assert run_job_file("dedup_exact", job) == 2
        assert "raise step.plain.max_rejected_frac" in caplog.records[-1].getMessage()
        job += ["--set", "step.plain.max_rejected_frac=0.5"]
        assert run_job_file("dedup_exact", job) == 2
    assert run_job_file("dedup_exact", [*job, "--set", advised_override(caplog.records[-1].getMessage())]) == 0


@pytest.mark.parametrize(("recipe", "name"), [("plain", "copies"), ("dedup_exact", None)])
def test_the_advice_of_a_recipe_is_taken_by_its_own_command(tmp_path, recipe, name):
    """Whatever the recipe and its step are called, and where a step has no name of its own."""
    (tmp_path / "in.jsonl").write_text(LINES)
    steps = [
        {"kind": "ingest", "sources": [{"name": "2020", "inputs": [str(tmp_path / "in.jsonl")]}]},
        {"kind": "dedup_exact", "name": name, "alarms": {"min_source_docs": 12}},
    ]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"recipe": recipe, "seed": 1, "steps": steps}))

    def run(*overrides):
        return build_named(
            recipe=str(tmp_path / "r.yaml"), corpus=str(tmp_path / "corpus"), flow=None, overrides=overrides, inputs=[],
            dry_run=False, options=BuildOptions(show_progress=False),
        )  # fmt: skip

    with pytest.raises(TooManyRejectedError, match=r"raise steps\.ingest\.max_rejected_frac"):
        run()
    with pytest.raises(DedupAlarmError) as caught:
        run("steps.ingest.max_rejected_frac=0.5")
    assert len(run("steps.ingest.max_rejected_frac=0.5", advised_override(str(caught.value)))) == 2
