"""Exact deduplication: documents with the same xxh3-128 of their text are one cluster, the keep policy names who stays.

Reads a view; writes attributes/exact-v1/ (is_duplicate, cluster_id, cluster_size, kept_id, similarity). The set's name says what
was compared: exact-v1 raw texts across all sources, exact-source-v1 within each source, exact-normalised-v1 normalised texts,
exact-normalised-source-v1 both; so one recipe may do several, as Olmo 3 did (arXiv 2512.13961, A.2.2: within a dump, then
globally). Digests, ids and addresses are shuffled, some 60 bytes a document; see dedup_keys.

    spark-submit pipelines/dedup_exact.py --config exact.yaml
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import Field

from dedup.alarms import CopyAlarms
from dedup.exact import Digests, ExactConfig, add_source, digest_texts
from dolma_py import config
from dolma_py.arrow_buffers import view_text
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.storage import WrittenFile
from pipelines.dedup_keys import DOCUMENT_DISK_BYTES, KeyJob, decide_copies, write_keys
from pipelines.mix_table import MEAN_TEXT_BYTES
from pipelines.seen_keys import (
    BloomConfig,
    IndexConfig,
    Seen,
    asked_bytes,
    expect_documents,
    fingerprint_seen,
    saved_bytes,
    seen_disk_bytes,
)
from pipelines.split_files import key_settings
from pipelines.steps import Rule, StepContext, StepResult

VERSION = 3
CHANGES_NO_BYTE = ("alarms", "keep_keys")


class DedupExactConfig(ExactConfig):
    """dedup.exact's settings and the rules that follow."""

    bloom: BloomConfig = Field(BloomConfig(), description="filters of earlier data, and the filter of this")
    index: IndexConfig = Field(IndexConfig(), description="indexes of earlier data, and the index of this")
    alarms: CopyAlarms = Field(default=CopyAlarms(), description="what stops the step before it is complete")
    keep_keys: bool = Field(
        default=True, description="leave keys in the run folder, so that a grown corpus costs its new documents alone"
    )
    rules: list[Rule] = Field(
        default_factory=lambda: [Rule(name="exact_copy", keep="not is_duplicate")], description="added to the view"
    )


def name_set(exact: ExactConfig) -> str:
    """The attribute set of these settings."""
    parts = ["normalised"] if exact.text == "normalised" else []
    parts += ["source"] if exact.scope == "source" else []
    return "-".join(["exact", *parts, "v1"])


def run(context: StepContext, exact: DedupExactConfig) -> StepResult:
    """Digest every document, bring equal digests together, write decisions."""
    facts = {"hash": "xxh3-128", "text": exact.text, "scope": exact.scope}
    seen = Seen(exact.bloom, exact.index, {"unit": "document", "text": exact.text, "scope": exact.scope})
    job = KeyJob(name_set(exact), exact.keep, facts, seen, exact.alarms, key_settings(exact), exact.keep_keys)
    return decide_copies(context, job, digest_split)


def fingerprint_inputs(corpus: Corpus, exact: DedupExactConfig) -> dict[str, str]:
    """What of earlier data decides the output."""
    return fingerprint_seen(corpus, exact.bloom, exact.index)


def driver_memory_bytes(exact: DedupExactConfig, text_bytes: int) -> int:
    """Beside what every driver holds: the filter that is to be saved, of documents of MEAN_TEXT_BYTES or more on average."""
    return saved_bytes(exact.bloom, text_bytes // MEAN_TEXT_BYTES)


def shared_memory_bytes(exact: DedupExactConfig, corpus: Corpus, text_bytes: int) -> int:
    """The filters that are asked."""
    return asked_bytes(corpus, exact.bloom, text_bytes // MEAN_TEXT_BYTES)


def work_disk_bytes(exact: DedupExactConfig, corpus: Corpus, text_bytes: int) -> int:
    """Keys, their shuffle, decisions and attributes, and what is kept of filters and indexes."""
    num_docs = expect_documents(corpus, text_bytes)
    return DOCUMENT_DISK_BYTES * num_docs + seen_disk_bytes(corpus, exact.bloom, exact.index, num_docs)


def digest_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: digests of one split."""
    exact = config.build_config(DedupExactConfig, params["settings"]["step"])

    def digest(batch: ViewBatch) -> tuple[Digests, dict[str, Any]]:
        digests = digest_texts(*view_text(batch.documents.column("text")), text=exact.text)
        is_apart = exact.scope == "source"
        return add_source(digests, batch.documents.column("source")) if is_apart else digests, {}

    return write_keys(params, attempts, keep=exact.keep, columns=["text"], make_keys=digest)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_exact", argv)


if __name__ == "__main__":
    sys.exit(main())
