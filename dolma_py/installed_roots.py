"""What this Python installation holds: the standard library and this project's own pinned dependencies, as lists of files.

Nothing is imported or run, no symbolic link is followed out of a root, and every list is sorted, so one release on one platform
always gives the same lists.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import stat
import sysconfig
from collections.abc import Iterator
from typing import NamedTuple

PROJECT = "dolma-py"
LEFT_OUT_EXTRAS = frozenset({"dev", "all", "hf"})
STDLIB = "stdlib"
SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__"})
SYSTEM_DOCS = "/usr/share/doc"
REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;]*)(?:;(.*))?")
EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")


class Distribution(NamedTuple):
    """One installed package with its files."""

    name: str  # normalised: lower case, hyphens
    version: str
    license: str
    root: str  # folder that the relative paths are below
    paths: tuple[str, ...]  # relative, forward slashes, sorted


def list_distributions(project: str = PROJECT) -> list[Distribution]:
    """The standard library, then the installed dependencies of `project` (every extra but dev and hf) in order of their names.

    A dependency whose installed version is not the pinned one is left out; one with a range of versions is taken as it is.
    """
    wanted: dict[str, str] = {}
    for text in importlib.metadata.requires(project) or []:
        match = REQUIREMENT.match(text)
        if match is None or LEFT_OUT_EXTRAS & set(EXTRA.findall(match.group(3) or "")):
            continue
        wanted[_normalise(match.group(1))] = match.group(2).strip()
    found = []
    for name in sorted(wanted):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        pin = wanted[name].removeprefix("==") if wanted[name].startswith("==") else ""
        # a local version such as 2.13.0+cpu is the same release
        if not pin or distribution.version.partition("+")[0] == pin:
            found.append(_read_distribution(name, distribution))
    return [_read_stdlib(), *found]


def read_file(root: str, relative: str, max_bytes: int) -> bytes | None:
    """A regular file below `root`, at most `max_bytes` long; None when it is longer, gone, unreadable, or a link out of the root."""
    path = os.path.join(root, relative)
    real_root = os.path.realpath(root)
    if not os.path.realpath(path).startswith(real_root + os.sep):
        return None
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode) or info.st_size > max_bytes:
            return None
        with open(path, "rb") as stream:
            return stream.read(max_bytes)
    except OSError:  # no right to read it, or gone since it was listed: then it is no part of the input
        return None


def walk_files(root: str) -> Iterator[str]:
    """Relative paths of the regular files below `root`, sorted within each folder; links are not followed."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in SKIPPED_FOLDERS)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                yield os.path.relpath(path, root).replace(os.sep, "/")


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_distribution(name: str, distribution: importlib.metadata.Distribution) -> Distribution:
    files = [str(file) for file in distribution.files or []]
    paths = sorted(path for path in files if not path.startswith(("..", "/")) and "__pycache__" not in path)
    metadata = distribution.metadata
    names = metadata.get_all("License-Expression") or metadata.get_all("License") or ["see its licence file"]
    first_line = (str(names[0]).strip().splitlines() or ["see its licence file"])[0]
    root = str(distribution.locate_file(""))
    return Distribution(name, distribution.version, first_line[:80], root, tuple(paths))


def _read_stdlib() -> Distribution:
    root = sysconfig.get_path("stdlib")
    return Distribution(STDLIB, sysconfig.get_python_version(), "PSF-2.0", root, tuple(sorted(walk_files(root))))
