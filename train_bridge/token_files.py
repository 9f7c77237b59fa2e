"""Token files, and what stands beside them: where documents lie, and which tokens are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from dolma_py.errors import DataError
from train_bridge.manifest import ShardManifest, TokenFileEntry

NPY_MAGIC = b"\x93NUMPY"


def open_token_file(path: Path, *, dtype: np.dtype, num_tokens: int) -> NDArray[np.generic]:
    """Memory map of a token or label-mask file, (num_tokens,): headerless, or a true .npy which its first bytes tell.

    Raises  DataError when the type or the number of ids is not what the manifest says.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(NPY_MAGIC))
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.strerror})") from error
    if magic == NPY_MAGIC:
        try:
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise DataError(str(path), f"broken .npy header ({error})") from error
        if tokens.dtype != dtype or tokens.ndim != 1:
            got = f"{tokens.dtype} with {tokens.ndim} dimensions"
            raise DataError(str(path), f"expected one dimension of {dtype} as the manifest says, got {got}")
    else:
        size = path.stat().st_size
        if size != num_tokens * dtype.itemsize:
            problem = f"expected {num_tokens * dtype.itemsize} bytes ({num_tokens} ids of {dtype}), got {size}"
            raise DataError(str(path), problem, hint="The copy is incomplete or the manifest is of another folder.")
        # an empty file cannot be mapped
        tokens = np.memmap(path, dtype=dtype, mode="r") if size else np.empty(0, dtype)
    if len(tokens) != num_tokens:
        raise DataError(str(path), f"expected {num_tokens} ids as the manifest says, got {len(tokens)}")
    return tokens


class TokenFiles:
    """All token files of a manifest, memory mapped, with their label masks and document spans."""

    def __init__(self, shards: str | Path, manifest: ShardManifest) -> None:
        self.folder, self.manifest = Path(shards), manifest
        self.paths = [self.folder / entry.path for entry in manifest.files]
        self.tokens = [
            open_token_file(path, dtype=manifest.numpy_dtype, num_tokens=entry.tokens)
            for path, entry in zip(self.paths, manifest.files, strict=True)
        ]
        masks = [entry.labels_mask for entry in manifest.files]
        self.has_labels_mask = masks[0] is not None
        if any((mask is not None) != self.has_labels_mask for mask in masks):
            raise DataError(str(shards), "labels_mask: expected one for every file of the manifest or for none")
        self.is_trained = [
            open_token_file(self.folder / mask.path, dtype=np.dtype(np.bool_), num_tokens=entry.tokens)
            for mask, entry in zip(masks, manifest.files, strict=True)
            if mask is not None
        ]

    def read_ids(self, place: int, start: int, end: int) -> NDArray[np.int64]:
        """Ids of one stretch, int64. DataError names file and position of an id outside the vocabulary."""
        ids = self.tokens[place][start:end]
        # compared before the cast: uint64 ids above 2^63 would come out negative
        if len(ids) and ids.max() >= self.manifest.vocab_size:
            at = start + int(np.flatnonzero(ids >= self.manifest.vocab_size)[0])
            id_at = int(self.tokens[place][at])
            problem = f"id {id_at} at token {at} is not below vocab_size {self.manifest.vocab_size}"
            hint = "The file is damaged or of another type than the manifest says."
            raise DataError(str(self.paths[place]), problem, hint=hint)
        return ids.astype(np.int64)

    def document_spans(self, place: int) -> NDArray[np.int64]:
        """Start and end (exclusive) of every document of a file, int64 (documents, 2), from its sidecar.

        Without a sidecar a document ends with each end-of-text id, and the last one where the file ends.
        """
        entry = self.manifest.files[place]
        if entry.sidecar is None:
            ends = np.flatnonzero(self.tokens[place] == self.manifest.eos_token_id) + 1
            if entry.tokens and (not len(ends) or ends[-1] != entry.tokens):
                ends = np.append(ends, entry.tokens)
            return np.stack((np.concatenate(([0], ends[:-1]))[: len(ends)], ends), axis=1).astype(np.int64)
        return read_sidecar(self.folder / entry.sidecar.path, num_tokens=entry.tokens)

    def describe(self) -> dict[str, object]:
        """What the content depends on, by name, for fingerprints and for naming what differs on resume."""
        return {
            "dtype": self.manifest.dtype,
            "vocab_size": self.manifest.vocab_size,
            "eos_token_id": self.manifest.eos_token_id,
            "files": {entry.path: _describe_file(entry) for entry in self.manifest.files},
            "file_order": [entry.path for entry in self.manifest.files],
        }


def _describe_file(entry: TokenFileEntry) -> dict[str, object]:
    beside = {
        "sidecar": entry.sidecar and entry.sidecar.checksum,
        "labels_mask": entry.labels_mask and entry.labels_mask.checksum,
    }
    return {"tokens": entry.tokens, "checksum": entry.checksum, **beside}


def read_sidecar(path: Path, *, num_tokens: int) -> NDArray[np.int64]:
    """Columns start and end of a sidecar, int64 (documents, 2); DataError names the row that is not in order."""
    names = csv.ReadOptions(autogenerate_column_names=True)
    columns = csv.ConvertOptions(include_columns=["f0", "f1"], column_types={"f0": pa.int64(), "f1": pa.int64()})
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            table = csv.read_csv(stream, names, csv.ParseOptions(newlines_in_values=True), columns)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        if "Empty CSV" in str(error):
            return np.empty((0, 2), dtype=np.int64)
        raise DataError(str(path), f"is no sidecar: {' '.join(str(error).split())[:200]}") from error
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error})") from error
    if any(column.null_count for column in table.columns):
        raise DataError(str(path), "is no sidecar: a start or an end is empty")
    spans = np.stack([column.to_numpy() for column in table.columns], axis=1)
    borders = np.concatenate(([0], spans.ravel(), [num_tokens]))
    wrong = np.flatnonzero(np.diff(borders) < 0)
    if len(wrong):
        row = min(int(wrong[0]) // 2, len(spans) - 1)
        problem = f"document {spans[row].tolist()} is out of order or outside the file's {num_tokens} tokens"
        raise DataError(str(path), problem, row=row + 1)
    return spans
