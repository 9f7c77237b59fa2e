import ctypes

import fasttext
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import DolmaError
from taggers import fasttext_memory as module
from taggers.fasttext_memory import check_untouched, fresh_memory, hash_word, ngram_rows


def slow_rows(hashes, longest, num_buckets):
    """fastText's addWordNgrams as it stands in its dictionary, in plain integers of 64 bits."""
    rows = []
    for start in range(len(hashes)):
        value = hashes[start] % 2**64
        for word in hashes[start + 1 : start + longest]:
            value = (value * 116049371 + word) % 2**64
            rows.append(value % num_buckets)
    return rows


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=12), st.integers(1, 5), st.integers(1, 10**6))
@settings(deadline=None)
def test_rows_are_those_of_the_slow_loop(hashes, longest, num_buckets):
    found = ngram_rows(np.array(hashes, np.int64), longest, num_buckets)
    assert sorted(found.tolist()) == sorted(slow_rows(hashes, longest, num_buckets))


def train_bigrams(tmp_path, **options):
    path = tmp_path / "training.txt"
    lines = [["alpha", "beta", "caf\u00e9"], ["gamma", "beta"], ["x"], []]
    path.write_text("".join(f"__label__{'ab'[i % 2]} {' '.join(words)}\n" for i, words in enumerate(lines)))
    with fresh_memory():
        model = fasttext.train_supervised(
            str(path), dim=8, lr=1.0, epoch=20, wordNgrams=2, bucket=4000, thread=1, verbose=0, **options
        )
    return model, lines


def test_the_rows_that_training_changed_are_the_ones_we_count(tmp_path):
    """The library's own n-grams: rows that are not zero behind its first tenth are exactly those of our hash."""
    model, lines = train_bigrams(tmp_path)
    matrix = model.get_input_matrix()
    num_words = len(matrix) - 4000
    changed = set(np.flatnonzero(matrix[num_words:].any(axis=1)).tolist())
    first = -(-(matrix.size // 10) // 8) - num_words
    expected = set()
    for words in lines:
        of_text = np.array([hash_word(word.encode()) for word in [*words, "</s>"]], np.int64)
        expected |= set(ngram_rows(of_text, 2, 4000).tolist())
    assert {row for row in changed if row >= first} == {row for row in expected if row >= first}
    assert len([row for row in expected if row >= first]) >= 3


def test_rows_that_no_text_reaches_are_checked(tmp_path):
    model, lines = train_bigrams(tmp_path)
    check_untouched(model, lines, word_ngrams=2, num_buckets=4000, has_char_ngrams=False)
    with pytest.raises(DolmaError, match="memory was not fresh"):
        check_untouched(model, [], word_ngrams=2, num_buckets=4000, has_char_ngrams=False)


def test_character_ngrams_are_counted_too(tmp_path):
    model, lines = train_bigrams(tmp_path, minn=2, maxn=3)
    check_untouched(model, lines, word_ngrams=2, num_buckets=4000, has_char_ngrams=True)
    with pytest.raises(DolmaError, match="memory was not fresh"):
        check_untouched(model, lines, word_ngrams=2, num_buckets=4000, has_char_ngrams=False)


def test_without_glibc_it_says_so(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(DolmaError, match="glibc"), fresh_memory():
        pass


def test_an_allocator_that_refuses_is_an_error(monkeypatch):
    class Library:
        @staticmethod
        def mallopt(option, value):
            return 0

    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: Library)
    with pytest.raises(DolmaError, match="takes no options"), fresh_memory():
        pass
