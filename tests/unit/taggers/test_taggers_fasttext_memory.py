import ctypes
import subprocess
import sys

import fasttext
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import DolmaError
from taggers import fasttext_memory as module
from taggers.fasttext_memory import check_untouched, fresh_memory, hash_word, ngram_rows

NUM_BUCKETS = 40_000


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
    with fresh_memory(4 * 8 * NUM_BUCKETS):
        model = fasttext.train_supervised(
            str(path), dim=8, lr=0.5, epoch=20, wordNgrams=2, bucket=NUM_BUCKETS, thread=1, verbose=0, **options
        )
    return model, lines


def test_the_rows_that_training_changed_are_the_ones_we_count(tmp_path):
    """The library's own n-grams: rows that are not zero behind its first tenth are exactly those of our hash."""
    model, lines = train_bigrams(tmp_path)
    matrix = model.get_input_matrix()
    num_words = len(matrix) - NUM_BUCKETS
    changed = set(np.flatnonzero(matrix[num_words:].any(axis=1)).tolist())
    first = -(-(matrix.size // 10) // 8) - num_words
    expected = set()
    for words in lines:
        of_text = np.array([hash_word(word.encode()) for word in [*words, "</s>"]], np.int64)
        expected |= set(ngram_rows(of_text, 2, NUM_BUCKETS).tolist())
    assert {row for row in changed if row >= first} == {row for row in expected if row >= first}
    assert len([row for row in expected if row >= first]) >= 3


def test_rows_that_no_text_reaches_are_checked(tmp_path):
    model, lines = train_bigrams(tmp_path)
    check_untouched(model, lines, word_ngrams=2, num_buckets=NUM_BUCKETS, has_char_ngrams=False)
    with pytest.raises(DolmaError, match="memory was not fresh"):
        check_untouched(model, [], word_ngrams=2, num_buckets=NUM_BUCKETS, has_char_ngrams=False)


def test_character_ngrams_are_counted_too(tmp_path):
    model, lines = train_bigrams(tmp_path, minn=2, maxn=3)
    check_untouched(model, lines, word_ngrams=2, num_buckets=NUM_BUCKETS, has_char_ngrams=True)
    with pytest.raises(DolmaError, match="memory was not fresh"):
        check_untouched(model, lines, word_ngrams=2, num_buckets=NUM_BUCKETS, has_char_ngrams=False)


SCATTER = """
import ctypes
from taggers.fasttext_memory import fresh_memory

library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
assert library.mallopt(-3, 32 << 20) == 1  # the blocks below lie in the heap, and are given again
blocks = [library.malloc(3 << 20) for _ in range(16)]
for block in blocks:
    ctypes.memset(block, 1, 3 << 20)
for block in blocks[::2]:  # the others keep them apart
    library.free(block)

def count_ones():
    taken = [library.malloc(2 << 20) for _ in range(8)]  # other holes of the heap may serve some, not all
    counts = [ctypes.string_at(block, 2 << 20).count(1) for block in taken]
    for block in taken:
        library.free(block)
    return counts

print(max(count_ones()) > 1 << 20)
with fresh_memory(2 << 20):
    print(max(count_ones()) == 0)
"""


def test_blocks_begin_as_zeros_where_freed_ones_lie_about():
    """Freed blocks full of ones are not given again while memory is fresh, as they are otherwise.

    In a process of its own: what the heap of this one holds depends on the tests before."""
    done = subprocess.run([sys.executable, "-c", SCATTER], capture_output=True, text=True, timeout=120)
    assert (done.stdout.split(), done.returncode) == (["True", "True"], 0), done.stderr


def test_without_glibc_it_says_so(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(DolmaError, match="glibc"), fresh_memory(1 << 20):
        pass


def test_an_allocator_that_refuses_is_an_error(monkeypatch):
    class Library:
        def mallopt(self, option, value):
            return 0

        class malloc: ...

        class free: ...

    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: Library())
    with pytest.raises(DolmaError, match="takes no options"), fresh_memory(1 << 20):
        pass
