"""Sentences, lines and paragraphs of a text. Imports nothing of ours."""


def find_units(text, unit):
    """(start, end) of each unit in characters, outer white space apart."""
    bounds = [0, len(text)]
    if unit == "paragraph":
        blank = 0
        for at, mark in enumerate(text):
            blank = 0 if not mark.isspace() else blank + (mark == "\n")
            bounds += [at] if blank >= 2 else []
    else:
        bounds += [at for at, mark in enumerate(text) if mark == "\n"]
    if unit == "sentence":
        for at in range(1, len(text)):
            before = text[:at].rstrip("\"')]\u201d\u2019\u00bb")
            if text[at].isspace() and before.endswith((".", "!", "?")):
                bounds.append(at)
            if text[at - 1] in "\u3002\uff01\uff1f":
                bounds.append(at)
    bounds = sorted(bounds)
    found = []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        part = text[start:end]
        if part.strip():
            left = len(part) - len(part.lstrip())
            found.append((start + left, start + left + len(part.strip())))
    return found
