"""Slow twin: tokens of one text with their places, character by character."""

import unicodedata

from tests.reference.word_stats import word_class

PUNCTUATION = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2018\u2019\u201c\u201d\u2014")


def split_tokens(text):
    """[(token, start byte, end byte)], lower-cased words."""
    tokens = []
    at = 0
    open_token = False
    for char in text:
        width = len(char.encode("utf-8", "surrogatepass"))
        extends = unicodedata.category(char)[0] == "M" or (unicodedata.category(char) == "Cf" and char != "\u200b")
        if char.isalnum() or (open_token and extends):
            single = word_class(char) == "S"
            if open_token and not single:
                token, start, _ = tokens.pop()
                tokens.append((token + lower(char), start, at + width))
            else:
                tokens.append((lower(char), at, at + width))
            open_token = not single
        else:
            open_token = False
        at += width
    return tokens


def lower(char):
    return char.lower() if len(char.lower()) == 1 else char


def normalize(text):
    """(normalised text, [(first byte, end) of the original character of each of its characters])."""
    out, places = "", []
    at, pending = 0, True
    for char in text:
        width = len(char.encode())
        if char.isspace() or char in PUNCTUATION or char == "\ufffd":
            pending = True
        else:
            if pending:
                out, places, pending = out + " ", [*places, (at, at)], False
            out, places = out + lower(char), [*places, (at, at + width)]
        at += width
    return out, places


def encode_pieces(text, backend):
    """[(piece id, start byte, end byte)] by the tokenizer's own offsets, which are characters of the normalised text."""
    normal, places = normalize(text)
    encoding = backend.encode(normal, add_special_tokens=False)
    bounds = zip(encoding.ids, encoding.offsets, strict=True)
    return [(number, places[first][0], places[end - 1][1]) for number, (first, end) in bounds]
