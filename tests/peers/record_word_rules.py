"""Write down the word rules of the tokenizer that datatrove uses for English, and datatrove's sets of punctuation.

    .venv-peers/datatrove/bin/python tests/peers/record_word_rules.py taggers/spacy_english.json

Runs inside datatrove's environment: its English words are those of spaCy's blank English pipeline. What is kept are facts, not
programs: which characters are in which class, the list of exceptions, the list of units. taggers/spacy_words_kernels.py says
what is done with them.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import spacy
from datatrove.utils import text as datatrove_text
from spacy.lang import char_classes as classes
from spacy.symbols import ORTH
from spacy.tokenizer import Tokenizer


def find_ranges(holds: Callable[[str], object]) -> str:
    """Ranges of code points below 0x40000 for which `holds`, in hexadecimal: "41-5a 61-7a"."""
    found, first = [], -1
    for code in range(0x40001):
        inside = code < 0x40000 and not 0xD800 <= code < 0xE000 and bool(holds(chr(code)))
        if inside and first < 0:
            first = code
        if not inside and first >= 0:
            found.append(f"{first:x}" if first == code - 1 else f"{first:x}-{code - 1:x}")
            first = -1
    return " ".join(found)


def in_class(members: str) -> Callable[[str], object]:
    return re.compile(f"[{members}]").match


def single_signs(pieces: list[str]) -> set[str]:
    """Of escaped patterns those that are one character."""
    plain = [re.sub(r"\\(.)", r"\1", piece) for piece in pieces]
    return {piece for piece in plain if len(piece) == 1}


def long_signs(pieces: list[str]) -> list[str]:
    plain = [re.sub(r"\\(.)", r"\1", piece) for piece in pieces]
    return [piece for piece in plain if len(piece) > 1]


def main(path: str) -> None:
    language = spacy.blank("en")
    sentences = language.add_pipe("sentencizer")
    words = language.tokenizer
    both = single_signs(classes.LIST_PUNCT + classes.LIST_QUOTES) | {"\u2026", "\u2014", "\u2013"}
    currency = single_signs(classes.LIST_CURRENCY)
    # the class before a full stop that ends a word: the recorded pattern's own
    (before,) = [
        piece for piece in language.Defaults.suffixes if piece.startswith("(?<=[0-9") and piece.endswith(r"])\.")
    ]
    before_stop = in_class(before.removeprefix("(?<=[").removesuffix(r"])\."))
    bare = Tokenizer(
        language.vocab,
        rules={},
        prefix_search=words.prefix_search,
        suffix_search=words.suffix_search,
        infix_finditer=words.infix_finditer,
        url_match=words.url_match,
    )
    rules = {key: [piece[ORTH] for piece in pieces] for key, pieces in sorted(words.rules.items()) if key.strip()}
    sequences = [
        [token.text for token in bare(key)]
        for key in rules
        if words.find_prefix(key) or words.find_infix(key) or words.find_suffix(key)
    ]
    content = {
        "about": {
            "spacy": importlib.metadata.version("spacy"),
            "datatrove": importlib.metadata.version("datatrove"),
            "licence": "spaCy: MIT, Explosion; datatrove: Apache-2.0, Hugging Face",
            "command": "tests/peers/record_word_rules.py",
        },
        "classes": {
            "alpha": find_ranges(in_class(classes.ALPHA)),
            "lower": find_ranges(in_class(classes.ALPHA_LOWER)),
            "upper": find_ranges(in_class(classes.ALPHA_UPPER)),
            "quote": find_ranges(in_class(classes.CONCAT_QUOTES)),
            "icon": find_ranges(in_class(classes.CONCAT_ICONS)),
            "affix": find_ranges(both.__contains__),
            "prefix": find_ranges((currency | {"\u00a7", "%", "="}).__contains__),
            "currency": find_ranges(currency.__contains__),
            "before_stop": find_ranges(before_stop),
            "sentence_end": find_ranges(sentences.punct_chars.__contains__),
            "datatrove_punctuation": find_ranges(datatrove_text.PUNCTUATION_SET.__contains__),
            "datatrove_terminal": find_ranges(datatrove_text.TERMINAL_PUNCTUATION.__contains__),
        },
        "long_currency": long_signs(classes.LIST_CURRENCY),
        "long_punctuation": long_signs(classes.LIST_PUNCT + classes.LIST_QUOTES),
        "units": [unit for unit in sorted(set(classes.LIST_UNITS)) if unit],
        "exceptions": [" ".join(pieces) for pieces in rules.values()],
        "sequences": [" ".join(tokens) for tokens in sequences if len(tokens) > 1],
    }
    Path(path).write_text(json.dumps(content, indent=0, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
