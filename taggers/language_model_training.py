"""Counting n-grams and estimating a language model from them: interpolated modified Kneser-Ney, in backoff form.

Source: Chen and Goodman 1998, section 5 (discounts: equation 26); Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model
Estimation", whose program lmplz is what the tests compare with (the same probabilities and backoffs). So are its choices: 1-grams are
interpolated with a uniform distribution over the vocabulary, the unknown word in it and the sentence start not; an n-gram that begins
with the sentence start keeps its plain count; pruning looks at plain counts, discounts are found before it, and what is pruned goes to
the backoff. Deviation: blank units do not count (there a blank line is a sentence).

With memory_bytes text and n-grams lie in files, and are counted and estimated part by part; the arithmetic is the same, and so are the
model's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import Field, field_validator, model_validator

from dolma_py.arrow_buffers import TextView
from dolma_py.config import Config, dump_config
from dolma_py.errors import DataError
from dolma_py.manifest import render_json
from dolma_py.storage import checksum_file, write_bytes
from taggers import language_model_kernels as kernels
from taggers.language_model import MAX_ORDER, LanguageModel, NGrams, build_table, load_model, save_model
from taggers.language_model_arpa import write_arpa
from taggers.language_model_counts import (
    END,
    ROW_BYTES,
    START,
    Counts,
    WorkArrays,
    count_in_runs,
    count_ngrams,
    open_file,
)
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
        description="tokens and ends of units that are counted at most, more is an error; without memory_bytes each takes up to "
        "52 order + 80 bytes of memory",
    )
    memory_bytes: int | None = Field(
        None,
        ge=1 << 16,
        description="memory for counting and estimating, beside the vocabulary: text and n-grams lie in files of TMPDIR then, in sorted "
        "runs of so many bytes; the model is the same; null: all in memory",
    )
    arpa: bool = Field(False, description="write the model as an ARPA file too, for KenLM, SRILM and others")

    @field_validator("prune")
    @classmethod
    def _check_prune(cls, prune: tuple[int, ...]) -> tuple[int, ...]:
        if prune and (prune[0] != 0 or any(low > high for low, high in zip(prune, prune[1:], strict=False))):
            raise ValueError("expected 0 first and numbers that do not fall, such as [0, 0, 1]")
        return prune

    @model_validator(mode="after")
    def _check_arpa(self) -> LanguageModelConfig:
        if self.arpa and self.memory_bytes is not None:
            raise ValueError("arpa takes a text per n-gram in memory: expected memory_bytes null with it")
        return self

    def threshold(self, order: int) -> int:
        """Largest count of the n-grams of an order that are left out."""
        return 0 if not self.prune else self.prune[min(order, len(self.prune)) - 1]

    @property
    def max_memory_bytes(self) -> int:
        """Memory of training at most, beside the words of the vocabulary."""
        return self.max_tokens * self.token_memory_bytes if self.memory_bytes is None else self.memory_bytes

    @property
    def token_memory_bytes(self) -> int:
        """Of a token or an end of a unit, at most, when all its n-grams stand once: 16 bytes of Grams, 12 of Estimate, 24 of the table for each
        n-gram, and what one order needs while it is worked on."""
        return 52 * self.order + 80


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
        self._file = None if config.memory_bytes is None else open_file()
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
            hint = "Raise max_tokens, with memory_bytes where memory is short, or give less text."
            raise DataError("language model training", f"more than {limit} tokens", hint=hint)
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
        if self._file is None:
            self._parts.append(marked)
        else:
            self._file.write(marked.tobytes())

    def take_tokens(self) -> npt.NDArray[np.uint64]:
        """uint64 (T,): all tokens with the marks of their units; they are held no longer here. With memory_bytes they are a mapped file."""
        if self._file is not None and self.num_units:
            self._file.flush()
            return np.asarray(np.memmap(self._file, np.uint64, "r"))
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


def estimate_model(counts: Counts, config: LanguageModelConfig, work: WorkArrays | None = None) -> list[Estimate]:
    """Interpolated modified Kneser-Ney probabilities and backoffs of all n-grams that stay, 1-grams first.

    work            where arrays lie; default: in memory. Changes no bit: every value is a sum in the order of the n-grams' rows

    Raises
    ------
    DataError       no text; or an order whose discounts cannot be found, without discount_fallback
    """
    work = work or WorkArrays()
    num_words = len(counts.word_hashes)
    if not counts.orders[0].counts.any():
        raise DataError("language model training", "the text has no tokens", hint="Give other text.")
    lower: Float64 = np.full(1, 1.0 / (num_words - 1))  # the sentence start is not predicted
    found: list[Estimate] = []
    for order, grams in enumerate(counts.orders, 1):
        adjusted = _adjust_counts(counts, order, work)
        discounts, fell_back = find_discounts(adjusted, order, config, work)
        amounts_of = np.array([0.0, *discounts])
        threshold = config.threshold(order) if order > 1 else -1
        totals, weight = _sum_contexts(counts, order, adjusted, amounts_of, threshold, work)
        probs = work.empty(len(adjusted), np.float64)
        rows = work.empty(len(adjusted), np.int32)
        log_probs = work.empty(len(adjusted), np.float32)
        num_rows = 0
        for part in work.parts(len(adjusted)):
            own, contexts = adjusted[part], grams.contexts[part]
            amounts = amounts_of[np.minimum(own, 3)]
            values = (own - amounts) / totals[contexts] + weight[contexts] * lower[grams.suffixes[part]]
            probs[part] = values
            kept = np.flatnonzero(grams.counts[part] > threshold)
            into = slice(num_rows, num_rows + len(kept))
            rows[into] = part.start + kept
            log_probs[into] = np.minimum(np.log10(values[kept]), 0.0)
            num_rows = into.stop
        if order == 1:
            log_probs[START] = 0.0
        if found:  # the contexts are the n-grams of the order below; an exact 1 gives 0.0, not -0.0
            below = found[-1]
            for part in work.parts(len(below.rows)):
                below.backoffs[part] = np.log10(weight[below.rows[part]]).astype(np.float32) + np.float32(0)
        backoffs = work.zeros(num_rows, np.float32)
        found.append(Estimate(rows[:num_rows], log_probs[:num_rows], backoffs, discounts, fell_back))
        lower = probs
    return found


def _sum_contexts(
    counts: Counts, order: int, adjusted: Int32, amounts_of: Float64, threshold: int, work: WorkArrays
) -> tuple[Float64, Float64]:
    """Of each context the sum of its n-grams' adjusted counts, and the share of it that goes to the order below."""
    grams = counts.orders[order - 1]
    num_contexts = 1 if order == 1 else len(counts.orders[order - 2].counts)
    totals, left = work.zeros(num_contexts, np.float64), work.zeros(num_contexts, np.float64)
    for part in work.parts(len(adjusted)):
        own, contexts = adjusted[part], grams.contexts[part]
        taken = np.where(grams.counts[part] > threshold, amounts_of[np.minimum(own, 3)], own)
        np.add.at(totals, contexts, own.astype(np.float64))
        np.add.at(left, contexts, taken)
    for part in work.parts(num_contexts):
        # not a context: nothing is divided by it, and its backoff is log10 of 1
        is_context = totals[part] > 0
        left[part] = np.divide(left[part], totals[part], out=np.ones(len(is_context)), where=is_context)
    return totals, left


