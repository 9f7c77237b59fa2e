"""Run one deduplication over a corpus of a few rows and read back what it wrote, for tests of those jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.build_recipe import BuildOptions, Outcome
from pipelines.job_main import run_step_file
from tests.tiny_corpus import Groups, write_corpus

ROW_BITS = 40


def run_job(
    kind: str, root: Path, shards: list[Groups], step: dict[str, Any], partitions: int | None = None
) -> Outcome:
    """Write the corpus unless it is there, run the job of `kind` on all its documents."""
    if not (root / "listing.jsonl").exists():
        write_corpus(str(root), shards)
    options = BuildOptions(partitions=partitions, show_progress=False)
    return run_step_file(kind, {"corpus": str(root), "name": step.get("name", kind).replace("_", "-"),
                                "step": {k: v for k, v in step.items() if k != "name"}}, options)[0]  # fmt: skip


def read_set(root: Path, name: str) -> list[dict[str, Any]]:
    """Rows of an attribute set in corpus order."""
    paths = sorted((root / "attributes" / name).rglob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def flat_rows(shards: list[Groups]) -> list[dict[str, Any]]:
    """The documents in corpus order with their addresses and the ids that write_corpus gives."""
    rows = []
    for number, groups in enumerate(shards):
        row = 0
        for group, documents in enumerate(groups):
            for index, values in enumerate(documents):
                rows.append(
                    {
                        "id": f"{number}-{group}-{index}",
                        "source": "web",
                        "address": (number << ROW_BITS) | row,
                        **values,
                    }
                )
                row += 1
    return rows


def list_output(root: Path) -> dict[str, bytes]:
    """Every file but the inputs, times, locks and work folders."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in ("run.json", ".lock")]
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(files)}


def metadata(**values: Any) -> str:
    return json.dumps(values)
