"""Keys that earlier data had: Bloom filters and exact indexes, read before the exact way inside the new data and written after it.

An index is a folder: `index.json` says what was hashed and names its parts, sorted Parquet files of 128-bit digests (`digest`, and the
`id` of the document that stayed, for documents and URLs). index.json is written last, so a folder without it is no index.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator
from pyspark.sql import DataFrame

from dedup import bloom
from dedup.minhash_cost import TYPICAL_TEXT_BYTES
from dolma_py import parquet_files, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.xxh3 import DIGEST, unpack_digests
from pipelines.keyed_files import write_files
from pipelines.shuffles import as_signed, read_frame
from pipelines.steps import StepContext

INDEX_FILE = "index.json"
INDEX_VERSION = 1
PART_KEYS = 1 << 22  # expected in one part of an index
INDEX_KEY_BYTES = 2 * (16 + 36)  # of a key and its document's id, in the part that a task writes and in the index
BUCKET = pa.field("bucket", pa.int32())


def _as_paths(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class BloomConfig(Config):
    """Filters of keys; a path may begin with {corpus}."""

    save: str | None = Field(None, description="file for a filter of the keys of everything that stays")
    against: tuple[str, ...] = Field((), description="filters of earlier data: what they have seen is a duplicate")
    false_positive_share: float = Field(
        1e-5, gt=0.0, lt=1.0, description="of new keys that the saved filter will take for seen; sets its size"
    )
    _one = field_validator("against", mode="before")(_as_paths)


class IndexConfig(Config):
    """Exact indexes of keys; a path may begin with {corpus}."""

    save: str | None = Field(None, description="folder for the sorted keys of everything that stays")
    against: tuple[str, ...] = Field((), description="indexes of earlier data: what they hold is a duplicate")
    _one = field_validator("against", mode="before")(_as_paths)


class Seen(NamedTuple):
    """What a job looks up and leaves, and what its keys are made of."""

    bloom: BloomConfig
    index: IndexConfig
    keys: dict[str, Any]


def find_path(corpus: Corpus, path: str) -> str:
    """Where a setting's path lies."""
    return storage.resolve_path(path.replace("{corpus}", corpus.root))


def fingerprint_seen(corpus: Corpus, bloom_config: BloomConfig, index_config: IndexConfig) -> dict[str, str]:
    """Checksums of what is looked up: it decides the output, whatever its path."""
    marks = {path: bloom.read_header(find_path(corpus, path))["checksum"] for path in bloom_config.against}
    for path in index_config.against:
        marks[path] = json.dumps([file["checksum"] for file in read_index(find_path(corpus, path), None)["files"]])
    return marks


def check_seen(corpus: Corpus, seen: Seen) -> dict[str, str]:
    """Path -> checksum of the filters. Raises before any work when a filter or index is missing, damaged or of other keys.

    Every byte of them is read here once.
    """
    paths = [find_path(corpus, path) for path in seen.bloom.against]
    marks = {path: bloom.check_filter(path, seen.keys)["checksum"] for path in paths}
    for folder in (find_path(corpus, path) for path in seen.index.against):
        for file in read_index(folder, seen.keys)["files"]:
            path = storage.join_path(folder, file["path"])
            if storage.checksum_file(path) != file["checksum"]:
                raise DataError(path, "not the bytes written", hint="Make it again.")
    return marks


def asked_bytes(corpus: Corpus, config: BloomConfig, num_keys: int) -> int:
    """Of the filters that are asked, which the tasks of a machine map together.

    One that is not there yet counts as what `num_keys` keys would take: an earlier step may be about to save it.
    """
    found = {path: storage.file_bytes(find_path(corpus, path)) for path in config.against}
    return sum(_planned_bytes(config, num_keys) if size is None else size for size in found.values())


def saved_bytes(config: BloomConfig, num_keys: int) -> int:
    """What the driver holds while it fills the filter that is to be saved and measures it: the filter and an eighth."""
    return 0 if config.save is None else _planned_bytes(config, num_keys) * 9 // 8


def seen_disk_bytes(corpus: Corpus, bloom_config: BloomConfig, index_config: IndexConfig, num_keys: int) -> int:
    """What is saved of `num_keys` keys, and the copies of remote filters that are asked: once on each machine, in Spark's local folder."""
    remote = [path for path in bloom_config.against if storage.is_remote(find_path(corpus, path))]
    copies = asked_bytes(corpus, bloom_config.model_copy(update={"against": tuple(remote)}), num_keys)
    saved_filter = 0 if bloom_config.save is None else _planned_bytes(bloom_config, num_keys)
    saved_index = 0 if index_config.save is None else INDEX_KEY_BYTES * num_keys
    return copies + saved_filter + saved_index


def expect_documents(corpus: Corpus, text_bytes: int) -> int:
    """How many documents `text_bytes` of text are, as long as those of the corpus; as web pages where it has none."""
    listing = corpus.read_listing()
    if listing.rows and listing.text_bytes:
        return round(text_bytes * listing.rows / listing.text_bytes)
    return text_bytes // TYPICAL_TEXT_BYTES


def _planned_bytes(config: BloomConfig, num_keys: int) -> int:
    some_keys = 4 * bloom.BLOCK_BITS  # whose filter has no rounding
    return bloom.plan_filter(some_keys, config.false_positive_share)[0] * bloom.BLOCK_BYTES * num_keys // some_keys


