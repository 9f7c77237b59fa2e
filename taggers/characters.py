"""Character classes as lookup tables: what is white space, a letter, part of a word; and simple lower case.

Tables come from Python's own Unicode data (version 14 in Python 3.11); code points from TABLE_SIZE on are unassigned or
marks and are answered by taggers.character_kernels.character_class_kernel without a table.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

TABLE_SIZE = 0x40000  # planes 0 to 3: every letter that Unicode has

# low four bits: the part a character plays in words (Unicode Standard Annex 29, by general category)
OTHER, LETTER, NUMBER, KATAKANA, CONNECTOR, SINGLE, EXTEND, MID_LETTER, MID_NUMBER, MID_BOTH = range(10)
# high bits: Python's str.isspace, str.isalpha, str.isalnum, str.isupper
SPACE_BIT, ALPHA_BIT, ALNUM_BIT, UPPER_BIT = 0x10, 0x20, 0x40, 0x80

_MID_LETTER = ":\u00b7\u0387\u05f4\u2027\ufe13\ufe55\uff1a"
_MID_NUMBER = ",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b"
_MID_BOTH = ".'\u2018\u2019\u2024\ufe52\uff07\uff0e"
# scripts written without spaces: each character (with its marks) is a word of its own, as UAX 29 leaves them
_SINGLE_RANGES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3041, 0x309F),  # Hiragana
    (0x3400, 0x4DBF),  # CJK ideographs
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),
    (0xF900, 0xFAFF),
    (0x17000, 0x18DFF),  # Tangut
    (0x1B000, 0x1B2FF),  # historic kana, Nushu
    (0x20000, 0x3FFFF),
)
_KATAKANA_RANGES = (
    (0x3031, 0x3035),
    (0x309B, 0x309C),
    (0x30A0, 0x30FA),
    (0x30FC, 0x30FF),
    (0x31F0, 0x31FF),
    (0xFF66, 0xFF9D),
)


_LETTER_CATEGORIES = {"Lu", "Ll", "Lt", "Lm", "Lo"}
_CLASS_OF_CATEGORY = dict.fromkeys(_LETTER_CATEGORIES, LETTER | ALPHA_BIT | ALNUM_BIT) | {
    "Nd": NUMBER | ALNUM_BIT,
    "Nl": SINGLE | ALNUM_BIT,  # Roman numeral signs
    "No": SINGLE | ALNUM_BIT,  # superscripts, fractions
    "Mn": EXTEND,
    "Mc": EXTEND,
    "Me": EXTEND,
    "Cf": EXTEND,
    "Pc": CONNECTOR,
}


@functools.lru_cache(maxsize=1)
def character_table() -> npt.NDArray[np.uint8]:
    """uint8 (TABLE_SIZE,): word class in the low four bits, SPACE_BIT, ALPHA_BIT, ALNUM_BIT and UPPER_BIT above. Read-only."""
    entries = (
        _CLASS_OF_CATEGORY.get(category, OTHER) for category in map(unicodedata.category, map(chr, range(TABLE_SIZE)))
    )
    table = np.fromiter(entries, np.uint8, TABLE_SIZE)
    bits = np.uint8(0xF0)
    for low, high in _SINGLE_RANGES:
        part = table[low : high + 1]
        np.copyto(part, (part & bits) | SINGLE, where=(part & ALPHA_BIT) != 0)
    for low, high in _KATAKANA_RANGES:
        table[low : high + 1] = (table[low : high + 1] & bits) | KATAKANA
    for chars, word_class in ((_MID_LETTER, MID_LETTER), (_MID_NUMBER, MID_NUMBER), (_MID_BOTH, MID_BOTH)):
        for char in chars:
            table[ord(char)] = word_class
    table[0x200B] = OTHER  # zero width space parts words although it is a format character
    for code in range(0x3001):  # no white space stands above
        if chr(code).isspace():
            table[code] |= SPACE_BIT
    for code in range(0x1F200):  # no upper-case sign stands above
        if chr(code).isupper():
            table[code] |= UPPER_BIT
    table.flags.writeable = False
    return table


@functools.lru_cache(maxsize=1)
def lower_table() -> npt.NDArray[np.uint32]:
    """uint32 (TABLE_SIZE,): the lower-case code point, or the code point itself where lower case is no single character."""
    table = np.arange(TABLE_SIZE, dtype=np.uint32)
    for code in range(0x1F000):  # no cased letter stands above
        lower = chr(code).lower()
        if len(lower) == 1:
            table[code] = ord(lower)
    table.flags.writeable = False
    return table
