"""From decisions about members of clusters to attributes of every document: the last phase of every deduplication."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dedup.alarms import CopyAlarms, SourceCounts, check_clusters, check_sources, count_sources
from dedup.keepers import AttributeOrder, KeepPolicy
from dolma_py import config, parquet_files, spans, storage, views
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.documents import DUPLICATE_SCHEMA
from dolma_py.errors import ConfigError
from dolma_py.listing import ROW_BITS
from dolma_py.metadata import read_fields
from pipelines.attribute_sets import write_attribute_sets
from pipelines.changed_decisions import compare_decisions, save_changes
from pipelines.keyed_files import LARGEST, files_by_shard, write_files
from pipelines.shuffles import read_frame
from pipelines.steps import StepContext, StepResult

# of documents in clusters of two or more; everything else is alone
DECISION_SCHEMA = pa.schema([pa.field("address", pa.int64()), *DUPLICATE_SCHEMA])
SHARD = pa.field("shard", pa.int32())

DOCUMENT_COLUMNS = ("created", "added")  # keep policies compare them as microseconds
KINDS = {"number": pa.float64(), "text": pa.string()}


def keep_reads(policy: KeepPolicy) -> list[str]:
    """Columns of a document that keep_columns needs."""
    names = [attribute.name for attribute in policy.columns]
    reads = [name for name in DOCUMENT_COLUMNS if name in names]
    reads += ["text"] if "length" in names else []
    return reads + (["metadata"] if any(name.startswith("metadata.") for name in names) else [])


def keep_sets(policy: KeepPolicy) -> list[str]:
    """Attribute sets that keep_columns reads."""
    names = [a.name.rpartition(".")[0] for a in policy.columns if not a.name.startswith("metadata.")]
    return sorted({name for name in names if name})


def keep_columns(corpus: Corpus, batch: ViewBatch, policy: KeepPolicy) -> pa.Table:
    """The columns that a keep policy compares, row-aligned with the batch: address, source and the attributes but `id`, as keep_fields."""
    columns: dict[str, Any] = {"address": pa.array(batch.addresses), "source": batch.documents.column("source")}
    fields = [a.name.removeprefix("metadata.") for a in policy.columns if a.name.startswith("metadata.")]
    found = read_fields(batch.documents.column("metadata"), fields) if fields else {}
    for attribute in policy.columns:
        name = attribute.name
        if name == "id":
            continue
        if name == "length":
            lengths = np.diff(view_text(batch.documents.column("text")).offsets)
            columns[name] = pa.array(lengths.astype(np.float64))
        elif name in DOCUMENT_COLUMNS:
            columns[name] = batch.documents.column(name).cast(pa.int64()).cast(pa.float64())
        elif name.startswith("metadata."):
            columns[attribute.column] = _metadata_values(found[name.removeprefix("metadata.")], attribute)
        else:
            columns[attribute.column] = _attribute_values(corpus, batch, attribute)
    return pa.table(columns, schema=pa.schema(keep_fields(policy)))


def _metadata_values(values: list[Any], attribute: AttributeOrder) -> pa.Array:
    """Numbers or texts of a metadata field; a value of the other kind would be compared in silence as something else."""
    is_text = attribute.kind == "text"
    for value in values:
        fits = isinstance(value, str) if is_text else isinstance(value, int | float)
        if value is not None and not fits:
            raise ConfigError(
                "keep.attributes", value, f"expected {attribute.kind} in {attribute.name}",
                f"Give it values: {'number' if is_text else 'text'}.",
            )  # fmt: skip
    return pa.array(values if is_text else [None if v is None else float(v) for v in values], KINDS[attribute.kind])


def _attribute_values(corpus: Corpus, batch: ViewBatch, attribute: AttributeOrder) -> pa.Array:
    """A column of an attribute set for the rows of the batch."""
    name, dot, column = attribute.name.rpartition(".")
    if not dot:
        raise ConfigError(
            "keep.attributes", attribute.name,
            f"expected SET.COLUMN such as gopher-dclm-v1.word_count, metadata.FIELD, length, id or one of {DOCUMENT_COLUMNS}",
        )  # fmt: skip
    table = views.read_attributes(corpus.root, name, batch.shard, [batch.group])
    if column not in table.column_names:
        raise ConfigError(
            "keep.attributes", attribute.name, f"expected a column of {name}, one of {table.column_names}"
        )
    values = table.column(column).combine_chunks().take(pa.array(batch.rows))
    kind = values.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if pa.types.is_timestamp(kind):
        values, is_number = values.cast(pa.int64()), True
    if not (is_number if attribute.kind == "number" else pa.types.is_string(kind)):
        raise ConfigError("keep.attributes", attribute.name, f"expected a column of {attribute.kind}s, it is {kind}")
    return values.cast(KINDS[attribute.kind])


def keep_fields(policy: KeepPolicy) -> list[pa.Field]:
    """Fields of keep_columns."""
    others = [pa.field(a.column, KINDS[a.kind]) for a in policy.columns if a.name != "id"]
    return [pa.field("address", pa.int64()), pa.field("source", pa.string()), *others]


def spark_fields(fields: list[pa.Field]) -> str:
    """The same fields for Spark."""
    names = {
        pa.int64(): "long",
        pa.string(): "string",
        pa.float64(): "double",
        pa.float32(): "float",
        pa.int32(): "int",
        pa.bool_(): "boolean",
    }
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


def write_duplicates(
    context: StepContext, maker: str, options: dict[str, Any], by_shard: dict[int, dict[str, Any]], *,
    largest: list[dict[str, Any]], alarms: CopyAlarms,
) -> StepResult:  # fmt: skip
    """The set options["set"] by a RemovingMaker; facts: sources, alarms, and `changed` when the corpus has grown.

    by_shard: further options of the maker for the splits of a shard.
    largest: kept_id and size of the largest clusters. Raises DedupAlarmError before anything is complete.
    """
    set_name = options["set"]
    check_clusters(
        context.name, [(row["kept_id"], row["size"]) for row in largest], alarms, context.setting_key("alarms")
    )
    changes = compare_decisions(context, maker, options, by_shard, set_name)
    sources: dict[str, SourceCounts] = {}

    def accept(counts: dict[str, SourceCounts]) -> None:
        sources.update(counts)
        check_sources(context.name, counts, alarms, context.setting_key("alarms"))

    fingerprint = config.fingerprint(context.fingerprint, set_name)
    times = write_attribute_sets(context, maker, options, {set_name: fingerprint}, by_shard=by_shard, accept=accept)
    changed = save_changes(context, changes)
    facts = {"sources": describe_sources(sources), "alarms": config.dump_config(alarms)} | changed.facts
    return StepResult({set_name: fingerprint}, files=changed.files, facts=facts, times=times._asdict())


def describe_sources(sources: dict[str, SourceCounts]) -> dict[str, dict[str, int]]:
    """For the manifest."""
    return {source: counts._asdict() for source, counts in sources.items()}


def count_duplicates(root: str, batch: ViewBatch, is_duplicate: pa.Array) -> dict[str, SourceCounts]:
    """What leaves of a row group's documents, by source; sizes are those of the view's texts, and no text is read."""
    sizes = views.read_attributes(root, views.SIZES, batch.shard, [batch.group]).column("text_bytes")
    num_bytes = sizes.to_numpy()[batch.rows] - spans.count_bytes(batch.removed)
    removed = is_duplicate.to_numpy(zero_copy_only=False)
    return count_sources(batch.documents.column("source"), num_bytes, removed, removed * num_bytes)


def write_decisions(context: StepContext, paths: list[str], set_name: str, alarms: CopyAlarms) -> StepResult:
    """Files of decisions in any order as attributes of every document in the view, and what they amount to.

    The rows go through a shuffle, some 60 bytes each, and lie as one file per shard; the driver holds a receipt of each.
    """
    schema = spark_fields([*DECISION_SCHEMA, SHARD])
    frame = read_frame(context, paths, DECISION_SCHEMA.names, schema=schema, transform=_add_shard)
    decided = write_files(
        context, frame, phase="decisions", key="shard", order=["address"], schema=DECISION_SCHEMA, count=count_decisions
    )
    facts = {"clusters": 0, "members": 0, "duplicates": 0} | decided["facts"]
    facts["largest"] = [{"kept_id": kept_id, "size": size} for size, _, kept_id in facts.get("largest", [])]
    options = {"root": context.corpus.root, "set": set_name}
    maker = "pipelines.dedup_decisions:DecisionMaker"
    by_shard = files_by_shard(decided["files"], "decisions")
    result = write_duplicates(context, maker, options, by_shard, largest=facts["largest"], alarms=alarms)
    return result._replace(facts=facts | result.facts)


def _add_shard(decisions: pa.Table) -> pa.Table:
    shard = decisions.column("address").to_numpy() >> ROW_BITS
    return decisions.append_column(SHARD, pa.array(shard.astype(np.int32)))


def count_decisions(decisions: pa.Table) -> dict[str, Any]:
    """Clusters, members, duplicates, and [size, id of the cluster, id that stays] of the largest clusters; each has one row that stays."""
    kept = decisions.filter(pa.compute.invert(decisions.column("is_duplicate")))
    largest = kept.sort_by([("cluster_size", "descending"), ("cluster_id", "ascending")]).slice(0, LARGEST)
    rows = largest.select(["cluster_size", "cluster_id", "kept_id"]).to_pylist()
    return {
        "clusters": kept.num_rows, "members": decisions.num_rows, "duplicates": decisions.num_rows - kept.num_rows,
        "largest": [list(row.values()) for row in rows],
    }  # fmt: skip


class DecisionMaker:
    """Spreads the decisions over the documents of a shard; a document without one is alone."""

    columns: list[str] | None = []

    def __init__(self, options: dict[str, Any]) -> None:
        self.set, self.root = options["set"], options["root"]
        self.schemas = {self.set: DUPLICATE_SCHEMA}
        found = [DECISION_SCHEMA.empty_table()]
        if "decisions" in options:  # else no copies in this shard
            path, _ = options["decisions"]
            found.append(parquet_files.read_row_groups(storage.join_path(self.root, path), None, None))
        self.decisions = pa.concat_tables(found).combine_chunks()

    def make(self, batch: ViewBatch) -> dict[str, pa.RecordBatch]:
        """Duplicate columns of the batch."""
        decisions = self.decisions
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

    def count_removed(self, batch: ViewBatch, made: dict[str, pa.RecordBatch]) -> dict[str, SourceCounts]:
        """Duplicates by source."""
        return count_duplicates(self.root, batch, made[self.set].column("is_duplicate"))
