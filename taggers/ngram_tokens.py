"""Texts as hashed tokens with their places in the text: what n-gram matching compares.

Two ways. `split_words`: lower-cased words, in one kernel. `encode_pieces`: pieces of a byte-level BPE vocabulary over text normalised as
decon does (lower case, punctuation to blanks, blanks collapsed, one blank in front); the tokenizers library does the encoding, and as
the pieces of such a vocabulary add up to its input byte for byte, their places follow from their lengths alone.
Deviation from decon: lower case is that of single characters (a letter whose lower case is two stays as it is).
"""

from __future__ import annotations

import functools
import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError
from dolma_py.token_ids import encode_documents, load_backend
from taggers import ngram_tokens_kernels as kernels
from taggers.characters import TABLE_SIZE, character_table, lower_table

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
KEY = "contamination.tokenizer"
# decon's: the 32 of ASCII, and quotation marks and the dash that pages and books use
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2018\u2019\u201c\u201d\u2014"
PART_BYTES = 1 << 20  # texts normalised at a time; places take 8 bytes for each of 2 bytes


class Tokens(NamedTuple):
    """Tokens of N texts."""

    hashes: UInt64  # uint64 (W,)  equal tokens have equal hashes
    starts: Int64  # int64 (W,)   first byte, from the text's start
    ends: Int64  # int64 (W,)   end of the last character, in bytes
    offsets: Int64  # int64 (N + 1,)  text i has tokens offsets[i]:offsets[i + 1]


@functools.lru_cache(maxsize=1)
def make_tables() -> kernels.Tables:
    """The character tables that the kernels of n-gram matching take."""
    ascii_table = np.zeros(256, np.uint8)
    for code in b"abcdefghijklmnopqrstuvwxyz0123456789":
        ascii_table[code] = ascii_table[ord(chr(code).upper())] = code
    ascii_table.flags.writeable = False
    return kernels.Tables(ascii_table, character_table(), lower_table())


def max_tokens(num_bytes: int) -> int:
    """How many words a text of so many bytes can have at most."""
    return 2 * num_bytes // 3 + 2


def split_words(texts: TextView) -> Tokens:
    """Word tokens of N texts; see ngram_tokens_kernels.split_tokens_kernel."""
    num_docs = len(texts.offsets) - 1
    room = 2 * int(texts.offsets[-1] - texts.offsets[0]) // 3 + 2 * num_docs  # max_tokens of every text
    found = Tokens(np.empty(room, np.uint64), *np.empty((2, room), np.int64), np.zeros(num_docs + 1, np.int64))
    kernels.split_texts_kernel(texts.data, texts.offsets, make_tables(), *found)
    count = found.offsets[-1]
    return Tokens(found.hashes[:count].copy(), found.starts[:count].copy(), found.ends[:count].copy(), found.offsets)


def encode_pieces(texts: TextView, *, tokenizer: str) -> Tokens:
    """Pieces of a byte-level BPE vocabulary of N texts, normalised as decon does; see the head of this file.

    Parameters
    ----------
    texts : TextView        N texts
    tokenizer : str         a tokenizer.json, a folder that holds one, or a name on the hub

    Raises
    ------
    ConfigError             the tokenizer cannot be loaded, or its pieces are not the bytes of its input

    Guarantees              same tokens for any batch split
    Cost                    the tokenizer's; memory about 20 PART_BYTES beside the result
    """
    parts = []
    first, num_docs = 0, len(texts.offsets) - 1
    while first < num_docs:
        limit = int(np.searchsorted(texts.offsets, texts.offsets[first] + PART_BYTES, side="right")) - 1
        last = min(max(limit, first + 1), num_docs)
        parts.append(_encode_part(TextView(texts.data, texts.offsets[first : last + 1]), tokenizer))
        first = last
    counts = [np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)]
    whole = [np.concatenate([part[k] for part in parts]) if parts else np.empty(0, np.int64) for k in range(3)]
    return Tokens(whole[0].astype(np.uint64), whole[1], whole[2], np.cumsum(np.concatenate(counts)))


def fingerprint_tokenizer(tokenizer: str) -> str:
    """blake2b-128 of the tokenizer's settings and vocabulary, 32 hex digits, whatever the path; ConfigError as encode_pieces."""
    _piece_bytes(tokenizer)
    return hashlib.blake2b(load_backend(tokenizer, KEY).to_str().encode(), digest_size=16).hexdigest()


def normalize_texts(texts: TextView) -> tuple[TextView, npt.NDArray[np.int32]]:
    """(normalised texts, int32 (2, V): start and end of the original character of each byte); see normalize_kernel."""
    num_bytes, num_docs = int(texts.offsets[-1] - texts.offsets[0]), len(texts.offsets) - 1
    data, places = np.empty(2 * num_bytes + num_docs, np.uint8), np.empty((2, 2 * num_bytes + num_docs), np.int32)
    offsets = np.zeros(num_docs + 1, np.int64)
    kernels.normalize_kernel(texts.data, texts.offsets, make_tables(), _punctuation_table(), data, places, offsets)
    return TextView(data[: offsets[-1]], offsets), places[:, : offsets[-1]]


def _encode_part(texts: TextView, tokenizer: str) -> Tokens:
    normal, places = normalize_texts(texts)
    pieces = encode_documents(normal, tokenizer=tokenizer, key=KEY)
    ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), _piece_bytes(tokenizer)[pieces.ids]]))
    if not np.array_equal(ends[pieces.offsets], normal.offsets):
        raise _no_bytes(tokenizer)
    hashes = np.empty(len(pieces.ids), np.uint64)
    kernels.hash_ids_kernel(pieces.ids, hashes)
    return Tokens(
        hashes, places[0][ends[:-1]].astype(np.int64), places[1][ends[1:] - 1].astype(np.int64), pieces.offsets
    )


@functools.lru_cache(maxsize=4)
def _piece_bytes(tokenizer: str) -> Int64:
    """int64 (vocabulary,): bytes of each piece. In byte-level vocabularies each character of a piece stands for one byte."""
    backend = load_backend(tokenizer, KEY)
    if backend.normalizer is not None or backend.truncation is not None or backend.padding is not None:
        raise _no_bytes(tokenizer)
    vocabulary = backend.get_vocab(with_added_tokens=True)
    sizes = np.ones(max(vocabulary.values()) + 1, np.int64)
    for piece, number in vocabulary.items():
        sizes[number] = len(piece)
    for number, added in backend.get_added_tokens_decoder().items():
        sizes[number] = len(added.content.encode())
    return sizes


def _no_bytes(tokenizer: str) -> ConfigError:
    rule = "expected a byte-level BPE tokenizer without normalizer, truncation and padding, whose pieces are the bytes of the text"
    return ConfigError(KEY, tokenizer, rule, "Give one of the GPT family (cl100k, dolma2), or leave it out for words.")


@functools.lru_cache(maxsize=1)
def _punctuation_table() -> npt.NDArray[np.uint8]:
    table = np.zeros(TABLE_SIZE, np.uint8)
    table[[ord(character) for character in PUNCTUATION]] = 1
    table.flags.writeable = False
    return table
