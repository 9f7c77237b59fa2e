"""Evaluation items read from JSON lines files."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from dolma_py.errors import DataError
from dolma_py.storage import open_read
from taggers.ngram_index import Item


def read_items(paths: tuple[str, ...]) -> list[Item]:
    """All items of JSON lines files, in order; blank lines are skipped.

    Raises
    ------
    DataError       a line that is no object with the strings id and question, and answer, passage and benchmark a string, null or
                    absent (names the line)
    """
    items = []
    for path in paths:
        with open_read(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    items.append(_parse_item(line, path, number))
    return items


def _parse_item(line: bytes, path: str, number: int) -> Item:
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(path, f"not JSON ({error})", number) from error
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("id", "question")):
        raise DataError(path, "expected an object with the strings id and question", number)
    for key in ("answer", "passage", "benchmark"):
        if not isinstance(record.get(key), str | None):
            raise DataError(path, f"expected {key} to be a string or null", number)
    item = Item(record["id"], record["question"], record.get("answer"), record.get("passage"))
    return item._replace(benchmark=record.get("benchmark") or "", source=path)


def fingerprint_items(items: list[Item]) -> str:
    """blake2b-128 of ids, questions, answers, passages and benchmarks in order, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        parts = [item.id, item.question, item.answer]
        if item.passage is not None or item.benchmark:
            parts += [item.passage, item.benchmark]
        digest.update(orjson.dumps(parts) + b"\n")
    return digest.hexdigest()
