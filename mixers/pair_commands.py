"""The command `posttrain pairs`: read settings, do the work, say what was written where."""

from __future__ import annotations

import sys

from dolma_py.config import apply_overrides, build_config, load_yaml
from dolma_py.settings_text import render_settings
from mixers.pair_config import PairsConfig
from mixers.preference_pairs import describe_estimates, estimate_pairs, run_pairs


def print_settings() -> None:
    """`dolma-py settings posttrain pairs`."""
    sys.stdout.write("".join(f"{line}\n" for line in render_settings(PairsConfig)))


def run(
    *, config: str, output: str, inputs: list[str], overrides: list[str], seed: int, dry_run: bool, replace: bool
) -> str:
    """Make the pairs, or say what they would cost; what a person reads."""
    values = apply_overrides(load_yaml(config), overrides) | ({"prompts": inputs} if inputs else {})
    settings = build_config(PairsConfig, values, where=config)
    if dry_run:
        return "\n".join(
            describe_estimates(estimate_pairs(settings, seed=seed), lambda who: _tell_tries(settings, who))
        )
    summary, is_new = run_pairs(settings, output=output, seed=seed, replace=replace)
    told = ", ".join(f"{name} {number}" for name, number in summary["counts"].items())
    if not is_new:
        return f"{output} was made from the same settings, prompts and seed ({told}): nothing was done"
    lengths = summary["length_difference_tokens"]
    measured = (
        f"\nlengths differed by {lengths['median']} tokens (median), {lengths['p80']} (80th percentile) before control"
        if lengths
        else ""
    )
    return f"{told}{measured}\nwrote {output}, its .summary.json and .rejected.jsonl"


def _tell_tries(settings: PairsConfig, who: str) -> str:
    part = settings.judge if who == "judge" else settings.teacher if who == "teacher" else None
    return (
        ""
        if part is None or part.answer_tries == 1
        else f"; what cannot be used is asked for {part.answer_tries} times at most"
    )
