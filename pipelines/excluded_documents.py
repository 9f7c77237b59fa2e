"""Documents that no mix may take: flagged by an attribute, such as contamination, or listed by id, such as an earlier mix's held-out ones.

They keep their cell, so that cells are those of the plan, and give no copy. Addresses of each split are written once and read by whoever draws.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from pydantic import Field

from dolma_py import hashing, parquet_files, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus, evaluate_group
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.decompress import find_codec, iterate_members
from dolma_py.formats.jsonl import iterate_lines
from dolma_py.formats.limits import Limits
from dolma_py.listing import Split, pack_address
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.mix_table import read_column
from pipelines.steps import StepContext, Unit, expand_inputs, split_name, split_params

ADDRESS_SCHEMA = pa.schema([("address", pa.int64())])
HASH_SCHEMA = pa.schema([("id_hash", pa.uint64())])


class ExclusionConfig(Config):
    """Who is never sampled."""

    flags: list[str] = Field(
        default_factory=list,
        description="SET.COLUMN of booleans; true: never sampled, such as contamination-v3.contaminated",
    )
    ids: list[str] = Field(
        default_factory=list,
        description="files, folders and globs of ids that are never sampled: one on a line, or JSON Lines with an `id`; .gz, .zst "
        "and .bz2 too; the folder heldout/ of an earlier mix",
    )


class Excluded(NamedTuple):
    """Addresses by split, and how many documents each reason excludes; one may have several."""

    files: dict[str, str]  # split -> path of ADDRESS_SCHEMA rows, relative to the corpus
    documents: dict[str, int]


def find_excluded(context: StepContext, settings: ExclusionConfig) -> Excluded:
    """Run the phase `excluded`; nothing to do without flags and ids."""
    if not settings.flags and not settings.ids:
        return Excluded({}, {})
    path = f"{context.work}/excluded_ids.parquet"
    hashes = read_ids(context, settings.ids)
    parquet_files.write_table(context.corpus.path(path), pa.table([pa.array(hashes)], schema=HASH_SCHEMA))
    base = {"flags": settings.flags, "ids": path, "work": context.work}
    units = [
        Unit(split_name(split), split_params(context, split) | base, split.text_bytes)
        for split in context.plan_splits()
    ]
    done, _ = context.run_units("excluded", units, exclude_split)
    documents = dict.fromkeys((*settings.flags, *(["ids"] if settings.ids else [])), 0)
    for line in done.units.values():
        for name, number in line["facts"].items():
            documents[name] += number
    return Excluded({name: line["files"][0]["path"] for name, line in done.units.items()}, documents)


def checksum_ids(corpus: Corpus, settings: ExclusionConfig) -> list[str]:
    """Checksums of the files of ids."""
    found = expand_inputs(settings.ids, corpus=corpus, key="exclude.ids").files if settings.ids else []
    return [storage.checksum_file(info.path) for info in found]


def read_ids(context: StepContext, patterns: list[str]) -> np.ndarray:
    """Hashes of the ids in the files, uint64, sorted, each once. DataError for a line that names no document."""
    key = context.setting_key("exclude.ids")
    files = expand_inputs(patterns, corpus=context.corpus, key=key).files if patterns else []
    hashes = [np.empty(0, np.uint64)]
    for info in files:
        with storage.open_read(info.path) as stream:
            events = iterate_members(stream, find_codec(info.path), limits=Limits())
            for block in iterate_lines(events, Limits().max_record_bytes):
                if block.reason:
                    raise DataError(info.path, f"cannot be read ({block.reason})", block.first_line)
                ids = [
                    _read_id(line, info.path, block.first_line + at)
                    for at, line in enumerate(block.lines)
                    if line.strip()
                ]
                hashes.append(hashing.hash_ids(ids, seed=0, name="document"))
    found = np.unique(np.concatenate(hashes))
    if patterns and not len(found):
        raise ConfigError(key, patterns, "expected ids, the files have none")
    return found


def _read_id(line: bytes, path: str, number: int) -> str:
    line = line.strip()
    try:
        if not line.startswith(b"{"):
            return line.decode()
        name = orjson.loads(line)["id"]
    except (orjson.JSONDecodeError, UnicodeDecodeError, KeyError) as error:
        raise DataError(path, f"expected an id, or JSON with one ({type(error).__name__})", number) from error
    if not isinstance(name, str):
        raise DataError(path, f"expected an id that is text, it is {type(name).__name__}", number)
    return name


def exclude_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: addresses of the excluded documents of one split, and their number by reason; reads no text."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    shard = corpus.read_listing().shards[split.shard]
    listed = parquet_files.read_row_groups(corpus.path(params["ids"]), None, None).column("id_hash").to_numpy()
    facts: dict[str, int] = {}
    addresses, first_row = [np.empty(0, np.int64)], split.first_row
    for group in range(split.first_group, split.last_group + 1):
        verdict, keys = evaluate_group(corpus, view, shard, group)
        rows = np.flatnonzero(verdict.failed < 0)
        reasons = {}
        for name in params["flags"]:
            column = read_column(corpus, "exclude.flags", name, shard, group, rows)
            if not pa.types.is_boolean(column.type):
                raise ConfigError("exclude.flags", name, f"expected a column of booleans, it is {column.type}")
            if column.null_count:
                raise DataError(shard.path, f"a document of the view has no value of {name}", hint="Tag this view.")
            reasons[name] = column.to_numpy(zero_copy_only=False)
        if len(listed):
            ids = keys.column("id").take(pa.array(rows)).combine_chunks()
            reasons["ids"] = np.isin(hashing.hash_ids(ids, seed=0, name="document"), listed)
        for name, is_out in reasons.items():
            facts[name] = facts.get(name, 0) + int(is_out.sum())
        is_any = np.logical_or.reduce([np.zeros(len(rows), np.bool_), *reasons.values()])
        addresses.append(pack_address(shard.number, first_row + rows[is_any]))
        first_row += keys.num_rows
    table = pa.table([pa.array(np.concatenate(addresses))], schema=ADDRESS_SCHEMA)

    def write(sink: HashingWriter) -> int:
        return parquet_files.write_rows(sink, ADDRESS_SCHEMA, [table])

    return [
        write_attempt(corpus.root, attempts, f"{params['work']}/excluded/{split_name(split)}.parquet", write)
    ], facts
