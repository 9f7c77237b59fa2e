"""Tokens planned and written of a mix by source, recounted from its lineage and attributes: the table of docs/recipes.md.

    python -m benchmarks.mix_conservation --corpus DIR [--mix NAME]

DIR: a corpus with one plan, one sample and the shards of it, such as `dolma-py build mix --recipe pool-mix` leaves. Ends with 1 where what was
written is not what the sample drew of some cell, to the token (fill-in-the-middle adds tokens of its own), or where a cell is further from
its plan than the one document at which its budget ends.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolma_py import manifest
from dolma_py.corpus import Corpus
from dolma_py.views import attribute_path

Key = tuple[str, str, int]  # source, topic, bucket
SAMPLE = "sample-v1"
NUM_CLEAR = 24  # documents in a cell from which one document is a small part of it


def read_cells_of(corpus: Corpus, shard: Any, topic: str | None) -> tuple[list[str], list[int]]:
    """Topic and bucket of every document of a shard."""
    buckets = pq.read_table(corpus.path(attribute_path(SAMPLE, shard)), columns=["bucket"])["bucket"].to_pylist()
    if topic is None:
        return [""] * len(buckets), buckets
    name, _, column = topic.rpartition(".")
    topics = pq.read_table(corpus.path(attribute_path(name, shard)), columns=[column])[column].to_pylist()
    return [found or "" for found in topics], buckets


def count_written(corpus: Corpus, mix: str, topic: str | None) -> tuple[Counter[Key], dict[str, list[int]]]:
    """(tokens by cell, [documents, copies] by source) of the lineage."""
    lineage = pq.read_table(
        corpus.path("tokens", mix, "lineage.parquet"), columns=["source", "shard", "row", "start", "end"]
    )
    tokens: Counter[Key] = Counter()
    documents: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for shard in corpus.read_listing().shards:
        mine = lineage.filter(pa.compute.equal(lineage["shard"], shard.number))
        if not mine.num_rows:
            continue
        topics, buckets = read_cells_of(corpus, shard, topic)
        rows = mine["row"].to_numpy()
        sizes = mine["end"].to_numpy() - mine["start"].to_numpy()
        sources = mine["source"].to_pylist()
        for source, row, size in zip(sources, rows.tolist(), sizes.tolist(), strict=True):
            tokens[source, topics[row], buckets[row]] += size
            documents[source][1] += 1
        names = np.array(sources)
        for source in sorted(set(sources)):
            documents[source][0] += len(np.unique(rows[names == source]))
    return tokens, documents


def print_table(cells: list[dict[str, Any]], written: Counter[Key], documents: dict[str, list[int]]) -> bool:
    """A line per source and the sum; whether every cell has what was drawn, within its edge."""
    head = (
        "source",
        "cells",
        "planned",
        "written",
        "difference",
        "largest of a cell",
        "longest edge",
        "documents, copies",
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    total = [0, 0, 0, 0, 0]
    for source in sorted({row["source"] for row in cells}):
        rows = [row for row in cells if row["source"] == source and row["planned_tokens"]]
        found = [written[row["source"], row["topic"], row["bucket"]] for row in rows]
        planned, sums = sum(row["planned_tokens"] for row in rows), sum(found)
        off = [got - row["planned_tokens"] for got, row in zip(found, rows, strict=True)]
        at = max(range(len(off)), key=lambda i: abs(off[i]), default=None)
        largest = "" if at is None else f"{off[at]:+,} of {rows[at]['planned_tokens']:,}"
        edge = max((row["edge_tokens"] for row in rows), default=0)
        docs, copies = documents.get(source, [0, 0])
        print(
            f"| {source} | {len(rows)} | {planned:,} | {sums:,} | {sums - planned:+,} | {largest} | {edge:,} | {docs:,}, {copies:,} |"
        )
        total = [a + b for a, b in zip(total, (len(rows), planned, sums, docs, copies), strict=True)]
    share = (total[2] - total[1]) / max(total[1], 1)
    print(f"| all | {total[0]} | {total[1]:,} | {total[2]:,} | {share:+.2%} | | | {total[3]:,}, {total[4]:,} |")
    keys = {(row["source"], row["topic"], row["bucket"]): row for row in cells}
    as_drawn = (
        sum(written[key] == row["sampled_tokens"] for key, row in keys.items()) if set(written) <= set(keys) else 0
    )
    within = sum(
        abs(written[key] - row["planned_tokens"] + row.get("cut_tokens", 0)) <= row["edge_tokens"]
        for key, row in keys.items()
    )
    clear = [key for key, row in keys.items() if row["planned_tokens"] and row["documents"] >= NUM_CLEAR]
    tokens = sum(keys[key]["planned_tokens"] for key in clear)
    off_all = sum(abs(written[key] - keys[key]["planned_tokens"]) for key in clear)
    print(
        f"\n{len(cells)} cells: {as_drawn} have what the sample drew, to the token, {within} are within their edge; of {NUM_CLEAR} documents "
        f"and more {len(clear)} with {tokens:,} tokens, off by {off_all / max(tokens, 1):.2%} of them together."
    )
    return as_drawn == within == len(cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--mix", help="folder under tokens/; default: the only one")
    arguments = parser.parse_args()
    corpus = Corpus(arguments.corpus)
    mixes = sorted(path.parent.name for path in Path(arguments.corpus).glob("tokens/*/lineage.parquet"))
    mix = arguments.mix or (mixes[0] if len(mixes) == 1 else parser.error(f"--mix: one of {mixes}"))
    drawn = [one for one in manifest.iterate_manifests(corpus.path("runs")) if one.get("kind") == "sample_mix"]
    if not drawn:
        parser.error(f"--corpus: no step of kind sample_mix below {arguments.corpus}/runs")
    cells = pq.read_table(corpus.path(drawn[-1]["artifacts"]["sampled"])).to_pylist()
    return 0 if print_table(cells, *count_written(corpus, mix, drawn[-1]["config"]["topic"])) else 1


if __name__ == "__main__":
    sys.exit(main())
