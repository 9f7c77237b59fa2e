"""URL deduplication: documents whose normalised URL is the same are one cluster, the keep policy names who stays.

Reads a view; writes attributes/urls-v1/ (urls-source-v1 within each source) with the columns of every deduplication. Documents
without a URL, or with one that has no scheme and host, are alone and counted. No text is read unless the keep policy asks for it.

    spark-submit pipelines/dedup_urls.py --config urls.yaml
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import Field

from dedup.alarms import CopyAlarms
from dedup.exact import Digests, add_source
from dedup.urls import UrlConfig, digest_urls
from dolma_py import config
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.metadata import read_fields
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

VERSION = 2
CHANGES_NO_BYTE = ("alarms", "keep_keys")


class DedupUrlsConfig(UrlConfig):
    """dedup.urls' settings and the rules that follow."""

    bloom: BloomConfig = Field(BloomConfig(), description="filters of earlier data, and the filter of this")
    index: IndexConfig = Field(IndexConfig(), description="indexes of earlier data, and the index of this")
    alarms: CopyAlarms = Field(default=CopyAlarms(), description="what stops the step before it is complete")
    keep_keys: bool = Field(
        default=True, description="leave keys in the run folder, so that a grown corpus costs its new documents alone"
    )
    rules: list[Rule] = Field(
        default_factory=lambda: [Rule(name="same_url", keep="not is_duplicate")], description="added to the view"
    )


def run(context: StepContext, urls: DedupUrlsConfig) -> StepResult:
    """Key every document by its URL, bring equal keys together, write decisions."""
    facts = {"hash": "xxh3-128", "text": "url", "scope": urls.scope}
    seen = Seen(
        urls.bloom, urls.index, {"unit": "url", "scope": urls.scope, "spelling": config.dump_config(urls.spelling)}
    )
    name = "urls-source-v1" if urls.scope == "source" else "urls-v1"
    job = KeyJob(name, urls.keep, facts, seen, urls.alarms, key_settings(urls), urls.keep_keys)
    return decide_copies(context, job, digest_split)


def fingerprint_inputs(corpus: Corpus, urls: DedupUrlsConfig) -> dict[str, str]:
    """What of earlier data decides the output."""
    return fingerprint_seen(corpus, urls.bloom, urls.index)


def driver_memory_bytes(urls: DedupUrlsConfig, text_bytes: int) -> int:
    """Beside what every driver holds: the filter that is to be saved, of documents of MEAN_TEXT_BYTES or more on average."""
    return saved_bytes(urls.bloom, text_bytes // MEAN_TEXT_BYTES)


def shared_memory_bytes(urls: DedupUrlsConfig, corpus: Corpus, text_bytes: int) -> int:
    """The filters that are asked."""
    return asked_bytes(corpus, urls.bloom, text_bytes // MEAN_TEXT_BYTES)


def work_disk_bytes(urls: DedupUrlsConfig, corpus: Corpus, text_bytes: int) -> int:
    """Keys, their shuffle, decisions and attributes, and what is kept of filters and indexes."""
    num_docs = expect_documents(corpus, text_bytes)
    return DOCUMENT_DISK_BYTES * num_docs + seen_disk_bytes(corpus, urls.bloom, urls.index, num_docs)


def digest_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: URL keys of one split."""
    urls = config.build_config(DedupUrlsConfig, params["settings"]["step"])

    def digest(batch: ViewBatch) -> tuple[Digests, dict[str, Any]]:
        values = read_fields(batch.documents.column("metadata"), list(urls.fields))
        keys = digest_urls([values[field] for field in urls.fields], urls.spelling)
        digests = keys.digests
        counts = {"without_url": keys.without_url, "invalid_urls": keys.invalid_urls}
        return add_source(digests, batch.documents.column("source")) if urls.scope == "source" else digests, counts

    return write_keys(params, attempts, keep=urls.keep, columns=["metadata"], make_keys=digest)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_urls", argv)


if __name__ == "__main__":
    sys.exit(main())
