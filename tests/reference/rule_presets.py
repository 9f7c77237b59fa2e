"""Slow twin: what datatrove, dolma, FineWeb and the Gopher paper count, with Python strings."""

import re
from collections import Counter
from statistics import median

from tests.reference.spacy_words import FACTS, split_words

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]


def members(name):
    found = set()
    for part in FACTS["classes"][name].split():
        low, _, high = part.partition("-")
        found |= set(map(chr, range(int(low, 16), int(high or low, 16) + 1)))
    return found


PUNCTUATION, TERMINAL = members("datatrove_punctuation"), members("datatrove_terminal")


def later(parts):
    """(copies behind the first of their kind, their chars)"""
    seen, found = set(), []
    for part in parts:
        found += [part] if part in seen else []
        seen.add(part)
    return len(found), sum(map(len, found))


def copied(parts):
    """(all copies of what stands twice, their chars)"""
    counts = Counter(parts)
    found = [part for part in parts if counts[part] > 1]
    return len(found), sum(map(len, found))


def grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def top_chars(words, n, space):
    """Chars of the most frequent n-gram, the first of equals, times its count."""
    counts = Counter(grams(words, n))
    if not counts:
        return 0
    gram, count = counts.most_common(1)[0]
    return len(space.join(gram)) * count


def stream_chars(words, n):
    """Chars of n-grams that equal an earlier one as a string, stepping over each."""
    seen, chars, i = set(), 0, 0
    while i < len(words) - n + 1:
        gram = "".join(words[i : i + n])
        if gram in seen:
            chars += len(gram)
            i += n
        else:
            seen.add(gram)
            i += 1
    return chars


def weighted_chars(words, n):
    """(chars of n-grams that stand twice, of all n-grams), every occurrence by itself"""
    counts = Counter(grams(words, n))
    sizes = {gram: count * sum(map(len, gram)) for gram, count in counts.items()}
    return sum(size for gram, size in sizes.items() if counts[gram] > 1), sum(sizes.values())


def covered(spans, keys, n):
    """Characters of text in any n-gram of `keys`."""
    places = set()
    for i, gram in enumerate(grams([word for _, _, word in spans], n)):
        if gram in keys:
            places |= set(range(spans[i][0], spans[i + n - 1][1]))
    return len(places)


def paper_chars(spans, n):
    """(characters that the most frequent repeated n-gram covers, that all repeated ones cover)"""
    counts = Counter(grams([word for _, _, word in spans], n))
    repeated = {gram: count for gram, count in counts.items() if count > 1}
    most = max(repeated.values(), default=0)
    top = max((covered(spans, {gram}, n) for gram, count in repeated.items() if count == most), default=0)
    return top, covered(spans, set(repeated), n)


def count_lines(text):
    """The columns of the kernels' first half."""
    pieces = re.split(r"\n+", text)
    lines = [piece for piece in pieces if piece.strip()]
    paragraphs = re.split(r"\n{2,}", text.strip())
    broken = text.splitlines()
    return [
        len(text), text.count("\n"), len(text) - text.count("\n"), text.count("#"), text.count("...") + text.count("\u2026"),
        len(pieces), *later(pieces), *copied(pieces),
        sum(piece.startswith(("*", "-")) for piece in pieces), sum(piece.endswith("\u2026") for piece in pieces),
        len(lines), later(lines)[1], *copied(lines),
        sum(line[-1] in TERMINAL for line in lines), sum(len(line) <= 30 for line in lines),
        sum(line.strip().startswith(("\u2022", "\u25cf", "-", "*")) for line in lines),
        sum(line.strip().endswith(("...", "\u2026")) for line in lines),
        len(paragraphs), *later(paragraphs), *copied(paragraphs), len(broken),
        sum(line.strip().startswith(("\u2022", "-")) for line in broken),
        sum(line.strip().endswith(("...", "\u2026")) for line in broken),
    ]  # fmt: skip


def count_presets(text):
    """All columns, in the order of the kernels."""
    words = [text[start:end] for start, end in split_words(text)]
    chunks = text.split()
    spans = [(found.start(), found.end(), found.group()) for found in re.finditer(r"\S+", text)]
    spoken = [word for word in words if set(word) - PUNCTUATION]
    weighted = [weighted_chars(chunks, n) for n in range(5, 11)]
    return [
        *count_lines(text),
        len(words), len(spoken), sum(map(len, spoken)), sum(any(map(str.isalpha, word)) for word in words),
        len(set(words) & set(STOP_WORDS)),
        len(chunks), sum(map(len, chunks)), int(2 * median(map(len, chunks))) if chunks else 0,
        sum("#" in chunk or "\u2026" in chunk for chunk in chunks), sum(any(map(str.isalpha, chunk)) for chunk in chunks),
        sum(chunk in STOP_WORDS for chunk in chunks), len({chunk.lower() for chunk in chunks if chunk.isascii()} & set(STOP_WORDS)),
        *(top_chars(words, n, " ") for n in (2, 3, 4)), *(stream_chars(words, n) for n in range(5, 11)),
        *(top_chars(chunks, n, "") for n in (2, 3, 4)), *(pair[0] for pair in weighted), *(pair[1] for pair in weighted),
        *(paper_chars(spans, n)[0] for n in (2, 3, 4)), *(paper_chars(spans, n)[1] for n in range(5, 11)), 2,
    ]  # fmt: skip
