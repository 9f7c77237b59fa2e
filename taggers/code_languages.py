"""Which syntax a source file has, by the ending of its name."""

from __future__ import annotations

from typing import NamedTuple

from taggers.code_comments_kernels import C_LIKE, CSS, DASH, HASH, MARKUP, NO_FAMILY, PERCENT, PYTHON, SEMICOLON

_ENDINGS = {
    C_LIKE: "c h cc cpp cxx c++ hh hpp hxx java js jsx mjs cjs ts tsx cs go rs swift kt kts scala dart groovy gradle proto php m mm cu cuh glsl "
    "jsonc sol zig v sv",
    CSS: "css scss less",
    PYTHON: "py pyi pyx pxd pyw",
    HASH: "rb sh bash zsh fish ksh pl pm t r jl ex exs nix tcl awk yml yaml toml mk cmake dockerfile makefile conf ps1 psm1 coffee cr nim",
    DASH: "sql lua hs lhs elm adb ads ada vhd vhdl applescript",
    PERCENT: "tex sty cls bib erl hrl",
    SEMICOLON: "lisp lsp el clj cljs scm rkt asm s nasm ini",
    MARKUP: "html htm xhtml xml vue svelte md markdown svg",
}
FAMILIES = {ending: family for family, endings in _ENDINGS.items() for ending in endings.split()}
_LONG = {"json", "md", "markdown", "roff", "man", *"123456789", "smt", "smt2", "tex", "sty", "cls", "txt", "xml"}
HTML_ENDINGS = frozenset({"html", "htm", "xhtml"})
# files of data, which StarCoder limits in size; StarCoder2 adds OWL and DOT to the limit of lines
DATA_ENDINGS = frozenset({"json", "yaml", "yml"})
LINE_LIMITED_ENDINGS = DATA_ENDINGS | {"txt", "owl", "dot", "gv"}
# HTML, JSON, Markdown, Roff, SMT, TeX, Text and XML, whose lines StarCoder2 lets be long
LONG_LINE_ENDINGS = HTML_ENDINGS | _LONG
# a language that is XML, whose declaration is no sign of data: StarCoder's XML filter leaves it alone
XSLT_ENDINGS = frozenset({"xsl", "xslt"})
COMMENT_RULE_FAMILIES = frozenset({PYTHON, C_LIKE, CSS, HASH, DASH, SEMICOLON, PERCENT})


class CodeKind(NamedTuple):
    """What the rules ask of a file's language."""

    family: int  # of taggers.code_comments_kernels
    is_html: bool
    is_data: bool
    is_line_limited: bool
    has_long_lines: bool
    is_xslt: bool


def ending_of(name: str) -> str:
    """The ending of an ending (".py", "py"), a file name or a path, in small letters; a name without a dot is its own."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[-1].lower()


def kind_of(name: str) -> CodeKind:
    """The kind of an ending (".py", "py"), a file name or a path; case aside.

    >>> kind_of("src/a.PY").family == kind_of(".py").family
    True
    """
    ending = ending_of(name)
    endings = (HTML_ENDINGS, DATA_ENDINGS, LINE_LIMITED_ENDINGS, LONG_LINE_ENDINGS, XSLT_ENDINGS)
    return CodeKind(FAMILIES.get(ending, NO_FAMILY), *(ending in known for known in endings))
