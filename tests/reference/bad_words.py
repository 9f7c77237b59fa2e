"""Slow twin: places where a bad word stands by itself, with regular expressions."""

import re
import string

SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def count_bad_words(text, words, *, ascii_only=False):
    """Characters of the text at which a word begins that stands by itself."""
    if not words:
        return 0
    left, right = ("(?<=[^a-z])", "(?=[^a-z])") if ascii_only else (r"(?<!\w)", r"(?!\w)")
    word = re.compile(left + "(?:" + "|".join(map(re.escape, words)) + ")" + right)
    small = text.translate(SMALL)
    return sum(word.match(small, at) is not None for at in range(len(small)))
