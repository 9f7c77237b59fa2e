"""The command line's group `posttrain`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

Corpus = Annotated[str, typer.Option("--corpus", help="folder, local, s3://, gs:// or hdfs://, for what is written")]
ConfigFile = Annotated[
    str | None,
    typer.Option("--config", help="YAML with the job's settings; all of them: dolma-py settings posttrain prepare"),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the file; may be repeated")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan and its cost, do nothing")]
Partitions = Annotated[
    int | None, typer.Option("--partitions", min=1, help="Spark partitions; changes no byte of the output")
]
Master = Annotated[
    str | None, typer.Option("--master", help="Spark master; default local[*,3]: all cores, three tries")
]
BundleFolder = Annotated[
    str | None, typer.Option("--bundle", help="folder made by `make bundle`, for a cluster's workers")
]
Name = Annotated[str, typer.Option("--name", help="name of the run under runs/; default: the command's")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="of every random choice")]


def add_posttrain_commands(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add the group; `call` imports a command's function and calls it."""
    posttrain_app = typer.Typer(
        rich_markup_mode=None,
        no_args_is_help=True,
        help="Data of post-training: chats, preference pairs, prompts for RL.",
    )
    app.add_typer(posttrain_app, name="posttrain")

    @posttrain_app.command("prepare")
    def prepare(
        corpus: Corpus,
        config: ConfigFile = None,
        set: Overrides = None,
        seed: Seed = 0,
        name: Name = "posttrain-prepare",
        dry_run: DryRun = False,
        master: Master = None,
        partitions: Partitions = None,
        bundle: BundleFolder = None,
    ) -> None:
        """Chats, pairs or prompts checked, filtered, rendered by a chat template and written as token ids with label masks."""
        spark = {"master": master, "partitions": partitions, "bundle": bundle}
        call("posttrain prepare", corpus=corpus, config=config, overrides=set or [], run={"name": name, "seed": seed},
             dry_run=dry_run, spark=spark)  # fmt: skip

    @posttrain_app.callback()
    def group() -> None:
        """Keeps `prepare` a command of a group while it is the only one."""
