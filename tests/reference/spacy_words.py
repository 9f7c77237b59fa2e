"""Slow twin: words of spaCy's English tokenizer with regular expressions, from the recorded classes and exceptions."""

import json
import re
import unicodedata
from pathlib import Path

FACTS = json.loads((Path(__file__).resolve().parents[2] / "taggers" / "spacy_english.json").read_text())


def char_class(name, extra=""):
    parts = []
    for part in FACTS["classes"][name].split():
        low, _, high = part.partition("-")
        parts.append(f"\\U{int(low, 16):08x}-\\U{int(high or low, 16):08x}")
    return f"[{''.join(parts)}{re.escape(extra)}]"


def either(*pieces):
    return "(?:" + "|".join(pieces) + ")"


ALPHA, LOWER, UPPER = char_class("alpha"), char_class("lower"), char_class("upper")
SIGN, ICON = char_class("affix"), char_class("icon")
LONG = sorted(map(re.escape, FACTS["long_currency"]), key=len, reverse=True)
PREFIX = re.compile(either(r"\+(?![0-9])", r"\.\.+", SIGN, char_class("prefix"), ICON, *LONG))
SUFFIX = re.compile(
    either(
        r"\.\.+", "\u2026\u2026", SIGN, ICON, "['\u2019][sS]", r"(?<=[0-9])\+", r"(?<=\u00b0[FfCcKk])\.",
        "(?<=[0-9])" + either(char_class("currency"), *LONG),
        "(?<=[0-9])" + either(*sorted(map(re.escape, FACTS["units"]), key=len, reverse=True)),
        f"(?<={char_class('before_stop')})\\.", f"(?<={UPPER}{UPPER})\\.",
    ) + "$"
)  # fmt: skip
QUOTED = char_class("quote")
INFIX = re.compile(
    either(
        r"\.\.+", "\u2026", ICON, r"(?<=[0-9])[+\-*^](?=[0-9-])",
        f"(?<={either(LOWER, QUOTED)})\\.(?={either(UPPER, QUOTED)})", f"(?<={ALPHA}),(?={ALPHA})",
        f"(?<={either(ALPHA, '[0-9]')})(?:-{{1,3}}|\u2013|\u2014{{1,2}}|~)(?={ALPHA})", f"(?<={either(ALPHA, '[0-9]')})[:<>=/](?={ALPHA})",
    )
)  # fmt: skip
LABEL = r"[A-Za-z0-9\u00a1-\uffff]"
OCTET = r"(?:[0-9]{1,2}|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
ADDRESS = (
    r"(?!(?:10|127)\.)(?!(?:169\.254|192\.168)\.)(?!172\.(?:1[6-9]|2[0-9]|3[01])\.)"
    rf"(?:[1-9][0-9]?|1[0-9]{{2}}|2[01][0-9]|22[0-3])(?:\.{OCTET}){{2}}\.(?:[1-9][0-9]?|1[0-9]{{2}}|2[0-4][0-9]|25[0-4])"
)
HOST = rf"(?:(?:{LABEL}(?:{LABEL}|[_-]){{0,62}})?{LABEL}\.)+{LOWER}{{2,63}}"
URL = re.compile(rf"(?:[\w+\-.]{{2,}}://)?(?:\S+(?::\S*)?@)?(?:{ADDRESS}|{HOST})(?::\d{{2,5}})?(?:[/?#]\S*)?$")
EXCEPTIONS = {"".join(pieces.split(" ")): pieces.split(" ") for pieces in FACTS["exceptions"]}
SEQUENCES = {tuple(tokens.split(" ")): "".join(tokens.split(" ")) for tokens in FACTS["sequences"]}
END_MARKS = re.compile(char_class("sentence_end"))


def split_chunk(chunk):
    """Words of text without white space."""
    left, right = [], []
    while chunk:
        if chunk in EXCEPTIONS:
            break
        found = PREFIX.match(chunk)
        prefix = found.group() if found else ""
        if chunk[len(prefix) :] in EXCEPTIONS and prefix:
            left.append(prefix)
            chunk = chunk[len(prefix) :]
            break
        found = SUFFIX.search(chunk[len(prefix) :])
        suffix = found.group() if found else ""
        without = chunk[: len(chunk) - len(suffix)]
        if suffix and without in EXCEPTIONS:
            right.append(suffix)
            chunk = without
            break
        if not prefix and not suffix:
            break
        left += [prefix] if prefix else []
        right += [suffix] if suffix else []
        chunk = chunk[len(prefix) : len(chunk) - len(suffix)]
    return left + split_middle(chunk) + right[::-1]


def split_middle(chunk):
    if not chunk:
        return []
    if chunk in EXCEPTIONS:
        return EXCEPTIONS[chunk]
    if URL.match(chunk):
        return [chunk]
    words, begin = [], 0
    for found in INFIX.finditer(chunk):
        if found.start() > 0:
            words += [chunk[begin : found.start()], found.group()]
            begin = found.end()
    return [word for word in [*words, chunk[begin:]] if word]


def find_spans(text):
    """(start, end) of every word in characters, white space left out."""
    spans, at = [], 0
    for run in re.findall(r"\s+|\S+", text):
        if not run.isspace():
            begin = at
            for word in split_chunk(run):
                spans.append((begin, begin + len(word)))
                begin += len(word)
        at += len(run)
    return spans


def join_sequences(text, spans):
    """Put exceptions together whose words stand in a row: longest first, then leftmost."""
    matches = []
    for i in range(len(spans)):
        for length in range(2, 13):
            row = spans[i : i + length]
            if len(row) < length or any(text[a[1] : b[0]] not in ("", " ") for a, b in zip(row, row[1:], strict=False)):
                break
            key = tuple(text[start:end] for start, end in row)
            if key in SEQUENCES:
                matches.append((-length, i, SEQUENCES[key]))
    barred, chosen = set(), {}
    for negative, i, exception in sorted(matches):
        last = i - negative - 1
        if i not in barred and last not in barred and text[spans[i][0] : spans[last][1]] == exception:
            chosen[i] = (last, exception)
        barred.update(range(i, last + 1))
    joined, i = [], 0
    while i < len(spans):
        if i in chosen:
            last, exception = chosen[i]
            begin = spans[i][0]
            for piece in EXCEPTIONS[exception]:
                joined.append((begin, begin + len(piece)))
                begin += len(piece)
            i = last + 1
        else:
            joined.append(spans[i])
            i += 1
    return joined


def split_words(text):
    """(start, end) of the words of a text, in characters."""
    return join_sequences(text, find_spans(text))


def count_sentences(text):
    """Sentences of spaCy's Sentencizer, 1 for a text without words."""
    tokens, at = [], 0
    for start, end in split_words(text):
        gap = text[at:start]
        gap = gap[1:] if at and gap[:1] == " " else gap
        tokens += [gap] if gap else []
        tokens.append(text[start:end])
        at = end
    tail = text[at:]
    tail = tail[1:] if at and tail[:1] == " " else tail
    tokens += [tail] if tail else []
    sentences, ended = 1, False
    for token in tokens:
        is_end = len(token) == 1 and END_MARKS.match(token) is not None
        if ended and not is_end and not all(unicodedata.category(char)[0] == "P" for char in token):
            sentences, ended = sentences + 1, False
        elif is_end:
            ended = True
    return sentences
