"""The narrow table that planning and sampling share: one row per document of the view, on the driver.

A row is 40 bytes and the source's name: score, tokens, bytes of the edited text, hash of the id, address. Joining the tasks'
tables and ranking inside the cells take DOC_BYTES a document at the peak; `max_docs` bounds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py import hashing, parquet_files, views
from dolma_py.config import Config
from dolma_py.corpus import Corpus, evaluate_group
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Shard, Split, pack_address
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from mixers.percentiles import assign_buckets
from mixers.sampling import HeldoutConfig, select_heldout
from pipelines.steps import StepContext, Unit, file_lists, split_name, split_params

ROW_SCHEMA = pa.schema([
    ("address", pa.int64()), ("source", pa.string()), ("score", pa.float32()), ("tokens", pa.int64()),
    ("bytes", pa.int64()), ("id_hash", pa.uint64()), ("topic", pa.string()),
])  # fmt: skip
CHANGES_NO_BYTE = ("max_docs",)
DOC_BYTES = 160  # of the driver at the peak: 150 measured with 4 million documents and names of 12 bytes
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
    heldout: HeldoutConfig = Field(
        default=HeldoutConfig(heldout_frac=0.01), description="documents for validation, never sampled"
    )
    max_docs: int = Field(
        default=100_000_000,
        ge=1,
        description="most documents of the view; each takes 160 bytes of the driver's memory, so 16 GB at 100 million",
    )


def read_mix_table(context: StepContext, inputs: MixInputs) -> pa.Table:
    """ROW_SCHEMA rows of the view in corpus order."""
    files = write_mix_rows(context, inputs)
    check_docs(context, inputs, sum(file["rows"] for file in files))
    return load_mix_rows(context, files)


def write_mix_rows(context: StepContext, inputs: MixInputs) -> list[dict[str, Any]]:
    """Run the phase `table`: files of ROW_SCHEMA, one for each split, in corpus order."""
    units = [
        Unit(
            split_name(split),
            split_params(context, split)
            | {"tokens": inputs.tokens, "score": inputs.score, "topic": inputs.topic, "work": context.work},
            split.text_bytes,
        )
        for split in context.plan_splits()
    ]
    done, _ = context.run_units("table", units, table_split)
    files = file_lists(done)
    if not sum(file["rows"] for file in files):
        raise ConfigError(
            "view", context.need_view().name, "expected documents to mix, every one was dropped", "Read the funnel."
        )
    return files


def load_mix_rows(context: StepContext, files: list[dict[str, Any]]) -> pa.Table:
    """The rows of these files on the driver."""
    tables = [parquet_files.read_row_groups(context.corpus.path(file["path"]), None, None) for file in files]
    return pa.concat_tables([ROW_SCHEMA.empty_table(), *tables]).combine_chunks()


def check_docs(context: StepContext, inputs: MixInputs, num_docs: int) -> None:
    """Raise ConfigError for more documents than the driver may hold, before it reads them."""
    if num_docs > inputs.max_docs:
        raise ConfigError(
            context.setting_key("max_docs"), inputs.max_docs, f"expected at least the view's {num_docs} documents",
            f"Raise it where the driver has {num_docs * DOC_BYTES / 1e9:.1f} GB of memory for them, or drop documents by a rule.",
        )  # fmt: skip


def driver_memory_bytes(inputs: MixInputs, text_bytes: int) -> int:
    """What the driver holds at most for documents of MEAN_TEXT_BYTES or more on average."""
    return DOC_BYTES * min(inputs.max_docs, text_bytes // MEAN_TEXT_BYTES)


def table_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the rows of one split; reads no text."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    shard = corpus.read_listing().shards[split.shard]

    def column(setting: str, group: int, rows: np.ndarray) -> np.ndarray:
        return read_column(corpus, setting, params[setting], shard, group, rows).to_numpy(zero_copy_only=False)

    def write(sink: HashingWriter) -> int:
        total, first_row = 0, split.first_row
        with parquet_files.open_writer(sink, ROW_SCHEMA) as writer:
            for group in range(split.first_group, split.last_group + 1):
                verdict, keys = evaluate_group(corpus, view, shard, group)
                rows = np.flatnonzero(verdict.failed < 0)
                tokens = column("tokens", group, rows)
                score = column("score", group, rows) if params["score"] else np.zeros(len(rows), np.float32)
                if np.isnan(tokens.astype(np.float64)).any():
                    raise DataError(
                        shard.path,
                        f"a document of the view has no value of {params['tokens']}",
                        hint="Count tokens over this view.",
                    )
                score = np.where(
                    np.isnan(score), np.float32(-1), score
                )  # text the model knows nothing of goes below all others
                chosen = keys.take(pa.array(rows)).combine_chunks()
                values = [
                    pa.array(pack_address(shard.number, first_row + rows)), chosen.column("source"), pa.array(score.astype(np.float32)),
                    pa.array(tokens.astype(np.int64)), pa.array(verdict.bytes_before[-1][rows]),
                    pa.array(hashing.hash_ids(chosen.column("id"), seed=0, name="document")),
                    read_topics(corpus, params["topic"], shard, group, rows),
                ]  # fmt: skip
                parquet_files.write_row_group(writer, pa.table(values, schema=ROW_SCHEMA))
                total, first_row = total + len(rows), first_row + keys.num_rows
        return total

    return [write_attempt(corpus.root, attempts, f"{params['work']}/table/{split_name(split)}.parquet", write)], {}


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
    """(groups, cell of each document or -1 when held out, is_heldout): cell = group * num_buckets + quality bucket."""
    names, group = _number_groups(table)
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
    cell[kept] = group[kept] * num_buckets + bucket
    return names, cell, heldout


def _number_groups(table: pa.Table) -> tuple[list[tuple[str, str]], np.ndarray]:
    """The (source, topic) pairs that occur, sorted, and each document's number among them, int32 (N,)."""
    parts = [table.column(name).combine_chunks().dictionary_encode() for name in ("source", "topic")]
    sources, topics = (part.dictionary.to_pylist() for part in parts)
    first, second = (part.indices.to_numpy(zero_copy_only=False).astype(np.int64) for part in parts)
    pairs, number = np.unique(first * max(len(topics), 1) + second, return_inverse=True)
    found = [(sources[pair // len(topics)], topics[pair % len(topics)]) for pair in pairs.tolist()]
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(found), np.int32)
    rank[order] = np.arange(len(found), dtype=np.int32)
    return [found[index] for index in order], rank[number]
