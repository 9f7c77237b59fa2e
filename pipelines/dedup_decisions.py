"""From decisions about members of clusters to attributes of every document: the last phase of every deduplication."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedup.keepers import KeepPolicy
from dolma_py import config, parquet_files, storage, views
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.documents import DUPLICATE_SCHEMA
from dolma_py.errors import ConfigError
from dolma_py.listing import ROW_BITS
from pipelines.attribute_sets import write_attribute_sets
from pipelines.steps import StepContext, StepResult

# of documents in clusters of two or more; everything else is alone
DECISION_SCHEMA = pa.schema([pa.field("address", pa.int64()), *DUPLICATE_SCHEMA])
DECISION_SPARK = (
    "address long, is_duplicate boolean, cluster_id long, cluster_size int, kept_id string, similarity float"
)
MAX_MEMBERS = 100_000_000  # on the driver, some 100 bytes each
LARGEST = 10


def keep_columns(corpus: Corpus, batch: ViewBatch, policy: KeepPolicy) -> pa.Table:
    """The columns that a keep policy compares, row-aligned with the batch: address, source, and `set.column` attributes."""
    columns: dict[str, Any] = {"address": pa.array(batch.addresses), "source": batch.documents.column("source")}
    for attribute in policy.attributes:
        name, dot, column = attribute.name.rpartition(".")
        if not dot:
            raise ConfigError(
                "keep.attributes", attribute.name, "expected SET.COLUMN, such as gopher-dclm-v1.word_count"
            )
        table = views.read_attributes(corpus.root, name, batch.shard, [batch.group])
        if column not in table.column_names:
            raise ConfigError(
                "keep.attributes", attribute.name, f"expected a column of {name}, one of {table.column_names}"
            )
        values = table.column(column).combine_chunks().take(pa.array(batch.rows))
        if not (
            pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)
        ):
            raise ConfigError("keep.attributes", attribute.name, f"expected a column of numbers, it is {values.type}")
        columns[attribute.name] = values.cast(pa.float64())
    return pa.table(columns)


def keep_fields(policy: KeepPolicy) -> list[pa.Field]:
    """Fields of keep_columns."""
    numbers = [pa.field(attribute.name, pa.float64()) for attribute in policy.attributes]
    return [pa.field("address", pa.int64()), pa.field("source", pa.string()), *numbers]


def spark_fields(fields: list[pa.Field]) -> str:
    """The same fields for Spark."""
    names = {pa.int64(): "long", pa.string(): "string", pa.float64(): "double", pa.int32(): "int"}
    return ", ".join(f"`{field.name}` {names[field.type]}" for field in fields)


def clusters_of(address: np.ndarray, kept_address: np.ndarray, ids: pa.Array, similarity: np.ndarray) -> pa.Table:
    """DECISION_SCHEMA rows of whole clusters given who stays for whom; documents alone are left out."""
    order = np.argsort(address, kind="stable")
    kept_row = order[np.searchsorted(address[order], kept_address)]
    _, number = np.unique(kept_address, return_inverse=True)
    size = np.bincount(number)[number] if len(number) else number
    smallest = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, number, address)
    table = pa.table(
        {
            "address": pa.array(address),
            "is_duplicate": pa.array(address != kept_address),
            "cluster_id": pa.array(smallest[number] if len(number) else address),
            "cluster_size": pa.array(size.astype(np.int32)),
            "kept_id": ids.take(pa.array(kept_row)),
            "similarity": pa.array(similarity.astype(np.float32)),
        },
        schema=DECISION_SCHEMA,
    )
    return table.filter(pa.array(size > 1))


def write_decisions(context: StepContext, decisions: pa.Table, set_name: str) -> StepResult:
    """Decisions as attributes of every document in the view, and what they amount to."""
    decisions = decisions.sort_by("address").combine_chunks()
    path = f"{context.work}/decisions.parquet"
    checksum = parquet_files.write_table(context.corpus.path(path), decisions)
    fingerprint = config.fingerprint(context.fingerprint, set_name)
    options = {"root": context.corpus.root, "path": path, "set": set_name, "checksum": checksum}
    times = write_attribute_sets(context, "pipelines.dedup_decisions:DecisionMaker", options, {set_name: fingerprint})
    return StepResult(attributes={set_name: fingerprint}, facts=describe_decisions(decisions), times=times._asdict())


def describe_decisions(decisions: pa.Table) -> dict[str, Any]:
    """Clusters, members, duplicates, and the largest clusters with the id that stays."""
    kept = decisions.filter(pa.compute.invert(decisions.column("is_duplicate")))
    largest = kept.sort_by([("cluster_size", "descending"), ("cluster_id", "ascending")]).slice(0, LARGEST)
    return {
        "clusters": kept.num_rows,
        "members": decisions.num_rows,
        "duplicates": decisions.num_rows - kept.num_rows,
        "largest": [
            {"kept_id": row["kept_id"], "size": row["cluster_size"]}
            for row in largest.select(["kept_id", "cluster_size"]).to_pylist()
        ],
    }


class DecisionMaker:
    """Spreads the decisions over the documents of a shard; a document without one is alone."""

    columns: list[str] | None = []

    def __init__(self, options: dict[str, Any]) -> None:
        self.set = options["set"]
        self.path = storage.join_path(options["root"], options["path"])
        self.schemas = {self.set: DUPLICATE_SCHEMA}
        self.shard = -1
        self.decisions = DECISION_SCHEMA.empty_table()

    def _load(self, shard: int) -> pa.Table:
        if shard != self.shard:
            first, last = shard << ROW_BITS, (shard + 1) << ROW_BITS
            filesystem, inner = storage.find_filesystem(self.path)
            rows = [("address", ">=", first), ("address", "<", last)]
            self.decisions = pq.read_table(
                inner, filesystem=filesystem, filters=rows, use_threads=False
            ).combine_chunks()
            self.shard = shard
        return self.decisions

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """Duplicate columns of the batch."""
        decisions = self._load(batch.shard.number)
        known = decisions.column("address").to_numpy()
        index = np.searchsorted(known, batch.addresses)
        found = np.zeros(len(batch.addresses), bool)
        inside = index < len(known)
        found[inside] = known[index[inside]] == batch.addresses[inside]
        chosen = decisions.take(pa.array(index, mask=~found))
        ids = batch.documents.column("id")
        columns = [
            chosen.column("is_duplicate").fill_null(False),
            pa.compute.coalesce(chosen.column("cluster_id"), pa.array(batch.addresses)),
            chosen.column("cluster_size").fill_null(pa.scalar(1, pa.int32())),
            pa.compute.coalesce(chosen.column("kept_id"), ids),
            chosen.column("similarity").fill_null(pa.scalar(1.0, pa.float32())),
        ]
        arrays = [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]
        return {self.set: pa.RecordBatch.from_arrays(arrays, schema=DUPLICATE_SCHEMA)}
