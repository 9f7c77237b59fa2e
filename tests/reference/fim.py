"""Slow twin of mixers.fim: Python strings and integers."""

from __future__ import annotations


def cut_texts(texts, first_hash, second_hash):
    """(start, end) in bytes of each UTF-8 text, given as bytes; a byte that continues a character belongs to the one before it."""
    cuts = []
    for text, one, other in zip(texts, first_hash, second_hash, strict=True):
        places = [place for place, byte in enumerate(text) if not 0x80 <= byte < 0xC0] + [len(text)]
        chosen = sorted(((value >> 32) * len(places)) >> 32 for value in (one, other))
        cuts.append(tuple(places[place] for place in chosen))
    return cuts


def arrange(text, mode, start, end, encode, *, prefix, middle, suffix, eos):
    """The token list of one copy of a text (bytes); mode None, "psm" or "spm"; encode: bytes -> token list."""
    if mode is None:
        return [*encode(text), eos]
    parts = {prefix: encode(text[:start]), middle: encode(text[start:end]), suffix: encode(text[end:])}
    order = [prefix, suffix, middle] if mode == "psm" else [suffix, prefix, middle]
    return [token for name in order for token in [name, *parts[name]]] + [eos]
