"""Memory in which fastText's training with hash rows repeats: word and character n-grams too, on one thread.

With one thread the library's builds of the 0.9.3 kind give a seeded value to the first tenth of the input matrix and leave the rest as
the memory was. glibc gives a large block pages of its own, which the kernel hands out as zeros, unless a freed block that is large
enough lies about. So all such blocks are taken before a model trains: the rest of the matrix starts as zeros, and the same steps give
the same bytes. That it was so is checked afterwards: rows that no n-gram of the training texts reaches must still be zero.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dolma_py.errors import DolmaError

LEAST_BYTES = 1 << 20  # of a matrix: smaller blocks come from the heap, which grows by so much at a time
_DEFAULT_MMAP_BYTES = 1 << 17
_M_MMAP_THRESHOLD, _M_PERTURB = -3, -6  # of mallopt(3)
_IS_MMAPPED = 2  # bit of the word before a block of glibc's
_FNV_START, _FNV_PRIME, _NGRAM_PRIME = 2166136261, 16777619, np.uint64(116049371)  # of fastText's Dictionary
_ADVICE = "repeatable: false trains without this promise."


@contextlib.contextmanager
def fresh_memory(num_bytes: int) -> Iterator[None]:
    """While it is open, blocks of `num_bytes` and more of this thread's allocator begin as zeros.

    num_bytes: LEAST_BYTES or more

    Raises DolmaError where the C library is not glibc.
    """
    assert num_bytes >= LEAST_BYTES
    library = ctypes.CDLL(None)
    try:
        set_option, allocate, release = library.mallopt, library.malloc, library.free
    except AttributeError as error:
        raise DolmaError(
            f"classifier training: n-grams repeat with glibc only, whose mallopt is missing here. {_ADVICE}"
        ) from error
    allocate.restype, allocate.argtypes, release.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    if not (set_option(_M_MMAP_THRESHOLD, LEAST_BYTES) and set_option(_M_PERTURB, 0)):
        raise DolmaError(f"classifier training: the C library takes no options of its allocator. {_ADVICE}")
    held = []
    try:
        while block := allocate(num_bytes):
            held.append(block)  # its pages are not touched, so it costs no memory
            if ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value & _IS_MMAPPED:
                release(held.pop())
                break
        yield
    finally:
        for block in held:
            release(block)
        set_option(_M_MMAP_THRESHOLD, _DEFAULT_MMAP_BYTES)


def hash_word(word: bytes) -> int:
    """fastText's hash of a word: FNV-1a in 32 bits whose bytes are signed; as a signed number, which is how n-grams take it up.

    >>> hash_word(b"a"), hash_word("\\u00e9".encode())
    (-468965076, 1023043777)
    """
    value = _FNV_START
    for byte in word:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * _FNV_PRIME) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def ngram_rows(hashes: npt.NDArray[np.int64], longest: int, num_buckets: int) -> npt.NDArray[np.int64]:
    """Hash rows of all word n-grams of 2 to `longest` words of one text, int64 (M,), in no order.

    hashes: hash_word of the words in order, int64 (N,)
    """
    words = hashes.view(np.uint64)
    found = []
    running = words
    for length in range(2, longest + 1):
        if len(words) < length:
            break
        running = running[:-1] * _NGRAM_PRIME + words[length - 1 :]
        found.append(running % np.uint64(num_buckets))
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)


def check_untouched(
    model: Any, texts: Iterable[list[str]], *, word_ngrams: int, num_buckets: int, has_char_ngrams: bool
) -> None:
    """Raise DolmaError unless all rows that training could not reach are as fresh memory is.

    texts: words of every training text, without the end of text that fastText adds
    """
    hashes = {"</s>": hash_word(b"</s>")}
    is_touched = np.zeros(num_buckets, bool)
    matrix = model.get_input_matrix()
    num_words = len(matrix) - num_buckets
    for words in texts:
        for word in words:
            if word not in hashes:
                hashes[word] = hash_word(word.encode("utf-8", "surrogatepass"))
                if has_char_ngrams:
                    rows = np.array(model.get_subwords(word, on_unicode_error="replace")[1], np.int64)
                    is_touched[rows[rows >= num_words] - num_words] = True
        of_text = np.array([hashes[word] for word in [*words, "</s>"]], np.int64)
        is_touched[ngram_rows(of_text, word_ngrams, num_buckets)] = True
    first = -(-(matrix.size // 10) // matrix.shape[1])  # row after the last one that the library gave values
    rows = np.flatnonzero(~is_touched) + num_words
    rows = rows[rows >= first]
    if matrix[rows].any():
        raise DolmaError(
            f"classifier training: memory was not fresh, {int(matrix[rows].any(axis=1).sum())} of {len(rows)} rows that no text reaches "
            f"are not zero, so the model would not repeat. {_ADVICE}"
        )
