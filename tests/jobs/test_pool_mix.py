"""The recipe pool-mix over a made pool of seven folders, from raw files to shards."""

from __future__ import annotations

import json
import random

import pyarrow.parquet as pq
import pytest

from dolma_py import manifest
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines.build_recipe import BuildOptions, build_named
from pipelines.recipe import load_recipe
from pipelines.recipe_check import check_recipe
from tests.jobs.made_recipe import make_text
from tests.tiny_classifier import train_two

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
