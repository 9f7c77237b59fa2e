"""Texts as units of tokens for n-gram language models, one character after another. Imports nothing of ours."""

import unicodedata

MARKS = ("<s>", "</s>", "<unk>")
SIGNS = {
    "\uff0c": ",", "\u3001": ",", "\u3002": ".", "\u201e": '"', "\u201d": '"', "\u201c": '"', "\u00ab": '"', "\u00bb": '"',
    "\u300d": '"', "\u300c": '"', "\u300a": '"', "\u300b": '"', "\u00b4": "'", "\u2019": "'", "\u2236": ":", "\uff1a": ":",
    "\uff1f": "?", "\uff01": "!", "\uff08": "(", "\uff09": ")", "\uff1b": ";", "\u2013": "-", "\u2501": "-", "\u25ba": "-",
    "\u2014": " - ", "\uff0e": ". ", "\uff5e": "~", "\u2026": "...", "\u3008": "<", "\u3009": ">", "\u3010": "[", "\u3011": "]",
    "\uff05": "%",
}  # fmt: skip


def normalize(character, *, lower_case, strip_accents, digits_to_zero, punctuation, drop_control):
    """What one character that is no white space becomes."""
    if lower_case:
        character = character.lower()
    if strip_accents:
        character = unicodedata.normalize("NFD", character)
        character = "".join(mark for mark in character if unicodedata.category(mark) != "Mn")
    if digits_to_zero:
        character = "".join("0" if unicodedata.category(mark) == "Nd" else mark for mark in character)
    if punctuation == "ascii":
        character = "".join(SIGNS.get(mark, mark) for mark in character)
    if punctuation == "remove":
        character = "".join(mark for mark in character if not unicodedata.category(mark).startswith(("P", "S")))
    if drop_control:
        character = "".join(mark for mark in character if unicodedata.category(mark) != "Cc")
    return character


def normalize_units(text, *, unit="line", **options):
    """The units of a text, words parted by one blank."""
    units, words, word, feeds = [], [], "", 0
    for character in text + "\n\n":
        if character.isspace():
            words, word = (words + [word] if word else words), ""
            if character == "\n":
                feeds += 1
                if (unit == "line" and feeds == 1) or (unit == "paragraph" and feeds == 2):
                    units, words = units + [words], []
            continue
        for mark in normalize(character, **options):
            if mark == " ":
                words, word = (words + [word] if word else words), ""
            else:
                word += mark
                feeds = 0
    units.append(words)
    return [" ".join(words) for words in units if words]


def hash_units(unit, *, characters=False):
    """The tokens of a unit; the kernel has their hashes."""
    tokens = ["\u2581" if mark == " " else mark for mark in unit] if characters else unit.split(" ")
    return [token for token in tokens if token not in MARKS]
