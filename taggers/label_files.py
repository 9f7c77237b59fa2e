"""Labelled texts as others keep them: CSV and TSV with a line of names, and fastText's own lines, `__label__good some text`.

What cannot be read is counted, never guessed: rows with more or fewer cells than names, bytes that are no UTF-8, lines without a label or
with several. CSV is read by pyarrow (quotes, line breaks in cells). A cell of TSV holds no tab and no line break; one that stands in
quotes as a whole, with the quotes in it doubled, is taken out of them.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from dolma_py import storage
from dolma_py.documents import make_document_id
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats import Limits, detect_format
from dolma_py.formats.decompress import Break, find_codec, iterate_members, strip_codec
from dolma_py.formats.limits import make_relative
from taggers.evaluation_fields import find_value

LABEL_PREFIX = "__label__"
DELIMITERS = {"csv": ",", "tsv": "\t"}
_BLOCK_BYTES = 16 << 20  # a longer row is an error
_BOM = b"\xef\xbb\xbf"

Record = tuple[dict[str, Any], str, str]  # (fields, text, id)


def find_form(path: str) -> str:
    """csv or tsv by the name before .gz, .zst or .bz2; fasttext for other texts whose first line begins with __label__; else ""."""
    suffix = strip_codec(path).rpartition(".")[2]
    if suffix in DELIMITERS:
        return suffix
    if detect_format(path) != "text":
        return ""
    with storage.open_read(path) as raw:
        start = io.BufferedReader(_Plain(raw, path, Counter())).read(len(_BOM) + len(LABEL_PREFIX))
    return "fasttext" if start.removeprefix(_BOM).startswith(LABEL_PREFIX.encode()) else ""


def read_label_file(
    path: str, form: str, *, source: str, text: str, needed: tuple[str, ...] = (), counts: Counter[str]
) -> Iterator[Record]:
    """Records of one file in its order; adds what cannot be read to `counts`.

    Parameters
    ----------
    form            of find_form
    source          name of the source, for messages and ids
    text, needed    columns of a table that must be there; empty cells are left out of a record, an empty text is ""

    Raises
    ------
    ConfigError     a table without one of these columns
    DataError       no table: two columns of one name, a quote that does not end, a row of 16 MiB
    """
    rows = _read_lines(path, counts) if form == "fasttext" else _read_table(path, form, source, (text, *needed), counts)
    for record in rows:
        found = find_value(record, "text" if form == "fasttext" else text)
        content = found if isinstance(found, str) else ""
        given = record.get("id")
        name = given or make_document_id(source, make_relative(path, ""), content.encode())
        yield record, content, name


def _read_lines(path: str, counts: Counter[str]) -> Iterator[dict[str, str]]:
    most = Limits().max_record_bytes
    with storage.open_read(path) as raw:
        stream = io.BufferedReader(_Plain(raw, path, counts))
        first = True
        while line := stream.readline(most + 1):
            if len(line) > most:
                raise DataError(path, f"a line of more than {most} bytes")
            line, first = (line.removeprefix(_BOM) if first else line), False
            try:
                record = parse_line(line.decode())
            except UnicodeDecodeError:
                counts["unreadable:not_utf8"] += 1
                continue
            if isinstance(record, str):
                counts[record] += 1
            else:
                yield record


def parse_line(line: str) -> dict[str, str] | str:
    """A line's label and text, or what to count it as.

    >>> parse_line("__label__good a text"), parse_line("__label__a __label__b c")
    ({'label': 'good', 'text': 'a text'}, 'left_out:several_labels')
    """
    words = line.split()
    labels = [word for word in words if word.startswith(LABEL_PREFIX)]
    if not words:
        return "left_out:blank_line"
    if not words[0].startswith(LABEL_PREFIX) or words[0] == LABEL_PREFIX:
        return "unreadable:missing_label"
    if len(labels) > 1:
        return "left_out:several_labels"
    return {"label": words[0].removeprefix(LABEL_PREFIX), "text": line.strip().removeprefix(words[0]).strip()}


def _read_table(
    path: str, form: str, source: str, needed: tuple[str, ...], counts: Counter[str]
) -> Iterator[dict[str, str]]:
    names = _read_names(path, DELIMITERS[form])
    if not names:
        return
    for column in needed:
        if find_value(dict.fromkeys(names, "x"), column) is None:
            hint = "The first line of a table has the names: say which by examples.NAME.text and label_field."
            raise ConfigError(source, column, f"expected one of the columns {names} of {path}", hint)
    last_good = last_odd = (
        b""  # rows, for a quote that does not end; odd ones of a block come before the good ones of it
    )

    def count_odd(row: Any) -> str:
        nonlocal last_odd
        last_odd = row.text.encode("utf-8", "replace")
        counts["unreadable:wrong_columns"] += 1
        return "skip"

    quoted = form == "csv"
    with storage.open_read(path) as raw:
        plain = _Plain(raw, path, counts)
        try:
            reader = pacsv.open_csv(
                io.BufferedReader(plain),  # a short read would make a short block
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows_after_names=1
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=DELIMITERS[form],
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                    invalid_row_handler=count_odd,
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False
                ),
            )
            for batch in reader:
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    last_good = max(values, key=lambda value: value.count(b"\n"))
                    try:
                        cells = [value.decode() for value in values]
                    except UnicodeDecodeError:
                        counts["unreadable:not_utf8"] += 1
                        continue
                    cells = cells if quoted else [_unquote(cell) for cell in cells]
                    yield {name: cell for name, cell in zip(names, cells, strict=True) if cell}
        except pa.ArrowInvalid as error:
            problem = "a row of more than 16 MiB" if "straddling" in str(error) else str(error).rstrip(".")
            raise DataError(path, problem, hint="Does a quote begin that does not end?" if quoted else "") from error
        if quoted and plain.num_quotes % 2 and b"\n" in last_good + last_odd:
            raise DataError(path, "a quote begins that does not end, so that the rows behind it are lost")


def _read_names(path: str, delimiter: str) -> list[str]:
    """The cells of the first row; DataError for two of one name."""
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    with storage.open_read(path) as raw:
        stream = io.BufferedReader(_Plain(raw, path, Counter()))
        lines = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
        try:
            names = next(csv.reader(lines, delimiter=delimiter, quoting=quoting), [])
        except csv.Error as error:
            raise DataError(path, f"its first row is no row of names ({error})") from error
    names = names if delimiter == "," else [_unquote(name) for name in names]
    for name in names:
        if names.count(name) > 1:
            raise DataError(path, f"two columns are called {name!r}")
    return names


def _unquote(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"' or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"')


class _Plain(io.RawIOBase):
    """The plain bytes of a file, ended by a line feed; where it is torn or corrupt it ends, which is counted."""

    def __init__(self, raw: Any, path: str, counts: Counter[str]) -> None:
        self.counts = counts
        self.num_quotes = 0
        self._events = iterate_members(raw, find_codec(path), limits=Limits())
        self._left = memoryview(b"")
        self._last = 0x0A
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._ended:
            event = next(self._events, None)
            if isinstance(event, Break):
                if event.reason:
                    self.counts[f"unreadable:{event.reason}"] += 1
                continue
            self._ended = event is None
            if event is None:
                event = b"" if self._last == 0x0A else b"\n"
            self.num_quotes += event.count(b'"')
            self._last = event[-1] if event else self._last
            self._left = memoryview(event)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
