"""Token shards as instances of fixed length.

Each file is cut alone into pieces of T tokens, documents are split where a piece ends, and the rest of each file is dropped
and counted. Source: OLMo-core's fixed-length dataset.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dolma_py.config import fingerprint
from dolma_py.errors import DataError
from train_bridge.manifest import ShardManifest

NPY_MAGIC = b"\x93NUMPY"


def open_token_file(path: Path, *, dtype: np.dtype, num_tokens: int) -> NDArray[np.unsignedinteger]:
    """Memory map of a token file, (num_tokens,): headerless, or a true .npy which its first bytes tell.

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


class InstanceDataset:
    """`read(indices)` gives rows of T ids; index i counts through the files in the manifest's order."""

    def __init__(self, shards: str | Path, manifest: ShardManifest, *, sequence_tokens: int) -> None:
        self.manifest, self.sequence_tokens = manifest, sequence_tokens
        self.paths = [Path(shards) / entry.path for entry in manifest.files]
        self.files = [
            open_token_file(path, dtype=manifest.numpy_dtype, num_tokens=entry.tokens)
            for path, entry in zip(self.paths, manifest.files, strict=True)
        ]
        counts = [len(tokens) // sequence_tokens for tokens in self.files]
        # instance i lies in the file f with first_instance[f] <= i < first_instance[f + 1]
        self.first_instance = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        self.num_instances = int(self.first_instance[-1])
        self.num_dropped_tokens = manifest.tokens - self.num_instances * sequence_tokens
        if self.num_instances == 0:
            raise DataError(str(shards), f"no file holds one instance of {sequence_tokens} tokens")
        files = [[entry.path, entry.tokens, entry.checksum] for entry in manifest.files]
        self.fingerprint = fingerprint(
            "fixed-length", files, manifest.dtype, manifest.vocab_size, manifest.eos_token_id, sequence_tokens
        )

    def read(self, indices: NDArray[np.integer]) -> NDArray[np.int64]:
        """Ids of instances, int64 (len(indices), T). DataError names file and position of an id outside the vocabulary."""
        rows = np.empty((len(indices), self.sequence_tokens), dtype=np.int64)
        places = np.searchsorted(self.first_instance, indices, side="right") - 1
        for row, (index, place) in enumerate(zip(np.asarray(indices).tolist(), places.tolist(), strict=True)):
            start = (index - int(self.first_instance[place])) * self.sequence_tokens
            rows[row] = self.files[place][start : start + self.sequence_tokens]
            # uint64 ids above 2^63 come out negative
            if rows[row].max() >= self.manifest.vocab_size or rows[row].min() < 0:
                self._refuse_id(place, start)
        return rows

    def _refuse_id(self, place: int, start: int) -> None:
        ids = self.files[place][start : start + self.sequence_tokens]
        at = start + int(np.flatnonzero(ids >= self.manifest.vocab_size)[0])
        problem = f"id {int(self.files[place][at])} at token {at} is not below vocab_size {self.manifest.vocab_size}"
        raise DataError(
            str(self.paths[place]), problem, hint="The file is damaged or of another type than the manifest says."
        )
