"""Slow twin of dedup/anchors: the definition of winnowing, one window at a time."""

MASK = (1 << 64) - 1
BASE, MIX = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


def hash_gram(gram):
    value = 0
    for byte in gram:
        value = (value * BASE + byte + 1) & MASK
    value = ((value ^ (value >> 32)) * MIX) & MASK
    return value ^ (value >> 32)


def anchors(text, gram_bytes, window_grams, num_hashes=1 << 64):
    """(hash, start) of the leftmost smallest gram of each window, each once, in order, and thinned; fewer hashes collide."""
    hashes = [hash_gram(text[start : start + gram_bytes]) % num_hashes for start in range(len(text) - gram_bytes + 1)]
    found = set()
    for start in range(len(hashes) - window_grams + 1):
        window = hashes[start : start + window_grams]
        at = start + window.index(min(window))
        found.add((at, hashes[at]))
    return thin([(value, at) for at, value in sorted(found)], window_grams)


def thin(found, window_grams):
    """Of anchors of one hash that follow each other: those that are not left out. Left out is one whose neighbours are near enough
    to each other: the one kept before it, and the one after it."""
    kept = []
    for number, (value, at) in enumerate(found):
        after = found[number + 1] if number + 1 < len(found) else None
        is_between = bool(kept) and kept[-1][0] == value and after is not None and after[0] == value
        if not (is_between and after[1] - kept[-1][1] <= window_grams):
            kept.append((value, at))
    return kept


def surroundings(starts, num_bytes, gram_bytes, window_grams):
    """Ascending spans of the bytes that a stretch of L bytes around any of the grams can have."""
    length = gram_bytes + window_grams - 1
    bytes_near = set()
    for start in starts:
        bytes_near.update(range(max(0, start + gram_bytes - length), min(num_bytes, start + length)))
    spans = []
    for place in sorted(bytes_near):
        if spans and spans[-1][1] == place:
            spans[-1] = (spans[-1][0], place + 1)
        else:
            spans.append((place, place + 1))
    return spans
