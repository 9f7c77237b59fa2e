"""Slow twins of the kernels over text of PDFs: lines and regular expressions, one document at a time."""

import re

TARGET = rb"(?:[^\x00-\x20()<>]|\([^\x00-\x20()<>]*\))*(?:[ \t]+\"[^\"\n]*\")?\)"
LINK = re.compile(rb"\[(?P<text>[^\[\]\n]*)\]\((?P<target>%b)" % TARGET)
SCHEME = re.compile(rb"https?://|ftp://|www\.|mailto:", re.IGNORECASE)
BARE_SCHEME = re.compile(rb"https?://|ftp://|www\.", re.IGNORECASE)
MAX_LINK_BYTES = 2000


def count_pdf_lines(text):
    """((lines, lines with a pipe, lines that begin with one, characters, digits), sum of each line's share of digits)."""
    lines = ["".join(line.split()) for line in text.split("\n")]
    lines = [line for line in lines if line]
    digits = [sum(char in "0123456789" for char in line) for line in lines]
    total = 0.0
    for line, count in zip(lines, digits, strict=True):
        total += count / len(line)
    pipes = sum("|" in line for line in lines), sum(line.startswith("|") for line in lines)
    return (len(lines), *pipes, sum(map(len, lines)), sum(digits)), total


def url_end(text, at):
    match = BARE_SCHEME.match(text, at)
    if match is None:
        return None
    start = stop = match.end()
    opened = {b"()": 0, b"[]": 0, b"{}": 0}
    while re.match(rb"[!-~]", text[stop : stop + 1]) and text[stop : stop + 1] not in (
        b"<",
        b">",
        b'"',
        b"`",
        b"|",
        b"\\",
    ):
        char = text[stop : stop + 1]
        pair = next((pair for pair in opened if char in pair), None)
        if pair:
            opened[pair] += 1 if pair.startswith(char) else -1
            if opened[pair] < 0:
                break
        stop += 1
    stop = start + len(text[start:stop].rstrip(b"!'*,.:;?_"))
    return stop if stop > start else None


def find_url_references(text):
    """(start, end) of what goes, in order."""
    found, at, close = [], 0, None
    while at < len(text):
        stop = None
        if close and at == close[0]:
            stop, close = close[1], None
        elif text.startswith(b"![", at):
            match = LINK.match(text[at + 1 : at + 1 + MAX_LINK_BYTES])
            stop = at + 1 + match.end() if match else None
        elif text.startswith(b"[", at) and close is None:
            match = LINK.match(text[at : at + MAX_LINK_BYTES])
            if match and SCHEME.match(match["target"]):
                stop, close = at + 1, (at + 1 + len(match["text"]), at + match.end())
        elif text.startswith(b"<", at):
            inner = url_end(text, at + 1)
            stop = inner + 1 if inner is not None and text[inner : inner + 1] == b">" else None
        elif not (at and re.match(rb"\w", text[at - 1 : at], re.ASCII)):
            stop = url_end(text, at)
        if stop is None:
            at += 1
        else:
            found.append((at, stop))
            at = stop
    return found