def _adjust_counts(counts: Counts, order: int, work: WorkArrays) -> Int32:
    """How many words stand before an n-gram; plain counts at the highest order and after a sentence start."""
    grams = counts.orders[order - 1]
    if order == len(counts.orders):
        return grams.counts
    adjusted: Int32 = work.zeros(len(grams.counts), np.int32)
    longer = counts.orders[order].suffixes
    for part in work.parts(len(longer)):
        own = longer[part]  # they are in order
        starts = np.flatnonzero(np.concatenate([np.ones(1, np.bool_), own[1:] != own[:-1]]))
        adjusted[own[starts]] += np.diff(np.append(starts, len(own))).astype(np.int32)
    if order > 1:
        for part in work.parts(len(adjusted)):
            adjusted[part] = np.where(grams.first_words[part] == START, grams.counts[part], adjusted[part])
    return adjusted


def find_discounts(
    adjusted: Int32, order: int, config: LanguageModelConfig, work: WorkArrays | None = None
) -> tuple[tuple[float, float, float], bool]:
    """(what is taken from counts of 1, 2, and 3 and more; whether it is the fallback): equation 26 of Chen and Goodman."""
    num = np.zeros(6)
    for part in (work or WorkArrays()).parts(len(adjusted)):
        num += np.bincount(np.minimum(adjusted[part], 5), minlength=6)
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
    if config.memory_bytes is None:
        work = WorkArrays()
        counts = count_ngrams(stream.take_tokens(), config.order)
    else:
        work = WorkArrays(config.memory_bytes // ROW_BYTES)
        counts = count_in_runs(stream.take_tokens(), config.order, work)
    estimates = estimate_model(counts, config, work)
    sizes = tuple(len(estimate.rows) for estimate in estimates)
    table = build_table(_list_ngrams(counts, estimates, work), sum(sizes), work.zeros)
    facts = {
        "data": stream.describe(),
        "discounts": [list(estimate.discounts) for estimate in estimates],
        "orders_with_fallback_discounts": [order for order, estimate in enumerate(estimates, 1) if estimate.fell_back],
    }
    save_model(output_path, LanguageModel(config.order, sizes, config.text, table), facts)
    card = {
        "format": "dolma-py-language-model-card",
        "version": CARD_VERSION,
        "config": dump_config(config.model_copy(update={"memory_bytes": None})),  # which changes nothing
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


def _list_ngrams(counts: Counts, estimates: list[Estimate], work: WorkArrays) -> Iterable[NGrams]:
    keys = np.empty(0, np.uint64)
    for grams, estimate in zip(counts.orders, estimates, strict=True):
        longer = work.empty(len(grams.counts), np.uint64)
        for part in work.parts(len(longer)):
            words = counts.word_hashes[grams.first_words[part]]
            kernels.make_keys_kernel(keys, grams.suffixes[part], words, longer[part])
        keys = longer
        listed = work.empty(len(estimate.rows), np.uint64)
        for part in work.parts(len(listed)):
            listed[part] = keys[estimate.rows[part]]
        yield NGrams(listed, estimate.log_probs, estimate.backoffs)
