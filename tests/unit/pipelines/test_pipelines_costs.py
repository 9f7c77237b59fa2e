"""The plan's memory: what a task holds beside its split, by its settings or by what the text allows."""

from __future__ import annotations

import pytest

from dolma_py.corpus import Corpus
from pipelines import costs
from pipelines.recipe import Recipe, build_steps

MIB = 1 << 20


def plan_memory(folder, text_bytes, **step):
    recipe = Recipe(recipe="r", seed=0, steps=[step])
    _, (line,) = costs.plan_recipe(recipe, build_steps(recipe), Corpus(str(folder)), text_bytes=text_bytes)
    return line.worker_memory_bytes - costs.WORKER_BYTES


@pytest.mark.parametrize(
    ("text_bytes", "step", "expected"),
    [
        (1 << 40, {"kind": "dedup_minhash"}, 3 * (4 << 30)),
        (1 << 40, {"kind": "dedup_minhash", "max_bucket_bytes": 100 * MIB}, 300 * MIB),
        (40_000_000, {"kind": "dedup_minhash"}, 3 * 56_000_000),
        (1 << 40, {"kind": "dedup_minhash", "max_bucket_bytes": 1024}, 4 * 32 * MIB),  # a split is more
        (1 << 40, {"kind": "tokenize", "mix": "m"}, 2 * 4 * (1 << 28)),
        (1 << 40, {"kind": "tokenize", "mix": "m", "tokens_per_part": 100 * MIB}, 800 * MIB),
        (40_000_000, {"kind": "tokenize", "mix": "m"}, 320_000_000),
        (1 << 40, {"kind": "dedup_exact"}, 2 * 32 * MIB),
    ],
)
def test_memory_of_a_task(tmp_path, text_bytes, step, expected):
    (tmp_path / "listing.jsonl").write_text("")
    assert plan_memory(tmp_path, text_bytes, **step) == expected
