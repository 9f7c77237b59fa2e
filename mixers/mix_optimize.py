"""Choose a mix by proxies: the whole of `dolma-py mix optimize`.

OUTPUT receives runs/, a folder for each mix that was trained, then report.json (deterministic where training is), report.md, weights.yaml (as
`dolma-py mix plan --config` takes them) and run.json. The same command again does what is missing.
Source: Olmo 3 report 3.4.4. Legend: M mixes, K tasks, S sources or virtual sources.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dolma_py import storage
from dolma_py.config import apply_overrides, build_config, dump_config, load_yaml
from dolma_py.errors import ConfigError
from dolma_py.manifest import render_json, write_run
from dolma_py.settings_text import render_settings
from mixers.boosted_trees import BoostedTrees, fit_boosted_trees, leave_one_out_trees, search_optimum
from mixers.mix_limits import MixLimits, expand_shares, find_limits, natural_shares
from mixers.mix_optimize_config import OptimizeConfig
from mixers.mix_optimize_text import render_markdown, render_plan_settings
from mixers.mix_optimum import Law, Optimum, find_optimum
from mixers.mix_proxies import ProxyRuns, leave_out_small
from mixers.mix_regression import LogLinear, check_mixes, fit_log_linear, leave_one_out, measure_fit
from mixers.mix_swarm import draw_mixes
from mixers.training_runs import Source, describe_sources, plan_evaluations, read_source

Floats = npt.NDArray[np.float64]
REPORT_VERSION = 1
logger = logging.getLogger("dolma_py.mix")


def optimize(*, config: str, output: str, overrides: list[str], dry_run: bool) -> str:
    """Train, fit, minimise, write; returns the report as markdown, or the plan's lines for a dry run.

    config: YAML of OptimizeConfig; overrides: "a.b=c", above it.
    """
    started = time.perf_counter()
    settings = build_config(OptimizeConfig, apply_overrides(load_yaml(config), overrides), where=config)
    sources = {
        name: read_source(f"sources.{name}.shards", source.shards, settings.proxy.sequence_tokens)
        for name, source in settings.sources.items()
    }
    limits = limits_of(settings, sources)
    mixes = draw_mixes(limits, settings.swarm, count=settings.runs + settings.heldout_runs)
    check_mixes(mixes[: settings.runs])
    for mix in mixes:  # tells shares too small for a proxy before anything runs
        describe_sources(expand_shares(limits, mix), sources, settings.proxy.steps * settings.proxy.batch_instances)
    if dry_run:
        return _describe_plan(settings, sources, limits, mixes)
    storage.make_folder(output)
    with storage.lock_folder(output):
        runs = ProxyRuns(settings, sources, str(Path(output) / "runs"))
        values = runs.measure([expand_shares(limits, mix) for mix in mixes])
        report = choose_mix(settings, limits, mixes, values)
        if settings.measure_chosen:
            _measure_chosen(report, settings, runs)
        report["sources"] = _describe_sources(settings, sources, limits, report)
        report["runs"] = [
            {
                "folder": f"runs/{runs.folder_of(expand_shares(limits, mix)).name}",
                "shares": expand_shares(limits, mix),
                "values": dict(zip(settings.tasks, row.tolist(), strict=True)),
                "fitted": number < settings.runs,
            }
            for number, (mix, row) in enumerate(zip(mixes, values, strict=True))
        ]
        text = render_markdown(report)
        weights = render_plan_settings(report["sources"], settings.budget)
        storage.write_bytes(storage.join_path(output, "weights.yaml"), weights.encode())
        storage.write_bytes(storage.join_path(output, "report.md"), text.encode())
        storage.write_bytes(storage.join_path(output, "report.json"), render_json(report))
        write_run(output, {"seconds": round(time.perf_counter() - started, 1)})
    return text


def limits_of(settings: OptimizeConfig, sources: dict[str, Source]) -> MixLimits:
    """Natural shares and bounds; ConfigError where the budget cannot be met."""
    fixed = {name: s.fixed_share for name, s in settings.sources.items() if s.fixed_share is not None}
    fixed |= {name: s.fixed_share for name, s in settings.frozen.items() if s.fixed_share is not None}
    return find_limits(
        {name: s.tokens or sources[name].tokens for name, s in settings.sources.items()},
        budget=settings.budget,
        max_repetition={name: s.max_repetition for name, s in settings.sources.items()},
        fixed=fixed,
        frozen={name: s.weights for name, s in settings.frozen.items()},
    )


def choose_mix(settings: OptimizeConfig, limits: MixLimits, mixes: Floats, values: Floats) -> dict[str, Any]:
    """Fit the first `runs` mixes (M, S) and their values (M, K), compare with the others, minimise; report without runs and sources."""
    fitted = slice(0, settings.runs)
    weights = np.array([task.weight for task in settings.tasks.values()])
    laws, left_out, optimum = _fit(settings, limits, mixes[fitted], values[fitted])
    parts = weights / weights.sum()
    predicted = np.column_stack([law.predict(mixes) for law in laws])
    report: dict[str, Any] = {
        "format": "dolma-py-mix-optimum",
        "version": REPORT_VERSION,
        "config": dump_config(settings),
        "gap": optimum.gap,
        "tasks": {},
    }
    for k, (name, law) in enumerate(zip(settings.tasks, laws, strict=True)):
        fit = _compare(predicted[:, k], values[:, k], left_out[:, k], settings.runs)
        law_values: dict[str, Any] = {"floor": None, "coefficients": None}
        if isinstance(law, LogLinear):
            by_source = dict(zip(limits.names, law.coefficients.tolist(), strict=True))
            law_values = {"floor": law.floor, "coefficients": by_source}
        report["tasks"][name] = {"weight": float(parts[k]), **law_values, **fit}
    report["mean"] = _compare(predicted @ parts, values @ parts, left_out @ parts, settings.runs)
    natural = natural_shares(limits)
    report["chosen"] = _say_mix(limits, optimum.shares, laws, parts, settings)
    report["natural"] = _say_mix(limits, natural, laws, parts, settings)
    best = int(np.argmin((values @ parts)[fitted]))
    report["best_tried"] = {"run": best, "measured_mean": float((values @ parts)[best])}
    report["searched"] = _say_bounds(limits, natural, optimum)
    return report


def _fit(
    settings: OptimizeConfig, limits: MixLimits, mixes: Floats, values: Floats
) -> tuple[list[LogLinear] | list[BoostedTrees], Floats, Optimum]:
    """What says each task's value, what it says of mixes left out (M, K), and the optimum."""
    weights = np.array([task.weight for task in settings.tasks.values()])
    columns = list(values.T)
    if settings.regression == "boosted_trees":
        trees = [fit_boosted_trees(mixes, column) for column in columns]
        left_out = [leave_one_out_trees(mixes, column) for column in columns]
        return trees, np.column_stack(left_out), search_optimum(trees, limits, weights, seed=settings.swarm.seed)
    laws = [fit_log_linear(mixes, column) for column in columns]
    left_out = [leave_one_out(mixes, column, law) for column, law in zip(columns, laws, strict=True)]
    return laws, np.column_stack(left_out), find_optimum(laws, limits, weights)


