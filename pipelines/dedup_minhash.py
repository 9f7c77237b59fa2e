"""Fuzzy deduplication: MinHash bands find candidates, components gather them, exact Jaccard verifies, the keep policy decides.

Reads a view; writes attributes/minhash-v1/ with the evidence for every removal. Shuffled: one (key, address) per document
and band, 16 bytes; a bucket of any size costs at most one edge per member and band. The driver holds candidate edges and
members of components. Texts of members are read again by path for verification.

    spark-submit pipelines/dedup_minhash.py --config minhash.yaml
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from dedup.candidates import Edges, candidate_edges, unique_edges
from dedup.components import connected_components
from dedup.keepers import KeepPolicy, keep_order
from dedup.minhash import MinHashConfig, hash_bands
from dedup.minhash_presets import get_preset
from dedup.shingles import Shingles, shingle_sets
from dedup.verification import VerificationConfig, verify_components
from dolma_py import config, hashing, parquet_files
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.listing import Shard, Split, unpack_address
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.dedup_decisions import DECISION_SCHEMA, clusters_of, keep_columns, keep_reads, write_decisions
from pipelines.shuffles import as_signed, collect_sorted, read_frame, reduce_groups
from pipelines.steps import Rule, StepContext, StepResult, Unit, file_lists, split_name, split_params

VERSION = 1
SET = "minhash-v1"
MEMBER_SCHEMA = pa.schema([("root", pa.int64()), ("address", pa.int64())])


class DedupMinhashConfig(Config):
    """Signatures, verification, keep policy, and limits of the driver."""

    preset: str | None = Field(
        default="olmo3-web", description="named settings of dedup.minhash; null: `minhash` alone"
    )
    minhash: MinHashConfig | None = Field(default=None, description="own shingles, bands and rows in place of a preset")
    verification: VerificationConfig = Field(
        default=VerificationConfig(), description="exact Jaccard that makes a duplicate"
    )
    keep: KeepPolicy = Field(default=KeepPolicy(), description="which member stays")
    max_edges: int = Field(default=200_000_000, ge=1, description="candidate edges on the driver, 16 bytes each")
    unit_docs: int = Field(default=20_000, ge=1, description="members of components verified by one task")
    rules: list[Rule] = Field(
        default_factory=lambda: [Rule(name="near_copy", keep="not is_duplicate")], description="added to the view"
    )

    @property
    def settings(self) -> MinHashConfig:
        return self.minhash or get_preset(self.preset or "olmo3-web")


class Members(NamedTuple):
    """What verification reads of the members of components."""

    sets: Shingles
    keys: pa.Table  # ids and what the keep policy compares


def run(context: StepContext, minhash: DedupMinhashConfig) -> StepResult:
    """Bands, candidate edges, components, verification, decisions."""
    settings = config.dump_config(minhash)
    shared = {"minhash": settings, "work": context.work}
    units = [
        Unit(split_name(split), split_params(context, split) | shared, split.text_bytes)
        for split in context.plan_splits()
    ]
    bands, times = context.run_units("bands", units, band_split)
    edges = find_edges(context, [file["path"] for file in file_lists(bands)], minhash)
    components = connected_components(edges)
    order = np.lexsort((components.address, components.root))
    root, address = components.root[order], components.address[order]
    path = f"{context.work}/components.parquet"
    parquet_files.write_table(
        context.corpus.path(path), pa.table([pa.array(root), pa.array(address)], schema=MEMBER_SCHEMA)
    )
    units = plan_verification(context, root, minhash.unit_docs, shared | {"components": path})
    done, _ = context.run_units("verify", units, verify_unit)
    tables = [parquet_files.read_row_groups(context.corpus.path(file["path"]), None, None) for file in file_lists(done)]
    decisions = pa.concat_tables([DECISION_SCHEMA.empty_table(), *tables])
    result = write_decisions(context, decisions, SET)
    facts = {"candidate_edges": len(edges.first), "candidates": len(address), "components": len(np.unique(root))}
    return result._replace(facts=result.facts | facts, times=result.times | {"bands_task_sec": times.task_sec})


def band_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: band keys of one split's documents; documents without words have none."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    settings = config.build_config(DedupMinhashConfig, params["minhash"]).settings
    schema = pa.schema([("address", pa.int64()), ("keys", pa.binary(8 * settings.num_bands))])

    def write(sink: HashingWriter) -> int:
        rows = 0
        with parquet_files.open_writer(sink, schema) as writer:
            for batch in read_view(corpus, view, split, ["text"]):
                found = hash_bands(*view_text(batch.documents.column("text")), config=settings)
                keys = np.ascontiguousarray(found.keys[found.is_valid])
                column = pa.FixedSizeBinaryArray.from_buffers(
                    schema.field("keys").type, len(keys), [None, pa.py_buffer(keys)]
                )
                table = pa.table([pa.array(batch.addresses[found.is_valid]), column], schema=schema)
                parquet_files.write_row_group(writer, table)
                rows += table.num_rows
        return rows

    return [write_attempt(corpus.root, attempts, f"{params['work']}/bands/{split_name(split)}.parquet", write)], {}


def find_edges(context: StepContext, paths: list[str], minhash: DedupMinhashConfig) -> Edges:
    """Candidate edges between documents that share a band, each once, sorted."""
    num_bands = minhash.settings.num_bands

    def spread(table: pa.Table) -> pa.Table:
        """(key, address) per document and band; the band number is mixed into the key."""
        table = table.combine_chunks()
        column = table.column("keys").chunk(0) if table.num_rows else pa.array([], pa.binary(8 * num_bands))
        keys = np.frombuffer(column.buffers()[1] or b"", np.uint64)[: len(column) * num_bands].reshape(-1, num_bands)
        mixed = [hashing.mix_keys(np.ascontiguousarray(keys[:, band]), seed=band) for band in range(num_bands)]
        address = np.tile(table.column("address").to_numpy(), num_bands)
        return pa.table({"key": as_signed(np.concatenate(mixed)), "address": pa.array(address)})

    def connect(table: pa.Table) -> pa.Table:
        key = table.column("key").to_numpy()
        run = np.zeros(len(key), np.uint64)
        run[1:] = np.cumsum(key[1:] != key[:-1]).astype(np.uint64)  # Spark sorts signed; runs ascend in any order
        edges = candidate_edges(run, table.column("address").to_numpy())
        return pa.table({"first": pa.array(edges.first), "member": pa.array(edges.member)})

    frame = read_frame(context, paths, ["address", "keys"], schema="key long, address long", transform=spread)
    edges = reduce_groups(
        frame, keys=["key"], order=["address"], reduce=connect, schema="first long, member long"
    ).distinct()
    table = collect_sorted(edges, by=["first", "member"], limit=minhash.max_edges, what="max_edges", context=context)
    return unique_edges(Edges(table.column("first").to_numpy(), table.column("member").to_numpy()))


def plan_verification(context: StepContext, root: np.ndarray, unit_docs: int, shared: dict[str, Any]) -> list[Unit]:
    """Whole components, in order of their roots, packed into units of at least `unit_docs` members."""
    starts = np.flatnonzero(np.concatenate([[True], root[1:] != root[:-1]])) if len(root) else np.empty(0, np.int64)
    bounds = [0]
    for start in starts.tolist():
        if start - bounds[-1] >= unit_docs:
            bounds.append(start)
    bounds.append(len(root))
    base = {"root": context.corpus.root, "view": config.dump_config(context.need_view())} | shared
    return [
        Unit(f"verify-{number:05d}", base | {"rows": [first, last], "number": number}, last - first)
        for number, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False))
        if last > first
    ]


def verify_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: read the members of some components, verify, decide."""
    corpus, view = Corpus(params["root"]), View.model_validate(params["view"])
    minhash = config.build_config(DedupMinhashConfig, params["minhash"])
    first, last = params["rows"]
    table = parquet_files.read_row_groups(corpus.path(params["components"]), None, None).slice(first, last - first)
    root, address = table.column("root").to_numpy(), table.column("address").to_numpy()
    members = read_members(corpus, view, np.sort(address), minhash)
    component = root[np.argsort(address, kind="stable")]
    order = np.lexsort((keep_order(members.keys, policy=minhash.keep), component))
    sets = take_sets(members.sets, order)
    ordered = component[order]
    bounds = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])).astype(np.int64)
    verified = verify_components(sets, bounds, config=minhash.verification)
    keys = members.keys.take(pa.array(order)).combine_chunks()
    addresses = keys.column("address").to_numpy()
    decisions = clusters_of(
        addresses, addresses[verified.kept], keys.column("id").combine_chunks(), verified.similarity
    )

    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, DECISION_SCHEMA) as writer:
            parquet_files.write_row_group(writer, decisions.sort_by("address"))
        return int(decisions.num_rows)

    path = f"{params['work']}/verify/verified-{params['number']:05d}.parquet"
    return [write_attempt(corpus.root, attempts, path, write)], {"members": len(address)}


