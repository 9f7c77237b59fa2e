"""Which field of somebody's record is which field of a document."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any, NamedTuple

import orjson
from pydantic import Field, model_validator

from dolma_py.config import Config
from dolma_py.formats.json_values import dump_json, load_json

# Names that stand for a whole map. datatrove writes text, id and metadata; its pipelines keep a page's time in metadata.date.
# With expand_metadata=True it writes the keys of metadata beside text and id; FineWeb is released so.
# dolma3: the columns of allenai/dolma3_mix-6T are id, text, metadata, source, version, created, added, doc, attributes (its card).
# dolci: the cards of allenai/Dolci-*; ids stand in other columns from set to set. input_ids_prompt is the prompt once more, as tokens.
PRESETS: dict[str, dict[str, Any]] = {
    "dolma": {},
    "datatrove": {"created": "metadata.date"},
    "datatrove-flat": {"created": "date"},
    "dolma3": {"source": "source"},
    "dolci-sft": {"messages": "messages"},
    "dolci-dpo": {"id": "prompt_id", "messages": "chosen"},
    "dolci-think-dpo": {"messages": "chosen"},
    "dolci-rl": {"text": "prompt", "drop": ["input_ids_prompt"]},
    "dolci-think-rl": {"id": "custom_id", "text": "prompt", "drop": ["input_ids_prompt"]},
}


class FieldMap(Config):
    """Names or dotted paths (`meta.page.url`) of the parts of a record; the defaults are Dolma's own names.

    In a setting the name of a preset (dolma, datatrove, dolma3, dolci-sft, ...) may stand for the whole map.
    """

    id: str = Field(
        default="id", description="path of the id; a number is written out; absent: xxh3-128 of source, origin and text"
    )
    text: str = Field(default="text", description="path of the text; a record without a string there is rejected")
    messages: str | None = Field(
        default=None,
        description="path of a conversation, a list of objects with role and content: its contents, with blank lines between them, are the "
        "text, and the whole of it stays in metadata; null: the text is at `text`",
    )
    response: str | None = Field(
        default=None,
        description="path of a text that follows the one at `text` after a blank line: the response to an instruction; null: none",
    )
    source: str | None = Field(
        default=None,
        description="path of the source name; null: every document gets the source that the reader was called with",
    )
    added: str = Field(default="added", description="path of the ISO 8601 time when the document was collected")
    created: str = Field(default="created", description="path of the ISO 8601 time when the document was written")
    metadata: str = Field(default="metadata", description="path of an object whose keys become metadata")
    rename: dict[str, str] = Field(default={}, description="metadata key -> path of the value to put there")
    drop: list[str] = Field(
        default=[], description="paths of values that are left out, such as copies of the text as tokens"
    )
    keep_rest: bool = Field(default=True, description="whether fields that no path names are kept in metadata")
    keep_origin: bool = Field(
        default=True, description="whether metadata.origin says `file:line` for JSONL and Parquet records"
    )

    @model_validator(mode="after")
    def _check_texts(self) -> FieldMap:
        if self.messages is not None and self.response is not None:
            raise ValueError("expected messages or response, not both")
        return self

    @property
    def is_joined(self) -> bool:
        """Whether the text is made of more than one value, so that no column holds it as it is."""
        return self.messages is not None or self.response is not None

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, values: Any) -> Any:
        if isinstance(values, str):
            if values not in PRESETS:
                raise ValueError(f"expected a mapping or one of {sorted(PRESETS)}")
            return dict(PRESETS[values])
        return values


class Record(NamedTuple):
    """One record taken apart; `metadata` is a dict of its own. A time is microseconds since 1970 where Arrow had it."""

    id: str | None
    text: str
    source: str
    added: dt.datetime | int | None
    created: dt.datetime | int | None
    metadata: dict[str, Any]


def split_record(record: dict[str, Any], fields: FieldMap, source: str) -> Record | None:
    """Take `record` apart (it is consumed); None when there is no text.

    A time that is not ISO 8601 becomes null and stays in metadata as `invalid_added` or `invalid_created`. A field outside the
    map whose name metadata already has stays as `top_level_<name>`.
    """
    if fields.messages is None:
        conversation, text = None, take_value(record, fields.text)
        if fields.response is not None:
            text = join_response(text, take_value(record, fields.response))
    else:
        conversation = take_value(record, fields.messages)
        text = join_messages(conversation)
    if type(text) is not str:
        return None
    for path in fields.drop:
        take_value(record, path)
    given_id = take_value(record, fields.id)
    own_source = None if fields.source is None else take_value(record, fields.source)
    added, created = take_value(record, fields.added), take_value(record, fields.created)
    metadata = as_object(take_value(record, fields.metadata))
    if fields.messages is not None:
        put_own(metadata, fields.messages, conversation)
    for key, path in fields.rename.items():
        value = take_value(record, path)
        if value is not None:
            metadata[key] = value
    if record and fields.keep_rest:
        keep_rest(metadata, record, source)
    given_id = None if given_id is None else _write_id(given_id)
    return _finish(given_id, text, own_source, (added, created), metadata, source)


def make_record(
    given_id: str | None,
    text: str,
    own_source: str | None,
    times: tuple[Any, Any],
    metadata: dict[str, Any],
    *,
    fields: FieldMap,
    source: str,
    has_clock: bool = False,
) -> Record:
    """The record of a document that has no other fields than these, as split_record makes it.

    own_source: the field `source`, where `fields.source` is that name or null. times: added and created; with `has_clock` they are
    microseconds since 1970 already, or None.
    """
    if fields.source is None:
        if own_source is not None and own_source != source and fields.keep_rest:
            keep_rest(metadata, {"source": own_source}, source)
        own_source = None
    return _finish(given_id, text, own_source, times, metadata, source, has_clock)


def _write_id(value: Any) -> str:
    """Bytes are the text that they hold, or else their digits in hex."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _finish(
    given_id: str | None, text: str, own_source: Any, times: tuple[Any, Any], metadata: dict[str, Any], source: str,
    has_clock: bool = False,
) -> Record:  # fmt: skip
    added, created = times
    if not has_clock:
        added = _read_time(added, metadata, "invalid_added")
        created = _read_time(created, metadata, "invalid_created")
    own_source = own_source if isinstance(own_source, str) and own_source else source
    return Record(given_id or None, text, own_source, added, created, metadata)


