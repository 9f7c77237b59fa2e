"""Tokenize a sampled mix and write its shards: a global shuffle of documents in two passes of bucket files.

Reads a view and attributes/sample-v1; writes tokens/<mix>/ as docs/architecture.md names it: part-NNNNN.npy, part-NNNNN.csv.gz,
lineage.parquet, tokenizer.json, heldout/<source>.jsonl.gz, manifest.json (last). Pass 1 (pipelines.encode_split) encodes each split and
sorts copies into buckets by a hash of (seed, id, copy); pass 2 makes each bucket a part. Copies drawn = documents written, checked.

    spark-submit pipelines/make_tokens.py --config tokens.yaml
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import sys
from typing import Any, Literal

import numpy as np
from pydantic import Field

from dolma_py import config, manifest, storage, views
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConservationError
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from mixers import shards
from mixers.fim import MODE_NAMES, FimConfig, FimTokens, check_rates, find_fim_tokens
from mixers.shard_manifest import build_manifest
from mixers.shards import LINEAGE_SCHEMA, PartSummary
from mixers.tokenization import LoadedTokenizer
from pipelines.encode_split import cached_tokenizer, encode_split, write_lines
from pipelines.merged_lineage import MERGE_BYTES, ROW_BYTES, merge_runs, write_run
from pipelines.sample_mix import find_planned_sources
from pipelines.steps import StepContext, StepResult, Unit, checksum_if_file, file_lists, split_name, split_params

VERSION = 3


class MakeTokensConfig(Config):
    """Which tokenizer, where to, and how large the parts are."""

    mix: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the folder under tokens/")
    tokenizer: str = Field(default="artifact:tokenizer", description="artifact, tokenizer.json, folder or hub name")
    sample: str = Field(default="sample-v1", description="attribute set with copies and is_heldout")
    tokens_per_part: int = Field(
        default=1 << 28, ge=1024, description="tokens in one part, about; a part's pieces are held in memory twice"
    )
    max_heldout_docs: int = Field(
        default=1000, ge=0, description="held-out documents written per source: those with the smallest hash"
    )
    special_tokens: Literal["text", "error"] = Field(
        default="text",
        description="what a special token's name in a text is: text like any other, or an error, as midtraining wants it (docs/sampling.md)",
    )
    fim: FimConfig | None = Field(
        default=None, description="cut copies of some sources for fill-in-the-middle; null: none"
    )


def run(context: StepContext, settings: MakeTokensConfig) -> StepResult:
    """Both passes, then lineage and manifest."""
    corpus, out = context.corpus, f"tokens/{settings.mix}"
    name = settings.tokenizer
    path = context.artifact(name.removeprefix("artifact:")) if name.startswith("artifact:") else name
    tokenizer = cached_tokenizer(path)
    fim_tokens = check_fim(context, settings, tokenizer)
    storage.remove_file(corpus.path(out, "manifest.json"))  # not complete from here on
    splits = context.plan_splits()
    num_buckets = shards.plan_buckets(count_drawn_tokens(context, settings), tokens_per_part=settings.tokens_per_part)
    base = {
        "tokenizer": path,
        "sample": settings.sample,
        "seed": context.seed,
        "num_buckets": num_buckets,
        "work": context.work,
        "special_tokens": settings.special_tokens,
        "fim": config.dump_config(settings.fim) if settings.fim is not None else None,
    }
    units = [Unit(split_name(split), split_params(context, split) | base, split.text_bytes) for split in splits]
    pieces, times = context.run_units("pieces", units, encode_split)
    facts = [pieces.units[unit.name]["facts"] for unit in units]
    parts = _plan_parts(
        context, settings, [unit.name for unit in units], facts, base | {"out": out, "root": corpus.root}
    )
    done, part_times = context.run_units("parts", parts, write_unit)
    written = [done.units[unit.name]["facts"] for unit in parts]
    summaries = [
        PartSummary(fact["entry"], fact["sources"], LINEAGE_SCHEMA.empty_table()) for fact in written if "entry" in fact
    ]
    heldout = {fact["source"]: fact["heldout"] for fact in written if "heldout" in fact}
    copies = sum(fact["copies"] for fact in facts)
    runs = [file["path"] for file in file_lists(done) if "/lineage/" in file["path"]]
    lineage = merge_runs(context, runs, f"{out}/lineage.parquet")
    storage.write_bytes(corpus.path(out, "tokenizer.json"), tokenizer.backend.to_str(pretty=True).encode())
    checksums = {
        "lineage.parquet": lineage["checksum"],
        "tokenizer.json": storage.checksum_file(corpus.path(out, "tokenizer.json")),
    }
    made = build_manifest(
        summaries, tokenizer=tokenizer, seed=context.seed, fingerprint=context.fingerprint, heldout=heldout, checksums=checksums,
        mix=find_planned_sources(corpus, settings.sample), fim=describe_fim(fim_tokens, facts),
    )  # fmt: skip
    if made["documents"] != copies:
        raise ConservationError("tokenize", {"copies": copies, "written": made["documents"]})
    _remove_strangers(corpus, out, made)
    storage.write_bytes(corpus.path(out, "manifest.json"), manifest.render_json(made))
    result = {
        key: made[key] for key in ("tokens", "documents", "sources", "heldout", "dtype", "vocab_size", "fingerprint")
    }
    names = [info for info in storage.list_files(corpus.path(out)) if not info.path.endswith("/manifest.json")]
    files = {info.path.removeprefix(corpus.path("")): info.num_bytes for info in names}
    return StepResult(artifacts={f"shards_{settings.mix}": f"{out}/manifest.json"}, files=files, facts=result | {"parts": len(summaries)},
                      times={"encode_task_sec": times.task_sec, "parts_task_sec": part_times.task_sec,
                             "peak_worker_bytes": max(times.peak_worker_bytes, part_times.peak_worker_bytes)})  # fmt: skip


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


def worker_memory_bytes(settings: MakeTokensConfig, text_bytes: int) -> int:
    """The most of what a task of phase parts holds, twice, a part's tokens of 4 bytes, no more than one for each byte of text, and
    of what the merge of the lineage holds.
    """
    return max(2 * 4 * min(settings.tokens_per_part, text_bytes), min(MERGE_BYTES, ROW_BYTES * text_bytes))


def fingerprint_inputs(corpus: Corpus, settings: MakeTokensConfig) -> list[object]:
    """The tokenizer's file, when it is named by path."""
    return [checksum_if_file(settings.tokenizer)]


