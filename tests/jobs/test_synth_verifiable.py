"""The step synth with recipe verifiable: the same bytes for any partitions, a corpus that the next step reads, chats with their rewards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from mixers.verifiable_tasks import reward
from pipelines.build_recipe import BuildOptions, build
from pipelines.job_main import plan_step_file
from pipelines.recipe import Recipe

FAMILIES = ["calendar", "sudoku-4x4", "sets"]  # in the order in which they are known
LEVELS = [1, 4]


@pytest.fixture
def make(tmp_path, _spark_of_this_run):
    """make(output folder, partitions, further settings) -> facts."""

    def run(output, partitions=None, *, seed=1, **more):
        step = {
            "kind": "synth",
            "recipe": "verifiable",
            "output": str(tmp_path / output),
            "num_problems": 3,
            "families": FAMILIES,
            "levels": LEVELS,
        } | more
        recipe = Recipe(recipe=f"run-{Path(output).name}", seed=seed, steps=[step])
        options = BuildOptions(show_progress=False, partitions=partitions)
        return build(recipe, str(tmp_path / "corpus"), options)[-1].manifest["facts"]

    return run


def list_bytes(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_rows(folder: Path) -> list[dict[str, object]]:
    paths = sorted((folder / "documents").rglob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_the_same_bytes_for_any_partitions_and_the_order_of_families(make, tmp_path):
    facts = [make("one", 1), make("seven", 7, families=FAMILIES[::-1], levels=LEVELS[::-1])]
    expected = len(FAMILIES) * len(LEVELS) * 3
    assert facts[0] == facts[1] and facts[0]["made"] == facts[0]["documents"] == expected
    assert facts[0]["shards"] == len(FAMILIES) * len(LEVELS)
    one = list_bytes(tmp_path / "one")
    assert len(one) > 2 * len(FAMILIES) * len(LEVELS) and one == list_bytes(tmp_path / "seven")
    rows = read_rows(tmp_path / "one")
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == expected
    assert {row["source"] for row in rows} == {f"verifiable-{family}" for family in FAMILIES}
    assert Corpus(str(tmp_path / "one")).need_listing().rows == expected


def test_what_is_made_is_found_again_and_never_replaced(make, tmp_path):
    settings = {"families": ["sets", "calendar"], "levels": [2]}
    facts = make("out", **settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    assert make("out", **settings) == facts
    shutil.rmtree(tmp_path / "corpus" / "runs")
    assert make("out", **settings) == facts
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before
    with pytest.raises(ConfigError, match="it holds another corpus"):
        make("out", seed=2, **settings)
    with pytest.raises(ConfigError, match="another folder than the corpus itself"):
        make("corpus", **settings)
    with pytest.raises(ConfigError, match="expected a family of verifiable tasks"):
        make("none", families=["no-such"])


def test_made_documents_are_a_source_of_the_same_recipe(make, tmp_path):
    steps = [
        {
            "kind": "synth",
            "recipe": "verifiable",
            "families": FAMILIES,
            "output": "{corpus}/made/verifiable",
            "num_problems": 2,
            "levels": [1],
        },
        {"kind": "ingest", "sources": [{"name": "verifiable", "inputs": ["{corpus}/made/verifiable/documents"]}]},
        {"kind": "dedup_exact"},
    ]
    outcomes = build(
        Recipe(recipe="both", seed=1, steps=steps), str(tmp_path / "mixed"), BuildOptions(show_progress=False)
    )
    assert [outcome.name for outcome in outcomes] == ["synth", "ingest", "dedup_exact"]
    kept = outcomes[-1].manifest["funnel"]["kept"]["sources"]
    assert kept["verifiable"]["documents"] == 2 * len(FAMILIES)


def test_chats_carry_their_verifier_and_parts_are_apart(make, tmp_path):
    settings = {"format": "chats", "families": ["sets", "calendar"], "num_problems": 12}
    facts = make("chats", 1, **settings)
    assert facts["made"] == 4 * 12
    make("chats", 2, part="heldout", **settings)
    again = make("again", 7, **settings)
    assert again == facts
    lines = {}
    for part in ("train", "heldout"):
        files = sorted((tmp_path / "chats" / "chats").glob(f"{part}-*.jsonl"))
        assert len(files) == 4
        lines[part] = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        assert len(lines[part]) == 4 * 12
        for row in lines[part]:
            assert reward(row["messages"][0]["content"], row["messages"][1]["content"], row) == 1.0
    asked = {part: {row["messages"][0]["content"] for row in rows} for part, rows in lines.items()}
    assert not asked["train"] & asked["heldout"]
    own = list_bytes(tmp_path / "again" / "chats")
    assert own == {
        name: content for name, content in list_bytes(tmp_path / "chats" / "chats").items() if name.startswith("train")
    }
    assert not (tmp_path / "chats" / "_chats").exists()
    with pytest.raises(ConfigError, match="without other chats of part train"):
        make("chats", seed=2, **settings)


def test_a_plan_says_how_much_is_made(tmp_path):
    values = {
        "corpus": str(tmp_path / "corpus"),
        "step": {"recipe": "verifiable", "output": str(tmp_path / "out"), "num_problems": 1000},
    }
    plan = plan_step_file("synth", values)
    (step,) = plan["steps"]
    assert step["kind"] == "synth_verifiable" and step["disk_bytes"] > 1_000_000 and step["seconds"] > 3
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="reads no view"):
        plan_step_file("synth", values | {"view": "x"})
