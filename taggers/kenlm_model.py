"""KenLM's own binary models, by its Python module where that is installed (`pip install kenlm` builds it).

Slower than the same model as ARPA file, which needs no module: here every token is a Python object.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any, NamedTuple

import numpy as np

from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError, DataError
from dolma_py.storage import checksum_file, local_copy
from dolma_py.token_ids import load_backend
from taggers.language_model import Scores
from taggers.language_model_tokens import (
    BLANK_MARK,
    SENTENCE_END,
    SENTENCE_START,
    UNKNOWN,
    LanguageModelText,
    normalize_text,
    piece_names,
)

_MARKS = {SENTENCE_START, SENTENCE_END, UNKNOWN}


class KenlmModel(NamedTuple):
    """A model of KenLM's and what identifies it."""

    model: Any  # kenlm.Model
    fingerprint: str
    text: LanguageModelText | None = None  # it does not know


def is_kenlm(start: bytes) -> bool:
    """Whether a file that begins so is a binary model of KenLM."""
    return start.startswith(b"mmap lm http://kheafield.com/code")


@functools.lru_cache(maxsize=2)
def load_kenlm(path: str) -> KenlmModel:
    """The model of a file; a process loads each path once.

    Raises
    ------
    ConfigError     the module is not installed
    DataError       KenLM cannot read the file
    """
    try:
        kenlm = importlib.import_module("kenlm")
    except ModuleNotFoundError as error:
        hint = "pip install kenlm (it is compiled), or give the model as an ARPA file."
        raise ConfigError("model_path", path, "expected KenLM's Python module for its binary models", hint) from error
    try:
        with local_copy(path) as copy:
            return KenlmModel(kenlm.Model(copy), checksum_file(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(path, f"KenLM cannot read it ({error})") from error


def split_words(unit: str, text: LanguageModelText) -> list[str]:
    """The tokens of a normalised unit; sentence marks that stand in it are left out."""
    words = unit.split(" ")
    if text.tokens == "characters":
        words = [BLANK_MARK if mark == " " else mark for mark in unit]
    elif text.tokens == "pieces":
        names = piece_names(text.tokenizer)
        encoding = load_backend(text.tokenizer, "language_model.tokenizer").encode(unit, add_special_tokens=False)
        words = [names[number] for number in encoding.ids]
    return [word for word in words if word not in _MARKS]


def score_with_kenlm(model: KenlmModel, texts: TextView, text: LanguageModelText) -> Scores:
    """What N texts score; as taggers.language_model.score_texts, whose log10 probabilities differ by rounding."""
    num_texts = len(texts.offsets) - 1
    log_probs, losses = np.zeros(num_texts), np.zeros((num_texts, 3))
    counts = np.zeros((num_texts, 3), np.int64)  # tokens, units, unknown
    for row in range(num_texts):
        content = texts.data[texts.offsets[row] : texts.offsets[row + 1]].tobytes().decode(errors="replace")
        found = []
        for unit in normalize_text(content, text):
            words = split_words(unit, text)
            scores = list(model.model.full_scores(" ".join(words)))
            total = sum(score for score, _, _ in scores)
            counts[row] += [len(words), 1, sum(unknown for _, _, unknown in scores)]
            log_probs[row] += total
            found.append(-total / (len(words) + 1))
        if found:
            losses[row] = min(found), max(found), sum(found) / len(found)
    return Scores(log_probs, counts[:, 0], counts[:, 1], counts[:, 2], losses)
