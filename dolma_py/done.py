"""`_done.jsonl`: which units of a step are complete. Readers believe this file and nothing else.

A task writes attempt files and returns their checksums; only the driver publishes them under their names and then adds
the unit's line here. Killed between the two, the unit is done again and gives the same bytes. When a step is complete the
file is rewritten in the order of unit names, so that it does not tell who finished first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from dolma_py import storage
from dolma_py.errors import DataError
from dolma_py.storage import WrittenFile

# An object store's file is written whole each time, so not for every unit: a kill costs a sixteenth of the units at most, and
# the bytes written stay in proportion to the file's.
REWRITE_SHARE = 16


class DoneFile:
    """The complete units of one step with one fingerprint. Lines of another fingerprint are void."""

    def __init__(self, root: str, folder: str, fingerprint: str) -> None:
        self.root, self.folder, self.fingerprint = root, folder, fingerprint
        self.path = storage.join_path(root, folder, "_done.jsonl")
        self.units: dict[str, dict[str, Any]] = {}
        lines, is_torn = _read_lines(self.path)
        ours = [line for line in lines if line["fingerprint"] == fingerprint]
        for line, stands in zip(ours, stand_files(root, [line["files"] for line in ours]), strict=True):
            if stands:
                self.units[line["unit"]] = line
        self.num_unsaved = 0
        self.has_void_lines = is_torn or len(lines) > len(self.units)

    def publish(self, unit: str, files: list[WrittenFile], facts: dict[str, Any]) -> None:
        """Rename the unit's attempt files into place, then add its line. `facts` are JSON values without clocks."""
        if self.has_void_lines:
            # they would vouch for files that are now replaced, and a torn one would swallow the next
            self._rewrite()
        for file in files:
            storage.publish_file(file.attempt, storage.join_path(self.root, file.path))
        line = {
            "unit": unit,
            "fingerprint": self.fingerprint,
            "files": [
                {"path": file.path, "bytes": file.num_bytes, "rows": file.rows, "checksum": file.checksum}
                for file in files
            ],
            "facts": facts,
        }
        self.units[unit] = line
        self._append(line)

    def _append(self, line: dict[str, Any]) -> None:
        if storage.is_remote(self.path):  # object stores cannot append
            self.num_unsaved += 1
            if self.num_unsaved * REWRITE_SHARE >= len(self.units):
                self._rewrite()
            return
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "ab") as stream:
            stream.write(render_line(line))
            stream.flush()
            os.fsync(stream.fileno())

    def _rewrite(self) -> None:
        ordered = [self.units[name] for name in sorted(self.units)]
        storage.write_bytes(self.path, b"".join(map(render_line, ordered)))
        self.has_void_lines, self.num_unsaved = False, 0

    def save(self) -> None:
        """Write the lines that an object store does not have yet; for the end of a phase, a failed one too."""
        if self.num_unsaved:
            self._rewrite()

    def finish(self) -> None:
        """All units are there: put the lines in order and drop those of other fingerprints."""
        self._rewrite()


def stand_files(root: str, lists: list[list[dict[str, Any]]]) -> list[bool]:
    """Whether all files of each list ({"path": relative to root, "bytes": ...}) are there with their sizes."""
    found = iter(storage.find_sizes([storage.join_path(root, file["path"]) for files in lists for file in files]))
    return [sum(next(found) == file["bytes"] for file in files) == len(files) for files in lists]


def render_line(line: dict[str, Any]) -> bytes:
    """One JSON line with sorted keys, ended by a newline."""
    return json.dumps(line, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_done_lines(path: str) -> list[dict[str, Any]]:
    """All whole lines of a `_done.jsonl`; a torn last line (the driver died while writing it) is ignored, a torn line elsewhere refused."""
    return _read_lines(path)[0]


def _read_lines(path: str) -> tuple[list[dict[str, Any]], bool]:
    """(whole lines, whether a torn one follows them). Never writes: a reader must not race with the driver."""
    if storage.file_bytes(path) is None:
        return [], False
    *whole, torn = storage.read_bytes(path).split(b"\n")
    found = []
    for number, text in enumerate(whole, 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise DataError(path, "not a line of JSON", number, "Remove the file to do this step again.") from error
        if not _has_shape(line, _LINE) or not all(_has_shape(file, _FILE) for file in line["files"]):
            raise DataError(
                path, f"not a line about a unit: {line!r:.100}", number, "Remove the file to do this step again."
            )
        found.append(line)
    return found, torn != b""


_LINE = {"unit": str, "fingerprint": str, "files": list, "facts": dict}
_FILE = {"path": str, "bytes": int, "rows": int, "checksum": str}


def _has_shape(value: Any, shape: Mapping[str, type]) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in shape.items())
