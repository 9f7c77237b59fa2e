"""Strict configuration: YAML to frozen pydantic models, with the file, line and dotted key of every mistake.

YAML holds values, not code. `1e-3` is a number, a repeated key is an error, `no` is the word "no" where the field is a
string, `${env:NAME}` is the one interpolation (`$${` stands for a plain `${`). Precedence: defaults < YAML < --set a.b=c < named options.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from dolma_py.errors import ConfigError, name_known


class Config(pydantic.BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class OptionError(ValueError):
    """For a validator of a whole Config: one option's value breaks a rule that others have a say in. The error names that option alone."""

    def __init__(self, option: str, got: object, rule: str, hint: str = "") -> None:
        self.option, self.got, self.rule, self.hint = option, got, rule, hint
        super().__init__(f"{option}: {rule}")


ConfigT = TypeVar("ConfigT", bound=pydantic.BaseModel)


def parse_yaml(text: str, where: str) -> Any:
    """The values of one YAML document; ConfigError names file and line of a syntax mistake."""
    import yaml

    from dolma_py.strict_yaml import StrictLoader

    try:
        return _interpolate(yaml.load(text, Loader=StrictLoader), where)  # a SafeLoader: no code is built
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{where}:{mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError("yaml", problem, "expected a valid document", where=at) from error
    except RecursionError as error:
        raise ConfigError("yaml", "nesting too deep", "expected a valid document", where=where) from error


def load_yaml(path: str | Path) -> Any:
    """parse_yaml of a file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("config", str(path), f"expected a readable UTF-8 file ({error})") from error
    return parse_yaml(text, str(path))


def _interpolate(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, where) for item in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"\$\$\{|\$\{(.*?)\}", lambda match: _environment(match, where), value)
    return value


def _escape(value: Any) -> Any:
    """The values that _interpolate turns into these."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _environment(match: re.Match[str], where: str) -> str:
    if match.group(0) == "$${":
        return "${"
    name = match.group(1).removeprefix("env:")
    if not match.group(1).startswith("env:"):
        raise ConfigError("yaml", match.group(0), "only ${env:NAME} is understood", where=where)
    if name not in os.environ:
        raise ConfigError("yaml", match.group(0), "expected the variable to be set", f"Run: export {name}=...", where)
    return os.environ[name]


def apply_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Set dotted keys: `a.b=c`; list items by number, name or kind; the right side is YAML. Returns a new tree."""
    result: dict[str, Any] = json.loads(json.dumps(values))
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise ConfigError("--set", override, "expected KEY=VALUE")
        parts = key.split(".")
        node: Any = result
        for part in parts[:-1]:
            node = _step_into(node, part, key)
        last = parts[-1]
        value = parse_yaml(text, f"--set {key}") if text else ""
        if isinstance(node, list):
            node[_list_index(node, last, key)] = value
        elif isinstance(node, dict):
            node[last] = value
        else:
            raise ConfigError(key, override, "expected a mapping or a list before the last dot")
    return result


def _step_into(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_list_index(node, part, key)]
    if isinstance(node, dict):
        if node.get(part) is None:  # not there, or null
            node[part] = {}
        return node[part]
    raise ConfigError(key, part, "expected a mapping or a list here")


def _list_index(node: list[Any], part: str, key: str) -> int:
    """A number, or the `name` of an item, or the `kind` or `preset` of one without a name."""
    names = [
        item.get("name") or item.get("kind") or item.get("preset") if isinstance(item, dict) else None for item in node
    ]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(node):
        return int(part)
    raise ConfigError(key, part, f"expected an index below {len(node)} or one of {[n for n in names if n]}")


def build_config(model: type[ConfigT], values: Any, *, where: str = "", prefix: str = "") -> ConfigT:
    """Validate `values`; all mistakes are reported in one ConfigError, each with dotted key, value and nearest known key."""
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        raise _tell_mistakes(error.errors(), model, where, prefix) from error


def check_known(
    model: type[pydantic.BaseModel], values: dict[str, Any], unknown: Collection[str], *, where: str = "", prefix: str = ""
) -> None:  # fmt: skip
    """As build_config where the values at the keys `unknown` are yet to come: only keys are wrong of them, not what stands there.

    Nor is what is wrong with all values together.
    """
    try:
        model.model_validate(values)
    except pydantic.ValidationError as error:
        problems = [found for found in error.errors() if not unknown or _is_certain(found, unknown)]
        if problems:
            raise _tell_mistakes(problems, model, where, prefix) from error


def _is_certain(problem: Any, unknown: Collection[str]) -> bool:
    """Whether a mistake is one whatever the values at the keys `unknown` will be."""
    is_of_known = bool(problem["loc"]) and problem["loc"][0] not in unknown
    return is_of_known or problem["type"] == "extra_forbidden"


def _tell_mistakes(problems: list[Any], model: type[pydantic.BaseModel], where: str, prefix: str) -> ConfigError:
    first = problems[0]
    key = _dotted(prefix, first)
    cause = first.get("ctx", {}).get("error")
    if len(problems) == 1 and isinstance(cause, OptionError):
        return ConfigError(
            f"{key}.{cause.option}" if prefix or first["loc"] else cause.option,
            cause.got,
            cause.rule,
            cause.hint,
            where,
        )
    if len(problems) == 1:
        return ConfigError(key, _got(first), *_rule_and_hint(first, model), where=where)
    lines = [_explain(problem, model, prefix) for problem in problems]
    return ConfigError(key, _got(first), f"{len(lines)} mistakes: " + "; ".join(lines), where=where)


def _got(problem: Any) -> Any:
    """The value that is wrong; nothing where one is missing: pydantic names the whole mapping then."""
    return None if problem["type"] == "missing" else problem.get("input")


def _dotted(prefix: str, problem: Any) -> str:
    return ".".join([prefix, *map(str, problem["loc"])]).strip(".") or "settings"


def _rule_and_hint(problem: Any, model: type[pydantic.BaseModel]) -> tuple[str, str]:
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        return "no such key", _say_space(problem["loc"][-1], known) or name_known(problem["loc"][-1], known)
    if problem["type"] == "missing":
        return "a value is needed", ""
    return str(problem["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, "), ""


def _explain(problem: Any, model: type[pydantic.BaseModel], prefix: str) -> str:
    rule, hint = _rule_and_hint(problem, model)
    got = "" if problem["type"] == "missing" else f" (got {problem.get('input')!r})"
    return f"{_dotted(prefix, problem)}: {rule}{got} {hint}".rstrip()


def _say_space(key: Any, known: Collection[str]) -> str:
    """What to write in place of `{kind:warc}`, which YAML reads as one key; empty for other keys.

    >>> _say_space("kind:warc", ["kind"])
    'Write a space after the colon: kind: warc.'
    """
    name, colon, value = str(key).partition(":")
    return f"Write a space after the colon: {name}: {value}." if colon and name in known else ""


def _known_keys(model: type[pydantic.BaseModel], path: tuple[Any, ...]) -> list[str]:
    current: Any = model
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            continue  # list index or a union's tag
        current = _model_inside(field.annotation) or current
    return list(getattr(current, "model_fields", {}))


def _model_inside(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_inside(argument)
        if found:
            return found
    return None


def dump_config(config: pydantic.BaseModel) -> dict[str, Any]:
    """The resolved configuration as plain JSON values."""
    return config.model_dump(mode="json")


def fingerprint(*values: Any) -> str:
    """blake2b-128, 32 hex digits, of values as canonical JSON (sorted keys, no spaces). Same values, same digits, on any machine."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def render_yaml(values: Any) -> str:
    """Values as block YAML, keys in the given order; parse_yaml reads the same values."""
    import yaml

    from dolma_py.strict_yaml import Dumper

    return str(yaml.dump(_escape(values), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120))


def render_flow(value: Any) -> str:
    """A value as YAML on one line; parse_yaml reads the same value."""
    import yaml

    from dolma_py.strict_yaml import FlowDumper

    text = yaml.dump(
        _escape(value), Dumper=FlowDumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 30
    )
    return str(text).removesuffix("\n...\n").strip()
