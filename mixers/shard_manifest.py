"""A shard folder as a whole: its manifest, and walking its parts back to documents."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py import storage
from dolma_py.errors import DataError
from mixers.shards import PartSummary
from mixers.tokenization import LoadedTokenizer, find_loss

SHARD_FORMAT, SHARD_VERSION = "dolma-py-shards", 1


def build_manifest(
    parts: Sequence[PartSummary],
    *,
    tokenizer: LoadedTokenizer,
    seed: int,
    fingerprint: str,
    heldout: dict[str, dict[str, Any]],
    checksums: dict[str, str],
    mix: dict[str, dict[str, Any]] | None = None,
    fim: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of a shard folder's manifest.json.

    Parameters
    ----------
    parts : summaries of write_part     in order of their numbers
    tokenizer : LoadedTokenizer         saved beside the parts as tokenizer.json
    seed : int                          of the shuffle and the sampling
    fingerprint : str                   of the inputs and settings that made the mix
    heldout : by source                 {"path", "documents", "bytes", "checksum"} of the validation files
    checksums : by path                 of tokenizer.json and lineage.parquet, xxh3-128
    mix : by source                     {"planned_tokens", "planned_share", "rate"} of the plan, "sampled_tokens", "written_tokens"; None
                                        where nothing was planned
    fim : dict                          {"prefix_token_id", "middle_token_id", "suffix_token_id", "documents": {"psm", "spm"}}; None without
                                        fill-in-the-middle
    """
    sources: dict[str, dict[str, int]] = {}
    for part in parts:
        for source, counts in part.sources.items():
            total = sources.setdefault(source, {"tokens": 0, "documents": 0, "bytes": 0})
            for name, count in counts.items():
                total[name] += count
    return {
        "format": SHARD_FORMAT,
        "version": SHARD_VERSION,
        "dtype": tokenizer.dtype.name,
        "vocab_size": tokenizer.vocab_size,
        "eos_token_id": tokenizer.eos_token_id,
        "tokenizer": {
            "path": "tokenizer.json",
            "fingerprint": tokenizer.fingerprint,
            "checksum": checksums["tokenizer.json"],
        },
        "lineage": {"path": "lineage.parquet", "checksum": checksums["lineage.parquet"]},
        "lossless": find_loss(tokenizer) is None,
        "mix": mix,
        "fim": fim,
        "tokens": sum(part.entry["tokens"] for part in parts),
        "documents": sum(part.entry["documents"] for part in parts),
        "seed": seed,
        "fingerprint": fingerprint,
        "files": [part.entry for part in parts],
        "sources": {source: sources[source] for source in sorted(sources)},
        "heldout": {source: heldout[source] for source in sorted(heldout)},
    }


class TokenizedDocument(NamedTuple):
    """One document as it stands in a part."""

    part: str
    start: int  # token offset in the part
    end: int  # exclusive
    id: str
    path: str
    line: int
    tokens: npt.NDArray[np.unsignedinteger]  # (end - start,), the end-of-text token last


def read_documents(folder: str) -> Iterator[TokenizedDocument]:
    """Every document of a shard folder in the order of the parts, walked through the sidecars; for checks and inspection.

    Memory is one part. Checksums are compared on the way.

    Raises
    ------
    DataError       a file differs from its checksum, or its sidecar does not tile it
    """
    manifest = json.loads(storage.read_bytes(storage.join_path(folder, "manifest.json")))
    for entry in manifest["files"]:
        path = storage.join_path(folder, entry["path"])
        sidecar_path = storage.join_path(folder, entry["sidecar"]["path"])
        for file, checksum in ((path, entry["checksum"]), (sidecar_path, entry["sidecar"]["checksum"])):
            if storage.checksum_file(file) != checksum:
                raise DataError(file, "the checksum differs from the manifest's", hint="Write or copy the mix again.")
        tokens = np.frombuffer(storage.read_bytes(path), np.dtype(manifest["dtype"]).newbyteorder("<"))
        text = gzip.decompress(storage.read_bytes(sidecar_path)).decode()
        previous = 0
        for start, end, name, origin, line in csv.reader(io.StringIO(text, newline="")):
            if int(start) != previous or not int(start) < int(end) <= len(tokens):
                raise DataError(sidecar_path, f"row {start},{end} does not follow token {previous}")
            previous = int(end)
            yield TokenizedDocument(
                entry["path"], int(start), previous, name, origin, int(line), tokens[int(start) : previous]
            )
        if previous != len(tokens):
            raise DataError(sidecar_path, f"ends at token {previous} of {len(tokens)}")
