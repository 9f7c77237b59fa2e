"""Slow twin of taggers.download_spam: words by Python's own str methods, one character at a time."""

from __future__ import annotations


def count_listed(text: str, listed: tuple[str, ...]) -> tuple[int, int, int, int]:
    """(characters, letters, words, words of the list)."""
    words = [""]
    for char in text:
        if char.isalnum() or char == "_":
            words[-1] += char.lower() if len(char.lower()) == 1 else char
        else:
            words.append("")
    words = [word for word in words if word]
    letters = sum(char.isalpha() for char in text)
    return len(text), letters, len(words), sum(word in listed for word in words)
