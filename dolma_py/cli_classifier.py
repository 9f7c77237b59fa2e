"""The command line's group `classifier`: names, options and help; the work is found by lazy strings (dolma_py.cli)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

Recipe = Annotated[
    str | None, typer.Option("--recipe", help="packaged recipe such as dclm, or a YAML file with sources and settings")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the recipe; may be repeated")
]
Folder = Annotated[str | None, typer.Option("--folder", help="folder that {folder} in a recipe stands for")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="of every random choice")]
Replace = Annotated[bool, typer.Option("--replace", help="write over what another run left at --output")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan and its cost, do nothing")]


def add_classifier_commands(app: typer.Typer, call: Callable[..., Any]) -> None:
    """Add train, measure and annotate; `call` imports a command's function and calls it."""

    @app.command("train")
    def train(
        input: Annotated[
            list[str] | None,
            typer.Option("--input", help="files of labelled texts (text, label), in place of the recipe's sources"),
        ] = None,
        output: Annotated[str | None, typer.Option("--output", help="the model's file, ending in .bin")] = None,
        recipe: Recipe = None,
        folder: Folder = None,
        set: Overrides = None,
        seed: Seed = 0,
        check: Annotated[
            bool, typer.Option("--check", help="say what each data set is and whether it is reached")
        ] = False,
        replace: Replace = False,
        dry_run: DryRun = False,
        corpus: Annotated[
            str | None, typer.Option("--corpus", help="corpus folder: train as a step of it, by --config")
        ] = None,
        config: Annotated[
            str | None, typer.Option("--config", help="with --corpus: YAML, see dolma-py settings classifier train")
        ] = None,
        name: Annotated[
            str, typer.Option("--name", help="with --corpus: name of the run under runs/")
        ] = "classifier-train",
    ) -> None:
        """Train a fastText classifier from labelled files or a recipe; with --corpus as its step, from good and bad text."""
        if corpus is not None:
            call("classifier train", kind="train_classifier", corpus=corpus, view=None, config=config, overrides=set or [],
                 run={"name": name, "seed": seed}, dry_run=dry_run,
                 spark={"master": None, "partitions": None, "bundle": None})  # fmt: skip
            return
        call("classifier train files", recipe=recipe or config, inputs=input or [], output=output, folder=folder,
             overrides=set or [], seed=seed, mode={"check": check, "dry_run": dry_run, "replace": replace})  # fmt: skip

    @app.command("measure")
    def measure(
        model: Annotated[str, typer.Option("--model", help="a fastText model with labels (.bin or .ftz)")],
        input: Annotated[
            list[str] | None, typer.Option("--input", help="files of labelled texts (text, label)")
        ] = None,
        recipe: Recipe = None,
        output: Annotated[
            str | None, typer.Option("--output", help="JSON file for the figures; default: shown only")
        ] = None,
        folder: Folder = None,
        set: Overrides = None,
        seed: Seed = 0,
    ) -> None:
        """How good a model is on labelled texts: precision, recall, AUC with intervals, calibration, a threshold."""
        call("classifier measure", model=model, recipe=recipe, inputs=input or [], output=output, folder=folder,
             overrides=set or [], seed=seed)  # fmt: skip

    @app.command("annotate")
    def annotate(
        input: Annotated[list[str] | None, typer.Option("--input", help="files of texts to be labelled")] = None,
        output: Annotated[
            str | None, typer.Option("--output", help="file for the labels, such as labels.jsonl")
        ] = None,
        recipe: Annotated[
            str | None, typer.Option("--recipe", help="packaged recipe such as educational-score, or a YAML file")
        ] = None,
        folder: Folder = None,
        set: Overrides = None,
        seed: Seed = 0,
        replace: Replace = False,
        dry_run: DryRun = False,
    ) -> None:
        """Labels by a language model behind an endpoint, for `classifier train`: cost first, resumable, nothing guessed."""
        call("classifier annotate", recipe=recipe, inputs=input or [], output=output, folder=folder, overrides=set or [],
             seed=seed, mode={"dry_run": dry_run, "replace": replace})  # fmt: skip
