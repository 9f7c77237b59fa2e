"""What a document is, what spans are, and what deduplication writes: the schemas everyone shares."""

from __future__ import annotations

import pyarrow as pa
import xxhash

from dolma_py.errors import SchemaError

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("added", pa.timestamp("us", tz="UTC")),
        pa.field("created", pa.timestamp("us", tz="UTC")),
        pa.field("metadata", pa.string()),  # one JSON object
    ]
)

# start and end are UTF-8 byte positions in the ORIGINAL text, end exclusive
SPAN = pa.struct([pa.field("start", pa.int32()), pa.field("end", pa.int32()), pa.field("score", pa.float32())])
SPANS = pa.list_(SPAN)

DUPLICATE_SCHEMA = pa.schema(
    [
        pa.field("is_duplicate", pa.bool_()),
        pa.field("cluster_id", pa.int64()),  # address of the cluster's first member; see listing.address
        pa.field("cluster_size", pa.int32()),  # 1 for a document without duplicates
        pa.field("kept_id", pa.string()),  # id of the document that stays in this one's place
        # with that one; 1 for exact copies; null where a filter alone has seen it
        pa.field("similarity", pa.float32()),
    ]
)


def make_document_id(source: str, origin: str, text: bytes) -> str:
    """xxh3-128, 32 hex digits, of (source, URL or path, text); the id of a document that came without one."""
    digest = xxhash.xxh3_128()
    for part in (source.encode(), origin.encode("utf-8", "surrogatepass")):
        digest.update(len(part).to_bytes(8, "little") + part)
    digest.update(text)
    return digest.hexdigest()


def check_documents(schema: pa.Schema, path: str) -> None:
    """Raise SchemaError unless the columns every job needs are there in their types."""
    for name in ("id", "text", "source"):
        if name not in schema.names:
            raise SchemaError(name, DOCUMENT_SCHEMA.field(name).type, "no such column", path)
        got, expected = schema.field(name).type, DOCUMENT_SCHEMA.field(name).type
        if got != expected:
            raise SchemaError(name, expected, got, path)
