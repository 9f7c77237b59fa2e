"""PyYAML made strict: which words are numbers, what is refused, what is quoted. dolma_py.config reads and writes by it.

Apart from config, so that what only wants a Config (the model and its training step) needs no PyYAML.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


class StrictLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML carries no types
    """SafeLoader that refuses repeated keys and aliases (an alias bomb expands a small file to gigabytes)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not a string", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


# YAML 1.2's numbers and booleans, not 1.1's: 1e-3 is a float; yes, no, on, off are words.
StrictLoader.yaml_implicit_resolvers = {
    first: [
        (tag, expr)
        for tag, expr in resolvers
        if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|"
        r"\.inf|\.nan)$"
    ),
    list("-+0123456789."),
)
StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML carries no types
    """Quotes the words that StrictLoader, or a reader of YAML 1.1 as others have it, would read as something else."""


Dumper.yaml_implicit_resolvers = {
    first: [
        *StrictLoader.yaml_implicit_resolvers.get(first, []),
        *yaml.SafeLoader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {**StrictLoader.yaml_implicit_resolvers, **yaml.SafeLoader.yaml_implicit_resolvers}
}


class FlowDumper(Dumper):
    """Writes a string with a line break between double quotes, which keeps it on one line."""


def _represent_text(dumper: Any, text: str) -> Any:
    style = '"' if text.splitlines() not in ([], [text]) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


FlowDumper.add_representer(str, _represent_text)
