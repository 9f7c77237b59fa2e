"""Preference pairs in the form that `posttrain prepare` writes, of made ids, for tests of what learns from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.made_shards import write_byte_tokenizer

LIST_IDS, LIST_MASK = pa.list_(pa.uint32()), pa.list_(pa.bool_())
SCHEMA = pa.schema([
    ("id", pa.string()), ("chosen_ids", LIST_IDS), ("chosen_mask", LIST_MASK), ("rejected_ids", LIST_IDS), ("rejected_mask", LIST_MASK),
    ("chosen_last", pa.int32()), ("rejected_last", pa.int32()), ("source", pa.string()),
])  # fmt: skip


def make_pairs(num_pairs: int, *, seed: int = 1, vocab_size: int = 257, longest: int = 20) -> list[dict[str, Any]]:
    """Rows with random ids; two assistant turns in each conversation, of which the last one ends it; prompts are shared."""
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for number in range(num_pairs):
        prompt = rng.integers(1, vocab_size, int(rng.integers(2, 5))).tolist()
        row: dict[str, Any] = {"id": f"pair-{number}", "source": "made"}
        for side in ("chosen", "rejected"):
            first, user, last = (
                rng.integers(1, vocab_size, int(rng.integers(1, longest // 4))).tolist() for _ in range(3)
            )
            row[f"{side}_ids"] = [*prompt, *first, *user, *last, 0]
            row[f"{side}_mask"] = (
                [False] * len(prompt) + [True] * len(first) + [False] * len(user) + [True] * (len(last) + 1)
            )
            row[f"{side}_last"] = len(prompt) + len(first) + len(user)
        rows.append(row)
    return rows


def write_pairs(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    rows_of_a_file: int = 7,
    vocab_size: int = 257,
    fingerprint: str = "ab",
) -> Path:
    """Parquet files, the tokenizer of bytes and a manifest; returns the folder."""
    folder.mkdir(parents=True)
    write_byte_tokenizer(folder)
    files = []
    for first in range(0, max(len(rows), 1), rows_of_a_file):
        path = folder / f"pairs_part_{len(files):04d}.parquet"
        part = list(rows[first : first + rows_of_a_file])
        pq.write_table(pa.Table.from_pylist(part, schema=SCHEMA), path)
        files.append(
            {"path": path.name, "documents": len(part), "checksum": hashlib.md5(path.read_bytes()).hexdigest()}
        )
    manifest = {
        "format": "dolma-py-pairs", "version": 1, "vocab_size": vocab_size, "eos_token_id": 0, "documents": len(rows), "files": files,
        "tokenizer": {"path": "tokenizer.json", "fingerprint": fingerprint}, "template": {"name": "made", "fingerprint": "ef"},
        "fingerprint": "cd", "counts": {"rows": len(rows)},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
