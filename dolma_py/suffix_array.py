"""Suffix arrays of bytes (libdivsufsort through pydivsufsort) and the PLCP array.

Legend: B bytes of text.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydivsufsort import divsufsort

from dolma_py.errors import SchemaError
from dolma_py.suffix_array_kernels import permuted_lcp_kernel

Int32s = npt.NDArray[np.int32]
MAX_TEXT_BYTES = (1 << 31) - 1


def build_suffix_array(text: npt.NDArray[np.uint8]) -> Int32s:
    """Starts of all suffixes of the text in the order of the suffixes, int32 (B,).

    Bytes compare as unsigned numbers; a suffix that is a prefix of another comes first.

    Raises
    ------
    SchemaError     more than 2^31 - 1 bytes: take smaller shards

    Cost            O(B log B) time in the library, about 20 MB/s; 5 bytes of memory per byte of text, the text included
    Source          Y. Mori, libdivsufsort 2.0.1
    """
    if len(text) > MAX_TEXT_BYTES:
        raise SchemaError(
            "text", f"at most {MAX_TEXT_BYTES} bytes in one suffix array (take smaller shards)", len(text)
        )
    if len(text) == 0:
        return np.empty(0, np.int32)
    # the library takes a pointer: a sliced or read-only view must become its own block, or it would read other bytes
    return np.asarray(divsufsort(np.require(text, np.uint8, ["C", "W"])), np.int32)


def permuted_lcp(text: npt.NDArray[np.uint8], suffixes: Int32s, *, step: int = 1) -> Int32s:
    """PLCP[::step], int32 (ceil(B / step),): bytes that suffix i shares with the suffix before it in SA order; 0 for the first of the order.

    step : int      a power of two; PLCP[i + k] >= PLCP[i] - k says what lies between two samples

    Raises
    ------
    SchemaError     the two lengths differ, or step is no power of two

    Cost            O(B) time, 4 B / step bytes
    """
    if len(text) != len(suffixes):
        raise SchemaError("suffixes", f"{len(text)} values, one per byte", len(suffixes))
    if step < 1 or step & (step - 1):
        raise SchemaError("step", "a power of two", step)
    plcp = np.empty(-(-len(text) // step), np.int32)
    arrays = np.ascontiguousarray(text, np.uint8), np.ascontiguousarray(suffixes, np.int32)
    permuted_lcp_kernel(*arrays, step.bit_length() - 1, plcp)
    return plcp
