"""Slow twins of dedup/shingles: the formulas of its kernels in Python integers, over lists of words."""

M = (1 << 64) - 1
WORD_FACTOR, ROLL_FACTOR = 0xD6E8FEB86659FD93, 0x9E3779B97F4A7C15


def hash_word(word):
    state = len(word) * ROLL_FACTOR & M
    for at in range(0, len(word), 8):
        block = int.from_bytes(word[at : at + 8], "little")
        state = (state ^ block) * WORD_FACTOR & M
        state ^= state >> 32
    return state


def mix64(key):
    state = (key + 0x9E3779B97F4A7C15) & M
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & M
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & M
    return state ^ (state >> 31)


def shingle_items(items, num_items):
    """Hashes of the n-grams of one document's item hashes."""
    if not items:
        return []
    width = min(num_items, len(items))
    shingles = []
    for first in range(len(items) - width + 1):
        window = items[first : first + width]
        total = sum(item * pow(ROLL_FACTOR, width - 1 - k, 1 << 64) for k, item in enumerate(window))
        shingles.append(mix64(total & M))
    return shingles


def shingle_texts(words_of_texts, num_words):
    """Per document given as a list of lower-cased words."""
    return [shingle_items([hash_word(word) for word in words], num_words) for words in words_of_texts]


def unique_sets(shingles_of_texts):
    return [sorted(set(shingles)) for shingles in shingles_of_texts]
