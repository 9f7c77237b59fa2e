"""Train an n-gram language model on a sample of a view, chosen by hash of the ids: the same for any partitioning; or on plain files.

Writes runs/<recipe>/<step>/<name>.lm and its card, and names the model as an artifact for the tagger `perplexity`.

    spark-submit pipelines/train_language_model.py --config language_model.yaml
"""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import xxhash
from pydantic import Field

from dolma_py import config, parquet_files, storage
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats import FieldMap, Limits, Rejection, read_any
from dolma_py.input_files import describe_left_out, find_files
from dolma_py.manifest import render_json
from pipelines.sampled_texts import sample_texts
from pipelines.steps import StepContext, StepResult, check_found, file_lists
from taggers.language_model import MAGIC
from taggers.language_model_training import CARD_VERSION, LanguageModelConfig, TokenStream, train_language_model

logger = logging.getLogger("dolma_py.build")

VERSION = 1
CHANGES_NO_BYTE = ("memory_bytes",)
SAMPLE_BYTES = 8_000_000  # of text, whose tokens a plan counts
NGRAMS_PER_SEC = 3_000_000  # counted and estimated in memory: 2.5 to 3.6 million for orders 1 to 5 of novels
DISK_TOKEN_BYTES = 40  # what the files of a token take beyond its memory otherwise


class TrainLanguageModelConfig(LanguageModelConfig):
    """taggers.language_model_training's settings and the size of the sample."""

    name: str = Field(
        default="language_model", pattern=r"^[a-z0-9_-]+$", description="of the artifact and the model file"
    )
    sample_bytes: int = Field(
        default=100_000_000, ge=1, description="text to train on, in bytes, about; whole documents are taken"
    )


def driver_memory_bytes(settings: TrainLanguageModelConfig, text_bytes: int) -> int:
    """At most: every second byte of the sample a word, or max_tokens of them; or memory_bytes. The vocabulary apart."""
    if settings.memory_bytes is not None:
        return settings.memory_bytes
    tokens = min(settings.max_tokens, min(settings.sample_bytes, text_bytes))
    return tokens * settings.token_memory_bytes


