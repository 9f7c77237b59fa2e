"""What a recipe will cost before it runs: time, memory and disk per step, from the size of its input.

The rates are those of benchmarks/quickstart_steps.py on two cores of a cloud machine, start-up of Spark apart; a plan is a
guide to within a factor of two, its memory figures are bounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dolma_py import storage
from dolma_py.corpus import Corpus
from dolma_py.views import View
from pipelines.recipe import Recipe, Step
from pipelines.session import count_cores
from pipelines.steps import expand_inputs

SESSION_SEC = 8.0  # start of a Spark session
WORKER_BYTES = 500 << 20  # a Python worker with numba and Arrow loaded, before any text


class Cost(NamedTuple):
    """Of one kind of step."""

    mb_per_core_sec: float  # 10^6 bytes of text per second and core
    fixed_sec: float  # whatever the size
    memory_per_split: float  # bytes of memory per byte of text in a split or pool
    disk_frac: float  # bytes written per byte of text


COSTS = {
    "installed_text": Cost(2.5, 2.0, 0.0, 0.35),
    "ingest": Cost(8.0, 1.5, 6.0, 0.35),
    "train_classifier": Cost(1e6, 8.0, 0.0, 0.02),
    "tag": Cost(8.0, 3.0, 4.0, 0.02),
    "dedup_exact": Cost(60.0, 2.0, 2.0, 0.01),
    "dedup_urls": Cost(200.0, 2.0, 1.0, 0.01),
    "dedup_paragraphs": Cost(30.0, 3.0, 6.0, 0.2),
    "dedup_minhash": Cost(12.0, 4.0, 4.0, 0.06),
    "dedup_substring": Cost(4.0, 2.0, 12.0, 0.01),
    "train_tokenizer": Cost(1e6, 8.0, 0.0, 0.01),
    "plan_mix": Cost(1e3, 2.0, 0.0, 0.0),
    "sample_mix": Cost(1e3, 2.0, 0.0, 0.01),
    "tokenize": Cost(3.0, 3.0, 8.0, 0.5),
    "materialize": Cost(20.0, 2.0, 4.0, 0.35),
    "read_plain": Cost(40.0, 1.5, 4.0, 0.35),
    "write_plain": Cost(40.0, 1.5, 4.0, 0.5),
    "export_dolma": Cost(15.0, 2.0, 6.0, 0.5),
}


class StepPlan(NamedTuple):
    """One line of a plan."""

    name: str
    kind: str
    seconds: float
    worker_memory_bytes: int
    disk_bytes: int
    details: dict[str, Any] = {}  # what only this kind of step can say, by name; the last word of a name is its unit


def estimate_text_bytes(recipe: Recipe, steps: list[Step], corpus: Corpus) -> int:
    """Text the recipe will handle: the corpus' own when it has documents, else its inputs, else what it will write itself."""
    listing = corpus.read_listing()
    if listing.shards:
        return listing.text_bytes
    made = sum(
        step.module.expected_text_bytes(step.settings) for step in steps if hasattr(step.module, "expected_text_bytes")
    )
    own = [source for step in steps for source in getattr(step.settings, "sources", None) or []]
    if made and all("{corpus}" in pattern for source in own for pattern in source.inputs):
        return int(made)
    total = 0
    for step in steps:
        for source in getattr(step.settings, "sources", None) or []:
            for info in expand_inputs(source.inputs, corpus=corpus).files:
                total += info.num_bytes * (4 if info.path.endswith((".gz", ".zst")) else 1)
    return total


def plan_recipe(
    recipe: Recipe, steps: list[Step], corpus: Corpus, view: View | None = None, text_bytes: int | None = None
) -> tuple[int, list[StepPlan]]:
    """(bytes of text, one line per step); `view` is what the first step reads, all documents where it is None.

    text_bytes: where the caller knows better than estimate_text_bytes.
    """
    text_bytes = estimate_text_bytes(recipe, steps, corpus) if text_bytes is None else text_bytes
    cores = count_cores()
    lines = []
    for step in steps:
        cost = COSTS[step.kind]
        in_flight = float(getattr(step.settings, "pool_bytes", None) or recipe.split_bytes)
        bound = getattr(step.module, "worker_memory_bytes", None)
        held = bound(step.settings) if bound else int(cost.memory_per_split * min(in_flight, text_bytes))
        lines.append(StepPlan(
            step.name, step.kind, cost.fixed_sec + text_bytes / 1e6 / cost.mb_per_core_sec / cores,
            WORKER_BYTES + held, int(cost.disk_frac * text_bytes), plan_details(step, corpus, view),
        ))  # fmt: skip
    return text_bytes, lines


def plan_details(step: Step, corpus: Corpus, view: View | None) -> dict[str, Any]:
    """Details of a step whose kind has some and whose corpus has documents, from a sample of them; else none."""
    if step.kind != "dedup_minhash" or not corpus.read_listing().shards:
        return {}
    from pipelines import minhash_plan  # compiled kernels, which no other plan needs

    return minhash_plan.plan_details(step.settings.settings, corpus, view or corpus.load_view(None))


def describe_plan(text_bytes: int, lines: list[StepPlan]) -> dict[str, Any]:
    """A plan as plain values, with its totals."""
    return {
        "text_bytes": text_bytes,
        "cores": count_cores(),
        "seconds": SESSION_SEC + sum(line.seconds for line in lines),
        "disk_bytes": sum(line.disk_bytes for line in lines),
        "memory_bytes": count_cores() * max(line.worker_memory_bytes for line in lines),
        "steps": [line._asdict() for line in lines],
    }


def free_disk_bytes(path: str) -> int | None:
    """Free space where the corpus will lie; None for object stores."""
    import os
    import shutil

    if storage.is_remote(path):
        return None
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free
