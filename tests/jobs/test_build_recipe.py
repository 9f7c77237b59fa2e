"""A whole recipe on a tiny corpus: the promises of the design, seen from the files it leaves."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tokenizers
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import made_differences
import made_recipe

from dolma_py import config
from dolma_py.corpus import Corpus, read_view
from dolma_py.errors import ConfigError, TooManyRejectedError
from dolma_py.listing import plan_splits
from dolma_py.report import write_report
from dolma_py.storage import checksum_file, lock_folder
from pipelines.build_recipe import BuildOptions, build, build_named
from pipelines.recipe import Recipe, load_recipe
from tests.golden import make_step_outputs
from tests.made_mixes import count_fates


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny inputs with a space")
    made_recipe.write_inputs(folder)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(folder)))
    return folder


@pytest.fixture(scope="module")
def built(inputs, tmp_path_factory, _spark_of_this_run):
    corpus = tmp_path_factory.mktemp("built") / "corpus"
    outcomes = build(load_recipe(str(inputs / "tiny.yaml"), []), str(corpus), BuildOptions(show_progress=False))
    return corpus, outcomes


def manifests(corpus):
    paths = sorted(corpus.glob("runs/tiny/*/manifest.json"))
    return {path.parent.name.partition("-")[2]: json.loads(path.read_text()) for path in paths}


@pytest.mark.parametrize("partitions", [1, 7])
def test_bytes_do_not_depend_on_partitions(built, inputs, tmp_path, partitions):
    options = BuildOptions(partitions=partitions, show_progress=False)
    build(load_recipe(str(inputs / "tiny.yaml"), []), str(tmp_path / "corpus"), options)
    assert made_recipe.list_bytes(tmp_path / "corpus") == made_recipe.list_bytes(built[0])


def test_steps_have_the_recorded_bytes(built):
    """Other bytes mean that a corpus made before is finished by another program: see tests/golden/make_step_outputs.py."""
    record = json.loads(make_step_outputs.RECORD.read_text())
    outputs = make_step_outputs.TINY
    assert make_step_outputs.describe_steps(built[0], "tiny", outputs) == {step: record[step] for step in outputs}


def test_each_planted_kind_is_dropped_by_its_rule(built):
    found = manifests(built[0])
    dropped = {
        step["name"]: sum(counts["dropped_documents"] for counts in step["sources"].values())
        for made in found.values()
        if made["funnel"]
        for step in made["funnel"]["steps"]
    }
    assert dropped == {
        "long_enough": 3, "repetition": 10, "exact_copy": 5, "near_copy": 5, "repeated_spans": 0, "little_text_left": 0, "contaminated": 1,
    }  # fmt: skip
    assert found["ingest"]["facts"]["rejected"] == {"notes": {"invalid_json": 1, "missing_text": 1}}
    edit = next(step for step in found["substring"]["funnel"]["steps"] if step["name"] == "repeated_spans")
    assert 3 * 500 < edit["sources"]["stories"]["dropped_bytes"] < 3 * 1500  # three of four copies of the passage


def test_rows_and_bytes_are_conserved(built):
    """Recounted from the files with pyarrow alone."""
    corpus, _ = built
    rows = {
        path.parent.name: pq.read_table(path, columns=["text", "source"])
        for path in sorted(corpus.glob("documents/*/*.parquet"))
    }
    made = made_recipe.make_documents()
    assert {name: table.num_rows for name, table in rows.items()} == {name: len(texts) for name, texts in made.items()}
    first = manifests(corpus)["tag"]["funnel"]["steps"][0]["sources"]
    for source, table in rows.items():
        assert first[source]["documents"] == table.num_rows
        assert first[source]["bytes"] == sum(len(text.encode()) for text in table.column("text").to_pylist())
    funnel = [step for made in manifests(corpus).values() if made["funnel"] for step in made["funnel"]["steps"]]
    kept = manifests(corpus)["decontaminate"]["funnel"]["kept"]["sources"]
    documents = sum(counts["documents"] for counts in first.values())
    documents -= sum(counts["dropped_documents"] for step in funnel for counts in step["sources"].values())
    assert documents == sum(counts["documents"] for counts in kept.values())
    num_bytes = sum(counts["bytes"] for counts in first.values())
    num_bytes -= sum(counts["dropped_bytes"] for step in funnel for counts in step["sources"].values())
    assert num_bytes == sum(counts["bytes"] for counts in kept.values())


def test_an_independent_recount_agrees(built, repository, tmp_path):
    write_report(corpus=str(built[0]), run=None, output=str(tmp_path / "report.html"), recipe=None)
    answer = made_differences.recount(repository, built[0], tmp_path / "report.html")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("agrees") == 17
    assert "3-gram Jaccard of 5 near copies" in answer.stdout


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (made_differences.say_one_more_copy, "exact copies"),
        (made_differences.say_other_similarity, "3-gram Jaccard of 5 near copies"),
        (made_differences.say_one_more_document, "report, documents kept"),
    ],
)
def test_the_recount_sees_a_difference(built, repository, tmp_path, spoil, seen):
    corpus = tmp_path / "corpus"
    shutil.copytree(built[0], corpus)
    write_report(corpus=str(corpus), run=None, output=str(corpus / "report.html"), recipe=None)
    spoil(corpus)
    answer = made_differences.recount(repository, corpus, corpus / "report.html")
    assert answer.returncode == 1 and answer.stdout.count("DIFFERS") == 1 and f"DIFFERS: {seen}" in answer.stdout


def read_shards(corpus):
    """(part, start, end, id, path, line, token ids) of every document of the shards."""
    folder = corpus / "tokens" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    found = []
    for entry in manifest["files"]:
        tokens = np.fromfile(folder / entry["path"], np.dtype(manifest["dtype"]))
        text = gzip.decompress((folder / entry["sidecar"]["path"]).read_bytes()).decode()
        for start, end, name, path, line in csv.reader(io.StringIO(text)):
            found.append((entry["path"], int(start), int(end), name, path, int(line), tokens[int(start) : int(end)]))
        assert len(tokens) == entry["tokens"] == found[-1][2]
    return manifest, found


def view_texts(corpus_folder, name):
    corpus = Corpus(str(corpus_folder))
    view = corpus.load_view(name)
    texts = {}
    for split in plan_splits(corpus.read_listing(), 1 << 30):
        for batch in read_view(corpus, view, split):
            texts.update(
                zip(batch.documents.column("id").to_pylist(), batch.documents.column("text").to_pylist(), strict=True)
            )
    return texts


def test_shards_decode_to_the_views_texts(built):
    corpus, _ = built
    manifest, found = read_shards(corpus)
    tokenizer = tokenizers.Tokenizer.from_file(str(corpus / "tokens" / "tiny" / "tokenizer.json"))
    texts = view_texts(corpus, "tiny-shards")
    assert all(
        ids[-1] == manifest["eos_token_id"] and (ids[:-1] != manifest["eos_token_id"]).all() for *_, ids in found
    )
    decoded = {
        (name, tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False)) for _, _, _, name, _, _, ids in found
    }
    assert decoded == {(name, texts[name]) for name, _ in decoded}
    heldout = set()
    for entry in manifest["heldout"].values():
        lines = gzip.decompress((corpus / "tokens" / "tiny" / entry["path"]).read_bytes()).splitlines()
        heldout |= {json.loads(line)["id"] for line in lines}
    assert len(heldout) == 6
    assert not heldout & {name for name, _ in decoded}


def test_tokens_match_the_plan_and_the_lineage(built):
    corpus, _ = built
    manifest, found = read_shards(corpus)
    cells = pq.read_table(next(corpus.glob("runs/tiny/*-plan/cells.parquet"))).to_pylist()
    longest = max(end - start for _, start, end, *_ in found)
    planned = Counter()
    for cell in cells:
        planned[cell["source"]] += cell["planned_tokens"]
    for source, counts in manifest["sources"].items():
        assert abs(counts["tokens"] - planned[source]) <= 4 * longest / 2  # half a document per cell, four cells
    wanted = {source: counts["planned_tokens"] for source, counts in manifest["mix"].items()}
    assert wanted == planned and sum(counts["planned_share"] for counts in manifest["mix"].values()) == pytest.approx(1)
    available = sum(cell["tokens"] for cell in cells if cell["source"] == "stories")
    assert manifest["mix"]["stories"]["rate"] == pytest.approx(planned["stories"] / available)
    checked = [manifest["tokenizer"], manifest["lineage"], *manifest["heldout"].values()]
    for entry in checked:
        assert checksum_file(str(corpus / "tokens" / "tiny" / entry["path"])) == entry["checksum"]
    assert len(checked) > 2
    lineage = pq.read_table(corpus / "tokens" / "tiny" / "lineage.parquet").to_pylist()
    walked = {(row["id"], f"part-{row['part']:05d}.npy", row["start"], row["end"]) for row in lineage}
    assert walked == {(name, part, start, end) for part, start, end, name, *_ in found}
    assert [row["id"] for row in lineage] == sorted(row["id"] for row in lineage)


def test_a_token_leads_back_to_its_file_of_origin(built, inputs):
    corpus, _ = built
    tokenizer = tokenizers.Tokenizer.from_file(str(corpus / "tokens" / "tiny" / "tokenizer.json"))
    part, start, end, name, path, line, ids = read_shards(corpus)[1][5]
    source = name.partition("-")[0]
    lines = gzip.decompress((inputs / "inputs" / source / path).read_bytes()).decode().splitlines()
    record = json.loads(lines[line - 1])
    assert record["id"] == name
    assert tokenizer.decode(ids[:-1].tolist())[:60] == record["text"][:60]


def test_every_document_is_traced_to_its_copies_or_to_what_dropped_it(built):
    told, shards = count_fates(Corpus(str(built[0]))), manifests(built[0])["shards"]["facts"]
    planted = {"long_enough": 3, "repetition": 10, "exact_copy": 5, "near_copy": 5, "contaminated": 1}
    assert told == told | planted and told["copies"] == shards["documents"]
    assert told["held out"] == sum(source["documents"] for source in shards["heldout"].values())


def test_a_second_run_does_nothing(built, inputs, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a finished build opened Spark")

    monkeypatch.setattr("pipelines.build_recipe.open_session", refuse)
    before = made_recipe.list_bytes(built[0])
    outcomes = build(load_recipe(str(inputs / "tiny.yaml"), []), str(built[0]), BuildOptions(show_progress=False))
    assert all(outcome.skipped for outcome in outcomes)
    assert made_recipe.list_bytes(built[0]) == before


def test_a_changed_threshold_evaluates_rules_and_not_taggers(inputs, tmp_path, _spark_of_this_run):
    recipe = load_recipe(str(inputs / "tiny.yaml"), [])
    recipe = recipe.model_copy(update={"steps": recipe.steps[:3]})
    corpus = str(tmp_path / "corpus")
    build(recipe, corpus, BuildOptions(show_progress=False))
    attributes = sorted((tmp_path / "corpus" / "attributes").rglob("*.parquet"))
    before = [path.stat().st_mtime_ns for path in attributes]
    steps = json.loads(json.dumps(recipe.steps))
    steps[2]["rules"][0]["keep"] = "num_words >= 300"
    outcomes = build(recipe.model_copy(update={"steps": steps}), corpus, BuildOptions(show_progress=False))
    assert [outcome.skipped for outcome in outcomes] == [True, True, False]
    assert [path.stat().st_mtime_ns for path in attributes] == before
    dropped = outcomes[2].manifest["funnel"]["steps"][0]["sources"]["notes"]["dropped_documents"]
    assert dropped > 0


def test_what_changes_before_the_classifier_reaches_every_step_after_it(tmp_path, _spark_of_this_run):
    """The classifier reads no view and stands: the steps after it read that of the step before it, not one of its own."""
    for name, text in (("good", "river stone winter"), ("bad", "licence copy warranty")):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": f"{text} {n}"}) + "\n" for n in range(20)))
    with open(tmp_path / "bad.jsonl", "a") as stream:
        stream.write('{"text": 3}\nno JSON\n{"text": "torn')
    (tmp_path / "in").mkdir()
    ingest = {"kind": "ingest", "sources": [{"name": "web", "inputs": [str(tmp_path / "in")]}]}
    after = [
        {"kind": "train_classifier", "positives": [str(tmp_path / "good.jsonl")], "negatives": [str(tmp_path / "bad.jsonl")]},
        {"kind": "tag", "taggers": [{"tagger": "lengths"}], "rules": [{"name": "long", "keep": "num_words >= 1"}]},
        {"kind": "dedup_exact"},
    ]  # fmt: skip
    longer = {"rules": [{"name": "longer", "min_text_bytes": 7}]}
    for name, step, documents in (("a", ingest, 2), ("b", ingest, 4), ("b", ingest | longer, 2)):
        lines = [json.dumps({"text": text}) for text in (f"short{name}", f"longer {name}")]
        (tmp_path / "in" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        outcomes = build(
            Recipe(recipe="r", seed=1, steps=[step, *after]),
            str(tmp_path / "corpus"),
            BuildOptions(show_progress=False),
        )
        kept = [outcome.manifest["funnel"]["kept"]["sources"]["web"]["documents"] for outcome in outcomes[::2]]
        assert (kept, outcomes[3].manifest["funnel"]["kept"]["sources"]["web"]["documents"]) == (
            [documents] * 2,
            documents,
        )
    assert [outcome.skipped for outcome in outcomes] == [False, True, False, False]
    assert outcomes[1].manifest["view"] is None
    facts = outcomes[1].manifest["facts"]
    assert facts["unreadable_examples"] == {"invalid_json": 2, "missing_text": 1}
    # the card of `classifier train` without a corpus: a table of each label, calibration, a threshold
    assert set(facts["card"]["held_out"]["labels"]) == {"hq", "cc"} and str(tmp_path / "corpus") not in str(facts)
    assert set(facts["card"]["held_out"]["labels"]["hq"]) > {"precision_interval", "reliability", "threshold"}
    assert set(outcomes[1].manifest["artifacts"]) == {"quality", "quality_card", "quality_calibration"}


CHANGES = {
    "budget": ["steps.plan.budget_frac=0.5"],
    "vocabulary": ["steps.tokenizer.vocab_size=420"],
    "classifier": ["steps.classifier.classifier.dim=4"],
    "splits": ["split_bytes=60000"],
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_setting_gives_what_a_fresh_build_gives(built, inputs, tmp_path, change):
    """Nothing that a setting decides may survive from before it: about a minute each."""
    recipe = load_recipe(str(inputs / "tiny.yaml"), CHANGES[change])
    shutil.copytree(built[0], tmp_path / "changed")
    build(recipe, str(tmp_path / "changed"), BuildOptions(show_progress=False))
    build(recipe, str(tmp_path / "fresh"), BuildOptions(show_progress=False))
    assert made_recipe.list_bytes(tmp_path / "changed") == made_recipe.list_bytes(tmp_path / "fresh")


def test_two_builds_of_one_corpus_do_not_run_at_once(built, inputs):
    with lock_folder(str(built[0])), pytest.raises(ConfigError, match="another process"):
        build(load_recipe(str(inputs / "tiny.yaml"), []), str(built[0]), BuildOptions(show_progress=False))


def test_a_removed_file_is_made_again(built, inputs, tmp_path):
    shutil.copytree(built[0], tmp_path / "corpus")
    for path in (
        "attributes/lengths-v1/notes/part-00000.parquet",
        "tokens/tiny/part-00000.npy",
        "views/tiny-exact.yaml",
    ):
        (tmp_path / "corpus" / path).unlink()
    build(load_recipe(str(inputs / "tiny.yaml"), []), str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    assert made_recipe.list_bytes(tmp_path / "corpus") == made_recipe.list_bytes(built[0])


def test_new_files_get_new_numbers_at_the_end(tmp_path, _spark_of_this_run):
    made_recipe.write_inputs(tmp_path)
    recipe = Recipe(
        recipe="grow",
        seed=1,
        steps=[
            {
                "kind": "ingest",
                "max_rejected_frac": 0.1,
                "sources": [{"name": "notes", "inputs": [str(tmp_path / "inputs" / "notes")]}],
            }
        ],
    )
    build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    first = (tmp_path / "corpus" / "listing.jsonl").read_text()
    (tmp_path / "inputs" / "notes" / "a-new.jsonl").write_text(
        '{"id": "notes-0", "text": "again an id that is there"}\n'
    )
    build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    grown = (tmp_path / "corpus" / "listing.jsonl").read_text()
    assert grown.startswith(first)
    assert [json.loads(line)["path"] for line in grown.splitlines()] == [
        "documents/notes/part-00000.parquet",
        "documents/notes/part-00001.parquet",
    ]
    ids = pq.read_table(tmp_path / "corpus" / "documents" / "notes" / "part-00001.parquet").column("id").to_pylist()
    assert ids == ["notes-0#2"]
    (tmp_path / "inputs" / "notes" / "b-new.jsonl").write_text(
        '{"id": "notes-0", "text": "once more"}\n{"id": "notes-0#2", "text": "a name we gave"}\n'
    )
    outcomes = build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    ids = pq.read_table(tmp_path / "corpus" / "documents" / "notes" / "part-00002.parquet").column("id").to_pylist()
    assert ids == ["notes-0#3", "notes-0#4"]
    assert outcomes[0].manifest["facts"]["rejected"] == {"notes": {"invalid_json": 1, "missing_text": 1}}
    assert outcomes[0].manifest["facts"]["repeated_ids"] == 3


def test_files_read_in_place_are_tagged_where_they_are(built, inputs, tmp_path):
    """A gzipped Dolma file and a Parquet shard of another corpus: nothing is copied, attributes are aligned."""
    sources = [
        {"name": "notes", "inputs": [str(inputs / "inputs" / "notes")], "in_place": True},
        {"name": "stories", "inputs": [str(built[0] / "documents" / "stories")], "in_place": True},
    ]
    steps = [
        {"kind": "ingest", "max_rejected_frac": 0.1, "sources": sources},
        {"kind": "tag", "taggers": [{"tagger": "lengths"}], "rules": [{"name": "long", "keep": "num_words >= 50"}]},
        {"kind": "dedup_exact"},
        {"kind": "materialize", "output": str(tmp_path / "out")},
    ]
    outcomes = build(
        Recipe(recipe="place", seed=1, steps=steps), str(tmp_path / "corpus"), BuildOptions(show_progress=False)
    )
    assert not (tmp_path / "corpus" / "documents").exists()
    counts = {
        outcome.name: outcome.manifest["funnel"]["kept"]["sources"]
        for outcome in outcomes
        if outcome.manifest["funnel"]
    }
    assert {source: value["documents"] for source, value in counts["ingest"].items()} == {"notes": 30, "stories": 78}
    assert {source: value["documents"] for source, value in counts["dedup_exact"].items()} == {
        "notes": 30,
        "stories": 70,
    }
    table = pq.read_table(tmp_path / "out" / "documents" / "stories" / "part-00000.parquet")
    parent = json.loads(table.column("metadata").to_pylist()[0])["parent"]
    assert (parent["shard"], parent["row"]) == (1, 0)
    words = [len(text.split()) for text in table.column("text").to_pylist()]
    assert min(words) >= 50
    total = sum(path.stat().st_size > 0 for path in (tmp_path / "out" / "documents").rglob("*.parquet"))
    assert total == len((tmp_path / "out" / "listing.jsonl").read_text().splitlines())


def test_too_many_unreadable_records_stop_the_job(tmp_path, _spark_of_this_run):
    """And more of them allowed, the same command goes on from what was read."""
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n' + "{broken\n" * 9)
    step = {"kind": "ingest", "sources": [{"name": "bad", "inputs": [str(tmp_path / "bad.jsonl")]}]}
    corpus = tmp_path / "corpus"
    with pytest.raises(TooManyRejectedError, match=r"9 of 10 records.*steps\.\w+\.max_rejected_frac"):
        build(Recipe(recipe="bad", seed=1, steps=[step]), str(corpus), BuildOptions(show_progress=False))
    assert not (corpus / "listing.jsonl").exists()
    rejected = corpus / "rejected" / "bad" / "part-00000.jsonl.gz"
    assert len(gzip.decompress(rejected.read_bytes()).splitlines()) == 9
    before = rejected.stat()
    allowed = Recipe(recipe="bad", seed=1, steps=[step | {"max_rejected_frac": 0.9}])
    build(allowed, str(corpus), BuildOptions(show_progress=False))
    assert (corpus / "listing.jsonl").exists()
    assert (rejected.stat().st_ino, rejected.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_dry_run_states_memory_disk_and_time(inputs, tmp_path):
    plan = build_named(
        recipe=str(inputs / "tiny.yaml"), corpus=str(tmp_path / "none"), flow="mix", overrides=[], inputs=[], dry_run=True, options=BuildOptions()
    )  # fmt: skip
    assert len(plan["steps"]) == 12
    options = BuildOptions(until="ingest")
    cut = build_named(
        recipe=str(inputs / "tiny.yaml"), corpus=str(tmp_path / "none"), flow="mix", overrides=[], inputs=[], dry_run=True, options=options
    )  # fmt: skip
    assert [step["name"] for step in cut["steps"]] == ["ingest"]
    with pytest.raises(ConfigError, match="--until: expected one of"):
        build_named(
            recipe=str(inputs / "tiny.yaml"), corpus=str(tmp_path / "none"), flow="mix", overrides=[], inputs=[], dry_run=True,
            options=BuildOptions(until="nothing"),
        )  # fmt: skip
    assert plan["seconds"] > 0 and plan["disk_bytes"] > 0 and plan["memory_bytes"] > 500 << 20
    assert not (tmp_path / "none").exists()


def test_a_misspelled_step_is_found_before_anything_runs(inputs, tmp_path):
    recipe = load_recipe(str(inputs / "tiny.yaml"), ["steps.minhash.unit_dogs=3"])
    with pytest.raises(ConfigError, match="Did you mean unit_docs"):
        build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    assert not (tmp_path / "corpus").exists()
    with pytest.raises(ConfigError, match="expected one of"):
        build(load_recipe(str(inputs / "tiny.yaml"), []), str(tmp_path / "corpus"), BuildOptions(until="nothing"))
    recipe = load_recipe(str(inputs / "tiny.yaml"), ["steps.minhash.preset=finewb"])
    with pytest.raises(ConfigError, match="fineweb"):
        build(recipe, str(tmp_path / "corpus"), BuildOptions(until="ingest", show_progress=False))
    values = yaml.safe_load((inputs / "tiny.yaml").read_text())
    values["steps"][0]["sources"][0]["inputs"] = [str(tmp_path / "nowhere")]
    values["steps"].insert(0, {"kind": "installed_text"})  # takes its time
    with pytest.raises(ConfigError, match="nowhere"):
        build(Recipe(**values), str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    assert not (tmp_path / "corpus").exists()


def test_the_same_fingerprint_on_any_machine():
    assert config.fingerprint("a", {"b": [1, 2.5, None]}) == "1dda4310263f9e44fdfcdd38fe49a528"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_standalone_cluster_writes_the_same_bytes(built, inputs, shared_bundle, tmp_path, repository):
    """A master and two workers from another folder, code and packages from the bundle: about 3 minutes on two cores."""
    from pipelines.standalone_cluster import start_cluster

    base = [sys.executable, "-m", "dolma_py", "build", "mix", "--recipe", str(inputs / "tiny.yaml")]
    with start_cluster(num_workers=2) as cluster:
        there = [
            "--corpus",
            tmp_path / "cluster",
            "--master",
            cluster.master_url,
            "--bundle",
            shared_bundle.code_zip.parent,
        ]
        answer = subprocess.run(
            [*base, *map(str, there)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert made_recipe.list_bytes(tmp_path / "cluster") == made_recipe.list_bytes(built[0])


def test_a_source_of_ones_own_beside_those_that_the_recipe_writes_is_planned(tmp_path):
    """Their files are not there yet: the dry run counts what the first step will make, and the new source by its files."""
    (tmp_path / "mine.jsonl").write_text('{"text": "' + "a" * 1_000_000 + '"}\n')
    plans = []
    for name, own in (("plain", []), ("edited", [{"name": "mine", "inputs": [str(tmp_path / "mine.jsonl")]}])):
        sources = [{"name": "docs_pages", "inputs": ["{corpus}/inputs/docs_pages"]}, *own]
        steps = [{"kind": "installed_text"}, {"kind": "ingest", "sources": sources}]
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump({"recipe": name, "flow": "mix", "seed": 1, "steps": steps})
        )
        plans.append(build_named(
            recipe=str(tmp_path / f"{name}.yaml"), corpus=str(tmp_path / "none"), flow="mix", overrides=[], inputs=[], dry_run=True,
            options=BuildOptions(),
        ))  # fmt: skip
    assert plans[1]["text_bytes"] - plans[0]["text_bytes"] == pytest.approx(1_000_000, rel=0.01)
