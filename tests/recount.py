"""Recount a finished build from its files alone: python tests/recount.py CORPUS RECIPE MIX [REPORT.html].

Imports nothing of this project, so that it cannot repeat its mistakes. Counts documents, bytes, exact copies and tokens again,
compares each near copy with the document that stays for it by a Jaccard similarity of its own, and holds all of it against the
manifests and the numbers at the top of the report. Which documents are near copies, contaminated or kept is read from the
attributes, not decided again; the model's numbers are not looked at. Exit status 1 on a difference.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
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
MAX_SIMILARITY_GAP = 0.01  # words are split more simply here: texts with letters beyond ASCII may differ a little


def recount(corpus: Path, recipe: str, mix: str, report: Path | None) -> Found:
    """(what, from the files, as the manifests or the report say it)."""
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
    if report is not None:
        found += recount_report(report.read_text(encoding="utf-8"), corpus, rows, made, mix)
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
    said = made["minhash"]["facts"]
    return [
        ("exact copies", (copies, copies), (made["exact"]["facts"]["duplicates"], marked)),
        ("near copies", sum(row["is_duplicate"] for row in near), said["duplicates"]),
        ("clusters by who stays", sum(size > 1 for size in kept_of.values()), said["clusters"]),
        *recount_similarity(corpus, rows, made["minhash"]["config"]["verification"]),
    ]


def recount_similarity(corpus: Path, rows: dict[str, list], settings: dict) -> Found:
    """The Jaccard similarity of each near copy and the document that stays in its place, from their original texts.

    Holds for recipes that cut nothing out of texts before MinHash.
    """
    texts = {row["id"]: row["text"] for documents in rows.values() for row in documents}
    pairs = []
    for shard in rows:
        for row, verdict in zip(rows[shard], attributes(corpus, "minhash-v1", shard), strict=True):
            if verdict["is_duplicate"]:
                pairs.append((row["text"], texts[verdict["kept_id"]], verdict["similarity"]))
    width = settings["shingle_words"]
    found = [jaccard(shingles(copy, width), shingles(kept, width)) for copy, kept, _ in pairs]
    gaps = [abs(similarity - said) for similarity, (_, _, said) in zip(found, pairs, strict=True)]
    lowest, gap = min(found, default=1.0), max(gaps, default=0.0)
    return [
        (
            f"{width}-gram Jaccard of {len(pairs)} near copies, off by {gap:.4f} at most",
            gap <= MAX_SIMILARITY_GAP,
            True,
        ),
        (
            f"lowest is {lowest:.3f}, threshold {settings['threshold']}",
            lowest >= settings["threshold"] - MAX_SIMILARITY_GAP,
            True,
        ),
    ]


def shingles(text: str, width: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[first : first + width]) for first in range(max(1, len(words) - width + 1))}


def jaccard(left: set, right: set) -> float:
    return len(left & right) / len(left | right)


def recount_report(page: str, corpus: Path, rows: dict[str, list], made: dict, mix: str) -> Found:
    """The numbers at the top of the report: documents and MB in, kept and dropped, drawn and held out; tokens and parts."""
    page = page.replace("\N{NO-BREAK SPACE}", " ")
    cards = re.findall(r'<div class="card"><b>([^<]*)</b><span>([^<]*)</span>', page)
    edits = [
        (rule["attributes"] or next(iter(manifest["attributes"])), rule["edit"])
        for manifest in made.values()
        for rule in manifest["rules"]
        if rule["edit"]
    ]
    documents, num_bytes, kept, kept_bytes, drawn, heldout = 0, 0, 0, 0, 0, 0
    for shard in rows:
        spans = [[row[column] or [] for row in attributes(corpus, name, shard)] for name, column in edits]
        sample = attributes(corpus, "sample-v1", shard)
        copies = [row["copies"] for row in sample]
        drawn += sum(bool(number) for number in copies)
        heldout += sum(bool(row["is_heldout"]) for row in sample)
        for number, row in enumerate(rows[shard]):
            size = len(row["text"].encode())
            documents, num_bytes = documents + 1, num_bytes + size
            if copies[number] is not None:
                cut = sum(span["end"] - span["start"] for of_edit in spans for span in of_edit[number])
                kept, kept_bytes = kept + 1, kept_bytes + size - cut
    paths = list((corpus / "tokens" / mix).glob("part-*.npy"))
    dtype = np.dtype(json.loads((corpus / "tokens" / mix / "manifest.json").read_text())["dtype"])
    tokens = sum(path.stat().st_size for path in paths) // dtype.itemsize
    parts = f"tokens in {len(paths):,} part{'' if len(paths) == 1 else 's'}"
    said = {label.split(",")[0]: (value, label) for value, label in cards}
    found: Found = []
    for what, count, size in (
        ("documents in", documents, num_bytes),
        ("documents kept", kept, kept_bytes),
        ("documents dropped", documents - kept, num_bytes - kept_bytes),
    ):
        value, label = said.get(what, ("", ""))
        decimals = len(label.partition(".")[2].removesuffix(" MB"))
        counted = (f"{count:,}", f"{what}, {size / 1e6:,.{decimals}f} MB")
        found.append((f"report, {what}", counted, (value, label)))
    for what, count in (("in the shards", drawn), ("held out for evaluation", heldout)):
        label = f"of the kept documents {what}"
        found.append((f"report, {label}", f"{count:,}", said.get(label, ("",))[0]))
    return [*found, (f"report, {parts}", (f"{tokens:,}", parts), said.get(parts))]


def recount_contaminated(corpus: Path, rows: dict[str, list], found: Found, steps: list[dict]) -> tuple[int, list]:
    pairs = [
        (row, verdict)
        for shard in rows
        for row, verdict in zip(rows[shard], attributes(corpus, "contamination-v3", shard), strict=True)
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


def main(corpus: str, recipe: str, mix: str, report: str | None = None) -> int:
    wrong = 0
    for what, files, said in recount(Path(corpus), recipe, mix, None if report is None else Path(report)):
        agrees = files == said
        wrong += not agrees
        sys.stdout.write(
            f"{'agrees' if agrees else 'DIFFERS'}: {what}: {files}" + ("" if agrees else f", said is {said}") + "\n"
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
