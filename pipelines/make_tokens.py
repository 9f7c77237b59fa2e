"""Tokenize a sampled mix and write its shards: a global shuffle of documents in two passes of work files.

Reads a view and attributes/sample-v1; writes tokens/<mix>/ as docs/architecture.md names it: part-NNNNN.npy, part-NNNNN.csv.gz,
lineage.parquet, tokenizer.json, heldout/<source>.jsonl.gz, manifest.json (last). Pass 1 (pipelines.encode_split) encodes each split into
a file in order of a hash of (seed, id, copy); pass 2 (pipelines.write_parts) makes each range of hashes a part. Copies drawn = documents
written, tokens sampled = tokens written, checked (pipelines.sampled_tokens). An earlier mix of the same name stands until pass 2.

    spark-submit pipelines/make_tokens.py --config tokens.yaml
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal

import numpy as np
from pydantic import Field

from dolma_py import config, manifest, storage, views
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConservationError
from mixers import shards
from mixers.fim import MODE_NAMES, FimConfig, FimTokens, check_rates, find_fim_tokens
from mixers.shard_manifest import build_manifest
from mixers.shards import LINEAGE_SCHEMA, PartSummary
from mixers.tokenization import LoadedTokenizer, find_loss
from mixers.tokenizer_files import checksum_tokenizer
from pipelines.encode_split import add_counts, encode_split
from pipelines.merged_lineage import MERGE_BYTES, ROW_BYTES, merge_runs
from pipelines.merged_pieces import merge_pieces
from pipelines.named_tokenizers import cached_tokenizer, place_tokenizer
from pipelines.sample_mix import find_planned_sources
from pipelines.sampled_tokens import SampledSource, check_written, describe_written, find_sampled
from pipelines.steps import StepContext, StepResult, Unit, file_lists, split_name, split_params
from pipelines.write_parts import write_unit

logger = logging.getLogger("dolma_py.build")

VERSION = 4
OUR_FILES = re.compile(
    r"part-\d{5,}\.(npy|csv\.gz)|heldout/[^/]+\.jsonl\.gz"
)  # what a mix leaves beside the files that each has


class MakeTokensConfig(Config):
    """Which tokenizer, where to, and how large the parts are."""

    mix: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the folder under tokens/")
    tokenizer: str = Field(
        default="artifact:tokenizer",
        description="artifact, tokenizer.json, folder or hub name (owner/name or owner/name@revision)",
    )
    eos_token: str | None = Field(
        default=None, description="token that ends a document; null: the first usual name it has"
    )
    sample: str = Field(default="sample-v1", description="attribute set with copies and is_heldout")
    tokens_per_part: int = Field(
        default=1 << 28, ge=1024, description="tokens in one part, about; a part's rows are held in memory twice"
    )
    check_tokens: bool = Field(
        default=True,
        description="stop where the tokens of a source are not those that the sample counted; false: the manifest tells the difference",
    )
    max_heldout_docs: int = Field(
        default=1000, ge=0, description="held-out documents written per source: those with the smallest hash"
    )
    special_tokens: Literal["text", "error"] = Field(
        default="text",
        description="what the name of a special token, the tokenizer's or a chat template's, is in a text: text like any other, or an error, as "
        "midtraining wants it (docs/sampling.md)",
    )
    allowed_special_tokens: list[str] = Field(
        default_factory=list,
        description="strings, such as [INST], that a text may spell where special_tokens is error",
    )
    fim: FimConfig | None = Field(
        default=None, description="cut copies of some sources for fill-in-the-middle; null: none"
    )


def run(context: StepContext, settings: MakeTokensConfig) -> StepResult:
    """Both passes, then lineage and manifest."""
    corpus, out, name = context.corpus, f"tokens/{settings.mix}", settings.tokenizer
    name = context.artifact(name.removeprefix("artifact:")) if name.startswith("artifact:") else name
    path, checksum = place_tokenizer(context, name, context.work)
    tokenizer = cached_tokenizer(path, checksum, settings.eos_token, where=name)
    _warn_of_loss(tokenizer, settings.tokenizer)
    fim_tokens = check_fim(context, settings, tokenizer)
    sampled = find_sampled(corpus, settings.sample)
    num_ranges = plan_ranges(context, settings, sampled)
    base = _task_params(context, settings, num_ranges) | {"tokenizer": path, "tokenizer_checksum": checksum}
    splits = context.plan_splits()
    units = [Unit(split_name(split), base | split_params(context, split), split.text_bytes) for split in splits]
    pieces, times = context.run_units("pieces", units, encode_split, layout=num_ranges)
    names = [unit.name for unit in units]
    facts = [pieces.units[name]["facts"] for name in names]
    sources: dict[str, dict[str, int]] = {}
    for fact in facts:
        add_counts(sources, fact["sources"])
    if sampled is not None and settings.check_tokens:
        check_written(sampled, sources, uncut=list_uncut(settings, sources), tokenizer=settings.tokenizer)
    storage.remove_file(corpus.path(out, "manifest.json"))  # an earlier mix is not complete from here on
    parts = _plan_parts(context, settings, names, facts, base)
    done, part_times = context.run_units("parts", parts, write_unit)
    written = [done.units[unit.name]["facts"] for unit in parts]
    summaries = [
        PartSummary(fact["entry"], fact["sources"], LINEAGE_SCHEMA.empty_table()) for fact in written if "entry" in fact
    ]
    heldout = {fact["source"]: fact["heldout"] for fact in written if "heldout" in fact}
    runs = [file["path"] for file in file_lists(done) if "/lineage/" in file["path"]]
    lineage = merge_runs(context, runs, f"{out}/lineage.parquet")
    storage.write_bytes(corpus.path(out, "tokenizer.json"), tokenizer.backend.to_str(pretty=True).encode())
    checksums = {
        "lineage.parquet": lineage["checksum"],
        "tokenizer.json": storage.checksum_file(corpus.path(out, "tokenizer.json")),
    }
    made = build_manifest(
        summaries, tokenizer=tokenizer, seed=context.seed, fingerprint=context.fingerprint, heldout=heldout, checksums=checksums,
        mix=describe_written(find_planned_sources(corpus, settings.sample), sampled, sources), fim=describe_fim(fim_tokens, facts),
    )  # fmt: skip
    copies = sum(fact["copies"] for fact in facts)
    if made["documents"] != copies or made["sources"] != {source: sources[source] for source in sorted(sources)}:
        raise ConservationError("tokenize", {"copies": copies, "written": made["documents"]})
    files = _list_own(corpus, out, made)
    storage.write_bytes(corpus.path(out, "manifest.json"), manifest.render_json(made))
    result = {
        key: made[key] for key in ("tokens", "documents", "sources", "heldout", "dtype", "vocab_size", "fingerprint", "lossless")
    }  # fmt: skip
    return StepResult(artifacts={f"shards_{settings.mix}": f"{out}/manifest.json"}, files=files, facts=result | {"parts": len(summaries)},
                      times={"encode_task_sec": times.task_sec, "parts_task_sec": part_times.task_sec,
                             "peak_worker_bytes": max(times.peak_worker_bytes, part_times.peak_worker_bytes)})  # fmt: skip


def _task_params(context: StepContext, settings: MakeTokensConfig, num_ranges: int) -> dict[str, Any]:
    """What every task of both passes gets, but the tokenizer."""
    return {
        "eos_token": settings.eos_token, "sample": settings.sample, "seed": context.seed, "work": context.work,
        "out": f"tokens/{settings.mix}", "root": context.corpus.root, "num_ranges": num_ranges, "special_tokens": settings.special_tokens,
        "allowed_special_tokens": settings.allowed_special_tokens, "max_heldout_docs": settings.max_heldout_docs,
        "fim": config.dump_config(settings.fim) if settings.fim is not None else None,
    }  # fmt: skip


def check_fim(context: StepContext, settings: MakeTokensConfig, tokenizer: LoadedTokenizer) -> FimTokens | None:
    """The tokens of fill-in-the-middle, None without it; ConfigError before any work for one that the vocabulary lacks."""
    if settings.fim is None:
        return None
    planned = find_planned_sources(context.corpus, settings.sample)  # by record; shards are named after their inputs
    check_rates(settings.fim, None if planned is None else sorted(planned), context.setting_key("fim"))
    return find_fim_tokens(tokenizer, settings.fim, context.setting_key("fim"))


def describe_fim(tokens: FimTokens | None, facts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the manifest says of fill-in-the-middle: its tokens, and how many copies were cut."""
    if tokens is None:
        return None
    cut = {mode: sum(fact["fim"][mode] for fact in facts) for mode in MODE_NAMES if mode is not None}
    return {f"{name}_token_id": number for name, number in tokens._asdict().items()} | {"documents": cut}


