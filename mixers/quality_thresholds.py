"""Exact quality buckets of any number of documents: thresholds found by histograms, saved, and used again for later data.

A document's key is its score and then the hash of its id, 96 bits, so no two documents are equal and ties of the score are cut by the
id. The thresholds of a group are the keys at which buckets begin. They are searched as in a radix sort: histograms of the next 11 bits
of the key, over the documents of the bins that hold a threshold, add up over tasks and narrow each bin, until the documents of all open
bins fit in memory and are sorted. The outcome is that of sorting everything; nothing is approximated.
Legend: N documents, G groups, B buckets per group, S open bins.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import SchemaError
from mixers.quality_thresholds_kernels import assign_by_thresholds_kernel, count_digits_kernel, find_bins_kernel

Ints = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

# bits of the key by level, from the top; no digit holds bits of both the score and the id hash
LEVEL_BITS = (11, 11, 10, 11, 11, 11, 11, 11, 9)
NUM_DIGITS = 1 << 11
MAX_BUCKETS = 1000
_KEY_DIGITS = 25
_KEY = re.compile(f"[0-9a-f]{{{_KEY_DIGITS}}}")
SCORE_BITS = 32


class Keys(NamedTuple):
    """N documents: group (-1 takes no part), key = (high, low), weight > 0."""

    group: npt.NDArray[np.int32]
    high: npt.NDArray[np.uint32]  # order_scores of the score
    low: UInt64s  # hash of the id
    weight: Ints


class Bins(NamedTuple):
    """S open bins: the documents of a group whose keys begin with a prefix of LEVEL_BITS[:level]; sorted, each once."""

    level: int
    first: Ints  # (G + 1,) where a group's bins begin
    high: UInt64s  # (S,) prefix in the score's bits, moved down to the lowest
    low: UInt64s  # (S,) prefix in the hash's bits, moved down
    weight_before: Ints  # (S,) weight of the group below the bin
    num_docs: Ints  # (S,)


class Thresholds(NamedTuple):
    """G groups with B - 1 thresholds each, the first key of buckets 1 to B - 1; a group without documents has none."""

    num_buckets: int
    first: Ints  # (G + 1,)
    high: UInt64s  # the score's part, 0 to 2^32 (exclusive), or 2^32 where every key is below
    low: UInt64s


def order_scores(score: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Whole numbers in the order of the scores, uint32 (N,); both zeros are equal, NaN is below all.

    Examples
    --------
    >>> np.argsort(order_scores(np.float32([0.5, -1.0, np.nan, 2.0]))).tolist()
    [2, 1, 0, 3]
    """
    plain = np.where(score == 0, np.float32(0), score).astype(np.float32)
    bits = plain.view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint32)
    ordered[np.isnan(plain)] = 0
    return ordered


def restore_scores(high: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """The scores that order_scores was given; NaN for 0."""
    bits = np.where(high >> 31, high & np.uint32((1 << 31) - 1), ~high).astype(np.uint32)
    scores = bits.view(np.float32).copy()
    scores[high == 0] = np.nan
    return scores


def start_bins(num_docs: Ints) -> Bins:
    """One bin for each group with documents and more than nothing known of it: all its keys. num_docs: (G,) of each group."""
    has = num_docs > 0
    zeros = np.zeros(int(has.sum()), np.int64)
    first = np.concatenate([[0], np.cumsum(has)]).astype(np.int64)
    return Bins(0, first, zeros.astype(np.uint64), zeros.astype(np.uint64), zeros, num_docs[has].astype(np.int64))


def find_bins(keys: Keys, bins: Bins) -> npt.NDArray[np.int32]:
    """Which open bin each document is in, int32 (N,); -1 for none."""
    found = np.empty(len(keys.group), np.int32)
    high, low = _prefixes(keys, bins.level)
    find_bins_kernel(keys.group, high, low, bins.first, bins.high, bins.low, found)
    return found


def count_digits(keys: Keys, bins: Bins, sums: tuple[Ints, Ints] | None = None) -> tuple[Ints, Ints]:
    """(weights, counts), int64 (S, NUM_DIGITS) each: documents of the open bins by the next digit of their keys; they add up over tasks.

    With `sums`, of earlier documents, these are added to them.
    """
    found = find_bins(keys, bins)
    weights, counts = np.zeros((2, len(bins.high), NUM_DIGITS), np.int64) if sums is None else sums
    count_digits_kernel(found, _digits(keys, bins.level), keys.weight, weights, counts)
    return weights, counts


def narrow_bins(bins: Bins, weights: Ints, counts: Ints, *, total: Ints, num_buckets: int) -> Bins:
    """The bins of the next level that hold a threshold, from the histograms of all documents.

    Parameters
    ----------
    weights, counts : int64 (S, NUM_DIGITS)     sums of count_digits over all documents
    total : int64 (G,)                          weight of each group
    """
    shift = LEVEL_BITS[bins.level]
    in_score = sum(LEVEL_BITS[: bins.level]) < SCORE_BITS
    rows: list[tuple[int, int, int, int, int]] = []
    first = np.zeros(len(bins.first), np.int64)
    for group in range(len(total)):
        for slot in range(int(bins.first[group]), int(bins.first[group + 1])):
            ends = np.cumsum(weights[slot]) + bins.weight_before[slot]
            for digit in _digits_with_thresholds(ends, int(bins.weight_before[slot]), int(total[group]), num_buckets):
                high, low = int(bins.high[slot]), int(bins.low[slot])
                high, low = (high << shift | digit, low) if in_score else (high, low << shift | digit)
                before = int(ends[digit]) - int(weights[slot, digit])
                rows.append((high, low, before, int(counts[slot, digit]), 0))
        first[group + 1] = len(rows)
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), ()]
    return Bins(
        bins.level + 1, first, np.array(columns[0], np.uint64), np.array(columns[1], np.uint64),
        np.array(columns[2], np.int64), np.array(columns[3], np.int64),
    )  # fmt: skip


