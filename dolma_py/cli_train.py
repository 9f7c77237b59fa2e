"""The command line's `train`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from dolma_py.errors import ConfigError

Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the file; may be repeated")
]


def add_train_command(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add train; `call` imports a command's function and calls it."""

    @app.command()
    def train(
        config: Annotated[
            str, typer.Option("--config", help="packaged config such as quickstart/pretrain, or a YAML file")
        ],
        output: Annotated[str | None, typer.Option("--output", help="run folder")] = None,
        shards: Annotated[str | None, typer.Option("--shards", help="tokens/<mix> folder of a corpus")] = None,
        set: Overrides = None,
        parent: Annotated[
            str | None,
            typer.Option(
                "--from",
                help="start from RUN@STEP, a run's newest checkpoint, an average or a folder in Hugging Face's form",
            ),
        ] = None,
        launcher: Annotated[
            str | None,
            typer.Option("--launcher", help="local: one process a GPU, by torchrun; slurm: a batch file, submitted"),
        ] = None,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="show the plan, memory, time and cost, do nothing")
        ] = False,
        gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="with --dry-run: how many")] = None,
        gpu: Annotated[str | None, typer.Option("--gpu", help="with --dry-run: which, such as H100")] = None,
        mfu: Annotated[
            float | None,
            typer.Option(
                "--mfu", min=0.01, max=1, help="with --dry-run: reached share of its rate; default: published, or 0.4"
            ),
        ] = None,
        price: Annotated[
            float | None, typer.Option("--price", min=0, help="with --dry-run: of one GPU for one hour")
        ] = None,
    ) -> None:
        """Train an Olmo 3 on shards; the same command resumes after a kill. --dry-run needs no shards and no GPU."""
        for name, value in (("--output", output), ("--shards", shards)):
            if value is None and not dry_run:
                raise ConfigError(name, None, "a folder is needed to train")
        if launcher is not None:
            # of one rank; what starts them stays out
            arguments = ["train", "--config", config, "--shards", shards or "", "--output", output or ""]
            arguments += [word for value in set or [] for word in ("--set", value)]
            arguments += ["--from", parent] if parent is not None else []
            raise typer.Exit(
                call("train launch", launcher=launcher, arguments=arguments, config=config, shards=shards or "",
                     output=output or "run", overrides=set or [], dry_run=dry_run)
            )  # fmt: skip
        call("train", config=config, shards=shards or "", output=output or "", overrides=set or [], dry_run=dry_run,
             assumed={"gpus": gpus, "gpu": gpu, "mfu": mfu, "price": price}, parent=parent)  # fmt: skip


def add_soup_command(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add soup."""

    @app.command()
    def soup(
        runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="RUN@STEP, or RUN for its newest checkpoint")],
        output: Annotated[str, typer.Option("--output", help="folder that train --from, eval and export hf read")],
        weight: Annotated[
            list[float] | None, typer.Option("--weight", help="of each run in the mean; default: all the same")
        ] = None,
    ) -> None:
        """The mean of the weights of several runs, or of several checkpoints of one."""
        call("soup", runs=runs, weights=weight or [], output=output)
