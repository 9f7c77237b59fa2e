"""A corpus of pages and what the step synth is told to make of it, for tests of the whole step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.made_answers import PAGE
from tests.tiny_corpus import write_corpus

NUM_SHARDS, NUM_GROUPS, NUM_ROWS = 3, 2, 5
NUM_DOCS = NUM_SHARDS * NUM_GROUPS * NUM_ROWS


def write_pages(root: Path) -> None:
    """Pages that differ in a number; the first of each row group is too short for any recipe."""
    shards = []
    for shard in range(NUM_SHARDS):
        groups = []
        for group in range(NUM_GROUPS):
            rows = [{"text": "Too short."}]
            for row in range(1, NUM_ROWS):
                rows.append({"text": PAGE.replace("17", f"{shard}{group}{row}17")})
            groups.append(rows)
        shards.append(groups)
    write_corpus(str(root), shards)


def make_values(root: Path, output: Path, url: str, *, recipe: str = "rewrite-math", **more: Any) -> dict[str, Any]:
    """The job's file: a corpus of write_pages, a model at `url`, answers kept beside the output."""
    endpoint = {
        "base_url": url, "model": "teacher", "cache": f"{output}-answers", "max_tries": 1, "max_failed_frac": 1.0,
        "price_per_million_prompt": 2.0, "price_per_million_completion": 8.0,
    }  # fmt: skip
    step = {"recipe": recipe, "output": str(output), "endpoint": endpoint, "answers_license": "CC0-1.0"} | more
    return {"corpus": str(root), "name": "synth", "seed": 3, "step": step}
