"""How fast files become batches of documents, on one core, from files in the page cache.

    DOLMA_PY_DATA=DIR python -m benchmarks.readers --scratch DIR

Makes one file of each kind from the pool (209 MB of text), once per scratch folder, and one WARC archive of the labelled pages, each
as often as makes some 100 MB of HTML. MB are 10^6 bytes of text for documents and of HTML for pages; seconds are of the CPU. Beside
each reader: what reading the bytes and taking them apart costs without making documents (orjson over zstandard's stream, pyarrow's
own table, the extractor over pages in memory), and their quotient.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.html_extraction import list_pages
from dolma_py import parquet_files, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.formats import FieldMap, Limits, find_reader
from dolma_py.formats.html import extract_page
from dolma_py.formats.html_extractors import HtmlConfig

HTML_BYTES = 100_000_000
RUNS = 3


def write_pool(scratch: Path, pool: Path) -> dict[str, Path]:
    """The pool as one file of each kind, as Parquet whose metadata have an origin already, and as pyarrow writes it if nothing is asked for:
    snappy and dictionaries, with the row groups of 1,000 rows that many sets of the Hub have."""
    kinds = ("jsonl.zst", "jsonl", "parquet", "origin.parquet", "lz4.parquet", "rows-1000.parquet")
    paths = {kind: scratch / f"pool.{kind}" for kind in kinds}
    if all(path.exists() for path in paths.values()):
        return paths
    lines = []
    for path in sorted(pool.rglob("*.jsonl.zst")):
        with zstandard.open(path, "rb") as stream:
            lines += stream.read().splitlines()
    plain = b"\n".join(lines) + b"\n"
    paths["jsonl"].write_bytes(plain)
    paths["jsonl.zst"].write_bytes(zstandard.ZstdCompressor(level=3).compress(plain))
    for kind, keeps_origin in (
        ("parquet", False),
        ("origin.parquet", True),
    ):  # as others would write it, and as this reader does
        fields = FieldMap(keep_origin=keeps_origin)
        batches = [event for event in read(paths["jsonl"], fields=fields) if isinstance(event, pa.RecordBatch)]
        with parquet_files.open_writer(str(paths[kind]), DOCUMENT_SCHEMA) as writer:
            for table in parquet_files.cut_row_groups(batches, DOCUMENT_SCHEMA):
                parquet_files.write_row_group(writer, table)
    with (
        pq.ParquetFile(paths["parquet"]) as file,
        pq.ParquetWriter(paths["lz4.parquet"], file.schema_arrow, compression="lz4", use_dictionary=False) as writer,
    ):
        for group in range(file.num_row_groups):
            writer.write_table(file.read_row_group(group))
    pq.write_table(
        pq.read_table(paths["parquet"], columns=["id", "text", "source", "created"]),
        paths["rows-1000.parquet"],
        row_group_size=1000,
    )
    return paths


def write_warc(scratch: Path, pages: list[bytes]) -> Path:
    """One gzip member per record, as crawls have them."""
    path = scratch / "pages.warc.gz"
    if path.exists():
        return path
    copies = HTML_BYTES // sum(map(len, pages))
    with path.open("wb") as out:
        for number in range(copies * len(pages)):
            body = pages[number % len(pages)]
            http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            head = (
                "WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http; msgtype=response\r\n"
                f"WARC-Target-URI: https://example.org/{number}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
                f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{number:012d}>\r\nContent-Length: {len(http)}\r\n\r\n"
            )
            out.write(gzip.compress(head.encode() + http + b"\r\n\r\n", 6, mtime=0))
    return path


def read(path: Path, **options: object) -> Iterator[object]:
    """All events of a file's reader."""
    return find_reader(str(path))(
        str(path), source="pool", limits=Limits(), added=None, open_stream=storage.open_read,
        **({"fields": FieldMap()} | options),
    )  # fmt: skip


def drain(events: Iterator[object]) -> int:
    """Bytes of text of all documents."""
    columns = (view_text(event.column("text")) for event in events if isinstance(event, pa.RecordBatch))
    return sum(int(column.offsets[-1] - column.offsets[0]) for column in columns)


def bare_jsonl(path: Path) -> int:
    with zstandard.open(path, "rb") if path.suffix == ".zst" else path.open("rb") as stream:
        return sum(len(orjson.loads(line)["text"]) for line in io.BufferedReader(stream))


def bare_parquet(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        return sum(file.read_row_group(group, use_threads=False).num_rows for group in range(file.num_row_groups))


def measure(name: str, num_mb: float, ours: Callable[[], int], bare: Callable[[], int], bare_name: str) -> None:
    """Print a line; the least of RUNS runs of each, one after the other."""
    best = [float("inf")] * 2
    ours()
    for _ in range(RUNS):
        for number, run in enumerate((ours, bare)):
            begin = time.process_time()
            run()
            best[number] = min(best[number], time.process_time() - begin)
    print(
        f"{name:24s} {num_mb:7.1f} MB {num_mb / best[0]:8.0f} MB/s   {bare_name:32s} {num_mb / best[1]:8.0f} MB/s   quotient {best[1] / best[0]:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True)
    scratch = parser.parse_args().scratch
    data = Path(os.environ["DOLMA_PY_DATA"])
    scratch.mkdir(parents=True, exist_ok=True)
    paths = write_pool(scratch, data / "pool")
    num_mb = drain(read(paths["parquet"])) / 1e6
    for kind, path in paths.items():
        bare, name = (
            (bare_parquet, "pyarrow, all columns")
            if kind.endswith("parquet")
            else (bare_jsonl, "orjson, a line at a time")
        )
        measure(kind, num_mb, lambda path=path: drain(read(path)), lambda path=path, bare=bare: bare(path), name)
    pages = [page.data for page in list_pages(data)]
    warc = write_warc(scratch, pages)
    copies = HTML_BYTES // sum(map(len, pages))
    num_mb = copies * sum(map(len, pages)) / 1e6

    def extract() -> int:
        return sum(len(extract_page(page, Limits()).text) for _ in range(copies) for page in pages)

    measure(
        "warc.gz, resiliparse",
        num_mb,
        lambda: drain(read(warc, settings=HtmlConfig())),
        extract,
        "the extractor, pages in memory",
    )


if __name__ == "__main__":
    main()
