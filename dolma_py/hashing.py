"""Hashes of texts and ids, the same on every machine: xxh64 of byte ranges, seeds by name, sampling by hash.

Legend: N rows, B bytes of all rows together. The kernels that hash inside other kernels are in hashing_kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import SchemaError
from dolma_py.hashing_kernels import hash_ranges_kernel, mix_keys_kernel

UInt64s = npt.NDArray[np.uint64]
MAX_UINT64 = (1 << 64) - 1


def check_ranges(num_bytes: int, start_byte: npt.NDArray[np.int64], end_byte: npt.NDArray[np.int64]) -> None:
    """Raise SchemaError unless 0 <= start <= end <= num_bytes for every range (a kernel would read foreign memory)."""
    if len(start_byte) != len(end_byte):
        raise SchemaError("end_byte", f"{len(start_byte)} values, one per start_byte", len(end_byte))
    if len(start_byte) == 0:
        return
    bad = np.flatnonzero((start_byte < 0) | (end_byte < start_byte) | (end_byte > num_bytes))
    if len(bad):
        i = int(bad[0])
        raise SchemaError("ranges", f"0 <= start <= end <= {num_bytes}", f"({start_byte[i]}, {end_byte[i]}) at {i}")


def check_offsets(num_items: int, offsets: npt.NDArray[np.int64], name: str = "offsets") -> None:
    """Raise SchemaError unless offsets has at least one value, does not decrease and stays within 0..num_items."""
    if len(offsets) == 0:
        raise SchemaError(name, "at least one value", "none")
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if len(falls):
        raise SchemaError(name, "values that do not decrease", f"a fall after index {int(falls[0])}")
    if int(offsets[0]) < 0 or int(offsets[-1]) > num_items:
        raise SchemaError(name, f"values within 0..{num_items}", f"{int(offsets[0])}..{int(offsets[-1])}")


def hash_ranges(
    data: npt.NDArray[np.uint8], *, start_byte: npt.NDArray[np.int64], end_byte: npt.NDArray[np.int64], seed: int = 0
) -> UInt64s:
    """xxh64 of N byte ranges.

    Parameters
    ----------
    data : uint8 (B,)                       any bytes
    start_byte, end_byte : int64 (N,)       range i is data[start_byte[i]:end_byte[i]]; ranges may overlap
    seed : int                              in [0, 2^64)

    Returns
    -------
    hashes : uint64 (N,)                    equal to xxhash.xxh64_intdigest(range, seed)

    Raises
    ------
    SchemaError                             a range outside the data (names the first), or a seed outside [0, 2^64)

    Guarantees                              same values for any batch split and machine
    Cost                                    O(bytes hashed + N) time, 8 N bytes
    Source                                  xxHash specification 0.1.1; deviation: none
    """
    check_seed(seed)
    start_byte = np.ascontiguousarray(start_byte, np.int64)
    end_byte = np.ascontiguousarray(end_byte, np.int64)
    check_ranges(len(data), start_byte, end_byte)
    hashes = np.empty(len(start_byte), np.uint64)
    hash_ranges_kernel(np.ascontiguousarray(data, np.uint8), start_byte, end_byte, np.uint64(seed), hashes)
    return hashes


def hash_texts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, seed: int = 0) -> UInt64s:
    """xxh64 of the N texts data[offsets[i]:offsets[i + 1]], uint64 (N,); raises as hash_ranges."""
    check_offsets(len(data), offsets)
    return hash_ranges(data, start_byte=offsets[:-1], end_byte=offsets[1:], seed=seed)


def check_seed(seed: int) -> None:
    """Raise SchemaError unless 0 <= seed < 2^64."""
    if not 0 <= seed <= MAX_UINT64:
        raise SchemaError("seed", "an integer in [0, 2^64)", seed)


def derive_seed(seed: int, *names: str | int) -> int:
    """A 64-bit seed for one purpose: xxh64 of the names under `seed`; nobody adds integers to seeds.

    Each name enters with its length before it, so ("a", "bc") and ("ab", "c") differ, and so do 1 and "1".
    """
    check_seed(seed)
    digest = xxhash.xxh64(seed=seed)
    for name in names:
        tagged = (b"s" + name.encode()) if isinstance(name, str) else (b"i" + str(name).encode())
        digest.update(len(tagged).to_bytes(8, "little") + tagged)
    return int(digest.intdigest())


def hash_ids(ids: pa.Array | Sequence[str], *, seed: int, name: str) -> UInt64s:
    """One uint64 key per document id, a function of (seed, name, id) alone: sampling by it does not depend on partitions.

    Parameters
    ----------
    ids : string or large_string Array (N,)     no nulls; slices are fine; a list of str is converted
    seed : int                                  of the run, in [0, 2^64)
    name : str                                  the purpose, for example "mix:web"; other names give independent keys

    Returns
    -------
    keys : uint64 (N,)                          xxh64 of the id's UTF-8 bytes under derive_seed(seed, name)

    Raises
    ------
    SchemaError                                 not a string column, nulls, or a seed out of range
    """
    column = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.large_string())
    view = view_text(column)
    return hash_texts(view.data, view.offsets, seed=derive_seed(seed, name))


def mix_keys(keys: npt.NDArray[Any], *, seed: int = 0) -> UInt64s:
    """Independent uint64 (N,) keys from uint64 (N,) keys: mix64(key ^ mix64(seed)); seed 0 is a function of its own too."""
    check_seed(seed)
    keys = _as_uint64(keys)
    salt = np.empty(1, np.uint64)
    mix_keys_kernel(np.array([seed], np.uint64), np.uint64(0), salt)
    mixed = np.empty(len(keys), np.uint64)
    mix_keys_kernel(keys, salt[0], mixed)
    return mixed


def uniform_hash(keys: npt.NDArray[Any], *, seed: int = 0) -> npt.NDArray[np.float64]:
    """A number in [0, 1) per key, uniform over keys: (mix_keys(keys) >> 11) * 2^-53, float64 (N,), exact in binary.

    Keep a document with probability p: uniform_hash(keys, seed=s) < p. A smaller p keeps a subset of a larger p's documents.

    Raises
    ------
    SchemaError     keys are not uint64 (a signed or float key would be changed in silence)
    """
    return (mix_keys(keys, seed=seed) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _as_uint64(keys: npt.NDArray[Any]) -> UInt64s:
    if keys.dtype != np.uint64 or keys.ndim != 1:
        raise SchemaError("keys", "uint64 (N,)", f"{keys.dtype} {keys.shape}")
    return np.ascontiguousarray(keys)
