"""The command line's `sft` and `dpo`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from dolma_py.cli_train import Overrides
from dolma_py.errors import ConfigError

POSTTRAIN_COMMANDS = {
    "sft": "train_bridge.run_sft:sft",
    "dpo": "train_bridge.run_preference:dpo",
}

Parent = Annotated[
    str | None,
    typer.Option(
        "--from", help="start from RUN@STEP, a run's newest checkpoint, an average or a folder in Hugging Face's form"
    ),
]
Output = Annotated[str | None, typer.Option("--output", help="run folder")]
Launcher = Annotated[
    str | None, typer.Option("--launcher", help="local: one process a GPU, by torchrun; slurm: a batch file, submitted")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan, memory, time and cost, do nothing")]
Gpus = Annotated[int | None, typer.Option("--gpus", min=1, help="with --dry-run: how many")]
Gpu = Annotated[str | None, typer.Option("--gpu", help="with --dry-run: which, such as H100")]
Mfu = Annotated[float | None, typer.Option("--mfu", min=0.01, max=1, help="with --dry-run: reached share of its rate")]
Price = Annotated[float | None, typer.Option("--price", min=0, help="with --dry-run: of one GPU for one hour")]


def add_posttrain_train_commands(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add sft and dpo; `call` imports a command's function and calls it."""

    @app.command()
    def sft(
        config: Annotated[
            str, typer.Option("--config", help="packaged config such as olmo3_7b/think-sft, or a YAML file")
        ],
        output: Output = None,
        shards: Annotated[str | None, typer.Option("--shards", help="shards with label masks")] = None,
        set: Overrides = None,
        parent: Parent = None,
        launcher: Launcher = None,
        dry_run: DryRun = False,
        gpus: Gpus = None,
        gpu: Gpu = None,
        mfu: Mfu = None,
        price: Price = None,
    ) -> None:
        """Fine-tune on conversations: packed rows, each conversation seen alone, labels where the mask says so."""
        _check_folders({"--output": output, "--shards": shards}, dry_run)
        if launcher is not None:
            words = _words("sft", {"--config": config, "--shards": shards, "--output": output, "--from": parent}, set)
            _launch(call, launcher, words, config=config, data=shards, output=output, set=set, dry_run=dry_run)
        call("sft", config=config, shards=shards or "", output=output or "", overrides=set or [], dry_run=dry_run,
             assumed={"gpus": gpus, "gpu": gpu, "mfu": mfu, "price": price}, parent=parent)  # fmt: skip

    @app.command()
    def dpo(
        config: Annotated[
            str, typer.Option("--config", help="packaged config such as olmo3_7b/think-dpo, or a YAML file")
        ],
        output: Output = None,
        pairs: Annotated[str | None, typer.Option("--pairs", help="folder of preference pairs")] = None,
        set: Overrides = None,
        parent: Parent = None,
        reference_cache: Annotated[
            str | None,
            typer.Option(
                "--reference-cache", help="log-probs of the reference for several runs; default: OUTPUT/reference"
            ),
        ] = None,
        launcher: Launcher = None,
        dry_run: DryRun = False,
        gpus: Gpus = None,
        gpu: Gpu = None,
        mfu: Mfu = None,
        price: Price = None,
    ) -> None:
        """Learn preferences from pairs (DPO, its length-normalised form, SimPO, WPO); --from is policy and reference."""
        _check_folders({"--output": output, "--pairs": pairs}, dry_run)
        if launcher is not None:
            places = {"--config": config, "--pairs": pairs, "--output": output, "--from": parent}
            words = _words("dpo", {**places, "--reference-cache": reference_cache}, set)
            _launch(call, launcher, words, config=config, data=pairs, output=output, set=set, dry_run=dry_run)
        call("dpo", config=config, pairs=pairs or "", output=output or "", overrides=set or [], dry_run=dry_run,
             assumed={"gpus": gpus, "gpu": gpu, "mfu": mfu, "price": price}, parent=parent,
             reference_cache=reference_cache)  # fmt: skip


def _check_folders(folders: dict[str, str | None], dry_run: bool) -> None:
    for name, value in folders.items():
        if value is None and not dry_run:
            raise ConfigError(name, None, "a folder is needed to train")


def _words(command: str, options: dict[str, str | None], overrides: list[str] | None) -> list[str]:
    """The command line of one rank; what starts them stays out."""
    words = [command]
    for name, value in options.items():
        words += [] if value is None else [name, value]
    return words + [word for value in overrides or [] for word in ("--set", value)]


def _launch(
    call: Callable[..., Any], launcher: str, words: list[str], *, config: str, data: str | None, output: str | None,
    set: list[str] | None, dry_run: bool,
) -> None:  # fmt: skip
    raise typer.Exit(
        call("train launch", launcher=launcher, arguments=words, config=config, shards=data or "", output=output or "run",
             overrides=set or [], dry_run=dry_run)
    )  # fmt: skip
