"""Post-training data: chats, preference pairs or prompts of RL, checked, filtered, decontaminated, mixed by counts and tokenized.

Reads plain files; writes tokens/<mix>/ (chats with label masks), pairs/<mix>/ or prompts/<mix>/ of a corpus folder, as mixers.posttrain_files
names them, tokenizer.json and chat_template.jinja beside them, manifest.json last; and rejected/posttrain-<mix>/ with file, line and reason of
every record that is not there. Pass 1 (pipelines.posttrain_rows) makes rows of tokens of each file, the driver chooses and orders them by hash,
pass 2 (pipelines.posttrain_parts) writes the parts. Records read = rows written + rejected + dropped + not taken, checked.

    spark-submit pipelines/prepare_posttrain.py --config posttrain.yaml
"""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dolma_py import config, manifest, parquet_files, storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, ConservationError, TooManyRejectedError
from dolma_py.input_files import describe_left_out
from dolma_py.text_sizes import estimate_text_bytes
from mixers.chat_templates import TemplateSource, find_template
from mixers.label_masks import show_sample
from mixers.posttrain_files import Plan, plan_rows
from mixers.tokenization import LoadedTokenizer, load_tokenizer
from mixers.tokenizer_files import checksum_tokenizer
from pipelines.named_tokenizers import cached_tokenizer, place_tokenizer
from pipelines.plain_inputs import PlainFile, list_plain_inputs
from pipelines.posttrain_config import PosttrainSource, PreparePosttrainConfig
from pipelines.posttrain_parts import PLAN_SCHEMA, part_names, write_part
from pipelines.posttrain_rows import Worker, make_template, make_worker, prepare_file
from pipelines.posttrain_sample import find_sample
from pipelines.steps import StepContext, StepResult, Unit, find_worst
from taggers.contamination import ContaminationTagger, ContaminationTaggerConfig

logger = logging.getLogger("dolma_py.build")

VERSION = 1
READS_VIEW = False  # files of records alone: it gets no view and leaves none
CHANGES_NO_BYTE = ("max_rejected_frac",)
PRESET = "olmo3-posttrain"
OUR_FILES = re.compile(r"(token_ids|labels_mask|pairs|prompts)_part_\d{4,}\.(npy|csv\.gz|parquet)")
WHY_LEFT_OUT = "hidden names, and files that are no JSON Lines, Parquet or Arrow"
FORMATS = {"sft": "dolma-py-shards", "pairs": "dolma-py-pairs", "prompts": "dolma-py-prompts"}


class Reading(NamedTuple):
    """One file of a source."""

    source: PosttrainSource
    file: PlainFile


def list_readings(corpus: Corpus, settings: PreparePosttrainConfig, *, warns: bool = False) -> list[Reading]:
    """All files in order of sources and names; warns: say which files of the inputs are not read."""
    readings = []
    for number, source in enumerate(settings.sources):
        patterns = [pattern.replace("{corpus}", corpus.root) for pattern in source.inputs]
        try:
            found = list_plain_inputs(patterns, corpus.path(settings.folder))
        except ConfigError as error:
            raise error.moved(f"sources.{number}.inputs") from error
        if warns and found.left_out:
            logger.warning("source %s: %s", source.name, describe_left_out(list(found.left_out), WHY_LEFT_OUT))
        readings += [Reading(source, file) for file in found.files]
    return readings


def fingerprint_inputs(corpus: Corpus, settings: PreparePosttrainConfig) -> list[object]:
    """Of all files, the tokenizer, its template and the evaluation items."""
    marks = [
        [one.source.name, one.file.name, one.file.num_bytes, one.file.mark] for one in list_readings(corpus, settings)
    ]
    tokenizer = load_tokenizer(settings.tokenizer, eos_token=settings.eos_token)
    template = find_source(settings, tokenizer)
    options = contamination_options(settings)
    paths = [] if options is None else [*ContaminationTagger.list_input_files(options), *options.get("items_paths", ())]
    items = [storage.checksum_file(path) for path in paths]
    return [marks, checksum_tokenizer(settings.tokenizer), template.fingerprint, items]


def expected_text_bytes(settings: PreparePosttrainConfig) -> int:
    """For plans; what lies in the corpus folder is not counted."""
    total = 0
    for source in settings.sources:
        if not any("{corpus}" in pattern for pattern in source.inputs):
            for file in list_plain_inputs(source.inputs, "/").files:
                total += estimate_text_bytes(file.path, file.num_bytes, kind=file.format, text_column="messages")
    return total


def worker_memory_bytes(settings: PreparePosttrainConfig, text_bytes: int) -> int:
    """A task of pass 2 holds a part's ids and masks twice; one of pass 1 the rows of its file."""
    return 2 * 5 * min(settings.tokens_per_part, text_bytes)


