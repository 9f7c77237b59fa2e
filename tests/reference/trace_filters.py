"""Slow twin of dolma_py.trace_filters_kernels: units cut by regular expressions, counted in dictionaries. Imports nothing of ours."""

import re
from collections import Counter


def measure_traces(text, min_sentence_bytes, min_paragraph_bytes, phrase_words):
    """[times of the most frequent sentence, paragraph and phrase; Chinese characters; characters that are no white space] of bytes."""
    sentences = []
    for line in text.split(b"\n"):
        line = re.sub(rb"((?:\xe3\x80\x82|\xef\xbc\x81|\xef\xbc\x9f))", rb"\1\n", line)
        line = re.sub(rb"([.!?][\"')\]]*)(?=[\t\r\x0b\x0c ])", rb"\1\n", line)
        sentences += line.split(b"\n")
    paragraphs = re.split(rb"\n[\t\r\x0b\x0c ]*\n", text)
    words = text.split()
    phrases = [tuple(words[at : at + phrase_words]) for at in range(len(words) - phrase_words + 1)]
    phrases = [phrase for phrase in phrases if re.search(rb"[A-Za-z\x80-\xff]", b"".join(phrase))]
    chars = [char for char in text.decode("utf-8", "surrogateescape") if char not in " \t\n\r\x0b\x0c"]
    ranges = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
    han = sum(any(low <= ord(char) <= high for low, high in ranges) for char in chars)
    return [
        _most(sentences, min_sentence_bytes),
        _most(paragraphs, min_paragraph_bytes),
        _most(phrases, 0),
        han,
        len(chars),
    ]


def _most(units, min_bytes):
    units = [unit.strip() if isinstance(unit, bytes) else unit for unit in units]
    return max(Counter(unit for unit in units if unit and len(unit) >= min_bytes).values(), default=0)
