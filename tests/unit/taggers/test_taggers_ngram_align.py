"""The alignment against all subsequences, by its examples, and what its numbers mean."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from dolma_py.arrow_buffers import view_text
from dolma_py.numba_options import KERNEL
from taggers import ngram_align_kernels as kernels
from taggers.contamination import ContaminationTaggerConfig
from taggers.ngram_index import HOT_SEED_ITEMS, MAX_SEEDS, Item, build_index
from taggers.ngram_match import Scratch, find_items

WORDS = st.lists(st.integers(0, 3), max_size=7)


@njit(**KERNEL)
def call_align_kernel(words, weights, end, scratch):
    """align_kernel is compiled into others and has no door of its own to Python."""
    return kernels.align_kernel(words, weights, kernels.sum_kernel(weights), 0, end, scratch)


def align(words, weights, tokens):
    size = len(tokens) + 1
    unused = dict.fromkeys(Scratch._fields, np.empty(0, np.int64))
    scratch = Scratch(
        **{**unused, "tokens": np.array(tokens, np.uint64), "row": np.empty(size), "begins": np.empty(size, np.int64)}
    )
    return call_align_kernel(np.array(words, np.uint64), np.array(weights, np.float64), len(tokens), scratch)


def align_by_trying(words, weights, tokens):
    """(share, begin, end) of the heaviest of all common subsequences; of equal ones the earliest end, then the latest begin."""
    found = [(0.0, 0, 0)]
    for count in range(1, min(len(words), len(tokens)) + 1):
        for chosen in combinations(range(len(words)), count):
            weight = sum(weights[k] for k in chosen)
            for places in combinations(range(len(tokens)), count):
                if [words[k] for k in chosen] == [tokens[at] for at in places] and weight > 0:
                    found.append((weight, -(places[-1] + 1), places[0]))
    weight, end, begin = max(found)
    return (weight / sum(weights) if weight else 0.0, begin, -end)


@given(WORDS, WORDS, st.data())
def test_the_alignment_is_the_best_of_all(words, tokens, data):
    # sums of powers of two are exact in any order; a word that weighs nothing begins no alignment of the trial either
    by_word = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=4, max_size=4))
    weights = [by_word[word] for word in words]
    assert align(words, weights, tokens) == align_by_trying(words, weights, tokens)


def test_the_example_of_align_kernel():
    a, b, c, x = range(4)
    assert align([a, b, b, c], [1.0] * 4, [c, b, a, b, x]) == (0.5, 2, 4)


def search(text, items, **options):
    options = {"min_item_tokens": 1, "min_unique_tokens": 1} | options
    config = ContaminationTaggerConfig(items_paths=("x",), **options)
    index = build_index(items, settings=config.settings, rules=config.rules)
    return find_items(view_text(pa.array([text], pa.large_string())), index=index, settings=config.settings)


def test_the_example_of_align_row_kernel():
    found = search("x One, two three and four five six!", [Item("0", "one two three four five six", None)])
    assert (found.scores[0], found.span_starts[0], found.span_ends[0]) == (1.0, 2, 34)


@pytest.mark.parametrize(("inserted", "whole"), [(0, True), (13, True), (14, False), (60, False)])
def test_a_place_may_be_longer_by_its_slack(inserted, whole):
    """40 words have a slack of 8 + 40 // 8 = 13 to each side of where the seeds before the gap say that the question stands."""
    words = [f"w{number}" for number in range(40)]
    # the first seeds are those of equal weight that stand first
    text = " ".join([*words[:30], *["zz"] * inserted, *words[30:]])
    found = search(text, [Item("0", " ".join(words), None)])
    assert bool(found.overlaps[0, 0] == 1.0) is whole and found.scores[0] >= 0.8


def test_seeds_are_the_heaviest_and_few():
    """Rare words make seeds; what many items share makes none where there is anything else."""
    items = [
        Item(str(n), f"the same old words stand before the one word w{n} of item x{n} and behind it", None)
        for n in range(HOT_SEED_ITEMS + 1)
    ]
    config = ContaminationTaggerConfig(items_paths=("x",), min_item_tokens=1)
    arrays = build_index(items, settings=config.settings, rules=config.rules).arrays
    counts = np.diff(arrays.entry_offsets)
    assert set(counts.tolist()) == {6} and sorted(arrays.entry_places[:6].tolist()) == [7, 8, 9, 10, 11, 12]
    words = " ".join(f"w{number}" for number in range(40))
    (alone,) = np.diff(
        build_index([Item("0", words, None)], settings=config.settings, rules=config.rules).arrays.entry_offsets
    )
    assert alone == MAX_SEEDS


def test_items_with_one_question_are_one_group():
    items = [Item(str(n), "one two three four five six", f"answer {n}") for n in range(3)]
    config = ContaminationTaggerConfig(items_paths=("x",), min_item_tokens=1)
    arrays = build_index(
        [*items[:2], Item("9", "another two three four five", None), items[2]], settings=config.settings
    ).arrays
    assert arrays.owner_items.tolist() == [0, 1, 3, 2] and arrays.owner_offsets.tolist() == [0, 3, 4]
    assert np.diff(arrays.entry_offsets).tolist() == [4, 3]