def _read_time(value: Any, metadata: dict[str, Any], otherwise: str) -> dt.datetime | None:
    if value is None:
        return None
    time = _parse_text(value) if type(value) is str else parse_time(value)
    if time is None:
        put_own(metadata, otherwise, value)
    return time


@functools.lru_cache(maxsize=1024)
def _parse_text(value: str) -> dt.datetime | None:
    """Times of a file repeat: all documents may have one `added`."""
    return parse_time(value)


def keep_rest(metadata: dict[str, Any], record: dict[str, Any], source: str) -> None:
    """Put what is left of a record into its metadata; a name that is taken becomes `top_level_<name>`, and again until it is free."""
    for key, value in record.items():
        if value is None or (key == "source" and value == source):
            continue
        while key in metadata and metadata[key] != value:
            key = f"top_level_{key}"
        metadata[key] = value


def put_own(metadata: dict[str, Any], key: str, value: Any) -> None:
    """Set a key that is ours to set; another value that the record has there moves to the next free `top_level_<key>`.

    >>> metadata = {"origin": "web", "n": 1}
    >>> put_own(metadata, "origin", "a.jsonl:7"); metadata
    {'n': 1, 'top_level_origin': 'web', 'origin': 'a.jsonl:7'}
    """
    if key in metadata and metadata[key] != value:
        keep_rest(metadata, {f"top_level_{key}": metadata.pop(key)}, "")
    metadata[key] = value


def join_response(text: object, response: object) -> str | None:
    """A text and what follows it, with one blank line between them; None where either is none.

    >>> join_response("### Question\\n2 + 2?\\n", "4")
    '### Question\\n2 + 2?\\n\\n4'
    """
    if type(text) is not str or type(response) is not str:
        return None
    return text.rstrip("\n") + "\n\n" + response.lstrip("\n")


def join_messages(conversation: object) -> str | None:
    """The contents of a conversation's messages with blank lines between them; None when it is none, or says nothing.

    A content is a string, or a list of parts with a `text` each; messages without one (calls of functions) are stepped over. It stands
    under `content`, or under `value` as ShareGPT's form has it (from, value).

    >>> join_messages([{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}])
    '2 + 2?\\n\\n4'
    """
    if not isinstance(conversation, list) or not all(isinstance(message, dict) for message in conversation):
        return None
    contents = []
    for message in conversation:
        content = message.get("content", message.get("value"))
        if isinstance(content, list):
            parts = [part.get("text") if isinstance(part, dict) else part for part in content]
            content = "\n".join(part for part in parts if isinstance(part, str))
        if isinstance(content, str) and content:
            contents.append(content)
    return "\n\n".join(contents) or None


def parse_time(value: object) -> dt.datetime | None:
    """An ISO 8601 string (or a datetime) as UTC; without a zone it is read as UTC; None when it is neither.

    >>> parse_time("2019-04-12T10:12:00+02:00").isoformat()
    '2019-04-12T08:12:00+00:00'
    """
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, dt.datetime):
        return None
    if value.tzinfo is None:
        return value.replace(tzinfo=dt.UTC)
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:  # year 1 or 9999 pushed out of the calendar by its zone
        return None


def dump_metadata(metadata: dict[str, Any]) -> str | None:
    """Metadata as one JSON object; None when there is none. Bytes become hex, other foreign values their text.

    Raises TooDeepError where it could not be written inside of another object: records of Dolma are.
    """
    return dump_json([metadata])[1:-1] if metadata else None


def find_origin(metadata: dict[str, Any], path: str) -> str:
    """What the id of a document without id is made from: its URL, else its own path, else the file it stands in."""
    for key in ("url", "path"):
        value = metadata.get(key)
        if isinstance(value, str) and value:
            return value
    return path


def take_value(record: dict[str, Any], path: str) -> Any:
    """Remove and return the value at `path`, None when absent. A key that has the dots in its name comes first.

    An object of which nothing is left goes too.

    >>> record = {"body": {"text": "a"}, "n": 1}
    >>> take_value(record, "body.text"), record
    ('a', {'n': 1})
    """
    if path in record or "." not in path:
        return record.pop(path, None)
    first, _, rest = path.partition(".")
    node = record.get(first)
    if not isinstance(node, dict) or not node:
        return None
    value = take_value(node, rest)
    if not node:
        del record[first]
    return value


def as_object(value: Any) -> dict[str, Any]:
    """Metadata as a record has it: an object, its JSON text, nothing, or something else, which goes under `metadata`.

    Raises TooDeepError.
    """
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            parsed = load_json(value)
        except orjson.JSONDecodeError:
            parsed = None
        value = parsed if isinstance(parsed, dict) else value
    return value if isinstance(value, dict) else {"metadata": value}
