"""One HTML documentation page per Python module, from its docstrings, by the syntax tree alone; and such pages as a WARC.

The pages look like a documentation site: a header, a trail, side bars with the sibling modules and what the page holds, a footer
that repeats on every page. Readers have to find the text in it.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import html
import inspect
import re
import uuid
import warnings
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

WARC_DATE = "2025-01-01T00:00:00Z"  # fixed: no clock in data
HTTP_DATE = "Wed, 01 Jan 2025 00:00:00 GMT"
MIN_CONSTANT_CHARS = 200
MAX_SIGNATURE_CHARS = 300
GZIP_LEVEL = 6
UNDERLINE = re.compile(r"^([=\-~^\"'*+#])\1{2,}\s*$")
BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")


class Module(NamedTuple):
    """A module worth a page."""

    distribution: str
    version: str
    license: str
    name: str  # dotted
    root: str
    relative: str  # path below root
    siblings: tuple[str, ...]  # dotted names of the modules beside it

    @property
    def url(self) -> str:
        """Where the page claims to come from."""
        return f"https://docs.example/{self.distribution}/{self.name}.html"


class Entry(NamedTuple):
    """A documented thing in a module."""

    level: int  # heading level, 2 for classes and functions, 3 for methods
    title: str
    signature: str
    docstring: str


def list_entries(source: bytes) -> tuple[str, list[Entry]]:
    """(module docstring, documented things in source order): classes, functions, methods, and long texts handed to calls.

    Raises SyntaxError and ValueError for what is no Python of this version.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's docstrings
        tree = ast.parse(source)
    lines = source.decode("utf-8", "replace").splitlines()
    return ast.get_docstring(tree) or "", list(_walk_body(tree.body, lines, "", 2))


def _walk_body(body: list[ast.stmt], lines: list[str], prefix: str, level: int) -> Iterator[Entry]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            name = prefix + node.name
            if docstring:
                yield Entry(level, name, _read_signature(node, lines), docstring)
            if isinstance(node, ast.ClassDef):
                yield from _walk_body(node.body, lines, f"{name}.", min(level + 1, 4))
        elif isinstance(node, ast.If | ast.Try):
            yield from _walk_body(node.body, lines, prefix, level)
        elif isinstance(node, ast.Expr | ast.Assign) and not prefix and not isinstance(node.value, ast.Constant):
            for title, text in _find_texts(node.value, ""):
                yield Entry(level, title, "", inspect.cleandoc(text))


