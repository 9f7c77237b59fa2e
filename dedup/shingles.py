"""Documents as sets of hashed n-grams: of words, characters or tokens.

Legend: N documents, B bytes, W items (words, characters or tokens), S shingles, n items per shingle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dedup.normalise import MAX_DOCUMENT_BYTES, max_words
from dedup.shingles_kernels import (
    shingle_items_kernel,
    shingle_normal_kernel,
    shingle_texts_kernel,
    unique_sets_kernel,
)
from dedup.text_rules import TextRules, apply_rules
from dolma_py.arrow_buffers import TextView
from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import check_offsets, hash_texts
from dolma_py.token_ids import encode_documents

BLOCK_BYTES = 4 << 20  # of text normalised at a time
UNITS = ("words", "characters", "tokens")  # in the order of the kernels' codes, as the two below
HASHES = ("rolling", "xxh64", "sha1")
SHORT_RULES = ("one_shingle", "skip", "exact")


class ShingleConfig(Config):
    """What a shingle is."""

    unit: Literal["words", "characters", "tokens"] = Field("words", description="what a shingle is made of")
    num_items: int = Field(5, ge=1, le=64, description="n: items per shingle; 5: Olmo 3 A.2.2 and FineWeb")
    rules: TextRules = Field("dolma-py", description="normalisation and what a word is, by name; see dedup.text_rules")
    hash: Literal["rolling", "xxh64", "sha1"] = Field(
        "rolling",
        description="64-bit hash of a shingle: our own rolling hash of its items, or XXH64 or SHA-1 of its bytes (words joined by one "
        "space, characters, or ids as 4 bytes each)",
    )
    short_documents: Literal["one_shingle", "skip", "exact"] = Field(
        "one_shingle",
        description="documents of 1 to n - 1 items: one shingle of all items; none (they never meet another); one shingle of the "
        "original bytes (they meet equal texts only). Documents without items never have one",
    )
    min_items: int = Field(1, ge=1, description="documents of fewer items have no shingles")
    tokenizer: str | None = Field(
        None, description="for tokens: tokenizer.json, a folder with one, or a Hugging Face hub name"
    )

    @model_validator(mode="after")
    def _check_tokenizer(self) -> ShingleConfig:
        if self.unit != "tokens" and self.tokenizer is not None:
            raise ValueError(f"tokenizer: has no effect on shingles of {self.unit}, got {self.tokenizer!r}")
        if self.unit == "words" and self.rules == "none":
            raise ValueError("rules: expected rules that say what a word is, got 'none' with unit 'words'")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the fused kernel for our own words and rolling hash applies."""
        return (self.unit, self.rules, self.hash) == ("words", "dolma-py", "rolling")

    @property
    def plan(self) -> npt.NDArray[np.int64]:
        """The settings as kernels take them, int64 (5,)."""
        codes = [UNITS.index(self.unit), self.num_items, HASHES.index(self.hash)]
        return np.array([*codes, SHORT_RULES.index(self.short_documents), self.min_items], np.int64)


class Shingles(NamedTuple):
    """Hashed n-grams of N documents."""

    hashes: npt.NDArray[np.uint64]  # uint64 (S,)
    offsets: npt.NDArray[np.int64]  # int64 (N + 1,)  document i owns hashes[offsets[i]:offsets[i + 1]]


class Block(NamedTuple):
    """Some documents in the form the shingle kernels take: normalised texts or token ids as bytes."""

    first: int  # number of the first document
    texts: TextView  # 8 bytes of padding behind the last
    num_items: int  # of all its documents, or a bound
    exact_hashes: npt.NDArray[
        np.uint64
    ]  # uint64 (documents,) of the original bytes where the rule `exact` asks, else empty


