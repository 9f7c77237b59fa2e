"""Fuzzy deduplication: MinHash bands find candidates, components gather them, exact Jaccard verifies, the keep policy decides.

Reads a view; writes attributes/minhash-v1/ with the evidence for every removal. Every text is read for its bands
(pipelines/candidate_graph.py goes on from there), candidates' texts once more for verification (pipelines/candidate_sets.py).

    spark-submit pipelines/dedup_minhash.py --config minhash.yaml
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from dedup.keepers import KeepPolicy
from dedup.minhash import MinHashConfig, hash_bands
from dedup.minhash_presets import get_preset
from dedup.verification import VerificationConfig
from dolma_py import config, parquet_files
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.corpus import Corpus, read_view
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.candidate_graph import find_components
from pipelines.candidate_sets import verify_candidates
from pipelines.dedup_decisions import DECISION_SCHEMA, write_decisions
from pipelines.steps import Rule, StepContext, StepResult, Unit, file_lists, split_name, split_params

VERSION = 2
SET = "minhash-v1"


class DedupMinhashConfig(Config):
    """Signatures, verification, keep policy, and limits of the driver."""

    preset: str | None = Field(
        default="olmo3-web", description="named settings of dedup.minhash; null: `minhash` alone"
    )
    minhash: MinHashConfig | None = Field(default=None, description="own shingles, bands and rows in place of a preset")
    verification: VerificationConfig = Field(
        default=VerificationConfig(), description="exact Jaccard that makes a duplicate"
    )
    keep: KeepPolicy = Field(default=KeepPolicy(), description="which member stays")
    components: Literal["auto", "driver", "spark"] = Field(
        default="auto", description="who finds components; auto: the driver up to max_edges; changes no output"
    )
    max_edges: int = Field(
        default=200_000_000, ge=1, description="candidate edges on the driver under `auto`, 64 bytes each"
    )
    max_rounds: int = Field(default=50, ge=1, description="of the Spark way; it needs about log2 of the longest chain")
    unit_docs: int = Field(default=50_000, ge=1, description="members of components verified by one task, about")
    max_bucket_bytes: int = Field(
        default=4 << 30,
        ge=1 << 10,
        description="shingle sets held by one task of verification; its memory is 3 times that",
    )
    rules: list[Rule] = Field(
        default_factory=lambda: [Rule(name="near_copy", keep="not is_duplicate")], description="added to the view"
    )

    @property
    def settings(self) -> MinHashConfig:
        return self.minhash or get_preset(self.preset or "olmo3-web")


def run(context: StepContext, minhash: DedupMinhashConfig) -> StepResult:
    """Bands, candidate edges, components, verification, decisions."""
    settings = config.dump_config(minhash)
    shared = {"minhash": settings, "work": context.work}
    units = [
        Unit(split_name(split), split_params(context, split) | shared, split.text_bytes)
        for split in context.plan_splits()
    ]
    bands, times = context.run_units("bands", units, band_split)
    graph = find_components(
        context, [file["path"] for file in file_lists(bands)], num_bands=minhash.settings.num_bands,
        way=minhash.components, max_edges=minhash.max_edges, max_rounds=minhash.max_rounds,
    )  # fmt: skip
    paths, would_remove = verify_candidates(context, graph, minhash)
    tables = [parquet_files.read_row_groups(context.corpus.path(path), None, None) for path in paths]
    decisions = pa.concat_tables([DECISION_SCHEMA.empty_table(), *tables])
    result = write_decisions(context, decisions, SET)
    facts = {
        "candidate_edges": graph.edges, "candidates": graph.members, "components": graph.components,
        "would_remove": would_remove | {"unverified": graph.members - graph.components},
    }  # fmt: skip
    return result._replace(facts=result.facts | facts, times=result.times | {"bands_task_sec": times.task_sec})


def band_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: band keys of one split's documents; documents without words have none."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    settings = config.build_config(DedupMinhashConfig, params["minhash"]).settings
    schema = pa.schema([("address", pa.int64()), ("keys", pa.binary(8 * settings.num_bands))])

    def write(sink: HashingWriter) -> int:
        rows = 0
        with parquet_files.open_writer(sink, schema) as writer:
            for batch in read_view(corpus, view, split, ["text"]):
                found = hash_bands(*view_text(batch.documents.column("text")), config=settings)
                keys = np.ascontiguousarray(found.keys[found.is_valid])
                column = pa.FixedSizeBinaryArray.from_buffers(
                    schema.field("keys").type, len(keys), [None, pa.py_buffer(keys)]
                )
                table = pa.table([pa.array(batch.addresses[found.is_valid]), column], schema=schema)
                parquet_files.write_row_group(writer, table)
                rows += table.num_rows
        return rows

    return [write_attempt(corpus.root, attempts, f"{params['work']}/bands/{split_name(split)}.parquet", write)], {}


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_minhash", argv)


if __name__ == "__main__":
    sys.exit(main())
