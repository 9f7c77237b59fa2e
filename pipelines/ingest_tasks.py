"""The tasks of ingest: read pieces of files into a shard, count a file that stays where it is, number the lines of ranges."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import storage
from dolma_py.corpus import SIZES_SCHEMA, AttributePiece
from dolma_py.formats import FieldMap, Limits, Rejection, Skipped, find_reader
from dolma_py.formats.arxiv import ArxivConfig
from dolma_py.formats.html_extractors import HtmlConfig
from dolma_py.formats.in_place import TooMuchTextError, read_text_lengths
from dolma_py.formats.jsonl import LineRange, count_newlines
from dolma_py.formats.parquet import GroupRange
from dolma_py.formats.pdf import PdfConfig
from dolma_py.formats.repository import RepositoryConfig
from dolma_py.formats.wikipedia import WikipediaConfig
from dolma_py.storage import Attempt, WrittenFile
from dolma_py.views import SIZES
from pipelines.shard_files import ShardCounts, add_sizes, text_lengths, write_shard

Event = pa.RecordBatch | Rejection | Skipped
RANGES = {"jsonl": LineRange, "parquet": GroupRange}
# kind -> the group of a source's settings that its reader takes
KIND_SETTINGS = {
    "html": HtmlConfig, "warc": HtmlConfig, "pdf": PdfConfig, "wikipedia": WikipediaConfig, "repository": RepositoryConfig,
    "arxiv": ArxivConfig,
}  # fmt: skip


def name_rejected(part: str) -> str:
    """Below rejected/, what could not be read of a part, a path below documents/ with or without its .parquet."""
    return part.removesuffix(".parquet") + ".jsonl.gz"


class RejectedRecords:
    """Counts what is passed over, and rejections, which it writes to rejected/<part>.jsonl.gz, a file that begins with the first one."""

    def __init__(self, stack: ExitStack, params: dict[str, Any], attempts: str) -> None:
        self.stack, self.params, self.attempts = stack, params, attempts
        self.counts: dict[str, int] = {}  # by reason
        self.by_input: dict[str, dict[str, int]] = {}  # path of the file that is read -> the same of it alone
        self.skipped: dict[str, int] = {}  # by reason, records that were read well and are no documents
        self.attempt: Attempt | None = None
        self.zipped: gzip.GzipFile | None = None

    def add(self, rejection: Rejection, input_path: str) -> None:
        """Write one down, of the file at `input_path`."""
        if self.zipped is None:
            path = f"rejected/{name_rejected(self.params['part'])}"
            self.attempt = self.stack.enter_context(storage.open_attempt(self.params["root"], self.attempts, path))
            zipped = gzip.GzipFile(fileobj=self.attempt.sink, mode="wb", filename="", mtime=0)  # type: ignore[call-overload]
            self.zipped = self.stack.enter_context(zipped)
        for counts in (self.counts, self.by_input.setdefault(input_path, {})):
            counts[rejection.reason] = counts.get(rejection.reason, 0) + 1
        self.zipped.write(json.dumps(rejection._asdict(), sort_keys=True).encode() + b"\n")

    def written(self) -> list[WrittenFile]:
        """The file, when there is one and the stack is closed."""
        return [] if self.attempt is None else [self.attempt.written(sum(self.counts.values()))]


def ingest_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: read pieces of input files into one shard, or count a file that is read in place.

    A file with more text than a later job may hold becomes a shard in spite of in_place, and the fact `copied` says so: what
    was counted of it until then is dropped with its attempt files, and it is read once more from its beginning.
    """
    if "in_place" in params:
        with contextlib.suppress(TooMuchTextError):
            return _keep_rejected(list_file, params, attempts)
    files, facts = _keep_rejected(copy_pieces, params, attempts)
    return files, facts | ({"copied": True} if "in_place" in params else {})


Task = Callable[[dict[str, Any], str, RejectedRecords], tuple[list[WrittenFile], dict[str, Any]]]


