"""The step synth: the same corpus for any number of partitions, work found again, a model's answers kept, and the next step reads what it made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma_py.errors import ConfigError
from mixers import tokenization
from mixers.word_counts import recount
from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe
from tests.chat_server import ChatServer
from tests.unit.mixers.test_mixers_long_context import CWE, TEXTS, answer_any_form, write_story

NUM_DOCS = 12


@pytest.fixture
def make(tmp_path, _spark_of_this_run):
    """make(output folder, partitions, further settings of synth) -> facts; the corpus is ingested once."""
    texts = [write_story(number, 20 + number) for number in range(NUM_DOCS)] + [TEXTS["short"]]
    lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
    for part in range(2):
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines[part::2]) + "\n")
    settings = tokenization.BpeConfig(vocab_size=400, special_tokens=("<|endoftext|>",))
    (tmp_path / "tokenizer.json").write_bytes(tokenization.train_bpe([TEXTS["a"], TEXTS["b"]], settings))

    def run(output, partitions=None, **more):
        step = CWE | {"tokenizer": str(tmp_path / "tokenizer.json"), "output": str(tmp_path / output)} | more
        sources = [{"name": f"s{part}", "inputs": [str(tmp_path / f"{part}.jsonl")]} for part in range(2)]
        steps = [
            {"kind": "ingest", "sources": sources, "row_group_text_bytes": 8_000},
            {"name": "synth", "kind": "synth", **step},
        ]
        recipe = Recipe(recipe=f"run-{output}", seed=1, split_bytes=10_000, steps=steps)
        options = BuildOptions(show_progress=False, partitions=partitions)
        return build(recipe, str(tmp_path / f"corpus-{output}"), options)[-1].manifest["facts"]

    return run


def list_bytes(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_rows(folder: Path) -> list[dict[str, object]]:
    return [
        row for path in sorted((folder / "documents").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_the_same_bytes_for_any_number_of_partitions(make, tmp_path):
    facts = [make(f"out{number}", number) for number in (1, 2, 7)]
    assert facts[0] == facts[1] == facts[2]
    assert facts[0]["read"] == NUM_DOCS + 1 and facts[0]["made"] == facts[0]["documents"] == NUM_DOCS
    assert facts[0]["left_out"] == {"short": 1} and facts[0]["shards"] > 2
    first = list_bytes(tmp_path / "out1")
    assert len(first) > 4 and first == list_bytes(tmp_path / "out2") == list_bytes(tmp_path / "out7")
    rows = read_rows(tmp_path / "out1")
    assert {row["source"] for row in rows} == {"s0-cwe", "s1-cwe"} and len(rows) == NUM_DOCS
    found = [one for row in rows for one in recount(row["text"], json.loads(row["metadata"])["long_context"])]
    assert len(found) > NUM_DOCS * 3 and all(one.said == one.counted for one in found)


def test_repeated_it_finds_its_work_and_refuses_another(make, tmp_path):
    facts = make("out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    (folder,) = (tmp_path / "corpus-out" / "runs").glob("*/*synth")
    shutil.rmtree(folder)  # as after a kill between the listing of the new corpus and the manifest of the step
    assert make("out") == facts
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before
    with pytest.raises(ConfigError, match="it holds another corpus"):
        make("out", cwe={"num_words": 2, "min_count": 2})


def test_answers_are_kept_and_the_corpus_is_made_without_a_server(make, tmp_path):
    with ChatServer(answer_any_form) as server:
        endpoint = {"base_url": server.url, "model": "m", "cache": str(tmp_path / "answers"), "max_tries": 1}
        facts = make("out", recipe="rex", endpoint=endpoint)
        assert facts["made"] == NUM_DOCS and facts["passages"] == {"taken": len(server.bodies)}
    first = list_bytes(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "corpus-out")
    assert make("out", 7, recipe="rex", endpoint=endpoint) == facts
    assert list_bytes(tmp_path / "out") == first
    assert {row["id"].split("#")[1] for row in read_rows(tmp_path / "out")} == {"rex-0"}


def test_a_share_of_the_documents(make, tmp_path):
    """The same ones for any number of partitions, and other ones of another recipe."""
    facts = make("half", documents_frac=0.5)
    assert facts == make("again", 7, documents_frac=0.5) and list_bytes(tmp_path / "half") == list_bytes(
        tmp_path / "again"
    )
    assert 1 <= facts["read"] < NUM_DOCS and facts["made"] + sum(facts["left_out"].values()) == facts["read"]
    parents = {row["id"].split("#")[0] for row in read_rows(tmp_path / "half")}
    make("whole")
    rows = {row["id"].split("#")[0]: row["text"] for row in read_rows(tmp_path / "whole")}
    assert parents < set(rows) and all(
        rows[row["id"].split("#")[0]] == row["text"] for row in read_rows(tmp_path / "half")
    )
    with ChatServer(answer_any_form) as server:
        endpoint = {"base_url": server.url, "model": "m", "cache": str(tmp_path / "answers"), "max_tries": 1}
        make("rex", recipe="rex", endpoint=endpoint, documents_frac=0.5)
    assert {row["id"].split("#")[0] for row in read_rows(tmp_path / "rex")} != parents
