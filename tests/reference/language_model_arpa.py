"""n-grams of an ARPA file, line by line. Imports nothing of ours."""

import re

NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_number(text):
    """The number, None where it is none."""
    return float(text) if NUMBER.fullmatch(text) and abs(float(text)) < float("inf") else None


def parse_ngrams(text, order, count):
    """(probability, words, backoff) of each of the first `count` lines, up to the first that is none."""
    found = []
    for line in text.split(b"\n")[:count]:
        fields = re.split(rb"[ \t\r]+", line.strip(b" \t\r"))
        if not order + 1 <= len(fields) <= order + 2:
            break
        values = [parse_number(fields[0]), parse_number(fields[order + 1]) if len(fields) == order + 2 else 0.0]
        if None in values:
            break
        found.append((values[0], fields[1 : order + 1], values[1]))
    return found
