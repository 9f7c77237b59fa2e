"""Made near-copies: words drawn by Zipf's law, and copies in which a share of the words is another one. The same in every run."""

from __future__ import annotations

import functools

import numpy as np

NUM_WORDS = 20_000


@functools.lru_cache(maxsize=2)
def make_vocabulary(num_words: int = NUM_WORDS) -> list[str]:
    """Different words of 3 to 9 letters."""
    generator = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    words = ["".join(generator.choice(letters, size=size)) for size in generator.integers(3, 10, 2 * num_words)]
    return list(dict.fromkeys(words))[:num_words]


def make_near_copies(
    *, num_texts: int, num_copies: int, seed: int, most_replaced: float = 0.15, num_words: tuple[int, int] = (100, 600)
) -> list[str]:
    """num_texts texts, each followed by num_copies - 1 copies with a share of words replaced, drawn from 0 to most_replaced.

    A replaced word changes five 5-grams: a share q of replaced words leaves a Jaccard similarity of about p / (2 - p) with
    p = (1 - q)^5, so q = 0.02 gives 0.83 and q = 0.08 gives 0.49.
    """
    vocabulary = np.array(make_vocabulary())
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(num_texts):
        size = int(generator.integers(*num_words))
        words = vocabulary[generator.zipf(1.3, size) % len(vocabulary)]
        texts.append(" ".join(words))
        for _ in range(num_copies - 1):
            replaced = generator.random(size) < generator.random() * most_replaced
            texts.append(" ".join(np.where(replaced, generator.choice(vocabulary, size), words)))
    return texts
