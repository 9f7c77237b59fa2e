"""Which documents fill a budget: the first ones of a pool in the order of their keys, found exactly, by sorting or beyond memory.

A pool is a set of documents with one budget of tokens. Its documents lie in order of (high, low, place), each as wide as its weight;
the one in whose stretch the budget ends is the pool's edge: all before it are taken, none behind it is, and with or without it the
budget is met to within that one document. Edges are searched as in a radix sort: histograms of the next 11 bits of `high` add up
over tasks and leave one open bin in each pool, until the documents of all open bins fit in memory and are sorted. The outcome is that
of sorting everything. Legend: N documents, P pools, D digits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import SchemaError

Ints = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

LEVEL_BITS = (11, 11, 11, 11, 11, 9)  # of `high`, from the top
NUM_DIGITS = 1 << 11


class Ordered(NamedTuple):
    """N documents in the order in which they are taken."""

    pool: npt.NDArray[np.int32]  # -1 takes no part
    high: UInt64s  # what comes first is smallest
    low: UInt64s
    place: Ints  # not negative, unique: breaks the last ties
    weight: Ints  # tokens, 1 or more


class Search(NamedTuple):
    """Where the edge of each pool is: among the documents whose `high` begins with a prefix of LEVEL_BITS[:level]."""

    level: int
    prefix: UInt64s  # (P,) moved down to the lowest bits
    before: Ints  # (P,) weight of the pool below the bin
    num_docs: Ints  # (P,) in the bin; 0 for a pool without a budget
    budget: Ints  # (P,) weight to take


class Edges(NamedTuple):
    """The edge of each pool; zeros where a pool has no budget."""

    high: UInt64s
    low: UInt64s
    place: Ints
    before: Ints  # (P,) weight in front of it
    weight: Ints  # (P,) its own


class Ends(NamedTuple):
    """Of each pool the documents below (high, low, place) are taken."""

    high: UInt64s
    low: UInt64s
    place: Ints


def start_search(budget: Ints, *, available: Ints, num_docs: Ints) -> Search:
    """Everything is open; all (P,): weight to take, weight and documents of each pool. SchemaError for a budget that is not there."""
    bad = np.flatnonzero((budget < 0) | (budget > available))
    if len(bad):
        first = int(bad[0])
        raise SchemaError("budget", f"0 to {int(available[first])} in pool {first}", int(budget[first]))
    zeros = np.zeros(len(budget), np.int64)
    return Search(0, zeros.astype(np.uint64), zeros, np.where(budget > 0, num_docs, 0), budget.astype(np.int64))


def is_open(docs: Ordered, search: Search) -> Bools:
    """Which documents, bool (N,), lie in the open bin of their pool."""
    known = docs.pool >= 0
    pool = np.where(known, docs.pool, 0)
    known &= search.num_docs[pool] > 0 if len(search.num_docs) else False
    bits = sum(LEVEL_BITS[: search.level])
    if bits == 0 or not len(search.num_docs):
        return known
    inside: Bools = known & ((docs.high >> np.uint64(64 - bits)) == search.prefix[pool])
    return inside


def count_prefixes(docs: Ordered, search: Search) -> tuple[Ints, Ints, Ints]:
    """(places, weights, counts) of the open documents by pool * NUM_DIGITS + next digit: the places that have any, rising."""
    inside = np.flatnonzero(is_open(docs, search))
    bits = sum(LEVEL_BITS[: search.level + 1])
    digit = (docs.high[inside] >> np.uint64(64 - bits)) & np.uint64((1 << LEVEL_BITS[search.level]) - 1)
    places, where = np.unique(
        docs.pool[inside].astype(np.int64) * NUM_DIGITS + digit.astype(np.int64), return_inverse=True
    )
    weights, counts = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
    np.add.at(weights, where, docs.weight[inside])
    np.add.at(counts, where, 1)
    return places, weights, counts


def narrow_search(search: Search, weights: Ints, counts: Ints) -> Search:
    """The search of the next level, from the histograms (P, NUM_DIGITS) of all documents."""
    bits = LEVEL_BITS[search.level]
    ends = np.cumsum(weights, axis=1) + search.before[:, None]
    digit = (ends < search.budget[:, None]).sum(axis=1)
    has = search.num_docs > 0
    if bool((digit[has] == NUM_DIGITS).any()):
        raise SchemaError("weights", "histograms of all documents", "too few")
    digit = np.where(has, digit, 0)
    rows = np.arange(len(digit))
    before = np.where(has, ends[rows, digit] - weights[rows, digit], 0)
    prefix = np.where(has, search.prefix << np.uint64(bits) | digit.astype(np.uint64), np.uint64(0))
    return Search(search.level + 1, prefix, before, np.where(has, counts[rows, digit], 0), search.budget)


def find_edges(docs: Ordered, search: Search) -> Edges:
    """The edges, from all documents of the open bins (others may stand among them). SchemaError when some are missing."""
    if len(docs.weight) and int(docs.weight.min()) < 1:
        raise SchemaError("weight", "counts of at least 1", int(docs.weight.min()))
    rows = np.flatnonzero(is_open(docs, search))
    order = rows[np.lexsort((docs.place[rows], docs.low[rows], docs.high[rows], docs.pool[rows]))]
    counts = np.bincount(docs.pool[order], minlength=len(search.num_docs)).astype(np.int64)
    if not np.array_equal(counts, search.num_docs):
        pool = int(np.flatnonzero(counts != search.num_docs)[0])
        raise SchemaError("docs", f"{int(search.num_docs[pool])} documents of pool {pool}", int(counts[pool]))
    edges = Edges(*(np.zeros(len(counts), kind) for kind in (np.uint64, np.uint64, np.int64, np.int64, np.int64)))
    having = np.flatnonzero(counts)
    if not len(having):
        return edges
    starts = np.cumsum(counts)[having] - counts[having]
    pool, weight = docs.pool[order], docs.weight[order]
    ends = np.cumsum(weight)
    ends += np.repeat(search.before[having] - (ends - weight)[starts], counts[having])
    at = starts + np.add.reduceat((ends < search.budget[pool]).astype(np.int64), starts)
    edge = order[at]
    for column, values in zip(edges, (docs.high, docs.low, docs.place), strict=False):
        column[having] = values[edge]
    edges.before[having] = ends[at] - weight[at]
    edges.weight[having] = weight[at]
    return edges


def choose_ends(edges: Edges, *, budget: Ints, chain: npt.NDArray[np.int32]) -> Ends:
    """Whether each pool takes its edge: so that the sum over the pools decided before, of the same chain, comes closest to what was wanted.

    Pools are decided from the longest edge to the shortest (then by number), so that what a long document gives too much or too little
    is mended by short ones. A pool differs from its budget by at most its edge, a chain from the sum of its budgets by at most half of
    its longest edge, and commonly by half of its shortest.

    Parameters
    ----------
    edges, budget : (P,)        of find_edges
    chain : int32 (P,)          pools of one number share what is carried

    Examples
    --------
    >>> edges = Edges(*(np.array(c) for c in ([7, 9], [0, 0], [0, 1], [0, 0], [10, 10])))
    >>> choose_ends(edges, budget=np.array([4, 4]), chain=np.int32([0, 0])).place.tolist()
    [0, 2]
    """
    carried: dict[int, int] = {}
    place = edges.place.copy()
    order = np.lexsort((np.arange(len(chain)), -edges.weight))
    for pool in order[budget[order] > 0].tolist():
        key = int(chain[pool])
        without = carried.get(key, 0) + int(edges.before[pool]) - int(budget[pool])
        within = without + int(edges.weight[pool])
        takes = abs(within) < abs(without)
        carried[key] = within if takes else without
        place[pool] += takes
    return Ends(edges.high, edges.low, place)


def is_below(docs: Ordered, ends: Ends) -> Bools:
    """Which documents, bool (N,), stand before the end of their pool: a function of the document's own keys."""
    if not len(ends.high):
        return np.zeros(len(docs.pool), np.bool_)
    pool = np.where(docs.pool >= 0, docs.pool, 0)
    high, low, place = ends.high[pool], ends.low[pool], ends.place[pool]
    below_low = (docs.low < low) | ((docs.low == low) & (docs.place < place))
    below: Bools = (docs.pool >= 0) & ((docs.high < high) | ((docs.high == high) & below_low))
    return below