def work_disk_bytes(settings: TrainLanguageModelConfig, corpus: Corpus, text_bytes: int) -> int:
    """Of the model, about: a word of six bytes, and two thirds of its n-grams new, at 24 bytes each."""
    tokens = min(settings.max_tokens, min(settings.sample_bytes, text_bytes) // 6)
    return 16 * settings.order * tokens


def run(context: StepContext, settings: TrainLanguageModelConfig) -> StepResult:
    """Sample on the executors, count and estimate on the driver."""
    done, times = sample_texts(context, "language model sample", settings.sample_bytes)
    paths = [context.corpus.path(file["path"]) for file in file_lists(done)]
    path = f"{context.folder}/{settings.name}.lm"
    storage.make_folder(context.corpus.path(context.folder))
    card = train_language_model(
        _read_sample(paths), output_path=context.corpus.path(path), config=model_config(settings)
    )
    artifacts = {settings.name: path, f"{settings.name}_card": f"{path}.card.json"}
    if settings.arpa:
        artifacts[f"{settings.name}_arpa"] = f"{path}.arpa"
    return StepResult(artifacts=artifacts, facts={"card": card}, times=times._asdict())


def model_config(settings: TrainLanguageModelConfig) -> LanguageModelConfig:
    """What of the settings the model itself is told."""
    return LanguageModelConfig.model_validate(settings.model_dump(exclude={"name", "sample_bytes"}))


def _read_sample(paths: list[str]) -> Iterator[TextView]:
    for path in paths:
        with parquet_files.open_parquet(path) as file:
            for group in range(file.num_row_groups):
                yield view_text(file.read_row_group(group, columns=["text"], use_threads=False).column("text"))


def train_from_files(
    inputs: list[str],
    output: str,
    settings: LanguageModelConfig,
    *,
    text_column: str = "text",
    replace: bool = False,
) -> tuple[dict[str, Any], bool]:
    """Train on plain files without Spark, in the order of their names; (card with what could not be read, whether a model was trained).

    The second is False when a model of the same texts and settings stands at `output`: the texts are read, nothing is counted or written.

    Raises
    ------
    ConfigError     a pattern without files; another model, or another file, stands at `output` and `replace` is false
    DataError       see train_language_model
    """
    files, path = _list_files(inputs), storage.resolve_path(output)
    standing = None if replace else _find_standing(files, output, settings, text_column)
    if standing is not None:
        return standing, False
    unreadable: Counter[str] = Counter()
    texts = _read_files(files, text_column, unreadable)
    card = train_language_model(texts, output_path=path, config=settings)
    return card | {"unreadable": dict(sorted(unreadable.items()))}, True


def _list_files(inputs: list[str]) -> list[str]:
    """The files of the patterns, each once, in the order of their names. ConfigError for a pattern without any."""
    files = set()
    for pattern in inputs:
        found = find_files(storage.resolve_path(pattern))
        check_found(found, "--input", pattern)
        if found.left_out:
            logger.warning("%s", describe_left_out(found.left_out))
        files.update(info.path for info in found.files)
    return sorted(files)


def _find_standing(
    files: list[str], output: str, settings: LanguageModelConfig, text_column: str
) -> dict[str, Any] | None:
    """The card of the model at `output` when it was made from these texts and settings; None when it is yet to be made.

    Raises
    ------
    ConfigError     another model, or another file, stands there
    """
    path = storage.resolve_path(output)
    if not storage.path_exists(path):
        return None
    standing = _find_card(path, settings)
    known = _find_unfinished(path) if standing is None else standing["data"]["fingerprint"]
    unreadable: Counter[str] = Counter()
    if known is None or known != _digest_texts(_read_files(files, text_column, unreadable)):
        hint = "Choose another name, or give --replace."
        raise ConfigError("--output", output, "another model, or another file, stands there", hint)
    return None if standing is None else standing | {"unreadable": dict(sorted(unreadable.items()))}


class TrainingPlan(NamedTuple):
    """What a training would read and take."""

    num_files: int
    num_texts: int
    num_bytes: int  # of text
    num_tokens: int  # with two marks for each unit, as max_tokens counts them
    is_counted: bool  # num_tokens is no estimate
    unreadable: dict[str, int]  # by reason


def plan_training(files: list[str], settings: LanguageModelConfig, text_column: str) -> TrainingPlan:
    """Read all texts; count the tokens of SAMPLE_BYTES of them, of each file its first batches, as many as its share of the bytes.

    Raises
    ------
    DataError       no tokens at all
    """
    sizes = [storage.file_bytes(path) or 0 for path in files]
    free = settings.model_copy(update={"max_tokens": 2**31 - 1, "memory_bytes": None})
    unreadable: Counter[str] = Counter()
    num_texts = num_bytes = num_tokens = 0
    is_counted = True
    for path, size in zip(files, sizes, strict=True):
        sample, seen = TokenStream(free), 0
        for texts in _read_files([path], text_column, unreadable):
            num_texts += len(texts.offsets) - 1
            seen += int(texts.offsets[-1] - texts.offsets[0])
            if sample.num_bytes * sum(sizes) <= SAMPLE_BYTES * size:
                sample.add(texts)
        num_bytes += seen
        counted = sample.num_tokens + 2 * sample.num_units
        num_tokens += counted * seen // max(sample.num_bytes, 1)
        is_counted &= seen == sample.num_bytes
    if is_counted and not num_tokens:
        raise DataError("language model training", "the text has no tokens", hint="Give other text.")
    return TrainingPlan(len(files), num_texts, num_bytes, num_tokens, is_counted, dict(sorted(unreadable.items())))


def describe_plan(plan: TrainingPlan, settings: LanguageModelConfig) -> str:
    """Lines for the terminal: what there is, and what counting it takes."""
    about = "" if plan.is_counted else "about "
    lines = [
        f"{plan.num_files:,} files, {plan.num_texts:,} documents, {plan.num_bytes / 1e6:,.1f} MB of text, {about}{plan.num_tokens:,} "
        "tokens and ends of units"
    ]
    if plan.num_tokens > settings.max_tokens:
        lines.append(f"more than max_tokens ({settings.max_tokens:,}): the training would stop there, so raise it")
    tokens = min(plan.num_tokens, settings.max_tokens)
    seconds = max(1, round(settings.order * tokens / NGRAMS_PER_SEC))
    if settings.memory_bytes is None:
        memory = f"at most {tokens * settings.token_memory_bytes / 1e6:,.0f} MB of memory beside the words; "
    else:
        disk = tokens * (settings.token_memory_bytes + DISK_TOKEN_BYTES)
        memory = f"{settings.memory_bytes / 1e6:,.0f} MB of memory beside the words, at most {disk / 1e6:,.0f} MB of TMPDIR; more than "
    lines.append(
        f"{memory}{seconds:,} s of one core at {NGRAMS_PER_SEC // 1_000_000} million n-grams a second. Nothing was done."
    )
    return "\n".join(lines)


def _find_card(path: str, settings: LanguageModelConfig) -> dict[str, Any] | None:
    """The card of a whole model of these settings; None when something else stands there."""
    if not storage.file_bytes(path + ".card.json") or (settings.arpa and not storage.file_bytes(path + ".arpa")):
        return None
    try:
        card = json.loads(storage.read_bytes(path + ".card.json"))
        wanted = json.loads(render_json(config.dump_config(settings)))
        is_its = _identity(card["config"]) == _identity(wanted) and len(card["data"]["fingerprint"]) > 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    is_its = is_its and card.get("version") == CARD_VERSION
    return card if is_its and card.get("model_fingerprint") == storage.checksum_file(path) else None


def _find_unfinished(path: str) -> str | None:
    """The texts' fingerprint in a model that has no card yet, which a killed run leaves; None for all else."""
    if storage.file_bytes(path + ".card.json") is not None:
        return None
    with storage.open_read(path) as stream:
        start = stream.read(16)
        if start[:8] != MAGIC:
            return None
        try:
            header = json.loads(stream.read(min(int.from_bytes(start[8:], "little"), 1 << 20)))
            return str(header["facts"]["data"]["fingerprint"])
        except (ValueError, KeyError, TypeError):
            return None


def _identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Without bounds, which change no byte."""
    return {name: value for name, value in settings.items() if name not in ("max_tokens", "memory_bytes")}


def _digest_texts(batches: Iterator[TextView]) -> str:
    """The fingerprint of the texts in a card, as taggers.language_model_training has it."""
    digest = xxhash.xxh3_128()
    for texts in batches:
        for start, end in zip(texts.offsets[:-1].tolist(), texts.offsets[1:].tolist(), strict=True):
            digest.update((end - start).to_bytes(8, "little") + texts.data[start:end].tobytes())
    return digest.hexdigest()


def _read_files(paths: list[str], text_column: str, unreadable: Counter[str]) -> Iterator[TextView]:
    for path in paths:
        items = read_any(
            path,
            source="language-model",
            limits=Limits(),
            fields=FieldMap(text=text_column),
            added=None,
            open_stream=storage.open_read,
            root="",
        )
        for item in items:
            if isinstance(item, Rejection):
                unreadable[item.reason] += 1
                continue
            column = item.column("text")
            starts = range(0, len(column), 1000)
            yield from (view_text(column.slice(start, 1000)) for start in starts)


def run_command(
    *, inputs: list[str], output: str | None, text_column: str, corpus: str | None, replace: bool = False, **options: Any
) -> None:  # fmt: skip
    """`dolma-py language-model train`: over a corpus' view, or over plain files without Spark."""
    from pipelines.commands import run_job_command

    if (corpus is None) == (not inputs):
        raise ConfigError("--corpus, --input", [corpus, inputs], "expected one of the two")
    if corpus is not None:
        if output is not None:
            raise ConfigError("--output", output, "expected with --input only: a corpus has a place for its models")
        if replace:
            raise ConfigError(
                "--replace", replace, "expected with --input only: a corpus' step is done again by itself"
            )
        run_job_command(corpus=corpus, **options)
        return
    if output is None:
        raise ConfigError("--output", None, "expected a file for the model")
    values = {} if options["config"] is None else config.load_yaml(options["config"])
    settings = config.build_config(
        LanguageModelConfig, config.apply_overrides(values, options["overrides"]), where=options["config"] or ""
    )
    if options["dry_run"]:
        files = _list_files(inputs)
        if not replace and _find_standing(files, output, settings, text_column) is not None:
            sys.stdout.write(f"{output} was made from the same texts and settings: there is nothing to do\n")
            return
        plan = plan_training(files, settings, text_column)
        _tell_unreadable(plan.unreadable)
        sys.stdout.write(describe_plan(plan, settings) + "\n")
        return
    card, is_new = train_from_files(inputs, output, settings, text_column=text_column, replace=replace)
    _tell_unreadable(card["unreadable"])
    if not is_new:
        sys.stdout.write(f"{output} was made from the same texts and settings: nothing was done\n")
        return
    data, sizes = card["data"], ", ".join(f"{count:,}" for count in card["num_ngrams"])
    sys.stdout.write(
        f"{data['num_texts']:,} documents, {data['num_tokens']:,} tokens, {card['num_words']:,} words; n-grams of 1 to "
        f"{len(card['num_ngrams'])} words: {sizes}\nwritten: {output} and {output}.card.json\n"
    )


def _tell_unreadable(unreadable: dict[str, int]) -> None:
    if unreadable:
        reasons = ", ".join(f"{reason} {count}" for reason, count in unreadable.items())
        logger.warning("%d records could not be read (%s)", sum(unreadable.values()), reasons)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("train_language_model", argv)


if __name__ == "__main__":
    sys.exit(main())
