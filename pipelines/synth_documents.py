"""Make documents of a view's documents, as a corpus of their own: long ones with passages that make a model look back (mixers.long_context).

Documents of the view = made + left out by reason, checked. What a model answers is kept in the endpoint's cache, so a killed run asks only for
what was not answered, and a whole one gives the same bytes without a server.

    spark-submit pipelines/synth_documents.py --config synth.yaml
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
from pydantic import Field

from dolma_py import config
from dolma_py.corpus import Corpus, read_view
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Endpoint
from dolma_py.hashing import derive_seed, hash_ids, uniform_hash
from dolma_py.listing import Split
from dolma_py.storage import WrittenFile
from dolma_py.views import View
from mixers.long_context import LongContextConfig, LongContextMaker, identify
from mixers.tokenization import use_one_thread
from mixers.tokenizer_files import checksum_tokenizer
from pipelines.named_tokenizers import cached_tokenizer, place_tokenizer
from pipelines.new_corpus import open_target, plan_units, write_corpus
from pipelines.shard_files import write_shard
from pipelines.steps import StepContext, StepResult

VERSION = 1
ROWS_AT_ONCE = 64  # documents whose requests are under way together


class SynthConfig(LongContextConfig):
    """What is made, and where the new corpus goes."""

    output: str = Field(min_length=1, description="folder of the new corpus; must not hold another one yet")
    source: str = Field(
        default="{source}-{recipe}",
        pattern=r"^[A-Za-z0-9{}_.-]+$",
        description="source of the made documents; {source} is the parent's, {recipe} the recipe's name",
    )
    documents_frac: float = Field(
        default=1.0, gt=0, le=1, description="share of the view's documents that are looked at, by a hash of their ids"
    )
    row_group_text_bytes: int = Field(default=16 << 20, ge=1, description="text in one row group, in bytes")


def run(context: StepContext, settings: SynthConfig) -> StepResult:
    """One shard per split of the view, in corpus order; a split of which nothing is made has a shard without rows."""
    target = open_target(context, settings.output)
    name = settings.tokenizer
    name = context.artifact(name.removeprefix("artifact:")) if name.startswith("artifact:") else name
    path, checksum = place_tokenizer(context, name, context.work)
    values = config.dump_config(settings) | {"tokenizer": path}
    if settings.endpoint is not None:
        values["endpoint"]["cache"] = settings.endpoint.cache.replace("{corpus}", context.corpus.root)
    params = {"settings": values, "tokenizer_checksum": checksum, "seed": context.seed}
    tokenizer = cached_tokenizer(path, checksum, where=name)
    made = [identify(settings), tokenizer.fingerprint, settings.source, settings.row_group_text_bytes]
    made += [settings.documents_frac] if settings.documents_frac < 1 else []
    mark = config.fingerprint("synth", VERSION, context.need_view().fingerprint, context.seed, *made)
    units = plan_units(context, target, params, lambda source: name_source(settings, source))
    return write_corpus(context, target, units, make_split, mark, summarize)


def name_source(settings: SynthConfig, source: str) -> str:
    """The source of what is made of documents of `source`."""
    return settings.source.replace("{source}", source).replace("{recipe}", settings.recipe)


def summarize(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the units counted, in all."""
    total: Counter[str] = Counter()
    for fact in facts:
        total.update(fact["counts"])
    groups: dict[str, dict[str, int]] = {"left_out": {}, "passages": {}}
    for name, number in sorted(total.items()):
        kind, _, what = name.partition(":")
        if kind in ("left_out", "passage"):
            groups["left_out" if kind == "left_out" else "passages"][what] = number
    return {"read": total["documents"], "made": total["made"], "sections": total["sections"], **groups}


def make_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: what is made of the kept rows of one split, as one shard of the new corpus."""
    use_one_thread()
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    settings = SynthConfig.model_validate(params["settings"])
    tokenizer = cached_tokenizer(settings.tokenizer, params["tokenizer_checksum"])
    maker = LongContextMaker(settings, tokenizer, seed=params["seed"])
    asks = settings.recipe == "rex" and settings.endpoint is not None
    opened = Endpoint(settings.endpoint) if asks and settings.endpoint is not None else nullcontext()

    def read(endpoint: Endpoint | None) -> Iterator[pa.RecordBatch]:
        column = DOCUMENT_SCHEMA.get_field_index("source")
        for batch in read_view(corpus, view, split):
            documents = take_share(batch.documents, settings, params["seed"]).cast(DOCUMENT_SCHEMA)
            for start in range(0, documents.num_rows, ROWS_AT_ONCE):
                made = maker.make(documents.slice(start, ROWS_AT_ONCE), endpoint)
                source = pa.array([params["source"]] * made.num_rows, pa.string())
                yield made.set_column(column, DOCUMENT_SCHEMA.field("source"), source)

    with opened as endpoint:
        files, facts = write_shard(
            read(endpoint), root=params["target"], attempts=attempts, part=params["part"],
            row_group_text_bytes=settings.row_group_text_bytes,
        )  # fmt: skip
    return files, facts | {"counts": dict(sorted(maker.counts.items()))}


def take_share(documents: pa.RecordBatch, settings: SynthConfig, seed: int) -> pa.RecordBatch:
    """The documents whose ids' hashes are below documents_frac; other ones for another recipe."""
    if settings.documents_frac >= 1:
        return documents
    hashes = hash_ids(documents.column("id"), seed=seed, name=f"synth {settings.recipe}")
    return documents.filter(
        pa.array(uniform_hash(hashes, seed=derive_seed(seed, "synth share")) < settings.documents_frac)
    )


def fingerprint_inputs(corpus: Corpus, settings: SynthConfig) -> list[object]:
    """The tokenizer's file, whatever names it, unless a step of the recipe makes it."""
    return [None if settings.tokenizer.startswith("artifact:") else checksum_tokenizer(settings.tokenizer)]


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("synth", argv)


if __name__ == "__main__":
    sys.exit(main())
