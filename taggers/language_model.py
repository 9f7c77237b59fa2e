"""An n-gram language model: one table in one file, and what texts score under it.

The file: 8 bytes of magic, the length of a JSON header (uint64, little-endian), the header, blanks up to a multiple of 4,096, the table
as it lies in memory. A local file is mapped, so that the processes of a machine share one copy.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError, DataError, DolmaError
from dolma_py.storage import checksum_file, file_bytes, is_remote, open_read, write_file
from taggers import language_model_kernels as kernels
from taggers.language_model_tokens import MARKS, LanguageModelText, Units, fingerprint_tokenizer, split_units

MAGIC = b"dolmapLM"
FORMAT_VERSION = 1
MAX_ORDER = 8
_SLOTS_AT_ONCE = 1 << 16  # that are written
BLOCK_TOKENS = 256  # whose lookups are under way at once: their cache lines fill half of the innermost cache
_PAGE = 4096
_MAX_HEADER_BYTES = 1 << 20
_MAX_SLOTS = 2**32 - 1  # a slot is found by 32 bits of its key
_HINT = "Expected a model of `dolma-py language-model train`."


class NGrams(NamedTuple):
    """The n-grams of one order, G of them."""

    keys: npt.NDArray[np.uint64]  # uint64 (G,)
    log_probs: npt.NDArray[np.float32]  # float32 (G,)  log10
    backoffs: npt.NDArray[np.float32]  # float32 (G,)  log10


class LanguageModel(NamedTuple):
    """A model and what identifies it."""

    order: int
    counts: tuple[int, ...]  # n-grams of each order, 1-grams first; sentence marks and the unknown word among them
    text: LanguageModelText | None  # how its text was read; None for a model of another program
    table: npt.NDArray[np.uint64]  # uint64 (S, 2)  see language_model_kernels
    fingerprint: str = ""  # xxh3-128 of the file
    tokenizer_fingerprint: str = ""  # of the tokenizer whose pieces were counted


class Scores(NamedTuple):
    """What N texts score."""

    log_probs: npt.NDArray[np.float64]  # float64 (N,)  log10 probability, ends of units among what is predicted
    num_tokens: npt.NDArray[np.int64]  # int64 (N,)    ends of units not among them
    num_units: npt.NDArray[np.int64]  # int64 (N,)    lines, paragraphs or documents that are not blank
    num_unknown: npt.NDArray[np.int64]  # int64 (N,)    tokens that the model does not know
    unit_losses: npt.NDArray[
        np.float64
    ]  # float64 (N, 3)  least, largest and mean -log10 probability per token of the units


def build_table(
    orders: Iterable[NGrams], num_ngrams: int, zeros: Callable[[int, Any], npt.NDArray[Any]] = np.zeros
) -> npt.NDArray[np.uint64]:
    """The table of the n-grams of all orders, 1-grams first, two thirds full.

    zeros           makes the memory that the table lies in

    Raises
    ------
    DolmaError      two n-grams with one key (one chance in 2^65 for each pair), or more than 2.8 billion n-grams
    """
    num_slots = num_ngrams * 3 // 2 + 8
    if num_slots > _MAX_SLOTS:
        raise DolmaError(
            f"language model: {num_slots} slots are wanted, at most {_MAX_SLOTS} can be found. Prune more."
        )
    table = zeros(2 * num_slots, np.uint64).reshape(num_slots, 2)
    for order, grams in enumerate(orders, 1):
        row = kernels.insert_ngrams_kernel(table, table.view(np.float32), *grams)
        if row >= 0:
            raise DolmaError(f"language model: {order}-gram {row} has the key of another. Does it stand twice?")
    return table


def save_model(path: str, model: LanguageModel, facts: dict[str, Any]) -> None:
    """Write a model's file; `facts` go into its header."""
    header = {
        "format": "dolma-py-language-model",
        "version": FORMAT_VERSION,
        "order": model.order,
        "counts": list(model.counts),
        "num_slots": len(model.table),
        "text": None if model.text is None else model.text.model_dump(),
        "tokenizer_fingerprint": fingerprint_tokenizer(model.text) if model.text is not None else "",
        "facts": facts,
    }
    encoded = json.dumps(header, sort_keys=True, ensure_ascii=True).encode()
    encoded += b" " * (-(len(encoded) + 16) % _PAGE)
    with write_file(path) as stream:
        stream.write(MAGIC + len(encoded).to_bytes(8, "little") + encoded)
        for start in range(0, len(model.table), _SLOTS_AT_ONCE):
            stream.write(model.table[start : start + _SLOTS_AT_ONCE].astype("<u8", copy=False).tobytes())


