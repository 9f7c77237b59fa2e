"""MB/s per core from texts to finished shard arrays, beside plain `tokenizers` in the same run.

    python -m benchmarks.tokenize_text [--megabytes 12] [--repeats 5] [--vocab-size 8192]

Text: the Python standard library's own source files. Lines: the peer's encode_batch_fast alone (no ids taken out); ours up to flat
arrays with end tokens; ours through pieces, sorting, part and sidecar. One thread, processor time, rounds taken in turn so
that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pyarrow as pa

from dolma_py.hashing import hash_ids
from mixers import shards, tokenization


def read_texts(num_bytes: int) -> list[str]:
    """Standard library sources in path order until num_bytes are reached."""
    texts, total = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts or total >= num_bytes:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        texts.append(text)
        total += len(text.encode())
    return texts


def run_peer(tokenizer: tokenization.LoadedTokenizer, texts: list[str]) -> int:
    """encode_batch_fast by pieces of a megabyte, which is its best; returns tokens."""
    tokens, batch, size = 0, [], 0
    for text in [*texts, None]:
        if text is None or size > 1 << 20:
            tokens += sum(map(len, tokenizer.backend.encode_batch_fast(batch, add_special_tokens=False)))
            batch, size = [], 0
        if text is not None:
            batch.append(text)
            size += len(text)
    return tokens


def run_shards(tokenizer: tokenization.LoadedTokenizer, texts: list[str], num_buckets: int = 4) -> int:
    """Encode, write pieces by bucket, read, sort and write parts, all in memory; returns bytes of the token files."""
    ids, offsets = tokenization.encode_batch(tokenizer, texts)
    num_docs = len(texts)
    names = [f"doc-{i}" for i in range(num_docs)]
    copy = np.zeros(num_docs, np.int32)
    keys = shards.order_hash(hash_ids(names, seed=0, name="mix"), copy=copy, seed=0)
    lengths = pa.array(np.array([len(text) for text in texts], np.int64))
    rows = pa.array(np.arange(num_docs))
    sources = pa.array(["code"] * num_docs, pa.string())
    columns = [
        pa.array(keys),
        pa.array(names, pa.string()),
        pa.array(copy),
        sources,
        sources,
        rows,
        pa.array(copy),
        rows,
    ]
    columns += [lengths, shards.build_tokens(ids, offsets)]
    batch = pa.RecordBatch.from_arrays(columns, schema=shards.PIECE_SCHEMA)
    buckets = shards.bucket_of(keys, num_buckets)
    written = 0
    for bucket in range(num_buckets):
        piece, tokens, sidecar = io.BytesIO(), io.BytesIO(), io.BytesIO()
        shards.write_piece([batch.take(pa.array(np.flatnonzero(buckets == bucket)))], piece)
        piece.seek(0)
        shards.write_part(
            [shards.read_piece(piece)],
            part=bucket,
            dtype=tokenizer.dtype,
            eos_token_id=tokenizer.eos_token_id,
            token_sink=tokens,
            sidecar_sink=sidecar,
        )
        written += tokens.tell()
    return written


def measure_copy_rate() -> float:
    """MB/s of one core copying 64 MiB of memory, the best of five."""
    source = np.ones(64 << 20, np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - began)
    return len(source) / 1e6 / best


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--vocab-size", type=int, default=8192)
    arguments = parser.parse_args()
    texts = read_texts(arguments.megabytes * 1_000_000)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    began = time.process_time()
    config = tokenization.BpeConfig(vocab_size=arguments.vocab_size)
    tokenizer = tokenization.build_tokenizer(tokenization.train_bpe(texts, config))
    print(f"text {megabytes:.1f} MB, {len(texts)} documents; training {time.process_time() - began:.1f} s of processor")
    ways: dict[str, Callable[[], int]] = {
        "tokenizers encode_batch_fast (peer)": lambda: run_peer(tokenizer, texts),
        "encode_batch to flat arrays": lambda: len(tokenization.encode_batch(tokenizer, texts)[0]),
        "encode_batch to shards": lambda: run_shards(tokenizer, texts),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    counts = {name: way() for name, way in ways.items()}  # the first round warms caches
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            began = time.process_time()
            way()
            rates[name].append(megabytes / (time.process_time() - began))
    peer = statistics.median(rates["tokenizers encode_batch_fast (peer)"])
    copy_rate = measure_copy_rate()
    for name, values in rates.items():
        middle = statistics.median(values)
        print(
            f"{name:38s} {middle:6.2f} MB/s per core (min {min(values):.2f}, max {max(values):.2f}), {middle / peer:.2f} of "
            f"the peer, {middle / copy_rate:.5f} of the copy rate, count {counts[name]}"
        )


if __name__ == "__main__":
    main()
