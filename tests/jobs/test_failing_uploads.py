"""A bucket that refuses one upload of a build: nothing there looks finished, and the same build goes on to the bytes of one in a folder.

The steps run in this process, without Spark: what is asked is what stands in the bucket, and test_mix_places asks it of Spark's tasks.
"""

from __future__ import annotations

import json
import random

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.s3.models import s3_backends

from dolma_py import storage
from dolma_py.corpus import Corpus
from dolma_py.errors import describe_os_error
from mixers import tokenization
from pipelines import steps
from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from tests.jobs.made_mix import run_in_order
from tests.jobs.made_recipe import make_text
from tests.remote_places import Refusals, open_s3_bucket

# the step, and what of it is refused: documents, attributes, a plan, a sample and tokens, on their way, at their end, and under their last name
REFUSED = {
    "documents": ("ingest", r"PUT .*/attempts/\w+-part-00000\.parquet\?.*partNumber"),
    "documents, the end": ("ingest", r"POST .*/attempts/\w+-part-00000\.parquet\?.*uploadId"),
    "documents, their name": ("ingest", r"PUT .*/documents/notes/part-00000\.parquet\? copy"),
    "attributes": ("lengths", r"PUT .*/attempts/\w+-.*\.parquet\?.*partNumber"),
    "attributes, their name": ("lengths", r"PUT .*/attributes/lengths-v1/.*\.parquet\? copy"),
    "the plan": ("plan", r"(PUT|POST) .*/cells\.parquet\?"),
    "the sample": ("sample", r"PUT .*/attributes/sample-v1/.*\.parquet\? copy"),
    "pieces": ("shards", r"PUT .*/attempts/\w+-shard-[\d\w-]+\.pieces\?"),
    "tokens": ("shards", r"PUT .*/attempts/\w+-part-00001\.npy\?.*partNumber"),
    "tokens, the end": ("shards", r"POST .*/attempts/\w+-part-00001\.npy\?.*uploadId"),
    "tokens, their name": ("shards", r"PUT .*/tokens/mix/part-00001\.npy\? copy"),
    "a sidecar, its name": ("shards", r"PUT .*/tokens/mix/part-00001\.csv\.gz\? copy"),
    "lineage": ("shards", r"PUT .*/tokens/mix/lineage\.parquet\? copy"),
    "the mix's manifest": ("shards", r"(PUT|POST) .*/tokens/mix/manifest\.json\?"),
    "the step's manifest": ("shards", r"(PUT|POST) .*/05-shards/manifest\.json\?"),
}  # fmt: skip

QUICK = ("documents, their name", "attributes", "tokens, the end")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Six steps from two files of documents to shards of three parts."""
    folder = tmp_path_factory.mktemp("inputs")
    made = random.Random(3)
    texts = [make_text(made, 20) for _ in range(80)]
    for source, rows in (("stories", texts[:60]), ("notes", texts[60:])):
        lines = [json.dumps({"id": f"{source}-{number}", "text": text}) for number, text in enumerate(rows)]
        (folder / f"{source}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "tokenizer.json").write_bytes(tokenization.train_bpe(texts, tokenization.BpeConfig(vocab_size=300)))
    sources = [{"name": name, "inputs": [str(folder / f"{name}.jsonl")]} for name in ("stories", "notes")]
    counter = {
        "tagger": "mixers.token_count:TokenCountTagger",
        "options": {"tokenizer": str(folder / "tokenizer.json")},
    }
    mixing = {"score": "lengths-v1.num_words", "heldout": {"heldout_docs": 2}, "num_buckets": 4}
    plan = {"token_budget": 1, "default": {"curve": True}}
    values = [
        {"name": "ingest", "kind": "ingest", "row_group_text_bytes": 30_000, "sources": sources},
        {"name": "lengths", "kind": "tag", "taggers": [{"tagger": "lengths"}]},
        {"name": "tokens", "kind": "tag", "taggers": [counter]},
        {"name": "plan", "kind": "plan_mix", "budget_frac": 1.5, "plan": plan, **mixing},
        {"name": "sample", "kind": "sample_mix", "cells": "artifact:cells", **mixing},
        {"name": "shards", "kind": "tokenize", "mix": "mix", "tokenizer": str(folder / "tokenizer.json"), "tokens_per_part": 20_000},
    ]  # fmt: skip
    return Recipe(recipe="mix", flow="mix", seed=3, split_bytes=60_000, steps=values)


def build(recipe, root, num_steps):
    first = recipe.model_copy(update={"steps": recipe.steps[:num_steps]})
    build_from(first, Corpus(root), BuildOptions(show_progress=False), State(None, {}))


@pytest.fixture(scope="module", autouse=True)
def _in_this_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "run_units", run_in_order)
        # the search for repeated ids is Spark's; here are none
        patch.setattr("pipelines.ingest_documents.rename_repeated_ids", lambda context, listing, shards: shards)
        yield


@pytest.fixture(scope="module")
def local(recipe, tmp_path_factory):
    """Relative path -> content of a corpus in a folder, before any step and after each."""
    root = tmp_path_factory.mktemp("local")
    after = [{}]
    for number in range(1, len(recipe.steps) + 1):
        build(recipe, str(root), number)
        files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in (".lock", "run.json")]
        after.append({str(path.relative_to(root)): path.read_bytes() for path in files})
    assert {"tokens/mix/part-00001.npy", "documents/notes/part-00000.parquet"} <= set(after[-1])
    return after


@pytest.fixture(scope="module")
def place():
    refusals = Refusals()
    with open_s3_bucket("corpora", refusals) as bucket:
        yield bucket, refusals


def read_bucket(prefix):
    """Relative key -> content of every object but run.json; of moto's own memory, which costs no request."""
    found = list(s3_backends[ACCOUNT]["global"].buckets["corpora"].keys.values())
    mine = {key.name.removeprefix(f"{prefix}/"): key.value for key in found if key.name.startswith(f"{prefix}/")}
    return {name: content for name, content in mine.items() if not name.endswith(("/run.json", "/"))}


@pytest.mark.parametrize(
    "what", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in REFUSED]
)
def test_a_refused_upload_leaves_nothing_that_looks_finished(recipe, local, place, what):
    bucket, refusals = place
    step, pattern = REFUSED[what]
    number = [values["name"] for values in recipe.steps].index(step)
    root = f"{bucket}/{what}"
    for name, content in local[number].items():
        storage.write_bytes(f"{root}/{name}", content)
    refusals.pattern, refusals.refused = pattern, []
    try:
        with pytest.raises(OSError, match="AWS Error (AccessDenied|ACCESS_DENIED)") as caught:
            build(recipe, root, number + 1)
    finally:
        refusals.pattern = None
    assert refusals.refused
    sentence = describe_os_error(caught.value)
    assert f"{what}/" in sentence and "refused. Check the address, the credentials" in sentence
    left, expected = read_bucket(what), local[number + 1]
    # whatever stands under its last name is whole, and the step is not done; its work folder goes when it is
    named = [name for name in left if "/work/" not in name and not name.endswith("_done.jsonl")]
    assert [name for name in named if left[name] != expected[name]] == []
    assert f"runs/mix/0{number}-{step}/manifest.json" not in left
    if what != "the step's manifest":
        assert "tokens/mix/manifest.json" not in left
    uploads = boto3.client("s3").list_multipart_uploads(Bucket="corpora").get("Uploads", [])
    assert [upload["Key"] for upload in uploads if upload["Key"].startswith(f"{what}/")] == []
    build(recipe, root, number + 1)
    assert read_bucket(what) == expected
