"""Slow twin: the web filters of Olmo 3 (datamap-rs), DCLM and MADLAD-400 on Python strings, one document and one step at a time."""

import re
import unicodedata

from tests.reference import gopher, repetition, word_stats

COUNTED = [
    "likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes", "downloads", "views", "followers",
]  # fmt: skip
PHRASES = {"inside": "items in cart", "end": "Read more...", "start": "Sign-in"}


def size(text, reading):
    return len(text.encode()) if reading["in_bytes"] else len(text)


def rust_lines(text):
    """Lines as Rust's str::lines: a return before a line feed goes with it, and nothing stands behind the last line feed."""
    pieces = text.split("\n")
    lines = [piece.removesuffix("\r") for piece in pieces[:-1]]
    return lines + pieces[-1:] if pieces[-1] else lines


def cap(text):
    return re.sub("\n{3,}", "\n\n", text)


def count_sweep(text, reading):
    """The 8 quality counts, the 18 repetition counts, then chars and the words and lines that rules divide by."""
    words, spaced = word_stats.split_words(text), text.split()
    if not reading["in_bytes"]:
        lines, paragraphs = gopher.split_segments(text, "\n"), gopher.split_segments(text, "\n\n")
        counts = gopher.count_gopher(text)
        repeats = repetition.count_repetition(words, lines, paragraphs)
        return [*counts, *repeats, len(text), len(words), len(spaced), len(lines), len(lines)]
    lines = [line for line in text.split("\n") if line]
    shown = [line for line in rust_lines(text) if line]
    counts = [
        len(spaced),
        sum(len(word.encode()) for word in spaced),
        sum(any(map(str.isalpha, word)) for word in spaced) if len(spaced) > 1 else 0,
        sum(word.lower() in gopher.STOP_WORDS for word in spaced),
        sum(text.count(symbol) for symbol in gopher.SYMBOLS),
        len(lines),
        sum(line.startswith(gopher.BULLETS) for line in text.split("\n")),
        sum(line.endswith(gopher.ELLIPSES) for line in shown),
    ]
    repeats = count_byte_repetition(words, lines, [part for part in cap(text).split("\n\n") if part])
    length = len(re.findall("[A-Za-z0-9]+", text)) if text.isascii() else len(words)
    merged = text.replace(". . .", "...").split()
    return [*counts, *repeats, len(text), length, len(merged), len(text.split("\n")), len(shown)]


def count_byte_repetition(words, lines, paragraphs):
    encoded = [word.encode() for word in words]
    by_lines = repetition.count_repeated([line.encode() for line in lines])
    by_paragraphs = repetition.count_repeated([part.encode() for part in paragraphs])
    tops = [cover_top(encoded, length) for length in (2, 3, 4)]
    covered = [repetition.count_covered_chars(encoded, length) for length in range(5, 11)]
    return [len(words), sum(map(len, encoded)), *by_lines, len(paragraphs), *by_paragraphs, *tops, *covered]


def cover_top(words, length):
    """Bytes of the words inside the most frequent repeated n-gram; of equals the one with most bytes, then the first."""
    places = {}
    for i in range(len(words) - length + 1):
        places.setdefault(tuple(words[i : i + length]), []).append(i)
    repeated = [
        (len(found), sum(map(len, ngram)), -found[0], found) for ngram, found in places.items() if len(found) > 1
    ]
    found = max(repeated)[3] if repeated else []
    return sum(len(words[k]) for k in {i + j for i in found for j in range(length)})


def is_word_sign(char):
    category = unicodedata.category(char)
    return char.isalnum() or category[0] == "M" or category == "Pc" or (category == "Cf" and char != "\u200b")


