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
    """Edges from the first document of each key to every other one that has it: at most one per member and band.

    Parameters
    ----------
    keys : uint64 (M,)          band keys
    addresses : int64 (M,)      documents, in any order

    Returns
    -------
    edges : Edges               sorted by (first, member), each once

    Raises
    ------
    SchemaError                 wrong dtypes or lengths
    """
    _check(keys, addresses)
    order = np.argsort(keys)
    keys, addresses = keys[order], addresses[order]
    del order
    first, member = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    num_edges = candidate_edges_kernel(keys, addresses, first, member)
    del keys, addresses
    return unique_edges(Edges(first[:num_edges], member[:num_edges]))


class Firsts(NamedTuple):
    """The first document of each key: how a key of any number of documents is held in 16 bytes."""

    keys: npt.NDArray[np.uint64]  # (K,) ascending, each once
    first: Addresses  # int64 (K,)


NO_FIRSTS = Firsts(np.empty(0, np.uint64), np.empty(0, np.int64))


def merge_firsts(firsts: Firsts, keys: npt.NDArray[np.uint64], addresses: Addresses) -> Firsts:
    """Those of all keys seen before and of M more entries in any order; uint64 and int64 (M,)."""
    _check(keys, addresses)
    keys, addresses = np.concatenate([firsts.keys, keys]), np.concatenate([firsts.first, addresses])
    order = np.argsort(keys)
    keys, addresses = keys[order], addresses[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    return Firsts(keys[starts], np.minimum.reduceat(addresses, starts) if len(keys) else addresses)


def edges_to_firsts(firsts: Firsts, keys: npt.NDArray[np.uint64], addresses: Addresses) -> Edges:
    """The edges of M entries, uint64 and int64 (M,), whose keys all stand in `firsts`: over all entries the same as candidate_edges."""
    _check(keys, addresses)
    first = firsts.first[np.searchsorted(firsts.keys, keys)]
    is_other = first != addresses
    return unique_edges(Edges(first[is_other], addresses[is_other]))


def _check(keys: npt.NDArray[np.uint64], addresses: Addresses) -> None:
    if keys.dtype != np.uint64 or addresses.dtype != np.int64:
        raise SchemaError("keys, addresses", "uint64, int64", f"{keys.dtype}, {addresses.dtype}")
    if len(keys) != len(addresses):
        raise SchemaError("addresses", f"{len(keys)} values, one per key", len(addresses))


def unique_edges(edges: Edges) -> Edges:
    """The edges sorted by (first, member), each once: documents that share several bands, or meet in several partitions."""
    order = np.lexsort((edges.member, edges.first))
    first, member = edges.first[order], edges.member[order]
    is_new = np.ones(len(first), bool)
    is_new[1:] = (first[1:] != first[:-1]) | (member[1:] != member[:-1])
    return Edges(first[is_new], member[is_new])