def count_drawn_tokens(context: StepContext, settings: MakeTokensConfig) -> int:
    """Copies times text bytes over four: the number of parts comes from it, so it must not need the tokens themselves."""
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
            total += int((copies.astype(np.int64) * sizes).sum())
    return total // 4


def _plan_parts(
    context: StepContext, settings: MakeTokensConfig, names: list[str], facts: list[dict[str, Any]], base: dict[str, Any]
) -> list[Unit]:  # fmt: skip
    sources = sorted({source for fact in facts for source in fact["heldout"]})
    units = []
    for bucket in range(base["num_buckets"]):
        having = [name for name, fact in zip(names, facts, strict=True) if str(bucket) in fact["buckets"]]
        size = sum(fact["buckets"].get(str(bucket), 0) for fact in facts)
        units.append(Unit(f"part-{bucket:05d}", base | {"bucket": bucket, "splits": having}, size))
    for source in sources:
        having = [name for name, fact in zip(names, facts, strict=True) if source in fact["heldout"]]
        units.append(
            Unit(
                f"heldout-{source}",
                base | {"heldout": source, "splits": having, "max_docs": settings.max_heldout_docs},
                0,
            )
        )
    return units


def write_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """Pass 2, one task: a part, or a source's held-out documents."""
    return write_heldout(params, attempts) if "heldout" in params else write_bucket(params, attempts)


def write_bucket(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """Sort one bucket into part-NNNNN.npy, its sidecar, and its rows of the lineage."""
    root, bucket = params["root"], params["bucket"]
    tokenizer = cached_tokenizer(params["tokenizer"])
    pieces = []
    for name in params["splits"]:
        path = storage.join_path(root, params["work"], "pieces", name, f"bucket-{bucket:05d}.arrow")
        with storage.open_read(path) as stream:
            pieces.append(shards.read_piece(stream, path))
    sidecar = io.BytesIO()
    kept: list[PartSummary] = []

    def write_tokens(sink: HashingWriter) -> int:
        kept.append(shards.write_part(
            pieces, part=bucket, dtype=tokenizer.dtype, eos_token_id=tokenizer.eos_token_id, token_sink=sink, sidecar_sink=sidecar,
        ))  # fmt: skip
        return int(kept[0].entry["documents"])

    base = f"{params['out']}/part-{bucket:05d}"
    files = [write_attempt(root, attempts, f"{base}.npy", write_tokens)]
    content = sidecar.getvalue()
    files.append(
        write_attempt(root, attempts, f"{base}.csv.gz", functools.partial(write_lines, content, files[0].rows))
    )
    lineage = functools.partial(write_run, lineage=kept[0].lineage)
    files.append(write_attempt(root, attempts, f"{params['work']}/lineage/part-{bucket:05d}.parquet", lineage))
    return files, {"entry": kept[0].entry, "sources": kept[0].sources}


def write_heldout(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One source's held-out documents with the smallest hashes, in that order."""
    root, source = params["root"], params["heldout"]
    lines: list[bytes] = []
    for name in params["splits"]:
        path = storage.join_path(root, params["work"], "heldout", name, f"{storage.safe_name(source)}.jsonl")
        lines = sorted([*lines, *storage.read_bytes(path).splitlines()])[: params["max_docs"]]
    documents = [line[21:] for line in lines]
    num_bytes = sum(len(json.loads(line)["text"].encode()) for line in documents)

    def write(sink: HashingWriter) -> int:
        with gzip.GzipFile(fileobj=sink, mode="wb", filename="", mtime=0, compresslevel=6) as zipped:  # type: ignore[call-overload]
            zipped.write(b"".join(line + b"\n" for line in documents))
        return len(documents)

    relative = f"heldout/{storage.safe_name(source)}.jsonl.gz"
    files = [write_attempt(root, attempts, f"{params['out']}/{relative}", write)]
    return files, {
        "source": source,
        "heldout": {"path": relative, "documents": len(documents), "bytes": num_bytes, "checksum": files[0].checksum},
    }


def _remove_strangers(corpus: Corpus, out: str, made: dict[str, Any]) -> None:
    """Files of an earlier, larger mix of the same name."""
    own = {entry["path"] for entry in made["files"]} | {entry["sidecar"]["path"] for entry in made["files"]}
    own |= {"lineage.parquet", "tokenizer.json"} | {entry["path"] for entry in made["heldout"].values()}
    for info in storage.list_files(corpus.path(out)):
        if info.path.removeprefix(corpus.path(out) + "/") not in own:
            storage.remove_file(info.path)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("tokenize", argv)


if __name__ == "__main__":
    sys.exit(main())
