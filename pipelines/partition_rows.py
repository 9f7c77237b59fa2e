"""The narrow rows of a partition by quality, and the passes over them: tasks without Spark, one for each split of the view.

A row is a document's group, its key of 96 bits (score, id hash), its weight and sizes. Groups are numbered within a split; the receipt of its
rows names them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py import hashing, parquet_files, storage
from dolma_py.config import Config
from dolma_py.corpus import Corpus, evaluate_group
from dolma_py.errors import ConfigError
from dolma_py.listing import Shard, Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from mixers import quality_thresholds
from mixers.quality_thresholds import Bins, Keys, Thresholds
from pipelines.mix_table import read_column, read_tokens, read_topics
from pipelines.mix_tasks import merge_places, sum_by_place
from pipelines.steps import Rule, split_name

ROW_SCHEMA = pa.schema([
    ("group", pa.int32()), ("high", pa.uint32()), ("low", pa.uint64()), ("weight", pa.int64()), ("tokens", pa.int64()), ("bytes", pa.int64()),
])  # fmt: skip
DIGIT_SCHEMA = pa.schema([("place", pa.int64()), ("weight", pa.int64()), ("count", pa.int64())])
SUM_SCHEMA = pa.schema(
    [("place", pa.int64()), ("documents", pa.int64()), ("tokens", pa.int64()), ("bytes", pa.int64())]
)
VIGINTILES = 20


class PartitionConfig(Config):
    """What a document is ranked by, and inside what."""

    score: str = Field(
        default="quality-v1.score", description="SET.COLUMN with quality, higher is better; float64 is read as float32"
    )
    topic: str | None = Field(
        default=None,
        description="SET.COLUMN with the topic's name; null: documents are ranked within their source alone",
    )
    by_source: bool = Field(
        default=True, description="whether each source is ranked by itself; false: a topic is ranked over all sources"
    )
    weight: Literal["tokens", "documents"] = Field(
        default="tokens",
        description="what is equal in all buckets of a group; tokens as in the Olmo 3 report, or documents",
    )
    tokens: str | None = Field(
        default="token_count-v1.tokens",
        description="SET.COLUMN with tokens, end-of-text included; null: bytes of the edited text stand for them",
    )
    num_buckets: int = Field(
        default=VIGINTILES, ge=1, le=1000, description="buckets of each group; 20 vigintiles, Olmo 3 report 3.4.1"
    )
    against: str | None = Field(
        default=None,
        description="thresholds.json of an earlier partition: documents fall into its cells; path below the corpus, or of a file",
    )
    max_docs: int = Field(
        default=10_000_000,
        ge=1,
        description="most documents that are sorted in memory; beyond it their keys are narrowed by histograms first",
    )
    set_name: str = Field(
        default="partition",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="of the attribute set, before -v1: two partitions of one recipe have two",
    )
    rules: list[Rule] = Field(
        default_factory=list,
        description='over topic, bucket (0 is the lowest) and label, added to the view: keep: "bucket >= 1 and bucket <= 3"',
    )


def write_rows(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the narrow rows of one split, groups numbered within it; reads no text."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    settings = PartitionConfig.model_validate(params["settings"])
    shard = corpus.read_listing().shards[split.shard]
    counted: dict[tuple[str, str], list[int]] = {}

    def write(sink: HashingWriter) -> int:
        total = 0
        with parquet_files.open_writer(sink, ROW_SCHEMA) as writer:
            for group in range(split.first_group, split.last_group + 1):
                verdict, documents = evaluate_group(corpus, view, shard, group)
                rows = np.flatnonzero(verdict.failed < 0)
                chosen = documents.take(pa.array(rows)).combine_chunks()
                num_bytes = verdict.bytes_before[-1][rows].astype(np.int64)
                names, keys = read_keys(
                    corpus, settings, shard, group, rows, chosen.column("id"), chosen.column("source")
                )
                tokens = (
                    num_bytes if settings.tokens is None else read_tokens(corpus, settings.tokens, shard, group, rows)
                )
                weight = np.ones(len(rows), np.int64) if settings.weight == "documents" else np.maximum(tokens, 1)
                for number, name in enumerate(names):
                    counted.setdefault(name, [len(counted), 0, 0])
                    mine = keys.group == number
                    counted[name][1] += int(mine.sum())
                    counted[name][2] += int(weight[mine].sum())
                numbers = np.array([counted[name][0] for name in names], np.int32)
                values = [
                    numbers[keys.group] if len(names) else keys.group,
                    keys.high,
                    keys.low,
                    weight,
                    tokens,
                    num_bytes,
                ]
                parquet_files.write_row_group(
                    writer, pa.table([pa.array(column) for column in values], schema=ROW_SCHEMA)
                )
                total += len(rows)
        return total

    file = write_attempt(corpus.root, attempts, f"{params['work']}/rows/{split_name(split)}.parquet", write)
    return [file], {"groups": [[*name, docs, weight] for name, (_, docs, weight) in counted.items()]}


def read_keys(
    corpus: Corpus,
    settings: PartitionConfig,
    shard: Shard,
    group: int,
    rows: np.ndarray,
    ids: pa.Array,
    source: pa.Array | pa.ChunkedArray,
) -> tuple[list[tuple[str, str]], Keys]:
    """The groups (source, topic) that occur among a row group's kept rows, and the documents' keys; weights are 1."""
    score = read_column(corpus, "score", settings.score, shard, group, rows)
    if not pa.types.is_floating(score.type) and not pa.types.is_integer(score.type):
        raise ConfigError("score", settings.score, f"expected a column of numbers, it is {score.type}")
    values = score.to_numpy(zero_copy_only=False).astype(np.float32)
    sources = source if settings.by_source else pa.array([""] * len(rows), pa.string())
    names, of_row = _number_pairs(sources, read_topics(corpus, settings.topic, shard, group, rows))
    keys = Keys(
        of_row, quality_thresholds.order_scores(values),
        hashing.hash_ids(ids, seed=0, name="document"), np.ones(len(rows), np.int64),
    )  # fmt: skip
    return names, keys


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    plain = column.cast(pa.string())
    return plain.combine_chunks() if isinstance(plain, pa.ChunkedArray) else plain


def _number_pairs(sources: pa.Array | pa.ChunkedArray, topics: pa.Array) -> tuple[list[tuple[str, str]], np.ndarray]:
    """The pairs that occur, sorted, and each row's place among them, int32; no Python object a row."""
    first, second = (_one_array(column).dictionary_encode() for column in (sources, topics))
    code = first.indices.to_numpy().astype(np.int64) * max(len(second.dictionary), 1) + second.indices.to_numpy()
    codes, place = np.unique(code, return_inverse=True)
    left, right = first.dictionary.to_pylist(), second.dictionary.to_pylist()
    pairs = [(left[value // len(right)], right[value % len(right)]) for value in codes.tolist()]
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    rank = np.empty(len(pairs), np.int32)
    rank[order] = np.arange(len(pairs), dtype=np.int32)
    return [pairs[number] for number in order], rank[place]


@functools.lru_cache(maxsize=2)
def _load_state(path: str, checksum: str) -> dict[str, Any]:
    """A file that all tasks of a pass read; the checksum tells one pass' file from another of its name."""
    state: dict[str, Any] = json.loads(storage.read_bytes(path))
    return state


def load_bins(state: dict[str, Any]) -> Bins:
    """The bins of a pass from the plain data of its file."""
    kinds = {"first": np.int64, "high": np.uint64, "low": np.uint64, "weight_before": np.int64, "num_docs": np.int64}
    return Bins(state["level"], **{name: np.array(state[name], kind) for name, kind in kinds.items()})


def read_rows(params: dict[str, Any]) -> tuple[dict[str, Any], Iterator[pa.Table]]:
    """The pass' state, and the rows of each split with groups numbered as in the state."""
    state = _load_state(storage.join_path(params["root"], params["state"]), params["checksum"])
    numbers = {tuple(name): number for number, name in enumerate(state["groups"])}
    return state, (_read_split(params["root"], numbers, *split) for split in params["splits"])


def _read_split(root: str, numbers: dict[tuple[str, ...], int], rows: str, names: list[list[str]]) -> pa.Table:
    table = parquet_files.read_row_groups(storage.join_path(root, rows), None, None)
    own = np.array([numbers[tuple(name)] for name in names], np.int32)
    local = table.column("group").to_numpy()
    return table.set_column(0, "group", pa.array(own[local] if len(own) else local, pa.int32()))


def keys_of(table: pa.Table) -> Keys:
    """The keys of ROW_SCHEMA's columns."""
    return Keys(*(table.column(name).to_numpy() for name in Keys._fields))


def count_rows(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the histograms of some splits' rows, places bin * NUM_DIGITS + digit that are not zero."""
    state, tables = read_rows(params)
    bins = load_bins(state)
    sums = None
    for table in tables:
        sums = quality_thresholds.count_digits(keys_of(table), bins, sums)
    assert sums is not None, "a task has a split"
    weights, counts = (array.reshape(-1) for array in sums)
    at = np.flatnonzero(counts)
    made = pa.table([pa.array(at), pa.array(weights[at]), pa.array(counts[at])], schema=DIGIT_SCHEMA)
    return [_write(params, attempts, made)], {}


def gather_rows(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the rows of some splits whose documents are in open bins."""
    state, tables = read_rows(params)
    bins = load_bins(state)
    kept = [
        table.filter(pa.array(quality_thresholds.find_bins(keys_of(table), bins) >= 0)).cast(ROW_SCHEMA)
        for table in tables
    ]
    return [_write(params, attempts, pa.concat_tables(kept))], {}


def count_cells(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: documents, tokens and bytes of some splits by cell, group * B + bucket, where there are any."""
    state, tables = read_rows(params)
    found, _ = quality_thresholds.load_thresholds(state["thresholds"], params["state"])
    counted = [_sum_cells(table, found) for table in tables]
    return [_write(params, attempts, merge_places(counted, SUM_SCHEMA))], {}


def _sum_cells(table: pa.Table, found: Thresholds) -> pa.Table:
    bucket = quality_thresholds.assign_by_thresholds(keys_of(table), found)
    cell = table.column("group").to_numpy().astype(np.int64) * found.num_buckets + bucket
    columns = (np.ones(len(cell), np.int64), table.column("tokens").to_numpy(), table.column("bytes").to_numpy())
    return sum_by_place(cell, columns, SUM_SCHEMA)


def _write(params: dict[str, Any], attempts: str, table: pa.Table) -> WrittenFile:
    def write(sink: HashingWriter) -> int:
        return parquet_files.write_rows(sink, table.schema, [table])

    return write_attempt(params["root"], attempts, f"{params['work']}/{params['name']}.parquet", write)
