"""Which files a path, a folder or a glob names, by one rule for local files and object stores.

* A file is itself. A folder, named or matched by a glob, is all files below it.
* In a glob `*`, `?` and `[...]` stand for signs of one name, `**` for any number of folders. A path that exists is taken as it is.
* Left out, below what the pattern spells out: names that begin with `.` or `_` (files, and folders with all in them), symbolic
  links to folders, and what is no file at all. A name is spelled out by a part without wildcards, or by one that begins with the
  same sign: `src/.github/*`, `src/**/_*.py`. What was left out is told to the caller, never dropped in silence.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from dolma_py import storage
from dolma_py.errors import ConfigError
from dolma_py.storage import Entry, FileInfo

WILDCARDS = "*?["
SHOWN_NAMES = 3
HIDDEN = "hidden names, which begin with . or _, links to folders, and no files; spell them out to read them"


class Found(NamedTuple):
    """What a pattern names; all paths are sorted."""

    files: list[FileInfo]
    named: frozenset[str]  # files that the pattern itself matched; the others lie in folders that it matched
    folders: list[str]  # folders that the pattern matched
    left_out: list[
        str
    ]  # hidden files and folders, links to folders, sockets and the like; escapes for bytes that are no UTF-8


def find_root(path: str) -> str:
    """The folder that names are relative to: the folder itself, a file's own, or what stands before the first wildcard."""
    if storage.file_bytes(path) is not None:
        return posixpath.dirname(path)
    parts = path.split("/")
    wild = next((index for index, part in enumerate(parts) if _is_wild(part)), None)
    return path if wild is None or storage.path_exists(path) else "/".join(parts[:wild]) or "/"


def find_files(path: str, *, first_only: bool = False) -> Found:
    """The files of one resolved path, folder or glob; none when it matches nothing.

    first_only: stop at the first file, for who asks whether there is one; what was left out is then complete only without a file.

    Raises ConfigError for a wildcard in the name of a bucket or host and for a file whose name is not UTF-8, and the OSError of a
    folder that cannot be read.
    """
    size = storage.file_bytes(path)
    if size is not None:
        _check_names([path])
        return Found([FileInfo(path, size)], frozenset([path]), [], [])
    search = _Search(first_only)
    root = find_root(path)
    if root == path:
        search.folders.add(path)
        search.take_folder(path)
    else:
        if storage.is_remote(path) and len(root.split("/")) < 3:
            raise ConfigError("inputs", path, "expected the name of a bucket or host without wildcards")
        search.match(root, tuple(path[len(root) :].strip("/").split("/")))
    if not search.files:
        search.folders.clear()  # a path that is not there is no folder either
    files = [search.files[name] for name in sorted(search.files)]
    _check_names([info.path for info in files])
    left_out = sorted(storage.printable_name(name) for name in search.left_out)
    return Found(files, frozenset(search.named), sorted(search.folders), left_out)


def _check_names(paths: list[str]) -> None:
    """Raise ConfigError for a path that no listing, no metadata and no output could spell."""
    for path in paths:
        if not storage.is_printable_name(path):
            shown = storage.printable_name(path)
            raise ConfigError("inputs", shown, "expected file names in UTF-8", "Rename the file, or leave it out.")


def describe_left_out(names: list[str], why: str = HIDDEN) -> str:
    """One line for what was left out, with the first names and why, which tells the way to have it read after all.

    >>> describe_left_out(["a/.git", "b/_SUCCESS"])
    '2 left out: a/.git, b/_SUCCESS (hidden names, which begin with . or _, links to folders, and no files; spell them out to read them)'
    """
    more = len(names) - SHOWN_NAMES
    shown = ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"{len(names)} left out: {shown} ({why})"


def take_underscored(found: Found) -> Found:
    """The same with files and folders whose names begin with `_`, which in source code hide nothing (`__init__.py`).

    Names that begin with `.`, links to folders and no files stay left out, below such folders too.
    """
    files, left_out = {info.path: info for info in found.files}, []
    pending = list(found.left_out)
    while pending:
        path = pending.pop()
        folder, name = posixpath.split(path)
        kinds = {entry.name: entry.kind for entry in storage.list_folder(folder)} if name.startswith("_") else {}
        if kinds.get(name) in ("file", "folder"):
            below = find_files(path)
            files |= {info.path: info for info in below.files}
            pending += below.left_out
        else:
            left_out.append(path)
    return found._replace(files=[files[path] for path in sorted(files)], left_out=sorted(left_out))


def _is_wild(part: str) -> bool:
    return any(sign in part for sign in WILDCARDS)


def _is_hidden(name: str, part: str = "*") -> bool:
    return name.startswith((".", "_")) and not part.startswith(name[0])


class _Search:
    """What one pattern has found so far."""

    def __init__(self, first_only: bool) -> None:
        self.first_only = first_only
        self.files: dict[str, FileInfo] = {}
        self.named: set[str] = set()
        self.folders: set[str] = set()
        self.left_out: set[str] = set()
        self.seen: set[tuple[str, int]] = set()  # (folder, parts left): `**` reaches a folder in more than one way

    def has_enough(self) -> bool:
        return self.first_only and bool(self.files)

    def match(self, folder: str, parts: tuple[str, ...]) -> None:
        """Everything below `folder` that the rest of a pattern names."""
        if self.has_enough() or (folder, len(parts)) in self.seen:
            return
        self.seen.add((folder, len(parts)))
        part, rest = parts[0], parts[1:]
        if part == "**":
            if not rest:
                self.folders.add(folder)
                self.take_folder(folder)
                return
            self.match(folder, rest)
        for path, entry in self._matches(folder, part, is_last=not rest):
            if self.has_enough():
                return
            if entry.kind == "file":
                self.files[path] = FileInfo(path, entry.num_bytes)
                self.named.add(path)
            elif part == "**":
                self.match(path, parts)
            elif rest:
                self.match(path, rest)
            else:
                self.folders.add(path)
                self.take_folder(path)

    def _matches(self, folder: str, part: str, *, is_last: bool) -> Iterator[tuple[str, Entry]]:
        """Entries that one part of a pattern names and that may be entered or read; files for the last part alone."""
        for entry in storage.list_folder(folder):
            path = storage.join_path(folder, entry.name)
            is_wanted = fnmatchcase(entry.name, part) if _is_wild(part) else entry.name == part
            if not is_wanted or (entry.kind in ("file", "other") and not is_last):
                continue
            if _is_wild(part) and (_is_hidden(entry.name, part) or entry.kind == "link") or entry.kind == "other":
                self.left_out.add(path)
            else:
                yield path, entry

    def take_folder(self, folder: str) -> None:
        """All files below a folder."""
        if storage.is_remote(folder):
            self._take_listing(folder)
            return
        for entry in storage.list_folder(folder):
            if self.has_enough():
                return
            path = storage.join_path(folder, entry.name)
            if _is_hidden(entry.name) or entry.kind in ("link", "other"):
                self.left_out.add(path)
            elif entry.kind == "folder":
                self.take_folder(path)
            else:
                self.files[path] = FileInfo(path, entry.num_bytes)

    def _take_listing(self, folder: str) -> None:
        """The same of an object store, which lists a whole prefix with few requests."""
        for info in storage.list_files(folder):
            if self.has_enough():
                return
            parts = info.path.removeprefix(folder + "/").split("/")
            hidden = next((index for index, name in enumerate(parts) if _is_hidden(name)), None)
            if hidden is None:
                self.files[info.path] = info
            else:
                self.left_out.add(storage.join_path(folder, *parts[: hidden + 1]))
