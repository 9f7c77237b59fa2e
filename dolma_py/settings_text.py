"""The settings of a job as YAML text: every key with its default and what it means, ready for --config."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import pydantic

from dolma_py.config import Config, render_flow

COMMENT_COLUMN = 44


def render_settings(model: type[Config], indent: str = "", seen: tuple[type, ...] = ()) -> list[str]:
    """Lines of YAML: `key: default  # meaning`; a comment alone when there are none.

    A key without a default says so; settings inside others are indented; those of list items, of a value that may be null and
    of a mapping stand below as comments, since the default has none of them. Parsed as YAML, the lines give the defaults.
    """
    lines: list[str] = []
    for name, field in model.model_fields.items():
        inner: type[Config] | None = _find_model(field.annotation)
        default = _find_default(field)
        note = " ".join([*_say_required(field), *_say_choices(field.annotation), field.description or ""])
        if inner is None or inner in seen:
            lines.append(_write_line(indent, name, _write_value(default), note))
        elif isinstance(default, Config) and type(default) is field.annotation:
            lines.append(_write_line(indent, name, "", note))
            lines += _override_values(type(default), default, indent + "  ", (*seen, model))
        else:
            lines.append(_write_line(indent, name, _write_value(default), note))
            lines += [f"{indent}#   {line}" for line in render_settings(inner, "", (*seen, model, inner))]
    return lines or [f"{indent}# no settings"]


def _override_values(model: type[Config], values: pydantic.BaseModel, indent: str, seen: tuple[type, ...]) -> list[str]:
    """The model's lines with the values that the outer default gives it."""
    changed = {
        name: (field.annotation, pydantic.fields.FieldInfo.merge_field_infos(field, default=getattr(values, name), default_factory=None))
        for name, field in model.model_fields.items()
    }  # fmt: skip
    same: type[Config] = pydantic.create_model(model.__name__, __base__=Config, **changed)  # type: ignore[call-overload]
    return render_settings(same, indent, (*seen, model))


def _find_model(annotation: Any) -> type[Config] | None:
    """The configuration class inside X, X | None, list[X], tuple[X, ...] or dict[str, X]."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    for part in get_args(annotation):
        found = _find_model(part)
        if found is not None:
            return found
    return None


def _find_default(field: pydantic.fields.FieldInfo) -> Any:
    if field.is_required():
        return None
    return field.get_default(call_default_factory=True, validated_data={})


def _say_required(field: pydantic.fields.FieldInfo) -> list[str]:
    return ["required;"] if field.is_required() else []


def _say_choices(annotation: Any) -> list[str]:
    """The words that a field takes."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    words = [str(word) for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return [f"one of {', '.join(words)};"] if words else []


def _write_value(value: Any) -> str:
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump(mode="json")
    elif isinstance(value, list | tuple):
        value = [item.model_dump(mode="json") if isinstance(item, pydantic.BaseModel) else item for item in value]
    return render_flow(value)


def _write_line(indent: str, name: str, value: str, note: str) -> str:
    line = f"{indent}{name}: {value}".rstrip()
    return f"{line:<{COMMENT_COLUMN}}  # {note}" if note else line