def part_bins(bins: Bins, max_bins: int) -> list[Bins]:
    """The same bins in parts of at most `max_bins`, in order; each has all groups, those of other parts without bins."""
    starts = range(0, max(len(bins.high), 1), max_bins)
    return [
        Bins(
            bins.level,
            np.clip(bins.first, start, start + max_bins) - start,
            *(column[start : start + max_bins] for column in bins[2:]),
        )
        for start in starts
    ]


def join_bins(parts: list[Bins]) -> Bins:
    """The bins of parts of part_bins, each narrowed by itself, as narrowing all together gives them."""
    first = np.sum([part.first for part in parts], axis=0).astype(np.int64)
    columns = (np.concatenate([part[place] for part in parts]) for place in range(2, len(Bins._fields)))
    return Bins(parts[0].level, first, *columns)


def _digits_with_thresholds(ends: Ints, before: int, total: int, num_buckets: int) -> list[int]:
    """Digits whose weight interval holds a position b * total / B, b in 1..B-1; in whole numbers, each once."""
    # position b lies in the first digit with B * end > b * total
    lowest = before * num_buckets // total
    highest = min(num_buckets - 1, -(-int(ends[-1]) * num_buckets // total))
    positions = np.arange(max(1, lowest), highest + 1, dtype=object)
    found: list[int] = []
    scaled = [int(end) * num_buckets for end in ends] if len(positions) else []
    digit = 0
    for position in positions:
        wanted = int(position) * total
        if wanted < before * num_buckets:
            continue
        while digit < len(scaled) and scaled[digit] <= wanted:
            digit += 1
        if digit == len(scaled):
            break
        if not found or found[-1] != digit:
            found.append(digit)
    return found


def find_thresholds(keys: Keys, bins: Bins, *, total: Ints, num_buckets: int) -> Thresholds:
    """The thresholds of every group, from all documents of its open bins.

    A document belongs to the bucket that holds its middle: floor(B * (2 * weight before + own) / (2 * total of the group)), in
    whole numbers, as mixers.percentiles.assign_buckets has it.

    Parameters
    ----------
    keys                        exactly the documents of the bins, in any order; other groups' documents may stand among them
    bins                        of start_bins or narrow_bins
    total : int64 (G,)          weight of each group, of all its documents
    num_buckets : int           B, 1 or more

    Raises
    ------
    SchemaError                 a weight below 1, or documents of a bin are missing
    """
    if len(keys.weight) and int(keys.weight.min()) < 1:
        raise SchemaError("weight", "whole numbers from 1", int(keys.weight.min()))
    found = find_bins(keys, bins)
    order = np.lexsort((keys.low, keys.high, found))
    order = order[found[order] >= 0]
    slot_of = found[order]
    edges = np.searchsorted(slot_of, np.arange(len(bins.high) + 1))
    highs: list[int] = []
    lows: list[int] = []
    first = np.zeros(len(bins.first), np.int64)
    for group in range(len(total)):
        bucket = 1
        for slot in range(int(bins.first[group]), int(bins.first[group + 1])):
            rows = order[edges[slot] : edges[slot + 1]]
            if len(rows) != int(bins.num_docs[slot]):
                raise SchemaError("keys", f"{int(bins.num_docs[slot])} documents of bin {slot}", len(rows))
            high, low, weight = _join_equal_keys(keys, rows)
            ends = np.cumsum(weight) + int(bins.weight_before[slot])
            while bucket < num_buckets:
                # the document whose interval holds the position bucket * total / B; sums stay below 2^63 / B
                at = int(np.searchsorted(ends, bucket * int(total[group]) // num_buckets, "right"))
                if at == len(ends):
                    break
                middle_doubled = 2 * int(ends[at]) - int(weight[at])
                is_above = middle_doubled * num_buckets >= 2 * bucket * int(total[group])
                above = _next_key(int(high[at]), int(low[at])) if not is_above else (int(high[at]), int(low[at]))
                highs.append(above[0])
                lows.append(above[1])
                bucket += 1
        if total[group] and bucket != num_buckets:
            raise SchemaError("bins", f"all {num_buckets - 1} thresholds of group {group}", bucket - 1)
        first[group + 1] = len(highs)
    return Thresholds(num_buckets, first, np.array(highs, np.uint64), np.array(lows, np.uint64))


def _join_equal_keys(keys: Keys, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint32], UInt64s, Ints]:
    """Sorted keys without repeats, and the weight of each; documents whose id hashes collide at one score are one."""
    high, low, weight = keys.high[rows], keys.low[rows], keys.weight[rows]
    is_new = np.ones(len(rows), np.bool_)
    is_new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(is_new)
    return high[starts], low[starts], np.add.reduceat(weight, starts) if len(starts) else weight


def _next_key(high: int, low: int) -> tuple[int, int]:
    return (high + 1, 0) if low == (1 << 64) - 1 else (high, low + 1)


def assign_by_thresholds(keys: Keys, thresholds: Thresholds) -> npt.NDArray[np.int32]:
    """The bucket of each document, int32 (N,), 0 (lowest) to B - 1; -1 for group -1. Weights are not looked at.

    Guarantees                  a function of a document's own group, score and id: later documents fall into the same cells
    """
    bucket = np.empty(len(keys.group), np.int32)
    assign_by_thresholds_kernel(
        keys.group, keys.high, keys.low, thresholds.first, thresholds.high, thresholds.low, bucket
    )
    return bucket


def _prefixes(keys: Keys, level: int) -> tuple[UInt64s, UInt64s]:
    """(high, low) of the keys cut to the bits above `level`, moved down."""
    bits = sum(LEVEL_BITS[:level])
    if bits == 0:
        zeros = np.zeros(len(keys.high), np.uint64)
        return zeros, zeros
    high = keys.high.astype(np.uint64)
    if bits <= SCORE_BITS:
        return high >> np.uint64(SCORE_BITS - bits), np.zeros(len(high), np.uint64)
    return high, keys.low >> np.uint64(96 - bits)


def _digits(keys: Keys, level: int) -> Ints:
    bits = sum(LEVEL_BITS[: level + 1])
    mask = np.uint64((1 << LEVEL_BITS[level]) - 1)
    if bits <= SCORE_BITS:
        return ((keys.high.astype(np.uint64) >> np.uint64(SCORE_BITS - bits)) & mask).astype(np.int64)
    return ((keys.low >> np.uint64(96 - bits)) & mask).astype(np.int64)


def dump_thresholds(thresholds: Thresholds, groups: list[tuple[str, str]], settings: dict[str, Any]) -> dict[str, Any]:
    """Plain data for a JSON file: per group the thresholds as score (for reading) and key (what decides, 25 hex digits)."""
    rows = []
    for number, (source, topic) in enumerate(groups):
        mine = slice(int(thresholds.first[number]), int(thresholds.first[number + 1]))
        highs, lows = thresholds.high[mine].tolist(), thresholds.low[mine].tolist()
        scores = restore_scores(np.minimum(thresholds.high[mine], (1 << 32) - 1).astype(np.uint32)).tolist()
        rows.append({
            "source": source, "topic": topic, "scores": [_plain_score(score) for score in scores],
            "keys": [f"{high:09x}{low:016x}" for high, low in zip(highs, lows, strict=True)],
        })  # fmt: skip
    return {
        "format": "dolma-py-quality-thresholds",
        "version": 1,
        "num_buckets": thresholds.num_buckets,
        **settings,
        "groups": rows,
    }


def _plain_score(score: float) -> float | str | None:
    """Of a JSON file, which knows neither NaN nor infinity: null, and "inf" or "-inf"."""
    if math.isnan(score):
        return None
    return str(score) if math.isinf(score) else score


def _read_key(key: Any) -> tuple[int, int]:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"a key {str(key)[:40]!r}, expected {_KEY_DIGITS} hexadecimal digits")
    return int(key[:9], 16), int(key[9:], 16)


def load_thresholds(values: Any, where: str) -> tuple[Thresholds, list[tuple[str, str]]]:
    """Thresholds and groups of dump_thresholds' data. SchemaError for anything else."""
    try:
        if values["format"] != "dolma-py-quality-thresholds" or values["version"] != 1:
            raise ValueError(values["format"])
        num_buckets = values["num_buckets"]
        if type(num_buckets) is not int or not 1 <= num_buckets <= MAX_BUCKETS:
            raise ValueError(f"num_buckets {num_buckets!r}")
        groups = [(str(row["source"]), str(row["topic"])) for row in values["groups"]]
        keys = [[_read_key(key) for key in row["keys"]] for row in values["groups"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SchemaError(where, "thresholds that `mix partition` saved", f"{type(error).__name__}: {error}") from error
    is_whole = all(len(row) == num_buckets - 1 and row == sorted(row) for row in keys)
    if groups != sorted(set(groups)) or not is_whole or any(high > 1 << 32 for row in keys for high, _ in row):
        raise SchemaError(where, f"sorted groups with {num_buckets - 1} rising keys each", "others")
    flat = [key for row in keys for key in row]
    first = np.cumsum([0, *map(len, keys)]).astype(np.int64)
    high, low = (np.array([key[part] for key in flat], np.uint64) for part in (0, 1))
    return Thresholds(num_buckets, first, high, low), groups
