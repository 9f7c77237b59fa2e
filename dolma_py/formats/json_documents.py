"""Whether a file named .json is one JSON document, as json.dump writes it, or JSON Lines, as Dolma's tools name theirs."""

from __future__ import annotations

import json

from dolma_py import storage

SUFFIX = ".json"
HEAD_BYTES = 1 << 16
WHAT = "one JSON document, not a record a line"
HINT = "Write a record a line, such as by: jq -c '.[]' FILE > records.jsonl"
SHOWN_NAMES = 3


def describe_documents(names: list[str]) -> str:
    """One line for those that were left out.

    >>> describe_documents(["a.json"])
    "1 left out, each one JSON document, not a record a line: a.json. Write a record a line, such as by: jq -c '.[]' FILE > records.jsonl"
    """
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"{len(names)} left out, each {WHAT}: {', '.join(names[:SHOWN_NAMES])}{more}. {HINT}"


def is_json_document(path: str) -> bool:
    """True for an uncompressed .json file whose first line is a list, or JSON that ends before it is complete.

    A first line that is broken otherwise is a broken record of JSON Lines, which is rejected and counted where it is read. Reads 64 KiB.
    """
    if not path.lower().endswith(SUFFIX):
        return False
    with storage.open_read(path) as stream:
        head = bytes(stream.read(HEAD_BYTES))
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    line, newline, _ = text.partition("\n")
    line = line.rstrip()
    if line.startswith("["):
        return True
    if not newline and len(head) == HEAD_BYTES:
        return False  # a long first line that begins as a record does
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(line) > 0
    except RecursionError:
        return False
    return False
