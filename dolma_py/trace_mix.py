"""What a mix under tokens/ says of its documents: the sidecar's row at a token, the lineage's rows of a document, the view it was drawn from.

Memory is a row group of the lineage, or the tokens of one document. A row group is read only when its statistics say that it may hold
the id: the lineage is sorted by id.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolma_py import manifest, parquet_files, storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.token_texts import TokenTexts
from dolma_py.views import View

FIM_NAMES = ("fim_mode", "fim_start", "fim_end")
COPY_NAMES = ["id", "copy", "part", "start", "end", "source", "shard", "row"]
REMAKE = "Tokenize the mix again."


class Mix(NamedTuple):
    """One folder under tokens/, complete."""

    name: str
    folder: str
    made: dict[str, Any]  # its manifest.json


class SidecarRow(NamedTuple):
    """One line of part-NNNNN.csv.gz."""

    start: int  # token offset in the part
    end: int  # exclusive
    id: str
    path: str  # file of origin
    line: int  # in it, from 1


class Copy(NamedTuple):
    """One row of lineage.parquet."""

    id: str  # of the copy
    copy: int  # 0, 1, ...
    part: int
    start: int
    end: int
    source: str
    shard: int
    row: int
    fim_mode: str | None = None  # psm or spm
    fim_start: int | None = None  # bytes of the edited text before the middle
    fim_end: int | None = None  # bytes of the edited text before the suffix

    @property
    def document(self) -> str:
        """The id of the document that this is a copy of."""
        return self.id if self.fim_mode is None else self.id.removesuffix(f"#fim-{self.copy}")


class Origin(NamedTuple):
    """What a mix was drawn from."""

    view: View
    sample: str | None  # attribute set with copies and is_heldout; None where no run of the corpus says


def find_mixes(corpus: Corpus, name: str | None) -> list[Mix]:
    """The complete mixes of a corpus in the order of their names, or the named one; ConfigError when it is not there."""
    found = []
    for entry in storage.list_folder(corpus.path("tokens")):
        folder = corpus.path("tokens", entry.name)
        made = manifest.read_manifest(folder) if entry.kind == "folder" and name in (None, entry.name) else None
        if made is not None:
            found.append(Mix(entry.name, folder, made))
    if name is not None and not found:
        known = sorted(entry.name for entry in storage.list_folder(corpus.path("tokens")))
        raise ConfigError("--mix", name, f"expected a complete mix under tokens/ of the corpus, one of {known}")
    return found


def find_origin(corpus: Corpus, mix: Mix, view: str | None) -> Origin:
    """The view and sample of the run that wrote the mix; `view` names another view.

    Raises
    ------
    ConfigError     no run of the corpus wrote this mix and no view is given, or its view was changed since
    """
    for found in manifest.iterate_manifests(corpus.path("runs"), skip_damaged=True):
        if found.get("kind") != "tokenize" or found["facts"].get("fingerprint") != mix.made["fingerprint"]:
            continue
        sample = found["config"].get("sample")
        if view is not None:
            return Origin(corpus.load_view(view), sample)
        loaded = corpus.load_view(found["view"])
        if loaded.fingerprint != found["view_fingerprint"]:
            raise ConfigError(
                "view", found["view"], f"expected the view that mix {mix.name} was drawn from, and it has changed since",
                "Name an unchanged copy with --view, or tokenize again.",
            )  # fmt: skip
        return Origin(loaded, sample)
    if view is None:
        rule = f"expected the view that mix {mix.name} was drawn from: no run of the corpus says which"
        raise ConfigError("--view", None, rule, "Name it.")
    return Origin(corpus.load_view(view), None)


def find_part(mix: Mix, name: str) -> tuple[int, dict[str, Any]]:
    """(number, manifest entry) of a part by its file's name; ConfigError when the mix has none of that name."""
    for number, entry in enumerate(mix.made["files"]):
        if entry["path"] == name:
            return number, entry
    last = mix.made["files"][-1]["path"] if mix.made["files"] else "none"
    raise ConfigError("SHARD", name, f"expected a part of mix {mix.name}, part-00000.npy to {last}")


