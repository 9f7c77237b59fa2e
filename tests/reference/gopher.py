"""Slow twin: Gopher quality counts in DCLM's reading."""

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
SYMBOLS = ["#", "...", ". . .", "\u2026"]
BULLETS = ("\u25cf", "\u2022", "*", "-")
ELLIPSES = ("...", ". . .", "\u2026")


def split_segments(text, separator):
    """Stripped parts, blank ones left out."""
    return [part.strip() for part in text.split(separator) if part.strip()]


def count_gopher(text):
    """(words, chars in words, words with a letter, stop words, symbols, lines, bullet lines, ellipsis lines)."""
    words = text.split()
    lines = split_segments(text, "\n")
    return (
        len(words),
        sum(len(word) for word in words),
        sum(any(char.isalpha() for char in word) for word in words),
        sum(word.lower() in STOP_WORDS for word in words),
        sum(text.count(symbol) for symbol in SYMBOLS),
        len(lines),
        sum(line.startswith(BULLETS) for line in lines),
        sum(line.endswith(ELLIPSES) for line in lines),
    )
