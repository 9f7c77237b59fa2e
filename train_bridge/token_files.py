"""Token files, and what stands beside them: where documents lie, and which tokens are trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from dolma_py.errors import DataError
from train_bridge.manifest import ShardManifest, TokenFileEntry
from train_bridge.shard_cache import ShardCache, join_shards

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
    """All token files of a manifest with their label masks and document spans.

    Local files are memory mapped once. Remote ones are copied to this machine when they are first read (train_bridge.shard_cache) and
    mapped for each read alone, so that a copy which is thrown out gives its space back.
    """

    def __init__(self, shards: str | Path, manifest: ShardManifest, *, cache: ShardCache | None = None) -> None:
        """cache: None for local shards only."""
        self.shards, self.manifest, self.cache = str(shards), manifest, cache
        self.paths = [join_shards(self.shards, entry.path) for entry in manifest.files]
        masks = [entry.labels_mask for entry in manifest.files]
        self.has_labels_mask = masks[0] is not None
        if any((mask is not None) != self.has_labels_mask for mask in masks):
            raise DataError(str(shards), "labels_mask: expected one for every file of the manifest or for none")
        self._tokens: list[NDArray[np.generic]] = []
        self._is_trained: list[NDArray[np.generic]] = []
        if self.cache is not None:
            self._find_remote_files()
            return
        for place in range(len(self.paths)):
            # a local file that does not fit is told before the first step
            with self._open_tokens(place) as tokens:
                self._tokens.append(tokens)
            if self.has_labels_mask:
                with self._open_mask(place) as mask:
                    self._is_trained.append(mask)

    def _find_remote_files(self) -> None:
        """DataError, before the first step, when a token file is missing or too short."""
        from dolma_py import storage

        for path, entry, size in zip(self.paths, self.manifest.files, storage.find_sizes(self.paths), strict=True):
            expected = entry.tokens * self.manifest.numpy_dtype.itemsize
            if size is None or size < expected:  # a true .npy has a header too
                found = "is missing" if size is None else f"expected {expected} bytes or more, got {size}"
                raise DataError(path, found, hint="The upload is incomplete or the manifest is of another folder.")

    @contextlib.contextmanager
    def _hold(self, path: str, checksum: str) -> Iterator[Path]:
        """A local file for as long as the block."""
        whole = join_shards(self.shards, path)
        if self.cache is None:
            yield Path(whole)
        else:
            with self.cache.hold(whole, checksum=checksum) as copy:
                yield copy

    @contextlib.contextmanager
    def _open_tokens(self, place: int) -> Iterator[NDArray[np.generic]]:
        entry = self.manifest.files[place]
        if place < len(self._tokens):
            yield self._tokens[place]
            return
        with self._hold(entry.path, entry.checksum) as path:
            yield open_token_file(path, dtype=self.manifest.numpy_dtype, num_tokens=entry.tokens)

    @contextlib.contextmanager
    def _open_mask(self, place: int) -> Iterator[NDArray[np.generic]]:
        entry = self.manifest.files[place]
        if place < len(self._is_trained):
            yield self._is_trained[place]
            return
        assert entry.labels_mask is not None, "asked for a mask that no file has"
        with self._hold(entry.labels_mask.path, entry.labels_mask.checksum) as path:
            yield open_token_file(path, dtype=np.dtype(np.bool_), num_tokens=entry.tokens)

    def read_ids(self, place: int, start: int, end: int) -> NDArray[np.int64]:
        """Ids of one stretch, int64. DataError names file and position of an id outside the vocabulary."""
        with self._open_tokens(place) as tokens:
            ids = tokens[start:end]
            # compared before the cast: uint64 ids above 2^63 would come out negative
            if len(ids) and ids.max() >= self.manifest.vocab_size:
                at = start + int(np.flatnonzero(ids >= self.manifest.vocab_size)[0])
                problem = f"id {int(tokens[at])} at token {at} is not below vocab_size {self.manifest.vocab_size}"
                hint = "The file is damaged or of another type than the manifest says."
                raise DataError(self.paths[place], problem, hint=hint)
            return ids.astype(np.int64)

    def read_trained(self, place: int, start: int, end: int) -> NDArray[np.bool_]:
        """The label mask of one stretch, bool: True where a token is trained on."""
        with self._open_mask(place) as mask:
            # compared as bytes: a file of ids of one byte has the mask's size
            values = np.array(mask[start:end]).view(np.uint8)
            if len(values) and values.max() > 1:
                at = start + int(np.flatnonzero(values > 1)[0])
                path = self.manifest.files[place].labels_mask.path
                hint = "The file is of another kind than the manifest says."
                raise DataError(
                    join_shards(self.shards, path), f"{values[at - start]} at token {at} is no truth value", hint=hint
                )
            return values.astype(np.bool_)

    def document_spans(self, place: int) -> NDArray[np.int64]:
        """Start and end (exclusive) of every document of a file, int64 (documents, 2), from its sidecar.

        Without a sidecar a document ends with each end-of-text id, and the last one where the file ends.
        """
        entry = self.manifest.files[place]
        if entry.sidecar is None:
            with self._open_tokens(place) as tokens:
                ends = np.flatnonzero(tokens == self.manifest.eos_token_id) + 1
            if entry.tokens and (not len(ends) or ends[-1] != entry.tokens):
                ends = np.append(ends, entry.tokens)
            return np.stack((np.concatenate(([0], ends[:-1]))[: len(ends)], ends), axis=1).astype(np.int64)
        with self._hold(entry.sidecar.path, entry.sidecar.checksum) as path:
            return read_sidecar(path, num_tokens=entry.tokens)

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
