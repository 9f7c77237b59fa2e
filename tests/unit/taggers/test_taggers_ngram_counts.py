"""Counting by tables of hashes against dictionaries."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taggers import ngram_counts
from taggers.ngram_counts import Ngrams
from taggers.ngram_index_kernels import hash_ngram_kernel
from tests.reference import ngram_index as reference

# few tokens, some of which end in the same bits, so that they meet in one slot; 0 and the last number
TOKENS = st.sampled_from([0, 1, 2, 16, 32, 1 << 32, (1 << 64) - 1])
ITEMS = st.lists(st.lists(TOKENS, max_size=8), max_size=6)


def to_arrays(items):
    tokens = np.array([token for item in items for token in item], np.uint64)
    return tokens, np.cumsum([0, *map(len, items)]).astype(np.int64)


@given(st.lists(TOKENS, max_size=40))
def test_keys_are_numbered_by_their_first_places(keys):
    numbers, num_keys = ngram_counts.number_keys(np.array(keys, np.uint64))
    known = reference.distinct(keys)
    assert numbers.dtype == np.int32 and num_keys == len(known)
    assert numbers.tolist() == [known.index(key) for key in keys]


@given(ITEMS)
def test_idf_of_tokens_equals_twin(items):
    weights = reference.weights(items)
    found = ngram_counts.weigh_tokens(*to_arrays(items))
    assert found.tolist() == [weights[token] for item in items for token in item]


@given(st.lists(st.tuples(st.lists(TOKENS, max_size=6), st.lists(TOKENS, max_size=6)), max_size=5))
def test_distinct_tokens_of_all_parts(items):
    parts = [to_arrays([item[part] for item in items]) for part in range(2)]
    assert ngram_counts.count_distinct(parts).tolist() == [len({*first, *second}) for first, second in items]


@given(ITEMS, st.integers(1, 3), st.data())
def test_first_ngrams_equal_twin(items, length, data):
    tokens, offsets = to_arrays(items)
    ignored = np.array(data.draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens))), bool)
    found = ngram_counts.first_ngrams(tokens, offsets, length, ignored)
    expected = []
    for number, item in enumerate(items):
        places = {}
        for at, gram in enumerate(reference.ngrams(item, length)):
            if not ignored[offsets[number] + at]:
                places.setdefault(gram, at)
        for at in places.values():
            expected.append((number, int(hash_ngram_kernel(tokens, int(offsets[number]) + at, length)), at))
    assert list(zip(*(values.tolist() for values in found), strict=True)) == expected
    order = ngram_counts.order_grams(found.hashes, ngram_counts.offsets_of(found.items, len(items)))
    assert order.tolist() == sorted(range(len(expected)), key=lambda gram: expected[gram][:2])


GRAMS = st.lists(
    st.lists(st.tuples(st.sampled_from([5, 7, 8, 9]), st.sampled_from([1.0, 2.0, 3.0])), max_size=5), max_size=5
)


@given(GRAMS, st.integers(0, 3), st.integers(0, 4), st.integers(0, 2))
def test_seeds_are_the_heaviest_that_are_not_hot(items, most, hot_items, most_hot):
    items = [list({key: (key, weight) for key, weight in item}.values()) for item in items]
    rows = [(number, key, place) for number, item in enumerate(items) for place, (key, _) in enumerate(item)]
    weights = np.array([weight for item in items for _, weight in item], np.float64)
    columns = np.array(rows, np.int64).reshape(-1, 3).T.copy()
    grams = Ngrams(columns[0], columns[1].astype(np.uint64), columns[2])
    found = ngram_counts.choose_seeds(grams, weights, len(items), most=most, hot_items=hot_items, most_hot=most_hot)
    expected = []
    for number, item in enumerate(items):
        hot = [sum(key in dict(other) for other in items) > hot_items for key, _ in item]
        may = [place for place in range(len(item)) if all(hot) or not hot[place]]
        ranked = sorted(may, key=lambda place: (-item[place][1], place))[: most_hot if all(hot) else most]
        expected += [(number, item[place][0], place) for place in sorted(ranked)]
    assert list(zip(*(values.tolist() for values in found), strict=True)) == expected


def test_counts_of_items_are_weighed_by_the_c_library():
    assert ngram_counts.idf(np.array([1, 3, 1]), 5).tolist() == [
        1.791759469228055,
        0.6931471805599453,
        1.791759469228055,
    ]
    assert ngram_counts.idf(np.zeros(0, np.int64), 5).tolist() == []
