"""The narrow table that planning and sampling share: one row per document of the view, on the driver.

A row is 40 bytes and the source's name: score, tokens, bytes of the edited text, hash of the id, address. Joining the tasks'
tables and ranking inside the cells take DOC_BYTES a document at the peak; of more than `max_docs` nothing is joined (mix_passes).
For sources whose buckets are classes of cluster sizes (MixInputs.duplicates), the score of a row is its cluster size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dolma_py import config, hashing, parquet_files, views
from dolma_py.config import Config
from dolma_py.corpus import Corpus, evaluate_group
from dolma_py.done import DoneFile
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Shard, Split, pack_address
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from mixers.duplicate_weights import DuplicatesConfig, find_size_buckets
from mixers.percentiles import assign_buckets
from mixers.sampling import HeldoutConfig, select_heldout
from pipelines.steps import StepContext, Unit, file_lists, split_name, split_params

ROW_SCHEMA = pa.schema([
    ("address", pa.int64()), ("source", pa.string()), ("score", pa.float32()), ("tokens", pa.int64()),
    ("bytes", pa.int64()), ("id_hash", pa.uint64()), ("topic", pa.string()),
])  # fmt: skip
CHANGES_NO_BYTE = ("max_docs",)
DOC_BYTES = 210  # of the driver at the peak: 201 measured with 4 million documents, names of sources and topics of 12 and 13 bytes
MEAN_TEXT_BYTES = 200  # a dry run's bound holds for documents of this many bytes of text on average, or more


class MixInputs(Config):
    """Which attributes say how good and how long a document is, and what is set aside."""

    tokens: str = Field(default="token_count-v1.tokens", description="SET.COLUMN with tokens, end-of-text included")
    score: str | None = Field(
        default="quality-v1.score", description="SET.COLUMN with quality, higher is better; null: all equal"
    )
    topic: str | None = Field(
        default=None,
        description="SET.COLUMN with the topic's name: quality is cut, and tokens are planned, within (source, topic); null: within the source",
    )
    duplicates: DuplicatesConfig | None = Field(
        default=None,
        description="buckets of some sources, or all, by the number of copies that deduplication found of a document; null: all by quality",
    )
    heldout: HeldoutConfig = Field(
        default=HeldoutConfig(heldout_frac=0.01), description="documents for validation, never sampled"
    )
    max_docs: int = Field(
        default=10_000_000,
        ge=1,
        description="most documents whose narrow rows the driver holds, 210 bytes each; of more, tasks find cells and copies, the same",
    )


class MixTable(NamedTuple):
    """The rows, and of sources whose buckets are cluster sizes what became of each bucket after deduplication."""

    rows: pa.Table  # ROW_SCHEMA, in corpus order
    removals: dict[
        str, list[list[int]]
    ]  # source -> documents [that came out of deduplication, that later rules removed] by bucket


def write_mix_rows(context: StepContext, inputs: MixInputs) -> DoneFile:
    """Run the phase `table`: files of ROW_SCHEMA, one for each split, in corpus order."""
    units = [
        Unit(
            split_name(split),
            split_params(context, split) | row_params(inputs) | {"work": context.work},
            split.text_bytes,
        )
        for split in context.plan_splits()
    ]
    done, _ = context.run_units("table", units, table_split)
    if not sum(file["rows"] for file in file_lists(done)):
        raise ConfigError(
            "view", context.need_view().name, "expected documents to mix, every one was dropped", "Read the funnel."
        )
    return done


def load_mix_rows(context: StepContext, files: list[dict[str, Any]]) -> pa.Table:
    """The rows of these files on the driver."""
    columns = []
    for field in ROW_SCHEMA:  # one by one: a column is held twice while it is joined, not the table
        tables = [
            parquet_files.read_row_groups(context.corpus.path(file["path"]), None, [field.name]) for file in files
        ]
        parts = [part for table in tables for part in table.column(0).chunks]
        columns.append(pa.chunked_array(parts, field.type).combine_chunks())
        del tables, parts
        pa.default_memory_pool().release_unused()
    return pa.Table.from_arrays(columns, schema=ROW_SCHEMA)


def row_params(inputs: MixInputs) -> dict[str, Any]:
    """What of the inputs decides a row."""
    values = config.dump_config(inputs)
    return {name: values[name] for name in ("tokens", "score", "topic", "duplicates")}


def driver_memory_bytes(inputs: MixInputs, text_bytes: int) -> int:
    """What the driver holds of rows at most, for documents of MEAN_TEXT_BYTES or more on average."""
    return DOC_BYTES * min(inputs.max_docs, text_bytes // MEAN_TEXT_BYTES)


def table_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the rows of one split; reads no text."""
    corpus, split = Corpus(params["root"]), Split(*params["split"])
    removals: list[dict[str, list[list[int]]]] = []

    def write(sink: HashingWriter) -> int:
        total = 0
        with parquet_files.open_writer(sink, ROW_SCHEMA) as writer:
            for table, found in iterate_rows(corpus, View.model_validate(params["view"]), split, params):
                parquet_files.write_row_group(writer, table)
                removals.append(found)
                total += table.num_rows
        return total

    written = write_attempt(corpus.root, attempts, f"{params['work']}/table/{split_name(split)}.parquet", write)
    return [written], {"removals": add_removals(removals)}


