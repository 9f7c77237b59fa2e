"""Slow twin of mixers.shards and mixers.shard_manifest: lists, sorted(), struct and csv; reads a folder by itself."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import struct

MASK = (1 << 64) - 1


def mix64(key):
    """The splitmix64 finaliser."""
    state = (key + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def order_hash(id_hash, *, copy, copies, order_seed, copy_seed):
    """Place of one copy; copies None: no spreading."""
    base = mix64(id_hash ^ mix64(order_seed))
    jitter = mix64(((base + copy) & MASK) ^ mix64(copy_seed))
    if copies is None:
        return jitter
    if copies == 1:
        return base
    slot = MASK // copies
    return (base + copy * slot + jitter % (slot // 2 + 1)) & MASK


def bucket_of(key, num_buckets):
    """Which of num_buckets equal ranges of the upper 32 bits."""
    return (key >> 32) * num_buckets // (1 << 32)


def write_part(rows, *, dtype):
    """(token bytes, sidecar text, spans) of rows {key, id, copy, path, line, tokens}."""
    letter = {"uint16": "H", "uint32": "I"}[dtype]
    tokens, text, spans, place = b"", io.StringIO(newline=""), [], 0
    writer = csv.writer(text, lineterminator="\n")
    for row in sorted(rows, key=lambda r: (r["key"], r["id"].encode(), r["copy"])):
        tokens += struct.pack(f"<{len(row['tokens'])}{letter}", *row["tokens"])
        end = place + len(row["tokens"])
        writer.writerow([place, end, row["id"], row["path"], row["line"]])
        spans.append((row["id"], row["copy"], place, end))
        place = end
    return tokens, text.getvalue(), spans


def read_documents(folder):
    """(part, start, end, id, path, line, token list) of every document, straight from the files."""
    documents = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".npy"):
            continue
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
            letter = {"uint16": "H", "uint32": "I"}[json.load(file)["dtype"]]
        with open(os.path.join(folder, name), "rb") as file:
            raw = file.read()
        tokens = struct.unpack(f"<{len(raw) // struct.calcsize(letter)}{letter}", raw)
        with gzip.open(
            os.path.join(folder, name.replace(".npy", ".csv.gz")), "rt", encoding="utf-8", newline=""
        ) as file:
            for start, end, document, path, line in csv.reader(file):
                span = list(tokens[int(start) : int(end)])
                documents.append((name, int(start), int(end), document, path, int(line), span))
    return documents
