"""Training of a fastText model with labels, repeatable to the byte; taggers.train_labels draws, splits, measures and writes.

How it repeats. fastText with one thread does the same steps in the same order every time, but its builds of the 0.9.3 kind
fill only the first tenth of the input matrix then and leave the rest as the memory was. Without word n-grams and character
n-grams the matrix has one row per word of the vocabulary, and `pretrainedVectors` overwrites the rows of the words it
lists. So the vocabulary is counted here by fastText's own rules, every word gets a seeded vector, and after training the
model's words must be exactly the listed ones. Rows of n-grams nobody can set: with them the matrix begins in fresh memory, as
zeros (taggers.fasttext_memory), and after training the rows that no text reaches must still be so.

Source of the defaults: DCLM's classifier (dimension, rate and epochs are fastText's defaults), except word_ngrams.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
from pydantic import Field, model_validator

from dolma_py.config import Config
from dolma_py.errors import DolmaError
from dolma_py.hashing import derive_seed
from taggers.fasttext_memory import LEAST_BYTES, check_untouched, fresh_memory
from taggers.fasttext_model import LABEL_PREFIX, SEPARATORS

_END_OF_TEXT = "</s>"
_NUM_LEVELS = 4096  # of the seeded start vectors: enough, and text of fixed width is written 20 times faster


class FastTextOptions(Config):
    """What fastText is told, and which texts are kept from it."""

    dim: int = Field(100, ge=1, le=1000, description="length of word vectors; fastText's default")
    epochs: int = Field(5, ge=1, description="passes over the training texts; fastText's default")
    learning_rate: float = Field(
        0.1, gt=0, description="at the start, falls linearly to 0; fastText's default for labels"
    )
    min_count: int = Field(
        1, ge=1, description="words that stand less often in the training texts are unknown; fastText's default"
    )
    word_ngrams: int = Field(1, ge=1, le=5, description="longest word n-gram; the released DCLM model has 2")
    char_ngrams_min: int = Field(0, ge=0, le=20, description="shortest character n-gram; lid.176 has 2")
    char_ngrams_max: int = Field(0, ge=0, le=20, description="longest character n-gram, 0 for none; lid.176 has 4")
    num_buckets: int = Field(
        200_000, ge=1, description="hash rows of word and character n-grams; used when there are any"
    )
    held_out_frac: float = Field(
        0.1, gt=0, lt=1, description="share of texts, chosen by their hash, kept for the card's figures"
    )
    repeatable: bool = Field(
        True, description="same bytes every time, on one thread; false: 16 threads, another model every time"
    )

    @model_validator(mode="after")
    def _check_ngrams(self) -> FastTextOptions:
        if self.char_ngrams_max and not 1 <= self.char_ngrams_min <= self.char_ngrams_max:
            raise ValueError("expected 1 <= char_ngrams_min <= char_ngrams_max, or char_ngrams_max 0")
        if self.repeatable and self.has_hash_rows and 4 * self.dim * self.num_buckets < LEAST_BYTES:
            raise ValueError(
                f"num_buckets: expected {-(-LEAST_BYTES // (4 * self.dim))} or more for a model that repeats"
            )
        return self

    @property
    def has_hash_rows(self) -> bool:
        """Whether there are n-grams."""
        return self.word_ngrams > 1 or self.char_ngrams_max > 0


def split_words(text: str) -> list[str]:
    """Words of a normalised text as fastText reads them, without those that it would take for a label."""
    return [word for word in SEPARATORS.split(text) if word and not word.startswith(LABEL_PREFIX)]


def _interleave(training: Mapping[str, Sequence[str]], seed: int) -> Iterator[tuple[str, list[str]]]:
    """(label, words) of all training texts in a seeded order: fastText steps through the file as it stands."""
    pairs = [(label, text) for label, texts in training.items() for text in texts]
    order = np.random.Generator(np.random.PCG64(derive_seed(seed, "classifier", "order"))).permutation(len(pairs))
    for index in order.tolist():
        yield pairs[index][0], split_words(pairs[index][1])


def train_model(training: Mapping[str, Sequence[str]], folder: str, seed: int, config: FastTextOptions) -> Any:
    """A trained fastText model of the library; `folder` gets the files that it reads.

    training: normalised texts of each label; their order and that of the labels are part of what must repeat.
    """
    training_path, vectors_path = os.path.join(folder, "training.txt"), os.path.join(folder, "start.vec")
    counts: Counter[str] = Counter()
    with Path(training_path).open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as stream:
        for label, words in _interleave(training, seed):
            counts.update(words)
            counts[_END_OF_TEXT] += 1
            stream.write(f"{LABEL_PREFIX}{label} {' '.join(words)}\n")
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "dim": config.dim,
        "epoch": config.epochs,
        "minCount": config.min_count,
        "wordNgrams": config.word_ngrams,
        "seed": derive_seed(seed, "classifier", "fasttext") % 2**31,
        "verbose": 0,
    }
    if config.has_hash_rows:
        options |= {"minn": config.char_ngrams_min, "maxn": config.char_ngrams_max, "bucket": config.num_buckets}
    if not config.repeatable:
        # 16 threads: the library fills a tenth of the matrix per thread, whatever the machine has
        return _train(training_path, thread=16, **options)
    if config.has_hash_rows:
        with fresh_memory(4 * config.dim * config.num_buckets):
            model = _train(training_path, thread=1, **options)
        check_untouched(
            model,
            (split_words(text) for texts in training.values() for text in texts),
            word_ngrams=config.word_ngrams,
            num_buckets=config.num_buckets,
            has_char_ngrams=config.char_ngrams_max > 0,
        )
        return model
    vocabulary = sorted(word for word, count in counts.items() if count >= config.min_count)
    _write_vectors(vectors_path, vocabulary, config.dim, derive_seed(seed, "classifier", "vectors"))
    model = _train(training_path, thread=1, minn=0, maxn=0, pretrainedVectors=vectors_path, **options)
    if set(model.get_words(on_unicode_error="replace")) != set(vocabulary):
        raise DolmaError(
            f"classifier training: fastText has {len(model.get_words())} words where {len(vocabulary)} were counted, so the "
            "model would not repeat. Please report the text; repeatable: false trains without this promise."
        )
    return model


_NOT_FINITE = "classifier training: fastText made weights that are not finite. Lower learning_rate."


def _train(path: str, **options: Any) -> Any:
    """The library's training; it may see for itself that weights are not finite."""
    try:
        model = fasttext.train_supervised(path, **options)
    except RuntimeError as error:
        if "NaN" in str(error):
            raise DolmaError(_NOT_FINITE) from error
        raise
    if not (np.isfinite(model.get_input_matrix()).all() and np.isfinite(model.get_output_matrix()).all()):
        raise DolmaError(_NOT_FINITE)
    return model


def _write_vectors(path: str, vocabulary: list[str], dim: int, seed: int) -> None:
    """Uniform start values in (-1/dim, 1/dim), on a grid of 4096 levels, in word2vec's text form."""
    levels = (np.arange(_NUM_LEVELS) * 2 + 1 - _NUM_LEVELS) / (_NUM_LEVELS * dim)
    texts = np.array([f" {level:+.9e}" for level in levels], "S")
    generator = np.random.Generator(np.random.PCG64(seed))
    with Path(path).open("wb") as stream:
        stream.write(f"{len(vocabulary)} {dim}\n".encode())
        for word in vocabulary:
            row = texts[generator.integers(0, _NUM_LEVELS, dim)]
            stream.write(word.encode("utf-8", "surrogatepass") + row.tobytes() + b"\n")
