"""Recount a finished build from its files alone: python tests/recount.py CORPUS RECIPE MIX.

Imports nothing of this project, so that it cannot repeat its mistakes. Counts documents, bytes, exact copies, near copies,
tokens and planted items again and compares them with what the manifests (and so the report) say. Exit status 1 on a difference.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def read_manifests(corpus: Path, recipe: str) -> dict[str, dict]:
    paths = sorted(corpus.glob(f"runs/{recipe}/*/manifest.json"))
    return {path.parent.name.partition("-")[2]: json.loads(path.read_text()) for path in paths}


def attributes(corpus: Path, name: str, shard: str) -> list[dict]:
    return pq.read_table(corpus / "attributes" / name / shard).to_pylist()


Found = list[tuple[str, object, object]]


def recount(corpus: Path, recipe: str, mix: str) -> Found:
    """(what, from the files, from the manifests)."""
    made = read_manifests(corpus, recipe)
    shards = [str(path.relative_to(corpus / "documents")) for path in sorted(corpus.glob("documents/*/*.parquet"))]
    columns = ["id", "text", "metadata"]
    rows = {shard: pq.read_table(corpus / "documents" / shard, columns=columns).to_pylist() for shard in shards}
    steps = [step for manifest in made.values() if manifest["funnel"] for step in manifest["funnel"]["steps"]]
    found = recount_documents(rows, steps[0], made)
    found += recount_copies(corpus, rows, made)
    flagged, contaminated = recount_contaminated(corpus, rows, found, steps)
    found += recount_tokens(
        corpus / "tokens" / mix, made, sum(row["copies"] or 0 for row in all_rows(corpus, "sample-v1", rows))
    )
    dropped = sum(counts["dropped_documents"] for step in steps for counts in step["sources"].values())
    last = sum(row["copies"] is not None for row in all_rows(corpus, "sample-v1", rows))
    found.append(("documents - dropped = documents left", sum(map(len, rows.values())) - dropped, last))
    say_planted(contaminated, flagged)
    return found


def all_rows(corpus: Path, name: str, shards: dict[str, list]) -> list[dict]:
    return [row for shard in shards for row in attributes(corpus, name, shard)]


def recount_documents(rows: dict[str, list], first: dict, made: dict) -> Found:
    documents, num_bytes = Counter(), Counter()
    for shard, documents_of_shard in rows.items():
        source = shard.split("/")[0]
        documents[source] += len(documents_of_shard)
        num_bytes[source] += sum(len(row["text"].encode()) for row in documents_of_shard)
    said = {source: (counts["documents"], counts["bytes"]) for source, counts in first["sources"].items()}
    counted = {source: (documents[source], num_bytes[source]) for source in said}
    return [
        ("documents and bytes per source", counted, said),
        ("documents in all", sum(documents.values()), made["ingest"]["facts"]["documents"]),
    ]


def recount_copies(corpus: Path, rows: dict[str, list], made: dict) -> Found:
    digests, marked = Counter(), 0
    for shard in rows:
        for row, verdict in zip(rows[shard], attributes(corpus, "exact-v1", shard), strict=True):
            if verdict["is_duplicate"] is not None:
                digests[hashlib.sha256(row["text"].encode()).digest()] += 1
                marked += verdict["is_duplicate"]
    copies = sum(digests.values()) - len(digests)
    near = [row for row in all_rows(corpus, "minhash-v1", rows) if row["is_duplicate"] is not None]
    kept_of = Counter(row["kept_id"] for row in near)
    lowest = min((row["similarity"] for row in near if row["is_duplicate"]), default=1.0)
    said, threshold = made["minhash"]["facts"], made["minhash"]["config"]["verification"]["threshold"]
    return [
        ("exact copies", (copies, copies), (made["exact"]["facts"]["duplicates"], marked)),
        ("near copies", sum(row["is_duplicate"] for row in near), said["duplicates"]),
        ("clusters by who stays", sum(size > 1 for size in kept_of.values()), said["clusters"]),
        ("every near copy reaches the threshold", bool(lowest >= threshold - 1e-6), True),
    ]


def recount_contaminated(corpus: Path, rows: dict[str, list], found: Found, steps: list[dict]) -> tuple[int, list]:
    pairs = [
        (row, verdict)
        for shard in rows
        for row, verdict in zip(rows[shard], attributes(corpus, "contamination-v1", shard), strict=True)
    ]
    step = next(step for step in steps if step["name"] == "contaminated")
    flagged = sum(bool(verdict["contaminated"]) for _, verdict in pairs)
    found.append(("contaminated", flagged, sum(counts["dropped_documents"] for counts in step["sources"].values())))
    return flagged, pairs


def recount_tokens(folder: Path, made: dict, copies: int) -> Found:
    manifest = json.loads((folder / "manifest.json").read_text())
    tokens = ends = listed = 0
    for path in sorted(folder.glob("part-*.npy")):
        ids = np.fromfile(path, np.dtype(manifest["dtype"]).newbyteorder("<"))
        tokens, ends = tokens + len(ids), ends + int((ids == manifest["eos_token_id"]).sum())
        sidecar = gzip.decompress(path.with_suffix("").with_suffix(".csv.gz").read_bytes()).decode()
        listed += sum(1 for _ in csv.reader(io.StringIO(sidecar)))
    what = "documents in shards: end tokens, sidecar rows, copies drawn"
    return [
        ("tokens", tokens, made["shards"]["facts"]["tokens"]),
        (what, (ends, listed, copies), (manifest["documents"],) * 3),
    ]


def say_planted(contaminated: list, flagged: int) -> None:
    planted = [(row, verdict) for row, verdict in contaminated if planted_item(row)]
    searched = [verdict for _, verdict in planted if verdict["contaminated"] is not None]
    hits = sum(verdict["contaminated"] for verdict in searched)
    if planted:
        counts = f"{len(planted)} documents, {len(searched)} in the view when searched, {hits} found, {flagged - hits} others flagged"
        sys.stdout.write(f"planted: {counts}\n")


def planted_item(row: dict) -> str | None:
    metadata = json.loads(row["metadata"] or "{}")
    return metadata.get("planted_item") or (metadata.get("http_headers") or {}).get("x-planted-item")


def main(corpus: str, recipe: str, mix: str) -> int:
    wrong = 0
    for what, files, manifests in recount(Path(corpus), recipe, mix):
        agrees = files == manifests
        wrong += not agrees
        sys.stdout.write(
            f"{'agrees' if agrees else 'DIFFERS'}: {what}: {files}"
            + ("" if agrees else f", manifests say {manifests}")
            + "\n"
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
