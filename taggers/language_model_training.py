"""Counting n-grams and estimating a language model from them: interpolated modified Kneser-Ney, in backoff form.

Source: Chen and Goodman 1998, section 5 (discounts: equation 26); Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model
Estimation", whose program lmplz is what the tests compare with (the same probabilities and backoffs). So are its choices: 1-grams are
interpolated with a uniform distribution over the vocabulary, the unknown word in it and the sentence start not; an n-gram that begins
with the sentence start keeps its plain count; pruning looks at plain counts, discounts are found before it, and what is pruned goes to
the backoff. Deviation: blank units do not count (there a blank line is a sentence).

How counting goes. Tokens are numbers; an n-gram that ends at a position is the pair of the (n-1)-gram that ends there, itself a number,
and the word before. Pairs are sorted and numbered, order after order: exact, no n-gram is ever mistaken for another, and an n-gram's
suffix and context are rows of the order below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import Field, field_validator

from dolma_py.arrow_buffers import TextView
from dolma_py.config import Config, dump_config
from dolma_py.errors import DataError
from dolma_py.manifest import render_json
from dolma_py.storage import checksum_file, write_bytes
from taggers import language_model_kernels as kernels
from taggers.language_model import MAX_ORDER, LanguageModel, NGrams, build_table, load_model, save_model
from taggers.language_model_arpa import write_arpa
from taggers.language_model_tokens import (
    MARKS,
    SENTENCE_END,
    SENTENCE_START,
    UNKNOWN,
    LanguageModelText,
    piece_hashes,
    piece_names,
    split_units,
)

CARD_VERSION = 1
START, END, UNK = range(3)  # rows of MARKS, and the numbers of these words
_NO_NGRAM = -1

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class LanguageModelConfig(Config):
    """How a model is counted and estimated."""

    order: int = Field(5, ge=1, le=MAX_ORDER, description="words in the longest n-grams; CCNet: 5")
    text: LanguageModelText = Field(LanguageModelText(), description="what its tokens are")
    prune: tuple[int, ...] = Field(
        (),
        description="n-grams of the k-th order that stand at most so often are left out, the last number for all longer ones; "
        "the first must be 0; [0, 0, 1] drops longer n-grams that stand once; empty: all stay",
    )
    discount_fallback: tuple[float, float, float] | None = Field(
        (0.5, 1.0, 1.5),
        description="discounts of an order whose counts allow none (little or made text); null: that is an error",
    )
    max_tokens: int = Field(
        50_000_000,
        ge=1,
        lt=2**31,
        description="tokens and ends of units that are counted at most, more is an error; each takes up to 52 order + 80 bytes of memory",
    )
    arpa: bool = Field(False, description="write the model as an ARPA file too, for KenLM, SRILM and others")

    @field_validator("prune")
    @classmethod
    def _check_prune(cls, prune: tuple[int, ...]) -> tuple[int, ...]:
        if prune and (prune[0] != 0 or any(low > high for low, high in zip(prune, prune[1:], strict=False))):
            raise ValueError("expected 0 first and numbers that do not fall, such as [0, 0, 1]")
        return prune

    def threshold(self, order: int) -> int:
        """Largest count of the n-grams of an order that are left out."""
        return 0 if not self.prune else self.prune[min(order, len(self.prune)) - 1]

    @property
    def max_memory_bytes(self) -> int:
        """Memory of training at most, beside the words of the vocabulary."""
        return self.max_tokens * self.token_memory_bytes

    @property
    def token_memory_bytes(self) -> int:
        """Of a token or an end of a unit, at most, when all its n-grams stand once: 16 bytes of Grams, 12 of Estimate, 24 of the table for each
        n-gram, and what one order needs while it is worked on."""
        return 52 * self.order + 80


class Grams(NamedTuple):
    """The distinct n-grams of one order, G of them."""

    suffixes: (
        Int32  # int32 (G,)  row of the n-gram without its first word among those of the order below; 1-grams: unused
    )
    contexts: Int32  # int32 (G,)  row of the n-gram without its last word
    first_words: Int32  # int32 (G,)
    counts: Int32  # int32 (G,)  how often it stands


class Counts(NamedTuple):
    """What was counted."""

    word_hashes: npt.NDArray[np.uint64]  # uint64 (V,)  of the words, the three marks first
    orders: list[Grams]  # 1-grams first; 1-gram v is word v


class Estimate(NamedTuple):
    """One order of the estimated model: what is listed."""

    rows: Int32  # int32 (K,)  rows of Grams that were not pruned
    log_probs: npt.NDArray[np.float32]  # float32 (K,)
    backoffs: npt.NDArray[np.float32]  # float32 (K,)
    discounts: tuple[float, float, float]
    fell_back: bool


class TokenStream:
    """The tokens of a training text, batch by batch, with the bytes of each word."""

    def __init__(self, config: LanguageModelConfig) -> None:
        self.config = config
        self.names: dict[int, bytes] = {}  # hash -> word
        self.num_bytes = self.num_texts = self.num_tokens = self.num_units = 0
        self._parts: list[npt.NDArray[np.uint64]] = []
        self._digest = xxhash.xxh3_128()

    def add(self, texts: TextView) -> None:
        """Take N texts. DataError past max_tokens."""
        units = split_units(texts, self.config.text)
        num_units = len(units.unit_offsets) - 1
        self.num_units += num_units
        self.num_tokens += len(units.hashes)
        if self.num_tokens + 2 * self.num_units > self.config.max_tokens:
            limit = self.config.max_tokens
            raise DataError(
                "language model training", f"more than {limit} tokens", hint="Raise max_tokens or give less text."
            )
        for start, end in zip(texts.offsets[:-1].tolist(), texts.offsets[1:].tolist(), strict=True):
            self._digest.update((end - start).to_bytes(8, "little") + texts.data[start:end].tobytes())
        self.num_bytes += int(texts.offsets[-1] - texts.offsets[0])
        self.num_texts += len(texts.offsets) - 1
        if self.config.text.tokens != "pieces":
            new, firsts = np.unique(units.hashes, return_index=True)
            for key, at in zip(new.tolist(), firsts.tolist(), strict=True):
                if key not in self.names:
                    self.names[key] = units.data[units.starts[at] : units.ends[at]].tobytes()
        # sentence start before and sentence end behind each unit
        marked = np.empty(len(units.hashes) + 2 * num_units, np.uint64)
        lengths = np.diff(units.unit_offsets)
        starts = units.unit_offsets[:-1] + 2 * np.arange(num_units)
        inside = np.ones(len(marked), np.bool_)
        inside[starts] = inside[starts + lengths + 1] = False
        marked[inside] = units.hashes
        marked[starts], marked[starts + lengths + 1] = MARKS[START], MARKS[END]
        self._parts.append(marked)

    def take_tokens(self) -> npt.NDArray[np.uint64]:
        """uint64 (T,): all tokens with the marks of their units; they are held no longer here."""
        tokens = np.concatenate([np.empty(0, np.uint64), *self._parts])
        self._parts = []
        return tokens

    def word_names(self, hashes: npt.NDArray[np.uint64]) -> list[bytes]:
        """The words of hashes, the three marks first."""
        names = self.names
        if self.config.text.tokens == "pieces":
            pieces = zip(
                piece_hashes(self.config.text.tokenizer).tolist(), piece_names(self.config.text.tokenizer), strict=True
            )
            names = {key: piece.encode() for key, piece in pieces}
        marks = [mark.encode() for mark in (SENTENCE_START, SENTENCE_END, UNKNOWN)]
        return [*marks, *(names[key] for key in hashes[3:].tolist())]

    def describe(self) -> dict[str, Any]:
        """Counts and fingerprint of the text, for a card."""
        return {
            "num_texts": self.num_texts, "num_bytes": self.num_bytes, "num_units": self.num_units, "num_tokens": self.num_tokens,
            "fingerprint": self._digest.hexdigest(),
        }  # fmt: skip


def count_ngrams(tokens: npt.NDArray[np.uint64], order: int) -> Counts:
    """The n-grams of 1 to `order` words of a text with marks, no n-gram across units.

    tokens : uint64 (T,)    hashes; each unit begins with MARKS[START] and ends with MARKS[END]

    Cost                    O(order T log T) time; 16 bytes an n-gram and 76 a token
    """
    hashes = np.unique(tokens)
    hashes = np.concatenate([MARKS, hashes[~np.isin(hashes, MARKS)]])
    by_hash = np.argsort(hashes)
    words = by_hash[np.searchsorted(hashes[by_hash], tokens)].astype(np.int32)
    starts = np.flatnonzero(words == START)
    place = np.arange(len(words), dtype=np.int32)  # in its unit
    place -= np.repeat(starts, np.diff(np.append(starts, len(words)))).astype(np.int32)
    positions = np.flatnonzero(place > 0)
    grams = np.where(place > 0, words, _NO_NGRAM).astype(np.int32)  # number of the n-gram that ends at each position
    plain = np.bincount(words[positions], minlength=len(hashes)).astype(np.int32)
    all_words = np.arange(len(hashes), dtype=np.int32)
    nothing = np.zeros(len(hashes), np.int32)
    orders = [Grams(nothing, nothing, all_words, plain)]
    contexts_of = words  # at order 1 the sentence start is a context, though no n-gram that is predicted
    for n in range(1, order):
        positions = positions[place[positions] >= n]
        pairs = grams[positions].astype(np.uint64) << np.uint64(32) | words[positions - n].astype(np.uint64)
        distinct, numbers, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        del pairs
        contexts = np.empty(len(distinct), np.int32)
        contexts[numbers] = contexts_of[positions - 1]
        orders.append(
            Grams(
                (distinct >> np.uint64(32)).astype(np.int32),
                contexts,
                distinct.astype(np.uint32).astype(np.int32),
                counts.astype(np.int32),
            )
        )
        grams = np.full(len(words), _NO_NGRAM, np.int32)
        grams[positions] = numbers
        contexts_of = grams
    return Counts(hashes, orders)


def estimate_model(counts: Counts, config: LanguageModelConfig) -> list[Estimate]:
    """Interpolated modified Kneser-Ney probabilities and backoffs of all n-grams that stay, 1-grams first.

    Raises
    ------
    DataError       no text; or an order whose discounts cannot be found, without discount_fallback
    """
    num_words = len(counts.word_hashes)
    if not counts.orders[0].counts.any():
        raise DataError("language model training", "the text has no tokens", hint="Give other text.")
    lower: Float64 = np.full(1, 1.0 / (num_words - 1))  # the sentence start is not predicted
    found: list[Estimate] = []
    for order, grams in enumerate(counts.orders, 1):
        adjusted = _adjust_counts(counts, order)
        discounts, fell_back = find_discounts(adjusted, order, config)
        kept = grams.counts > config.threshold(order) if order > 1 else np.ones(num_words, np.bool_)
        amounts = np.array([0.0, *discounts])[np.minimum(adjusted, 3)]
        num_contexts = 1 if order == 1 else len(counts.orders[order - 2].counts)
        totals = np.bincount(grams.contexts, weights=adjusted, minlength=num_contexts)
        left = np.bincount(grams.contexts, weights=np.where(kept, amounts, adjusted), minlength=num_contexts)
        # not a context: nothing is divided by it, and its backoff is log10 of 1
        weight = np.divide(left, totals, out=np.ones(num_contexts), where=totals > 0)
        probs = (adjusted - amounts) / totals[grams.contexts] + weight[grams.contexts] * lower[grams.suffixes]
        if found:  # the contexts are the n-grams of the order below; an exact 1 gives 0.0, not -0.0
            backoffs = np.log10(weight[found[-1].rows]).astype(np.float32) + np.float32(0)
            found[-1] = found[-1]._replace(backoffs=backoffs)
        rows = np.flatnonzero(kept).astype(np.int32)
        log_probs = np.minimum(np.log10(probs[rows]), 0.0).astype(np.float32)
        if order == 1:
            log_probs[START] = 0.0
        found.append(Estimate(rows, log_probs, np.zeros(len(rows), np.float32), discounts, fell_back))
        lower = probs
    return found


def _adjust_counts(counts: Counts, order: int) -> Int32:
    """How many words stand before an n-gram; plain counts at the highest order and after a sentence start."""
    grams = counts.orders[order - 1]
    if order == len(counts.orders):
        return grams.counts
    before = np.bincount(counts.orders[order].suffixes, minlength=len(grams.counts)).astype(np.int32)
    if order == 1:
        return before
    return np.where(grams.first_words == START, grams.counts, before)


def find_discounts(adjusted: Int32, order: int, config: LanguageModelConfig) -> tuple[tuple[float, float, float], bool]:
    """(what is taken from counts of 1, 2, and 3 and more; whether it is the fallback): equation 26 of Chen and Goodman."""
    num = np.bincount(np.minimum(adjusted, 5), minlength=6).astype(np.float64)
    if (num[1:4] > 0).all():
        share = num[1] / (num[1] + 2 * num[2])
        found = [k - (k + 1) * share * num[k + 1] / num[k] for k in (1, 2, 3)]
        if all(0 < amount <= k for k, amount in enumerate(found, 1)):
            return (float(found[0]), float(found[1]), float(found[2])), False
    if config.discount_fallback is None:
        problem = f"its {order}-grams' counts allow no discounts"
        raise DataError("language model training", problem, hint="Give more text, or discount_fallback.")
    return config.discount_fallback, True


def train_language_model(texts: Iterable[TextView], *, output_path: str, config: LanguageModelConfig) -> dict[str, Any]:
    """Count and estimate a model, write it and its card, return the card.

    Writes `output_path`, `output_path` + ".card.json", and `output_path` + ".arpa" with config.arpa.

    Parameters
    ----------
    texts           batches of texts in an order that repeats
    output_path     local path or URI; an existing file is replaced when the new one is complete

    Raises
    ------
    DataError       no text, more than config.max_tokens, or no discounts

    Guarantees      same bytes for the same texts and config, whatever the batches
    Cost            at most config.max_memory_bytes of memory beside the vocabulary
    """
    stream = TokenStream(config)
    for batch in texts:
        stream.add(batch)
    counts = count_ngrams(stream.take_tokens(), config.order)
    estimates = estimate_model(counts, config)
    sizes = tuple(len(estimate.rows) for estimate in estimates)
    table = build_table(_list_ngrams(counts, estimates), sum(sizes))
    facts = {
        "data": stream.describe(),
        "discounts": [list(estimate.discounts) for estimate in estimates],
        "orders_with_fallback_discounts": [order for order, estimate in enumerate(estimates, 1) if estimate.fell_back],
    }
    save_model(output_path, LanguageModel(config.order, sizes, config.text, table), facts)
    card = {
        "format": "dolma-py-language-model-card",
        "version": CARD_VERSION,
        "config": dump_config(config),
        "model_fingerprint": checksum_file(output_path),
        "num_words": len(counts.word_hashes),
        "num_ngrams": list(sizes),
        **facts,
    }
    if config.arpa:
        write_arpa(output_path + ".arpa", stream.word_names(counts.word_hashes), counts.orders, estimates)
    write_bytes(output_path + ".card.json", render_json(card))
    load_model.cache_clear()  # the path may have held another model
    return card


def _list_ngrams(counts: Counts, estimates: list[Estimate]) -> Iterable[NGrams]:
    keys = np.empty(0, np.uint64)
    for grams, estimate in zip(counts.orders, estimates, strict=True):
        longer = np.empty(len(grams.counts), np.uint64)
        kernels.make_keys_kernel(keys, grams.suffixes, counts.word_hashes[grams.first_words], longer)
        keys = longer
        yield NGrams(keys[estimate.rows], estimate.log_probs, estimate.backoffs)
