"""The recipe pool-mix over a made pool of seven folders, from raw files to shards.

All of it is a slow test: 13 steps, two trained models among them, take a minute and more. Its end, from documents to shards, is a quick
one, in this process and without scores.
"""

from __future__ import annotations

import collections
import json
import random

import pyarrow.parquet as pq
import pytest

from benchmarks import mix_conservation
from dolma_py import manifest
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.views import attribute_path
from mixers.tokenization import BpeConfig, train_bpe
from pipelines import steps
from pipelines.build_recipe import BuildOptions, build_from, build_named
from pipelines.done_steps import State
from pipelines.recipe import load_recipe
from pipelines.recipe_check import check_recipe
from tests.jobs.made_mix import run_in_order
from tests.jobs.made_recipe import make_text
from tests.tiny_classifier import train_two

COUNTER = "mixers.token_count:TokenCountTagger"
FOLDERS = {
    "books": ("novels", 30), "code": ("oss", 40), "docs": ("docs_powershell-0", 40), "law": ("laws", 30), "math": ("stacks", 30),
    "multilingual": ("web", 40), "web": ("web_pages_rawtext-0", 60),
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    made = random.Random(5)
    for source, (name, count) in FOLDERS.items():
        texts = [make_text(made, 30) for _ in range(count)]
        if source == "code":
            texts = [f"def run_{number}(value):\n    return value * {number}\n\n\n" * 9 for number in range(count)]
        if source == "web":
            texts = [f"{text}\n\nSubscribe to our offer today and never miss the news again." for text in texts]
        texts += texts[:3]  # exact copies
        path = folder / "inputs" / "pool" / source / f"{name}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text(
            "".join(json.dumps({"id": f"{source}-{n}", "text": text}) + "\n" for n, text in enumerate(texts))
        )
    words = [make_text(made, 3) for _ in range(40)]
    code = [f"def run(value):\n    return value * {n}\n" for n in range(40)]
    train_two(words, code, output_path=str(folder / "topics.bin"), seed=1, labels=("prose", "code"), dim=4)
    return folder


def run(corpus, *overrides):
    return build_named(
        recipe="pool-mix", corpus=str(corpus), flow="mix", inputs=[], dry_run=False, options=BuildOptions(show_progress=False),
        overrides=[
            f"steps.topics.taggers.0.options.model_path={corpus}/topics.bin", "steps.tokenizer.vocab_size=400",
            "steps.plan.heldout.heldout_docs=2", "steps.sample.heldout.heldout_docs=2", *overrides,
        ],
    )  # fmt: skip


def test_it_is_refused_without_its_model(corpus):
    with pytest.raises(
        ConfigError, match=r"^steps\.topics\.taggers\.0\.options\.model_path: 1 of \d+ things that pool-mix reads"
    ):
        run(corpus, "steps.topics.taggers.0.options.model_path=no.bin")
    assert not (corpus / "runs").exists()
    rows = check_recipe(
        load_recipe("pool-mix", [f"steps.topics.taggers.0.options.model_path={corpus}/topics.bin"]), Corpus(str(corpus))
    )
    assert not [row for row in rows if row.is_missing]


