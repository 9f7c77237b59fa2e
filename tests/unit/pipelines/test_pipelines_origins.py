"""From a line of a sidecar back to the input: a line of JSON at once, a page of a WARC file by way of its shard and row."""

from __future__ import annotations

import gzip
import io
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from dolma_py.formats import FieldMap, Limits
from dolma_py.formats.warc import read_documents
from pipelines.encode_split import _origins

PAGE = (
    b"<html><head><title>T</title></head><body><main>"
    + b"<p>Hello world, this is a page.</p>" * 20
    + b"</main></body></html>"
)
SHARD = "documents/web/part-00000.parquet"


def make_record(url: str) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2020-01-02T03:04:05Z\r\n"
        f"WARC-Record-ID: <urn:uuid:{url}>\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"


def origins_of(documents: pa.RecordBatch) -> list[tuple[str, int]]:
    batch = SimpleNamespace(addresses=np.arange(documents.num_rows), shard=SimpleNamespace(path=SHARD))
    paths, lines = _origins(documents, batch, np.arange(documents.num_rows))
    return list(zip(paths.to_pylist(), lines.to_pylist(), strict=True))


def test_a_line_of_json_is_named_at_once():
    documents = pa.RecordBatch.from_pylist([{"metadata": '{"origin":"a/b.jsonl.zst:7"}'}, {"metadata": None}])
    assert origins_of(documents) == [("a/b.jsonl.zst", 7), (SHARD, 2)]


def test_a_page_leads_by_shard_and_row_to_its_record():
    data = b"".join(gzip.compress(make_record(f"http://a/{number}")) for number in range(3))
    batches = read_documents(
        "/in/a.warc.gz", source="web", limits=Limits(), fields=FieldMap(), added=None,
        open_stream=lambda path: io.BytesIO(data), root="/in",
    )  # fmt: skip
    documents = pa.Table.from_batches(list(batches)).combine_chunks().to_batches()[0]
    assert origins_of(documents) == [(SHARD, 1), (SHARD, 2), (SHARD, 3)]
    for path, line in origins_of(documents):
        metadata = json.loads(documents.column("metadata")[line - 1].as_py())
        assert (path, metadata["warc_path"]) == (SHARD, "a.warc.gz")
        record = gzip.decompress(data)[metadata["warc_offset_bytes"] :]
        assert record.startswith(make_record(metadata["url"]))
