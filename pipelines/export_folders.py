"""Write a view as a Dolma tree whose folders are the values of an attribute, such as health/vigintile_0020, in files of a bounded size.

Two phases. A task of the first reads one split and writes its lines into one piece, folder after folder: for each folder a zstd frame of the
documents and one of each attribute set. A task of the second reads the frames of one folder in corpus order, from as many pieces as make
a file, and compresses their lines. So the number of files follows the sizes of the folders, and no document is shuffled.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import zstandard

from dolma_py import storage
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.done import DoneFile
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Split
from dolma_py.storage import WrittenFile
from dolma_py.views import View
from pipelines.dolma_lines import Sets, check_free, dump_batch, name_folders, open_codec
from pipelines.mix_table import read_column
from pipelines.steps import StepContext, Unit, split_name, split_params
from pipelines.units import UnitTimes

_FOLDER = re.compile(r"[\w&-][\w.&-]*(/[\w&-][\w.&-]*)*")


def write_folders(
    context: StepContext, own: StepContext, sets: Sets, *, folders: str, codec: str, file_bytes: int
) -> tuple[DoneFile, list[dict[str, Any]], UnitTimes]:
    """(files of the tree, facts of each split, times).

    Parameters
    ----------
    context         of the step, with the view's corpus
    own             of the tree, in whose work folder the pieces lie
    folders         SET.COLUMN whose value is a document's folder
    file_bytes      JSON lines of documents, before compression, after which a file ends

    Raises
    ------
    ConfigError     no such column, one that is no text, or a value that is no name of folders
    DataError       a document without a value
    """
    params = {"tree": own.corpus.root, "work": own.work, "sets": sets, "folders": folders}
    splits = context.plan_splits()
    pieces = [Unit(split_name(split), split_params(context, split) | params, split.text_bytes) for split in splits]
    done, first = own.run_units("pieces", pieces, write_piece)
    facts = [done.units[unit.name]["facts"] for unit in pieces]
    files = [done.units[unit.name]["files"][0]["path"] for unit in pieces]
    units = _plan_parts(own, sets, list(zip(files, facts, strict=True)), codec, file_bytes)
    check_free(own.corpus, [unit.params["part"] for unit in units], sets)
    done, second = own.run_units("parts", units, write_part)
    return (
        done,
        facts,
        UnitTimes(first.task_sec + second.task_sec, max(first.peak_worker_bytes, second.peak_worker_bytes)),
    )


def _plan_parts(
    own: StepContext, sets: Sets, pieces: list[tuple[str, dict[str, Any]]], codec: str, file_bytes: int
) -> list[Unit]:
    """One unit for each file of documents and those of the sets beside it."""
    by_folder: dict[str, list[tuple[str, int, int, list[int]]]] = {}
    for path, facts in pieces:
        for name, (documents, num_bytes, places) in facts["folders"].items():
            by_folder.setdefault(name, []).append((path, documents, num_bytes, places))
    units = []
    for name, found in sorted(by_folder.items()):
        number = start = size = 0
        for end, (_, _, num_bytes, _) in enumerate(found, 1):
            size += num_bytes
            if size < file_bytes and end < len(found):
                continue
            part = f"{name}/part-{number:05d}.jsonl.{codec}"
            params = {
                "tree": own.corpus.root, "part": part, "sets": sets, "documents": sum(piece[1] for piece in found[start:end]),
                "frames": [[path, places] for path, _, _, places in found[start:end]],
            }  # fmt: skip
            units.append(Unit(part, params, size))
            number, start, size = number + 1, end, 0
    return units


def write_piece(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the lines of one split in frames by folder; holds them all.

    The receipt's `folders`: name -> [documents, bytes of their lines, [place and length of the frame of the documents, of each set]].
    """
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    facts: dict[str, Any] = {"documents": 0, "text_bytes": 0, "left_out": [], "folders": {}}
    lines: dict[str, list[list[bytes]]] = {}
    for batch in read_view(corpus, view, split):
        found = dump_batch(corpus, params["sets"], batch)
        rows = [blob.splitlines(keepends=True) for blob in found.blobs]
        names = read_folders(corpus, params["folders"], batch)
        for name, *own in zip(names, *rows, strict=True):
            for kind, line in zip(lines.setdefault(name, [[] for _ in rows]), own, strict=True):
                kind.append(line)
        facts["left_out"] += found.left_out
        facts["documents"] += found.documents
        facts["text_bytes"] += found.text_bytes
    compressor = zstandard.ZstdCompressor(level=1)
    path = f"{params['work']}/pieces/{split_name(split)}.frames"
    with storage.open_attempt(params["tree"], attempts, path) as file:
        for name, kinds in sorted(lines.items()):
            places: list[int] = []
            for kind in kinds:
                frame = compressor.compress(b"".join(kind))
                places += [file.sink.num_bytes, len(frame)]
                file.sink.write(frame)
            facts["folders"][name] = [len(kinds[0]), sum(map(len, kinds[0])), places]
    facts["left_out"] = sorted(set(facts["left_out"]))
    return [file.written(facts["documents"])], facts


def read_folders(corpus: Corpus, name: str, batch: ViewBatch) -> list[str]:
    """The folder of each document of a batch; see write_folders."""
    found = read_column(corpus, "folders", name, batch.shard, batch.group, batch.rows)
    if not pa.types.is_string(found.type) and not pa.types.is_large_string(found.type):
        raise ConfigError("folders", name, f"expected a column of text, it is {found.type}")
    if found.null_count:
        problem = f"{found.null_count} documents of the view have no value of {name}"
        raise DataError(batch.shard.path, problem, hint="Make the attribute over this view, or drop them by a rule.")
    names: list[str] = found.to_pylist()
    for wrong in sorted(set(names)):
        if not _FOLDER.fullmatch(wrong) or len(wrong) > 200:
            rule = "expected values of letters, digits, dots, hyphens and &, with / between folders"
            raise ConfigError("folders", wrong, rule, f"It is a value of {name}.")
    return names


def write_part(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: a file of documents and one of each set from frames of pieces; every document is counted again."""
    tree = Corpus(params["tree"])
    files = []
    for number, folder in enumerate(name_folders(params["sets"])):
        path, documents = f"{folder}/{params['part']}", 0
        with storage.open_attempt(tree.root, attempts, path) as file:
            stream = open_codec(file.sink, path)
            for piece, places in params["frames"]:
                with storage.open_read(tree.path(piece)) as source:
                    source.seek(places[2 * number])
                    lines = zstandard.ZstdDecompressor().decompress(source.read(places[2 * number + 1]))
                documents += lines.count(b"\n")
                stream.write(lines)
            stream.close()
        if documents != params["documents"]:
            raise DataError(path, f"expected {params['documents']} documents, got {documents}")
        files.append(file.written(documents))
    return files, {}