def find_sidecar_row(mix: Mix, entry: dict[str, Any], offset: int) -> SidecarRow:
    """The document around a token of a part, read from the head of its sidecar on. DataError when the sidecar is torn."""
    path = storage.join_path(mix.folder, entry["sidecar"]["path"])
    try:
        with storage.open_read(path) as packed, gzip.open(packed) as stream:
            for start, end, name, origin, line in csv.reader(io.TextIOWrapper(stream, "utf-8", newline="")):
                if int(start) <= offset < int(end):
                    return SidecarRow(int(start), int(end), name, origin, int(line))
    except (EOFError, gzip.BadGzipFile, zlib.error, csv.Error, ValueError) as error:
        raise DataError(path, f"not a whole sidecar ({error})", hint=REMAKE) from error
    raise DataError(path, f"no document at token {offset}", hint=REMAKE)


def read_tokens(mix: Mix, entry: dict[str, Any], start: int, end: int) -> npt.NDArray[np.int64]:
    """Tokens start to end of a part, int64; nothing else of the file is read. DataError when it ends before."""
    kind = np.dtype(mix.made["dtype"]).newbyteorder("<")
    path = storage.join_path(mix.folder, entry["path"])
    with storage.open_read(path) as stream:
        stream.seek(start * kind.itemsize)
        content = stream.read((end - start) * kind.itemsize)
    if len(content) != (end - start) * kind.itemsize:
        raise DataError(path, f"ends before token {end}", hint=REMAKE)
    return np.frombuffer(content, kind).astype(np.int64)


def load_token_texts(mix: Mix) -> TokenTexts:
    """The mix's tokenizer.json."""
    path = storage.join_path(mix.folder, mix.made["tokenizer"]["path"])
    return TokenTexts(storage.read_bytes(path), path)


def find_copies(mix: Mix, document: str) -> list[Copy]:
    """All copies of a document in a mix, cut for fill-in-the-middle or not, in order of their numbers."""
    path = storage.join_path(mix.folder, mix.made["lineage"]["path"])
    with parquet_files.open_parquet(path) as file:
        plain = read_range(file, document, document)
        cut = read_range(file, f"{document}#fim-", f"{document}#fim-:")  # ':' is the sign after '9'
    own = [copy for copy in plain if copy.fim_mode is None]
    own += [copy for copy in cut if copy.fim_mode is not None and copy.document == document]
    return sorted(own, key=lambda copy: copy.copy)


def find_copy(mix: Mix, name: str) -> list[Copy]:
    """The rows of the lineage with this id of a copy."""
    with parquet_files.open_parquet(storage.join_path(mix.folder, mix.made["lineage"]["path"])) as file:
        return read_range(file, name, name)


def read_range(file: pq.ParquetFile, low: str, high: str) -> list[Copy]:
    """Rows of a lineage whose id is low to high, in the order of UTF-8 bytes, both included."""
    names = file.schema_arrow.names
    columns = COPY_NAMES + [name for name in FIM_NAMES if name in names]  # mixes of older versions have none
    found: list[Copy] = []
    for group in may_hold(file, low, high):
        table = file.read_row_group(group, columns=columns, use_threads=False)
        ids = table.column("id")
        rows = table.filter(pc.and_(pc.greater_equal(ids, pa.scalar(low)), pc.less_equal(ids, pa.scalar(high))))
        found += [Copy(**row) for row in rows.to_pylist()]
    return found


def may_hold(file: pq.ParquetFile, low: str, high: str) -> list[int]:
    """Row groups whose statistics of the column id allow an id from low to high; all where there are no statistics."""
    metadata = file.metadata
    place = next(place for place in range(metadata.num_columns) if metadata.schema.column(place).path == "id")
    chosen = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(place).statistics
        if statistics is None or not statistics.has_min_max or not (statistics.max < low or high < statistics.min):
            chosen.append(group)
    return chosen


def find_heldout(mix: Mix, source: str, document: str) -> tuple[str, int] | None:
    """(file, line from 1) of a held-out document that the mix wrote, None where it wrote others of the source."""
    entry = mix.made["heldout"].get(source)
    if entry is None:
        return None
    with storage.open_read(storage.join_path(mix.folder, entry["path"])) as packed, gzip.open(packed) as stream:
        for line, content in enumerate(stream, 1):
            if orjson.loads(content)["id"] == document:
                return str(entry["path"]), line
    return None
