"""Connected components by union-find.

Legend: V vertices numbered 0..V - 1, E edges.
Source: Tarjan 1975 with path halving (Tarjan, van Leeuwen 1984); deviation: the smaller number becomes the root instead of the larger
tree's, so that the root says which component it is and does not depend on the order of edges. O((V + E) log V) still.
"""

from __future__ import annotations

from dolma_py.numba_options import KERNEL

from numba import njit  # isort: skip


@njit(**KERNEL)
def find_root_kernel(parent, vertex):
    """The root of a vertex; every second vertex on the way is hung onto its grandparent."""
    while parent[vertex] != vertex:
        parent[vertex] = parent[parent[vertex]]
        vertex = parent[vertex]
    return vertex


@njit(**KERNEL)
def component_roots_kernel(first, second, out_root):
    """The smallest vertex of each vertex's component.

    first, second int64 (E,) vertices; out_root int64 (V,)
    Example: V = 5 and the edges (3, 1), (1, 4) give 0, 1, 2, 1, 1. Cost: O((V + E) log V) time, no memory.
    """
    for vertex in range(len(out_root)):
        out_root[vertex] = vertex
    for i in range(len(first)):
        root_1 = find_root_kernel(out_root, first[i])
        root_2 = find_root_kernel(out_root, second[i])
        if root_1 < root_2:
            out_root[root_2] = root_1
        elif root_2 < root_1:
            out_root[root_1] = root_2
    # parents never have larger numbers, so one ascending pass settles all
    for vertex in range(len(out_root)):
        out_root[vertex] = out_root[out_root[vertex]]