def iterate_rows(
    corpus: Corpus, view: View, split: Split, params: dict[str, Any]
) -> Iterator[tuple[pa.Table, dict[str, list[list[int]]]]]:
    """(ROW_SCHEMA rows, removals as in MixTable) of each row group of a split."""
    shard = corpus.read_listing().shards[split.shard]
    first_row = split.first_row
    for group in range(split.first_group, split.last_group + 1):
        verdict, keys = evaluate_group(corpus, view, shard, group)
        rows = np.flatnonzero(verdict.failed < 0)

        def column(setting: str, rows: np.ndarray = rows, group: int = group) -> np.ndarray:
            return read_column(corpus, setting, params[setting], shard, group, rows).to_numpy(zero_copy_only=False)

        tokens = read_tokens(corpus, params["tokens"], shard, group, rows)
        if int(tokens.min(initial=1)) < 1:
            raise DataError(
                shard.path, f"a document of the view has 0 tokens by {params['tokens']}, and copies of nothing fill no plan",
                hint="Count tokens with the end token (mixers.token_count:TokenCountTagger), or drop empty documents by a rule.",
            )  # fmt: skip
        score = column("score") if params["score"] else np.zeros(len(rows), np.float32)
        # text the model knows nothing of goes below all others, whatever the range of its scores
        score = np.where(np.isnan(score), np.float32(-np.inf), score)
        chosen = keys.take(pa.array(rows)).combine_chunks()
        removals: dict[str, list[list[int]]] = {}
        if params["duplicates"] is not None:
            by_size = DuplicatesConfig.model_validate(params["duplicates"])
            sizes = read_sizes(corpus, by_size, shard, group)
            sources = keys.column("source").combine_chunks()
            score = np.where(is_sized(chosen.column("source"), by_size), np.maximum(sizes[rows], 1), score)
            removals = count_removals(view, verdict.failed, sizes, sources, by_size)
        values = [
            pa.array(pack_address(shard.number, first_row + rows)), chosen.column("source"), pa.array(score.astype(np.float32)),
            pa.array(tokens), pa.array(verdict.bytes_before[-1][rows]),
            pa.array(hashing.hash_ids(chosen.column("id"), seed=0, name="document")),
            read_topics(corpus, params["topic"], shard, group, rows),
        ]  # fmt: skip
        yield pa.table(values, schema=ROW_SCHEMA), removals
        first_row += keys.num_rows


