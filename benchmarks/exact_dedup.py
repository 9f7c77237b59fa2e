"""The exact family per core: digests, URLs, lines, Bloom filters; from memory, from Parquet and from JSONL, per document size.

    python -m benchmarks.exact_dedup

Prints MB/s of one thread (CPU time, best of several runs, so that a busy machine does not change it much), bytes moved, and their share
of what np.copyto moves on this machine in the same run. Made text of words drawn by Zipf's law; the last word of a document is its number.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import xxhash
import zstandard

from benchmarks.minhash_signatures import copy_rate, join_texts, make_text, measure_sec
from dedup import bloom, exact, paragraphs, urls
from dolma_py import parquet_files, storage
from dolma_py.arrow_buffers import TextView, build_text, view_text
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats import FieldMap, Limits, read_any

NUM_BYTES = 16_000_000
DOCUMENT_BYTES = (20, 200, 2_000, 20_000)


def cut_text(text: bytes, num_bytes: int) -> TextView:
    """Documents of about `num_bytes` each, all different."""
    pieces = [text[at : at + num_bytes - 9] for at in range(0, NUM_BYTES, num_bytes)]
    return join_texts([b"%s %08d" % (piece, number) for number, piece in enumerate(pieces)])


def hash_by_calls(view: TextView) -> None:
    """The library, one call per document: what the kernel replaces."""
    data, bounds = memoryview(view.data), view.offsets.tolist()
    for start, end in zip(bounds, bounds[1:], strict=False):
        xxhash.xxh3_128_digest(data[start:end])


def write_files(folder: Path, view: TextView) -> tuple[str, str]:
    """The documents as Parquet in row groups of 16 MiB and as zstd-compressed JSON lines."""
    texts = build_text(*view)
    count = len(texts)
    ids = pa.array([f"{number:08d}" for number in range(count)])
    nulls = [pa.nulls(count, field.type) for field in list(DOCUMENT_SCHEMA)[3:]]
    table = pa.table([ids, texts, pa.array(["web"] * count), *nulls], schema=DOCUMENT_SCHEMA)
    parquet = str(folder / "part.parquet")
    with open(parquet, "wb") as sink, parquet_files.open_writer(sink, DOCUMENT_SCHEMA) as writer:
        for group in parquet_files.cut_row_groups(table.to_batches(), DOCUMENT_SCHEMA):
            parquet_files.write_row_group(writer, group)
    lines = [
        json.dumps({"id": row["id"], "text": row["text"], "source": "web"})
        for row in table.select(["id", "text"]).to_pylist()
    ]
    jsonl = str(folder / "part.jsonl.zst")
    Path(jsonl).write_bytes(zstandard.ZstdCompressor(3).compress("\n".join(lines).encode()))
    return parquet, jsonl


def digest_parquet(path: str) -> None:
    with parquet_files.open_parquet(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["id", "text", "source"], use_threads=False)
            exact.digest_texts(*view_text(table.column("text")))


def digest_jsonl(path: str) -> None:
    for event in read_any(
        path, source="web", limits=Limits(), fields=FieldMap(), added=None, open_stream=storage.open_read
    ):
        assert isinstance(event, pa.RecordBatch), event
        exact.digest_texts(*view_text(event.column("text")))


def print_rows(steps: list[tuple[str, Callable[[], object], int, int]], rate: float, count: int) -> None:
    for name, action, num_bytes, moved in steps:
        sec = measure_sec(action, 3)
        print(
            f"  {name:42s} {num_bytes / sec / 1e6:9.0f} {sec / count * 1e9:9.0f} {moved / 1e6:9.0f} {moved / sec / rate:9.3f}"
        )


def main() -> None:
    text = bytes(make_text(NUM_BYTES + DOCUMENT_BYTES[-1]).data)
    rate = copy_rate()
    print(f"copy rate of this machine: {rate / 1e9:.1f} GB/s (np.copyto, read + written)")
    print(f"{'':44s} {'MB/s/core':>9s} {'ns/item':>9s} {'moved MB':>9s} {'of copy':>9s}")
    for size in DOCUMENT_BYTES:
        view = cut_text(text, size)
        num_bytes, count = len(view.data), len(view.offsets) - 1
        print(f"{count} documents of {size} bytes")
        with tempfile.TemporaryDirectory() as folder:
            parquet, jsonl = write_files(Path(folder), view)
            moved = num_bytes + 16 * count
            print_rows([
                ("xxh3-128, raw", lambda view=view: exact.digest_texts(*view), num_bytes, moved),
                ("xxh3-128, one call per document", lambda view=view: hash_by_calls(view), num_bytes, moved),
                ("xxh3-128, normalised", lambda view=view: exact.digest_texts(*view, text="normalised"), num_bytes, moved + 2 * num_bytes),
                ("Parquet to digests, raw", lambda path=parquet: digest_parquet(path), num_bytes, moved + 2 * num_bytes),
                ("JSONL.zst to digests, raw", lambda path=jsonl: digest_jsonl(path), num_bytes, moved + 4 * num_bytes),
            ], rate, count)  # fmt: skip
    print("others")
    lines = join_texts([text[at : at + 60] for at in range(0, NUM_BYTES, 60)])
    document = join_texts([b"\n".join(text[at : at + 60] for at in range(0, NUM_BYTES, 60))])
    count = len(lines.offsets) - 1
    raw = paragraphs.ParagraphConfig(unit="line", min_words=0)
    long = paragraphs.ParagraphConfig(unit="line")
    keys = exact.digest_texts(*lines)
    made = bloom.make_filter(count, 1e-5, {})
    links = [[f"http://www.example.org/{number}/page?utm_source=mail&id={number}#top" for number in range(50_000)]]
    print_rows([
        ("lines of 60 bytes, raw", lambda: paragraphs.digest_units(*document, paragraphs=raw), NUM_BYTES, NUM_BYTES + 40 * count),
        ("lines of 60 bytes, 10 words or more", lambda: paragraphs.digest_units(*document, paragraphs=long), NUM_BYTES, 3 * NUM_BYTES),
        (f"Bloom, {made.bits.nbytes / 1e6:.1f} MB, insert", lambda: bloom.insert_keys(made, keys.high, keys.low), 16 * count, 80 * count),
        ("Bloom, find", lambda: bloom.find_keys(made, keys.high, keys.low), 16 * count, 80 * count),
    ], rate, count)  # fmt: skip
    link_bytes = sum(map(len, links[0]))
    print_rows(
        [("URLs to keys", lambda: urls.digest_urls(links, urls.UrlRules()), link_bytes, link_bytes)],
        rate,
        len(links[0]),
    )


if __name__ == "__main__":
    main()
