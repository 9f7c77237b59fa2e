"""The report of runs of mixes from one checkpoint: every mix against a reference mix, task by task, with standard errors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dolma_py.paired_differences import Difference, pair_instances, weigh_differences
from dolma_py.paired_tables import check_rows, count_errors, describe_difference, render_differences
from mixers.anneal_runs import AnnealPlan
from mixers.mix_optimize_config import TaskConfig

REPORT_VERSION = 1
MEAN = "weighted mean"
EXIT_BETTER, EXIT_UNDECIDED, EXIT_WORSE = 0, 3, 4
Results = Mapping[str, Sequence[Mapping[str, Any]]]  # of each mix, a run each


def compare_mixes(results: Results, tasks: Mapping[str, TaskConfig], left: str, right: str) -> dict[str, Any]:
    """The mix `left` against the mix `right`: `tasks` and `mean` as describe_difference has them.

    A side is the runs of its mix. A task's value is bits over bytes of its documents, or the mean of bits per byte of its items.
    """
    found = {task: _pair_task(results, task, left, right) for task in tasks}
    mean = None
    if any(task.weight > 0 for task in tasks.values()):
        mean = describe_difference(weigh_differences(list(found.values()), [task.weight for task in tasks.values()]))
    return {
        "mix": left,
        "reference": right,
        "tasks": {task: describe_difference(difference) for task, difference in found.items()},
        "mean": mean,
    }


def _pair_task(results: Results, task: str, left: str, right: str) -> Difference:
    runs = {name: [run["instances"][task] for run in results[name]] for name in (left, right)}
    check_rows(
        {f"run {i} of {name}": run["rows"] for name, side in runs.items() for i, run in enumerate(side, 1)},
        task,
        "results",
    )
    bits = {name: np.array([run["bits"] for run in side], np.float64) for name, side in runs.items()}
    return pair_instances(bits[left], bits[right], np.array(runs[left][0]["bytes"], np.float64))


def compare_all(results: Results, tasks: Mapping[str, TaskConfig], reference: str) -> dict[str, Any]:
    """Every mix against the reference, then the others among each other."""
    others = [name for name in results if name != reference]
    return {
        "comparisons": [compare_mixes(results, tasks, name, reference) for name in others],
        "pairs": [compare_mixes(results, tasks, *pair) for pair in itertools.combinations(others, 2)],
    }


def describe_mixes(plan: AnnealPlan, results: Results, seeds: Sequence[int]) -> dict[str, Any]:
    """Shares, copies and runs of each mix."""
    return {
        name: {
            "shares": plan.mixes[name],
            "copies": plan.copies(name),
            "runs": [
                {"folder": f"runs/{trial.name}", "seed": seed, "values": dict(run["values"])}
                for trial, seed, run in zip(plan.trials[name], seeds, results[name], strict=True)
            ],
        }
        for name in plan.trials
    }


def find_exit_code(comparisons: Sequence[Mapping[str, Any]]) -> int:
    """0: the verdict on each mix's mean is better; 4: one is worse; else 3."""
    verdicts = {found["mean"]["verdict"] if found["mean"] is not None else None for found in comparisons}
    if "worse" in verdicts:
        return EXIT_WORSE
    return EXIT_BETTER if verdicts == {"better"} else EXIT_UNDECIDED


def render_setup(plan: AnnealPlan, *, base: str, seeds: Sequence[int], peak_lr: float) -> list[str]:
    """What was run."""
    one = len(seeds) == 1
    lines = [
        f"From {base}: {plan.tokens:,} tokens a run, the learning rate from {peak_lr:g} linear to zero, "
        f"{'one run' if one else f'{len(seeds)} runs'} of each mix ({'seed' if one else 'seeds'} {', '.join(map(str, seeds))}).",
        "",
        "| mix | shares | copies of what there is |",
        "|---|---|---|",
    ]
    for name, shares in plan.mixes.items():
        parts = ", ".join(f"{source} {share:.3f}" for source, share in shares.items())
        copies = ", ".join(f"{source} {count:.2f}" for source, count in plan.copies(name).items())
        lines.append(f"| {name} | {parts} | {copies} |")
    return [*lines, ""]


def render_comparisons(found: Mapping[str, Any], weights: Mapping[str, float], *, level: str = "##") -> list[str]:
    """A table of each comparison, and what can be said of it."""
    lines: list[str] = []
    for one in [*found["comparisons"], *found["pairs"]]:
        rows = one["tasks"] | ({MEAN: one["mean"]} if one["mean"] is not None else {})
        lines += [f"{level} {one['mix']} against {one['reference']}", ""]
        lines += render_differences(rows, left=one["mix"], right=one["reference"], weights=weights)
        lines += ["", *_say_verdicts(one), ""]
    return lines


def _say_verdicts(one: Mapping[str, Any]) -> list[str]:
    """A line for the mean when its difference is beyond chance, one for such tasks; else why there is none."""
    lines = []
    mean = one["mean"]
    if mean is not None and mean["verdict"] is not None:
        lines.append(
            f"**{one['mix']} is {mean['verdict']} than {one['reference']}**: {mean['difference']:+.4f} bits per byte on the weighted "
            f"mean{_say_errors(mean)}."
        )
    of_tasks = [f"{found['verdict']} on {task}" for task, found in one["tasks"].items() if found["verdict"] is not None]
    if of_tasks:
        lines.append(f"{one['mix']} is {', '.join(of_tasks)}.")
    if any(found["error_runs"] is None for found in one["tasks"].values()):
        lines.append(
            "One run of a mix does not say how much runs of one mix differ, so there is no verdict: raise anneal.seeds."
        )
    alone = [task for task, found in one["tasks"].items() if found["error_instances"] is None]
    if alone:
        lines.append(f"One document or item has no error over instances, so there is no verdict on {', '.join(alone)}.")
    return lines


def _say_errors(found: Mapping[str, Any]) -> str:
    errors = count_errors(found)
    return (
        "" if errors is None else f", {abs(errors):.1f} standard errors where {found['errors_needed']:.1f} are needed"
    )


LEGEND = (
    "Bits per byte; below zero the first mix is better. Error over instances: of the paired differences of documents or items; over runs: of "
    "seeds; both: root of the sum of squares. A verdict needs two standard errors, more with few runs; about one of 20 comparisons of "
    "equal mixes gets one by chance."
)