def is_sized(sources: pa.Array, by_size: DuplicatesConfig) -> np.ndarray:
    """Whether each document's bucket is a class of cluster sizes, bool (N,)."""
    if by_size.sources is None:
        return np.ones(len(sources), np.bool_)
    return np.asarray(pc.is_in(sources, pa.array(by_size.sources, pa.string())).to_numpy(zero_copy_only=False))


def read_sizes(corpus: Corpus, by_size: DuplicatesConfig, shard: Shard, group: int) -> np.ndarray:
    """Cluster sizes of all rows of a row group, int64; 0 where there is none."""
    rows = np.arange(shard.row_groups[group][0])
    found = read_column(corpus, "duplicates.column", by_size.column, shard, group, rows)
    if not pa.types.is_integer(found.type):
        raise ConfigError("duplicates.column", by_size.column, f"expected a column of counts, it is {found.type}")
    return np.asarray(found.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))


def count_removals(
    view: View, failed: np.ndarray, sizes: np.ndarray, sources: pa.Array, by_size: DuplicatesConfig
) -> dict[str, list[list[int]]]:
    """Of a row group, removals as in MixTable: the rules that come after the last one over the set of cluster sizes are counted."""
    name = by_size.column.rpartition(".")[0]
    last = max((number for number, step in enumerate(view.steps) if step.attributes == name), default=-1)
    counted = (sizes > 0) & ((failed < 0) | (failed > last)) & is_sized(sources, by_size)
    bucket = find_size_buckets(sizes, by_size.sizes)
    parts = sources.dictionary_encode()
    number = parts.indices.to_numpy(zero_copy_only=False)
    found = {}
    for code, source in enumerate(parts.dictionary.to_pylist()):
        mine = counted & (number == code)
        lost = mine & (failed >= 0)
        counts = [np.bincount(bucket[chosen], minlength=len(by_size.sizes)).tolist() for chosen in (mine, lost)]
        if sum(counts[0]):
            found[source] = counts
    return found


def add_removals(parts: Iterable[dict[str, list[list[int]]]]) -> dict[str, list[list[int]]]:
    """Sums by source, sorted."""
    sums: dict[str, np.ndarray] = {}
    for part in parts:
        for source, counts in part.items():
            sums[source] = sums.get(source, 0) + np.array(counts, np.int64)
    return {source: sums[source].tolist() for source in sorted(sums)}


def read_tokens(corpus: Corpus, name: str, shard: Shard, group: int, rows: np.ndarray) -> np.ndarray:
    """Tokens of a row group's rows by the column `name`, int64, 0 or more. ConfigError for one that holds no whole numbers."""
    column = read_column(corpus, "tokens", name, shard, group, rows)
    if not pa.types.is_integer(column.type):
        raise ConfigError("tokens", name, f"expected a column of whole numbers, it is {column.type}")
    if column.null_count:
        raise DataError(
            shard.path, f"a document of the view has no value of {name}", hint="Count tokens over this view."
        )
    tokens = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if int(tokens.min(initial=0)) < 0:
        raise DataError(shard.path, f"expected 0 or more in {name}, got {int(tokens.min())}")
    return tokens


def read_column(corpus: Corpus, setting: str, name: str, shard: Shard, group: int, rows: np.ndarray) -> pa.Array:
    """SET.COLUMN of a row group's rows; ConfigError under `setting` for a name of another form, or a column that is not there."""
    attributes, dot, key = name.rpartition(".")
    if not dot:
        raise ConfigError(setting, name, "expected SET.COLUMN, such as quality-v1.score")
    table = views.read_attributes(corpus.root, attributes, shard, [group])
    if key not in table.column_names:
        raise ConfigError(setting, name, f"expected a column of {attributes}, one of {table.column_names}")
    return table.column(key).take(pa.array(rows)).combine_chunks()


