"""Evaluation items as an inverted n-gram index, and the search for them in documents.

Legend: N documents, B bytes, I items, G distinct n-grams, E (item, n-gram) entries; see taggers/ngram_match_kernels.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import ConfigError
from taggers import ngram_match_kernels as kernels
from taggers.characters import character_table, lower_table

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


class Item(NamedTuple):
    """One evaluation item; decontamination looks for its question, then for its answer behind it and its passage before it."""

    id: str
    question: str
    answer: str | None
    passage: str | None = None
    benchmark: str = ""
    source: str = ""  # where it was read from, for reports; no part of what is looked for


class ItemIndex(NamedTuple):
    """The index and what it was built from."""

    arrays: kernels.Index
    ids: tuple[str, ...]  # of the indexed items, in the order of their numbers
    skipped_ids: tuple[str, ...]  # items whose question is too short to be found


class Matches(NamedTuple):
    """Findings in N documents with S spans."""

    scores: npt.NDArray[np.float64]  # float64 (N,)  best score, 0 when nothing was found
    items: Int64  # int64 (N,)    number of the best item in ItemIndex.ids, -1 when nothing was found
    span_offsets: Int64  # int64 (N + 1,)  spans of document i: span_offsets[i] to span_offsets[i + 1]
    span_starts: Int64  # int64 (S,)    UTF-8 bytes from the document's start; sorted and disjoint within a document
    span_ends: Int64  # int64 (S,)
    span_scores: npt.NDArray[np.float64]  # float64 (S,)


def make_tables() -> kernels.Tables:
    """The character tables that every kernel of this folder's n-gram matching takes."""
    return kernels.Tables(character_table(), lower_table())


def split_tokens(texts: list[str]) -> tuple[UInt64, Int64]:
    """(hash of every token, offsets): text i has tokens hashes[offsets[i]:offsets[i + 1]], normalised as documents are."""
    data, offsets = view_text(pa.array(texts, pa.large_string()))
    tables = make_tables()
    parts = []
    for row in range(len(texts)):
        begin, end = int(offsets[row]), int(offsets[row + 1])
        capacity = _max_tokens(end - begin)
        tokens = np.empty(capacity, np.uint64)
        places = np.empty((2, capacity), np.int64)
        num_tokens = kernels.split_tokens_kernel(data, begin, end, tables, tokens, places[0], places[1])
        parts.append(tokens[:num_tokens])
    counts = np.array([0] + [len(part) for part in parts], np.int64)
    return np.concatenate([np.empty(0, np.uint64), *parts]), np.cumsum(counts)


def build_index(
    items: list[Item],
    *,
    ngram_tokens: int,
    min_question_tokens: int,
    answer_ngram_tokens: int,
    short_answer_tokens: int,
) -> ItemIndex:
    """Index the questions of all items that are long enough.

    idf of an n-gram is ln((I + 1) / items with it), of an answer n-gram and a question token likewise among answers and
    questions; the + 1 keeps it above 0 when an n-gram stands in every item.

    Raises
    ------
    ConfigError     no item is left, or two items share an id
    """
    repeated = len(items) - len({item.id for item in items})
    if repeated:
        raise ConfigError("items", f"{repeated} repeated ids", "expected each id once")
    tokens, offsets = split_tokens([item.question for item in items])
    least = max(min_question_tokens, ngram_tokens)
    long_enough = np.flatnonzero(np.diff(offsets) >= least)
    if not len(long_enough):
        raise ConfigError("items", f"{len(items)} items", f"expected a question of at least {least} words")
    kept = [items[row] for row in long_enough.tolist()]
    tokens, offsets = split_tokens([item.question for item in kept])
    answers, answer_offsets = split_tokens([item.answer or "" for item in kept])

    item_of, hashes = _first_ngrams(tokens, offsets, ngram_tokens)
    keys, ngram_of = np.unique(hashes, return_inverse=True)
    idf = _idf(np.bincount(ngram_of, minlength=len(keys)), len(kept))
    size = 16
    while size < 2 * len(keys):
        size *= 2
    slots = np.zeros(size, np.int32)
    kernels.build_slots_kernel(keys, slots)
    by_ngram = np.argsort(ngram_of, kind="stable").astype(np.int32)
    # answers that are looked for token by token need no n-grams
    long_rows = np.diff(answer_offsets) > short_answer_tokens
    gram_item, gram_hashes = _first_ngrams(answers, answer_offsets, answer_ngram_tokens)
    is_long = long_rows[gram_item]
    gram_item, gram_hashes = gram_item[is_long], gram_hashes[is_long]
    _, gram_of = np.unique(gram_hashes, return_inverse=True)
    arrays = kernels.Index(
        slots=slots,
        keys=keys,
        idf=idf,
        posting_offsets=_offsets_of(ngram_of, len(keys)),
        postings=by_ngram,
        entry_ngrams=ngram_of.astype(np.int32),
        entry_items=item_of.astype(np.int32),
        item_offsets=_offsets_of(item_of, len(kept)),
        # bincount adds in order, as the kernel does: a question matched whole has an overlap of exactly 1
        item_idf=np.bincount(item_of, weights=idf[ngram_of], minlength=len(kept)),
        item_tokens=np.diff(offsets) + np.diff(answer_offsets),
        token_offsets=offsets,
        question_tokens=tokens,
        token_idf=_token_idf(tokens, offsets),
        answer_offsets=answer_offsets,
        answer_tokens=answers,
        gram_offsets=_offsets_of(gram_item, len(kept)),
        gram_hashes=gram_hashes,
        gram_idf=_idf(np.bincount(gram_of), len(kept))[gram_of],
    )
    skipped = set(range(len(items))) - set(long_enough.tolist())
    return ItemIndex(arrays, tuple(item.id for item in kept), tuple(items[row].id for row in sorted(skipped)))


