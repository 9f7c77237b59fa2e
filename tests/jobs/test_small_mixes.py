"""Recipes dolmino-small and longmino-small over made data: shares, what each source went through, and the same bytes on a cluster.

Both are built once, 24 steps in two minutes; what is asked of them is asked of that one build.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from dolma_py import manifest
from dolma_py.corpus import Corpus
from dolma_py.java_home import find_java
from mixers.tokenization import load_tokenizer
from mixers.word_counts import recount
from pipelines.build_recipe import BuildOptions, build_named
from pipelines.job_main import run_step_file
from pipelines.recipe import KINDS, load_recipe
from tests.chat_server import ChatServer
from tests.jobs import made_recipe, made_small_mixes
from tests.unit.mixers.test_mixers_long_context import FILL, answer_any_form

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NAMES = ("dolmino-small", "longmino-small")


@pytest.fixture(scope="module")
def built(tmp_path_factory, _spark_of_this_run) -> Path:
    """folder with data/, and the corpora dolmino-small/ and longmino-small/."""
    folder = tmp_path_factory.mktemp("mixes")
    made_small_mixes.write_data(folder / "data")
    for name in NAMES:
        build(folder, name)
    return folder


def overrides(folder: Path, name: str) -> list[str]:
    if name == "dolmino-small":
        return made_small_mixes.override_dolmino(folder / "data")
    return made_small_mixes.override_longmino(folder / "data", folder / "dolmino-small")


def build(folder, name, corpus=None, **options):
    return build_named(
        recipe=name, corpus=str(corpus or folder / name), flow="mix", inputs=[], dry_run=False, overrides=overrides(folder, name),
        options=BuildOptions(show_progress=False, **options),
    )  # fmt: skip


def read_manifest(folder: Path, name: str, corpus: str = "") -> dict:
    return json.loads((folder / (corpus or name) / "tokens" / name / "manifest.json").read_text())


def find_steps(folder: Path, name: str) -> dict[str, dict]:
    return {one["step"]: one for one in manifest.iterate_manifests(str(folder / name / "runs"))}


def read_lineage(folder: Path, name: str) -> list[dict]:
    return pq.read_table(folder / name / "tokens" / name / "lineage.parquet").to_pylist()


@pytest.mark.parametrize("name", NAMES)
def test_shares_stand_as_they_were_asked_for(built, name):
    written, plan = read_manifest(built, name), find_steps(built, name)["plan"]["facts"]
    total = plan["token_budget"]
    (wanted,) = [step["plan"]["sources"] for step in load_recipe(name, []).steps if step["name"] == "plan"]
    known = sum(source.get("share", 0) for key, source in wanted.items() if key in written["sources"])
    assert not plan["shortages"]
    for source, counts in written["sources"].items():
        share = wanted[source].get("share", 1 - known)
        assert counts["tokens"] / total == pytest.approx(share, abs=0.02), source
    assert abs(sum(counts["tokens"] for counts in written["sources"].values()) / total - 1) < 0.03


def test_half_of_the_code_is_cut_and_nothing_else(built):
    for name, code in zip(NAMES, ("code", "mid_code"), strict=True):
        modes = Counter((copy["source"] == code, copy["fim_mode"] is not None) for copy in read_lineage(built, name))
        cut, whole = modes[True, True], modes[True, False]
        assert modes[False, True] == 0 and cut + whole > 20 and 0.3 < cut / (cut + whole) < 0.7


def test_instructions_are_plain_lines_and_web_pages_the_best_ones(built):
    corpus = Corpus(str(built / "dolmino-small"))
    for shard in corpus.read_listing().shards:
        if shard.source == "instruction":
            for row in pq.read_table(corpus.shard_path(shard)).to_pylist():
                assert (
                    "### Response:\n\n" in row["text"]
                    and "<|" not in row["text"]
                    and "response" not in json.loads(row["metadata"])
                )
    funnel = {
        step["name"]: step["sources"] for step in find_steps(built, "dolmino-small")["best_web"]["funnel"]["steps"]
    }
    kept = find_steps(built, "dolmino-small")["best_web"]["funnel"]["kept"]["sources"]["web"]["documents"]
    assert 0.07 < kept / funnel["top_two"]["web"]["documents"] < 0.13
    buckets = set()
    for copy in read_lineage(built, "dolmino-small"):
        if copy["source"] == "web":
            shard = corpus.read_listing().shards[copy["shard"]]
            path = corpus.path("attributes", "web_quality-v1", shard.path.removeprefix("documents/"))
            buckets.add(pq.read_table(path, columns=["bucket"])["bucket"][copy["row"]].as_py())
    assert buckets <= {18, 19} and buckets


def test_long_documents_are_of_the_three_buckets_and_of_the_middle_fifths(built):
    steps, corpus = find_steps(built, "longmino-small"), Corpus(str(built / "longmino-small"))
    entered = steps["gzip"]["funnel"]["steps"][0]["sources"]["pdf"]["documents"]
    assert steps["gzip"]["funnel"]["kept"]["sources"]["pdf"]["documents"] == pytest.approx(0.6 * entered, abs=5)
    tokens = Counter()
    for copy in read_lineage(built, "longmino-small"):
        if copy["source"] == "pdf":
            tokens[(copy["end"] - copy["start"]).bit_length() - 1] += copy["end"] - copy["start"]
    assert set(tokens) == {7, 8, 9}  # 128 to 1,023 tokens, a 64th of 8K to 64K
    wanted = {7: 0.254199, 8: 0.207167, 9: 0.538634}
    assert {power: count / tokens.total() for power, count in tokens.items()} == pytest.approx(wanted, abs=0.08)
    assert corpus.read_listing().shards[0].source == "pdf"


def test_counts_asked_for_in_long_documents_are_right(built):
    rows = [
        row
        for path in (built / "longmino-small/made/cwe/documents").rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    found = [one for row in rows for one in recount(row["text"], json.loads(row["metadata"])["long_context"])]
    assert len(rows) > 8 and len(found) > 40 and all(one.said == one.counted for one in found)
    facts = find_steps(built, "longmino-small")["cwe"]["facts"]
    kept = find_steps(built, "longmino-small")["gzip"]["funnel"]["kept"]["sources"]["pdf"]["documents"]
    assert facts["made"] == len(rows) and 0.3 * kept < facts["read"] < 0.7 * kept  # documents_frac
    assert "long_cwe" in read_manifest(built, "longmino-small")["sources"]


def test_what_was_sampled_is_what_longmino_reads(built):
    """Each drawn document of the small Dolmino once, and none that was not."""
    drawn = {copy["id"].partition("#fim-")[0] for copy in read_lineage(built, "dolmino-small")}
    documents = [
        row["id"]
        for path in (built / "dolmino-small/made/mix/documents").rglob("*.parquet")
        for row in pq.read_table(path, columns=["id"]).to_pylist()
    ]
    assert sorted(documents) == sorted(drawn) and len(drawn) > 100
    items = find_steps(built, "dolmino-small")["decontaminate"]["funnel"]["steps"][-1]["sources"]["qa"]
    assert items["dropped_documents"] == 1
    tokenizers = [built / name / "tokens" / name / "tokenizer.json" for name in NAMES]
    assert tokenizers[0].read_bytes() == tokenizers[1].read_bytes()
    assert load_tokenizer(str(tokenizers[0])).vocab_size == 500


def answer_shortly(body):
    """Of each line of answer_any_form two short ones: the documents here are a 64th of real ones."""
    lines = answer_any_form(body).replace(FILL, "so it is").split("\n")
    return "\n".join([lines[0], *(line for number, line in enumerate(lines[1:]) if number % 5 < 2)])


def test_with_an_endpoint_rex_has_its_share(built, tmp_path):
    """Two more steps, and the long documents give back what they had of it."""
    with ChatServer(answer_shortly) as server:
        more = [
            f"steps.rex.endpoint.base_url={server.url}",
            "steps.rex.endpoint.model=m",
            "steps.rex.endpoint.max_tries=1",
        ]
        outcomes = build_named(
            recipe="longmino-small", corpus=str(tmp_path / "c"), flow="mix", inputs=[], dry_run=False,
            overrides=[*overrides(built, "longmino-small"), *more], options=BuildOptions(show_progress=False),
        )  # fmt: skip
    names = [outcome.name for outcome in outcomes]
    assert names.index("rex") < names.index("mixed") < names.index("rex_documents") < names.index("tokens")
    sources = read_manifest(tmp_path, "longmino-small", "c")["sources"]
    without = read_manifest(built, "longmino-small")["sources"]
    assert "long_rex" not in without
    assert sources["long_rex"]["tokens"] / 30_000 == pytest.approx(0.1217217, abs=0.03)
    assert sources["pdf"]["tokens"] / 30_000 == pytest.approx(0.1787788, abs=0.03)
    assert without["pdf"]["tokens"] / 30_000 == pytest.approx(0.3005005, abs=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_asked_for_again_it_does_nothing(built, name):
    before = made_recipe.list_bytes(built / name)
    assert all(outcome.skipped for outcome in build(built, name))
    assert made_recipe.list_bytes(built / name) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_on_one_partition_and_on_a_cluster(built, name, shared_bundle, repository, tmp_path):
    """A master and two workers that have nothing but the bundle."""
    from pipelines.standalone_cluster import start_cluster

    expected = made_recipe.list_bytes(built / name)
    build(built, name, tmp_path / "one", partitions=1)
    assert made_recipe.list_bytes(tmp_path / "one") == expected
    base = [sys.executable, "-m", "dolma_py", "build", "mix", "--recipe", name, "--corpus", str(tmp_path / "cluster")]
    sets = [part for override in overrides(built, name) for part in ("--set", override)]
    with start_cluster(num_workers=2) as cluster:
        there = ["--master", cluster.master_url, "--bundle", str(shared_bundle.code_zip.parent)]
        answer = subprocess.run(
            [*base, *sets, *there],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(repository)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert made_recipe.list_bytes(tmp_path / "cluster") == expected


def run_jobs(folder: Path, name: str, corpus: Path, start) -> dict[str, bytes]:
    """Each step as a job of its own, on the view and with the artifacts of those before; what the corpus holds then."""
    recipe, view, artifacts = load_recipe(name, overrides(folder, name)), None, {}
    for number, values in enumerate(recipe.steps):
        step = {key: value for key, value in values.items() if key not in ("name", "kind")}
        run = f"{number:02d}-{values['name'].replace('_', '-')}"
        reads = values["kind"] != "ingest" or step.get("keep_view", False)
        job = {"corpus": str(corpus), "view": view if reads else None, "name": run, "seed": recipe.seed}
        start(values["kind"], job | {"artifacts": artifacts, "step": step})
        made = json.loads((corpus / "runs" / run / f"00-{run}" / "manifest.json").read_text())
        artifacts, view = artifacts | made["artifacts"], made["view"] or view
    return made_recipe.list_bytes(corpus)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_by_spark_submit_with_the_bundle(built, name, shared_bundle, repository, tmp_path):
    """A session for each of 13 steps, five minutes; against the same job files in this process, and the tokens against those of the build."""
    import pyspark

    from pipelines.standalone_cluster import start_cluster

    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    ours = {"JAVA_HOME": find_java().home, "PYSPARK_DRIVER_PYTHON": sys.executable}
    with start_cluster(num_workers=2) as cluster:

        def by_spark_submit(kind, values):
            archive = tmp_path / "packages.tar.gz"  # Spark takes no blank in an archive's path
            if not archive.exists():
                archive.symlink_to(shared_bundle.packages_archive)
            path = tmp_path / f"{values['name']}.yaml"
            path.write_text(yaml.safe_dump(values))
            command = [
                str(submit), "--master", cluster.master_url, "--py-files", str(shared_bundle.code_zip), "--archives",
                f"{archive}#packages", "--conf", "spark.pyspark.python=./packages/bin/python",
                "--conf", f"spark.pyspark.driver.python={sys.executable}", str(repository / (KINDS[kind][0].replace(".", "/") + ".py")),
                "--config", str(path),
            ]  # fmt: skip
            answer = subprocess.run(
                command, cwd=tmp_path, env={**os.environ, **ours}, capture_output=True, text=True, check=False
            )
            assert answer.returncode == 0, (kind, answer.stderr[-3000:])

        submitted = run_jobs(built, name, tmp_path / "submitted", by_spark_submit)

    def in_this_process(kind, values):
        run_step_file(kind, values, BuildOptions(show_progress=False))

    assert submitted == run_jobs(built, name, tmp_path / "here", in_this_process)
    tokens = [path for path in submitted if path.startswith("tokens/") and path.endswith(".npy")]
    assert tokens and all(submitted[path] == (built / name / path).read_bytes() for path in tokens)