def read_members(corpus: Corpus, view: View, addresses: np.ndarray, minhash: DedupMinhashConfig) -> Members:
    """Shingle sets, ids and keep columns of documents by address (ascending); reads only their row groups."""
    shards = corpus.read_listing().shards
    numbers, rows = unpack_address(addresses)
    hashes, counts, keys = [], [], []
    for number in np.unique(numbers).tolist():
        for split in _groups_with(shards[number], rows[numbers == number]):
            for batch in read_view(corpus, view, split, ["text", *keep_reads(minhash.keep)]):
                wanted = np.flatnonzero(np.isin(batch.addresses, addresses))
                chosen = _select(batch, wanted)
                sets = shingle_sets(
                    *view_text(chosen.documents.column("text")), num_words=minhash.verification.shingle_words
                )
                hashes.append(sets.hashes[sets.offsets[0] : sets.offsets[-1]])
                counts.append(np.diff(sets.offsets))
                columns = keep_columns(corpus, chosen, minhash.keep)
                keys.append(columns.append_column("id", chosen.documents.column("id")))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return Members(Shingles(np.concatenate(hashes), offsets), pa.concat_tables(keys))


def _groups_with(shard: Shard, rows: np.ndarray) -> list[Split]:
    """One split per row group that holds any of the rows."""
    bounds = np.concatenate([[0], np.cumsum([count for count, _ in shard.row_groups])])
    groups = np.unique(np.searchsorted(bounds, rows, side="right") - 1).tolist()
    return [Split(shard.number, group, group, int(bounds[group]), *shard.row_groups[group]) for group in groups]


def _select(batch: ViewBatch, index: np.ndarray) -> ViewBatch:
    return batch._replace(
        rows=batch.rows[index], addresses=batch.addresses[index], documents=batch.documents.take(pa.array(index))
    )


def take_sets(sets: Shingles, order: np.ndarray) -> Shingles:
    """The sets of the given documents in that order."""
    counts = np.diff(sets.offsets)[order]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    index = np.repeat(sets.offsets[:-1][order] - offsets[:-1], counts) + np.arange(offsets[-1])
    return Shingles(sets.hashes[index], offsets)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_minhash", argv)


if __name__ == "__main__":
    sys.exit(main())
