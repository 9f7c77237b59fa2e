"""Which documents may be near-duplicates: edges between documents that share a band key.

Legend: M entries (one per document and band), E edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.candidates_kernels import candidate_edges_kernel
from dolma_py.errors import SchemaError

Addresses = npt.NDArray[np.int64]


class Edges(NamedTuple):
    """Pairs of addresses; `first` < `member` in every pair."""

    first: Addresses  # int64 (E,)
    member: Addresses  # int64 (E,)


def candidate_edges(keys: npt.NDArray[np.uint64], addresses: Addresses) -> Edges:
    """Edges from the first document of each run of equal keys to every other one: at most one per member and band.

    Parameters
    ----------
    keys : uint64 (M,)          band keys, ascending
    addresses : int64 (M,)      documents, ascending within equal keys

    Returns
    -------
    edges : Edges               in input order; may repeat across bands (unique_edges removes that)

    Raises
    ------
    SchemaError                 wrong dtypes or lengths, or not sorted (names the first bad index)
    """
    if keys.dtype != np.uint64 or addresses.dtype != np.int64:
        raise SchemaError("keys, addresses", "uint64, int64", f"{keys.dtype}, {addresses.dtype}")
    if len(keys) != len(addresses):
        raise SchemaError("addresses", f"{len(keys)} values, one per key", len(addresses))
    falls = np.flatnonzero((keys[1:] < keys[:-1]) | ((keys[1:] == keys[:-1]) & (addresses[1:] < addresses[:-1])))
    if len(falls):
        raise SchemaError("keys", "ascending keys, then addresses", f"a fall after index {int(falls[0])}")
    first, member = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    num_edges = candidate_edges_kernel(keys, addresses, first, member)
    return Edges(first[:num_edges].copy(), member[:num_edges].copy())


def unique_edges(edges: Edges) -> Edges:
    """The edges sorted by (first, member), each once: documents that share several bands, or meet in several partitions."""
    order = np.lexsort((edges.member, edges.first))
    first, member = edges.first[order], edges.member[order]
    is_new = np.ones(len(first), bool)
    is_new[1:] = (first[1:] != first[:-1]) | (member[1:] != member[:-1])
    return Edges(first[is_new], member[is_new])
