"""The command line's `mix optimize`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the file; may be repeated")
]


def add_optimize_command(mix_app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add optimize; `call` imports a command's function and calls it."""

    @mix_app.command("optimize")
    def optimize(
        config: Annotated[str, typer.Argument(help="YAML file; all settings: dolma-py settings mix optimize")],
        output: Annotated[str, typer.Argument(help="folder for runs/, report.json, report.md, weights.yaml")],
        set: Overrides = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="show the mixes and runs, do nothing")] = False,
    ) -> None:
        """Train proxies on drawn mixes, fit a law for each task, choose the mix; the same command goes on after a kill."""
        typer.echo(call("mix optimize", config=config, output=output, overrides=set or [], dry_run=dry_run))
