"""Documents that a program made of others (FIM, synthesis, rewriting, chat): how they are named, and how they tell of what they are.

A made document's id is `<parent>#<maker>-<n>`: its first parent, who made it, and which of the documents that this maker made of
that parent it is, from 0. Its metadata has a `dolma_py_making` with all parents, the recipe's fingerprint, the model, the seed, and the key
under which the model's answer lies in the cache. What was made of a made document is named the same way: `a#fim-0#rewrite-2`.
Ingest tells repeated ids apart by `#2`, `#3`: a maker's name begins with a letter, so the two are never the same name.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

from dolma_py.errors import ConfigError, DataError
from dolma_py.formats.json_values import dump_json, load_json

KEY = "dolma_py_making"  # in the metadata; a page may have a "making" of its own
MAKER_PATTERN = r"[a-z][a-z0-9_-]*"
FIELDS = {"parents": list, "recipe": str, "model": str, "seed": int, "cache_key": str}


class Making(NamedTuple):
    """Where a made document comes from."""

    parents: tuple[str, ...]  # ids of the documents it was made of; the first one is in its id
    recipe: str  # fingerprint of the settings it was made by
    seed: int
    model: str | None = None  # None: made by a program alone
    cache_key: str | None = None  # of the request whose answer it is; None: nothing was asked


def make_made_id(parent: str, maker: str, number: int) -> str:
    """Id of the document `number`, from 0, that `maker` made of `parent`.

    Raises ConfigError for a maker that is not a letter a-z and then a-z, 0-9, _ and -, or a negative number.

    >>> make_made_id("a#2", "fim", 0)
    'a#2#fim-0'
    """
    if not re.fullmatch(MAKER_PATTERN, maker):
        raise ConfigError("maker", maker, "expected a letter, then letters, digits, _ and -, all of them small")
    if number < 0:
        raise ConfigError("number", number, "expected 0 or more")
    return f"{parent}#{maker}-{number}"


def add_making(metadata: str | None, making: Making) -> str:
    """The metadata (one JSON object, or None) with `making` in it, in place of the parent's own where the parent was made too.

    Raises ConfigError without a parent and for a seed beyond 64 bits, DataError for metadata that are no JSON object.

    >>> add_making('{"url":"http://a.example"}', Making(("a", "b"), "0f", 7))
    '{"url":"http://a.example","dolma_py_making":{"parents":["a","b"],"recipe":"0f","seed":7,"model":null,"cache_key":null}}'
    """
    if not making.parents:
        raise ConfigError("parents", [], "expected the id of at least one document")
    if not 0 <= making.seed < 1 << 63:
        raise ConfigError("seed", making.seed, "expected 0 to 2^63 - 1")
    values = {key: value for key, value in _load(metadata).items() if key != KEY}
    return dump_json(values | {KEY: {**making._asdict(), "parents": list(making.parents)}})


def read_making(metadata: str | None) -> Making | None:
    """What add_making wrote; None for a document that was not made. Ids are not asked: a URL may end in `#part-2`.

    Raises DataError for a `making` of another form.
    """
    values = _load(metadata).get(KEY)
    if values is None:
        return None
    if not isinstance(values, dict) or not _is_making(values):
        raise DataError("metadata", f"{KEY} is not an object of {', '.join(FIELDS)}", None)
    return Making(**{**values, "parents": tuple(values["parents"])})


def _is_making(values: dict[str, Any]) -> bool:
    if set(values) != set(FIELDS):
        return False
    optional = [name for name in ("model", "cache_key") if values[name] is None]
    return all(type(values[name]) is kind for name, kind in FIELDS.items() if name not in optional) and all(
        isinstance(parent, str) for parent in values["parents"]
    )


def _load(metadata: str | None) -> dict[str, Any]:
    try:
        values = {} if metadata is None else load_json(metadata)
    except orjson.JSONDecodeError as error:
        raise DataError("metadata", f"not JSON ({error})", None) from error
    if not isinstance(values, dict):
        raise DataError("metadata", f"{type(values).__name__} where an object belongs", None)
    return values
