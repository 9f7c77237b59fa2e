"""Exact deduplication: documents with the same xxh3-128 of their text are one cluster, the keep policy names who stays.

Reads a view; writes attributes/exact-v1/ (is_duplicate, cluster_id, cluster_size, kept_id, similarity). Digests, ids and
addresses are shuffled, some 60 bytes a document; the driver holds members of clusters only.

    spark-submit pipelines/dedup_exact.py --config exact.yaml
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from dedup.exact import ExactConfig, choose_kept, digest_texts
from dedup.keepers import keep_order
from dolma_py import config
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import Corpus, read_view
from dolma_py.listing import Split
from dolma_py.parquet_files import open_writer, write_row_group
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.dedup_decisions import (
    DECISION_SPARK,
    MAX_MEMBERS,
    clusters_of,
    keep_columns,
    keep_fields,
    spark_fields,
    write_decisions,
)
from pipelines.shuffles import as_signed, collect_sorted, read_frame, reduce_groups
from pipelines.steps import Rule, StepContext, StepResult, Unit, file_lists, split_name, split_params

VERSION = 1
SET = "exact-v1"


class DedupExactConfig(ExactConfig):
    """dedup.exact's settings and the rules that follow."""

    rules: list[Rule] = Field(
        default_factory=lambda: [Rule(name="exact_copy", keep="not is_duplicate")], description="added to the view"
    )


def run(context: StepContext, exact: DedupExactConfig) -> StepResult:
    """Digest every document, bring equal digests together, write decisions."""
    settings = config.dump_config(exact)
    units = [
        Unit(
            split_name(split),
            split_params(context, split) | {"exact": settings, "work": context.work},
            split.text_bytes,
        )
        for split in context.plan_splits()
    ]
    done, _ = context.run_units("digests", units, digest_split)
    paths = [file["path"] for file in file_lists(done)]
    fields = digest_fields(exact)

    def choose(table: pa.Table) -> pa.Table:
        table = table.combine_chunks()
        place = keep_order(table, policy=exact.keep)
        address = table.column("address").to_numpy()
        kept = choose_kept(_bits(table, "high"), _bits(table, "low"), address=address, place=place)
        ones = np.ones(len(address), np.float32)
        return clusters_of(address, kept.kept_address, table.column("id").combine_chunks(), ones)

    frame = read_frame(context, paths, [field.name for field in fields], schema=spark_fields(fields))
    chosen = reduce_groups(frame, keys=["high", "low"], order=["address"], reduce=choose, schema=DECISION_SPARK)
    decisions = collect_sorted(chosen, by=["address"], limit=MAX_MEMBERS, what="members of clusters", context=context)
    return write_decisions(context, decisions, SET)


def digest_fields(exact: DedupExactConfig) -> list[pa.Field]:
    """Columns of the digest files: the digest, the id, and what the keep policy compares."""
    return [
        pa.field("high", pa.int64()),
        pa.field("low", pa.int64()),
        pa.field("id", pa.string()),
        *keep_fields(exact.keep),
    ]


def _bits(table: pa.Table, name: str) -> np.ndarray:
    bits: np.ndarray = table.column(name).to_numpy().view(np.uint64)
    return bits


def digest_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: digests of one split, one row group per row group of documents."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    exact = config.build_config(DedupExactConfig, params["exact"])
    schema = pa.schema(digest_fields(exact))

    def write(sink: HashingWriter) -> int:
        rows = 0
        with open_writer(sink, schema) as writer:
            for batch in read_view(corpus, view, split, ["text"]):
                digests = digest_texts(*view_text(batch.documents.column("text")), text=exact.text)
                high = digests.high
                if exact.scope == "source":  # other sources' copies get other digests
                    high = high ^ _source_bits(batch.documents.column("source"))
                keys = keep_columns(corpus, batch, exact.keep)
                columns = [as_signed(high), as_signed(digests.low), batch.documents.column("id"), *keys.columns]
                table = pa.table(columns, schema=schema).filter(pa.array(digests.is_valid))
                write_row_group(writer, table)
                rows += table.num_rows
        return rows

    return [write_attempt(corpus.root, attempts, f"{params['work']}/digests/{split_name(split)}.parquet", write)], {}


def _source_bits(sources: pa.Array) -> np.ndarray:
    encoded = sources.dictionary_encode()
    bits = np.array([xxhash.xxh64_intdigest(name) for name in encoded.dictionary.to_pylist()], np.uint64)
    return bits[encoded.indices.to_numpy(zero_copy_only=False)]


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_exact", argv)


if __name__ == "__main__":
    sys.exit(main())
