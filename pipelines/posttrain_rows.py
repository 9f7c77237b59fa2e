"""Pass 1 of prepare_posttrain, one task: the records of a file as rows of tokens, and what became of the others.

Memory: the records of a batch (limits.batch_text_bytes), their tokens, and the rows of the file that stay, compressed.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import xxhash

from dolma_py import parquet_files
from dolma_py.config import build_config
from dolma_py.formats.jsonl import UTF8_BOM, explain_error
from dolma_py.formats.limits import Limits, has_too_many_objects, make_excerpt
from dolma_py.plain_lines import iterate_blocks
from dolma_py.plain_tables import open_table
from dolma_py.storage import WrittenFile, write_attempt
from mixers import chat_filters, label_masks
from mixers.chat_rows import ChatRow, Kind, join_texts, read_row, render_messages
from mixers.chat_templates import ChatTemplate, Rendered, TemplateSource, render, render_prompt
from mixers.instruction_text import list_special_tokens
from mixers.label_masks import Encoded
from mixers.posttrain_files import GROUP_ROWS, work_schema
from mixers.tokenization import LoadedTokenizer
from pipelines.named_tokenizers import cached_tokenizer
from pipelines.plain_inputs import PlainFile
from pipelines.posttrain_config import PosttrainSource, PreparePosttrainConfig
from taggers.base import tag_checked
from taggers.contamination import ContaminationTagger

BATCH_RECORDS = 256
Record = tuple[int, Any]  # line or row, from 1; its value, or a Broken


class Broken(NamedTuple):
    """A record that could not be read."""

    reason: str
    excerpt: str


class Worker(NamedTuple):
    """What all rows of a job share."""

    settings: PreparePosttrainConfig
    tokenizer: LoadedTokenizer
    template: ChatTemplate
    contamination: ContaminationTagger | None


class RowPlace(NamedTuple):
    """A row and where it came from."""

    line: int
    row: ChatRow
    id: str


def read_records(file: PlainFile, limits: Limits) -> Iterator[Record]:
    """Every record of a file, as JSON or table have it."""
    if file.format != "jsonl":
        with open_table(file.path, file.format) as table:
            number = 0
            for batch in table.batches:
                for value in batch.to_pylist():
                    number += 1
                    yield number, value
        return
    for block, _ in iterate_blocks(file.path, limits):
        for number, line in enumerate(block.lines, block.first_line):
            line = line.removeprefix(UTF8_BOM) if number == 1 else line
            if block.reason == "too_long" or has_too_many_objects(line):
                yield number, Broken(block.reason or "too_long", make_excerpt(line))
            elif line and not line.isspace():
                try:
                    yield number, orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    yield number, Broken(explain_error(line, error), make_excerpt(line))
        if block.reason and block.reason != "too_long":  # the stream broke behind these lines
            yield block.first_line + len(block.lines), Broken(block.reason, "")


def make_worker(params: dict[str, Any]) -> Worker:
    """What a task needs, made once in a process for a job."""
    return _cached_worker(json.dumps(params["job"], sort_keys=True))


@functools.lru_cache(maxsize=1)
def _cached_worker(text: str) -> Worker:
    job = json.loads(text)
    settings = build_config(PreparePosttrainConfig, job["settings"])
    tokenizer = cached_tokenizer(job["tokenizer"], job["tokenizer_checksum"], settings.eos_token)
    template = make_template(TemplateSource(*job["template"]), tokenizer, settings)
    options = job["contamination"]
    tagger = None if options is None else ContaminationTagger(build_config(ContaminationTagger.config_model, options))
    return Worker(settings, tokenizer, template, tagger)


def make_template(source: TemplateSource, tokenizer: LoadedTokenizer, settings: PreparePosttrainConfig) -> ChatTemplate:
    """The compiled template of a job."""
    specials = list_special_tokens(tokenizer.backend)
    return ChatTemplate(source, special_tokens=specials, variables=settings.template_variables)


class Counts:
    """What became of a file's records."""

    def __init__(self) -> None:
        self.read = 0
        self.rejected: Counter[str] = Counter()  # no rows at all
        self.dropped: Counter[str] = Counter()  # rows that a filter, the template or the tokenizer drops
        self.truncated = 0

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "read": self.read,
            "rejected": dict(sorted(self.rejected.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "truncated": self.truncated,
        }


def prepare_file(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: one file."""
    worker, file = make_worker(params), PlainFile(*params["file"])
    source = build_config(PosttrainSource, params["source"])
    counts, schema = Counts(), work_schema(worker.settings.rows)
    losses = io.BytesIO()
    with gzip.GzipFile(fileobj=losses, mode="wb", filename="", mtime=0) as zipped:
        tables = [
            make_table(worker, source, file.name, rows, counts, zipped)
            for rows in batch_records(read_records(file, worker.settings.limits))
        ]

    def write(sink: Any) -> int:
        return parquet_files.write_rows(sink, schema, tables, group_rows=GROUP_ROWS)

    written = [write_attempt(params["root"], attempts, params["rows"], write)]
    if counts.rejected or counts.dropped:
        content, number = losses.getvalue(), counts.rejected.total() + counts.dropped.total()
        written.append(
            write_attempt(params["root"], attempts, params["losses"], lambda sink: sink.write(content) and number)
        )
    return written, counts.facts() | {"rows": sum(table.num_rows for table in tables)}


def batch_records(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Lists of BATCH_RECORDS records; where they end changes no row."""
    held: list[Record] = []
    for record in records:
        held.append(record)
        if len(held) == BATCH_RECORDS:
            yield held
            held = []
    if held:
        yield held


def make_table(
    worker: Worker, source: PosttrainSource, path: str, records: list[Record], counts: Counts, losses: Any
) -> pa.Table:
    """The rows of work_schema that stay of some records; every other one is counted and gets a line in `losses`."""

    def lose(line: int, reason: str, excerpt: str, counter: Counter[str]) -> None:
        counter[reason] += 1
        values = {"path": path, "line": line, "reason": reason, "excerpt": excerpt}
        losses.write(json.dumps(values, sort_keys=True).encode() + b"\n")

    places: list[RowPlace] = []
    for line, value in records:
        counts.read += 1
        excerpt = value.excerpt if isinstance(value, Broken) else _excerpt(value)
        row: ChatRow | str = value.reason if isinstance(value, Broken) else _read(worker, source, value)
        if isinstance(row, str):
            lose(line, row, excerpt, counts.rejected)
        else:
            places.append(RowPlace(line, row, row.id if row.id else _make_id(source.name, path, row)))
    settings = worker.settings
    reasons = chat_filters.find_dropped(
        [place.row for place in places], template=worker.template, licenses=settings.licenses,
        default_license=source.license, traces=settings.traces if settings.rows != "prompts" else None,
    )  # fmt: skip
    _find_contaminated(worker, places, reasons)
    made = _encode(worker, source, [place.row for place in places], reasons)
    values = []
    for place, found in zip(places, made, strict=True):
        if isinstance(found, str):
            lose(place.line, found, place.id[:200], counts.dropped)
            continue
        counts.truncated += found.pop("is_truncated")
        values.append({"id": place.id, "source": source.name, "path": path, "line": place.line, **found})
    schema = work_schema(settings.rows)
    columns = [pa.array([value[field.name] for value in values], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _excerpt(value: Any) -> str:
    return (
        make_excerpt(orjson.dumps(value, default=str))
        if _is_plain(value)
        else make_excerpt(repr(value).encode("utf-8", "replace"))
    )


def _is_plain(value: Any) -> bool:
    try:
        orjson.dumps(value, default=str)
    except (TypeError, orjson.JSONEncodeError):
        return False
    return True


def _read(worker: Worker, source: PosttrainSource, value: Any) -> ChatRow | str:
    kind: Kind = worker.settings.rows
    return read_row(value, kind=kind, form=source.form, columns=source.columns, verifier=source.verifier)


def _make_id(source: str, path: str, row: ChatRow) -> str:
    """xxh3-128 of source, file and messages, for rows without an id of their own."""
    parts = [source, path, render_messages(row.messages)]
    parts += [render_messages(row.rejected)] if row.rejected is not None else []
    return xxhash.xxh3_128_hexdigest("\0".join(parts).encode())


def _find_contaminated(worker: Worker, places: list[RowPlace], reasons: list[str]) -> None:
    """Put a reason where a row that stays holds an evaluation item, in either answer of a pair."""
    left = [number for number, reason in enumerate(reasons) if not reason]
    if worker.contamination is None or not left:
        return
    texts = []
    for number in left:
        row = places[number].row
        texts.append(join_texts(row.messages + ([row.rejected[-1]] if row.rejected is not None else [])))
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    found = tag_checked(worker.contamination, batch).column("contaminated").to_pylist()
    for number, is_contaminated in zip(left, found, strict=True):
        reasons[number] = "contaminated" if is_contaminated else ""


def _encode(
    worker: Worker, source: PosttrainSource, rows: list[ChatRow], reasons: list[str]
) -> list[dict[str, Any] | str]:
    """Of each row its columns of tokens, or why it is dropped."""
    if worker.settings.rows == "prompts":
        return [reason or _encode_prompt(worker, row) for row, reason in zip(rows, reasons, strict=True)]
    chosen = encode_sides(worker, [row.messages for row in rows], reasons)
    if worker.settings.rows == "sft":
        return [found if isinstance(found, str) else _as_chat(found) for found in chosen]
    rejected = encode_sides(
        worker, [row.rejected or [] for row in rows], [one if isinstance(one, str) else "" for one in chosen]
    )
    turns = [sum(message["role"] == "assistant" for message in row.messages) for row in rows]
    return [second if isinstance(first, str) or isinstance(second, str) else _as_pair(first, second, number, source.max_length_difference)
            for first, second, number in zip(chosen, rejected, turns, strict=True)]  # fmt: skip


def encode_sides(worker: Worker, conversations: list[Any], reasons: list[str]) -> list[Encoded | str]:
    """Ids and mask of each conversation that has no reason yet, or the reason."""
    rendered = [
        reason or render(messages, worker.template) for messages, reason in zip(conversations, reasons, strict=True)
    ]
    good = [one for one in rendered if isinstance(one, Rendered)]
    encoded = iter(label_masks.encode_conversations(
        good, tokenizer=worker.tokenizer, template=worker.template, max_tokens=worker.settings.max_tokens
    ))  # fmt: skip
    return [next(encoded) if isinstance(one, Rendered) else one for one in rendered]


def _as_chat(found: Encoded) -> dict[str, Any]:
    return {
        "ids": found.ids, "mask": found.mask, "tokens": len(found.ids), "trained_tokens": int(found.mask.sum()),
        "is_truncated": found.is_truncated,
    }  # fmt: skip


def _as_pair(chosen: Encoded, rejected: Encoded, num_turns: int, max_difference: int | None) -> dict[str, Any] | str:
    sides = {"chosen": chosen, "rejected": rejected}
    lengths = {}
    values: dict[str, Any] = {
        "tokens": len(chosen.ids) + len(rejected.ids),
        "is_truncated": chosen.is_truncated or rejected.is_truncated,
    }
    for name, side in sides.items():
        starts = label_masks.turn_starts(side.mask)
        if len(starts) < num_turns:
            return "last_turn_cut"
        last = int(starts[-1])
        lengths[name] = int(side.mask[last:].sum())
        values |= {f"{name}_ids": side.ids, f"{name}_mask": side.mask, f"{name}_last": last}
    if max_difference is not None and abs(lengths["chosen"] - lengths["rejected"]) > max_difference:
        return "length_difference"
    if np.array_equal(chosen.ids, rejected.ids):
        return "answers_equal"
    trained = int(chosen.mask.sum()) + int(rejected.mask.sum())
    return values | {"trained_tokens": trained}


def _encode_prompt(worker: Worker, row: ChatRow) -> dict[str, Any] | str:
    text = render_prompt(row.messages, worker.template)
    if text is None:
        return "template_refuses"
    ids = label_masks.encode_prompt(text, tokenizer=worker.tokenizer, template=worker.template)
    if len(ids) > worker.settings.max_tokens:
        return "too_long"
    return {
        "messages": render_messages(row.messages), "prompt_ids": ids, "verifier": row.verifier, "ground_truth": row.ground_truth,
        "tokens": len(ids), "trained_tokens": 0, "is_truncated": False,
    }  # fmt: skip
