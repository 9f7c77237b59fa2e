"""Best-fit packing over the space that is left in each instance, found in a tree of free sizes."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from dolma_py import numba_options

# isort: split
import numba
import numpy as np


@numba.njit(**numba_options.KERNEL)
def pack_best_fit_kernel(lengths: Any, capacity: int) -> Any:
    """(instance of each piece, number of instances); see packing.pack_best_fit. Every length lies in [1, capacity].

    Example: lengths [3, 6, 4, 2], capacity 8 -> instances [1, 0, 1, 0]: 6 opens 0, 4 opens 1, 3 joins 4 (leaving 1), 2 joins 6.
    """
    num_pieces = len(lengths)
    # order by falling length, equal ones as they came: count, then place
    first = np.zeros(capacity + 2, dtype=np.int64)
    for i in range(num_pieces):
        first[capacity - lengths[i] + 1] += 1
    for size in range(capacity + 1):
        first[size + 1] += first[size]
    order = np.empty(num_pieces, dtype=np.int64)
    for i in range(num_pieces):
        size = capacity - lengths[i]
        order[first[size]] = i
        first[size] += 1
    leaves = 1
    while leaves < capacity + 1:
        leaves *= 2
    # has_free[leaves + s]: some instance has exactly s free; an inner node: one of its leaves has
    has_free = np.zeros(2 * leaves, dtype=np.bool_)
    # instances with the same free space are a stack: the last one put there is the first one taken
    top = np.full(capacity + 1, -1, dtype=np.int64)
    below = np.empty(num_pieces, dtype=np.int64)
    instances = np.empty(num_pieces, dtype=np.int64)
    num_instances = 0
    for place in range(num_pieces):
        piece = order[place]
        length = lengths[piece]
        node = leaves + length
        # the smallest free size that holds the piece: up until something lies to the right, then down leftmost
        if not has_free[node]:
            while node > 1 and not (node % 2 == 0 and has_free[node + 1]):
                node //= 2
            if node > 1:
                node += 1
                while node < leaves:
                    node *= 2
                    if not has_free[node]:
                        node += 1
        if node > 1:
            free = node - leaves
            chosen = top[free]
            top[free] = below[chosen]
            if top[free] == -1:
                has_free[node] = False
                node //= 2
                while node >= 1:
                    has_free[node] = has_free[2 * node] or has_free[2 * node + 1]
                    node //= 2
        else:
            free, chosen = capacity, num_instances
            num_instances += 1
        instances[piece] = chosen
        left = free - length
        if left > 0:
            below[chosen] = top[left]
            top[left] = chosen
            node = leaves + left
            while node >= 1 and not has_free[node]:
                has_free[node] = True
                node //= 2
    return instances, num_instances
