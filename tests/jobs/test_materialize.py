"""A view as a corpus of its own: asked for twice it is made once, and never over another one."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.made_documents import Making, add_making, make_made_id, read_making
from pipelines.build_recipe import BuildOptions, build, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe


def list_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def make(tmp_path, _spark_of_this_run):
    """make(name, least words, row group bytes) -> runs a recipe whose last step is a materialize into tmp_path/out."""
    lines = [json.dumps({"id": str(number), "text": "word " * number}) for number in range(1, 9)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")

    def run(name, min_words, row_group_text_bytes=16 << 20):
        steps = [
            {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
            {"kind": "tag", "taggers": [{"tagger": "lengths"}],
             "rules": [{"name": "long", "keep": f"num_words >= {min_words}"}]},
            {"kind": "materialize", "output": str(tmp_path / "out"), "row_group_text_bytes": row_group_text_bytes},
        ]  # fmt: skip
        recipe = Recipe(recipe=name, seed=1, steps=steps)
        return build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))[-1].manifest["facts"]

    return run


def test_a_second_view_does_not_go_over_the_first(make, tmp_path):
    assert make("few", 7)["documents"] == 2
    before = list_bytes(tmp_path / "out")
    for arguments in (("many", 2), ("few", 7, 8)):  # the same names of files, other rows or row groups
        with pytest.raises(ConfigError, match="it holds another corpus") as caught:
            make(*arguments)
        assert caught.value.key == "steps.materialize.output"  # as --set takes it
        assert list_bytes(tmp_path / "out") == before


def test_repeated_it_finds_its_work(make, tmp_path):
    """As after a kill between the listing of the new corpus and the manifest of the step."""
    facts = make("few", 7)
    before = {path: Path(path).stat().st_mtime_ns for path in list_bytes(tmp_path / "out")}
    (folder,) = (tmp_path / "corpus" / "runs" / "few").glob("*materialize")
    shutil.rmtree(folder)
    assert make("few", 7) == facts
    assert {path: Path(path).stat().st_mtime_ns for path in list_bytes(tmp_path / "out")} == before
    shard = next((tmp_path / "out" / "documents").rglob("*.parquet"))
    expected = shard.read_bytes()
    shard.unlink()
    shutil.rmtree(folder)
    assert make("few", 7) == facts and shard.read_bytes() == expected
    assert Corpus(str(tmp_path / "out")).read_listing().rows == 2


def test_a_made_document_keeps_its_name_and_its_making(tmp_path, _spark_of_this_run):
    """Through ingest, where a second one of its id gets #2, a view of its own and an export."""
    making = Making(parents=("a#2", "b"), recipe="0f", seed=7, model="m", cache_key="k")
    made = {
        "id": make_made_id("a#2", "fim", 0),
        "text": "made of two",
        "metadata": json.loads(add_making(None, making)),
    }
    (tmp_path / "in.jsonl").write_text((json.dumps(made) + "\n") * 2)
    steps = [
        {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
        {"kind": "materialize", "output": str(tmp_path / "out")},
        {"kind": "export_dolma", "output": str(tmp_path / "tree")},
    ]
    build(Recipe(recipe="made", seed=1, steps=steps), str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    rows = pq.read_table(next((tmp_path / "out" / "documents").rglob("*.parquet"))).to_pylist()
    assert [row["id"] for row in rows] == ["a#2#fim-0", "a#2#fim-0#2"]
    assert {read_making(row["metadata"]) for row in rows} == {making}
    lines = gzip.decompress(next((tmp_path / "tree" / "documents").rglob("*.gz")).read_bytes()).splitlines()
    assert [read_making(json.dumps(json.loads(line)["metadata"])) for line in lines] == [making, making]


def test_a_parent_of_the_users_own_is_kept(tmp_path, _spark_of_this_run):
    """And the first address, when what was materialized is materialized again."""
    records = [
        {"id": "a", "text": "t", "metadata": {"parent": "t3_abc", "top_level_parent": 1}},
        {"id": "b", "text": "t"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    steps = [
        {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
        {"kind": "materialize", "output": str(tmp_path / "out")},
    ]
    options = BuildOptions(show_progress=False)
    build(Recipe(recipe="first", seed=1, steps=steps), str(tmp_path / "corpus"), options)
    again = [{"kind": "materialize", "output": str(tmp_path / "again")}]
    corpus = Corpus(str(tmp_path / "out"))
    build_from(Recipe(recipe="second", seed=1, steps=again), corpus, options, State(corpus.load_view(None), {}))
    for folder, depth in (("out", 1), ("again", 2)):
        rows = pq.read_table(next((tmp_path / folder / "documents").rglob("*.parquet"))).to_pylist()
        first, second = (json.loads(row["metadata"]) for row in rows)
        assert first["top_level_parent"] == 1 and first["top_level_parent_2"] == "t3_abc"
        parent = second["parent"]
        for _ in range(depth):
            assert (parent["shard"], parent["row"]) == (0, 1)
            last, parent = parent, parent.get("parent")
        assert parent is None and last["listing"] == Corpus(str(tmp_path / "corpus")).read_listing().fingerprint
