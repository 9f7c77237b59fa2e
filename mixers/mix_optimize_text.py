"""The report of a search for a mix as markdown, and its shares as settings of a plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixers.shares import round_to_total

MILLION = 1_000_000  # shares are written in millionths


def round_shares(shares: Sequence[float]) -> list[float]:
    """Shares in millionths that sum to exactly one million of them.

    >>> round_shares([1 / 3, 1 / 3, 1 / 3])
    [0.333334, 0.333333, 0.333333]
    """
    values = np.asarray(shares, np.float64)
    whole = round_to_total(values / values.sum() * MILLION, MILLION)
    return (whole / MILLION).tolist()


def render_plan_settings(sources: Sequence[dict[str, Any]], budget: int) -> str:
    """YAML for `dolma-py mix plan --config`: the budget, and share and max_repetition of every source."""
    lines = ["plan:", f"  token_budget: {budget}", "  sources:"]
    shares = round_shares([source["share"] for source in sources])
    for source, share in zip(sources, shares, strict=True):
        name = json.dumps(source["name"], ensure_ascii=False)
        lines.append(f"    {name}: {{share: {share:.6f}, max_repetition: {source['max_repetition']!r}}}")
    return "\n".join(lines) + "\n"


def render_markdown(report: dict[str, Any]) -> str:
    """The report to read; the same facts as report.json."""
    config = report["config"]
    bound = (
        f"No mix within the limits is predicted better by more than {report['gap']:.1e} bits per byte."
        if report["gap"] is not None
        else ("How much better another mix within the limits is predicted is not known.")
    )
    lines = [
        "# The chosen mix",
        "",
        f"{config['runs']} mixes were fitted, {config['heldout_runs']} were only predicted; a budget of {config['budget']:,} tokens. "
        f"{bound}",
        "",
        "| source | tokens | natural | chosen | copies | at most | decided by |",
        "|---|---|---|---|---|---|---|",
    ]
    for source in report["sources"]:
        by = source["binds"] if source["frozen_in"] is None else f"{source['binds']} (of {source['frozen_in']})"
        lines.append(
            f"| {source['name']} | {source['tokens']:,} | {source['natural']:.4f} | {source['share']:.4f} | {source['repetition']:.2f} | "
            f"{source['max_repetition']:g} | {by} |"
        )
    lines += ["", "## Bits per byte of the proxies", "", *_mix_table(report), ""]
    lines += ["## How far the predictions can be trusted", "", *_quality_table(report), ""]
    lines += [
        "Root mean squared errors in bits per byte, and Spearman's rank correlations. Spread: standard deviation of what was measured on the "
        "fitted mixes; an error near it is that of a guess.",
        "",
    ]
    return "\n".join(lines)


def _mix_table(report: dict[str, Any]) -> list[str]:
    columns = [
        ("chosen, predicted", report["chosen"]["predicted"], report["chosen"]["predicted_mean"]),
        ("chosen, measured", report["chosen"]["measured"], report["chosen"]["measured_mean"]),
        ("natural, predicted", report["natural"]["predicted"], report["natural"]["predicted_mean"]),
        ("natural, measured", report["natural"]["measured"], report["natural"]["measured_mean"]),
    ]
    columns = [column for column in columns if column[1] is not None]
    rows = [
        "| task | weight | " + " | ".join(name for name, _, _ in columns) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for task, facts in report["tasks"].items():
        rows.append(f"| {task} | {facts['weight']:.3f} | " + " | ".join(f"{v[task]:.4f}" for _, v, _ in columns) + " |")
    rows.append("| weighted mean | | " + " | ".join(f"{mean:.4f}" for _, _, mean in columns) + " |")
    best = report["best_tried"]
    rows += ["", f"The best of the fitted mixes, run {best['run']}, measured {best['measured_mean']:.4f}."]
    return rows


def _quality_table(report: dict[str, Any]) -> list[str]:
    rows = [
        "| task | spread | error of the fit | left out one by one | rank | mixes held out | rank |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, facts in [*report["tasks"].items(), ("weighted mean", report["mean"])]:
        cells = [task, f"{facts['spread']:.4f}", _rmse(facts["fit"])]
        for name in ("leave_one_out", "heldout_runs"):
            cells += [_rmse(facts[name]), _rank(facts[name])]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _rmse(quality: dict[str, Any] | None) -> str:
    return "" if quality is None else f"{quality['rmse']:.4f}"


def _rank(quality: dict[str, Any] | None) -> str:
    return "" if quality is None or quality["rank_correlation"] is None else f"{quality['rank_correlation']:.2f}"
