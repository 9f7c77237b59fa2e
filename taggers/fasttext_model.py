"""fastText models: loaded once per process, fed one text normalisation, asked for probabilities of labels in batches.

Models are read as arrays and run by kernels. The library trains them (taggers.train_classifier) and predicts nothing here: `FastTextModel.model` is
its own object for who compares.
Legend: N texts, B bytes of all texts together, L labels, D dimension.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import ConfigError, DataError
from dolma_py.storage import checksum_file, file_bytes, local_copy
from taggers import fasttext_model_kernels as kernels
from taggers.fasttext_file import LABEL_PREFIX as LABEL_PREFIX
from taggers.fasttext_file import ModelArrays, read_model
from taggers.fasttext_output_kernels import best_labels_kernel, score_labels_kernel

SEPARATORS = re.compile("[ \n\r\t\v\f\0]+")  # of words, Dictionary::readWord of fastText
CHUNK_BYTES = 1 << 19  # of text whose words are held at once; a longer text is a chunk of its own

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class FastTextModel:
    """A supervised model and what identifies it.

    arrays          what the kernels read
    labels          without "__label__", most frequent in training first
    fingerprint     xxh3-128 of the file
    """

    def __init__(self, path: str, arrays: ModelArrays, fingerprint: str) -> None:
        self.path, self.arrays, self.labels, self.fingerprint = path, arrays, arrays.labels, fingerprint

    @functools.cached_property
    def model(self) -> Any:
        """The library's own object, a second copy of the matrices in memory: for comparisons with it, no command asks for it."""
        import fasttext

        with local_copy(self.path) as copy:
            return fasttext.load_model(copy)


class LabelScores(NamedTuple):
    """What a model says of N texts."""

    logs: Floats  # float32 (N, L): log(p + 1e-5) as the library has it; -inf: not known, or a probability that is taken for 0
    best: Ints  # int64 (N,): the label with the highest probability; -1: the model knows nothing of the text

    def probabilities(self, label: int) -> Floats:
        """P(label) of each text, float32 (N,), in [0, 1]; NaN where the model knows nothing of the text."""
        return np.where(self.best < 0, np.float32(np.nan), np.minimum(np.exp(self.logs[:, label]), np.float32(1)))

    def best_probabilities(self) -> Floats:
        """P(best label) of each text, float32 (N,), in [0, 1]; NaN where the model knows nothing of the text."""
        logs = self.logs[np.arange(len(self.best)), np.maximum(self.best, 0)]
        return np.where(self.best < 0, np.float32(np.nan), np.minimum(np.exp(logs), np.float32(1)))


def normalize_text(text: str) -> str:
    """The one form in which texts meet fastText, in training and in prediction: line feeds become spaces, nothing else.

    fastText reads one text per line, so a line feed must go; DCLM and Olmo 3 join lines by a space too. The kernels read line feeds as
    spaces, so texts need not be changed for them.
    """
    return text.replace("\n", " ")


@functools.lru_cache(maxsize=8)
def load_model(path: str) -> FastTextModel:
    """The model of a file, local or remote; a process loads each path once.

    Raises
    ------
    DataError       no such file, not a fastText model, a model without labels, or a file that is cut or does not fit together
    """
    if not file_bytes(path):
        raise DataError(path, "no such file, or an empty one", hint="Expected a fastText model (.bin or .ftz).")
    with local_copy(path) as copy:
        return FastTextModel(path, read_model(copy, name=path), checksum_file(copy))


def check_label(model: FastTextModel, label: str, key: str) -> int:
    """Number of a label.

    Raises
    ------
    ConfigError     the model does not know it
    """
    if label not in model.labels:
        raise ConfigError(key, label, "no such label in the model", f"It has: {', '.join(model.labels[:20])}.")
    return model.labels.index(label)


def check_fingerprint(model: FastTextModel, fingerprint: str, key: str) -> None:
    """Raise ConfigError unless the model's file is the one that an earlier run has seen; empty: any file."""
    if fingerprint not in ("", model.fingerprint):
        rule = f"expected the fingerprint of {model.path}, which is {model.fingerprint}"
        raise ConfigError(key, fingerprint, rule, "Is it another model?")