def is_counter(line, is_open):
    line = line.lower()
    while line and not is_word_sign(line[0]):
        line = line[1:]
    if not line or unicodedata.category(line[0]) != "Nd":
        return False
    while line and (unicodedata.category(line[0]) == "Nd" or line[0] in ",."):
        line = line[1:]
    line = line[1:] if line[:1] in ("k", "m", "b") else line
    rest = line.lstrip()
    if rest == line:
        return False
    behind = [rest.removeprefix(word) for word in COUNTED if rest.startswith(word)]
    return any(is_open or not any(map(is_word_sign, tail)) for tail in behind)


def count_line_words(line, reading):
    return len(line.split()) if reading["spaced_line_words"] else len(word_stats.split_words(line))


def keeps_line(line, reading):
    if not line:
        return True
    upper, digits = sum(map(str.isupper, line)), sum(char in "0123456789" for char in line)
    return (
        upper / size(line, reading) <= 0.5
        and digits / size(line, reading) <= 0.999999
        and not is_counter(line, reading["counter_open"])
        and count_line_words(line, reading) >= 2
    )


def phrase_pattern(place, reading):
    signs = []
    for char in PHRASES[place]:
        if char == "." and reading["any_sign"]:
            signs.append(".")
        elif reading["ignores_case"] and char.isalpha():
            signs.append(f"[{char.lower()}{char.upper()}]")
        else:
            signs.append(re.escape(char))
    phrase = "".join(signs)
    if place == "start":
        return rf"\A{phrase}\s?"
    if place == "end":
        return rf"\s?{phrase}\Z"
    return rf"\s?{phrase}\s?" if reading["leaves_space"] else rf"\s?{phrase}"


def cut_phrase(text, place, reading):
    pattern = re.compile(phrase_pattern(place, reading))
    left = " " if place == "inside" and reading["leaves_space"] else ""
    lines = []
    for line in rust_lines(text) if reading["trims_returns"] else text.split("\n"):
        if line and count_line_words(line, reading) <= reading["phrase_max_words"]:
            line = pattern.sub(left, line)
            if not line.strip():
                continue
        lines.append(line)
    return "\n".join(lines)


def edit(text, reading):
    text = "\n".join(line for line in cap(text).split("\n") if keeps_line(line, reading))
    text = text.strip() if reading["strips"] else text
    for place in PHRASES:
        text = cut_phrase(text, place, reading)
        text = text.strip() if reading["strips"] else text
    return cap(text) if reading["caps_again"] else text


def judge_sentences(text, reading, literals, expressions):
    """(sentences, list case, odd length, technical, cursed, questionable, in another language: none, for no model is asked)."""
    found = [sentence for sentence in re.split(r"[.!?]+\s+", text) if sentence.strip()]
    counts = [len(found), 0, 0, 0, 0, 0, 0]
    for sentence in found:
        words = word_stats.split_words(sentence)
        length = size(sentence, reading)
        marks = [
            len(words) >= 12 and sum(word[0].isupper() for word in words) > 0.5 * len(words),
            not 20 <= length <= 500,
            5 * sum(char in "0123456789{}+/()>" for char in sentence) > length,
            any(literal in sentence for literal in literals)
            or any(re.search(re.sub(r"\$\Z", r"\\Z", expression), sentence) for expression in expressions),
        ]
        for rule, mark in enumerate(marks, 1):
            counts[rule] += mark
        counts[5] += any(marks[rule - 1] for rule in reading["sentence_rules"])
    return counts


def filter_documents(text, reading, literals=(), expressions=()):
    """(all counts in the order of the fast one's columns, the edited text)."""
    counts = count_sweep(text, reading)
    edited, removed = text, 0
    if reading["has_edits"]:
        edited = edit(text, reading)
        before, after = len(word_stats.split_words(text)), len(word_stats.split_words(edited))
        removed = before - after if before else 1
    else:
        counts[10:26] = [0] * 16  # no repetition counts
    sentences = judge_sentences(edited, reading, literals, expressions) if reading["has_sentences"] else [0] * 7
    return [*counts, removed, *sentences], edited