def _compare(predicted: Floats, measured: Floats, left_out: Floats, num_fitted: int) -> dict[str, Any]:
    """Errors on what was fitted, on what was left out of the fit one by one, and on mixes that no fit has seen."""
    both = {
        "fit": (predicted[:num_fitted], measured[:num_fitted]),
        "leave_one_out": (left_out, measured[:num_fitted]),
        "heldout_runs": (predicted[num_fitted:], measured[num_fitted:]),
    }
    found = {name: measure_fit(*sides)._asdict() if len(sides[1]) else None for name, sides in both.items()}
    for quality in found.values():
        if quality is not None and math.isnan(quality["rank_correlation"]):
            quality["rank_correlation"] = None
    return {**found, "spread": float(measured[:num_fitted].std())}


def _say_mix(
    limits: MixLimits, shares: Floats, laws: Sequence[Law], parts: Floats, settings: OptimizeConfig
) -> dict[str, Any]:
    predicted = np.array([law.predict(shares[None, :])[0] for law in laws])
    return {
        "shares": expand_shares(limits, shares),
        "predicted": dict(zip(settings.tasks, predicted.tolist(), strict=True)),
        "predicted_mean": float(predicted @ parts),
        "measured": None,
        "measured_mean": None,
    }


def _say_bounds(limits: MixLimits, natural: Floats, optimum: Optimum) -> list[dict[str, Any]]:
    columns = zip(
        limits.names, natural.tolist(), limits.lowest.tolist(), limits.highest.tolist(), optimum.shares.tolist(), optimum.binds,
        strict=True,
    )  # fmt: skip
    names = ("name", "natural", "lowest", "highest", "share", "binds")
    return [dict(zip(names, row, strict=True)) for row in columns]