def find_items(
    data: npt.NDArray[np.uint8], offsets: Int64, *, index: ItemIndex, settings: kernels.Settings, plain: bool = False
) -> Matches:
    """Search N documents for all items; `plain` marks every matched n-gram instead of scoring questions and answers.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    settings                    ngram_tokens must be what the index was built with

    Guarantees                  the same findings for any batch split; sums run in the order of the question
    Cost                        about B / 6 / stride look-ups; memory 40 bytes per item, 8 per entry, 16 per byte of the longest text
    """
    found = _allocate_found(len(offsets) - 1, 1024)
    while True:
        scratch = _allocate_scratch(index.arrays, int(np.diff(offsets).max(initial=0)))
        arguments = (data, offsets, make_tables(), index.arrays, settings, scratch, found)
        num_spans = int(kernels.find_ngrams_kernel(*arguments) if plain else kernels.find_items_kernel(*arguments))
        if num_spans <= len(found.span_rows):
            break
        found = _allocate_found(len(offsets) - 1, 2 * num_spans)
    rows = found.span_rows[:num_spans]
    return Matches(
        found.scores,
        found.items,
        np.searchsorted(rows, np.arange(len(offsets))).astype(np.int64),
        found.span_starts[:num_spans],
        found.span_ends[:num_spans],
        found.span_scores[:num_spans],
    )


def _max_tokens(num_bytes: int) -> int:
    return 2 * num_bytes // 3 + 2


def _first_ngrams(tokens: UInt64, offsets: Int64, length: int) -> tuple[Int64, UInt64]:
    """(item, hash) of the distinct n-grams of every item, by item and first place."""
    counts = np.maximum(np.diff(offsets) - length + 1, 0)
    item_of = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = offsets[:-1][item_of] + place
    hashes = np.empty(len(starts), np.uint64)
    kernels.hash_ngrams_kernel(tokens, starts, length, hashes)
    order = np.lexsort((place, hashes, item_of))
    is_first = np.ones(len(order), bool)
    same = (item_of[order][1:] == item_of[order][:-1]) & (hashes[order][1:] == hashes[order][:-1])
    is_first[1:] = ~same
    kept = np.sort(order[is_first])
    return item_of[kept], hashes[kept]


def _offsets_of(groups: Int64, num_groups: int) -> Int64:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(groups, minlength=num_groups))])


def _token_idf(tokens: UInt64, offsets: Int64) -> npt.NDArray[np.float64]:
    num_items = len(offsets) - 1
    item_of = np.repeat(np.arange(num_items), np.diff(offsets))
    _, word_of = np.unique(tokens, return_inverse=True)
    pairs = np.unique(word_of * num_items + item_of)
    items_with = np.bincount(pairs // num_items)
    return _idf(items_with, num_items)[word_of]


def _idf(items_with: Int64, num_items: int) -> npt.NDArray[np.float64]:
    """ln((num_items + 1) / items_with) by the C library: numpy's own logarithm differs between processors in the last bit."""
    distinct, which = np.unique(items_with, return_inverse=True)
    return np.array([math.log((num_items + 1) / count) for count in distinct.tolist()], np.float64)[which]


def _allocate_scratch(index: kernels.Index, longest_bytes: int) -> kernels.Scratch:
    num_items, capacity = len(index.item_offsets) - 1, _max_tokens(longest_bytes)
    return kernels.Scratch(
        tokens=np.empty(capacity, np.uint64),
        starts=np.empty(capacity, np.int64),
        ends=np.empty(capacity, np.int64),
        used=np.empty(capacity, np.uint8),
        stamps=np.zeros(len(index.entry_items), np.int64),
        item_slots=np.full(num_items, -1, np.int32),
        seen_until=np.full(num_items, -1, np.int64),
        slot_items=np.empty(num_items, np.int32),
        slot_first=np.empty(num_items, np.int64),
        slot_last=np.empty(num_items, np.int64),
        slot_misses=np.empty(num_items, np.int64),
        slot_hit=np.empty(num_items, np.int64),
        active=np.empty(num_items, np.int32),
    )


def _allocate_found(num_docs: int, num_spans: int) -> kernels.Found:
    return kernels.Found(
        scores=np.zeros(num_docs, np.float64),
        items=np.full(num_docs, -1, np.int64),
        span_rows=np.empty(num_spans, np.int64),
        span_starts=np.empty(num_spans, np.int64),
        span_ends=np.empty(num_spans, np.int64),
        span_scores=np.empty(num_spans, np.float64),
    )