def _find_texts(node: ast.expr, title: str) -> Iterator[tuple[str, str]]:
    """Long texts that a module hands to a function or keeps in a table, as extension modules document what is written in C."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and len(node.value) >= MIN_CONSTANT_CHARS and node.value.count(" ") > 20:
            yield title, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield from _find_texts(value, str(key.value) if isinstance(key, ast.Constant) else title)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            yield from _find_texts(node.func.value, title)
        names = [_name_of(argument) for argument in node.args]
        short = ".".join(name for name in names if name)
        for argument in node.args:
            yield from _find_texts(argument, short or title)
    elif isinstance(node, ast.BinOp):
        yield from _find_texts(node.left, title)
        yield from _find_texts(node.right, title)


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 80:
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node)
    return ""


def _read_signature(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    last = max(node.lineno, node.body[0].lineno - 1)
    text = " ".join(" ".join(lines[node.lineno - 1 : last]).split())
    return text[:MAX_SIGNATURE_CHARS].rstrip(": ")


def render_docstring(docstring: str) -> str:
    """A docstring as HTML: paragraphs, lists, headings (underlined lines) and preformatted blocks (indented or doctest)."""
    pieces = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = block.splitlines()
        while len(lines) > 1 and UNDERLINE.match(lines[1]):
            pieces.append(f"<h4>{html.escape(lines[0].strip())}</h4>")
            lines = lines[2:]
        lines = [line for line in lines if not UNDERLINE.match(line)]
        if lines:
            pieces.append(_render_block(lines))
    return "\n".join(pieces)


def _render_block(lines: list[str]) -> str:
    if lines[0].lstrip().startswith(">>>") or all(line.startswith("    ") for line in lines):
        return "<pre>" + html.escape("\n".join(lines)) + "</pre>"
    if BULLET.match(lines[0]):
        items: list[str] = []
        for line in lines:
            if BULLET.match(line) or not items:
                items.append(BULLET.sub("", line))
            else:
                items[-1] += " " + line.strip()
        return "<ul>" + "".join(f"<li>{html.escape(item.strip())}</li>" for item in items) + "</ul>"
    if any(line.startswith("    ") for line in lines[1:]):
        return _render_definitions(lines)
    return "<p>" + html.escape(" ".join(line.strip() for line in lines)) + "</p>"


def _render_definitions(lines: list[str]) -> str:
    """Terms at the margin, their explanations indented below: lists of parameters."""
    pieces: list[str] = []
    explanation: list[str] = []
    for line in [*lines, ""]:
        if line.startswith(" "):
            explanation.append(line.strip())
            continue
        if explanation:
            pieces.append(f"<dd>{html.escape(' '.join(explanation))}</dd>")
            explanation = []
        if line:
            pieces.append(f"<dt>{html.escape(line.strip())}</dt>")
    return "<dl>" + "".join(pieces) + "</dl>"


def render_page(module: Module, source: bytes, planted_text: str = "") -> bytes:
    """The page of one module as UTF-8 HTML; `planted_text` becomes a paragraph of its own in the middle.

    Raises SyntaxError and ValueError for what is no Python of this version.
    """
    docstring, entries = list_entries(source)
    escape = html.escape
    parts = module.name.split(".")
    trail = " &raquo; ".join(
        f'<a href="https://docs.example/{module.distribution}/{".".join(parts[: depth + 1])}.html">{escape(part)}</a>'
        for depth, part in enumerate(parts)
    )
    side = "".join(
        f'<li><a href="https://docs.example/{module.distribution}/{name}.html">{escape(name)}</a></li>'
        for name in module.siblings
    )
    contents = "".join(f'<li><a href="#{escape(entry.title)}">{escape(entry.title)}</a></li>' for entry in entries)
    sections = [f"<h1>{escape(module.name)}</h1>", render_docstring(docstring)]
    for number, entry in enumerate(entries):
        if planted_text and number == len(entries) // 2:
            sections.append(f"<p>{escape(planted_text)}</p>")
        sections.append(f'<h{entry.level} id="{escape(entry.title)}">{escape(entry.title)}</h{entry.level}>')
        if entry.signature:
            sections.append(f"<pre>{escape(entry.signature)}</pre>")
        sections.append(render_docstring(entry.docstring))
    if planted_text and not entries:
        sections.append(f"<p>{escape(planted_text)}</p>")
    body = "\n".join(sections)
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(module.name)} - {module.distribution} {module.version} documentation</title>
<link rel="stylesheet" href="/static/site.css"><script>window.site = {{"search": true}};</script></head>
<body><header class="site-header"><nav class="menu"><a href="/">Home</a> <a href="/{module.distribution}/">{module.distribution}</a>
<a href="/search">Search</a> <a href="/index">Index</a> <a href="/modules">Modules</a></nav></header>
<div class="cookie-banner">This site stores a cookie to remember the theme that you chose. <button>Accept</button></div>
<div class="breadcrumbs">{trail}</div>
<aside class="sidebar"><h3>In this package</h3><ul>{side}</ul></aside>
<main>{body}</main>
<aside class="toc"><h3>On this page</h3><ul>{contents}</ul></aside>
<footer class="footer"><p>{module.distribution} {module.version}. Licence: {escape(module.license)}. Copyright of its authors.</p>
<p>Pages generated from the docstrings of the installed package. Was this page helpful? Tell us by opening a ticket.</p></footer>
</body></html>
"""
    return page.encode("utf-8", "replace")


def write_records(stream: BinaryIO, pages: Iterable[tuple[str, bytes, str]]) -> int:
    """Write (url, HTML, planted item id or "") as a gzip WARC, one member a record; returns the number of pages.

    The bytes depend on the pages alone: dates are fixed, record ids are made from the URLs, gzip headers hold no time or name.
    """
    info = b"software: dolma-py documentation pages\r\nformat: WARC File Format 1.1\r\n"
    _write_member(stream, _frame_record("warcinfo", "", info, "application/warc-fields", "urn:dolma-py:warcinfo"))
    num_pages = 0
    for url, page, item_id in pages:
        planted = f"X-Planted-Item: {item_id}\r\n" if item_id else ""
        head = (
            "HTTP/1.1 200 OK\r\nServer: docs.example\r\nContent-Type: text/html; charset=utf-8\r\n"
            f"Content-Length: {len(page)}\r\nDate: {HTTP_DATE}\r\nLast-Modified: {HTTP_DATE}\r\n{planted}\r\n"
        )
        payload_digest = _digest(page)
        block = head.encode("ascii") + page
        record = _frame_record("response", url, block, "application/http; msgtype=response", url, payload_digest)
        _write_member(stream, record)
        num_pages += 1
    return num_pages


def _frame_record(kind: str, url: str, block: bytes, media_type: str, identity: str, payload_digest: str = "") -> bytes:
    fields = [
        ("WARC-Type", kind),
        ("WARC-Target-URI", url),
        ("WARC-Date", WARC_DATE),
        ("WARC-Record-ID", f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, identity)}>"),
        ("WARC-Block-Digest", _digest(block)),
        ("WARC-Payload-Digest", payload_digest),
        ("Content-Type", media_type),
        ("Content-Length", str(len(block))),
    ]
    head = "WARC/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields if value) + "\r\n"
    return head.encode("ascii") + block + b"\r\n\r\n"


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


def _write_member(stream: BinaryIO, record: bytes) -> None:
    engine = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    stream.write(engine.compress(record) + engine.flush())
