"""HTML pages out of untrusted text: everything is escaped, and what cannot be seen is shown by its code.

The packaged templates forbid scripts and loading anything.
"""

from __future__ import annotations

import importlib.resources
import posixpath
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup, escape

from dolma_py import storage
from dolma_py.errors import ConfigError

_NOT_PLAIN = re.compile(r"[^\n\t -~]")
_SHOWN_JOINERS = "\u200c\u200d"  # letters of Persian and emoji families need them


def check_place(path: str, option: str) -> None:
    """Raise ConfigError for a local page more than one folder of whose path is not there: a slip of the pen, and not to be made."""
    above = posixpath.dirname(posixpath.dirname(storage.resolve_path(path)))
    if not storage.is_remote(path) and not storage.path_exists(above):
        raise ConfigError(
            option, path, "expected a file in a folder that is there, or in a new one of it", "Check the path."
        )


def make_environment(filters: dict[str, Callable[..., Any]]) -> jinja2.Environment:
    """Templates of this package with autoescape, the filter `visible`, and the given ones."""

    def read(name: str) -> str:
        return importlib.resources.files("dolma_py").joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters, visible=make_visible)
    return environment


def make_visible(text: object) -> Markup:
    """Text escaped for HTML, with a mark that names the code of every character that is not seen or that steers its neighbours.

    Examples
    --------
    >>> str(make_visible("<b>"))
    '&lt;b&gt;'
    """
    plain = str(text).replace("\r\n", "\n")
    return Markup(_NOT_PLAIN.sub(_mark_character, str(escape(plain))))  # escape gives ASCII signs only for ASCII signs


def _mark_character(match: re.Match[str]) -> str:
    sign = match.group()
    return f'<span class="control">U+{ord(sign):04X}</span>' if is_hidden(sign) else sign


def is_hidden(sign: str) -> bool:
    """Whether a character is not seen, or steers its neighbours or a terminal."""
    # Cc control, Cf format (bidi, zero width), Cs surrogate, Co private, Cn unassigned, Zl and Zp line separators
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and sign not in _SHOWN_JOINERS


def name_hidden(text: object) -> str:
    """Text for a terminal: hidden characters by their code, escape sequences among them; newlines and tabs stay.

    Examples
    --------
    >>> name_hidden("a" + chr(27) + "[31mb")
    'a<U+001B>[31mb'
    """
    plain = str(text).replace("\r\n", "\n")
    return _NOT_PLAIN.sub(lambda match: f"<U+{ord(match[0]):04X}>" if is_hidden(match[0]) else match[0], plain)