def list_uncut(settings: MakeTokensConfig, sources: dict[str, Any]) -> set[str]:
    """The sources of whose copies fill-in-the-middle cuts none."""
    return {source for source in sources if settings.fim is None or settings.fim.rate_of(source) == 0}


def _warn_of_loss(tokenizer: LoadedTokenizer, name: str) -> None:
    """A warning where one of some hard texts does not come back from its tokens."""
    loss = find_loss(tokenizer)
    if loss is not None:
        logger.warning(
            "tokenizer %s does not give texts back: %r became %r; manifest.json says lossless: false", name, *loss
        )


def worker_memory_bytes(settings: MakeTokensConfig, text_bytes: int) -> int:
    """The most of what a task of phase parts holds, twice, a part's tokens of 4 bytes, no more than one for each byte of text, and
    of what the merge of the lineage holds.
    """
    return max(2 * 4 * min(settings.tokens_per_part, text_bytes), min(MERGE_BYTES, ROW_BYTES * text_bytes))


def fingerprint_inputs(corpus: Corpus, settings: MakeTokensConfig) -> list[object]:
    """What the tokenizer's name means now, unless a step makes it."""
    return [None if settings.tokenizer.startswith("artifact:") else checksum_tokenizer(settings.tokenizer)]


def plan_ranges(context: StepContext, settings: MakeTokensConfig, sampled: dict[str, SampledSource] | None) -> int:
    """Into how many ranges of hashes pass 1 cuts: the number of parts where the sample knows all tokens, a larger one otherwise.

    It decides how much more than its own rows a task of pass 2 reads, and no byte of a part.
    """
    tokens = (
        count_drawn_bytes(context, settings) if sampled is None else sum(taken.tokens for taken in sampled.values())
    )
    return shards.plan_buckets(tokens if settings.fim is None else 2 * tokens, tokens_per_part=settings.tokens_per_part)