def score_texts(
    models: Sequence[FastTextModel],
    data: Bytes,
    starts: Ints,
    ends: Ints,
    *,
    chosen: Sequence[npt.NDArray[np.bool_] | None] | None = None,
) -> list[LabelScores]:
    """What each model says of N texts; words are split and hashed once for all models.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8; may be read-only; line feeds are read as spaces
    starts, ends : int64 (N,)   text i is data[starts[i]:ends[i]]
    chosen : bool (L,) each     per model: labels that may be the best; None: all of them

    Guarantees                  same values for any batch split; labels are the library's and probabilities within 1e-5 of its own, in
                                float32 sums of the same order (but for models with character n-grams, see the kernels)
    Cost                        scratch of 17 bytes per byte of the longest text or of 512 KiB, 21 with word n-grams; 6 MB for a model with
                                character n-grams; 4 L bytes a text
    """
    found = [
        LabelScores(np.empty((len(starts), len(model.labels)), np.float32), np.empty(len(starts), np.int64))
        for model in models
    ]
    memos = [_allocate_memo(model.arrays) for model in models]
    sizes = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts)])
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(sizes, sizes[first] + CHUNK_BYTES, side="right")) - 1
        last = min(max(last, first + 1), len(starts), first + CHUNK_BYTES)
        tokens = _split_words(data, starts[first:last], ends[first:last])
        for model, scores, memo in zip(models, found, memos, strict=True):
            _score_tokens(model.arrays, data, tokens, memo, scores.logs[first:last])
        first = last
    for number, (model, scores) in enumerate(zip(models, found, strict=True)):
        allowed = chosen[number] if chosen is not None else None
        allowed = np.ones(len(model.labels), np.bool_) if allowed is None else allowed
        best_labels_kernel(scores.logs, model.arrays.output.ranks, allowed, scores.best)
    return found


def _split_words(data: Bytes, starts: Ints, ends: Ints) -> kernels.Tokens:
    capacity = int((ends - starts).sum() + len(starts)) // 2 + 2 * len(starts)
    tokens = kernels.Tokens(
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int64),
        np.empty((capacity, kernels.NUM_TOKEN_COLUMNS), np.uint64),
        np.empty(len(starts) + 1, np.int64),
    )
    kernels.read_words_kernel(data, starts, ends, tokens.starts, tokens.ends, tokens.marks, tokens.offsets)
    return tokens


def _allocate_memo(arrays: ModelArrays) -> kernels.Memo:
    size = kernels.MEMO_WORDS if arrays.words.max_chars > 0 else 1
    dim = arrays.output.weights.shape[1]
    return kernels.Memo(
        np.empty((size, kernels.MEMO_KEY_BYTES // 8), np.uint64),
        np.zeros(size, np.int64),
        np.empty((size, dim), np.float32),
        np.empty((size, kernels.MEMO_KEY_BYTES // 8), np.uint64),
        np.zeros(size, np.int64),
        np.empty((size, kernels.MEMO_ROWS), np.int64),
    )


def _score_tokens(arrays: ModelArrays, data: Bytes, tokens: kernels.Tokens, memo: kernels.Memo, logs: Floats) -> None:
    num_docs = len(tokens.offsets) - 1
    hidden = np.empty((num_docs, arrays.output.weights.shape[1]), np.float32)
    counts = np.empty(num_docs, np.int64)
    kernels.hidden_vectors_kernel(data, tokens, arrays.words, arrays.rows, memo, hidden, counts)
    score_labels_kernel(hidden, counts, arrays.output, logs)


def join_texts(texts: Sequence[str]) -> tuple[Bytes, Ints, Ints]:
    """Python strings as the bytes, starts and ends that `score_texts` reads."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets[:-1], offsets[1:]


def predict_label(model: FastTextModel, texts: list[str], *, label: str) -> Floats:
    """P(label) of each text, float32 (N,), in [0, 1]; NaN where the model knows nothing of the text (not even its end).

    Parameters
    ----------
    texts           any text
    label           one of model.labels, without "__label__"

    Raises
    ------
    ConfigError     the model has no such label
    """
    number = check_label(model, label, "label")
    return score_texts([model], *join_texts(texts))[0].probabilities(number)


def predict_best(model: FastTextModel, texts: list[str]) -> tuple[list[str | None], Floats]:
    """The most probable label of each text and its probability; None and NaN where the model knows nothing of the text."""
    (scores,) = score_texts([model], *join_texts(texts))
    return [model.labels[label] if label >= 0 else None for label in scores.best.tolist()], scores.best_probabilities()
