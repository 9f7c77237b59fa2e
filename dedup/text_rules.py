"""Named rules for what a text is before shingles are taken of it: whose they are, and what they do to every character.

`dolma-py`     lower-cased words as in normalise_kernels, joined by single spaces: the fast way, for any language
`duplodocus`   Olmo 3's tool: lower-case, delete the 32 ASCII punctuation characters ("non-stop" is "nonstop"), white space to one space
`datatrove`    FineWeb's tool: lower-case, white space and punctuation (ASCII, controls, a list of typographic ones) to one space,
               accents removed (NFD without marks), every run of digits to "0"
`text-dedup`   lower-case, split at every character that is not a letter, digit or underscore; empty words between two such count
`bigcode`      split at every character but ASCII letters, digits and underscore; case stays; empty words count
`whitespace`   white space to one space, nothing else
`none`         the bytes as they are; for characters and tokens only
Lower case, accents and classes are those of Python's Unicode tables (the interpreter's version) character by character. Deviation
from the tools, which lower-case whole texts: a capital sigma at a word's end becomes the ordinary small sigma, and the dot of a
capital dotted I stays with its word. A text of separators alone has no words here, where text-dedup and bigcode count empty ones.
"""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dedup.normalise import normalise_texts
from dedup.text_rules_kernels import COPY, DIGIT, REPLACE, SEPARATE, apply_rules_kernel
from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError
from dolma_py.hashing import check_offsets

TextRules = Literal["dolma-py", "duplodocus", "datatrove", "text-dedup", "bigcode", "whitespace", "none"]

# datatrove's list beside the 32 of ASCII: C0 and C1 controls but for tab and line feed, and typographic punctuation as found in web text
CONTROLS = [*range(0, 9), *range(11, 32), *range(127, 160)]
TYPOGRAPHIC = (
    "\u00ab\u00b4\u00bb\u2013\u2014\u2019\u201c\u201d\u201e\u2026\u2236\u2501\u25ba\u3001\u3002\u3008\u3009\u300a\u300b"
    "\u300c\u300d\u3010\u3011\uff01\uff05\uff08\uff09\uff0c\uff0e\uff11\uff1a\uff1b\uff1f\uff5e"
)


class RuleTable(NamedTuple):
    """A named rule set in the form the kernel takes."""

    actions: npt.NDArray[np.uint32]  # uint32 (0x110000,)  see text_rules_kernels
    pool: npt.NDArray[np.uint8]  # uint8  replacements
    collapse: bool  # runs of separators become one space, none at the ends
    growth: int  # most bytes one byte of text can become


def apply_rules(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, rules: TextRules) -> TextView:
    """The texts under a named rule set; words stand between single spaces, empty words between two.

    Parameters
    ----------
    data : uint8 (B,)               UTF-8 texts or any bytes (what is not UTF-8 stays as it is)
    offsets : int64 (N + 1,)        text i is data[offsets[i]:offsets[i + 1]]
    rules : str                     a name of the list above

    Returns
    -------
    texts : TextView                8 bytes of padding stand behind the last text, for kernels that load words

    Raises
    ------
    SchemaError                     offsets fall or leave the data
    ConfigError                     no such rules

    Guarantees                      a text does not depend on the other texts
    Cost                            O(B) time; the result, and address space for the largest it could be (3 times the texts)
    """
    if rules == "dolma-py":
        view = normalise_texts(data, offsets)
        return TextView(np.append(view.data, np.zeros(8, np.uint8)), view.offsets)
    data, offsets = np.ascontiguousarray(data, np.uint8), np.ascontiguousarray(offsets, np.int64)
    check_offsets(len(data), offsets)
    if rules == "none":
        own = data[offsets[0] : offsets[-1]]
        return TextView(np.append(own, np.zeros(8, np.uint8)), offsets - offsets[0])
    table = build_table(rules)
    room = np.empty(int(offsets[-1] - offsets[0]) * table.growth + len(offsets) + 8, np.uint8)
    out_offsets = np.empty(len(offsets), np.int64)
    total = apply_rules_kernel(data, offsets, table.actions, table.pool, table.collapse, room, out_offsets)
    room[total : total + 8] = 0
    return TextView(room[: total + 8], out_offsets)


@functools.lru_cache(maxsize=8)
def build_table(rules: str) -> RuleTable:
    """The table of a rule set, built once per process in some 0.3 s."""
    if rules == "duplodocus":
        return _make_table(str.lower, borders=r"\s", deleted=string.punctuation, collapse=True)
    if rules == "datatrove":
        marks = re.escape(string.punctuation + TYPOGRAPHIC + "".join(map(chr, CONTROLS)))
        return _make_table(_strip_accents, borders=rf"[\s{marks}]", digits=r"\d", collapse=True)
    if rules == "text-dedup":
        return _make_table(str.lower, borders=r"\W", collapse=False)
    if rules == "bigcode":
        return _make_table(str, borders="[^A-Za-z_0-9]", collapse=False)
    if rules == "whitespace":
        return _make_table(str, borders=r"\s", collapse=True)
    names = ["bigcode", "datatrove", "dolma-py", "duplodocus", "none", "text-dedup", "whitespace"]
    raise ConfigError("rules", rules, f"expected one of {names}")


def _strip_accents(character: str) -> str:
    parts = unicodedata.normalize("NFD", character.lower())
    return "".join(part for part in parts if unicodedata.category(part) != "Mn")


# Beyond these planes no character has a case, a decomposition or a mark in any version of Unicode.
_CHANGING = [*range(0xD800), *range(0xE000, 0x32000), *range(0xE0000, 0xE1000)]


def _make_table(
    rewrite: Callable[[str], str], *, borders: str, digits: str = r"(?!)", deleted: str = "", collapse: bool
) -> RuleTable:
    """Borders and digits are looked up in the text before it is rewritten; both are patterns of one character."""
    points = np.concatenate([np.arange(0xD800), np.arange(0xE000, 0x110000)]).astype("<u4")
    every = points.tobytes().decode("utf-32-le")
    actions = np.full(0x110000, COPY << 28, np.uint32)
    pool = bytearray(b"0")
    growth = 1
    for point in _CHANGING:
        character = chr(point)
        new = rewrite(character)
        if new != character:
            replacement = new.encode()
            actions[point] = (REPLACE << 28) | (len(replacement) << 24) | len(pool)
            pool += replacement
            growth = max(growth, -(-len(replacement) // len(character.encode())))
    actions[[ord(character) for character in deleted]] = REPLACE << 28
    for pattern, entry in ((digits, (DIGIT << 28) | (1 << 24)), (borders, SEPARATE << 28)):
        replaced = re.sub(pattern, "\0", every).encode("utf-32-le")
        is_matched = (np.frombuffer(replaced, "<u4") == 0) & (points != 0)
        actions[points[is_matched]] = entry
        if re.match(pattern, "\0"):
            actions[0] = entry
    return RuleTable(actions, np.frombuffer(bytes(pool), np.uint8), collapse, growth)
