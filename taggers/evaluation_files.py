"""Records of evaluation sets as people publish them: JSON Lines, JSON documents, CSV, Parquet and Arrow files, local or remote.

Evaluation sets are small and somebody vouches for them, so what cannot be read is an error that names file and line, not a
rejection. A set of the Hugging Face Hub is read from its snapshot, which huggingface_hub fetches or finds on the disk.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import orjson

from dolma_py import storage
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.decompress import find_codec, read_whole, strip_codec
from dolma_py.formats.limits import Limits
from dolma_py.input_files import describe_left_out, find_files
from dolma_py.plain_tables import open_table

KINDS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow",
}  # fmt: skip
# what `datasets` writes beside its data
DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
LIMITS = Limits(max_record_bytes=1 << 30)
SPLITS = ("train", "validation", "valid", "val", "dev", "test")
Record = tuple[int, dict[str, Any]]  # number of the line, row or list item, from 1


def list_paths(patterns: tuple[str, ...], key: str) -> list[str]:
    """Files of resolved paths, folders and globs, sorted, each once; of a folder those whose names say a known format.

    Raises
    ------
    ConfigError     a pattern without files, or one that names a file of an unknown format itself; under `key`
    """
    paths = set()
    for pattern in patterns:
        found = find_files(pattern)
        files = [info.path for info in found.files if info.path in found.named or is_data(info.path)]
        if not files:
            hint = f"Of what is there, {describe_left_out(found.left_out)}." if found.left_out else "Check the path."
            raise ConfigError(key, pattern, f"expected at least one file ending in {', '.join(KINDS)}", hint)
        unknown = [path for path in files if find_kind(path) is None]
        if unknown:
            raise ConfigError(
                key, unknown[0], f"expected a name ending in {', '.join(KINDS)}, plain, .gz, .zst or .bz2"
            )
        paths.update(files)
    return sorted(paths)


def find_kind(path: str) -> str | None:
    """The format that a file's name says, None for none of ours."""
    name = strip_codec(path)
    return next((kind for suffix, kind in KINDS.items() if name.endswith(suffix)), None)


def is_data(path: str) -> bool:
    """Whether a file found in a folder is taken for records."""
    return find_kind(path) is not None and path.rsplit("/", 1)[-1] not in DESCRIPTIONS


def find_split(path: str) -> str | None:
    """The split that a file's name has among its words, or that is its folder's whole name; None when neither says one.

    >>> find_split("mmlu/test-00000-of-00001.parquet"), find_split("main/dev/part-0.jsonl"), find_split("tests/contest.csv")
    ('test', 'dev', None)
    """
    folder, _, name = path.rpartition("/")
    words = re.split(r"[^a-z]+", name.lower())
    parent = folder.rpartition("/")[2].lower()
    return next((split for split in SPLITS if split in words), parent if parent in SPLITS else None)


def read_records(path: str, *, records: str | None = None, columns: tuple[str, ...] = ()) -> Iterator[Record]:
    """(number, record) of every record of a file, in order; blank lines are none but count.

    Parameters
    ----------
    records     dotted path of the list in a JSON document; None: the document is a list, or itself the only record
    columns     names for a CSV file without a header; empty: its first line has them

    Raises
    ------
    DataError       not a whole file of its format, or a record that is no object
    """
    kind = find_kind(path)
    if kind in ("parquet", "arrow"):
        yield from _read_table(path, str(kind))
        return
    with storage.open_read(path) as stream:
        data, reason = read_whole(stream, find_codec(path), limits=LIMITS)
    if reason:
        raise DataError(path, f"cannot be read to its end ({reason})", hint="Fetch it again.")
    if kind == "csv":
        yield from _read_csv(path, data, columns)
    elif kind == "json":
        yield from _read_json(path, data, records)
    else:
        yield from _read_lines(path, data)


def _read_table(path: str, kind: str) -> Iterator[Record]:
    number = 0
    with open_table(path, kind) as table:
        for batch in table.batches:
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _read_csv(path: str, data: bytes, columns: tuple[str, ...]) -> Iterator[Record]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, f"expected UTF-8 ({error})") from error
    delimiter = "\t" if strip_codec(path).endswith(".tsv") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), fieldnames=columns or None, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                rule = f"expected {len(reader.fieldnames or ())} values, as the header or `columns` name"
                raise DataError(path, rule, reader.line_num)
            yield reader.line_num, dict(row)
    except csv.Error as error:
        raise DataError(path, f"not CSV ({error})", reader.reader.line_num) from error


def _read_json(path: str, data: bytes, records: str | None) -> Iterator[Record]:
    try:
        document: Any = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        yield from _read_lines(path, data)  # JSON Lines under the name .json, as Dolma's tools have it
        return
    for part in records.split(".") if records else ():
        document = document.get(part) if isinstance(document, dict) else None
    if isinstance(document, dict) and not records:
        document = [document]
    if not isinstance(document, list):
        what = f"a list at {records}" if records else "a list of objects"
        raise DataError(path, f"expected {what}", hint="Set `records` to the dotted path of the list.")
    for number, record in enumerate(document, 1):
        yield number, _check_object(path, number, record)


def _read_lines(path: str, data: bytes) -> Iterator[Record]:
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DataError(path, f"not JSON ({error})", number) from error
            yield number, _check_object(path, number, record)


def _check_object(path: str, number: int, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise DataError(path, "expected an object", number)
    return record


def find_snapshot(name: str, revision: str | None, key: str) -> str:
    """The folder of a data set of the Hub on this disk; fetched when it is not there and the machine is online.

    Raises
    ------
    ConfigError     it cannot be fetched, or it does not exist
    """
    import huggingface_hub  # slow to import, and only the sets of the Hub need it

    try:
        folder = huggingface_hub.snapshot_download(name, repo_type="dataset", revision=revision)
    except (OSError, ValueError) as error:  # its own errors derive from these
        hint = "Download it where there is a network (hf download --repo-type dataset), and name its folder in `paths`."
        raise ConfigError(
            key, name, f"cannot be read from the Hub ({' '.join(str(error).split())[:200]})", hint
        ) from error
    return str(folder)
