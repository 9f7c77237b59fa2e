"""Peers of deduplication as commands of their own environments (`make peers`): each removes duplicates of the same JSONL files.

A peer is measured as its users run it, in a fresh process with two workers; the scripts are the shortest that its documentation
allows. They run under the peer's Python, so they stand here as text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

DATATROVE = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer

class SplitTokenizer(WordTokenizer):
    def word_tokenize(self, text):
        return text.split()
    def sent_tokenize(self, text):
        return [text]
    def span_tokenize(self, text):
        return [(0, len(text))]

if __name__ == "__main__":
    source, work, bands, rows, words, num_files = *sys.argv[1:6], int(sys.argv[6])
    config = MinhashConfig(
        hash_config=HashConfig(precision=64), n_grams=5, num_buckets=int(bands), hashes_per_bucket=int(rows)
    )
    signature = MinhashDedupSignature(output_folder=f"{work}/signatures", config=config)
    if words == "whitespace":
        signature.word_tokenizer = SplitTokenizer()
    steps = [
        ([JsonlReader(source), signature], num_files),
        ([MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)], int(bands)),
        ([MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)], 1),
        ([JsonlReader(source), MinhashDedupFilter(f"{work}/remove"), JsonlWriter(f"{work}/output")], num_files),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=min(tasks, 2), logging_dir=f"{work}/logs/{number}"
        ).run()
"""

SIGNATURES = """
import glob, json, sys
kind, permutations = sys.argv[2], int(sys.argv[3])
if kind == "rensa":
    from rensa import RMinHash
    def sign(shingles):
        sketch = RMinHash(num_perm=permutations, seed=1)
        sketch.update(shingles)
        return sketch.digest()
else:
    from datasketch import MinHash
    def sign(shingles):
        sketch = MinHash(num_perm=permutations)
        sketch.update_batch([shingle.encode() for shingle in shingles])
        return sketch.hashvalues
total = 0
for path in sorted(glob.glob(sys.argv[1] + "/*.jsonl")):
    for line in open(path, encoding="utf-8"):
        words = json.loads(line)["text"].split()
        total += len(sign(list({" ".join(words[k : k + 5]) for k in range(max(len(words) - 4, 1))})))
print(total)
"""


# Ours without Spark, as one task of the job reads and hashes, and what the shuffle would find.
EXACT = """
import glob, sys
import numpy as np
import pyarrow as pa
from dedup import exact
from dolma_py import storage
from dolma_py.arrow_buffers import view_text
from dolma_py.formats import FieldMap, Limits, read_any
keys = []
for path in sorted(glob.glob(sys.argv[1] + "/*.jsonl")):
    for event in read_any(path, source="web", limits=Limits(), fields=FieldMap(), added=None, open_stream=storage.open_read):
        assert isinstance(event, pa.RecordBatch), event
        digests = exact.digest_texts(*view_text(event.column("text")))
        keys.append(np.stack([digests.high, digests.low], axis=1))
keys = np.concatenate(keys)
order = np.lexsort(keys.T)
print("copies:", int((keys[order[1:]] == keys[order[:-1]]).all(axis=1).sum()))
"""

BLOOM = "dolma, Bloom filter of texts"


class Peer(NamedTuple):
    """A command of another project."""

    name: str
    package: str  # folder below the peers' environments; empty: this environment
    command: list[str]  # what follows the environment's python


def list_peers(source: Path, work: Path, num_files: int) -> list[Peer]:
    """The commands over a folder of JSONL files; `work` is an empty folder for each to write in."""
    peers = []
    for bands, rows in [(14, 8), (26, 11)]:
        for words in ("whitespace", "spaCy"):
            arguments = [str(source), str(work), str(bands), str(rows), words, str(num_files)]
            peers.append(Peer(f"datatrove {bands} x {rows}, {words}", "datatrove", [str(work / "peer.py"), *arguments]))
        settings = ["--ngram", "5", "--num_perm", str(bands * rows), "--b", str(bands), "--r", str(rows)]
        files = ["--path", "json", "--data_files", f"{source}/*.jsonl", "--split", "train", "--column", "text"]
        where = ["--output", str(work / "output"), "--cache_dir", str(work / "cache"), "--num_proc", "2"]
        command = ["-m", "text_dedup.minhash", *files, *where, *settings, "--hash_func", "xxh3", "--hash_bits", "32"]
        peers.append(Peer(f"text-dedup {bands} x {rows}", "text_dedup", command))
    peers.append(Peer(BLOOM, "dolma", ["-m", "dolma.cli", "-c", str(work / "dolma.json"), "dedupe"]))
    peers.append(Peer("ours, exact keys, 1 process", "", ["-c", EXACT, str(source)]))
    for kind in ("rensa", "datasketch"):
        command = ["-c", SIGNATURES, str(source), kind, "286"]
        package = "datatrove" if kind == "rensa" else ""
        peers.append(Peer(f"{kind} 286, signatures, 1 process", package, command))
    return peers


def write_scripts(source: Path, work: Path) -> None:
    """Scripts that workers import by path, and settings in files; `source` as for list_peers, in a folder called documents."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "peer.py").write_text(DATATROVE)
    bloom = {
        "file": str(work / "bloom.bin"),
        "read_only": False,
        "estimated_doc_count": 10**6,
        "desired_false_positive_rate": 1e-6,
    }
    settings = {
        "documents": [f"{source}/*.jsonl"], "processes": 2, "bloom_filter": bloom,
        "dedupe": {"name": "bloom", "documents": {"attribute_name": "copy", "key": "$.text"}, "skip_empty": True},
    }  # fmt: skip
    (work / "dolma.json").write_text(json.dumps(settings))
