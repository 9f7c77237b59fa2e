"""Slow twins of the table kernels: lists of lines, one document at a time."""

import re

SPACES = b" \t"


def split_row(line):
    """Cells of a line, None where no border stands in it."""
    row = line.lstrip(SPACES).rstrip(SPACES + b"\r")
    cells = re.findall(rb"((?:\\.|\\\Z|[^|\\])*)(\||\Z)", row, re.DOTALL)
    parts = [cell for cell, _ in cells]
    if cells[-1][1] == b"" and len(cells) > 1 and cells[-2][1] == b"":  # findall sees the empty end twice
        parts.pop()
    if len(parts) < 2:
        return None
    if parts[0] == b"" and row.startswith(b"|"):
        parts = parts[1:]
    if len(parts) > 1 and parts[-1] == b"":
        parts = parts[:-1]
    return parts


def is_fence(line):
    return re.match(rb"[ \t]*(```|~~~)", line) is not None


def is_delimiter(line):
    cells = split_row(line)
    return cells is not None and all(re.fullmatch(rb":?-+:?", trim(cell)) for cell in cells)


def trim(cell):
    return cell.lstrip(SPACES).rstrip(SPACES + b"\r")


def find_tables(text):
    """(start, end) of each table, in bytes."""
    lines = text.split(b"\n")
    starts = [sum(len(line) + 1 for line in lines[:i]) for i in range(len(lines))]
    found, i, fenced = [], 0, False
    while i < len(lines):
        cells = split_row(lines[i])
        below = split_row(lines[i + 1]) if i + 1 < len(lines) else None
        if is_fence(lines[i]):
            fenced = not fenced
        elif not fenced and cells and below and len(cells) == len(below) and is_delimiter(lines[i + 1]):
            j = i + 2
            while j < len(lines) and split_row(lines[j]) and not is_fence(lines[j]):
                j += 1
            found.append((starts[i], starts[j - 1] + len(lines[j - 1])))
            i = j - 1
        i += 1
    return found


def write_tables(text):
    out, at = b"", 0
    for start, end in find_tables(text):
        head, _, *rows = text[start:end].split(b"\n")
        out += (
            text[at:start]
            + b"<table>\n"
            + row_html(head, b"th")
            + b"".join(row_html(row, b"td") for row in rows)
            + b"</table>"
        )
        at = end
    return out + text[at:]


TAG = re.compile(
    rb"""</[A-Za-z][A-Za-z0-9-]*[ \t]*> | <!--.*?-->
    | <[A-Za-z][A-Za-z0-9-]*(?:[ \t]+[A-Za-z_:][A-Za-z0-9_.:-]*(?:[ \t]*=[ \t]*(?:"[^"]*"|'[^']*'|[^ \t"'=<>`]+))?)*[ \t]*/?>""",
    re.DOTALL | re.VERBOSE,
)
REFERENCE = re.compile(rb"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{0,31});")
MAX_MARKUP_BYTES = 1000
ESCAPES = {b"<": b"&lt;", b">": b"&gt;", b"&": b"&amp;"}


def escape(text):
    return b"".join(ESCAPES.get(text[i : i + 1], text[i : i + 1]) for i in range(len(text)))


def cell_html(cell):
    """The cell with its text and code escaped; markup is left."""
    out, at = b"", 0
    while at < len(cell):
        tag, reference = TAG.match(cell[at : at + MAX_MARKUP_BYTES]), REFERENCE.match(cell, at)
        ticks = re.match(rb"`*", cell[at:]).group()
        if cell[at : at + 1] == b"\\" and at + 1 < len(cell):
            out, at = out + b"\\" + escape(cell[at + 1 : at + 2]), at + 2
        elif ticks:
            runs = [found for found in re.finditer(rb"`+", cell[at:]) if found.start() and found.group() == ticks]
            length = runs[0].end() if runs and runs[0].start() < MAX_MARKUP_BYTES else len(ticks)
            out, at = out + escape(cell[at : at + length]), at + length
        elif tag:
            out, at = out + tag.group(), at + tag.end()
        elif reference:
            out, at = out + reference.group(), reference.end()
        else:
            out, at = out + escape(cell[at : at + 1]), at + 1
    return out


def row_html(line, tag):
    cells = [cell_html(trim(cell)).replace(b"\\|", b"|") for cell in split_row(line)]
    return b"<tr>" + b"".join(b"<%b>%b</%b>" % (tag, cell, tag) for cell in cells) + b"</tr>\n"
