"""What evaluations read: held-out documents and items of question and answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dolma_py.errors import DataError
from train_bridge.shard_cache import join_shards, open_shard_file

ANSWER_FORMAT = "{passage and blank line, if any}Question: {question}\\nAnswer:| {answer}"  # "|" is the border


def read_texts(shards: str, path: str, limit: int | None) -> list[str]:
    """The first `limit` texts (None: all) of a file of held-out documents, gzipped JSON lines."""
    where = join_shards(shards, path)
    texts: list[str] = []
    try:
        with open_shard_file(shards, path) as stream, gzip.open(stream, "rt", encoding="utf-8") as file:
            for row, line in enumerate(file):
                if limit is not None and len(texts) == limit:
                    break
                texts.append(_field(line, "text", where, row))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(where, f"cannot be read ({error})") from error
    return texts


def read_items(path: Path) -> list[dict[str, Any]]:
    """Items {id, question, answer, passage}, passage optional; DataError names file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
    items = list(_parse_items(lines, str(path)))
    if not items:
        raise DataError(str(path), "holds no item")
    return items


def _parse_items(lines: list[str], where: str) -> Iterable[dict[str, Any]]:
    for row, line in enumerate(lines):
        for name in ("id", "question", "answer"):
            _field(line, name, where, row)
        yield json.loads(line)


def item_context(item: dict[str, Any]) -> str:
    """What stands before the border of ANSWER_FORMAT."""
    passage = f"{item['passage']}\n\n" if item.get("passage") else ""
    return f"{passage}Question: {item['question']}\nAnswer:"


def _field(line: str, name: str, where: str, row: int) -> str:
    try:
        value = json.loads(line)[name]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(where, f"expected a JSON object with {name}", row=row + 1) from error
    if not isinstance(value, str):
        raise DataError(where, f"{name}: expected a string, got {type(value).__name__}", row=row + 1)
    return value
