"""The command line's `posttrain` group of pairs and tools: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from dolma_py.cli_tools import TOOL_COMMANDS, add_tool_commands

# command -> "module:function", for dolma_py.cli
PAIR_AND_TOOL_COMMANDS = {
    **TOOL_COMMANDS,
    "posttrain pairs": "mixers.pair_commands:run",
    "settings posttrain pairs": "mixers.pair_commands:print_settings",
}


def add_pair_and_tool_commands(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add pairs, tool-sessions and tool-scores to the group `posttrain`, which is made where there is none.

    `call` imports a command's function and calls it.
    """
    groups = [group.typer_instance for group in app.registered_groups if group.name == "posttrain"]
    posttrain_app = (groups and groups[0]) or typer.Typer(
        rich_markup_mode=None, no_args_is_help=True, help="Data of post-training: pairs, sessions with tools."
    )
    if not groups:
        app.add_typer(posttrain_app, name="posttrain")
    add_pairs_command(posttrain_app, call)
    add_tool_commands(posttrain_app, call)


def add_pairs_command(posttrain_app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add pairs; `call` imports a command's function and calls it."""

    @posttrain_app.command("pairs")
    def pairs(
        config: Annotated[str, typer.Argument(help="YAML file; all settings: dolma-py settings posttrain pairs")],
        output: Annotated[str, typer.Argument(help="file for the pairs, such as pairs.jsonl")],
        input: Annotated[
            list[str] | None, typer.Option("--input", help="files of prompts, in place of the settings'")
        ] = None,
        set: Annotated[
            list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the file; may be repeated")
        ] = None,
        seed: Annotated[int, typer.Option("--seed", min=0, help="of every random choice")] = 0,
        replace: Annotated[bool, typer.Option("--replace", help="take the place of what stands at OUTPUT")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="show what it costs at most, ask nothing")] = False,
    ) -> None:
        """Preference pairs by models behind endpoints: delta, judged, multi-turn; cost first, resumable, what fails is counted."""
        typer.echo(call("posttrain pairs", config=config, output=output, inputs=input or [], overrides=set or [],
                        seed=seed, dry_run=dry_run, replace=replace))  # fmt: skip
