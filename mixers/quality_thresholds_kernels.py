"""Keys of 96 bits (score, id hash) against thresholds, and histograms of their digits: arrays in, arrays out.

Legend: N documents, G groups, T thresholds, S open bins, D digits (values of a run of bits).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from dolma_py.numba_options import KERNEL


@numba.njit(**KERNEL)
def assign_by_thresholds_kernel(
    group: npt.NDArray[np.int32],
    high: npt.NDArray[np.uint32],
    low: npt.NDArray[np.uint64],
    first: npt.NDArray[np.int64],
    bound_high: npt.NDArray[np.uint64],
    bound_low: npt.NDArray[np.uint64],
    bucket: npt.NDArray[np.int32],
) -> None:
    """bucket[i] (N,) = how many thresholds of the document's group are at or below its key.

    group (N,): -1 gets bucket -1. first (G + 1,): where a group's thresholds begin in bound_high and bound_low (T,), sorted.
    """
    for i in range(len(group)):
        if group[i] < 0:
            bucket[i] = -1
            continue
        lo, hi = first[group[i]], first[group[i] + 1]
        start = lo
        key = np.uint64(high[i])
        while lo < hi:
            middle = (lo + hi) // 2
            if bound_high[middle] < key or (bound_high[middle] == key and bound_low[middle] <= low[i]):
                lo = middle + 1
            else:
                hi = middle
        bucket[i] = lo - start


@numba.njit(**KERNEL)
def find_bins_kernel(
    group: npt.NDArray[np.int32],
    prefix_high: npt.NDArray[np.uint64],
    prefix_low: npt.NDArray[np.uint64],
    first: npt.NDArray[np.int64],
    bin_high: npt.NDArray[np.uint64],
    bin_low: npt.NDArray[np.uint64],
    found: npt.NDArray[np.int32],
) -> None:
    """found[i] (N,) = which open bin the document's prefix is, -1 for none.

    first (G + 1,): where a group's bins begin in bin_high and bin_low (S,), sorted and unique within a group.
    """
    for i in range(len(group)):
        found[i] = -1
        if group[i] < 0:
            continue
        lo, hi = first[group[i]], first[group[i] + 1]
        while lo < hi:
            middle = (lo + hi) // 2
            if bin_high[middle] == prefix_high[i] and bin_low[middle] == prefix_low[i]:
                found[i] = middle
                break
            if bin_high[middle] < prefix_high[i] or (
                bin_high[middle] == prefix_high[i] and bin_low[middle] < prefix_low[i]
            ):
                lo = middle + 1
            else:
                hi = middle


@numba.njit(**KERNEL)
def count_digits_kernel(
    found: npt.NDArray[np.int32],
    digit: npt.NDArray[np.int64],
    weight: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> None:
    """Add each document of an open bin to weights and counts (S, D) under its digit."""
    for i in range(len(found)):
        if found[i] >= 0:
            weights[found[i], digit[i]] += weight[i]
            counts[found[i], digit[i]] += 1
