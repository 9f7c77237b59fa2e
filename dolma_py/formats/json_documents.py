"""Whether a file named .json is one JSON document, as json.dump writes it, or JSON Lines, as Dolma's tools name theirs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dolma_py import storage
from dolma_py.errors import ConfigError

SUFFIX = ".json"
HEAD_BYTES = 1 << 16
WHAT = "one JSON document, not a record a line"
HINT = (
    "Write a record a line, such as by: jq -c 'if type == \"array\" then .[] else . end' FILE > records.jsonl. "
    "If its lines are records, one of them torn, name it .jsonl, or give kind: jsonl to its source of an ingest."
)
WHY_LEFT_OUT = f"each {WHAT}. {HINT}"  # for dolma_py.input_files.describe_left_out
_UNFINISHED, _BROKEN = object(), object()


def is_json_document(path: str) -> bool:
    """True for an uncompressed .json file whose first line is a list, or JSON that ends before it is complete, and goes on below.

    Where the next lines do not go on with it and one of them is an object by itself, the first line is a torn record of JSON Lines,
    which is rejected and counted where it is read, as one that is broken otherwise. Lists a line are records too, no good ones.
    Reads 64 KiB.
    """
    if not path.lower().endswith(SUFFIX):
        return False
    with storage.open_read(path) as stream:
        head = bytes(stream.read(HEAD_BYTES))
    lines = head.decode("utf-8-sig", errors="replace").lstrip().split("\n")
    if len(head) == HEAD_BYTES and len(lines) == 1:
        return lines[0].startswith("[")  # else a long first line that begins as a record does
    cut = lines.pop().strip() if len(head) == HEAD_BYTES else ""  # by us
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        return False
    first = _read(lines[0])
    if first is _UNFINISHED or (first is _BROKEN and lines[0].startswith("[")):
        goes_on = _read("\n".join([*lines, cut[:1]])) is not _BROKEN
        is_record = cut.startswith("{") or any(isinstance(_read(line), dict) for line in lines[1:])
        return goes_on or not is_record
    return isinstance(first, list) and len(lines) == 1 and not cut


def _read(text: str) -> Any:
    """The value of JSON without blanks around it; _UNFINISHED when it ends too early, _BROKEN when it is none."""
    try:
        return json.loads(text, parse_int=str)  # numbers as text: of any length
    except json.JSONDecodeError as error:
        return _UNFINISHED if error.pos >= len(text) else _BROKEN
    except RecursionError:
        return _BROKEN


def find_json_documents(paths: list[str]) -> set[str]:
    """Those of the files that are JSON documents; many are asked at once."""
    unclear = [path for path in paths if path.lower().endswith(SUFFIX)]
    with ThreadPoolExecutor(storage.REQUESTS_AT_ONCE) as pool:
        are = list(pool.map(is_json_document, unclear))
    return {path for path, is_one in zip(unclear, are, strict=True) if is_one}


def check_left(paths: set[str], documents: set[str], *, key: str, pattern: str) -> None:
    """Raise ConfigError for a pattern that names a JSON document itself, and for one whose `paths` are nothing else."""
    given = storage.resolve_path(pattern)
    if documents and (given in documents or documents == paths):
        raise ConfigError(
            key, given if given in documents else min(documents), f"expected JSON Lines, this is {WHAT}", HINT
        )
