"""Counting the n-grams of a text with marks: in memory, or in sorted runs on disk that are merged in order; the same counts either way.

Tokens are numbers; an n-gram that ends at a position is the pair of the (n-1)-gram that ends there, itself a number, and the word before.
Pairs are sorted and numbered, order after order: exact, no n-gram is ever mistaken for another, and an n-gram's suffix and context are
rows of the order below.
Legend: T tokens, V words, G n-grams of one order.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from taggers.language_model import MAX_ORDER
from taggers.language_model_tokens import MARKS

START, END, UNK = range(3)  # rows of MARKS, and the numbers of these words
ROW_BYTES = 160  # of memory for a row that is worked on, at most: the sort of a run
_NO_NGRAM = -1

Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]


class Grams(NamedTuple):
    """The distinct n-grams of one order, G of them."""

    suffixes: (
        Int32  # int32 (G,)  row of the n-gram without its first word among those of the order below; 1-grams: unused
    )
    contexts: Int32  # int32 (G,)  row of the n-gram without its last word
    first_words: Int32  # int32 (G,)
    counts: Int32  # int32 (G,)  how often it stands


class Counts(NamedTuple):
    """What was counted."""

    word_hashes: UInt64  # uint64 (V,)  of the words, the three marks first
    orders: list[Grams]  # 1-grams first; 1-gram v is word v


class WorkArrays:
    """Where arrays of a training lie, and in which parts they are worked on: in memory and whole, or in files and by rows that fit in memory.

    A file has no name, so that it is gone when the process ends, however it ends; what is mapped of it the kernel writes out when it
    wants the memory.
    """

    def __init__(self, num_rows: int | None = None) -> None:
        """num_rows: of a part, 1 or more; None: everything in memory."""
        self.num_rows = num_rows

    def empty(self, size: int, kind: Any) -> npt.NDArray[Any]:
        """An array of `size` values that are to be written; zeros in a file."""
        return np.empty(size, kind) if self.num_rows is None else self.zeros(size, kind)

    def zeros(self, size: int, kind: Any) -> npt.NDArray[Any]:
        """An array of zeros. OSError where the disk has no room for it."""
        num_bytes = size * np.dtype(kind).itemsize
        if self.num_rows is None or not num_bytes:
            return np.zeros(size, kind)
        with open_file() as file:
            os.posix_fallocate(
                file.fileno(), 0, num_bytes
            )  # now, not when a page is written, which would kill the process
            return np.asarray(np.memmap(file, kind, "r+", shape=(size,)))

    def parts(self, size: int) -> Iterator[slice]:
        """Slices of 0 to size."""
        step = self.num_rows or max(size, 1)
        return (slice(start, min(start + step, size)) for start in range(0, size, step))


def open_file() -> Any:
    """An empty file without a name in the folder for temporary files (TMPDIR)."""
    return tempfile.TemporaryFile(prefix="dolma-py-language-model-")


def count_ngrams(tokens: UInt64, order: int) -> Counts:
    """The n-grams of 1 to `order` words of a text with marks, no n-gram across units.

    tokens : uint64 (T,)    hashes; each unit begins with MARKS[START] and ends with MARKS[END]

    Cost                    O(order T log T) time; 16 bytes an n-gram and 76 a token
    """
    hashes = _add_marks(np.unique(tokens))
    by_hash = np.argsort(hashes)
    words = by_hash[np.searchsorted(hashes[by_hash], tokens)].astype(np.int32)
    starts = np.flatnonzero(words == START)
    place = np.arange(len(words), dtype=np.int32)  # in its unit
    place -= np.repeat(starts, np.diff(np.append(starts, len(words)))).astype(np.int32)
    positions = np.flatnonzero(place > 0)
    grams = np.where(place > 0, words, _NO_NGRAM).astype(np.int32)  # number of the n-gram that ends at each position
    orders = [_list_words(np.bincount(words[positions], minlength=len(hashes)))]
    contexts_of = words  # at order 1 the sentence start is a context, though no n-gram that is predicted
    for n in range(1, order):
        positions = positions[place[positions] >= n]
        pairs = grams[positions].astype(np.uint64) << np.uint64(32) | words[positions - n].astype(np.uint64)
        distinct, numbers, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        del pairs
        contexts = np.empty(len(distinct), np.int32)
        contexts[numbers] = contexts_of[positions - 1]
        orders.append(
            Grams(
                (distinct >> np.uint64(32)).astype(np.int32),
                contexts,
                distinct.astype(np.uint32).astype(np.int32),
                counts.astype(np.int32),
            )
        )
        grams = np.full(len(words), _NO_NGRAM, np.int32)
        grams[positions] = numbers
        contexts_of = grams
    return Counts(hashes, orders)


def _add_marks(hashes: UInt64) -> UInt64:
    return np.concatenate([MARKS, hashes[~np.isin(hashes, MARKS)]])


def _list_words(counts: npt.NDArray[Any]) -> Grams:
    nothing = np.zeros(len(counts), np.int32)
    return Grams(nothing, nothing, np.arange(len(counts), dtype=np.int32), counts.astype(np.int32))


class _Run(NamedTuple):
    """The distinct n-grams of a part of the text, in order."""

    keys: UInt64  # suffix and first word
    counts: Int32
    contexts: Int32
    own: Int32  # the run's n-gram at each of its positions
    numbers: Int32  # rows of the n-grams among those of the whole text; known once the runs are merged


def count_in_runs(tokens: UInt64, order: int, work: WorkArrays) -> Counts:
    """What count_ngrams finds, with memory for a part of the text and for its vocabulary.

    A part's n-grams are sorted, which is a run; runs are merged block by block; every position then gets the row of its n-gram
    through the run that it belongs to, so that no n-gram is looked up.

    Cost                    O(order T log T) time, ROW_BYTES of memory a row of a part; on disk 16 bytes an n-gram, and for the order that is
                            being counted 41 a token at most
    """
    hashes = np.empty(0, np.uint64)
    for part in work.parts(len(tokens)):
        hashes = np.union1d(hashes, tokens[part])
    hashes = _add_marks(hashes)
    words, place, counts = _number_words(tokens, hashes, work)
    orders = [_list_words(counts)]
    ends = words  # number of the n-gram that ends at each position; the sentence start is a context
    for n in range(1, order):
        runs = [_sort_run(words, place, ends, n, part, work) for part in work.parts(len(words))]
        orders.append(_merge_runs(runs, work))
        longer = work.empty(len(words), np.int32)
        for part, run in zip(work.parts(len(words)), runs, strict=True):
            longer[_find_positions(place, n, part)] = run.numbers[run.own]
        ends = longer
    return Counts(hashes, orders)


def _number_words(tokens: UInt64, hashes: UInt64, work: WorkArrays) -> tuple[Int32, npt.NDArray[np.int8], Int32]:
    """(word of each token, its place in its unit or MAX_ORDER behind that, how often each word stands, sentence starts apart)."""
    by_hash = np.argsort(hashes)
    in_order = hashes[by_hash]
    words, place = work.empty(len(tokens), np.int32), work.empty(len(tokens), np.int8)
    counts = np.zeros(len(hashes), np.int32)
    next_place = 0  # of a part's first token, where it begins no unit
    for part in work.parts(len(tokens)):
        own = by_hash[np.searchsorted(in_order, tokens[part])].astype(np.int32)
        index = np.arange(len(own))
        start = np.maximum.accumulate(np.where(own == START, index, -1))
        its_place = np.where(start >= 0, index - start, index + next_place)
        next_place = int(its_place[-1]) + 1
        words[part], place[part] = own, np.minimum(its_place, MAX_ORDER)
        found, how_often = np.unique(own[its_place > 0], return_counts=True)
        counts[found] += how_often.astype(np.int32)
    return words, place, counts


def _find_positions(place: npt.NDArray[np.int8], n: int, part: slice) -> npt.NDArray[np.int64]:
    """Where an n-gram and a word before it end."""
    return part.start + np.flatnonzero(place[part] >= n)


def _sort_run(words: Int32, place: npt.NDArray[np.int8], ends: Int32, n: int, part: slice, work: WorkArrays) -> _Run:
    positions = _find_positions(place, n, part)
    pairs = ends[positions].astype(np.uint64) << np.uint64(32) | words[positions - n].astype(np.uint64)
    distinct, firsts, own, counts = np.unique(pairs, return_index=True, return_inverse=True, return_counts=True)
    columns = (distinct, counts.astype(np.int32), ends[positions[firsts] - 1], own.astype(np.int32))
    kept = [work.empty(len(column), column.dtype) for column in columns]
    for place_of, column in zip(kept, columns, strict=True):
        place_of[:] = column
    return _Run(*kept, work.empty(len(distinct), np.int32))


def _merge_runs(runs: list[_Run], work: WorkArrays) -> Grams:
    """The n-grams of all runs, each once; fills the runs' `numbers`."""
    most = sum(len(run.keys) for run in runs)
    grams = Grams(*(work.zeros(most, np.int32) for _ in Grams._fields))
    heads, made = [0] * len(runs), 0
    block = max((work.num_rows or most) // max(len(runs), 1), 1)
    while left := [number for number, run in enumerate(runs) if heads[number] < len(run.keys)]:
        # up to here every run has its n-grams in its block
        limit = min(runs[number].keys[heads[number] : heads[number] + block][-1] for number in left)
        slices = []
        for number in left:
            keys = runs[number].keys[heads[number] : heads[number] + block]
            end = heads[number] + int(np.searchsorted(keys, limit, "right"))
            slices.append((runs[number], slice(heads[number], end)))
            heads[number] = end
        distinct, inverse = np.unique(np.concatenate([run.keys[own] for run, own in slices]), return_inverse=True)
        into = slice(made, made + len(distinct))
        grams.suffixes[into] = (distinct >> np.uint64(32)).astype(np.int32)
        grams.first_words[into] = distinct.astype(np.uint32).astype(np.int32)
        start = 0
        for run, own in slices:
            rows = made + inverse[start : start + own.stop - own.start].astype(np.int32)
            # a run has an n-gram once, so no row stands twice
            grams.counts[rows] += run.counts[own]
            grams.contexts[rows] = run.contexts[own]
            run.numbers[own] = rows
            start += own.stop - own.start
        made = into.stop
    return Grams(*(column[:made] for column in grams))
