"""Train a byte-level BPE on a sample of a view; the sample is chosen by hash of the ids, the same for any partitioning.

Writes runs/<recipe>/<step>/tokenizer.json and names it as the artifact `tokenizer`.

    spark-submit pipelines/train_tokenizer.py --config tokenizer.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py import hashing, parquet_files, storage
from dolma_py.corpus import Corpus, read_view
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from mixers.tokenization import BpeConfig, build_tokenizer, train_bpe
from pipelines.steps import StepContext, StepResult, Unit, file_lists, split_name, split_params

VERSION = 1
SAMPLE_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])


class TrainTokenizerConfig(BpeConfig):
    """mixers.tokenization's settings and the size of the sample."""

    sample_bytes: int = Field(
        default=100_000_000, ge=1, description="text to train on, in bytes, about; whole documents are taken"
    )


def run(context: StepContext, settings: TrainTokenizerConfig) -> StepResult:
    """Sample on the executors, train on the driver."""
    splits = context.plan_splits()
    total = max(1, sum(split.text_bytes for split in splits))
    base = {"frac": min(1.0, settings.sample_bytes / total), "seed": context.seed, "work": context.work}
    units = [Unit(split_name(split), split_params(context, split) | base, split.text_bytes) for split in splits]
    done, times = context.run_units("sample", units, sample_split)
    paths = [context.corpus.path(file["path"]) for file in file_lists(done)]
    content = train_bpe(_read_texts(paths), BpeConfig.model_validate(settings.model_dump(exclude={"sample_bytes"})))
    path = f"{context.folder}/tokenizer.json"
    storage.write_bytes(context.corpus.path(path), content)
    tokenizer = build_tokenizer(content)
    facts = {
        "vocab_size": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint,
        "sample_documents": sum(line["facts"]["documents"] for line in done.units.values()),
        "sample_bytes": sum(line["facts"]["bytes"] for line in done.units.values()),
    }  # fmt: skip
    return StepResult(artifacts={"tokenizer": path}, facts=facts, times=times._asdict())


def _read_texts(paths: list[str]) -> Iterator[str]:
    for path in paths:
        with parquet_files.open_parquet(path) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=["text"], use_threads=False).column("text").to_pylist()


def sample_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the documents of a split whose hash falls into the share."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    facts = {"documents": 0, "bytes": 0}

    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, SAMPLE_SCHEMA) as writer:
            for batch in read_view(corpus, view, split, ["text"]):
                keys = hashing.hash_ids(batch.documents.column("id"), seed=params["seed"], name="tokenizer sample")
                chosen = np.flatnonzero(hashing.uniform_hash(keys, seed=0) < params["frac"])
                table = pa.Table.from_batches([batch.documents.select(["id", "text"])]).take(pa.array(chosen))
                parquet_files.write_row_group(writer, table.cast(SAMPLE_SCHEMA))
                facts["documents"] += table.num_rows
                facts["bytes"] += pa.compute.sum(pa.compute.binary_length(table.column("text"))).as_py() or 0
        return facts["documents"]

    return [write_attempt(corpus.root, attempts, f"{params['work']}/sample/{split_name(split)}.parquet", write)], facts


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("train_tokenizer", argv)


if __name__ == "__main__":
    sys.exit(main())