def test_every_cell_is_written_as_it_was_planned(corpus, tmp_path, monkeypatch):
    """Tokens of the shards by cell, recounted from lineage and attributes: within one document, the cell's edge, of the plan."""
    monkeypatch.setattr(steps, "run_units", run_in_order)
    monkeypatch.setattr("pipelines.ingest_documents.rename_repeated_ids", lambda context, listing, shards: shards)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(train_bpe([make_text(random.Random(1), 40)], BpeConfig(vocab_size=300)))
    own = {
        "pool": {}, "tokens": {"taggers": [{"tagger": COUNTER, "options": {"tokenizer": str(path)}}]},
        "plan": {"score": "token_count-v1.tokens", "topic": None, "num_buckets": 4, "heldout": {"heldout_docs": 2}},
        "sample": {"score": "token_count-v1.tokens", "topic": None, "num_buckets": 4, "heldout": {"heldout_docs": 2}},
        "shards": {"tokenizer": str(path), "tokens_per_part": 20_000},
    }  # fmt: skip
    recipe = load_recipe("pool-mix", [])
    chosen = [values | own[values["name"]] for values in recipe.steps if values["name"] in own]
    (tmp_path / "inputs").symlink_to(corpus / "inputs")
    made = Corpus(str(tmp_path))
    build_from(
        recipe.model_copy(update={"steps": chosen, "sources": []}),
        made,
        BuildOptions(show_progress=False),
        State(None, {}),
    )
    assert len(json.loads((tmp_path / "tokens/pool-mix/manifest.json").read_text())["files"]) > 1
    lineage = pq.read_table(tmp_path / "tokens/pool-mix/lineage.parquet").to_pylist()
    buckets = {}
    for shard in made.read_listing().shards:
        table = pq.read_table(made.path(attribute_path("sample-v1", shard)))
        buckets |= {(shard.number, row): bucket for row, bucket in enumerate(table.column("bucket").to_pylist())}
    written = collections.Counter()
    for copy in lineage:
        written[copy["source"], buckets[copy["shard"], copy["row"]]] += copy["end"] - copy["start"]
    cells = pq.read_table(tmp_path / "runs/pool-mix/03-sample/sampled.parquet").to_pylist()
    assert sum(row["planned_tokens"] > 0 for row in cells) > 20 and written.total() == sum(written.values()) > 100_000
    for row in cells:
        assert written[row["source"], row["bucket"]] == row["sampled_tokens"], row
        assert abs(row["sampled_tokens"] - row["planned_tokens"]) <= row["edge_tokens"], row
    # the command of docs/recipes.md counts the same, and sees a token that is not there
    counted = mix_conservation.count_written(made, "pool-mix", None)
    assert counted[0] == {(source, "", bucket): tokens for (source, bucket), tokens in written.items()}
    assert mix_conservation.print_table(cells, *counted)
    counted[0][max(counted[0])] -= 1
    assert not mix_conservation.print_table(cells, *counted)
    # the recipe's shares; what a source cannot give is told, and goes to the others
    facts = json.loads((tmp_path / "runs/pool-mix/02-plan/manifest.json").read_text())["facts"]
    total = sum(row["planned_tokens"] for row in cells)
    for source, share in (("code", 0.25), ("math", 0.15)):
        planned = sum(row["planned_tokens"] for row in cells if row["source"] == source)
        short = [shortage for shortage in facts["shortages"] if shortage["source"] == source]
        assert planned / total == pytest.approx(share, abs=0.01) if not short else planned / total < share


@pytest.mark.slow
def test_planned_tokens_are_in_the_shards(corpus, _spark_of_this_run):
    run(corpus)
    made = {one["step"]: one for one in manifest.iterate_manifests(str(corpus / "runs"))}
    removed = {key: counts["documents"] for key, counts in made["exact"]["funnel"]["kept"]["sources"].items()}
    assert set(removed) == set(FOLDERS)
    table = pq.read_table(corpus / made["sample"]["artifacts"]["sampled"]).to_pylist()
    shards = json.loads((corpus / "tokens" / "pool-mix" / "manifest.json").read_text())
    topics = {row["topic"] for row in table}
    assert {"prose", "code"} <= topics
    for source in FOLDERS:
        rows = [row for row in table if row["source"] == source]
        planned, sampled = (sum(row[key] for row in rows) for key in ("planned_tokens", "sampled_tokens"))
        assert abs(planned - sampled) <= max(row["edge_tokens"] for row in rows) / 2
        assert shards["sources"][source]["tokens"] == sampled
    assert shards["tokens"] == sum(row["sampled_tokens"] for row in table)
    code = sum(row["planned_tokens"] for row in table if row["source"] == "code") / sum(
        row["planned_tokens"] for row in table
    )
    assert code == pytest.approx(0.25, abs=0.01) or made["plan"]["facts"]["shortages"]
