"""Does a mix hold together? The whole of `dolma-py mix integrate`: whole anneals of mixes against that of a reference, then fine-tuning.

OUTPUT receives runs/, a folder for each anneal and each fine-tuning, then report.json (deterministic where training is), report.md and run.json.
The same command again does what is missing. Source: Olmo 3 report 3.5 (integration tests).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dolma_py import storage
from dolma_py.config import apply_overrides, build_config, dump_config, fingerprint, load_yaml
from dolma_py.errors import ConfigError
from dolma_py.manifest import render_json, write_run
from dolma_py.settings_text import render_settings
from mixers.anneal_config import IntegrateConfig, MixShares, SftConfig
from mixers.anneal_runs import AnnealPlan, list_seeds, plan_anneals
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
from mixers.mix_microanneal import check_output, describe_plan, divide_weights, prepare_runs, run_mixes
from mixers.training_runs import RUNS_VERSION, TrainingRuns, Trial, has_command

NO_SFT = "`dolma-py sft` does not exist here: nothing was fine-tuned."


def integrate(*, config: str, output: str, overrides: list[str], dry_run: bool) -> tuple[str, int]:
    """Run, compare, write; returns the report as markdown, or the plan's lines for a dry run, and the exit code.

    config: YAML of IntegrateConfig; overrides: "a.b=c", above it. The exit code is that of the last stage that was run.
    """
    started = time.perf_counter()
    settings = build_config(IntegrateConfig, apply_overrides(load_yaml(config), overrides), where=config)
    mixes = {name: read_shares(name, mix, settings) for name, mix in settings.mixes.items()}
    used = {
        name: source.shards for name, source in settings.sources.items() if any(mix.get(name) for mix in mixes.values())
    }
    plan = plan_anneals(settings.base, settings.anneal, used, mixes, output)
    runs = prepare_runs(plan, settings, output)
    seeds = list_seeds(settings.anneal)
    tuned = None if settings.sft is None else plan_tuning(settings.sft, plan, runs, seeds)
    can_tune = tuned is not None and has_command("sft")
    if dry_run:
        return "\n".join([describe_plan(plan, runs, settings.anneal), *_tell_tuning(settings, can_tune)]), 0
    with storage.lock_folder(output):
        results = run_mixes(plan, runs)
        report: dict[str, Any] = {
            "format": "dolma-py-integration-test", "version": REPORT_VERSION, "config": dump_config(settings),
            "base": {"name": plan.base.name, "identity": plan.base.identity}, "tokens": plan.tokens,
            "mixes": describe_mixes(plan, results, seeds), "anneal": compare_all(results, settings.tasks, settings.reference),
            "sft": None, "sft_is_there": can_tune if settings.sft is not None else None,
        }  # fmt: skip
        if tuned is not None and can_tune:
            report["sft"] = compare_all(_tune(tuned, runs), settings.tasks, settings.reference)
        report["exit_code"] = find_exit_code((report["sft"] or report["anneal"])["comparisons"])
        text = _render(report, plan, settings)
        storage.write_bytes(storage.join_path(output, "report.md"), text.encode())
        storage.write_bytes(storage.join_path(output, "report.json"), render_json(report))
        write_run(output, {"seconds": round(time.perf_counter() - started, 1)})
    return text, report["exit_code"]


def read_shares(name: str, mix: MixShares, settings: IntegrateConfig) -> dict[str, float]:
    """Weights of a mix by source, from the settings or from weights.yaml of `mix optimize`. ConfigError for a source that is not named."""
    if mix.weights is None:
        return dict(mix.shares)
    key = f"mixes.{name}.weights"
    values = load_yaml(mix.weights)
    try:
        found = {str(source): float(entry["share"]) for source, entry in values["plan"]["sources"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        rule = "expected weights.yaml of `dolma-py mix optimize`, with plan.sources and a share for each"
        raise ConfigError(key, mix.weights, rule) from error
    unknown = sorted(source for source, share in found.items() if share > 0 and source not in settings.sources)
    if unknown:
        raise ConfigError(
            key, unknown[0], f"expected some of {sorted(settings.sources)}", "Give its shards in sources."
        )
    if min(found.values(), default=0) < 0 or sum(found.values()) <= 0:
        raise ConfigError(key, mix.weights, "expected shares of 0 or more, one above 0")
    return {source: share for source, share in found.items() if share > 0}


def plan_tuning(sft: SftConfig, plan: AnnealPlan, runs: TrainingRuns, seeds: list[int]) -> dict[str, list[Trial]]:
    """A fine-tuning of each anneal."""
    folder = storage.resolve_path(sft.shards)
    manifest = storage.join_path(folder, "manifest.json")
    if not storage.path_exists(manifest):
        rule = "expected a folder of SFT shards with manifest.json"
        raise ConfigError("sft.shards", sft.shards, rule)
    path = Path(sft.config)
    text = path.read_text(encoding="utf-8") if path.is_file() else sft.config
    decides = [text, list(sft.overrides), storage.checksum_file(manifest)]
    found: dict[str, list[Trial]] = {}
    for mix, trials in plan.trials.items():
        found[mix] = []
        for trial, seed in zip(trials, seeds, strict=True):
            parent = str(runs.folder_of(trial) / "train")
            command = ["sft", "--config", sft.config, "--shards", folder, "--from", parent]
            command += [word for setting in [*sft.overrides, f"data.seed={seed}"] for word in ("--set", setting)]
            identity = fingerprint(RUNS_VERSION, "sft", trial.identity, decides, seed)
            found[mix].append(Trial(identity, trial.shares, command, f"{mix}, seed {seed}, fine-tuned, "))
    return found


def _tune(trials: Mapping[str, list[Trial]], runs: TrainingRuns) -> Results:
    order = [(mix, place) for mix, some in trials.items() for place in range(len(some))]
    found = dict(zip(order, runs.run_all([trials[mix][place] for mix, place in order]), strict=True))
    return {mix: [found[mix, place] for place in range(len(some))] for mix, some in trials.items()}


def _tell_tuning(settings: IntegrateConfig, can_tune: bool) -> list[str]:
    if settings.sft is None:
        return []
    return [f"then each is fine-tuned by {settings.sft.config}" if can_tune else NO_SFT]


def _render(report: Mapping[str, Any], plan: AnnealPlan, settings: IntegrateConfig) -> str:
    """The report to read; the same facts as report.json."""
    seeds, weights = list_seeds(settings.anneal), divide_weights(settings.tasks)
    lines = ["# Integration test", ""]
    lines += render_setup(plan, base=plan.base.name, seeds=seeds, peak_lr=settings.anneal.peak_lr)
    lines += ["## After the anneal", "", *render_comparisons(report["anneal"], weights, level="###")]
    if settings.sft is not None:
        lines += ["## After fine-tuning", ""]
        lines += [NO_SFT, ""] if report["sft"] is None else render_comparisons(report["sft"], weights, level="###")
    return "\n".join([*lines, LEGEND, ""])


def print_settings() -> None:
    """`dolma-py settings mix integrate`."""
    sys.stdout.write("".join(f"{line}\n" for line in render_settings(IntegrateConfig)))


def run_integrate(*, config: str, output: str, overrides: list[str], dry_run: bool) -> tuple[str, int]:
    """`dolma-py mix integrate`: what is shown, and the exit code."""
    check_output(output)
    text, code = integrate(config=config, output=output, overrides=overrides, dry_run=dry_run)
    return text if dry_run else f"{text}\nwrote {output}/report.md and report.json", code
