"""Scripts of texts: letters and marks by the script that Unicode's name of each begins with.

Legend: N texts, K scripts.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

from taggers.characters import TABLE_SIZE
from taggers.language_kernels import count_scripts_kernel

# ISO 15924 code -> how names of its letters begin; letters of other scripts, and what is no letter or mark, have none
SCRIPTS = {
    "Latn": "LATIN", "Cyrl": "CYRILLIC", "Arab": "ARABIC", "Hani": "CJK", "Hira": "HIRAGANA", "Kana": "KATAKANA", "Hang": "HANGUL",
    "Grek": "GREEK", "Hebr": "HEBREW", "Deva": "DEVANAGARI", "Beng": "BENGALI", "Guru": "GURMUKHI", "Gujr": "GUJARATI", "Orya": "ORIYA",
    "Taml": "TAMIL", "Telu": "TELUGU", "Knda": "KANNADA", "Mlym": "MALAYALAM", "Sinh": "SINHALA", "Thai": "THAI", "Laoo": "LAO",
    "Tibt": "TIBETAN", "Mymr": "MYANMAR", "Khmr": "KHMER", "Geor": "GEORGIAN", "Armn": "ARMENIAN", "Ethi": "ETHIOPIC", "Cher": "CHEROKEE",
    "Cans": "CANADIAN", "Mong": "MONGOLIAN", "Syrc": "SYRIAC", "Thaa": "THAANA", "Tfng": "TIFINAGH", "Bopo": "BOPOMOFO", "Yiii": "YI",
    "Nkoo": "NKO", "Olck": "OL", "Mtei": "MEETEI", "Java": "JAVANESE", "Goth": "GOTHIC", "Adlm": "ADLAM",
}  # fmt: skip
CODES = tuple(SCRIPTS)
JAPANESE = "Jpan"  # ISO 15924: Han, Hiragana and Katakana together
NAMES = (*CODES, JAPANESE)
JAPANESE_FRAC = 0.1  # of a text's Han and kana that are kana; a tenth of Japanese sentences has under 0.48, none under 0.22, Chinese ones have 0
DENSE = ("Hani", "Hira", "Kana", "Hang", "Bopo", "Yiii")  # a character is a syllable or more
DENSE_CHARS = 3  # letters that one of theirs counts for: detectors are as often right about 7 of them as about 20 letters (docs/language.md)
_WIDTHS = ("FULLWIDTH ", "HALFWIDTH ")


@functools.lru_cache(maxsize=1)
def script_table() -> npt.NDArray[np.uint8]:
    """uint8 (TABLE_SIZE,): place of each character's script in SCRIPTS, from 1; 0: none of them. Read-only."""
    numbers = {name: number for number, name in enumerate(SCRIPTS.values(), start=1)}
    table = np.zeros(TABLE_SIZE, np.uint8)
    for code in range(0x20000):
        char = chr(code)
        if unicodedata.category(char)[0] in "LM":
            name = unicodedata.name(char, "")
            for width in _WIDTHS:
                name = name.removeprefix(width)
            table[code] = numbers.get(name.partition(" ")[0].partition("-")[0], 0)
    table[0x20000:] = numbers["CJK"]  # planes 2 and 3 have nothing else
    table.flags.writeable = False
    return table


@functools.lru_cache(maxsize=1)
def weight_table() -> npt.NDArray[np.uint8]:
    """uint8 (TABLE_SIZE,): how many characters each one counts for where a text's length is meant. Read-only."""
    dense = np.isin(script_table(), [CODES.index(code) + 1 for code in DENSE])
    table = np.where(dense, DENSE_CHARS, 1).astype(np.uint8)
    table.flags.writeable = False
    return table


def join_scripts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Letters of each of NAMES in each text, int64 (N, K + 1).

    Han, Hiragana and Katakana are one script, Jpan, in texts whose letters of these three are kana by JAPANESE_FRAC or more; else Han
    stands for itself, and stray kana for themselves.

    counts : int64 (N, K + 1)   of count_scripts
    """
    letters = counts[:, 1:].copy()
    han, hiragana, katakana = (CODES.index(code) for code in ("Hani", "Hira", "Kana"))
    kana = letters[:, hiragana] + letters[:, katakana]
    together = letters[:, han] + kana
    is_japanese = (kana > 0) & (kana >= JAPANESE_FRAC * together)
    letters[:, [han, hiragana, katakana]] *= ~is_japanese[:, None]
    return np.concatenate([letters, (together * is_japanese)[:, None]], axis=1)


def name_scripts(counts: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """(code of the script that most letters of each text are of, "Zyyy" without letters; the number of its letters, int64 (N,)).

    counts : int64 (N, K + 1)   of count_scripts; scripts are those of join_scripts
    """
    letters = join_scripts(counts)
    best = letters.argmax(axis=1)
    sizes = letters.max(axis=1)
    return [NAMES[at] if size else "Zyyy" for at, size in zip(best.tolist(), sizes.tolist(), strict=True)], sizes


def count_scripts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Letters and marks of each script in each text, int64 (N, K + 1): column 0 has all other characters.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    """
    counts = np.zeros((len(offsets) - 1, len(CODES) + 1), np.int64)
    count_scripts_kernel(data, offsets, script_table(), counts)
    return counts