def count_drawn_bytes(context: StepContext, settings: MakeTokensConfig) -> int:
    """Copies times (text bytes and one for the end): at least as many as tokens, by all vocabularies that do not lengthen texts."""
    shards_listed = views.check_listing(context.need_view(), context.corpus.read_listing()).shards
    total = 0
    for shard in shards_listed:
        if shard.rows:
            groups = list(range(len(shard.row_groups)))
            copies = (
                views.read_attributes(context.corpus.root, settings.sample, shard, groups)
                .column("copies")
                .fill_null(0)
                .to_numpy()
            )
            sizes = (
                views.read_attributes(context.corpus.root, views.SIZES, shard, groups).column("text_bytes").to_numpy()
            )
            total += int((copies.astype(np.int64) * (sizes + 1)).sum())
    return total


def _plan_parts(
    context: StepContext, settings: MakeTokensConfig, names: list[str], facts: list[dict[str, Any]], base: dict[str, Any]
) -> list[Unit]:  # fmt: skip
    """A unit for each part, as many as the tokens that pass 1 counted want, and for each source's held-out documents."""
    tokens = sum(counts["tokens"] for fact in facts for counts in fact["sources"].values())
    num_buckets = shards.plan_buckets(tokens, tokens_per_part=settings.tokens_per_part)
    paths = [f"{context.work}/pieces/{name}.pieces" for name, fact in zip(names, facts, strict=True) if fact["copies"]]
    paths = merge_pieces(context, paths, num_ranges=base["num_ranges"], num_buckets=num_buckets)
    listing = f"{context.work}/pieces.json"  # of the phase, not of each unit: parts times splits would be too many
    content = manifest.render_json({"num_ranges": base["num_ranges"], "paths": paths})
    storage.write_bytes(context.corpus.path(listing), content)
    of_part = base | {"num_buckets": num_buckets, "pieces": listing}
    units = [
        Unit(f"part-{bucket:05d}", of_part | {"bucket": bucket}, tokens // num_buckets) for bucket in range(num_buckets)
    ]
    for source in sorted({source for fact in facts for source in fact["heldout"]}):
        having = [name for name, fact in zip(names, facts, strict=True) if source in fact["heldout"]]
        own = {"heldout": source, "splits": having, "max_docs": settings.max_heldout_docs}
        units.append(Unit(f"heldout-{source}", base | own, 0))
    return units


def _list_own(corpus: Corpus, out: str, made: dict[str, Any]) -> dict[str, int]:
    """Bytes of the mix's files, relative to the corpus; those of an earlier, larger mix of the same name go, what is not a mix's stays."""
    own = {entry["path"] for entry in made["files"]} | {entry["sidecar"]["path"] for entry in made["files"]}
    own |= {"lineage.parquet", "tokenizer.json"} | {entry["path"] for entry in made["heldout"].values()}
    found = {}
    for info in storage.list_files(corpus.path(out)):
        name = info.path.removeprefix(corpus.path(out) + "/")
        if name in own:
            found[f"{out}/{name}"] = info.num_bytes
        elif OUR_FILES.fullmatch(name):
            storage.remove_file(info.path)
    return found


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("tokenize", argv)


if __name__ == "__main__":
    sys.exit(main())
