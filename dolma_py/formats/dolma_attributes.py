"""Attributes in Dolma's JSON form: one line per document, `{"id": ..., "attributes": {NAME: [[start, end, score], ...]}}`.

Dolma counts characters of the text, we count UTF-8 bytes; here the two meet. Line n of an attribute file is about record n of the
document file of the same relative path. A name is <experiment>__<tagger>__<attribute>; the column is called <tagger>__<attribute>.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from dolma_py import spans
from dolma_py.arrow_buffers import TextView
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.decompress import find_codec, iterate_members
from dolma_py.formats.jsonl import iterate_lines
from dolma_py.formats.limits import Limits
from dolma_py.spans import Spans

SCORE = "__score"  # ends the name of the column with a document's one score
MAX_POSITION = 2**31 - 1
_TRIPLE = pa.list_(pa.float64(), 3)


class Row(NamedTuple):
    """One line of an attribute file."""

    line: int  # 1-based
    id: str | None
    attributes: dict[str, Any]  # name -> [[start, end, score], ...], not looked into yet


def read_rows(path: str, limits: Limits, open_stream: Callable[[str], BinaryIO]) -> Iterator[Row]:
    """The lines of an attribute file (plain, gzip or zstd) in order; blank ones are stepped over.

    Raises DataError, with file and line, for a line that is no such record and for a torn file: what follows could not be
    told to belong to which document.
    """
    with open_stream(path) as stream:
        for block in iterate_lines(iterate_members(stream, find_codec(path), limits=limits), limits.max_record_bytes):
            if block.reason:
                raise DataError(path, f"the file cannot be read on: {block.reason}", block.first_line, "Copy it again.")
            for number, line in enumerate(block.lines, block.first_line):
                if line and not line.isspace():
                    yield _parse_row(path, number, line)


def _parse_row(path: str, number: int, line: bytes) -> Row:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(path, f"not a line of JSON ({error})", number) from error
    attributes = value.get("attributes") if isinstance(value, dict) else None
    if not isinstance(attributes, dict):
        raise DataError(path, "expected an object with `attributes`", number)
    given = value.get("id")
    return Row(number, None if given is None or given == "" else str(given), attributes)


def name_columns(names: Iterable[str], experiment: str) -> dict[str, str]:
    """Attribute name -> column: without the experiment's prefix, other signs than letters, digits and _ as _; in name order.

    Raises ConfigError when two names give one column.

    >>> name_columns(["exp__gopher_v1__word_count", "bff-spans"], "exp")
    {'bff-spans': 'bff_spans', 'exp__gopher_v1__word_count': 'gopher_v1__word_count'}
    """
    columns: dict[str, str] = {}
    for name in sorted(set(names)):
        column = re.sub(r"\W", "_", name.removeprefix(f"{experiment}__"), flags=re.ASCII)
        column = column if re.match(r"[A-Za-z_]", column) else f"_{column}"
        for other, taken in columns.items():
            if {column, column + SCORE} & {taken, taken + SCORE}:
                raise ConfigError("attributes", name, f"expected another column name than that of {other}: {column}")
        columns[name] = column
    return columns


def build_schema(columns: dict[str, str]) -> pa.Schema:
    """Two columns for each attribute: its spans, and the score of a document-level one."""
    pairs = [(pa.field(name, SPANS), pa.field(name + SCORE, pa.float64())) for name in columns.values()]
    return pa.schema(list(itertools.chain.from_iterable(pairs)))


def build_columns(
    path: str, rows: list[Row | None], columns: dict[str, str], text: TextView
) -> tuple[pa.RecordBatch, int]:
    """(attributes of N documents in build_schema's columns, how many spans were clipped to their text).

    rows: of the N texts; None for a document without a line, which gets nulls. An attribute that a line does not name has no
    spans. Spans become bytes of the text, sorted; those that reach behind the text's end are clipped: Dolma's deduplication of
    whole documents ends its spans at the byte length. The score column holds the score of rows whose only span is the whole
    text, and is null elsewhere.

    Raises DataError, with file and line, for a value that is no list of [start, end, score].
    """
    schema = build_schema(columns)
    lengths = spans.count_characters(text)
    mask = pa.array([row is None for row in rows], pa.bool_())
    arrays: list[pa.Array] = []
    clipped = 0
    for name in columns:
        values = [row.attributes.get(name, ()) if row is not None else () for row in rows]
        found, scores = _read_triples(path, rows, name, values)
        limits = np.repeat(lengths, np.diff(found.offsets))
        clipped += int((found.ends > limits).sum())
        found = found._replace(starts=np.minimum(found.starts, limits), ends=np.minimum(found.ends, limits))
        arrays.append(spans.build_spans(spans.to_bytes(found, text), scores.astype(np.float32), mask))
        arrays.append(_whole_scores(found, scores, lengths))
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([]))), clipped
    return pa.RecordBatch.from_arrays(arrays, schema=schema), clipped


def _read_triples(
    path: str, rows: list[Row | None], name: str, values: list[Any]
) -> tuple[Spans, npt.NDArray[np.float64]]:
    """Spans in characters, sorted by start and end inside each document, and their scores."""
    try:
        flat = np.array(_flatten(values), np.float64).reshape(-1, 3)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise _find_broken(path, rows, name, values) from error
    starts, ends, scores = flat[:, 0], flat[:, 1], flat[:, 2]
    good = (starts >= 0) & (ends >= starts) & (ends <= MAX_POSITION) & (starts % 1 == 0) & (ends % 1 == 0)
    if not good.all():
        raise _find_broken(path, rows, name, values)
    counts = [len(value) for value in values]
    document = np.repeat(np.arange(len(values)), counts)
    order = np.lexsort((ends, starts, document))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(counts, np.int64))])
    return Spans(offsets, starts[order].astype(np.int64), ends[order].astype(np.int64)), scores[order]


def _flatten(values: list[Any]) -> Any:
    """All triples one behind the other, float64; TypeError or ArrowInvalid for anything else."""
    if not all(isinstance(value, list | tuple) for value in values):
        raise TypeError("not a list")
    flat = pa.array(list(itertools.chain.from_iterable(values)), _TRIPLE)
    if flat.null_count or flat.values.null_count:
        raise TypeError("a null")
    return flat.values.to_numpy(zero_copy_only=False)


def _find_broken(path: str, rows: list[Row | None], name: str, values: list[Any]) -> DataError:
    """The error of the first row whose value of an attribute is not what it should be."""
    for row, value in zip(rows, values, strict=True):
        if row is not None and not (isinstance(value, list | tuple) and all(_is_triple(item) for item in value)):
            problem = (
                f"attribute {name} is {value!r:.80}, expected [start, end, score] lists with 0 <= start <= end < 2^31"
            )
            return DataError(path, problem, row.line)
    raise AssertionError(f"{path}: {name}: no row is broken")


def _is_triple(item: Any) -> bool:
    if not isinstance(item, list) or len(item) != 3 or not all(type(value) in (int, float) for value in item):
        return False
    start, end, _ = item
    return bool(0 <= start <= end <= MAX_POSITION and start % 1 == 0 and end % 1 == 0)


def _whole_scores(found: Spans, scores: npt.NDArray[np.float64], lengths: npt.NDArray[np.int64]) -> pa.Array:
    """The score of each document whose only span is [0, length)."""
    single = np.diff(found.offsets) == 1
    first = found.offsets[:-1][single]
    whole = np.zeros(len(lengths), bool)
    whole[single] = (found.starts[first] == 0) & (found.ends[first] == lengths[single])
    result = np.zeros(len(lengths))
    result[whole] = scores[found.offsets[:-1][whole]]
    return pa.array(result, mask=~whole)


def dump_rows(ids: list[str], values: dict[str, list[Any]]) -> bytes:
    """Lines for documents; values: attribute name -> one list of [start, end, score] per document, None to leave it out."""
    lines = []
    for row, document_id in enumerate(ids):
        attributes = {name: column[row] for name, column in values.items() if column[row] is not None}
        lines.append(orjson.dumps({"id": document_id, "attributes": attributes}, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(lines)


def list_values(column: pa.Array, text: TextView, removed: Spans) -> list[Any] | None:
    """An attribute column of N documents as Dolma's values, None per row without one; None for a column that has no such form.

    text: what is exported, `removed` what edits took from the original texts that the column's spans speak of. Spans become
    characters of the exported text; one that was removed whole is left out. A number or truth value becomes one span over the
    whole text with it as the score; NaN and infinity have no form in JSON and count as none. Words have no form at all.
    """
    kind = column.type
    if kind == SPANS:
        return _list_spans(column, text, removed)
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    lengths = spans.count_characters(text).tolist()
    numbers = column.cast(pa.int8()) if pa.types.is_boolean(kind) else column
    values = _shorten(numbers.to_numpy(zero_copy_only=False)) if pa.types.is_floating(kind) else numbers.to_pylist()
    usable = [value is not None and value - value == 0 for value in values]
    return [[[0, length, value]] if fine else None for length, value, fine in zip(lengths, values, usable, strict=True)]


def _list_spans(column: pa.Array, text: TextView, removed: Spans) -> list[Any]:
    found = spans.read_spans(column)
    shifted = spans.shift_spans(found, removed)
    spans.check_characters(shifted, text, "export")
    chars = spans.to_characters(shifted, text)
    scores = _shorten(column.flatten().field("score").to_numpy(zero_copy_only=False))
    if not np.isfinite(scores).all():
        raise DataError("export", "a span's score is no finite number, which JSON cannot hold")
    lost = ((shifted.starts == shifted.ends) & (found.starts < found.ends)).tolist()
    triples = [list(triple) for triple in zip(chars.starts.tolist(), chars.ends.tolist(), scores, strict=True)]
    bounds = zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist(), column.is_valid().to_pylist(), strict=True)
    return [
        [triples[place] for place in range(start, end) if not lost[place]] if valid else None
        for start, end, valid in bounds
    ]


def _shorten(values: npt.NDArray[Any]) -> list[float]:
    """Floats whose text is the shortest that gives the stored number back: a 32-bit 0.1 is written 0.1."""
    shortened: list[float] = values.astype(str).astype(np.float64).tolist()
    return shortened
