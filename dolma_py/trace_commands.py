"""The commands `dolma-py trace token` and `dolma-py trace document`: what was found as lines for a terminal, or as JSON."""

from __future__ import annotations

from typing import Any

import orjson

from dolma_py.corpus import Corpus
from dolma_py.pages import name_hidden
from dolma_py.trace_document import trace_document
from dolma_py.trace_token import trace_token

WIDTH = 10  # of a line's heading


def run_trace_token(
    *, place: str, corpus: str, mix: str | None, view: str | None, attributes: bool, as_json: bool
) -> str:
    """What is known of a token."""
    opened = Corpus(corpus)
    opened.need_listing()
    found = trace_token(opened, place, mix=mix, view=view, with_attributes=attributes)
    return render_json(found) if as_json else "\n".join(tell_token(found))


def run_trace_document(
    *, name: str, corpus: str, mix: str | None, view: str | None, attributes: bool, as_json: bool
) -> str:
    """What became of a document."""
    opened = Corpus(corpus)
    opened.need_listing()
    found = trace_document(opened, name, mix=mix, view=view, with_attributes=attributes)
    return render_json(found) if as_json else "\n".join(tell_document(found))


def render_json(found: dict[str, Any]) -> str:
    """Indented JSON; a number that is none (NaN) is null."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()


def tell_token(found: dict[str, Any]) -> list[str]:
    """Lines for a terminal."""
    token, copy, document, context = found["token"], found["copy"], found["document"], found["context"]
    (start, end), original = found["edited"], found["original"]
    role = "" if token["role"] == "text" else f", {token['role']}"
    place = f"token {token['offset']} of tokens/{token['mix']}/{token['part']}"
    spans = " and ".join(f"{first} to {last}" for first, last in original)
    lines = [
        f"{place}: id {token['id']} {quote(token['text'])}{role}",
        tell("document", document["id"]),
        tell("copy", tell_copy(copy) + f", {copy['copy'] + 1} of {copy['copies']}"),
        *tell_origin(document),
        tell("text", f"bytes {start} to {end} of {document['edited_bytes']} after edits"),
        tell("original", f"bytes {spans} of {document['original_bytes']}"),
        tell("context", f"{escape(context['before'])}>>>{escape(context['token'])}<<<{escape(context['after'])}"),
    ]
    lines += tell_steps(found.get("steps", []))
    return lines + tell_values(found.get("values", {}))


def tell_document(found: dict[str, Any]) -> list[str]:
    """Lines for a terminal."""
    document = found["document"]
    lines = [f"document {escape(document['id'])}, {document['original_bytes']} bytes", *tell_origin(document)]
    for fate in found["fates"]:
        place = f"mix {fate['mix']}, view {fate['view']}" if "mix" in fate else f"view {fate['view']}"
        lines.append(f"{place}: {escape(fate['why'])}")
        lines += [tell("copy", tell_copy(copy)) for copy in fate.get("copies", [])]
        lines += tell_steps(fate["steps"])
        lines += tell_values(fate.get("values", {}))
    return lines


def tell_copy(copy: dict[str, Any]) -> str:
    """Where a copy is, and how it was cut."""
    cut = ""
    if "fim_mode" in copy:
        cut = f" ({copy['fim_mode']}, middle is bytes {copy['fim_start']} to {copy['fim_end']})"
    return f"tokens {copy['start']} to {copy['end']} of tokens/{copy['mix']}/{copy['part']}{cut}"


def tell_origin(document: dict[str, Any]) -> list[str]:
    """Where a document stands and came from."""
    return [
        tell("source", document["source"]),
        tell("file", f"{document['file']}:{document['line']}"),
        tell("shard", f"{document['shard']}, {document['shard_path']}, row {document['row']}"),
    ]


def tell_steps(steps: list[dict[str, Any]]) -> list[str]:
    """One line for each step of a view."""
    lines = []
    for step in steps:
        more = f" {step['cut_bytes']} bytes" if "cut_bytes" in step else ""
        more += "".join(f"; {reason}" for reason in step.get("reasons", []))
        more += "".join(f"; {name} = {value}" for name, value in step.get("evidence", {}).items())
        lines.append(
            tell("step", f"{step['step']} ({step['attributes'] or 'size of the text'}): {step['outcome']}{more}")
        )
    return lines


def tell_values(values: dict[str, dict[str, Any]]) -> list[str]:
    """One line for each attribute set."""
    return [
        tell(name, ", ".join(f"{column}={value}" for column, value in columns.items()))
        for name, columns in sorted(values.items())
    ]


def tell(heading: str, value: str) -> str:
    """One line, its heading in front."""
    return f"  {heading:<{WIDTH}}{escape(value)}"


def quote(text: str) -> str:
    """A token as it is written, between quotes."""
    return f'"{escape(text)}"'


def escape(text: str) -> str:
    """Text of the data on one line, without signs that steer a terminal."""
    return name_hidden(text).replace("\n", "\\n").replace("\t", "\\t")