def read_index(path: str, keys: dict[str, Any] | None) -> dict[str, Any]:
    """The header of an index. DataError when there is none or its files are not those written, ConfigError for other keys."""
    name = storage.join_path(path, INDEX_FILE)
    if storage.file_bytes(name) is None:
        raise DataError(path, f"no index: {INDEX_FILE} is missing", hint="Give the folder that index.save had.")
    try:
        header: dict[str, Any] = json.loads(storage.read_bytes(name))
        version, kind = header["version"], header["keys"]
        sizes = [(file["path"], file["bytes"], file["checksum"]) for file in header["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(name, f"not the header of an index ({error})", hint="Make it again.") from error
    if version != INDEX_VERSION:
        raise DataError(name, f"an index of version {version}, this program reads version {INDEX_VERSION}")
    for file, num_bytes, _ in sizes:
        if storage.file_bytes(storage.join_path(path, file)) != num_bytes:
            raise DataError(storage.join_path(path, file), f"not the {num_bytes} bytes written", hint="Make it again.")
    if keys is not None and kind != keys:
        raise ConfigError(
            "index.against", kind, f"expected an index of {keys}", "Use the settings it was made with.", path
        )
    return header


def read_indexes(context: StepContext, seen: Seen, schema: str, fields: list[pa.Field]) -> DataFrame | None:
    """Rows of `fields` for all keys of the indexes: high, low, id where asked for, `seen` true, 0 for members and -1 for addresses.

    check_seen has read every byte of them.
    """
    paths = []
    for folder in (find_path(context.corpus, path) for path in seen.index.against):
        files = read_index(folder, seen.keys)["files"]
        paths += [storage.join_path(folder, file["path"]) for file in files]
    if not paths:
        return None

    def spread(table: pa.Table) -> pa.Table:
        high, low = unpack_digests(table.column("digest"))
        known = {"high": as_signed(high), "low": as_signed(low), "seen": pa.array(np.ones(len(high), np.bool_))}
        known |= {"members": pa.array(np.zeros(len(high), np.int64))}
        known |= {name: pa.array(np.full(len(high), -1, np.int64)) for name in ("first", "address")}
        known |= {"id": table.column("id")} if "id" in table.column_names else {}
        return pa.table(
            [known.get(field.name, pa.nulls(len(high), field.type)) for field in fields], schema=pa.schema(fields)
        )

    columns = ["digest", "id"] if any(field.name == "id" for field in fields) else ["digest"]
    return read_frame(context, paths, columns, schema=schema, transform=spread)


def count_buckets(num_keys: int) -> int:
    """Bits of a digest that choose a part, so that a part has about PART_KEYS keys."""
    return max(0, math.ceil(math.log2(max(1, num_keys) / PART_KEYS)))


def bucket_of(high: np.ndarray, num_bits: int) -> np.ndarray:
    """The part of each key, int32 (N,): parts in their order hold digests in theirs."""
    return (high >> np.uint64(64 - num_bits)).astype(np.int32) if num_bits else np.zeros(len(high), np.int32)


def save_seen(
    context: StepContext, seen: Seen, kept: DataFrame, *, with_ids: bool
) -> tuple[dict[str, int], dict[str, Any]]:
    """Write what the settings ask for from a frame of (bucket, digest, id); returns (files -> bytes, facts).

    Executors sort the keys into parts; the driver copies them to the index and puts them into the filter one row group at a time:
    its memory is the filter (saved_bytes). Bits are or-ed, so their order changes nothing.
    """
    schema = pa.schema([pa.field("digest", DIGEST), *([pa.field("id", pa.string())] if with_ids else [])])
    line = write_files(
        context, kept, phase="kept", key="bucket", order=["digest"], schema=schema, count=lambda table: {"kept_keys": table.num_rows}
    )  # fmt: skip
    num_keys = int(line["facts"].get("kept_keys", 0))
    files: dict[str, int] = {}
    facts: dict[str, Any] = {"kept_keys": num_keys}
    if seen.index.save is not None:
        files |= _save_index(
            context.corpus, find_path(context.corpus, seen.index.save), seen.keys, line["files"], num_keys
        )
    if seen.bloom.save is not None:
        made = bloom.make_filter(num_keys, seen.bloom.false_positive_share, seen.keys)
        for file in line["files"]:
            with parquet_files.open_parquet(context.corpus.path(file["path"])) as part:
                for group in range(part.num_row_groups):
                    bloom.insert_keys(
                        made, *unpack_digests(part.read_row_group(group, columns=["digest"]).column("digest"))
                    )
        path = find_path(context.corpus, seen.bloom.save)
        files[_relative(context.corpus, path)] = bloom.save_filter(path, made)
        facts["bloom"] = {
            "blocks": len(made.bits),
            "hashes": made.num_hashes,
            "false_positive_share": bloom.measure_share(made),
        }
    return files, facts


def _save_index(
    corpus: Corpus, folder: str, keys: dict[str, Any], parts: list[dict[str, Any]], num_keys: int
) -> dict[str, int]:
    header_path = storage.join_path(folder, INDEX_FILE)
    storage.remove_file(header_path)  # not an index until all is there
    files, made = {}, []
    for part in parts:
        name = part["path"].rsplit("/", 1)[1]
        path = storage.join_path(folder, name)
        with storage.open_read(corpus.path(part["path"])) as source, storage.write_file(path) as target:
            while chunk := source.read(storage.CHUNK_BYTES):
                target.write(chunk)
        files[_relative(corpus, path)] = part["bytes"]
        made.append({"path": name, "bytes": part["bytes"], "rows": part["rows"], "checksum": part["checksum"]})
    header = {"version": INDEX_VERSION, "hash": "xxh3-128, seed 0", "keys": keys, "num_keys": num_keys, "files": made}
    content = json.dumps(header, sort_keys=True, indent=1).encode() + b"\n"
    storage.write_bytes(header_path, content)
    return files | {_relative(corpus, header_path): len(content)}


def _relative(corpus: Corpus, path: str) -> str:
    """A path as a manifest has it: relative inside the corpus, itself elsewhere."""
    return path.removeprefix(corpus.root + "/")
