"""fastText models: loaded once per process, fed one text normalisation, asked for the probability of a label in batches."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import fasttext
import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError, DataError
from dolma_py.storage import checksum_file, file_bytes, local_copy

LABEL_PREFIX = "__label__"


class FastTextModel(NamedTuple):
    """A supervised model and what identifies it."""

    model: Any
    labels: tuple[str, ...]  # without "__label__", most frequent in training first
    fingerprint: str  # xxh3-128 of the file


def normalize_text(text: str) -> str:
    """The one form in which texts meet fastText, in training and in prediction: line feeds become spaces, nothing else.

    fastText reads one text per line, so a line feed must go; DCLM and Olmo 3 join lines by a space too.
    """
    return text.replace("\n", " ")


@functools.lru_cache(maxsize=8)
def load_model(path: str) -> FastTextModel:
    """The model of a file, local or remote; a process loads each path once.

    Raises
    ------
    DataError       no such file, not a fastText model, or a model without labels
    """
    if not file_bytes(path):
        raise DataError(path, "no such file, or an empty one", hint="Expected a fastText model (.bin or .ftz).")
    try:
        with local_copy(path) as copy:
            model = fasttext.load_model(copy)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise DataError(path, f"fastText cannot read it ({error})", hint="Expected a .bin or .ftz model.") from error
    labels = tuple(label.removeprefix(LABEL_PREFIX) for label in model.get_labels())
    # an unsupervised model answers get_labels with its words
    if not model.get_labels() or not model.get_labels()[0].startswith(LABEL_PREFIX):
        raise DataError(path, "the model has no labels", hint="Expected a supervised model.")
    return FastTextModel(model, labels, checksum_file(path))


def check_label(model: FastTextModel, label: str, key: str) -> None:
    """ConfigError unless the model knows `label`."""
    if label not in model.labels:
        raise ConfigError(key, label, "no such label in the model", f"It has: {', '.join(model.labels[:20])}.")


def predict_label(model: FastTextModel, texts: list[str], *, label: str) -> npt.NDArray[np.float32]:
    """P(label) of each text, float32 (N,), in [0, 1]; NaN where the model knows nothing of the text (not even its end).

    Parameters
    ----------
    texts           any text; normalised here
    label           one of model.labels, without "__label__"

    Raises
    ------
    ConfigError     the model has no such label
    """
    check_label(model, label, "label")
    scores = np.full(len(texts), np.nan, np.float32)
    if not texts:
        return scores
    wanted = LABEL_PREFIX + label
    # the list form works with numpy 2 in every build of the library, the form for one text does not
    labels, probabilities = model.model.predict([normalize_text(text) for text in texts], k=len(model.labels))
    for row, (names, values) in enumerate(zip(labels, probabilities, strict=True)):
        if wanted in names:
            scores[row] = values[names.index(wanted)]
        elif names:
            scores[row] = 0.0
    # softmax tables of the library give values such as 1.00001
    return np.clip(scores, 0.0, 1.0)


def predict_best(model: FastTextModel, texts: list[str]) -> tuple[list[str | None], npt.NDArray[np.float32]]:
    """The most probable label of each text and its probability; None and NaN where the model knows nothing of the text."""
    scores = np.full(len(texts), np.nan, np.float32)
    best: list[str | None] = [None] * len(texts)
    if texts:
        labels, probabilities = model.model.predict([normalize_text(text) for text in texts], k=1)
        for row, (names, values) in enumerate(zip(labels, probabilities, strict=True)):
            if names:
                best[row], scores[row] = names[0].removeprefix(LABEL_PREFIX), values[0]
    return best, np.clip(scores, 0.0, 1.0)
