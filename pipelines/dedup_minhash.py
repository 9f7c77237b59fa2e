"""Fuzzy deduplication: MinHash bands find candidates, components gather them, exact Jaccard verifies, the keep policy decides.

Reads a view; writes attributes/minhash-v1/ with the evidence for every removal. Every text is read for its bands
(pipelines/candidate_graph.py goes on from there), candidates' texts once more for verification (pipelines/candidate_sets.py).
Over a corpus that grew, bands of earlier documents are not made again (pipelines/split_files.py).

    spark-submit pipelines/dedup_minhash.py --config minhash.yaml
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from dedup.alarms import NearCopyAlarms
from dedup.components import DRIVER_EDGE_BYTES
from dedup.keepers import KeepPolicy
from dedup.minhash import MinHashConfig, hash_bands
from dedup.minhash_cost import disk_bytes, expect_typical
from dedup.minhash_presets import DEFAULT_PRESET, PRESETS, overlay_minhash, overlay_verification
from dedup.verification import VerificationConfig
from dolma_py import config, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.corpus import Corpus, ViewBatch
from dolma_py.errors import ConfigError
from dolma_py.storage import WrittenFile
from dolma_py.token_ids import load_backend
from pipelines.candidate_graph import find_components, rounds_disk_bytes
from pipelines.candidate_sets import verify_candidates, worker_memory_bytes
from pipelines.dedup_decisions import write_decisions
from pipelines.mix_table import MEAN_TEXT_BYTES
from pipelines.split_files import make_split_files, remove_unused, write_split_file
from pipelines.steps import Rule, SettingsPlace, StepContext, StepResult, checksum_if_file

__all__ = ["VERSION", "DedupMinhashConfig", "driver_memory_bytes", "fingerprint_inputs", "run", "worker_memory_bytes"]
VERSION = 2
# a preset by its name: what it sets stands beside it, resolved
CHANGES_NO_BYTE = (
    "preset", "alarms", "components", "max_edges", "max_rounds", "unit_docs", "max_bucket_bytes", "keep_bands",
)  # fmt: skip
BANDS_VERSION = 1  # of the keys in band files
BANDS = "bands"
SET = "minhash-v1"


class DedupMinhashConfig(Config):
    """Signatures, verification, keep policy, and limits of the driver; `minhash` and `verification` are resolved as they are read."""

    preset: str | None = Field(
        default=DEFAULT_PRESET,
        description="named settings (docs/dedup.md) on which `minhash` and `verification` are laid; null: on the plain defaults",
    )
    minhash: MinHashConfig | None = Field(
        default=None, description="shingles, bands and rows that are not the preset's: each key for itself"
    )
    verification: VerificationConfig | None = Field(
        default=None,
        description="exact Jaccard that makes a duplicate, where it is not the preset's: each key for itself",
    )
    keep: KeepPolicy = Field(default=KeepPolicy(), description="which member stays")
    alarms: NearCopyAlarms = Field(default=NearCopyAlarms(), description="what stops the step before it is complete")
    components: Literal["auto", "driver", "spark"] = Field(
        default="auto", description="who finds components; auto: the driver up to max_edges; changes no output"
    )
    max_edges: int = Field(
        default=80_000_000, ge=1, description="candidate edges on the driver under `auto`, 150 bytes each"
    )
    max_rounds: int = Field(default=50, ge=1, description="of the Spark way; it needs about log2 of the longest chain")
    unit_docs: int = Field(
        default=50_000, ge=1,
        description="members of components verified by one task, about, or fewer: 64 MiB of their sets (up to 512 MiB in large corpora)",
    )  # fmt: skip
    max_bucket_bytes: int = Field(
        default=4 << 30,
        ge=1 << 10,
        description="shingle sets, and 1.3 kB a member with large_index olmo3, that one task of verification may hold; its memory is 3 times that",
    )
    keep_bands: bool = Field(
        default=True,
        description="leave band keys in the run folder, so that a grown corpus costs its new documents alone",
    )
    rules: list[Rule] = Field(
        default_factory=lambda: [Rule(name="near_copy", keep="not is_duplicate")], description="added to the view"
    )

    @model_validator(mode="before")
    @classmethod
    def _lay_over_preset(cls, values: Any) -> Any:
        """What is given of `minhash` and `verification` is laid over the preset; of values that are no mapping their field tells."""
        if not isinstance(values, dict):
            return values
        preset = values.get("preset", DEFAULT_PRESET)
        if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
            return values  # the field says so
        resolved = dict(values)
        for name, overlay in (("minhash", overlay_minhash), ("verification", overlay_verification)):
            given = values.get(name)
            if given is None or isinstance(given, dict):
                resolved[name] = overlay(preset, given or {})
        return resolved

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, preset: str | None) -> str | None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"expected one of {sorted(PRESETS)}")
        return preset

    @property
    def settings(self) -> MinHashConfig:
        """Shingles, bands and rows, resolved."""
        assert self.minhash is not None, "filled in by _lay_over_preset"
        return self.minhash

    @property
    def checking(self) -> VerificationConfig:
        """Verification, resolved."""
        assert self.verification is not None, "filled in by _lay_over_preset"
        return self.verification


def check_settings(minhash: DedupMinhashConfig, place: SettingsPlace) -> None:
    """Raise ConfigError when shingles of tokens have no tokenizer."""
    shingles = minhash.settings.shingles
    if shingles.unit == "tokens" and shingles.tokenizer is None:
        raise ConfigError(
            place.key("minhash.shingles.tokenizer"), None, "expected a tokenizer for shingles of tokens",
            "Give a tokenizer.json, a folder that holds one, or a hub name; Olmo 3 took p50k_base.", where=place.where,
        )  # fmt: skip


def driver_memory_bytes(minhash: DedupMinhashConfig, text_bytes: int) -> int:
    """bound_driver_bytes for documents of MEAN_TEXT_BYTES or more on average."""
    return bound_driver_bytes(minhash, text_bytes // MEAN_TEXT_BYTES)


def bound_driver_bytes(minhash: DedupMinhashConfig, num_docs: int) -> int:
    """What the driver holds at most: candidate edges, while it finds the components itself.

    A document has an edge per band at most, and those of more than `max_edges` are left to Spark under `auto`.
    """
    most = num_docs * minhash.settings.num_bands
    return DRIVER_EDGE_BYTES * {"spark": 0, "driver": most, "auto": min(minhash.max_edges, most)}[minhash.components]


def work_disk_bytes(minhash: DedupMinhashConfig, corpus: Corpus, text_bytes: int) -> int:
    """What is written for web pages of which no sample can be taken yet; see dedup.minhash_cost.disk_bytes."""
    num_bands = minhash.settings.num_bands
    expected = expect_typical(text_bytes, num_bands=num_bands)
    rounds = rounds_disk_bytes(expected.num_edges, way=minhash.components, max_edges=minhash.max_edges)
    return sum(disk_bytes(expected, num_bands=num_bands).values()) + rounds


def run(context: StepContext, minhash: DedupMinhashConfig) -> StepResult:
    """Bands, candidate edges, components, verification, decisions."""
    if minhash.settings.shingles.tokenizer is not None:
        load_backend(minhash.settings.shingles.tokenizer)  # one that cannot be loaded is told of before Spark starts
    settings = {
        "version": BANDS_VERSION,
        "minhash": config.dump_config(minhash.settings),
        "tokenizer": mark_tokenizer(minhash),
    }
    bands = make_split_files(context, BANDS, band_split, settings, keep=minhash.keep_bands)
    graph = find_components(
        context, bands.paths, num_bands=minhash.settings.num_bands,
        way=minhash.components, max_edges=minhash.max_edges, max_rounds=minhash.max_rounds,
    )  # fmt: skip
    paths, would_remove = verify_candidates(context, graph, minhash)
    result = write_decisions(context, paths, SET, minhash.alarms)
    facts = {
        "candidate_edges": graph.edges, "candidates": graph.members, "components": graph.components,
        "would_remove": would_remove | {"unverified": graph.members - graph.components},
    }  # fmt: skip
    remove_unused(context, BANDS, bands.paths)
    notes = {"bands_task_sec": bands.times.task_sec, "bands_found": bands.found}
    return result._replace(facts=result.facts | facts, times=result.times | notes)


def fingerprint_inputs(corpus: Corpus, minhash: DedupMinhashConfig) -> Any:
    """What decides the output beside the settings."""
    return mark_tokenizer(minhash)


def mark_tokenizer(minhash: DedupMinhashConfig) -> Any:
    """The checksum of the tokenizer's file, its name when it comes from the hub, None without one."""
    name = minhash.settings.shingles.tokenizer
    if name is None:
        return None
    file = storage.join_path(name, "tokenizer.json")
    return checksum_if_file(file if storage.file_bytes(file) is not None else name)


def band_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: band keys of one split's documents; documents without words have none."""
    settings = config.build_config(MinHashConfig, params["settings"]["minhash"])
    schema = pa.schema([("address", pa.int64()), ("keys", pa.binary(8 * settings.num_bands))])

    def make(batch: ViewBatch) -> tuple[pa.Table, dict[str, Any]]:
        found = hash_bands(*view_text(batch.documents.column("text")), config=settings)
        keys = np.ascontiguousarray(found.keys[found.is_valid])
        column = pa.FixedSizeBinaryArray.from_buffers(schema.field("keys").type, len(keys), [None, pa.py_buffer(keys)])
        return pa.table([pa.array(batch.addresses[found.is_valid]), column], schema=schema), {}

    return write_split_file(params, attempts, schema=schema, columns=["text"], make=make)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("dedup_minhash", argv)


if __name__ == "__main__":
    sys.exit(main())
