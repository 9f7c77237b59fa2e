"""Slow twin of mixers/word_counts_kernels.py: the text decoded, other characters made blanks, words compared."""

from __future__ import annotations

import unicodedata


def is_word_character(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")


def count_whole_words(data: bytes, words: list[bytes]) -> list[int]:
    """How often each word stands in the bytes."""
    text = data.decode("utf-8", "surrogateescape")
    found = "".join(character if is_word_character(character) else " " for character in text).split(" ")
    return [found.count(word.decode("utf-8", "surrogateescape")) if word else 0 for word in words]