def driver_memory_bytes(settings: PreparePosttrainConfig, text_bytes: int) -> int:
    """Ids and numbers of all rows, of 1,000 bytes of text and more."""
    return 200 * (text_bytes // 1000)


def contamination_options(settings: PreparePosttrainConfig) -> dict[str, Any] | None:
    """Options of the tagger, checked; None where nothing is looked for."""
    if settings.decontaminate is None:
        return None
    options = {"preset": PRESET} | settings.decontaminate
    config.build_config(ContaminationTaggerConfig, options, prefix="decontaminate")
    return options


def check_settings(settings: PreparePosttrainConfig, place: Any) -> None:
    """Before anything runs: the options of decontamination, and that a template and its tokenizer are there and fit."""
    contamination_options(settings)
    tokenizer = load_tokenizer(settings.tokenizer, eos_token=settings.eos_token)
    make_template(find_source(settings, tokenizer), tokenizer, settings)


def find_source(settings: PreparePosttrainConfig, tokenizer: LoadedTokenizer) -> TemplateSource:
    """The template that the settings name."""
    eos_token = str(tokenizer.backend.id_to_token(tokenizer.eos_token_id))
    return find_template(settings.template, settings.tokenizer, eos_token=eos_token)


def run(context: StepContext, settings: PreparePosttrainConfig) -> StepResult:
    """Both passes and the manifest."""
    corpus = context.corpus
    readings = list_readings(corpus, settings, warns=True)
    path, checksum = place_tokenizer(context, settings.tokenizer, context.work)
    tokenizer = cached_tokenizer(path, checksum, settings.eos_token, where=settings.tokenizer)
    template = find_source(settings, tokenizer)
    job = {
        "settings": config.dump_config(settings), "tokenizer": path, "tokenizer_checksum": checksum, "template": list(template),
        "contamination": place_items(context, settings),
    }  # fmt: skip
    show_first(make_worker({"job": job}), readings)
    units = [plan_unit(context, settings, number, one, job) for number, one in enumerate(readings)]
    rows, times = context.run_units("rows", units, prepare_file)
    facts = [rows.units[unit.name]["facts"] for unit in units]
    check_rejected(context, settings, readings, facts)
    plan, files = choose_rows(context, settings, units)
    paths = [unit.params["rows"] for unit in units]
    storage.remove_file(corpus.path(settings.folder, "manifest.json"))  # an earlier mix is not complete from here on
    shared = {"rows": paths, "dtype": tokenizer.dtype.name, "eos_token_id": tokenizer.eos_token_id}
    parts = plan_parts(context, settings, plan, files, shared)
    done, part_times = context.run_units("parts", parts, write_part)
    written = [done.units[unit.name] for unit in parts]
    sources = count_sources(settings, readings, facts, written)
    made = describe(context, settings, tokenizer, template, written, sources)
    own = keep_own(corpus, settings, made)
    storage.write_bytes(corpus.path(settings.folder, "manifest.json"), manifest.render_json(made))
    own |= publish_losses(context, settings, rows.units, units)
    return StepResult(
        artifacts={f"posttrain_{settings.mix}": f"{settings.folder}/manifest.json"}, files=own,
        facts={"sources": sources, "tokens": made["tokens"], "rows": plan.rows.size, "parts": len(parts)},
        times={"task_sec": times.task_sec + part_times.task_sec, "peak_worker_bytes": max(times.peak_worker_bytes, part_times.peak_worker_bytes),
               "text_bytes": sum(one.file.num_bytes for one in readings)},
    )  # fmt: skip


def place_items(context: StepContext, settings: PreparePosttrainConfig) -> dict[str, Any] | None:
    """Options of decontamination with all evaluation items in one file of the step's folder, for workers without the driver's disk."""
    options = contamination_options(settings)
    if options is None:
        return None
    content, _ = ContaminationTagger.collect_items(options)
    path = context.corpus.path(context.work, "items.jsonl")
    storage.write_bytes(path, content)
    left_out = ("evaluation_sets", "evaluation_folder", "items_paths")
    return {key: value for key, value in options.items() if key not in left_out} | {"items_paths": [path]}


def show_first(worker: Worker, readings: list[Reading]) -> None:
    """Say what the first row that becomes tokens looks like, what is trained in brackets: a wrong mask is seen before it costs a run."""
    if worker.settings.rows == "prompts":
        return
    found = find_sample(worker, [(one.source, one.file) for one in readings])
    if found is None:
        logger.warning("none of the first records becomes a row: nothing to show")
        return
    name, encoded = found
    logger.info(
        "a sample, row %s, template %s, what is trained between \u27e6 and \u27e7:\n%s",
        name, worker.settings.template, show_sample(encoded, worker.tokenizer),
    )  # fmt: skip


def plan_unit(
    context: StepContext, settings: PreparePosttrainConfig, number: int, one: Reading, job: dict[str, Any]
) -> Unit:
    """Pass 1 of one file."""
    name = f"file-{number:05d}"
    params = {
        "root": context.corpus.root, "job": job, "file": list(one.file), "source": config.dump_config(one.source),
        "rows": f"{context.work}/rows/{name}.parquet", "losses": f"{context.work}/losses/{name}.jsonl.gz",
    }  # fmt: skip
    return Unit(name, params, one.file.num_bytes)


def check_rejected(
    context: StepContext, settings: PreparePosttrainConfig, readings: list[Reading], facts: list[dict[str, Any]]
) -> None:
    """Stop where more records are no rows than is allowed; rows that a filter drops do not count, unless none is left."""
    total, rejected = sum(fact["read"] for fact in facts), sum(sum(fact["rejected"].values()) for fact in facts)
    by_file = [(one.file.path, fact["rejected"]) for one, fact in zip(readings, facts, strict=True)]
    for fact in facts:
        if fact["read"] != fact["rows"] + sum(fact["rejected"].values()) + sum(fact["dropped"].values()):
            raise ConservationError("posttrain prepare", {"read": fact["read"], "rows": fact["rows"]})
    if total and rejected / total > settings.max_rejected_frac:
        raise TooManyRejectedError(
            "posttrain prepare", rejected, total, settings.max_rejected_frac, context.corpus.path(context.work, "losses"),
            context.setting_key("max_rejected_frac"), find_worst(by_file),
        )  # fmt: skip
    if not sum(fact["rows"] for fact in facts):
        dropped: Counter[str] = Counter()
        for fact in facts:
            dropped.update(fact["dropped"])
        raise ConfigError(
            context.setting_key("sources"), dict(dropped.most_common(3)), f"expected a row that stays, of {total} records none does",
            "Look at the reasons: filters, template and tokenizer drop rows.",
        )  # fmt: skip


def choose_rows(context: StepContext, settings: PreparePosttrainConfig, units: list[Unit]) -> tuple[Plan, pa.Table]:
    """The plan over the rows of all files, and file and number in it of each."""
    columns = ["id", "source", "tokens"]
    tables = []
    for number, unit in enumerate(units):
        table = parquet_files.read_row_groups(context.corpus.path(unit.params["rows"]), None, columns)
        table = table.append_column("file", pa.array(np.full(table.num_rows, number, np.int32)))
        tables.append(table.append_column("row", pa.array(np.arange(table.num_rows, dtype=np.int64))))
    rows = pa.concat_tables(tables)
    counts = {source.name: source.count for source in settings.sources if source.count is not None}
    names = rows.column("source").to_pylist()
    for name, count in counts.items():
        if names.count(name) < count:
            logger.warning("source %s: %d rows were asked for, it has %d", name, count, names.count(name))
    plan = plan_rows(
        rows.column("id").to_pylist(), names, rows.column("tokens").to_numpy(), counts=counts, seed=context.seed,
        tokens_per_part=settings.tokens_per_part,
    )  # fmt: skip
    return plan, rows.select(["file", "row"])


def plan_parts(
    context: StepContext, settings: PreparePosttrainConfig, plan: Plan, files: pa.Table, shared: dict[str, Any]
) -> list[Unit]:
    """A unit for each part, whose rows stand in a file of their own; shared: what all units are told."""
    table = files.take(pa.array(plan.rows)).append_column("id", pa.array(plan.ids, pa.string())).cast(PLAN_SCHEMA)
    units = []
    for part in range(plan.num_parts):
        start, stop = plan.bounds[part], plan.bounds[part + 1]
        path = f"{context.work}/plan/part-{part:04d}.parquet"
        parquet_files.write_table(context.corpus.path(path), table.slice(start, stop - start))
        own = {"root": context.corpus.root, "kind": settings.rows, "part": part, "plan": path, "out": settings.folder}
        units.append(Unit(f"part-{part:04d}", own | shared, stop - start))
    return units


def count_sources(
    settings: PreparePosttrainConfig,
    readings: list[Reading],
    facts: list[dict[str, Any]],
    written: list[dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """What became of each source's records. ConservationError when some are in no count."""
    sources: dict[str, dict[str, Any]] = {}
    for source in settings.sources:
        own = [fact for one, fact in zip(readings, facts, strict=True) if one.source.name == source.name]
        sums = {key: _sum_reasons([fact[key] for fact in own]) for key in ("rejected", "dropped")}
        rows = sum(fact["rows"] for fact in own)
        made = [part["facts"]["sources"].get(source.name, {}) for part in written]
        totals = {key: sum(part.get(key, 0) for part in made) for key in ("documents", "tokens", "trained_tokens")}
        sources[source.name] = {
            "read": sum(fact["read"] for fact in own), **sums, "truncated": sum(fact["truncated"] for fact in own),
            "asked": source.count, "not_taken": rows - totals["documents"], **totals,
        }  # fmt: skip
        expected = rows if source.count is None else min(rows, source.count)
        if totals["documents"] != expected:
            raise ConservationError("posttrain prepare", {"expected": expected, "written": totals["documents"]})
    return sources


def _sum_reasons(counts: list[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def describe(
    context: StepContext, settings: PreparePosttrainConfig, tokenizer: LoadedTokenizer, template: TemplateSource,
    written: list[dict[str, Any]], sources: dict[str, dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Write tokenizer and template into the folder; the content of its manifest.json."""
    corpus, out = context.corpus, settings.folder
    storage.write_bytes(corpus.path(out, "tokenizer.json"), tokenizer.backend.to_str(pretty=True).encode())
    storage.write_bytes(corpus.path(out, "chat_template.jinja"), template.content.encode())
    return {
        "format": FORMATS[settings.rows], "version": 1, "dtype": tokenizer.dtype.name if settings.rows == "sft" else "uint32",
        "vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.eos_token_id,
        "tokenizer": {"path": "tokenizer.json", "fingerprint": tokenizer.fingerprint,
                      "checksum": storage.checksum_file(corpus.path(out, "tokenizer.json"))},
        "template": {"path": "chat_template.jinja", "name": template.name, "fingerprint": template.fingerprint,
                     "variables": settings.template_variables,
                     "checksum": storage.checksum_file(corpus.path(out, "chat_template.jinja"))},
        "max_tokens": settings.max_tokens, "seed": context.seed, "fingerprint": context.fingerprint,
        **{key: sum(part["facts"][key] for part in written) for key in ("tokens", "trained_tokens", "documents")},
        "files": [_describe_part(settings, number, part) for number, part in enumerate(written)],
        "sources": sources, "heldout": {},
    }  # fmt: skip


def _describe_part(settings: PreparePosttrainConfig, number: int, part: dict[str, Any]) -> dict[str, Any]:
    entries = [
        {"path": name, "checksum": file["checksum"], "bytes": file["bytes"]}
        for name, file in zip(part_names(settings.rows, number), part["files"], strict=True)
    ]
    counts = {key: part["facts"][key] for key in ("tokens", "trained_tokens", "documents")}
    if settings.rows != "sft":
        return entries[0] | counts
    mask, sidecar = ({key: entry[key] for key in ("path", "checksum")} for entry in entries[1:])
    return entries[0] | counts | {"labels_mask": mask, "sidecar": sidecar}


def keep_own(corpus: Corpus, settings: PreparePosttrainConfig, made: dict[str, Any]) -> dict[str, int]:
    """Bytes of the mix's files, relative to the corpus; parts of an earlier, larger mix of the same name go."""
    own = {"tokenizer.json", "chat_template.jinja"}
    own |= {name for number in range(len(made["files"])) for name in part_names(settings.rows, number)}
    found = {}
    for info in storage.list_files(corpus.path(settings.folder)):
        name = info.path.removeprefix(corpus.path(settings.folder) + "/")
        if name in own:
            found[f"{settings.folder}/{name}"] = info.num_bytes
        elif OUR_FILES.fullmatch(name):
            storage.remove_file(info.path)
    return found


def publish_losses(
    context: StepContext, settings: PreparePosttrainConfig, done: dict[str, dict[str, Any]], units: list[Unit]
) -> dict[str, int]:
    """Copy the lists of what is not there to rejected/posttrain-<mix>/, where they stay; bytes by path."""
    folder, kept = f"rejected/posttrain-{settings.mix}", {}
    for unit in units:
        if len(done[unit.name]["files"]) > 1:
            path = f"{folder}/{unit.name}.jsonl.gz"
            content = storage.read_bytes(context.corpus.path(unit.params["losses"]))
            storage.write_bytes(context.corpus.path(path), content)
            kept[path] = len(content)
    for info in storage.list_files(context.corpus.path(folder)):
        if info.path.removeprefix(context.corpus.root).lstrip("/") not in kept:
            storage.remove_file(info.path)
    return kept


def run_command(*, run: dict[str, Any], **options: Any) -> None:
    """`dolma-py posttrain prepare`."""
    from pipelines.commands import run_job_command

    run_job_command(kind="prepare_posttrain", view=None, run=run, **options)


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("prepare_posttrain", argv)


if __name__ == "__main__":
    sys.exit(main())
