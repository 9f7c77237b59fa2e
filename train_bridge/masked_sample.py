"""A conversation as its tokens say it, with what is trained on marked: printed at the start of fine-tuning, where a wrong mask can be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train_bridge.text_tokenizer import TextTokenizer

MAX_PIECE_CHARS = 400  # of one stretch; the middle of a longer one is left out


def mark_trained(
    ids: Sequence[int] | NDArray[np.integer], is_trained: NDArray[np.bool_], tokenizer: TextTokenizer
) -> str:
    """The decoded text with {+ and +} around each stretch of trained tokens; the first token is never a label and stays outside."""
    ids, is_label = np.asarray(ids), np.array(is_trained, dtype=np.bool_)
    is_label[:1] = False
    borders = [0, *(np.flatnonzero(np.diff(is_label)) + 1).tolist(), len(ids)]
    text = ""
    for start, end in zip(borders, borders[1:], strict=False):
        piece = _shorten(tokenizer.decode(ids[start:end].tolist()))
        text += f"{{+{piece}+}}" if end > start and is_label[start] else piece
    return text


def _shorten(text: str) -> str:
    if len(text) <= MAX_PIECE_CHARS:
        return text
    half = MAX_PIECE_CHARS // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"
