"""Words as spaCy's blank English pipeline finds them: the tables behind taggers.spacy_words_kernels, and the words themselves.

datatrove counts these words and the sentences of spaCy's Sentencizer in English text, so parity with it hangs on them.
spacy_english.json holds the facts: character classes, exceptions, units, recorded by tests/peers/record_word_rules.py.

Deviation: none known in English text; a string of more than 2^30 characters, which spaCy refuses, is split here.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from taggers import spacy_signs_kernels as signs
from taggers import spacy_words_kernels as kernels
from taggers.repetition_kernels import hash_word_kernel

# signs that part words only between certain neighbours, or that stand in URLs
_SIGNS_INSIDE = "+-.*^,~:<>=/\u2013\u2014"


def split_words(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> list[list[tuple[int, int]]]:
    """Where the words of each text lie, as (start, end) in bytes of the text.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing

    Cost                        O(B) time; about 140 bytes of scratch per byte of the longest text

    Examples
    --------
    >>> text = np.frombuffer(b"don't (go)", np.uint8)
    >>> split_words(text, np.array([0, 10]))
    [[(0, 2), (2, 5), (6, 7), (7, 9), (9, 10)]]
    """
    num_rows = len(offsets) - 1
    longest_bytes = int(np.diff(offsets).max(initial=0))
    words, chunks = allocate_words(longest_bytes + 64), allocate_chunks(longest_bytes + 64)
    starts, ends = (np.empty(len(data), np.int64) for _ in range(2))
    counts = np.zeros(num_rows, np.int64)
    kernels.split_spacy_words_kernel(data, offsets, word_tables(), words, chunks, starts, ends, counts)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return [
        list(zip((starts[low:high] - base).tolist(), (ends[low:high] - base).tolist(), strict=True))
        for low, high, base in zip(bounds[:-1], bounds[1:], offsets[:-1], strict=True)
    ]


def allocate_words(capacity: int) -> kernels.WordScratch:
    """Scratch for documents of up to `capacity` words and chunks of up to `capacity` characters."""
    return kernels.WordScratch(
        starts=np.empty(capacity, np.int64),
        ends=np.empty(capacity, np.int64),
        hashes=np.empty(capacity, np.uint64),
        chars=np.empty(capacity, np.int32),
        any_bits=np.empty(capacity, np.uint32),
        all_bits=np.empty(capacity, np.uint32),
        codes=np.empty(capacity, np.int32),
        bounds=np.empty(capacity + 1, np.int64),
        peeled=np.empty(capacity, np.int32),
        lasts=np.empty(capacity, np.int32),
        matches=np.empty((capacity, 3), np.int64),
        old_ends=np.empty(capacity, np.int64),
    )


def allocate_chunks(capacity: int) -> kernels.ChunkScratch:
    """Scratch for documents of up to `capacity` chunks."""
    return kernels.ChunkScratch(
        starts=np.empty(capacity, np.int64),
        ends=np.empty(capacity, np.int64),
        hashes=np.empty(capacity, np.uint64),
        chars=np.empty(capacity, np.int32),
        any_bits=np.empty(capacity, np.uint32),
    )


@functools.lru_cache(maxsize=1)
def read_facts() -> dict[str, Any]:
    """The content of spacy_english.json."""
    content: dict[str, Any] = json.loads((files("taggers") / "spacy_english.json").read_text())
    return content


def read_ranges(text: str) -> list[tuple[int, int]]:
    """Ranges of code points, ends included: "41-5a 5f" is [(0x41, 0x5a), (0x5f, 0x5f)]."""
    pairs = [part.partition("-") for part in text.split()]
    return [(int(low, 16), int(high or low, 16)) for low, _, high in pairs]


@functools.lru_cache(maxsize=1)
def class_table() -> npt.NDArray[np.uint32]:
    """uint32 (TABLE_SIZE,): bits of spacy_words_kernels by code point. Read-only."""
    table = np.zeros(signs.TABLE_SIZE, np.uint32)
    bits = {
        "alpha": signs.ALPHA, "lower": signs.LOWER, "upper": signs.UPPER, "quote": signs.QUOTE, "icon": signs.ICON,
        "affix": signs.AFFIX, "prefix": signs.PREFIX, "currency": signs.CURRENCY, "before_stop": signs.BEFORE_STOP,
        "sentence_end": signs.SENTENCE_END, "datatrove_punctuation": signs.PUNCTUATION, "datatrove_terminal": signs.TERMINAL,
    }  # fmt: skip
    for name, ranges in read_facts()["classes"].items():
        for low, high in read_ranges(ranges):
            table[low : high + 1] |= bits[name]
    for code in range(signs.TABLE_SIZE):
        char = chr(code)
        category = unicodedata.category(char)
        if category[0] == "L":
            table[code] |= signs.LETTER
        elif category[0] == "P":
            table[code] |= signs.MARK
        elif category == "Nd":
            table[code] |= signs.DIGIT
        if category[0] in "LN" or char == "_":
            table[code] |= signs.WORD_SIGN
        if code <= 0x3000 and char.isspace():
            table[code] |= signs.SPACE
    tricky = signs.AFFIX | signs.PREFIX | signs.ICON | signs.CURRENCY
    table[(table & tricky) != 0] |= signs.TRICKY
    for sign in _SIGNS_INSIDE:
        table[ord(sign)] |= signs.TRICKY | signs.INSIDE
    table[ord("\u2026")] |= signs.INSIDE
    table[(table & signs.ICON) != 0] |= signs.INSIDE
    table[ord(".")] |= signs.FULL_STOP
    table[ord("0") : ord("9") + 1] |= signs.ASCII_DIGIT
    for unit in read_facts()["units"]:
        table[ord(unit[-1])] |= signs.UNIT_END
    for sign in "#\u2026":
        table[ord(sign)] |= signs.SYMBOL
    table.flags.writeable = False
    return table


@functools.lru_cache(maxsize=1)
def word_tables() -> kernels.WordTables:
    """All tables of the splitter, built once per process in a third of a second."""
    facts = read_facts()
    rules = [pieces.split(" ") for pieces in facts["exceptions"]]
    numbers = {"".join(pieces): number for number, pieces in enumerate(rules)}
    pieces = np.zeros((len(rules), kernels.MAX_PIECES), np.int32)
    for number, parts in enumerate(rules):
        pieces[number, : len(parts)] = [len(part.encode()) for part in parts]
    nodes: dict[int, int] = {}
    changes = np.zeros(len(rules), np.bool_)
    pairs = np.zeros((256, 256), np.bool_)
    for sequence in facts["sequences"]:
        tokens = sequence.split(" ")
        number = numbers["".join(tokens)]
        changes[number] = tokens != rules[number]
        pairs[tokens[0].encode()[0], tokens[1].encode()[0]] = True
        key = _hash(tokens[0])
        for token in tokens[1:]:
            nodes.setdefault(key, kernels.INNER_NODE)
            key = kernels.next_key_kernel(np.uint64(key), np.uint64(_hash(token)))
        nodes[key] = number
    keys, values = _fill_table({_hash(text): number for text, number in numbers.items()})
    heads = np.zeros((256, kernels.MAX_HEAD_BYTES + 1), np.uint32)
    for text in numbers:
        encoded = text.encode()
        heads[encoded[0], len(encoded)] |= 1 << (encoded[-1] & 31)
    node_keys, node_values = _fill_table(nodes)
    units = np.zeros((len(facts["units"]), signs.MAX_UNIT_CHARS), np.int32)
    for number, unit in enumerate(facts["units"]):
        units[number, : len(unit)] = [ord(char) for char in unit]
    return kernels.WordTables(
        classes=class_table(),
        keys=keys,
        rules=values,
        pieces=pieces,
        heads=heads,
        node_keys=node_keys,
        nodes=node_values,
        changes=changes,
        pairs=pairs,
        units=units,
    )


def _hash(text: str) -> int:
    data = np.frombuffer(text.encode(), np.uint8)
    return int(hash_word_kernel(data, 0, len(data)))


def _fill_table(entries: dict[int, int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """(keys, values) with linear probing, at most a quarter full."""
    size = 16
    while size < 4 * len(entries):
        size *= 2
    keys, values = np.zeros(size, np.uint64), np.full(size, kernels.NO_RULE, np.int32)
    for key, value in entries.items():
        slot = int(kernels.first_slot_kernel(np.uint64(key), size))
        while values[slot] != kernels.NO_RULE:
            slot = (slot + 1) % size
        keys[slot], values[slot] = key, value
    return keys, values