def _keep_rejected(task: Task, params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """What the task gives, with the file and the counts of what it rejected; an error leaves no file behind."""
    with ExitStack() as stack:
        rejected = RejectedRecords(stack, params, attempts)
        files, facts = task(params, attempts, rejected)
    counts = {"rejected": rejected.counts, "rejected_by_input": rejected.by_input}
    if rejected.skipped:
        counts["skipped"] = rejected.skipped  # type: ignore[assignment]
    return [*files, *rejected.written()], facts | counts


def copy_pieces(
    params: dict[str, Any], attempts: str, rejected: RejectedRecords
) -> tuple[list[WrittenFile], dict[str, Any]]:
    """Pieces of input files as one shard of our own."""
    return write_shard(
        _read_pieces(params, rejected), root=params["root"], attempts=attempts, part=params["part"],
        row_group_text_bytes=params["row_group_text_bytes"],
    )  # fmt: skip


def list_file(
    params: dict[str, Any], attempts: str, rejected: RejectedRecords
) -> tuple[list[WrittenFile], dict[str, Any]]:
    """The sizes of a file that is read in place; a row group of it is a row group of the attributes.

    Raises TooMuchTextError past params["max_text_bytes"] of text in a row group, or in a file of JSON lines.
    """
    piece, max_text_bytes = params["pieces"][0], params["max_text_bytes"]
    counts = ShardCounts()

    def read() -> Iterator[np.ndarray]:
        if piece["kind"] == "parquet":
            yield from read_text_lengths(piece["path"], max_text_bytes)
            return
        batches, text_bytes = [np.empty(0, np.int64)], 0
        for batch in _read_pieces(params, rejected):
            batches.append(text_lengths(batch.column("text")))
            text_bytes += int(batches[-1].sum())
            if text_bytes > max_text_bytes:  # every later job would hold the whole file
                raise TooMuchTextError(piece["path"], f"more than {max_text_bytes} bytes of text")
        yield np.concatenate(batches)

    path = f"attributes/{SIZES}/{params['part']}.parquet"
    with storage.open_attempt(params["root"], attempts, path) as attempt:
        with AttributePiece(attempt.sink, SIZES_SCHEMA) as sizes:
            for lengths in read():
                add_sizes(sizes, lengths)
                counts.add(lengths)
        rows = sizes.rows
    return [attempt.written(rows)], counts.facts()


def load_reading(params: dict[str, Any], piece: dict[str, Any]) -> tuple[Limits, FieldMap, datetime | None]:
    """The limits, fields and `added` under which a task reads a piece."""
    added = None if params["added"] is None else datetime.fromisoformat(params["added"])
    return Limits.model_validate(params["limits"]), FieldMap.model_validate(piece["fields"]), added


def _read_pieces(params: dict[str, Any], rejected: RejectedRecords) -> Iterator[pa.RecordBatch]:
    """The documents of all pieces, in their order."""
    events = ((piece["path"], event) for piece in params["pieces"] for event in _read_piece(params, piece))
    files_at_once = min((_files_at_once(piece) for piece in params["pieces"]), default=1)
    if files_at_once > 1:
        events = _read_together(params, files_at_once)
    for path, event in events:
        if isinstance(event, Rejection):
            rejected.add(event, path)
        elif isinstance(event, Skipped):
            rejected.skipped[event.reason] = rejected.skipped.get(event.reason, 0) + event.records
        else:
            yield event


def _read_piece(params: dict[str, Any], piece: dict[str, Any]) -> Iterator[Event]:
    limits, fields, added = load_reading(params, piece)
    options: dict[str, Any] = {}
    if piece["part"] is not None:
        options["part"] = RANGES[piece["kind"]](*piece["part"])
    if "settings" in piece:
        options["settings"] = KIND_SETTINGS[piece["kind"]].model_validate(piece["settings"])
    return find_reader(piece["path"], piece["kind"])(
        piece["path"], source=params["source"], limits=limits, fields=fields, added=added,
        open_stream=storage.open_read, root=piece["root"], **options,
    )  # fmt: skip


def _files_at_once(piece: dict[str, Any]) -> int:
    """More than one for a file that waits for somebody else: a model."""
    settings = piece.get("settings", {})
    return 1 if settings.get("endpoint") is None else int(settings["files_at_once"])


def _read_together(params: dict[str, Any], num_files: int) -> Iterator[tuple[str, Event]]:
    """The events of all pieces in their order, num_files of them read at the same time and held whole."""
    waiting: deque[tuple[str, Future[list[Event]]]] = deque()
    pieces = iter(params["pieces"])
    with ThreadPoolExecutor(num_files) as pool:
        try:
            while True:
                for piece in itertools.islice(pieces, num_files - len(waiting)):
                    waiting.append((piece["path"], pool.submit(lambda piece=piece: list(_read_piece(params, piece)))))
                if not waiting:
                    return
                path, future = waiting.popleft()
                yield from ((path, event) for event in future.result())
        finally:
            for _, future in waiting:
                future.cancel()


def count_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the newlines of a range of bytes."""
    piece = params["pieces"][0]
    with storage.open_read(piece["path"]) as stream:
        return [], {"newlines": count_newlines(stream, *piece["part"][:2])}
