"""Lists of bad words: read from a file, and counted where they stand by themselves.

Source: datatrove 0.10.1 C4BadWordsFilter, which drops a document with any word of LDNOOBW's list. Deviation: only A to Z become
small letters, which is all that an English list can ask for.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from dolma_py.errors import DataError
from dolma_py.storage import checksum_file, file_bytes, local_copy
from taggers import bad_words_kernels as kernels
from taggers.bad_words_kernels import BadWords
from taggers.spacy_words import class_table


def make_bad_words(words: list[str]) -> BadWords:
    """The list as arrays; outer white space and empty words are left out, A to Z become small."""
    plain = sorted({word.strip().encode().lower() for word in words} - {b""})
    firsts = np.searchsorted([word[0] for word in plain], np.arange(257)).astype(np.int32)
    bounds = np.cumsum([0, *map(len, plain)]).astype(np.int64)
    return BadWords(firsts, bounds, np.frombuffer(b"".join(plain), np.uint8))


@functools.lru_cache(maxsize=8)
def read_bad_words(path: str) -> tuple[BadWords, str]:
    """The words of a file, one a line, and the file's xxh3-128.

    Raises
    ------
    DataError       no such file, an empty one, or one that is not UTF-8
    """
    if not file_bytes(path):
        raise DataError(path, "no such file, or an empty one", hint="Expected one bad word a line.")
    with local_copy(path) as copy, open(copy, "rb") as file:
        content = file.read()
    try:
        words = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(path, f"not UTF-8 ({error})", hint="Expected one bad word a line.") from error
    return make_bad_words(words), checksum_file(path)


def count_bad_words(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], words: BadWords
) -> npt.NDArray[np.int64]:
    """Places in each text where a word of the list stands by itself, int64 (N,).

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing
    """
    counts = np.zeros(len(offsets) - 1, np.int64)
    kernels.bad_words_kernel(data, offsets, class_table(), words, counts)
    return counts
