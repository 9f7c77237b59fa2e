"""Slow twins of dedup/shingles: the formulas of its kernels in Python integers, over lists of words."""

import hashlib
import re

import xxhash

M = (1 << 64) - 1
WORD_FACTOR, ROLL_FACTOR = 0xD6E8FEB86659FD93, 0x9E3779B97F4A7C15


def hash_word(word):
    if not word:
        return WORD_FACTOR
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


def by_rules(items, shingles, whole, original, config):
    """What is left of a document's shingles: `whole` is the hash of all its items as one shingle."""
    if not items or len(items) < config.min_items:
        return []
    if len(items) >= config.num_items:
        return shingles
    exact = xxhash.xxh64_intdigest(original)
    return {"one_shingle": [whole], "skip": [], "exact": [exact]}[config.short_documents]


def shingle_texts(words_of_texts, texts, config):
    """Per document given as a list of lower-cased words and as its original bytes; config as the ShingleConfig."""
    found = []
    for words, text in zip(words_of_texts, texts, strict=True):
        items = [hash_word(word) for word in words]
        shingles = shingle_items(items, config.num_items)
        found.append(by_rules(items, shingles, shingle_items(items, len(items))[0] if items else None, text, config))
    return found


def split_items(text, unit):
    """Words between single spaces (empty ones too, but not of a text of spaces), characters, or ids of 4 bytes."""
    if unit == "words":
        return text.split(b" ") if text.strip(b" ") else []
    if unit == "characters":
        return re.findall(rb"[^\x80-\xbf][\x80-\xbf]*|\A[\x80-\xbf]+", text)
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def hash_bytes(items, unit, kind):
    whole = (b" " if unit == "words" else b"").join(items)
    if kind == "sha1":
        return int.from_bytes(hashlib.sha1(whole).digest()[:8], "little")
    return xxhash.xxh64_intdigest(whole)


def shingle_normal(normal_texts, texts, config):
    """Per document given as its normalised bytes and as its original bytes."""
    found = []
    for normal, text in zip(normal_texts, texts, strict=True):
        items, n = split_items(normal, config.unit), config.num_items
        if config.hash == "rolling":
            hashes = [hash_word(item) for item in items]
            shingles, whole = shingle_items(hashes, n), shingle_items(hashes, max(len(hashes), 1))[:1]
        else:
            windows = [items[k : k + n] for k in range(len(items) - n + 1)]
            shingles = [hash_bytes(window, config.unit, config.hash) for window in windows]
            whole = [hash_bytes(items, config.unit, config.hash)]
        found.append(by_rules(items, shingles, whole[0] if items else None, text, config))
    return found


def unique_sets(shingles_of_texts):
    return [sorted(set(shingles)) for shingles in shingles_of_texts]
