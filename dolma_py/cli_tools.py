"""The command line's `posttrain tool-sessions` and `tool-scores`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

# command -> "module:function", for dolma_py.cli
TOOL_COMMANDS = {
    "posttrain tool-sessions": "mixers.tool_commands:run_sessions",
    "posttrain tool-scores": "mixers.tool_commands:run_scores",
    "settings posttrain tool-sessions": "mixers.tool_commands:print_simulation_settings",
    "settings posttrain tool-scores": "mixers.tool_commands:print_score_settings",
}
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the file; may be repeated")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan and its cost, do nothing")]


def add_tool_commands(posttrain_app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add tool-sessions and tool-scores; `call` imports a command's function and calls it."""

    @posttrain_app.command("tool-sessions")
    def tool_sessions(
        output: Annotated[str, typer.Argument(help="file for the rows, such as sessions.jsonl")],
        config: Annotated[
            str | None,
            typer.Option(
                "--config",
                help="YAML of a model that simulates them, see dolma-py settings posttrain tool-sessions; none: made without a model",
            ),
        ] = None,
        part: Annotated[
            str, typer.Option("--part", help="train: chat rows; test: items of the held-out test")
        ] = "train",
        count: Annotated[int | None, typer.Option("--count", min=1, help="how many; default 1000")] = None,
        seed: Annotated[int, typer.Option("--seed", min=0, help="of every random choice")] = 0,
        set: Overrides = None,
        replace: Annotated[bool, typer.Option("--replace", help="take the place of what stands at OUTPUT")] = False,
        dry_run: DryRun = False,
    ) -> None:
        """Conversations with tools: made with right calls and real results, or simulated by a model and checked."""
        typer.echo(call("posttrain tool-sessions", output=output, config=config, part=part, count=count, seed=seed,
                        overrides=set or [], dry_run=dry_run, replace=replace))  # fmt: skip

    @posttrain_app.command("tool-scores")
    def tool_scores(
        items: Annotated[str, typer.Argument(help="items, as tool-sessions --part test writes them")],
        output: Annotated[str, typer.Argument(help="folder for scores.json and scores.jsonl")],
        config: Annotated[
            str, typer.Option("--config", help="YAML of the model, see dolma-py settings posttrain tool-scores")
        ],
        limit: Annotated[int | None, typer.Option("--limit", min=1, help="take the first items only")] = None,
        set: Overrides = None,
        dry_run: DryRun = False,
    ) -> None:
        """How well a model behind an endpoint calls functions: right ones, right arguments, none where none fits."""
        typer.echo(call("posttrain tool-scores", items=items, output=output, config=config, overrides=set or [],
                        limit=limit, dry_run=dry_run))  # fmt: skip
