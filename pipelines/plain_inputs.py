"""Which plain files a command reads: Parquet, JSON Lines and Arrow files of patterns and folders, by names that the output keeps.

A folder that `datasets` saved (`save_to_disk`) is Arrow IPC streams with `state.json` beside them, which names the files
that count; a folder as on the Hugging Face hub is Parquet or JSON Lines in folders.
"""

from __future__ import annotations

import json
import posixpath
from typing import Any, NamedTuple

from dolma_py import storage
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats import json_documents
from dolma_py.formats.decompress import strip_codec
from dolma_py.input_files import find_files, find_root
from dolma_py.storage import FileInfo
from pipelines.steps import check_found

SAVED_STATE = "state.json"  # of one saved data set: its files, fingerprint and split
# what `datasets` writes beside the data; copied, so that the output can be loaded again
SIDE_NAMES = (SAVED_STATE, "dataset_info.json")
NOT_DATA = (*SIDE_NAMES, "dataset_dict.json", "dataset_infos.json")
FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}


class PlainFile(NamedTuple):
    """One file of the user's."""

    name: str  # below the folder that all inputs have in common, with forward slashes
    path: str
    num_bytes: int
    format: str  # parquet, arrow, jsonl; "" for what `datasets` writes beside them
    mark: str  # fingerprint


class PlainInputs(NamedTuple):
    files: tuple[PlainFile, ...]  # sorted by name
    side_files: tuple[PlainFile, ...]  # of saved data sets
    left_out: tuple[str, ...]  # names of what input folders hold beside: files without records we read, hidden ones
    hidden: tuple[str, ...] = ()  # those of left_out that dolma_py.input_files leaves out
    documents: tuple[str, ...] = ()  # those of left_out that are .json files without a record a line


def list_plain_inputs(patterns: list[str], output: str) -> PlainInputs:
    """Every file of the patterns, once.

    Raises ConfigError for a pattern without files, or of JSON documents alone, a file of another format that was named itself, one
    below `output`, and for patterns of more than one place: names are relative to a folder that all have in common.
    """
    found: dict[str, FileInfo] = {}
    others: dict[str, FileInfo] = {}
    bases, hidden, documents = [], [], []
    _check_one_place(patterns)
    for pattern in patterns:
        path = storage.resolve_path(pattern)
        matches = find_files(path)
        check_found(matches, "--input", pattern)
        bases.append(find_root(path))
        hidden.extend(matches.left_out)
        data = [info.path for info in matches.files if _is_data(info.path)]
        own_documents = json_documents.find_json_documents(data)
        json_documents.check_left(set(data), own_documents, key="--input", pattern=pattern)
        for info in matches.files:
            if info.path.startswith(output + "/"):
                raise ConfigError(
                    "--output", output, f"expected a folder outside of the inputs, {info.path} is one of them"
                )
            if info.path in own_documents:
                documents.append(info.path)
            elif _is_data(info.path):
                found[info.path] = info
            elif info.path not in matches.named or posixpath.basename(info.path) in NOT_DATA:
                others[info.path] = info
            else:
                raise ConfigError(
                    "--input",
                    info.path,
                    f"expected a file ending in one of {', '.join(FORMATS)}, perhaps with .gz, .zst or .bz2",
                )
    base = _common_folder(bases)
    found, unused = _drop_unlisted(found)
    if not found:
        raise ConfigError("--input", patterns, f"expected at least one file ending in one of {', '.join(FORMATS)}")
    files = tuple(_describe(info, base) for info in found.values())
    side_files = _side_files({posixpath.dirname(file.path) for file in files if file.format == "arrow"}, base)
    left_out = {path.removeprefix(base + "/") for path in (*others, *unused, *hidden, *documents)} - {
        file.name for file in side_files
    }
    hidden_names, document_names = (
        tuple(sorted({path.removeprefix(base + "/") for path in paths})) for paths in (hidden, documents)
    )
    return PlainInputs(tuple(sorted(files)), side_files, tuple(sorted(left_out)), hidden_names, document_names)


def _check_one_place(patterns: list[str]) -> None:
    places = sorted({_find_place(storage.resolve_path(pattern)) for pattern in patterns})
    if len(places) > 1:
        raise ConfigError(
            "--input", patterns, f"expected files of one place, these are of {' and '.join(places)}",
            "Run the command once for each, or copy the files together.",
        )  # fmt: skip


def _find_place(path: str) -> str:
    """`this machine`, or scheme and host."""
    return "/".join(path.split("/")[:3]) if storage.is_remote(path) else "this machine"


def _is_data(path: str) -> bool:
    return bool(_find_format(path)) and posixpath.basename(path) not in NOT_DATA


def _find_format(path: str) -> str:
    name = strip_codec(path)
    kind = next((kind for suffix, kind in FORMATS.items() if name.endswith(suffix)), "")
    is_compressed = name != path.lower()
    return "" if is_compressed and kind != "jsonl" else kind


def _common_folder(bases: list[str]) -> str:
    split = [base.split("/") for base in bases]
    shared = [parts[0] for parts in zip(*split, strict=False) if len(set(parts)) == 1]
    depth = next((i for i, parts in enumerate(zip(*split, strict=False)) if len(set(parts)) > 1), len(shared))
    return "/".join(split[0][:depth])


def _describe(info: FileInfo, base: str) -> PlainFile:
    mark = storage.fingerprint_input(info.path, info.num_bytes)
    return PlainFile(info.path.removeprefix(base + "/"), info.path, info.num_bytes, _find_format(info.path), mark)


def read_state(folder: str) -> dict[str, Any] | None:
    """What `datasets` wrote about the files of a folder; None where it saved nothing. DataError when it is not JSON."""
    path = storage.join_path(folder, SAVED_STATE)
    if storage.file_bytes(path) is None:
        return None
    try:
        state: dict[str, Any] = json.loads(storage.read_bytes(path))
        names = [file["filename"] for file in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            path, f"not the state of a saved data set ({error!r})", hint="Save the data set again."
        ) from error
    if state.get("_indices_data_files"):
        raise DataError(
            path, "rows are chosen by an index beside the data", hint="Call flatten_indices() and save again."
        )
    return state | {"names": names}


def _drop_unlisted(found: dict[str, FileInfo]) -> tuple[dict[str, FileInfo], list[str]]:
    """Arrow files that the state of their folder does not name are caches, not data."""
    states: dict[str, dict[str, Any] | None] = {}
    kept, unused = {}, []
    for path, info in found.items():
        folder, name = posixpath.split(path)
        if path.lower().endswith(".arrow"):
            if folder not in states:
                states[folder] = read_state(folder)
            state = states[folder]
            if state is not None and name not in state["names"]:
                unused.append(path)
                continue
        kept[path] = info
    return kept, unused


def _side_files(folders: set[str], base: str) -> tuple[PlainFile, ...]:
    paths = set()
    for folder in folders:
        if storage.file_bytes(storage.join_path(folder, SAVED_STATE)) is not None:
            paths |= {storage.join_path(folder, name) for name in SIDE_NAMES}
            parent = posixpath.dirname(folder)
            if parent == base or parent.startswith(base + "/"):
                paths.add(storage.join_path(parent, "dataset_dict.json"))
    sizes = {path: storage.file_bytes(path) for path in sorted(paths)}
    return tuple(_describe(FileInfo(path, size), base) for path, size in sizes.items() if size is not None)
