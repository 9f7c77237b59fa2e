"""Variables of a recipe: one setting that stands in several places of its steps, each written as {NAME}.

    variables: {scale: 16, data: /data}
    steps:
      - {kind: ingest, sources: [{name: web, inputs: ["{data}/web"]}]}
      - {kind: tag, taggers: [{tagger: "mixers.length_buckets:LengthBucketsTagger", options: {scale: "{scale}"}}]}

`--set variables.scale=8` changes it everywhere. A value that is "{NAME}" and nothing else becomes the variable itself, a number too; inside of
more text its words are put in. Other names in braces ({corpus}, {source}, {folder}) stay for the step that knows them.
"""

from __future__ import annotations

import re
from typing import Any

from dolma_py.errors import ConfigError, name_known

RESERVED = ("corpus", "source", "recipe", "folder", "language")  # what steps fill in themselves
_NAMED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def fill_variables(values: dict[str, Any], where: str = "") -> dict[str, Any]:
    """A recipe's tree with the variables in its steps filled in.

    Raises
    ------
    ConfigError     variables that are no mapping of names to words and numbers, a reserved name, one that no step uses
    """
    variables = values.get("variables")
    if variables is None:
        return values
    _check(variables, where)
    used: set[str] = set()
    filled = values | {"steps": _fill(values.get("steps"), variables, used)}
    unused = sorted(set(variables) - used)
    if unused:
        hint = name_known(unused[0], used)
        raise ConfigError(f"variables.{unused[0]}", variables[unused[0]], "no step has it in braces", hint, where)
    return filled


def _check(variables: Any, where: str) -> None:
    if not isinstance(variables, dict):
        raise ConfigError("variables", variables, "expected a mapping of names to values", where=where)
    for name, value in variables.items():
        if name in RESERVED or not _NAMED.fullmatch(f"{{{name}}}"):
            rule = f"expected a name of letters, digits and _, and none of {', '.join(RESERVED)}"
            raise ConfigError(f"variables.{name}", value, rule, where=where)
        if not isinstance(value, str | int | float):
            raise ConfigError(f"variables.{name}", value, "expected a word, a path or a number", where=where)


def _fill(node: Any, variables: dict[str, Any], used: set[str]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, variables, used) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, variables, used) for value in node]
    if not isinstance(node, str):
        return node
    found = [name for name in _NAMED.findall(node) if name in variables]
    used.update(found)
    if len(found) == 1 and node == f"{{{found[0]}}}":
        return variables[found[0]]
    return _NAMED.sub(lambda match: str(variables.get(match[1], match[0])), node)
