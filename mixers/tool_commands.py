"""The commands `posttrain tool-sessions` and `posttrain tool-scores`: read settings, do the work, say what was written where."""

from __future__ import annotations

import sys
from typing import Any

from dolma_py import storage
from dolma_py.config import apply_overrides, build_config, load_yaml
from dolma_py.endpoint import Endpoint
from dolma_py.errors import ConfigError
from dolma_py.manifest import render_json, render_line
from dolma_py.settings_text import render_settings
from dolma_py.tool_calls import ToolCall
from dolma_py.tool_items import ToolItem, read_items, write_items
from dolma_py.tool_scores import render_table, score_items, tabulate
from dolma_py.tool_sessions import Execute, ToolResult
from dolma_py.tool_speaker import Speaker, SpeakerConfig
from mixers.made_tool_sessions import CATEGORIES, make_items, make_rows
from mixers.made_tool_sessions import VERSION as MADE_VERSION
from mixers.simulated_tools import SimulateConfig, estimate_simulation, run_simulation
from mixers.tool_domains import DOMAINS
from mixers.tool_worlds import execute


def print_simulation_settings() -> None:
    """`dolma-py settings posttrain tool-sessions`."""
    sys.stdout.write("".join(f"{line}\n" for line in render_settings(SimulateConfig)))


def print_score_settings() -> None:
    """`dolma-py settings posttrain tool-scores`."""
    sys.stdout.write("".join(f"{line}\n" for line in render_settings(SpeakerConfig)))


def run_sessions(
    *, output: str, config: str | None, part: str, count: int | None, seed: int, overrides: list[str], dry_run: bool, replace: bool
) -> str:  # fmt: skip
    """Sessions for training or the held-out test; with a configuration, simulated by its model."""
    if config is None:
        if overrides:
            raise ConfigError("--set", overrides[0], "expected --config, whose settings it stands above")
        return _make_sessions(output, part, 1000 if count is None else count, seed, dry_run=dry_run, replace=replace)
    if part != "train":
        raise ConfigError("--part", part, "expected train with --config: a model's sessions are for training")
    values = apply_overrides(load_yaml(config), overrides) | ({} if count is None else {"sessions": count})
    settings = build_config(SimulateConfig, values, where=config)
    if dry_run:
        tries = f"; a session that cannot be used is asked for {settings.answer_tries} times at most"
        return f"{settings.sessions} sessions: {estimate_simulation(settings, seed=seed).describe()}{tries}. Nothing was asked."
    summary, is_new = run_simulation(settings, output=output, seed=seed, replace=replace)
    told = ", ".join(f"{name} {number}" for name, number in summary["counts"].items())
    if not is_new:
        return f"{output} was made from the same settings, tools and seed ({told}): nothing was done"
    return f"{told}\nwrote {output}, its .summary.json and .rejected.jsonl"


def _make_sessions(output: str, part: str, count: int, seed: int, *, dry_run: bool, replace: bool) -> str:
    if part not in ("train", "test"):
        raise ConfigError("--part", part, "expected train or test")
    what = f"{count} {'sessions for training' if part == 'train' else 'items of the held-out test'} in {len(CATEGORIES)} categories"
    if dry_run:
        return f"{what}, no model is asked. Nothing was written."
    if storage.path_exists(output) and not replace:
        raise ConfigError("OUTPUT", output, "something stands there", "Choose another name, or give --replace.")
    if part == "test":
        write_items(output, make_items(count, seed=seed))
    else:
        with storage.write_file(output) as stream:
            for row in make_rows(count, seed=seed):
                stream.write(render_line(row))
    return f"{what} (version {MADE_VERSION}, seed {seed}): wrote {output}"


def run_scores(*, items: str, output: str, config: str, overrides: list[str], limit: int | None, dry_run: bool) -> str:
    """Score a model behind an endpoint on items in the made worlds; the table, after scores.jsonl and scores.json are written."""
    settings = build_config(SpeakerConfig, apply_overrides(load_yaml(config), overrides), where=config)
    chosen = [
        item for number, item in enumerate(read_items(items, settings.call_limits)) if limit is None or number < limit
    ]
    _check_worlds(chosen, items)
    num_turns = sum(len(item.turns) for item in chosen)
    if dry_run:
        most = num_turns * settings.limits.max_steps
        return f"{len(chosen)} conversations with {num_turns} turns of the user: at most {most} requests. Nothing was asked."
    with Endpoint(settings.endpoint) as endpoint:
        speaker = Speaker(endpoint, settings)
        scores = score_items(chosen, speaker, execute_in_world, settings.limits, settings.call_limits)
    rows = tabulate(scores)
    storage.make_folder(output)
    with storage.write_file(storage.join_path(output, "scores.jsonl")) as stream:
        for score in scores:
            stream.write(render_line(score._asdict()))
    problems: dict[str, int] = {}
    for score in scores:
        for name, number in score.problems.items():
            problems[name] = problems.get(name, 0) + number
    facts: dict[str, Any] = {
        "items": items, "items_checksum": storage.checksum_file(items), "model": settings.endpoint.model, "failed_requests": speaker.failed,
        "problems": problems, "table": [row._asdict() | {"errors": _no_nan(row.errors)} for row in rows],
    }  # fmt: skip
    storage.write_bytes(storage.join_path(output, "scores.json"), render_json(facts))
    told = "".join(f"\n{name}: {number}" for name, number in sorted(problems.items()))
    failed = f"\n{speaker.failed} requests failed: their conversations count as wrong" if speaker.failed else ""
    return f"{render_table(rows)}{told}{failed}\nwrote {output}/scores.json and scores.jsonl"


def _no_nan(errors: dict[str, float]) -> dict[str, float | None]:
    return {name: value if value == value else None for name, value in errors.items()}


def _check_worlds(items: list[ToolItem], path: str) -> None:
    if not items:
        raise ConfigError("ITEMS", path, "expected at least one item")
    strange = [item.domain for item in items if item.domain not in DOMAINS]
    if strange:
        raise ConfigError("ITEMS", path, f"expected domains among {', '.join(DOMAINS)}, one is {strange[0]!r}")


def execute_in_world(item: ToolItem) -> Execute:
    """How calls of an item are made: in the world of its seed."""

    def run(call: ToolCall) -> ToolResult:
        return execute(item.seed, call, DOMAINS)

    return run
