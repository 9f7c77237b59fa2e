"""The search for evaluation items in documents.

Legend: N documents, B bytes, S spans; see taggers/ngram_match_kernels.py for the search and taggers/ngram_index.py for the index.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.arrow_buffers import TextView
from taggers import ngram_align_kernels as align_kernels
from taggers import ngram_match_kernels as kernels
from taggers.ngram_index import Item, ItemIndex, ItemRules, build_index
from taggers.ngram_index_kernels import Index
from taggers.ngram_score_kernels import WINDOW_SLOTS, Scratch, Settings
from taggers.ngram_tokens import Int64, Tokens, encode_pieces, make_tables, max_tokens

__all__ = ["Item", "ItemIndex", "ItemRules", "Matches", "build_index", "find_items"]


# by (Settings.aligned, Settings.plain): a kernel for each rule, so that nobody waits for the others' compilation
_SEARCHES = {
    (True, False): align_kernels.align_items_kernel,
    (False, True): kernels.find_items_plainly_kernel,
    (False, False): kernels.find_items_kernel,
}
_TOKEN_SEARCHES = {
    (True, False): align_kernels.align_token_items_kernel,
    (False, True): kernels.find_token_items_plainly_kernel,
    (False, False): kernels.find_token_items_kernel,
}


class Matches(NamedTuple):
    """Findings in N documents with S spans."""

    scores: npt.NDArray[np.float64]  # float64 (N,)  best score, 0 when nothing was found
    items: Int64  # int64 (N,)    number of the best item in ItemIndex.items, -1 when nothing was found
    overlaps: npt.NDArray[np.float64]  # float64 (N, 3)  how much of its question, answer and passage was found
    span_offsets: Int64  # int64 (N + 1,)  spans of document i: span_offsets[i] to span_offsets[i + 1]
    span_starts: Int64  # int64 (S,)    UTF-8 bytes from the document's start; sorted and disjoint within a document
    span_ends: Int64  # int64 (S,)
    span_scores: npt.NDArray[np.float64]  # float64 (S,)
    span_items: Int64  # int64 (S,)    number of the item that the span is of


def find_items(texts: TextView, *, index: ItemIndex, settings: Settings, tokenizer: str | None = None) -> Matches:
    """Search N documents for all items.

    Parameters
    ----------
    texts : TextView        N texts in UTF-8; may be read-only
    index : ItemIndex       built for these settings, from texts encoded in the same way
    settings : Settings     plain: every n-gram of an item that reaches the threshold is marked, in place of scored items
    tokenizer : str         of a byte-level BPE vocabulary; None: words

    Raises
    ------
    ConfigError             see taggers.ngram_tokens.encode_pieces

    Guarantees              the same findings for any batch split; sums run in the order of the item
    Cost                    words: about B / 6 tokens hashed; decon: one n-gram of stride_tokens looked up. Aligned: each of them, and for each
                            place that the seeds of a question of n tokens agree on at most n (2.4 n + 24) steps of an alignment, and
                            800 for each token of the answer up to 400. There may be a place every n / 8 + 8 tokens, so that the most is some 20
                            n steps for each token of a document: 2,000 words of a question and text that was made for it take
                            some 40 us a word.
    Memory                  up to 130 bytes per item, 8 per n-gram of any part, 37 per byte of the longest text
    """
    # an n-gram of so many items starts nothing: decon's rule, by the number of items read
    hot = max(settings.hot_ngram_items, 2 * math.isqrt(index.num_read))
    settings = settings._replace(hot_ngram_items=hot)
    num_docs = len(texts.offsets) - 1
    pieces = encode_pieces(texts, tokenizer=tokenizer) if tokenizer is not None else None
    longest = int(np.diff(texts.offsets).max(initial=0))
    capacity = max_tokens(longest) if pieces is None else int(np.diff(pieces.offsets).max(initial=0))
    found = _allocate_found(num_docs, 1024)
    while True:
        scratch = _allocate_scratch(index.arrays, settings, capacity)
        _search(texts, pieces, index.arrays, settings, scratch, found)
        num_spans = int(scratch.state[0])
        if num_spans < len(found.span_rows):
            break
        found = _allocate_found(num_docs, 2 * num_spans)
    rows = found.span_rows[:num_spans]
    return Matches(
        found.scores,
        found.items,
        found.overlaps,
        np.searchsorted(rows, np.arange(num_docs + 1)).astype(np.int64),
        found.span_starts[:num_spans],
        found.span_ends[:num_spans],
        found.span_scores[:num_spans],
        found.span_items[:num_spans],
    )


def _search(
    texts: TextView, pieces: Tokens | None, index: Index, settings: Settings, scratch: Scratch, found: kernels.Found
) -> None:
    which = (settings.aligned, settings.plain)
    if pieces is None:
        _SEARCHES[which](texts.data, texts.offsets, make_tables(), index, settings, scratch, found)
    else:
        _TOKEN_SEARCHES[which](pieces, index, settings, scratch, found)


def _allocate_scratch(index: Index, settings: Settings, capacity: int) -> Scratch:
    num_items = len(index.owner_items)
    num_owners = len(index.owner_offsets) - 1 if settings.aligned else 0
    num_hits, num_cells = capacity if settings.plain else 0, capacity + 1 if settings.aligned else 0
    num_before = 0 if settings.plain else capacity
    return Scratch(
        state=np.zeros(3, np.int64),
        tokens=np.empty(capacity, np.uint64),
        starts=np.empty(capacity, np.int64),
        ends=np.empty(capacity, np.int64),
        row=np.empty(num_cells, np.float64),
        begins=np.empty(num_cells, np.int64),
        hits=np.empty((2, num_hits), np.int64),
        stamps=np.zeros(len(index.entry_owners), np.int64),
        answer_stamps=np.zeros(len(index.answer_grams.hashes), np.int64),
        passage_stamps=np.zeros(len(index.passage_grams.hashes), np.int64),
        item_slots=np.full(num_items, -1, np.int32),
        seen_until=np.full(num_items, -1, np.int64),
        slot_items=np.empty(num_items, np.int32),
        slot_first=np.empty(num_items, np.int64),
        slot_last=np.empty(num_items, np.int64),
        slot_misses=np.empty(num_items, np.int64),
        slot_hit=np.full(num_items, -1, np.int64),
        slot_seeds=np.empty(num_items, np.int64),
        class_ends=np.empty(num_items, np.int64),
        members=index.owner_items.copy(),
        owner_rows=np.full(num_owners, -1, np.int64),
        owner_windows=np.full((num_owners, 2), -1, np.int64),
        owner_places=np.empty((num_owners, 2), np.int64),
        owner_overlaps=np.empty(num_owners, np.float64),
        active=np.empty(num_items, np.int32),
        memo=np.zeros(6, np.int64),
        window_words=np.empty(WINDOW_SLOTS, np.uint64),
        window_stamps=np.zeros(WINDOW_SLOTS, np.int64),
        kept_words=np.empty(align_kernels.MAX_ANSWER_TOKENS, np.uint64),
        kept_weights=np.empty(align_kernels.MAX_ANSWER_TOKENS, np.float64),
        hit_places=np.empty(num_before, np.int64),
        hit_keys=np.empty(num_before, np.uint64),
        bounds=np.zeros(4, np.int64),
        overlaps=np.zeros(3, np.float64),
    )


def _allocate_found(num_docs: int, num_spans: int) -> kernels.Found:
    return kernels.Found(
        scores=np.zeros(num_docs, np.float64),
        items=np.full(num_docs, -1, np.int64),
        overlaps=np.zeros((num_docs, 3), np.float64),
        span_rows=np.empty(num_spans, np.int64),
        span_starts=np.empty(num_spans, np.int64),
        span_ends=np.empty(num_spans, np.int64),
        span_scores=np.empty(num_spans, np.float64),
        span_items=np.empty(num_spans, np.int64),
    )