def _measure_chosen(report: dict[str, Any], settings: OptimizeConfig, runs: ProxyRuns) -> None:
    """Train the chosen and the natural mix as well; what is too small for one instance of a proxy is left out of them."""
    names = ("chosen", "natural")
    instances = settings.proxy.steps * settings.proxy.batch_instances
    mixes = [leave_out_small(report[name]["shares"], instances) for name in names]
    parts = np.array([task["weight"] for task in report["tasks"].values()])
    for name, row in zip(names, runs.measure(mixes), strict=True):
        report[name]["measured"] = dict(zip(settings.tasks, row.tolist(), strict=True))
        report[name]["measured_mean"] = float(row @ parts)


def _describe_sources(
    settings: OptimizeConfig, sources: dict[str, Source], limits: MixLimits, report: dict[str, Any]
) -> list[dict[str, Any]]:
    virtual = {source: name for name, inner in limits.parts.items() for source in inner}
    binds = {row["name"]: row["binds"] for row in report["searched"]}
    instances = settings.proxy.steps * settings.proxy.batch_instances
    found = []
    for name, source in settings.sources.items():
        share, tokens = report["chosen"]["shares"].get(name, 0.0), source.tokens or sources[name].tokens
        found.append({
            "name": name, "tokens": tokens, "natural": report["natural"]["shares"].get(name, 0.0), "share": share,
            "repetition": share * settings.budget / tokens, "max_repetition": source.max_repetition,
            "binds": binds[virtual.get(name, name)], "frozen_in": virtual.get(name),
            "proxy_repetition": share * instances / sources[name].instances,
        })  # fmt: skip
    return found


def _describe_plan(settings: OptimizeConfig, sources: dict[str, Source], limits: MixLimits, mixes: Floats) -> str:
    proxy = settings.proxy
    instances = proxy.steps * proxy.batch_instances
    evaluations = plan_evaluations(settings.tasks, sources, proxy.sequence_tokens)
    extra = 2 if settings.measure_chosen else 0
    lines = [
        f"{len(mixes) + extra} runs of {instances * proxy.sequence_tokens} tokens ({settings.runs} fitted, {settings.heldout_runs} "
        f"held out, {extra} for the chosen and the natural mix), {len(evaluations)} evaluations each",
        "source: natural share, at most",
    ]
    natural = natural_shares(limits)
    lines += [f"{n}: {a:.4f}, {b:.4f}" for n, a, b in zip(limits.names, natural, limits.highest, strict=True)]
    lines.append("mixes: " + ", ".join(limits.names))
    lines += [" ".join(f"{share:.4f}" for share in mix) for mix in mixes]
    return "\n".join(lines)


def print_settings() -> None:
    """`dolma-py settings mix optimize`."""
    sys.stdout.write("".join(f"{line}\n" for line in render_settings(OptimizeConfig)))


def run_optimize(*, config: str, output: str, overrides: list[str], dry_run: bool) -> str:
    """`dolma-py mix optimize`."""
    if storage.is_remote(output):
        raise ConfigError("OUTPUT", output, "expected a folder of this machine, where training runs write")
    text = optimize(config=config, output=output, overrides=overrides, dry_run=dry_run)
    return text if dry_run else f"{text}\nwrote {output}/report.md, report.json and weights.yaml"
