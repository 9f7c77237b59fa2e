"""Is a source worth its place? The whole of `dolma-py mix microanneal`: candidate and web against web alone, from one checkpoint.

OUTPUT receives runs/, a folder for each run, then report.json (deterministic where training is), report.md and run.json. The same command again
does what is missing. Source: Olmo 3 report 3.5.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dolma_py import storage
from dolma_py.config import apply_overrides, build_config, dump_config, load_yaml
from dolma_py.errors import ConfigError
from dolma_py.manifest import render_json, write_run
from dolma_py.settings_text import render_settings
from mixers.anneal_config import WEB, AnnealConfig, IntegrateConfig, MicroannealConfig
from mixers.anneal_runs import AnnealPlan, list_seeds, plan_anneals, run_options
from mixers.anneal_tables import (
    LEGEND,
    REPORT_VERSION,
    Results,
    compare_all,
    describe_mixes,
    find_exit_code,
    render_comparisons,
    render_setup,
)
from mixers.mix_optimize_config import TaskConfig
from mixers.training_runs import TrainingRuns, identify_evaluations, plan_evaluations


def microanneal(*, config: str, output: str, overrides: list[str], dry_run: bool) -> tuple[str, int]:
    """Run, compare, write; returns the report as markdown, or the plan's lines for a dry run, and the exit code.

    config: YAML of MicroannealConfig; overrides: "a.b=c", above it.
    """
    started = time.perf_counter()
    settings = build_config(MicroannealConfig, apply_overrides(load_yaml(config), overrides), where=config)
    shards = {WEB: settings.web.shards} | {name: found.shards for name, found in settings.candidates.items()}
    plan = plan_anneals(settings.base, settings.anneal, shards, list_mixes(settings), output)
    runs = prepare_runs(plan, settings, output)
    seeds = list_seeds(settings.anneal)
    if dry_run:
        return describe_plan(plan, runs, settings.anneal), 0
    with storage.lock_folder(output):
        results = run_mixes(plan, runs)
        found = compare_all(results, settings.tasks, WEB)
        report = {
            "format": "dolma-py-microanneal", "version": REPORT_VERSION, "config": dump_config(settings),
            "base": {"name": plan.base.name, "identity": plan.base.identity}, "tokens": plan.tokens,
            "mixes": describe_mixes(plan, results, seeds), **found, "exit_code": find_exit_code(found["comparisons"]),
        }  # fmt: skip
        text = _render(report, plan, settings)
        storage.write_bytes(storage.join_path(output, "report.md"), text.encode())
        storage.write_bytes(storage.join_path(output, "report.json"), render_json(report))
        write_run(output, {"seconds": round(time.perf_counter() - started, 1)})
    return text, report["exit_code"]


def list_mixes(settings: MicroannealConfig) -> dict[str, dict[str, float]]:
    """Shares of every mix, web alone first."""
    mixes = {WEB: {WEB: 1.0}}
    for name, candidate in settings.candidates.items():
        share = settings.candidate_share if candidate.share is None else candidate.share
        mixes[name] = {name: share, WEB: 1.0 - share}
    return mixes


def prepare_runs(plan: AnnealPlan, settings: MicroannealConfig | IntegrateConfig, output: str) -> TrainingRuns:
    """What trains and measures the trials of a plan below OUTPUT/runs."""
    evaluations = plan_evaluations(settings.tasks, plan.sources, plan.sequence_tokens)
    identity = identify_evaluations(evaluations, plan.sequence_tokens, settings.max_docs)
    return TrainingRuns(
        str(Path(output) / "runs"), evaluations, identity=identity, max_docs=settings.max_docs,
        options=run_options(settings.anneal),
    )  # fmt: skip


def run_mixes(plan: AnnealPlan, runs: TrainingRuns) -> Results:
    """What was measured of every mix, a run for each seed; mixes of the first seed come first, so that an early look compares all."""
    if plan.config_text is not None:
        storage.write_bytes(plan.config, plan.config_text.encode())
    order = [(mix, place) for place in range(len(next(iter(plan.trials.values())))) for mix in plan.trials]
    found = dict(zip(order, runs.run_all([plan.trials[mix][place] for mix, place in order]), strict=True))
    return {mix: [found[mix, place] for place in range(len(trials))] for mix, trials in plan.trials.items()}


def describe_plan(plan: AnnealPlan, runs: TrainingRuns, anneal: AnnealConfig) -> str:
    """What a dry run shows."""
    num_runs = sum(map(len, plan.trials.values()))
    lines = [f"{num_runs} runs of {plan.tokens:,} tokens, {len(runs.evaluations)} evaluations each", ""]
    lines += render_setup(plan, base=plan.base.name, seeds=list_seeds(anneal), peak_lr=anneal.peak_lr)
    return "\n".join(lines)


def divide_weights(tasks: Mapping[str, TaskConfig]) -> dict[str, float]:
    """Weights of tasks as shares of their sum."""
    total = sum(task.weight for task in tasks.values())
    return {name: task.weight / total if total else 0.0 for name, task in tasks.items()}


def _render(report: Mapping[str, Any], plan: AnnealPlan, settings: MicroannealConfig) -> str:
    """The report to read; the same facts as report.json."""
    lines = ["# Microanneals", ""]
    lines += render_setup(plan, base=plan.base.name, seeds=list_seeds(settings.anneal), peak_lr=settings.anneal.peak_lr)
    lines += [*render_comparisons(report, divide_weights(settings.tasks)), LEGEND, ""]
    return "\n".join(lines)


def print_settings() -> None:
    """`dolma-py settings mix microanneal`."""
    sys.stdout.write("".join(f"{line}\n" for line in render_settings(MicroannealConfig)))


def check_output(output: str) -> None:
    """ConfigError for a place where training runs cannot write."""
    if storage.is_remote(output):
        raise ConfigError("OUTPUT", output, "expected a folder of this machine, where training runs write")


def run_microanneal(*, config: str, output: str, overrides: list[str], dry_run: bool) -> tuple[str, int]:
    """`dolma-py mix microanneal`: what is shown, and the exit code."""
    check_output(output)
    text, code = microanneal(config=config, output=output, overrides=overrides, dry_run=dry_run)
    return text if dry_run else f"{text}\nwrote {output}/report.md and report.json", code
