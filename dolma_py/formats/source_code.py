"""What is known of one source file: its language, whether it is generated or somebody else's, and the text of a notebook.

Language and marks are those of go-enry, the port of GitHub's linguist: names, extensions, shebangs, modelines, rules for what is
ambiguous and a classifier; generated files by names and markers such as `Code generated ... DO NOT EDIT`, vendored ones by
paths such as node_modules/.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache
from typing import Any, NamedTuple

import orjson

from dolma_py.errors import DolmaError

HEAD_BYTES = 64 << 10  # what is looked at of a file's content
NOTEBOOK = ".ipynb"


class SourceFile(NamedTuple):
    """What go-enry says of a file."""

    language: str | None  # linguist's name
    language_type: str | None  # programming, markup, data or prose
    is_generated: bool
    is_vendored: bool


def describe_file(path: str, data: bytes) -> SourceFile:
    """Language and marks of a file by its path in the repository and the first 64 KiB of its content."""
    enry = _load_enry()
    head = data[:HEAD_BYTES]
    name = posixpath.basename(path)
    language = enry.get_language(name, head) or None
    kind = enry.get_language_type(language) if language else ""
    if language == "Jupyter Notebook":  # markup to linguist, because of its JSON
        kind = "programming"
    return SourceFile(language, kind or None, enry.is_generated(path, head), enry.is_vendor(path))


@cache
def _load_enry() -> Any:
    try:
        import enry
    except ImportError as error:
        raise DolmaError(
            "Languages are found by enry-python, which is not installed. Run: pip install 'dolma-py[code]' (Linux on x86_64, macOS on arm64)"
        ) from error
    return enry


def render_notebook(data: bytes) -> tuple[str, str | None] | None:
    """(text, language of its code) of a Jupyter notebook: markdown as it is, code between fences; None when it is no notebook.

    Outputs, attachments and raw cells stay out. Notebooks of format 3 have their cells in worksheets.
    """
    try:
        book = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(book, dict):
        return None
    cells = book.get("cells")
    if cells is None:
        sheets = book.get("worksheets")
        cells = sheets[0].get("cells") if isinstance(sheets, list) and sheets and isinstance(sheets[0], dict) else None
    if not isinstance(cells, list):
        return None
    language = _find_language(book)
    parts = []
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        text = _join_source(cell.get("source", cell.get("input"))).strip("\n")
        if not text.strip():
            continue
        kind = cell.get("cell_type")
        if kind == "code":
            fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
            parts.append(f"{fence}{language or ''}\n{text}\n{fence}")
        elif kind == "heading":  # format 3
            level = cell.get("level")
            parts.append("#" * (level if isinstance(level, int) and 0 < level < 7 else 1) + " " + text)
        elif kind == "markdown":
            parts.append(text)
    return "\n\n".join(parts), language


def _find_language(book: dict[str, Any]) -> str | None:
    metadata = book.get("metadata")
    for key, field in (("language_info", "name"), ("kernelspec", "language")):
        found = metadata.get(key) if isinstance(metadata, dict) else None
        name = found.get(field) if isinstance(found, dict) else None
        if isinstance(name, str) and re.fullmatch(r"[\w+#.-]{1,30}", name):
            return name.lower()
    return None


def _join_source(source: object) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""
