"""Rows of tokens that hold a loop: an n-gram repeated behind itself many times.

Source: OLMo-core's instance filter (periods 1 to 13, 32 repeats); the count is the same, found without comparing every token.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dolma_py.token_loops_kernels import find_looping_kernel


def find_looping(
    ids: NDArray[np.int64], *, lengths: NDArray[np.int64], min_period: int, max_period: int, min_repeats: int
) -> NDArray[np.bool_]:
    """bool (B,): rows in which an n-gram of min_period to max_period tokens stands min_repeats times or more in a row.

    Parameters
    ----------
    ids : int64 (B, T)
    lengths : int64 (B,)    tokens of each row that are looked at, from its start; 0 to T
    min_repeats : int       2 or more

    Cost  O(T) per period at worst; a row without loops is looked at every period * (min_repeats - 1) tokens or so

    Examples
    --------
    >>> ids = np.array([[1, 2, 1, 2, 1, 2, 7], [1, 2, 1, 2, 7, 1, 2]])
    >>> find_looping(ids, lengths=np.array([7, 7]), min_period=1, max_period=3, min_repeats=3).tolist()
    [True, False]
    """
    if min_period < 1 or max_period < min_period or min_repeats < 2:
        raise ValueError(
            f"expected periods of 1 or more and 2 repeats or more, got {min_period}, {max_period}, {min_repeats}"
        )
    is_looping = np.zeros(len(ids), dtype=np.bool_)
    find_looping_kernel(np.ascontiguousarray(ids), lengths, min_period, max_period, min_repeats, is_looping)
    return is_looping
