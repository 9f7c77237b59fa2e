"""Make variants of the problems of a view that come with programs (mixers.problem_variants), as a corpus of their own.

Documents of the view = seeds + left out by reason; variants asked for = taken + refused by reason; dialogues the same; all checked. Each program
runs in a sandbox of its own within its limits, so none stalls the job, reads a file of the machine or reaches the network. What a model answers
is kept in the endpoint's cache. A program that ends about when its time is up may be taken on one machine and refused on another: of that alone
the bytes depend beside the settings and the answers.

    spark-submit pipelines/synth_variants.py --config synth.yaml
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from dolma_py import config
from dolma_py.corpus import Corpus, read_view
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.endpoint import Endpoint
from dolma_py.listing import Split
from dolma_py.sandbox_pool import Pool
from dolma_py.storage import WrittenFile
from dolma_py.views import View
from mixers.problem_variants import ProblemVariantsConfig, ProblemVariantsMaker, identify
from pipelines.new_corpus import open_target, plan_units, write_corpus
from pipelines.shard_files import write_shard
from pipelines.steps import StepContext, StepResult

VERSION = 1
ROWS_AT_ONCE = 32  # seed problems whose requests and programs are under way together


class SynthVariantsConfig(ProblemVariantsConfig):
    """What is made, and where the new corpus goes."""

    recipe: Literal["problem-variants"] = Field(default="problem-variants", description="of synth")
    output: str = Field(min_length=1, description="folder of the new corpus; must not hold another one yet")
    source: str = Field(
        default="{source}-variants",
        pattern=r"^[A-Za-z0-9{}_.-]+$",
        description="source of the made documents; {source} is the seed problem's",
    )
    row_group_text_bytes: int = Field(default=16 << 20, ge=1, description="text in one row group, in bytes")


def run(context: StepContext, settings: SynthVariantsConfig) -> StepResult:
    """One shard per split of the view, in corpus order; a split of which nothing is made has a shard without rows."""
    target = open_target(context, settings.output)
    values = config.dump_config(settings)
    values["endpoint"]["cache"] = settings.endpoint.cache.replace("{corpus}", context.corpus.root)
    params = {"settings": values, "seed": context.seed}
    made = [identify(settings), settings.source, settings.row_group_text_bytes]
    mark = config.fingerprint("synth-variants", VERSION, context.need_view().fingerprint, context.seed, *made)
    units = plan_units(context, target, params, lambda source: settings.source.replace("{source}", source))
    return write_corpus(context, target, units, make_split, mark, summarize)


def summarize(facts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the units counted, in all: seeds, and of variants and dialogues what became of them."""
    total: Counter[str] = Counter()
    for fact in facts:
        total.update(fact["counts"])
    groups: dict[str, dict[str, int]] = {"left_out": {}, "variant": {}, "dialogue": {}}
    for name, number in sorted(total.items()):
        kind, _, what = name.partition(":")
        if kind in groups:
            groups[kind][what] = number
    return {
        "read": total["documents"], "seeds": total["seeds"], "made": total["made"], "left_out": groups["left_out"],
        "variants": groups["variant"], "dialogues": groups["dialogue"],
    }  # fmt: skip


def make_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: what is made of the kept rows of one split, as one shard of the new corpus."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    settings = SynthVariantsConfig.model_validate(params["settings"])
    maker = ProblemVariantsMaker(settings, seed=params["seed"])

    def read(endpoint: Endpoint, pool: Pool) -> Iterator[pa.RecordBatch]:
        column = DOCUMENT_SCHEMA.get_field_index("source")
        for batch in read_view(corpus, view, split):
            documents = batch.documents.cast(DOCUMENT_SCHEMA)
            for start in range(0, documents.num_rows, ROWS_AT_ONCE):
                made = maker.make(documents.slice(start, ROWS_AT_ONCE), endpoint, pool)
                source = pa.array([params["source"]] * made.num_rows, pa.string())
                yield made.set_column(column, DOCUMENT_SCHEMA.field("source"), source)

    with Endpoint(settings.endpoint) as endpoint, Pool(settings.num_workers, settings.limits) as pool:
        files, facts = write_shard(
            read(endpoint, pool), root=params["target"], attempts=attempts, part=params["part"],
            row_group_text_bytes=settings.row_group_text_bytes,
        )  # fmt: skip
    return files, facts | {"counts": dict(sorted(maker.counts.items()))}


def fingerprint_inputs(corpus: Corpus, settings: SynthVariantsConfig) -> dict[str, Any]:
    """The prompts, which the settings do not name."""
    return identify(settings)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("synth_variants", argv)


if __name__ == "__main__":
    sys.exit(main())
