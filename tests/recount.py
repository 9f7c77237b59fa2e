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


def recount(corpus: Path, recipe: str, mix: str) -> list[tuple[str, object, object]]:
    """(what, from the files, from the manifests)."""
    made = read_manifests(corpus, recipe)
    shards = [str(path.relative_to(corpus / "documents")) for path in sorted(corpus.glob("documents/*/*.parquet"))]
    rows = {
        shard: pq.read_table(corpus / "documents" / shard, columns=["id", "text", "metadata"]).to_pylist()
        for shard in shards
    }
    found = []

    first = next(
        step
        for manifest in made.values()
        if manifest["funnel"] and manifest["funnel"]["steps"]
        for step in manifest["funnel"]["steps"]
    )
    documents, num_bytes = Counter(), Counter()
    for shard in shards:
        source = shard.split("/")[0]
        documents[source] += len(rows[shard])
        num_bytes[source] += sum(len(row["text"].encode()) for row in rows[shard])
    said = {source: (counts["documents"], counts["bytes"]) for source, counts in first["sources"].items()}
    found.append(
        ("documents and bytes per source", {source: (documents[source], num_bytes[source]) for source in said}, said)
    )
    found.append(("documents in all", sum(documents.values()), made["ingest"]["facts"]["documents"]))

    in_view = {shard: attributes(corpus, "exact-v1", shard) for shard in shards}
    digests = Counter()
    marked = 0
    for shard in shards:
        for row, verdict in zip(rows[shard], in_view[shard], strict=True):
            if verdict["is_duplicate"] is not None:
                digests[hashlib.sha256(row["text"].encode()).digest()] += 1
                marked += verdict["is_duplicate"]
    copies = sum(digests.values()) - len(digests)
    found.append(("exact copies", (copies, copies), (made["exact"]["facts"]["duplicates"], marked)))

    near = [
        verdict
        for shard in shards
        for verdict in attributes(corpus, "minhash-v1", shard)
        if verdict["is_duplicate"] is not None
    ]
    kept_of = Counter(verdict["kept_id"] for verdict in near)
    found.append(
        ("near copies", sum(verdict["is_duplicate"] for verdict in near), made["minhash"]["facts"]["duplicates"])
    )
    found.append(
        ("clusters by who stays", sum(size > 1 for size in kept_of.values()), made["minhash"]["facts"]["clusters"])
    )
    lowest = min((verdict["similarity"] for verdict in near if verdict["is_duplicate"]), default=1.0)
    found.append(
        (
            "every near copy reaches the threshold",
            bool(lowest >= made["minhash"]["config"]["verification"]["threshold"] - 1e-6),
            True,
        )
    )

    contaminated = [
        (row, verdict)
        for shard in shards
        for row, verdict in zip(rows[shard], attributes(corpus, "contamination-v1", shard), strict=True)
    ]
    step = next(step for step in made["decontaminate"]["funnel"]["steps"] if step["name"] == "contaminated")
    flagged = sum(bool(verdict["contaminated"]) for _, verdict in contaminated)
    found.append(("contaminated", flagged, sum(counts["dropped_documents"] for counts in step["sources"].values())))

    folder = corpus / "tokens" / mix
    manifest = json.loads((folder / "manifest.json").read_text())
    tokens = ends = listed = 0
    for path in sorted(folder.glob("part-*.npy")):
        ids = np.fromfile(path, np.dtype(manifest["dtype"]).newbyteorder("<"))
        tokens, ends = tokens + len(ids), ends + int((ids == manifest["eos_token_id"]).sum())
        sidecar = gzip.decompress(path.with_suffix("").with_suffix(".csv.gz").read_bytes()).decode()
        listed += sum(1 for _ in csv.reader(io.StringIO(sidecar)))
    copies = sum(verdict["copies"] or 0 for shard in shards for verdict in attributes(corpus, "sample-v1", shard))
    found.append(("tokens", tokens, made["shards"]["facts"]["tokens"]))
    found.append(
        (
            "documents in shards: end tokens, sidecar rows, copies drawn",
            (ends, listed, copies),
            (manifest["documents"],) * 3,
        )
    )

    steps = [step for manifest in made.values() if manifest["funnel"] for step in manifest["funnel"]["steps"]]
    dropped = sum(counts["dropped_documents"] for step in steps for counts in step["sources"].values())
    last = sum(verdict["copies"] is not None for shard in shards for verdict in attributes(corpus, "sample-v1", shard))
    found.append(("documents - dropped = documents left", sum(documents.values()) - dropped, last))

    planted = [(row, verdict) for row, verdict in contaminated if planted_item(row)]
    if planted:
        searched = [(row, verdict) for row, verdict in planted if verdict["contaminated"] is not None]
        hits = [row for row, verdict in searched if verdict["contaminated"]]
        sys.stdout.write(
            f"planted: {len(planted)} documents, {len(searched)} in the view when searched, {len(hits)} found, {flagged - len(hits)} others flagged\n"
        )
    return found


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
