"""The command line's `mix optimize`, `mix microanneal` and `mix integrate`: names, options and help; the work is found by lazy strings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

# a part of dolma_py.cli.COMMANDS
MIX_COMMANDS = {
    "mix optimize": "mixers.mix_optimize:run_optimize",
    "mix microanneal": "mixers.mix_microanneal:run_microanneal",
    "mix integrate": "mixers.mix_integrate:run_integrate",
    "settings mix optimize": "mixers.mix_optimize:print_settings",
    "settings mix microanneal": "mixers.mix_microanneal:print_settings",
    "settings mix integrate": "mixers.mix_integrate:print_settings",
}
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the file; may be repeated")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the mixes and runs, do nothing")]
Output = Annotated[str, typer.Argument(help="folder for runs/, report.json, report.md")]


def add_mix_commands(mix_app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add optimize, microanneal and integrate; `call` imports a command's function and calls it."""

    @mix_app.command("optimize")
    def optimize(
        config: Annotated[str, typer.Argument(help="YAML file; all settings: dolma-py settings mix optimize")],
        output: Annotated[str, typer.Argument(help="folder for runs/, report.json, report.md, weights.yaml")],
        set: Overrides = None,
        dry_run: DryRun = False,
    ) -> None:
        """Train proxies on drawn mixes, fit a law for each task, choose the mix; the same command goes on after a kill."""
        typer.echo(call("mix optimize", config=config, output=output, overrides=set or [], dry_run=dry_run))

    @mix_app.command("microanneal")
    def microanneal(
        config: Annotated[str, typer.Argument(help="YAML file; all settings: dolma-py settings mix microanneal")],
        output: Output,
        set: Overrides = None,
        dry_run: DryRun = False,
    ) -> None:
        """From a checkpoint, candidate and web against web alone. Exit status: 0 each better, 4 one worse, 3 not decided."""
        text, code = call("mix microanneal", config=config, output=output, overrides=set or [], dry_run=dry_run)
        typer.echo(text)
        raise typer.Exit(code)

    @mix_app.command("integrate")
    def integrate(
        config: Annotated[str, typer.Argument(help="YAML file; all settings: dolma-py settings mix integrate")],
        output: Output,
        set: Overrides = None,
        dry_run: DryRun = False,
    ) -> None:
        """Whole anneals of mixes, then fine-tuning, against a reference mix. Exit status: 0 each better, 4 one worse, 3 not decided."""
        text, code = call("mix integrate", config=config, output=output, overrides=set or [], dry_run=dry_run)
        typer.echo(text)
        raise typer.Exit(code)
