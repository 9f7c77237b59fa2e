"""Files of pass 1 joined to fewer and larger ones, where a mix of many splits and parts would be read in too many small pieces.

Every task of pass 2 reads a range of every file: splits times parts reads. dolma3-mix-6t has 155,000 splits and 22,000 parts, some
one document of each part in each split; of files that FAN_IN splits share there are as many reads less, each of as many documents.
It costs the work files once more on disk, read and written, and changes no byte of the mix.
"""

from __future__ import annotations

from typing import Any

from dolma_py import storage
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from mixers import piece_files
from pipelines.steps import StepContext, Unit, file_lists

MAX_READS = 1 << 26  # by the tasks of pass 2 together
FAN_IN = 64


def merge_pieces(context: StepContext, paths: list[str], *, num_ranges: int, num_buckets: int) -> list[str]:
    """The files, relative to the corpus, that tasks of pass 2 read in place of `paths`: fewer where they would be read too often."""
    level = 0
    while len(paths) > 1 and len(paths) * num_buckets > MAX_READS:
        units = []
        for number, start in enumerate(range(0, len(paths), FAN_IN)):
            name = f"merged-{number:05d}"
            target = f"{context.work}/merged-{level}/{name}.pieces"
            params = {
                "root": context.corpus.root,
                "paths": paths[start : start + FAN_IN],
                "path": target,
                "num_ranges": num_ranges,
            }
            units.append(Unit(name, params, 0))
        done, _ = context.run_units(f"merged-{level}", units, merge_unit, layout=num_ranges)
        paths, level = [file["path"] for file in file_lists(done)], level + 1
    return paths


def merge_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: several files become one."""
    root = params["root"]

    def write(sink: HashingWriter) -> int:
        piece_files.merge_files([storage.join_path(root, path) for path in params["paths"]], params["num_ranges"], sink)
        return 0

    return [write_attempt(root, attempts, params["path"], write)], {}
