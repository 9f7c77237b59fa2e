"""The command line's `compare`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

# a part of dolma_py.cli.COMMANDS
COMPARE_COMMANDS = {"compare": "dolma_py.run_comparison_text:run_compare"}


def add_compare_command(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add compare; `call` imports a command's function and calls it."""

    @app.command()
    def compare(
        runs: Annotated[
            list[str],
            typer.Argument(metavar="RUN RUN...", help="evaluated runs, the first is the reference: RUN, or RUN@STEP"),
        ],
        evaluation: Annotated[
            str | None,
            typer.Option("--evaluation", help="file of eval --output, seen from each run's folder; default: eval.json"),
        ] = None,
        output: Annotated[str | None, typer.Option("--output", help="file for the report, .md or .json too")] = None,
    ) -> None:
        """Finished runs beside each other: settings that differ, a table per task with paired standard errors."""
        typer.echo(call("compare", runs=runs, evaluation=evaluation, output=output))