def read_topics(corpus: Corpus, name: str | None, shard: Shard, group: int, rows: np.ndarray) -> pa.Array:
    """The topic of each row, string; "" where a document has none, and for all where `name` is None."""
    if name is None:
        return pa.array([""] * len(rows), pa.string())
    found = read_column(corpus, "topic", name, shard, group, rows)
    if not pa.types.is_string(found.type) and not pa.types.is_large_string(found.type):
        raise ConfigError("topic", name, f"expected a column of text, it is {found.type}")
    return found.cast(pa.string()).fill_null("")


def assign_cells(
    table: pa.Table, inputs: MixInputs, seed: int, num_buckets: int
) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """(groups, cell of each document or -1 when held out, is_heldout): cell = group * num_buckets + bucket of quality or cluster size."""
    names, group = find_groups(table)
    id_hash = table.column("id_hash").to_numpy()
    sources = sorted({source for source, _ in names})
    source_of = np.array([sources.index(source) for source, _ in names], np.int32)
    heldout = select_heldout(source_of[group], id_hash=id_hash, seed=seed, config=inputs.heldout)
    cell = np.full(len(group), -1, np.int32)
    kept = ~heldout
    bucket = assign_buckets(
        table.column("score").to_numpy()[kept], group=group[kept], tokens=table.column("tokens").to_numpy()[kept],
        id_hash=id_hash[kept], num_buckets=num_buckets,
    )  # fmt: skip
    if inputs.duplicates is not None:
        bucket = _replace_buckets(table.filter(pa.array(kept)), bucket, inputs.duplicates, num_buckets)
    cell[kept] = group[kept] * num_buckets + bucket
    return names, cell, heldout


def _replace_buckets(table: pa.Table, bucket: np.ndarray, by_size: DuplicatesConfig, num_buckets: int) -> np.ndarray:
    """Buckets by cluster size where a source has those, int32 (N,)."""
    sources = table.column("source").combine_chunks()
    check_sizes(by_size, pc.unique(sources).to_pylist(), num_buckets)
    # 0 for what is no size: a missing score among those of other sources
    sizes = find_size_buckets(np.maximum(table.column("score").to_numpy(), 0).astype(np.int64), by_size.sizes)
    return np.where(is_sized(sources, by_size), sizes, bucket)


def check_sizes(by_size: DuplicatesConfig, known: list[str], num_buckets: int) -> None:
    """Raise ConfigError for more sizes than buckets, and for sources that the view does not have."""
    if len(by_size.sizes) > num_buckets:
        rule = f"expected at most num_buckets sizes, {num_buckets}"
        raise ConfigError("duplicates.sizes", len(by_size.sizes), rule, f"Set num_buckets: {len(by_size.sizes)}.")
    unknown = sorted(set(by_size.sources or []) - set(known))
    if unknown:
        raise ConfigError("duplicates.sources", unknown[0], f"expected sources of the view, some of {sorted(known)}")


def find_groups(table: pa.Table) -> tuple[list[tuple[str, str]], np.ndarray]:
    """The (source, topic) pairs that occur, sorted, and which of them each row has, int32 (N,)."""
    parts = [table.column(name).combine_chunks().dictionary_encode() for name in ("source", "topic")]
    sources, topics = (part.dictionary.to_pylist() for part in parts)
    pair = parts[0].indices.to_numpy(zero_copy_only=False).astype(np.int64)
    pair *= max(len(topics), 1)
    pair += parts[1].indices.to_numpy(zero_copy_only=False)
    # a table of all pairs, not a sort of all rows; a pair's number is its place among the names in order
    occurs = np.zeros(len(sources) * len(topics), np.bool_)
    occurs[pair] = True
    found = [
        (sources[number // len(topics)], topics[number % len(topics)]) for number in np.flatnonzero(occurs).tolist()
    ]
    order = sorted(range(len(found)), key=found.__getitem__)
    numbers = np.zeros(len(occurs), np.int32)
    numbers[np.flatnonzero(occurs)[order]] = np.arange(len(found), dtype=np.int32)
    return [found[index] for index in order], numbers[pair]
