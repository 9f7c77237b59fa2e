"""MADLAD-400's first rule: sentences in another language than their document, by a fastText language model.

A sentence is questionable whose most probable label is not that of the whole text. The model is yours (lid.176, GlotLID, one of your own), given by
its path: none is shipped, and without one the rule is not asked. A sentence of which the model knows nothing is of its document's language.

Source: Kudugunta et al. 2023 (MADLAD-400), section 2.3, rule "document consistency"; its model was not published, so labels, and
what counts as another language, are the given model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.arrow_buffers import TextView
from taggers.characters import character_table
from taggers.sentence_languages_kernels import find_sentences_kernel

if TYPE_CHECKING:
    from taggers.fasttext_model import FastTextModel


class Sentences(NamedTuple):
    """Sentences of N texts: those of text i are starts, ends[offsets[i]:offsets[i + 1]], in bytes of the text buffer."""

    starts: npt.NDArray[np.int64]  # (S,)
    ends: npt.NDArray[np.int64]  # (S,)
    offsets: npt.NDArray[np.int64]  # (N + 1,)


class Foreign(NamedTuple):
    """Which sentences of N texts are in another language; none at all where no model was asked."""

    flags: npt.NDArray[np.bool_]  # (S,)
    offsets: npt.NDArray[np.int64]  # (N + 1,)  of the sentences of each text


def find_sentences(texts: TextView) -> Sentences:
    """The sentences of N texts, as the sentence rules of the web filter part them.

    Examples
    --------
    >>> text = np.frombuffer(b"Buy now! It is so.", np.uint8)
    >>> find_sentences(TextView(text, np.array([0, 18])))[:2]
    (array([0, 9]), array([ 7, 18]))
    """
    num_docs = len(texts.offsets) - 1
    room = (int(texts.offsets[-1]) - int(texts.offsets[0])) // 2 + num_docs
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    offsets = np.empty(num_docs + 1, np.int64)
    find_sentences_kernel(texts.data, texts.offsets, character_table(), starts, ends, offsets)
    return Sentences(starts[: offsets[-1]].copy(), ends[: offsets[-1]].copy(), offsets)


def find_foreign(texts: TextView, model: FastTextModel) -> Foreign:
    """Sentences whose label by `model` is not that of their text; each text is asked whole, line feeds as spaces."""
    from taggers.fasttext_model import predict_best  # kernels that no other rule needs

    sentences = find_sentences(texts)
    own, _ = predict_best(model, _decode(texts, texts.offsets[:-1], texts.offsets[1:]))
    labels, _ = predict_best(model, _decode(texts, sentences.starts, sentences.ends))
    rows = np.repeat(np.arange(len(own)), np.diff(sentences.offsets))
    flags = [label is not None and label != own[row] for label, row in zip(labels, rows.tolist(), strict=True)]
    return Foreign(np.array(flags, np.bool_), sentences.offsets)


def no_foreign(num_docs: int) -> Foreign:
    """What is passed on without a model."""
    return Foreign(np.zeros(0, np.bool_), np.zeros(num_docs + 1, np.int64))


def _decode(texts: TextView, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> list[str]:
    return [
        texts.data[start:end].tobytes().decode("utf-8", "replace")
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