def check_texts(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Contiguous data and offsets; SchemaError where offsets fall or leave the data, or a document has 2 GiB or more."""
    data, offsets = np.ascontiguousarray(data, np.uint8), np.ascontiguousarray(offsets, np.int64)
    check_offsets(len(data), offsets)
    longest = int(np.diff(offsets).max(initial=0))
    if longest > MAX_DOCUMENT_BYTES:
        raise SchemaError("text", f"at most {MAX_DOCUMENT_BYTES} bytes per document", f"{longest} bytes")
    return data, offsets


def exact_hashes(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], config: ShingleConfig
) -> npt.NDArray[np.uint64]:
    """Hashes of the original texts, uint64 (N,), where short documents are taken exactly; else none."""
    return hash_texts(data, offsets) if config.short_documents == "exact" else np.empty(0, np.uint64)


def iterate_blocks(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], config: ShingleConfig
) -> Iterator[Block]:
    """The documents normalised (and tokenized), some BLOCK_BYTES or one document at a time."""
    if config.unit == "tokens" and config.tokenizer is None:
        hint = "Give a tokenizer.json or a hub name; Olmo 3 took p50k_base."
        raise ConfigError("minhash.shingles.tokenizer", None, "expected a tokenizer for shingles of tokens", hint)
    first, num_docs = 0, len(offsets) - 1
    while first < num_docs:
        limit = int(np.searchsorted(offsets, offsets[first] + BLOCK_BYTES, side="right")) - 1
        last = min(max(limit, first + 1), num_docs)
        own = offsets[first : last + 1]
        texts = apply_rules(data, own, rules=config.rules)
        num_items = len(texts.data) + len(own)
        if config.tokenizer is not None:
            tokens = encode_documents(texts, tokenizer=config.tokenizer)
            ids = np.append(tokens.ids.astype("<u4").view(np.uint8), np.zeros(8, np.uint8))
            texts, num_items = TextView(ids, tokens.offsets * 4), len(tokens.ids)
        yield Block(first, texts, num_items, exact_hashes(data, own, config))
        first = last


def shingle_documents(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, config: ShingleConfig
) -> Shingles:
    """Hashes of the shingles of each document, in text order, repeats included.

    Parameters
    ----------
    data : uint8 (B,)               UTF-8 texts or any bytes
    offsets : int64 (N + 1,)        text i is data[offsets[i]:offsets[i + 1]]
    config : ShingleConfig

    Returns
    -------
    shingles : Shingles             equal item sequences give equal hashes; unequal ones differ but with chance 2^-64. Documents
                                    without items, and those that `short_documents` or `min_items` leaves out, have none

    Raises
    ------
    ConfigError                     shingles of tokens without a tokenizer, or one that cannot be loaded
    SchemaError                     offsets fall or leave the data, a document of 2 GiB or more

    Guarantees                      same hashes for any batch split and machine
    Cost                            O(B) time (O(n B) for xxh64 and sha1), 8 bytes per item of the documents and a block of text
    """
    data, offsets = check_texts(data, offsets)
    if config.is_plain:
        hashes, shingle_offsets = np.empty(max_words(offsets), np.uint64), np.empty(len(offsets), np.int64)
        exact = exact_hashes(data, offsets, config)
        total = shingle_texts_kernel(data, offsets, config.plan, exact, hashes, shingle_offsets)
        return Shingles(hashes[:total], shingle_offsets)
    parts, counts = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    for block in iterate_blocks(data, offsets, config):
        room, own = np.empty(block.num_items, np.uint64), np.empty(len(block.texts.offsets), np.int64)
        total = shingle_normal_kernel(*block.texts, config.plan, block.exact_hashes, room, own)
        parts.append(room[:total].copy())
        counts.append(np.diff(own))
    return Shingles(np.concatenate(parts), np.cumsum(np.concatenate(counts)))


def shingle_texts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, num_words: int) -> Shingles:
    """shingle_documents of our own words, `num_words` in a row, with every other setting at its default.

    Raises
    ------
    ConfigError                     num_words outside 1 to 64
    SchemaError                     as shingle_documents
    """
    _check_num_items("num_words", num_words)
    return shingle_documents(data, offsets, config=ShingleConfig(num_items=num_words))


def shingle_items(
    item_hashes: npt.NDArray[np.uint64], item_offsets: npt.NDArray[np.int64], *, num_items: int
) -> Shingles:
    """Hashes of every `num_items` consecutive items (characters, tokens: any uint64 hashes); rules as shingle_texts."""
    _check_num_items("num_items", num_items)
    if item_hashes.dtype != np.uint64:
        raise SchemaError("item_hashes", "uint64", item_hashes.dtype)
    check_offsets(len(item_hashes), item_offsets, "item_offsets")
    hashes, offsets = np.empty(len(item_hashes), np.uint64), np.empty(len(item_offsets), np.int64)
    shingle_items_kernel(item_hashes, np.ascontiguousarray(item_offsets, np.int64), num_items, hashes, offsets)
    return Shingles(hashes[: offsets[-1]], offsets)


def unique_sets(shingles: Shingles) -> Shingles:
    """Each document's shingles as a sorted set without repeats: the form that verification compares."""
    check_offsets(len(shingles.hashes), shingles.offsets)
    hashes, offsets = np.empty(len(shingles.hashes), np.uint64), np.empty(len(shingles.offsets), np.int64)
    total = unique_sets_kernel(shingles.hashes, shingles.offsets, hashes, offsets)
    return Shingles(hashes[:total], offsets)


def shingle_sets(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, num_words: int) -> Shingles:
    """unique_sets of shingle_texts: what a document is for exact Jaccard similarity."""
    return unique_sets(shingle_texts(data, offsets, num_words=num_words))


def _check_num_items(key: str, value: int) -> None:
    if not 1 <= value <= 64:
        raise ConfigError(key, value, "expected 1 to 64", "5 is Olmo 3's for candidates, 3 for verification.")
