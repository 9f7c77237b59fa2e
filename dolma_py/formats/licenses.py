"""The licence of source files as an SPDX identifier: licence texts by askalono, manifests of packages, headers of files."""

from __future__ import annotations

import functools
import json
import posixpath
import re
import tomllib
from typing import Any

from dolma_py.errors import DolmaError

LICENSE_NAME = re.compile(r"(un)?licen[sc]e|copying|copyright", re.IGNORECASE)
LICENSE_ENDS = ("", ".lesser", ".md", ".txt", ".rst", ".markdown")
# where only a file's folder is known, these are asked for
LICENSE_NAMES = (
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "LICENCE",
    "COPYING",
    "COPYING.txt",
    "UNLICENSE",
    "LICENSE-MIT",
    "LICENSE-APACHE",
)
MANIFESTS = ("package.json", "pyproject.toml", "Cargo.toml", "composer.json")
MAX_LICENSE_BYTES = 256 << 10
MIN_SCORE = 0.9  # of askalono, whose command line takes 0.8; at .9 a text with another name in it still counts
# behind signs of a comment alone: a program may speak of licences in its strings
HEADER = re.compile(rb"^[^\w\n]{0,12}SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+ ()-]{2,100})", re.MULTILINE)
EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+){0,9}|\([A-Za-z0-9.+ ()-]{2,200}\)")
HEADER_BYTES = 2048


def is_license_file(name: str) -> bool:
    """Whether a base name is one that licence texts have: LICENSE, LICENCE.md, COPYING, LICENSE-MIT, ...

    >>> is_license_file("LICENSE-APACHE.txt"), is_license_file("license_check.py")
    (True, False)
    """
    stem, end = posixpath.splitext(name)
    if end.lower() not in LICENSE_ENDS and not re.fullmatch(r"\.[0-9]{1,3}", end):
        return False
    return LICENSE_NAME.fullmatch(re.split(r"[-._ ]", stem)[0]) is not None


def find_license(name: str, data: bytes) -> str | None:
    """What a licence text or the manifest of a package says: an SPDX identifier or expression; None when neither says any.

    name : str      base name of the file
    """
    if len(data) > MAX_LICENSE_BYTES:
        return None
    if name in MANIFESTS:
        return _read_manifest(name, data)
    return _identify(data.decode("utf-8", "replace")) if is_license_file(name) else None


def find_header_license(data: bytes) -> str | None:
    """What the first 2 KiB of a file say by `SPDX-License-Identifier:`.

    >>> find_header_license(b"// SPDX-License-Identifier: GPL-2.0-only OR MIT */")
    'GPL-2.0-only OR MIT'
    """
    found = HEADER.search(data[:HEADER_BYTES])
    return _take_expression(found[1].decode("ascii")) if found else None


@functools.lru_cache(maxsize=256)
def _identify(text: str) -> str | None:
    try:
        import askalono
    except ImportError as error:
        raise DolmaError(
            "Licences are read by pyaskalono, which is not installed. Run: pip install 'dolma-py[code]'"
        ) from error
    if not text.strip():
        return None
    found = askalono.identify(text)
    return str(found.name) if found.score >= MIN_SCORE else None


def _read_manifest(name: str, data: bytes) -> str | None:
    try:
        manifest: Any = tomllib.loads(data.decode()) if name.endswith(".toml") else json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict):
        return None
    if name.endswith(".toml"):
        manifest = manifest.get("project" if name == "pyproject.toml" else "package")
    stated = manifest.get("license") if isinstance(manifest, dict) else None
    if isinstance(stated, list) and len(stated) == 1:
        stated = stated[0]
    if isinstance(stated, dict):  # older forms of package.json and pyproject.toml
        stated = stated.get("type") or stated.get("text")
    return _take_expression(stated) if isinstance(stated, str) and len(stated) < 200 else None


def _take_expression(stated: str) -> str | None:
    found = EXPRESSION.match(stated.strip())
    text = found[0].strip() if found else ""
    return text if text and text.upper() not in ("NONE", "NOASSERTION", "UNLICENSED", "SEE") else None
