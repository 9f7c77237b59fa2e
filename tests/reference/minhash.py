"""Slow twins of dedup/minhash in Python integers."""

from tests.reference import shingles

M32, M64 = (1 << 32) - 1, (1 << 64) - 1


def fmix32(value):
    value = (value ^ (value >> 16)) * 0x85EBCA6B & M32
    value = (value ^ (value >> 13)) * 0xC2B2AE35 & M32
    return value ^ (value >> 16)


def signatures(shingles_of_texts, multiplier, increment):
    rows = []
    for found in shingles_of_texts:
        xs = [fmix32(shingle & M32) for shingle in found]
        pairs = list(zip(multiplier, increment, strict=True))
        rows.append([min([(a * x + c) & M32 for x in xs], default=M32) for a, c in pairs])
    return rows


def mix64(key):
    state = (key + 0x9E3779B97F4A7C15) & M64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & M64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & M64
    return state ^ (state >> 31)


def band_keys(rows, num_bands, num_rows):
    keys = []
    for row in rows:
        keys.append([])
        for band in range(num_bands):
            state = mix64(band)
            for value in row[band * num_rows : (band + 1) * num_rows]:
                state = mix64((state * 0x9FB21C651E98DF25 & M64) ^ value)
            keys[-1].append(state)
    return keys


def candidate_probability(similarity, num_bands, num_rows):
    """Chance that at least one of the bands is equal in all its rows, summed over how many bands are."""
    from math import comb

    band = similarity**num_rows
    return sum(comb(num_bands, k) * band**k * (1 - band) ** (num_bands - k) for k in range(1, num_bands + 1))


def sign_texts(words_of_texts, texts, config, multiplier, increment):
    """(signatures, shingles per document) of texts given as lists of words too."""
    return _sign(shingles.shingle_texts(words_of_texts, texts, config), multiplier, increment)


def sign_normal(normal_texts, texts, config, multiplier, increment):
    """(signatures, shingles per document) of normalised texts given with their original bytes."""
    return _sign(shingles.shingle_normal(normal_texts, texts, config), multiplier, increment)


def _sign(found, multiplier, increment):
    return signatures(found, multiplier, increment), [len(row) for row in found]
