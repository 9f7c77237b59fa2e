"""Connected components of candidate or verified edges between documents.

Legend: E edges, V distinct documents in them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dedup.candidates import Addresses, Edges
from dedup.components_kernels import component_roots_kernel
from dolma_py.errors import SchemaError

DRIVER_EDGE_BYTES = 150  # of memory for an edge that is read, made unique (16 bytes each) and joined into components


class Components(NamedTuple):
    """Every document that has an edge, with its component."""

    address: Addresses  # int64 (V,)  ascending
    root: Addresses  # int64 (V,)  smallest address of the document's component


def connected_components(edges: Edges) -> Components:
    """Components of a graph given as edges between int64 addresses; repeated edges, loops and any order are fine.

    Raises
    ------
    SchemaError     the two columns differ in length or are not int64

    Guarantees      the result is a function of the set of edges alone
    Cost            O(E log E) time (numbering the addresses), about 115 bytes per edge beside the edges
    """
    if edges.first.dtype != np.int64 or edges.member.dtype != np.int64 or len(edges.first) != len(edges.member):
        got = f"{edges.first.dtype} {edges.first.shape}, {edges.member.dtype} {edges.member.shape}"
        raise SchemaError("edges", "two int64 columns of one length", got)
    address, number = np.unique(np.concatenate([edges.first, edges.member]), return_inverse=True)
    number = number.astype(np.int64, copy=False)
    root = np.empty(len(address), np.int64)
    component_roots_kernel(number[: len(edges.first)], number[len(edges.first) :], root)
    return Components(address, address[root])
