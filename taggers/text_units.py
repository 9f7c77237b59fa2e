"""The sentences, lines or paragraphs of texts as byte spans, for taggers that judge parts of documents."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dolma_py.arrow_buffers import TextView
from dolma_py.spans import Spans
from taggers import text_units_kernels as kernels
from taggers.characters import character_table

TextUnit = Literal["sentence", "line", "paragraph"]
_KINDS = {"sentence": kernels.SENTENCE, "line": kernels.LINE, "paragraph": kernels.PARAGRAPH}


def find_units(texts: TextView, unit: TextUnit) -> Spans:
    """The units of N texts, bytes from each text's start, sorted and disjoint; see find_units_kernel for where they end.

    Guarantees      same spans for any batch split; bytes that are not UTF-8 give some units
    Cost            O(B) time, 8 B memory
    """
    num_texts = len(texts.offsets) - 1
    room = int(texts.offsets[-1] - texts.offsets[0]) // 2 + num_texts + 1
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    offsets = np.zeros(num_texts + 1, np.int64)
    count = kernels.find_units_kernel(texts.data, texts.offsets, character_table(), _KINDS[unit], starts, ends, offsets)
    firsts = np.repeat(texts.offsets[:-1], np.diff(offsets))
    return Spans(offsets, starts[:count] - firsts, ends[:count] - firsts)
