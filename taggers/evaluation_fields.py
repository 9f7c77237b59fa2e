"""Which part of a record is the question, which the answers: field paths, templates, patterns, and what an answer's letter stands for.

Pure functions on one record; nothing here opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from dolma_py.config import Config

AnswerForm = Literal["text", "index", "number", "letter", "label"]
_HOLE = re.compile(r"\{([^{}]+)\}")


class TextField(Config):
    """Where a text stands in a record. A string in its place is its `value`."""

    value: str = Field(
        min_length=1, description="dotted path such as answer.value, or a template such as '{context} {question}'"
    )
    pattern: str | None = Field(
        None,
        description="regular expression; its first group, or the whole match, is the text; no match: there is none",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_text(cls, values: Any) -> Any:
        return {"value": values} if isinstance(values, str) else values

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        return _check_expression(pattern)


class ChoicesField(Config):
    """Where the choices of a question stand. A string in its place is its `value`, a list of strings its `values`."""

    value: str | None = Field(
        None, description="dotted path of a list of texts, of objects' texts, or of a text that `pattern` cuts"
    )
    values: tuple[str, ...] = Field((), description="dotted paths of the choices, one each, such as A, B, C, D")
    labels: str | None = Field(None, description="dotted path of the list of their labels, for answer_form label")
    pattern: str | None = Field(
        None, description="regular expression with the groups `text` and, for answer_form label, `label`, once a choice"
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_text(cls, values: Any) -> Any:
        if isinstance(values, str):
            return {"value": values}
        return {"values": values} if isinstance(values, list | tuple) else values

    @model_validator(mode="after")
    def _check_place(self) -> ChoicesField:
        if (self.value is None) == (not self.values):
            raise ValueError("expected one of value and values")
        if self.pattern is not None and "text" not in re.compile(_check_expression(self.pattern) or "").groupindex:
            raise ValueError("expected a group (?P<text>...) in pattern")
        return self


class RecordFields(Config):
    """Where a record has the parts of an item."""

    question: TextField = Field(description="the question; a list of texts is joined by line ends")
    answer: TextField | None = Field(None, description="the answer, read by answer_form; of a list the first text")
    choices: ChoicesField | None = Field(None, description="the answers that are offered, if the question offers some")
    passage: TextField | None = Field(None, description="the text that the question is about")
    id: str | None = Field(None, description="dotted path of what names the record in its split; null: its number")
    split: str | None = Field(None, description="dotted path of the split; null: by the file's name")


class Parts(NamedTuple):
    """A record taken apart."""

    question: str | None
    passage: str | None
    answers: tuple[tuple[str, bool], ...]  # (text, whether it is a right one); none where the set publishes none


class FieldProblem(ValueError):
    """A record whose answer does not fit its choices."""


def take_parts(record: dict[str, Any], fields: RecordFields, answer_form: AnswerForm) -> Parts:
    """Question, passage and answers of a record. With choices each of them is an answer, and `answer` says which is right.

    Raises FieldProblem when the answer names no choice, or cannot be read in its form.
    """
    question = take_text(record, fields.question)
    passage = None if fields.passage is None else take_text(record, fields.passage)
    given = None if fields.answer is None else _take_answer(record, fields.answer)
    choices, labels = _take_choices(record, fields.choices)
    if not choices:
        if given is not None and answer_form not in ("text", "label"):
            raise FieldProblem(f"no choices for the answer {given!r}")
        return Parts(question, passage, () if given is None else ((given, True),))
    right = None if given is None else _find_right(given, choices, labels, answer_form)
    answers = tuple((text, index == right) for index, text in enumerate(choices))
    return Parts(question, passage, answers if right is None or right >= 0 else (*answers, (given or "", True)))


def take_text(record: dict[str, Any], field: TextField) -> str | None:
    """The text of a field, None when there is none; blanks around it go.

    >>> take_text({"a": {"b": "x 1"}, "c": 2}, TextField(value="{a.b} and {c}")), take_text({"c": None}, TextField(value="c"))
    ('x 1 and 2', None)
    """
    if _HOLE.search(field.value):
        found = {path: _as_text(find_value(record, path)) for path in _HOLE.findall(field.value)}
        if all(text is None for text in found.values()):
            return None
        text: str | None = _HOLE.sub(lambda hole: found[hole[1]] or "", field.value)
    else:
        text = _as_text(find_value(record, field.value))
    if text is not None and field.pattern is not None:
        match = re.search(field.pattern, text)
        text = None if match is None else match[1] if match.re.groups else match[0]
    return (text or "").strip() or None


def list_field_paths(fields: RecordFields) -> list[str]:
    """All dotted paths that the fields name."""
    texts = [field for field in (fields.question, fields.answer, fields.passage) if field is not None]
    paths = [path for field in texts for path in (_HOLE.findall(field.value) or [field.value])]
    if fields.choices is not None:
        paths += [path for path in (fields.choices.value, *fields.choices.values, fields.choices.labels) if path]
    return paths + [path for path in (fields.id, fields.split) if path is not None]


def find_value(record: Any, path: str) -> Any:
    """The value at a dotted path, None when absent. A number steps into a list; a name into every object of one.

    >>> find_value({"choices": [{"text": "a"}, {"text": "b"}]}, "choices.text"), find_value({"a": [3, 4]}, "a.1")
    (['a', 'b'], 4)
    """
    if isinstance(record, dict) and path in record:
        return record[path]  # a key that has the dots in its name comes first
    name, _, rest = path.partition(".")
    if isinstance(record, dict):
        value = record.get(name)
    elif isinstance(record, list) and name.isdigit():
        value = record[int(name)] if int(name) < len(record) else None
    elif isinstance(record, list):
        return [find_value(item, path) for item in record]
    else:
        value = None
    return find_value(value, rest) if rest and value is not None else value


def _as_text(value: Any, join: Callable[[list[str]], str] = "\n".join) -> str | None:
    if isinstance(value, list):
        texts = [text for text in (_as_text(item) for item in value) if text]
        return join(texts) if texts else None
    if value is None or isinstance(value, dict):
        return None
    return value if isinstance(value, str) else str(value)


def _take_answer(record: dict[str, Any], field: TextField) -> str | None:
    value = find_value(record, field.value)
    if isinstance(value, list):
        return next((text for text in (_as_text(item) for item in value) if text), None)
    return take_text(record, field)


def _take_choices(record: dict[str, Any], field: ChoicesField | None) -> tuple[list[str], list[str]]:
    if field is None:
        return [], []
    if field.values:
        found = [_as_text(find_value(record, path)) for path in field.values]
        return [text.strip() for text in found if text is not None], []
    value = find_value(record, field.value or "")
    if field.pattern is not None:
        matches = list(re.finditer(field.pattern, value)) if isinstance(value, str) else []
        labels = [match["label"] for match in matches] if matches and "label" in matches[0].re.groupindex else []
        return [match["text"].strip() for match in matches], labels
    texts = [_as_text(item) or "" for item in value] if isinstance(value, list) else []
    marks = find_value(record, field.labels) if field.labels else None
    return [text.strip() for text in texts], [str(mark) for mark in marks] if isinstance(marks, list) else []


def _find_right(given: str, choices: list[str], labels: list[str], form: AnswerForm) -> int:
    """Number of the right choice; -1 with form label for an answer in words of its own, as BIG-Bench Hard has one among its labels."""
    word = given.strip().strip("().:")
    if form == "label" and word in labels:
        return labels.index(word)
    if form in ("text", "label"):
        if given.strip() in choices:
            return choices.index(given.strip())
        if form == "label" and len(word) > max(map(len, labels), default=0):
            return -1
        raise FieldProblem(f"the answer {given!r} is none of the choices {[*labels, *choices]}")
    if form == "letter":
        index = ord(word.upper()) - ord("A") if len(word) == 1 else -1
    else:
        index = int(given) - (form == "number") if re.fullmatch(r"\d{1,4}", given.strip()) else -1
    if not 0 <= index < len(choices):
        raise FieldProblem(f"the answer {given!r} is no {form} of {len(choices)} choices")
    return index


def _check_expression(pattern: str | None) -> str | None:
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"expected a regular expression ({error})") from error
    return pattern
