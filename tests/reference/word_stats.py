"""Slow twins: lengths, code statistics, words by default boundaries. Python strings, one document at a time."""

import unicodedata

SINGLE_RANGES = [
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x3041, 0x309F),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF), (0x17000, 0x18DFF),
    (0x1B000, 0x1B2FF), (0x20000, 0x3FFFF),
]  # fmt: skip
KATAKANA_RANGES = [
    (0x3031, 0x3035), (0x309B, 0x309C), (0x30A0, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D),
]  # fmt: skip
MID_LETTER = ":\u00b7\u0387\u05f4\u2027\ufe13\ufe55\uff1a"
MID_NUMBER = ",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b"
MID_BOTH = ".'\u2018\u2019\u2024\ufe52\uff07\uff0e"
JOINED = {"LL", "LN", "NL", "NN", "LC", "NC", "KC", "CC", "CL", "CN", "CK", "KK"}


def word_class(char):
    """L letter, N number, K katakana, C connector, S stands alone, E extends, : mid-letter, ; mid-number, . both, "" other."""
    code, category = ord(char), unicodedata.category(char)
    if category[0] == "M" or (category == "Cf" and code != 0x200B):
        return "E"
    if category == "Pc":
        return "C"
    if any(low <= code <= high for low, high in KATAKANA_RANGES):
        return "K"
    if category == "Nd":
        return "N"
    if char.isalpha():
        return "S" if any(low <= code <= high for low, high in SINGLE_RANGES) else "L"
    if char.isalnum():
        return "S"
    return ":" if char in MID_LETTER else ";" if char in MID_NUMBER else "." if char in MID_BOTH else ""


def split_words(text):
    """Words that start with a letter or number, marks included."""
    groups = []  # [class, characters]: a character and the marks behind it
    for char in text:
        kind = word_class(char)
        if kind == "E":
            if groups:
                groups[-1][1] += char
        else:
            groups.append([kind, char])
    kinds = [kind for kind, _ in groups]
    words = []
    start = 0
    for i in range(len(groups)):
        if i + 1 < len(groups) and no_boundary(kinds, i):
            continue
        token = "".join(chars for _, chars in groups[start : i + 1])
        if kinds[start] and kinds[start] in "LNKCS" and token[0].isalnum():
            words.append(token)
        start = i + 1
    return words


def no_boundary(kinds, i):
    """Whether no boundary stands between groups i and i + 1."""
    here, after = kinds[i], kinds[i + 1]
    if here + after in JOINED:
        return True
    for kind, marks in (("L", ":."), ("N", ";.")):
        if here == kind and after and after in marks and i + 2 < len(kinds) and kinds[i + 2] == kind:
            return True
        if here and here in marks and after == kind and i > 0 and kinds[i - 1] == kind:
            return True
    return False


def count_lengths(text):
    """(bytes, chars, words, lines, paragraphs, mean chars of a word)."""
    words = text.split()
    lines = [line for line in text.split("\n") if line.strip()]
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    mean = sum(map(len, words)) / len(words) if words else 0.0
    return len(text.encode()), len(text), len(words), len(lines), len(paragraphs), mean


def count_code(text):
    """(chars, lines, chars of the longest line, chars in lines, alphanumeric chars, letters)."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    lengths = [len(line) for line in lines]
    alnum, alpha = sum(map(str.isalnum, text)), sum(map(str.isalpha, text))
    return len(text), len(lines), max(lengths, default=0), sum(lengths), alnum, alpha
