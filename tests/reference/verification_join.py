"""Slow twins of dedup/verification_join: which pairs a prefix filter may skip, by sorting."""

from collections import Counter
from fractions import Fraction
from math import ceil


def count_slots(hashes, num_slots):
    """Hashes per slot."""
    return Counter(h % num_slots for h in hashes)


def prefix_keys(sets, threshold, num_slots):
    """The slots of each set's rarest hashes; threshold is a Fraction."""
    counts = count_slots([h for members in sets for h in members], num_slots)
    found = []
    for members in sets:
        ordered = sorted(members, key=lambda h: (counts[h % num_slots], h % num_slots, h))
        length = len(members) - ceil(Fraction(threshold) * len(members)) + 1 if members else 0
        found.append([h % num_slots for h in ordered[:length]])
    return found