@functools.lru_cache(maxsize=4)
def load_model(path: str) -> LanguageModel:
    """The model of a file, local or remote; a process loads each path once.

    Raises
    ------
    DataError       no such file, not a model of ours, cut short, or with values that no model has
    """
    num_bytes = file_bytes(path)
    if not num_bytes:
        raise DataError(path, "no such file, or an empty one", hint=_HINT)
    with open_read(path) as stream:
        start = stream.read(16)
        length = int.from_bytes(start[8:], "little")
        if start[:8] != MAGIC or length > _MAX_HEADER_BYTES:
            raise DataError(path, "not a language model of this program", hint=_HINT)
        header, text = _read_header(path, stream.read(length))
        num_slots = header["num_slots"]
        if num_bytes != 16 + length + 16 * num_slots:
            raise DataError(path, f"expected {16 + length + 16 * num_slots} bytes, got {num_bytes}", hint=_HINT)
        if is_remote(path):
            table = np.frombuffer(stream.read(), "<u8").reshape(num_slots, 2)
        else:
            table = np.memmap(os.path.abspath(path), "<u8", "r", offset=16 + length, shape=(num_slots, 2))
    table = np.asarray(table)
    filled = int(kernels.check_table_kernel(table, table.view(np.float32)))
    if filled < 0:
        raise DataError(path, "a probability or backoff that no model has", hint=_HINT)
    if filled != sum(header["counts"]) or filled * 3 > num_slots * 2:
        problem = f"{filled} n-grams in {num_slots} slots, where its header counts {sum(header['counts'])}"
        raise DataError(path, problem, hint=_HINT)
    return LanguageModel(
        order=header["order"],
        counts=tuple(header["counts"]),
        text=text,
        table=table,
        fingerprint=checksum_file(path),
        tokenizer_fingerprint=header.get("tokenizer_fingerprint", ""),
    )


def _read_header(path: str, encoded: bytes) -> tuple[dict[str, Any], LanguageModelText | None]:
    try:
        header = json.loads(encoded)
        if header["version"] != FORMAT_VERSION:
            raise DataError(path, f"format {header['version']}, this program reads {FORMAT_VERSION}", hint=_HINT)
        whole = [header["order"], header["num_slots"]]
        if not all(type(number) is int and number > 0 for number in whole) or header["order"] > MAX_ORDER:
            raise ValueError(f"order {header['order']}, slots {header['num_slots']}")
        counts = header["counts"]
        if len(counts) != header["order"] or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(f"counts {str(counts)[:100]}")
        if type(header.get("tokenizer_fingerprint", "")) is not str:
            raise ValueError("tokenizer_fingerprint")
        text = None if header["text"] is None else LanguageModelText.model_validate(header["text"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(path, f"its header cannot be read ({type(error).__name__}: {told})", hint=_HINT) from error
    return header, text


def resolve_text(model: LanguageModel, text: LanguageModelText | None, tokenizer: str = "") -> LanguageModelText:
    """How texts are read for a model: by `text`, else as its own was.

    A model's file names the tokenizer of its pieces, but a file of somebody else decides of no path that is opened and no name that is
    fetched: the tokenizer must come from the caller, and be the one that the model was trained with.

    Parameters
    ----------
    tokenizer       a tokenizer.json, a folder that holds one, or a name on the hub; empty: that of `text`

    Raises
    ------
    ConfigError     a model of pieces without a tokenizer, or with another one
    """
    found = text or model.text or LanguageModelText()
    if tokenizer:
        found = found.model_copy(update={"tokenizer": tokenizer})
    if found.tokens != "pieces":
        return found
    if text is None and not tokenizer:
        rule = "expected the tokenizer of the model's pieces"
        raise ConfigError("perplexity.tokenizer", "", rule, f"The model's file calls it {found.tokenizer[:200]!r}.")
    if model.text is not None and fingerprint_tokenizer(found) != model.tokenizer_fingerprint:
        rule = "expected the tokenizer that the model was trained with, it is another one"
        raise ConfigError("perplexity.tokenizer", found.tokenizer, rule)
    return found


def score_units(model: LanguageModel, units: Units) -> Scores:
    """What texts score whose tokens are known; see score_texts."""
    num_texts = len(units.text_offsets) - 1
    counts, sums = np.zeros((num_texts, 3), np.int64), np.zeros((num_texts, 4), np.float64)
    kernels.score_units_kernel(
        units.hashes,
        units.unit_offsets,
        units.text_offsets,
        model.table,
        model.table.view(np.float32),
        model.order,
        MARKS,
        np.zeros(model.order + BLOCK_TOKENS, np.uint64),
        np.zeros(BLOCK_TOKENS, np.int64),
        np.zeros(BLOCK_TOKENS, np.uint64),
        np.zeros(BLOCK_TOKENS + 1, np.int64),
        np.zeros((BLOCK_TOKENS + 1, model.order), np.float64),
        np.zeros(BLOCK_TOKENS, np.float64),
        np.zeros(BLOCK_TOKENS, np.bool_),
        counts,
        sums,
    )
    losses = sums[:, kernels.MIN_UNIT :].copy()
    losses[:, 2] /= np.maximum(counts[:, kernels.UNITS], 1)
    return Scores(
        sums[:, kernels.LOG_PROB],
        counts[:, kernels.TOKENS],
        counts[:, kernels.UNITS],
        counts[:, kernels.UNKNOWN],
        losses,
    )


def score_texts(model: LanguageModel, texts: TextView, text: LanguageModelText | None = None) -> Scores:
    """What N texts score under a model.

    Parameters
    ----------
    model               see load_model
    texts : TextView    N texts in UTF-8; other bytes give some score
    text                how they are read; default: as the model's own text was

    Raises
    ------
    ConfigError         see resolve_text and split_units

    Guarantees          same bits for any batch split
    Cost                O(order) lookups a token; the memory of split_units
    """
    return score_units(model, split_units(texts, resolve_text(model, text)))
