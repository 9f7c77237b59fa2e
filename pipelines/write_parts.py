"""Pass 2 of make_tokens, one task: a part of the shuffle from the files of pass 1, or the held-out documents of a source.

Memory of a task: a bucket's rows twice, 8 bytes a token; or `max_heldout_docs` documents.
"""

from __future__ import annotations

import bisect
import functools
import gzip
import io
import json
from typing import Any

from dolma_py import storage
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from mixers import piece_files, shards
from mixers.shards import PartSummary
from pipelines.encode_split import write_lines
from pipelines.merged_lineage import write_run
from pipelines.named_tokenizers import cached_tokenizer


def write_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """A part, or a source's held-out documents."""
    return write_heldout(params, attempts) if "heldout" in params else write_bucket(params, attempts)


def write_bucket(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """Sort one bucket into part-NNNNN.npy, its sidecar, and its rows of the lineage."""
    root, bucket, num_buckets = params["root"], params["bucket"], params["num_buckets"]
    tokenizer = cached_tokenizer(params["tokenizer"], params["tokenizer_checksum"], params["eos_token"])
    listed = json.loads(storage.read_bytes(storage.join_path(root, params["pieces"])))
    num_ranges = listed["num_ranges"]
    first, end = piece_files.find_ranges(bucket, num_buckets, num_ranges)
    pieces = []
    for path in listed["paths"]:
        table = piece_files.read_ranges(storage.join_path(root, path), first, end, num_ranges)
        pieces.append(piece_files.keep_bucket(table, bucket, num_buckets))
    sidecar = io.BytesIO()
    kept: list[PartSummary] = []

    def write_tokens(sink: HashingWriter) -> int:
        kept.append(shards.write_part(
            pieces, part=bucket, dtype=tokenizer.dtype, eos_token_id=tokenizer.eos_token_id, token_sink=sink, sidecar_sink=sidecar,
        ))  # fmt: skip
        return int(kept[0].entry["documents"])

    base = f"{params['out']}/part-{bucket:05d}"
    files = [write_attempt(root, attempts, f"{base}.npy", write_tokens)]
    content = sidecar.getvalue()
    files.append(
        write_attempt(root, attempts, f"{base}.csv.gz", functools.partial(write_lines, content, files[0].rows))
    )
    lineage = functools.partial(write_run, lineage=kept[0].lineage)
    files.append(write_attempt(root, attempts, f"{params['work']}/lineage/part-{bucket:05d}.parquet", lineage))
    return files, {"entry": kept[0].entry, "sources": kept[0].sources}


def write_heldout(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One source's held-out documents with the smallest hashes, in that order. Of a split's file it reads what may be among them."""
    root, source, most = params["root"], params["heldout"], params["max_docs"]
    lines: list[bytes] = []
    for name in params["splits"]:
        path = storage.join_path(root, params["work"], "heldout", name, f"{storage.safe_name(source)}.jsonl")
        with storage.open_read(path) as stream:
            for line in stream:  # the smallest hash first
                if len(lines) == most and line >= lines[-1]:
                    break
                bisect.insort(lines, line)
                del lines[most:]
    documents = [line[21:] for line in lines]  # behind the hash; each with its line feed
    num_bytes = sum(len(json.loads(line)["text"].encode()) for line in documents)

    def write(sink: HashingWriter) -> int:
        with gzip.GzipFile(fileobj=sink, mode="wb", filename="", mtime=0, compresslevel=6) as zipped:  # type: ignore[call-overload]
            zipped.write(b"".join(documents))
        return len(documents)

    relative = f"heldout/{storage.safe_name(source)}.jsonl.gz"
    files = [write_attempt(root, attempts, f"{params['out']}/{relative}", write)]
    return files, {
        "source": source,
        "heldout": {"path": relative, "documents": len(documents), "bytes": num_bytes, "checksum": files[0].checksum},
    }
