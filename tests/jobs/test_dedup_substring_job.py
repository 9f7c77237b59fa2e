"""Repeated spans are cut; only a text that lost something can be dropped for what is left of it."""

from __future__ import annotations

import json
import random

import pyarrow.parquet as pq
import pytest

from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe

WORDS = [f"word{number}" for number in range(2000)]


def make_texts():
    """id -> text: short ones of their own, two with a common passage, one that is hardly more than that passage."""
    rng = random.Random(5)

    def words(count):
        return " ".join(rng.choices(WORDS, k=count))

    passage = words(120)
    texts = {f"short-{number}": words(8) for number in range(30)}
    texts |= {"first": f"{words(80)} {passage} {words(80)}", "second": f"{words(80)} {passage} {words(80)}"}
    return texts | {"third": f"{words(5)} {passage}", "empty": ""}, passage


@pytest.mark.parametrize(
    ("pool_bytes", "num_pools", "shortened"), [(1 << 20, 1, ["second", "third"]), (4096, 2, ["third"])]
)  # the third text and the second are in the second pool: what the first has in common with them is not seen there
def test_short_texts_that_lost_nothing_stay(tmp_path, _spark_of_this_run, pool_bytes, num_pools, shortened):
    texts, passage = make_texts()
    lines = (json.dumps({"id": name, "text": text}) for name, text in texts.items())
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    steps = [
        {"kind": "ingest", "row_group_text_bytes": 1000, "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
        {"kind": "dedup_substring", "pool_bytes": pool_bytes, "scope": "pool"},
    ]  # fmt: skip
    recipe = Recipe(recipe="r", seed=1, split_bytes=2000, steps=steps)
    manifest = build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))[-1].manifest
    (path,) = (tmp_path / "corpus" / "attributes" / "substring-v1").rglob("*.parquet")
    rows = dict(zip(texts, pq.read_table(path).to_pylist(), strict=True))
    for name, row in rows.items():
        spans = [texts[name][span["start"] : span["end"]] for span in row["spans"]]  # ASCII: bytes are characters
        assert row["repeated_bytes"] == sum(map(len, spans))
        assert row["left_bytes"] == len(texts[name]) - row["repeated_bytes"]
        assert row["little_left"] == (row["repeated_bytes"] > 0 and row["left_bytes"] < 200)
        assert all(span in passage or passage in span for span in spans)
    assert manifest["funnel"]["kept"]["sources"]["a"]["documents"] == len(texts) - sum(
        r["little_left"] for r in rows.values()
    )
    assert manifest["facts"]["pools"] == num_pools
    assert [name for name, row in rows.items() if row["spans"]] == shortened
    assert [name for name, row in rows.items() if row["little_left"]] == ["third"]
