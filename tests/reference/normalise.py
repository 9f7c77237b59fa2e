"""Slow twins of dedup/normalise: the same rules as one regular expression over bytes."""

import re

# one kana or Han character (U+3040-9FFF) | a separator | any other byte
PIECE = re.compile(
    rb"(?P<wide>(?:\xe3[\x81-\xbf]|[\xe4-\xe9][\x80-\xbf])[\x80-\xbf])"
    rb"|(?P<border>[^0-9A-Za-z\x80-\xff]|\xc2[\x80-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf]|\xe2[\x80-\x9f][\x80-\xbf]|\xe3\x80[\x80-\xbf])"
    rb"|(?P<letter>.)",
    re.DOTALL,
)


def find_words(text):
    """(start, end) byte positions of the words of one text."""
    words = []
    open_until = None  # end of a word that may still grow
    for piece in PIECE.finditer(text):
        if piece.lastgroup == "wide":
            words.append(piece.span())
            open_until = None
        elif piece.lastgroup == "border":
            open_until = None
        elif open_until == piece.start():
            words[-1] = (words[-1][0], piece.end())
            open_until = piece.end()
        else:
            words.append(piece.span())
            open_until = piece.end()
    return words


def normalise_texts(texts):
    return [b" ".join(text[start:end].lower() for start, end in find_words(text)) for text in texts]
