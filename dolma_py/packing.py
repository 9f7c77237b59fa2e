"""Which documents share a training instance: best-fit decreasing, so that little space is padding.

Source: Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830), algorithm 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dolma_py.packing_kernels import pack_best_fit_kernel


def pack_best_fit(lengths: NDArray[np.integer], capacity: int) -> tuple[NDArray[np.int64], int]:
    """Put pieces into instances: the longest first, each where it leaves the least space.

    Parameters
    ----------
    lengths : int (N,)   tokens of each piece, 1 to capacity
    capacity : int       tokens of one instance

    Returns
    -------
    instances : int64 (N,)   the instance of each piece; instances are numbered as they are opened
    num_instances : int

    Equal lengths go in the order given; of instances with equal space left, the one changed last takes the piece. Time grows
    as N log capacity. ValueError when a length lies outside.

    Examples
    --------
    >>> instances, num_instances = pack_best_fit(np.array([3, 6, 4, 2]), 8)
    >>> instances.tolist(), num_instances
    ([1, 0, 1, 0], 2)
    """
    lengths = np.ascontiguousarray(lengths, dtype=np.int64)
    if len(lengths) and (lengths.min() < 1 or lengths.max() > capacity):
        raise ValueError(f"lengths: expected 1 to {capacity}, got {lengths.min()} to {lengths.max()}")
    instances, num_instances = pack_best_fit_kernel(lengths, capacity)
    return instances, int(num_instances)
