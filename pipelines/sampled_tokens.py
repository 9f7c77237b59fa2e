"""What a sample took, to be compared with what is written of it: tokens planned = tokens sampled = tokens written.

A sample counts by an attribute (token_count-v1.tokens, say). It counts rightly while that attribute is of the tokenizer that writes and of
the text that is written; of sources whose copies fill-in-the-middle cuts it cannot.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dolma_py import manifest, parquet_files, storage
from dolma_py.corpus import Corpus
from dolma_py.done import read_done_lines
from dolma_py.errors import ConfigError

OTHERWISE = "Or set check_tokens=false: the mix then has other shares than planned, which its manifest tells."


class SampledSource(NamedTuple):
    """Of one source, over its cells."""

    tokens: int
    copies: int


def find_sampled(corpus: Corpus, sample: str) -> dict[str, SampledSource] | None:
    """By source, from `sampled.parquet` of the step that drew the attribute set `sample`; None where no step did, or its table is gone."""
    lines = read_done_lines(corpus.path("attributes", sample, "_done.jsonl"))
    for found in manifest.iterate_manifests(corpus.path("runs")) if lines else []:
        if found.get("kind") == "sample_mix" and found["attributes"].get(sample) == lines[0]["fingerprint"]:
            path = corpus.path(found["artifacts"]["sampled"])
            if storage.file_bytes(path) is None:
                return None
            table = parquet_files.read_row_groups(path, None, ["source", "sampled_tokens", "copies"])
            sums = table.group_by("source").aggregate([("sampled_tokens", "sum"), ("copies", "sum")]).to_pylist()
            return {row["source"]: SampledSource(row["sampled_tokens_sum"], row["copies_sum"]) for row in sums}
    return None


def check_written(
    sampled: dict[str, SampledSource], written: dict[str, dict[str, int]], *, uncut: set[str], tokenizer: str
) -> None:
    """Raise ConfigError unless the copies written of each source are those sampled, and so are the tokens of each that is `uncut`.

    written: tokens and documents (copies) by source. tokenizer: the name that the user gave, for the error.
    """
    none = {"tokens": 0, "documents": 0}
    for source in sorted(sampled.keys() | written.keys()):
        taken, found = sampled.get(source, SampledSource(0, 0)), written.get(source, none)
        if taken.copies != found["documents"]:
            raise ConfigError(
                "sample", source, f"{taken.copies} copies of this source were sampled, and the view has {found['documents']} of them",
                f"Sample again after changing the view. {OTHERWISE}",
            )  # fmt: skip
        if source in uncut and taken.tokens != found["tokens"]:
            raise ConfigError(
                "tokenizer", tokenizer, f"of {source} {taken.tokens} tokens were sampled, and it makes {found['tokens']} of the same copies",
                f"Count tokens (tagger token_count) with this tokenizer, of the texts as they are now, and plan and sample again. {OTHERWISE}",
            )  # fmt: skip


def describe_written(
    planned: dict[str, dict[str, Any]] | None, sampled: dict[str, SampledSource] | None, written: dict[str, dict[str, int]]
) -> dict[str, dict[str, Any]] | None:  # fmt: skip
    """What a manifest says of each planned source: the plan's numbers, then sampled_tokens and written_tokens."""
    if planned is None:
        return None
    return {
        source: values
        | ({"sampled_tokens": sampled.get(source, SampledSource(0, 0)).tokens} if sampled is not None else {})
        | {"written_tokens": written.get(source, {"tokens": 0})["tokens"]}
        for source, values in planned.items()
    }
