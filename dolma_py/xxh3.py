"""xxh3-128 of many byte ranges at once, as two columns of 64 bits.

Legend: N ranges, B bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.errors import SchemaError
from dolma_py.hashing import UInt64s, check_ranges
from dolma_py.xxh3_kernels import digest_ranges_kernel

DIGEST = pa.binary(16)  # a digest in a file: 16 bytes, the most significant first, as xxhash's own digest()


def digest_ranges(
    data: npt.NDArray[np.uint8], start_byte: npt.NDArray[np.int64], end_byte: npt.NDArray[np.int64]
) -> tuple[UInt64s, UInt64s]:
    """xxh3-128 of N byte ranges.

    Parameters
    ----------
    data : uint8 (B,)                       any bytes; may be read-only or strided
    start_byte, end_byte : int64 (N,)       range i is data[start_byte[i]:end_byte[i]]; ranges may overlap

    Returns
    -------
    high, low : uint64 (N,) each            (high << 64) | low is xxhash.xxh3_128_intdigest(range)

    Raises
    ------
    SchemaError                             a range outside the data (names the first)

    Guarantees                              same values for any batch split and machine
    Cost                                    O(bytes hashed + N) time, 16 N bytes
    Source                                  xxHash specification 0.2.0; deviation: none
    """
    start_byte = np.ascontiguousarray(start_byte, np.int64)
    end_byte = np.ascontiguousarray(end_byte, np.int64)
    check_ranges(len(data), start_byte, end_byte)
    high, low = np.empty(len(start_byte), np.uint64), np.empty(len(start_byte), np.uint64)
    digest_ranges_kernel(np.ascontiguousarray(data, np.uint8), start_byte, end_byte, high, low)
    return high, low


def pack_digests(high: UInt64s, low: UInt64s) -> pa.Array:
    """N digests as a DIGEST column; it sorts as the numbers do."""
    words = np.empty((len(high), 2), ">u8")
    words[:, 0], words[:, 1] = high, low
    return pa.FixedSizeBinaryArray.from_buffers(DIGEST, len(high), [None, pa.py_buffer(words.tobytes())])


def unpack_digests(column: pa.Array | pa.ChunkedArray) -> tuple[UInt64s, UInt64s]:
    """(high, low) of a DIGEST column; honours slices. SchemaError for another type or nulls."""
    if column.type != DIGEST or column.null_count:
        raise SchemaError("digest", f"{DIGEST} without nulls", f"{column.type}, {column.null_count} nulls")
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    words = np.concatenate([np.empty(0, ">u8")] + [
        np.frombuffer(chunk.buffers()[1] or b"", ">u8")[2 * chunk.offset : 2 * (chunk.offset + len(chunk))] for chunk in chunks
    ])  # fmt: skip
    return words[0::2].astype(np.uint64), words[1::2].astype(np.uint64)
