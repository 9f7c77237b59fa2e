"""The job over a corpus: a sample by hash, a model that the tagger takes, the same bytes for any partitioning."""

from __future__ import annotations

import pyarrow.parquet as pq

from dolma_py.corpus import Corpus
from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from tests.tiny_corpus import write_corpus

TEXTS = [f"the {a} of the {b} and a {c}\nthe {c} is {a}" for a in "pqr" for b in "stu" for c in "vw"]


def build(folder, partitions):
    half = len(TEXTS) // 2
    rows = [{"text": text} for text in TEXTS]
    write_corpus(str(folder), [[rows[:half]], [rows[half:]]])
    corpus = Corpus(str(folder))
    steps = [
        {"name": "model", "kind": "train_language_model", "order": 3, "sample_bytes": 500},
        {"name": "tag", "kind": "tag", "taggers": [{"tagger": "perplexity", "options": {"model_path": "artifact:language_model"}}],
         "rules": [{"name": "like_the_model", "attributes": "perplexity-v2", "keep": "perplexity <= 1000"}]},
    ]  # fmt: skip
    recipe = Recipe(recipe="lm", seed=3, split_bytes=200, steps=steps)
    options = BuildOptions(show_progress=False, partitions=partitions)
    build_from(recipe, corpus, options, State(corpus.load_view(None), {}))
    (model,) = [path.read_bytes() for path in folder.glob("runs/lm/*-model/language_model.lm")]
    files = sorted((folder / "attributes" / "perplexity-v2").rglob("*.parquet"))
    return (
        model,
        [path.read_bytes() for path in files],
        [row for path in files for row in pq.read_table(path).to_pylist()],
    )


def test_a_model_of_a_sample_and_its_tagger(_spark_of_this_run, tmp_path):
    model, files, rows = build(tmp_path / "one", 1)
    assert (model, files) == build(tmp_path / "two", 3)[:2]
    assert len(rows) == len(TEXTS) and all(1 < row["perplexity"] < 1000 for row in rows)
    (manifest,) = [path.read_text() for path in (tmp_path / "one").glob("runs/lm/*-model/manifest.json")]
    assert '"num_texts"' in manifest
