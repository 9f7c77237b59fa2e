"""A corpus k times as large as a given one: k copies of every document, in each but the first 30% of the words are other words.

A replaced word is another one of the same length, chosen by a hash of (word, copy), so that it is the same wherever the word
stands: near-duplicates within a copy stay near-duplicates, documents of different copies have some 0.09 of their word 5-grams in
common. The same bytes in every run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from dolma_py.arrow_buffers import view_text

REPLACED_PERCENT = 30
FACTOR = np.uint64(0x9E3779B97F4A7C15)
U0, U1, U6, U29, U37, U63, U100 = (np.uint64(value) for value in (0, 1, 6, 29, 37, 63, 100))


@njit(cache=True)
def replace_words(data, copy, percent, out):
    """Write data uint8 (B,) to out uint8 (B,) with about `percent` of the words replaced.

    A word is a run of ASCII letters, digits and bytes from 128 up; each character of three bytes is a word of its own, since
    most of these scripts write no spaces. ASCII letters become letters of the same case, the last byte of a wider character
    another continuation byte, all else stays, so valid UTF-8 stays valid.
    """
    salt = np.uint64(copy) * FACTOR
    i = 0
    while i < len(data):
        start = i
        if data[i] >= 0xE3 and data[i] <= 0xEF and i + 3 <= len(data):
            i += 3
        else:
            while i < len(data) and _in_word(data[i]):
                i += 1
        if i == start:
            out[i] = data[i]
            i += 1
            continue
        state = salt
        for k in range(start, i):
            state = (state ^ np.uint64(data[k] | 32)) * FACTOR
            state ^= state >> U29
        is_replaced = (state >> U37) % U100 < np.uint64(percent)
        for k in range(start, i):
            out[k] = data[k]
            if is_replaced:
                state = state * FACTOR + U1
                out[k] = _other_byte(data, k, state >> U37)


@njit(cache=True)
def _in_word(byte):
    is_letter = (byte | 32) >= 97 and (byte | 32) <= 122
    return is_letter or (byte >= 48 and byte <= 57) or (byte >= 128 and byte < 0xE3) or byte > 0xEF


@njit(cache=True)
def _other_byte(data, k, bits):
    byte = data[k]
    if (byte | 32) >= 97 and (byte | 32) <= 122:
        first = byte & 0xE0 | 1
        return np.uint8(first + (np.uint64(byte - first) + U1 + bits % np.uint64(25)) % np.uint64(26))
    is_last = k + 1 == len(data) or (data[k + 1] & 0xC0) != 0x80
    if byte >= 0x80 and byte < 0xC0 and is_last:
        return np.uint8(byte ^ np.uint8(bits & U63))
    return byte


def copy_texts(texts: pa.Array, copy: int, percent: int = REPLACED_PERCENT) -> pa.Array:
    """The texts of one copy; copy 0 is the original."""
    if copy == 0:
        return texts
    view = view_text(texts)
    out = np.empty(int(view.offsets[-1]), np.uint8)
    replace_words(view.data[: len(out)], copy, percent, out)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(view.offsets), pa.py_buffer(out))


def write_copies(sources: list[Path], folder: Path, num_copies: int) -> list[Path]:
    """One Parquet file per copy, from Parquet files of documents (id, text, source); files that are there are left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for copy in range(num_copies):
        path = folder / f"copy-{copy:02d}.parquet"
        paths.append(path)
        if path.exists():
            continue
        partial = path.with_suffix(".partial")
        schema = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("source", pa.string())])
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for source in sources:
                for batch in pq.ParquetFile(source).iter_batches(4096, columns=["id", "text", "source"]):
                    ids = pa.array([f"{name}-{copy}" for name in batch.column("id").to_pylist()])
                    texts = copy_texts(batch.column("text").cast(pa.large_string()), copy)
                    columns = [ids, texts, batch.column("source").cast(pa.string())]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
        partial.rename(path)
    return paths
