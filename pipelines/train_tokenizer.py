"""Train a byte-level BPE on a sample of a view; the sample is chosen by hash of the ids, the same for any partitioning.

Writes runs/<recipe>/<step>/tokenizer.json and names it as the artifact `tokenizer`.

    spark-submit pipelines/train_tokenizer.py --config tokenizer.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pydantic import Field

from dolma_py import parquet_files, storage
from mixers.tokenization import BpeConfig, build_tokenizer, train_bpe
from pipelines.sampled_texts import sample_texts
from pipelines.steps import StepContext, StepResult, file_lists

VERSION = 1


class TrainTokenizerConfig(BpeConfig):
    """mixers.tokenization's settings and the size of the sample."""

    sample_bytes: int = Field(
        default=100_000_000, ge=1, description="text to train on, in bytes, about; whole documents are taken"
    )


def run(context: StepContext, settings: TrainTokenizerConfig) -> StepResult:
    """Sample on the executors, train on the driver."""
    done, times = sample_texts(context, "tokenizer sample", settings.sample_bytes)
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


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("train_tokenizer", argv)


if __name__ == "__main__":
    sys.exit(main())
