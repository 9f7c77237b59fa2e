"""Slow twins of dedup.paragraphs, with bytes.split and dictionaries."""


def split_units(text, by_paragraph):
    """(start, end, cut) of the units of one text."""
    lines, at = [], 0
    pieces = text.split(b"\n")
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        own = piece[:-1] if piece.endswith(b"\r") and not is_last else piece
        lines.append((at, at + len(own), min(at + len(piece) + 1, len(text)), own))
        at += len(piece) + 1
    if not by_paragraph:
        return [(start, end, after) for start, end, after, own in lines if own]
    units, is_open = [], False
    for start, end, _, own in lines:
        if not own.strip(b" \t\r"):
            is_open = False
        elif is_open:
            units[-1][1] = end
        else:
            units.append([start, end])
            is_open = True
    cuts = [start for start, _ in units[1:]] + [len(text)]
    return [(start, end, cut) for (start, end), cut in zip(units, cuts, strict=bool(units))]


def count_words(text):
    """Words of a normalised text."""
    return len(text.split())


def find_repeats(texts, keys_of, keep):
    """Spans (start, cut) that leave each text; keys_of(text) gives (start, cut, key) of its units, in corpus order."""
    counts, seen, spans = {}, set(), []
    for text in texts:
        for _, _, key in keys_of(text):
            counts[key] = counts.get(key, 0) + 1
    for text in texts:
        found = []
        for start, cut, key in keys_of(text):
            if key in seen if keep == "first" else counts[key] > 1:
                if found and found[-1][1] == start:
                    found[-1] = (found[-1][0], cut)
                else:
                    found.append((start, cut))
            seen.add(key)
        spans.append(found)
    return spans
