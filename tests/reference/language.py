"""Slow twins: short texts, lines and paragraphs, scripts, py3langid's scores. Python, one text at a time."""

import math
import re
import unicodedata


def long_enough(text, min_chars, heavy=(), weight=1):
    """Whether a text has something to see and enough characters without outer white space, those of `heavy` counted `weight` times."""
    inner = text.strip()
    return bool(inner) and sum(weight if char in heavy else 1 for char in inner) >= min_chars


def weighs(char, names):
    """Whether a character is a letter of a script whose names begin so, or stands in planes 2 and 3."""
    if 0x20000 <= ord(char) < 0x40000:
        return True
    word = re.split("[ -]", unicodedata.name(char, "").replace("FULLWIDTH ", "").replace("HALFWIDTH ", ""))[0]
    return unicodedata.category(char)[0] in "LM" and word in names


def sample_pieces(data, max_bytes, num_pieces):
    """What is read of one text (bytes)."""
    if len(data) <= max_bytes:
        return data
    size, found = max_bytes // num_pieces, []
    for piece in range(num_pieces):
        start = (len(data) - size) * piece // max(num_pieces - 1, 1)
        end = start + size
        continued = [0x80 <= byte < 0xC0 for byte in data] + [False]
        start = (
            next(place for place in range(start, start + 4) if place == start + 3 or not continued[place])
            if piece
            else start
        )
        end = next(place for place in range(end, end - 4, -1) if place in (start, end - 3) or not continued[place])
        found.append(data[start:end])
    return b"\n".join(found)


def split_segments(data, by_lines):
    """(start, end) of every line or paragraph of one text (bytes) that is not blank, without outer white space."""
    found = []
    for match in re.finditer(rb"[^\n]+" if by_lines else rb"(?:[^\n]*[^ \t\r\v\f\n][^\n]*(?:\n|$))+", data):
        inner = match[0].strip(b" \t\r\v\f\n")
        if inner:
            start = match.start() + match[0].index(inner)
            found.append((start, start + len(inner)))
    return found


def count_scripts(text, names):
    """Letters and marks of each script, first those of none; names: how Unicode's names of its letters begin."""
    counts = [0] * (len(names) + 1)
    for char in text:
        words = re.split("[ -]", unicodedata.name(char, "").replace("FULLWIDTH ", "").replace("HALFWIDTH ", ""))
        is_letter = unicodedata.category(char)[0] in "LM" and ord(char) < 0x20000
        place = names.index(words[0]) + 1 if is_letter and words[0] in names else 0
        if 0x20000 <= ord(char) < 0x40000:
            place = names.index("CJK") + 1
        counts[place] += 1
    return counts


def name_script(counts, japanese_frac):
    """(script of most letters, how many); Han and kana are Jpan where enough of them are kana. counts: by ISO 15924 code."""
    counts = dict(counts)
    kana, han = counts["Hira"] + counts["Kana"], counts["Hani"]
    if kana and kana / (kana + han) >= japanese_frac:
        for code in ("Hani", "Hira", "Kana"):
            counts[code] = 0
        counts["Jpan"] = kana + han
    best = max(counts, key=counts.get)
    return (best, counts[best]) if counts[best] else ("Zyyy", 0)


def langid_scores(data, model):
    """Probability of each class for the bytes of one text."""
    state, counts = 0, {}
    for byte in data:
        state = int(model.moves[model.rows[state] + byte])
        if model.features[state] >= 0:
            counts[int(model.features[state])] = counts.get(int(model.features[state]), 0) + 1
    num_classes = len(model.priors)
    scores = [float(model.priors[label]) if counts else 0.0 for label in range(num_classes)]
    for feature, count in counts.items():
        for label in range(num_classes):
            scores[label] += math.log1p(count) * float(model.weights[feature, label])
    scores = [score / math.sqrt(max(len(data), 1)) for score in scores]
    powers = [math.exp(score - max(scores)) for score in scores]
    shares = [power / sum(powers) for power in powers]
    for label in range(num_classes):
        first = int(model.merged[label])
        if first != label:
            shares[first] += shares[label]
            shares[label] = 0.0
    return shares
