"""What rows made by asking models have in common: answers read strictly, and three files that say what became of each.

OUTPUT has the rows, OUTPUT.rejected.jsonl what gave none and why, OUTPUT.summary.json counts and what all follows from. The same settings, seed
and input find their rows standing; a killed run asks only what was not answered (dolma_py.endpoint).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import xxhash

from dolma_py.endpoint import Answer
from dolma_py.errors import ConfigError, DataError
from dolma_py.manifest import render_json, render_line
from dolma_py.storage import checksum_file, file_bytes, path_exists, read_bytes, write_bytes, write_file

FIRST_TRIES = 3  # of a request while no server was ever reached: a wrong address is told within seconds
EXCERPT_CHARS = 200
_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL)


class Object(NamedTuple):
    """A JSON object that was the whole of an answer; or why it was none."""

    values: dict[str, Any]
    problem: str = ""


class Dropped(NamedTuple):
    """A row that came to nothing."""

    id: str
    problem: str
    excerpt: str = ""  # of the answer


class _RepeatedKey(ValueError):
    pass


def find_failure(answer: Answer) -> str:
    """Why an answer cannot be used whatever it says: failed_<kind>, refused, cut_off, empty; "" when it can."""
    if answer.failure:
        return f"failed_{answer.failure}"
    if answer.finish_reason in ("refusal", "content_filter"):
        return "refused"
    if answer.finish_reason == "length":
        return "cut_off"
    return "" if answer.text.strip() else "empty"


def read_object(answer: Answer) -> Object:
    """The one JSON object of an answer. A code fence around the whole is let pass; nothing is mended.

    Problems: those of find_failure, not_json (words beside the object are none), not_an_object, repeated_key.
    """
    problem = find_failure(answer)
    if problem:
        return Object({}, problem)
    shown = answer.text.strip()
    fenced = _FENCE.match(shown)
    try:
        values = json.loads(
            fenced[1] if fenced else shown, object_pairs_hook=_read_pairs, parse_constant=_refuse_constant
        )
        json.dumps(values, ensure_ascii=False).encode()  # lone surrogates
    except _RepeatedKey:
        return Object({}, "repeated_key")
    except (ValueError, RecursionError):  # a number of 5,000 digits is a ValueError too
        return Object({}, "not_json")
    return Object(values) if isinstance(values, dict) else Object({}, "not_an_object")


def read_fields(answer: Answer, wanted: Iterable[str]) -> Object:
    """read_object with these keys and no others: missing_key, unknown_key."""
    found, names = read_object(answer), set(wanted)
    if found.problem:
        return found
    if names - found.values.keys():
        return Object({}, "missing_key")
    return Object({}, "unknown_key") if found.values.keys() - names else found


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKey
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON


def shorten(text: str) -> str:
    """The beginning of somebody's words, as ASCII."""
    return text[:EXCERPT_CHARS].encode("unicode_escape").decode("ascii")


def write_rows(
    output: str,
    rows: list[dict[str, Any]],
    dropped: list[Dropped],
    summary: dict[str, Any],
    *,
    made_from: str,
    max_bad_frac: float,
) -> dict[str, Any]:
    """Write the three files, the rows last; returns the summary with counts.

    Raises DataError, and writes nothing, when more than max_bad_frac of all came to nothing.
    """
    total = len(rows) + len(dropped)
    reasons = Counter(f"dropped:{one.problem}" for one in dropped)
    if len(dropped) > max_bad_frac * total:
        told = ", ".join(f"{name.removeprefix('dropped:')} {count}" for name, count in sorted(reasons.items()))
        hint = "Look at the prompts and the models, or raise max_bad_frac."
        raise DataError(output, f"{len(dropped)} of {total} came to nothing ({told})", hint=hint)
    digest = xxhash.xxh3_128()
    for row in rows:
        digest.update(render_line(row))
    counts = {"wanted": total, "rows": len(rows), **dict(sorted(reasons.items()))}
    summary = {**summary, "counts": counts, "made_from": made_from, "rows_fingerprint": digest.hexdigest()}
    _write_lines(f"{output}.rejected.jsonl", (one._asdict() for one in dropped))
    write_bytes(f"{output}.summary.json", render_json(summary))
    _write_lines(output, rows)
    return summary


def _write_lines(path: str, rows: Iterable[dict[str, Any]]) -> None:
    with write_file(path) as stream:
        for row in rows:
            stream.write(render_line(row))


def find_standing(output: str, made_from: str, *, replace: bool) -> dict[str, Any] | None:
    """The summary of what stands at `output`, made from the same; None where it is to be made.

    Raises ConfigError where something else stands there and `replace` is false.
    """
    if not path_exists(output) or replace:
        return None
    path = f"{output}.summary.json"
    try:
        summary = json.loads(read_bytes(path)) if file_bytes(path) else None
    except ValueError:
        summary = None
    is_its = isinstance(summary, dict) and summary.get("rows_fingerprint") == checksum_file(output)
    if is_its and summary.get("made_from") == made_from:
        return dict(summary)
    hint = "Choose another name, or give --replace: answers that are kept cost nothing."
    raise ConfigError("OUTPUT", output, "other rows stand there", hint)
