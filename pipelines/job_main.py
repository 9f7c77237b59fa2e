"""The shared main of every job: `spark-submit pipelines/<job>.py --config X`.

The file holds corpus, view (a name; null for all documents), name and seed of the run, and under `step` the job's own settings
(the commands of `dolma-py` take these settings alone as --config, the rest as options). It is a recipe of one step: same code,
same manifests under runs/<name>/, same skipping of finished work. A file with `inputs` and `output` in place of the corpus runs the
job over plain files, as the commands do with --input.
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

from pydantic import Field

from dolma_py import config
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DolmaError, describe_os_error, wants_trace
from pipelines import costs
from pipelines.build_recipe import BuildOptions, Outcome, build_from, check_view_names
from pipelines.done_steps import State
from pipelines.ingest_inputs import IngestConfig, describe_inputs
from pipelines.outcomes import print_outcomes, print_plain, print_written
from pipelines.plain_commands import PlainOptions, run_plain
from pipelines.recipe import FIRST_KINDS, KINDS, Recipe, Step, build_steps, check_steps
from pipelines.session import SessionConfig
from pipelines.steps import COMMAND, SettingsPlace

logger = logging.getLogger("dolma_py.build")


NAME_PATTERN = r"^([a-z0-9][a-z0-9_-]*)?$"  # a folder below runs/


class JobFile(Config):
    """What stands in a job's YAML."""

    corpus: str = Field(description="corpus folder")
    view: str | None = Field(default=None, description="view under views/; null: all documents")
    name: str = Field(default="", pattern=NAME_PATTERN, description="run name under runs/; empty: the job's kind")
    seed: int = Field(default=0, ge=0, description="of every random choice")
    artifacts: dict[str, str] = Field(
        default_factory=dict, description="name -> path relative to the corpus, of earlier runs"
    )
    step: dict[str, Any] = Field(default_factory=dict, description="the job's own settings")


class PlainJobFile(Config):
    """What stands in a job's YAML instead when it runs over plain files."""

    inputs: list[str] = Field(min_length=1, description="files, folders and globs of Parquet, JSON Lines or Arrow")
    output: str = Field(min_length=1, description="folder of the files that are written")
    text_column: str = Field(default="text", min_length=1, description="name or dotted path of the text")
    id_column: str | None = Field(default=None, description="name or dotted path of the id; null: `id`, if there")
    mark: bool = Field(default=False, description="keep every row and add the verdict as columns")
    name: str = Field(default="", pattern=NAME_PATTERN, description="of the job; empty: its kind")
    seed: int = Field(default=0, ge=0, description="of every random choice")
    step: dict[str, Any] = Field(default_factory=dict, description="the job's own settings")


def run_job(kind: str, argv: list[str] | None) -> int:
    """Parse arguments, run the job, print what it did and wrote. 0, 2 with one sentence on an error, 130 when stopped by hand."""
    parser = argparse.ArgumentParser(prog=KINDS[kind][0].replace(".", "/") + ".py")
    parser.add_argument("--config", required=True, help="YAML with step, and corpus and view or inputs and output")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, such as corpus=DIR")
    parser.add_argument("--master", default=None, help="Spark master; default: spark-submit's, else local[*,3]")
    parser.add_argument("--partitions", type=int, default=None, help="Spark partitions; changes no output")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        values = config.apply_overrides(config.load_yaml(options.config), options.set)
        session = SessionConfig(master=options.master)
        place = SettingsPlace("step.", options.config)
        outcomes = run_step_file(
            kind, values, BuildOptions(session=session, partitions=options.partitions), options.config, place
        )
    except DolmaError as error:
        logger.error("error: %s", error)
        return 2
    except OSError as error:
        if wants_trace():
            raise
        logger.error("error: %s", describe_os_error(error))
        return 2
    except KeyboardInterrupt:
        logger.error("stopped; the same command goes on from here")
        return 130
    if "inputs" in values:
        print_plain(outcomes, values["output"])
    else:
        print_outcomes(outcomes, values["corpus"])
        print_written(values.get("step", {}))
    return 0


def run_step_file(
    kind: str, values: Any, options: BuildOptions, where: str = "", place: SettingsPlace = COMMAND
) -> list[Outcome]:
    """Run one job given as the values of its file; place: where the user gave those of `step`."""
    if isinstance(values, dict) and "inputs" in values:
        job = config.build_config(PlainJobFile, values, where=where)
        plain = PlainOptions(job.inputs, job.output, job.text_column, job.id_column, job.mark)
        run = {"name": job.name or kind.replace("_", "-"), "seed": job.seed}
        return run_plain(kind, job.step, run, plain, options, place)
    corpus, recipe, state, _ = read_job(kind, values, where, place)
    return build_from(recipe, corpus, options, state, [place])


def plan_step_file(kind: str, values: Any, where: str = "", place: SettingsPlace = COMMAND) -> dict[str, Any]:
    """What run_step_file would cost."""
    corpus, recipe, state, step = read_job(kind, values, where, place)
    check_view_names(recipe, [step], corpus, state.view)
    return costs.make_plan(recipe, [step], corpus, state)


def plan_ingest(values: Any, where: str = "", place: SettingsPlace = COMMAND) -> dict[str, Any]:
    """What run_step_file would read and cost for an ingest: the plan's `inputs` has a row per source."""
    corpus, recipe, _, step = read_job("ingest", values, where, place)
    settings = step.settings
    assert isinstance(settings, IngestConfig), type(settings)
    new = describe_inputs(corpus, settings)
    plan = costs.make_plan(recipe, [step], corpus, text_bytes=new.text_bytes)
    return plan | costs.name_inputs(new)


def read_job(kind: str, values: Any, where: str, place: SettingsPlace = COMMAND) -> tuple[Corpus, Recipe, State, Step]:
    """A job's file as a recipe of one step, what stood before it, and the step."""
    if not isinstance(values, dict):
        raise ConfigError("config", type(values).__name__, "expected a mapping", where=where)
    job = config.build_config(JobFile, values, where=where)
    corpus = Corpus(job.corpus)
    name = job.name or kind.replace("_", "-")
    recipe = Recipe(recipe=name, flow="job", seed=job.seed, steps=[{"kind": kind, "name": name, **job.step}])
    (step,) = build_steps(recipe, [place])
    check_steps([step])
    is_first = kind in FIRST_KINDS and not getattr(step.settings, "keep_view", False)
    reads_view = not is_first and kind != "installed_text" and getattr(step.module, "READS_VIEW", True)
    if job.view is not None and not reads_view:
        raise ConfigError("view", job.view, f"{kind} reads no view", "Leave it out.", where=where)
    view = corpus.load_view(job.view) if reads_view else None
    return corpus, recipe, State(view, dict(job.artifacts)), step
