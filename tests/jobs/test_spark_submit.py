"""Every job of pipelines/ by spark-submit, as its file stands, against the same job files run in this process: the same bytes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma_py.java_home import find_java
from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from pipelines.recipe import KINDS
from tests import made_chats
from tests.jobs import made_recipe

Start = Callable[[str, dict[str, Any]], None]
# the two ends of a job over plain files; no jobs of their own
ENDS = ("read_plain", "write_plain")
JOBS = {kind: module for kind, (module, _) in KINDS.items() if kind not in ENDS}
INSTALLED = {
    "pages_bytes": 40_000, "packages_bytes": 20_000, "code_bytes": 20_000, "files_bytes": 20_000, "system_bytes": 0,
    "num_items": 4, "page_files": 1,
}  # fmt: skip
SYNTH = {
    "recipe": "cwe", "cwe": {"num_words": 1, "min_count": 1, "quote_words": 2},
    "sections": {"min_document_tokens": 60, "max_document_tokens": 4000, "min_tokens": 20, "max_tokens": 2000},
}  # fmt: skip

# none of these documents has a program, so nothing is asked
NOBODY = {"base_url": "http://127.0.0.1:9/v1", "model": "m"}


def make_steps(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """(kind, settings) of every job: the made recipe's, and those that it does without."""
    steps = {str(step["name"]): dict(step) for step in made_recipe.make_recipe(folder)["steps"]}
    ordered = [
        ("installed_text", INSTALLED),
        *((str(step.pop("kind")), step) for step in steps.values()),
        ("dedup_urls", {}),
        ("dedup_paragraphs", {"unit": "paragraph"}),
        ("train_language_model", {"order": 2, "sample_bytes": 50_000}),
        ("partition", {"num_buckets": 4}),
        ("materialize", {"output": str(folder / "apart")}),
        ("prepare_posttrain", made_chats.write_inputs(folder)),
        ("synth", SYNTH | {"output": str(folder / "made")}),
        ("synth_verifiable", {"output": str(folder / "tasks"), "num_problems": 3}),
        (
            "synth_variants",
            {"output": str(folder / "variants"), "endpoint": NOBODY | {"cache": str(folder / "answers")}},
        ),
        ("export_dolma", {"output": str(folder / "tree"), "attributes": ["lengths-v1"]}),
    ]
    return [(kind, {key: value for key, value in step.items() if key != "name"}) for kind, step in ordered]


def run_all(folder: Path, start: Start) -> dict[str, bytes]:
    """Every job over one corpus, each on the view of the one before and with the artifacts of all before."""
    corpus, view = folder / "corpus", None
    artifacts: dict[str, str] = {}
    for number, (kind, step) in enumerate(make_steps(folder)):
        name = f"{number:02d}-{kind.replace('_', '-')}"
        reads_view = getattr(importlib.import_module(KINDS[kind][0]), "READS_VIEW", True)
        given = {"corpus": str(corpus), "view": view if reads_view else None, "name": name, "seed": 3}
        start(kind, given | {"artifacts": artifacts, "step": step})
        found = json.loads((corpus / "runs" / name / f"00-{name}" / "manifest.json").read_text())
        artifacts = artifacts | found["artifacts"]
        view = found["view"] or view
    plain = {"inputs": [str(folder / "inputs" / "stories")], "output": str(folder / "plain"), "name": "copies"}
    start("dedup_exact", plain)
    files = {name: content for name, content in made_recipe.list_bytes(folder).items() if not name.endswith(".lock")}
    return {name: content for name, content in files.items() if not name.startswith(("inputs/", "job-"))}


def test_every_job_is_started(tmp_path):
    assert {kind for kind, _ in make_steps(tmp_path)} == set(JOBS)


def test_every_job_has_a_main():
    for module in JOBS.values():
        assert callable(importlib.import_module(module).main), module


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("_spark_of_this_run")
def test_every_job_runs_by_spark_submit(tmp_path, repository):
    """22 sessions, eight minutes. The two trees stand in one folder, one after the other: settings name paths."""
    import pyspark

    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    ours = {"JAVA_HOME": find_java().home, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    folder, started = tmp_path / "work", set()

    def by_spark_submit(kind: str, values: dict[str, Any]) -> None:
        path = folder / f"job-{values['name']}.yaml"
        path.write_text(yaml.safe_dump(values))
        script = repository / (KINDS[kind][0].replace(".", "/") + ".py")
        command = [str(submit), "--master", "local[2]", str(script), "--config", str(path)]
        answer = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **ours}, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, (kind, answer.stderr[-3000:])
        started.add(kind)

    def in_this_process(kind: str, values: dict[str, Any]) -> None:
        run_step_file(kind, values, BuildOptions(show_progress=False))

    made_recipe.write_inputs(folder)
    submitted = run_all(folder, by_spark_submit)
    assert started == set(JOBS)
    folder.rename(tmp_path / "submitted")
    folder.mkdir()
    for name in ("inputs", "items.jsonl"):  # the same files: their times count as theirs
        (tmp_path / "submitted" / name).rename(folder / name)
    assert run_all(folder, in_this_process) == submitted
    assert "plain/duplicates.parquet" in submitted and "corpus/tokens/tiny/manifest.json" in submitted
