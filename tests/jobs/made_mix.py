"""A corpus with scores, topics and tokens, and the plan and the sample of a mix over it."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.build_recipe import BuildOptions
from pipelines.job_main import run_step_file
from pipelines.units import UnitTimes
from tests.dedup_jobs import flat_rows
from tests.tiny_corpus import write_attributes, write_corpus

SCORES = pa.schema(
    [
        ("score", pa.float32()),
        ("topic", pa.string()),
        ("tokens", pa.int64()),
        ("dirty", pa.bool_()),
        ("size", pa.int32()),
    ]
)
SIZED = {"duplicates": {"column": "scores-v1.size", "sizes": [1, 2, 5], "sources": ["web"]}}
INPUTS = {"score": "scores-v1.score", "topic": "scores-v1.topic", "tokens": "scores-v1.tokens", "num_buckets": 5}
OPTIONS = BuildOptions(show_progress=False)
CELLS = "runs/plan/00-plan/cells.parquet"
NUM_DOCS = 360
PLAN_SIZED = {"plan": {"token_budget": 60_000, "sources": {"web": {"curve": False}}, "default": {"curve": True}}}


def write(root, seed=1, num_docs=NUM_DOCS, **changes):
    """Three shards of two row groups; sources code and web, two topics, many equal scores, a few long documents."""
    made = random.Random(seed)
    documents, attributes = [], []
    for _ in range(3):
        documents.append([])
        attributes.append([])
        for _ in range(2):
            rows = [
                {"text": f"text {made.random()}", "source": made.choice(["web", "code"])} for _ in range(num_docs // 6)
            ]
            values = [
                {
                    "score": made.choice([0.5, 3.0, None, 4 * made.random() - 3]),
                    "topic": made.choice(["art", "law"]),
                    "tokens": made.choice([1, 5, 40, 700]),
                    "dirty": made.random() < 0.1,
                    "size": made.choice([1, 2, 3, 9]),
                }
                | changes
                for _ in rows
            ]
            documents[-1].append(rows)
            attributes[-1].append(values)
    write_attributes(write_corpus(str(root), documents), "scores-v1", attributes, SCORES)
    flat = [values for shard in attributes for group in shard for values in group]
    return [row | values for row, values in zip(flat_rows(documents), flat, strict=True)]


def run_in_order(spark, units, work, *, done, attempts, **_):
    """In place of steps.run_units: the units that are not done, one after another, in this process."""
    try:
        for unit in units:
            if unit.name not in done.units:
                done.publish(unit.name, *work(unit.params, attempts))
    finally:
        done.save()
    return UnitTimes(0.0, 0)


def plan(root, heldout, budget=60_000, **settings):
    step = INPUTS | {"heldout": heldout, "plan": {"token_budget": budget, "default": {"curve": True}}} | settings
    run_step_file("plan_mix", {"corpus": str(root), "name": "plan", "step": step}, OPTIONS)


def sample(root, heldout, partitions=None, seed=0, **settings):
    step = INPUTS | {"heldout": heldout, "cells": CELLS} | settings
    options = BuildOptions(partitions=partitions, show_progress=False)
    values = {"corpus": str(root), "name": "sample", "seed": seed, "step": step}
    return run_step_file("sample_mix", values, options)[0]


def make(root, heldout, **settings):
    rows = write(root)
    passes = {name: settings[name] for name in ("max_docs",) if name in settings}
    plan(root, heldout, **(PLAN_SIZED | SIZED if "duplicates" in settings else {}), **passes)
    sample(root, heldout, **settings)
    return rows


def read_table(root):
    return pq.read_table(root / "runs/sample/00-sample/sampled.parquet").to_pylist()


VARIANTS = {
    "sized": ({"heldout_docs": 7}, SIZED),
    "plain": ({"heldout_docs": 20}, {}),
    "share": ({"heldout_frac": 0.1}, {}),
    "chosen": (
        {"heldout_docs": 7},
        {
            "selection": {
                "code": {"mode": "reservoir", "top_buckets": 2, "max_repetition": 20},
                "web": {"mode": "top"},
            },
            "exclude": {"flags": ["scores-v1.dirty"]},
        },
    ),
}
