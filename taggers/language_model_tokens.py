"""What an n-gram language model sees of a text: units (lines, paragraphs or whole documents) of hashed tokens.

A text is first normalised: every character becomes zero or more characters by a table, white space one blank between words, and each
unit one line. The table is built from Python's own Unicode data, so that the text form (normalize_text, what KenLM gets) and the kernels
agree by construction.

Source of the normalisation `ccnet`: Wenzek et al. 2020, CCNet, and its program (lower case, accents off, digits to 0, typographic
punctuation to ASCII, control characters off). Deviations: white space is never taken out (there a tab joins two words), and lower case is
that of single characters (a final sigma stays a plain one).
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import Field, model_validator

from dolma_py.arrow_buffers import TextView
from dolma_py.config import Config
from dolma_py.token_ids import encode_documents, load_backend
from taggers import language_model_tokens_kernels as kernels
from taggers.characters import TABLE_SIZE, character_table

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
SENTENCE_START, SENTENCE_END, UNKNOWN = "<s>", "</s>", "<unk>"
BLANK_MARK = "\u2581"  # a blank between words where tokens are characters, as SentencePiece writes it
FEEDS = {"line": 1, "paragraph": 2, "document": 0}  # line feeds in a row that end a unit; 0: none does
# typographic sign -> ASCII, the pairs that CCNet has
ASCII_SIGNS = {
    "\uff0c\u3001": ",", "\u3002": ".", "\u201e\u201d\u201c\u00ab\u00bb\u300d\u300c\u300a\u300b": '"', "\u00b4\u2019": "'",
    "\u2236\uff1a": ":", "\uff1f": "?", "\uff01": "!", "\uff08": "(", "\uff09": ")", "\uff1b": ";", "\u2013\u2501\u25ba": "-",
    "\u2014": " - ", "\uff0e": ". ", "\uff5e": "~", "\u2026": "...", "\u3008": "<", "\u3009": ">", "\u3010": "[", "\u3011": "]",
    "\uff05": "%",
}  # fmt: skip


class LanguageModelText(Config):
    """What a model's tokens are; a trained model keeps this, and a text that it scores is read in the same way."""

    tokens: Literal["words", "characters", "pieces"] = Field(
        "words", description="words: between white space; characters; pieces: of `tokenizer`"
    )
    tokenizer: str = Field(
        "", description="tokens pieces: a tokenizer.json, a folder that holds one, or a name on the hub"
    )
    unit: Literal["line", "paragraph", "document"] = Field(
        "line", description="what the model takes for a sentence; blank ones do not count"
    )
    lower_case: bool = Field(True, description="characters in lower case")
    strip_accents: bool = Field(True, description="canonical decomposition (NFD) without the marks")
    digits_to_zero: bool = Field(True, description="every decimal digit becomes 0")
    punctuation: Literal["keep", "ascii", "remove"] = Field(
        "ascii",
        description="ascii: typographic signs as CCNet writes them; remove: all punctuation and symbols (Unicode P and S) go",
    )
    drop_control: bool = Field(True, description="control characters go, white space among them apart")

    @model_validator(mode="after")
    def _check_tokenizer(self) -> LanguageModelText:
        if (self.tokens == "pieces") != bool(self.tokenizer):
            raise ValueError("tokenizer is needed with tokens pieces, and only there")
        return self

    @classmethod
    def plain(cls, **options: Any) -> LanguageModelText:
        """Texts as they are: no normalisation but that of white space."""
        off = {"lower_case": False, "strip_accents": False, "digits_to_zero": False, "punctuation": "keep"}
        return cls(**{**off, "drop_control": False, **options})


class Units(NamedTuple):
    """Tokens of N texts in U units that are not blank."""

    hashes: UInt64  # uint64 (W,)      xxh64 of each token's bytes; none is a sentence mark's
    unit_offsets: Int64  # int64 (U + 1,)  unit u has tokens unit_offsets[u]:unit_offsets[u + 1]
    text_offsets: Int64  # int64 (N + 1,)  text i has units text_offsets[i]:text_offsets[i + 1]
    starts: Int64  # int64 (W,)      first byte in `data`; all 0 for pieces
    ends: Int64  # int64 (W,)
    data: npt.NDArray[np.uint8]  # uint8 (V,)  normalised text


class Replacements(NamedTuple):
    """What each code point below TABLE_SIZE becomes."""

    data: npt.NDArray[np.uint8]  # uint8 (R,)   UTF-8, back to back
    offsets: npt.NDArray[np.int32]  # int32 (TABLE_SIZE + 1,)
    growth: int  # bytes that one byte becomes at most


def hash_token(token: str) -> int:
    """xxh64 of the token's UTF-8, as the kernels have it."""
    return xxhash.xxh64_intdigest(token.encode("utf-8", "surrogatepass"))


MARKS = np.array([hash_token(mark) for mark in (SENTENCE_START, SENTENCE_END, UNKNOWN)], np.uint64)


def normalize_character(character: str, text: LanguageModelText) -> str:
    """What one character becomes; white space is a blank, a line feed itself."""
    if character == "\n":
        return character
    if character.isspace():
        return " "
    if text.lower_case:
        character = character.lower()
    if text.strip_accents:
        character = "".join(
            mark for mark in unicodedata.normalize("NFD", character) if unicodedata.category(mark) != "Mn"
        )
    if text.digits_to_zero:
        character = "".join("0" if mark.isdecimal() else mark for mark in character)
    if text.punctuation == "ascii":
        character = "".join(_ascii_signs().get(mark, mark) for mark in character)
    elif text.punctuation == "remove":
        character = "".join(mark for mark in character if unicodedata.category(mark)[0] not in "PS")
    if text.drop_control:
        character = "".join(mark for mark in character if not (ord(mark) < 32 or 127 <= ord(mark) < 160))
    return character


def normalize_text(content: str, text: LanguageModelText) -> list[str]:
    """The units of a text, normalised, words parted by one blank; the slow form, for libraries that take texts."""
    mapped = content.translate(_translation(_characters_only(text)))
    parts = {"line": mapped.split("\n"), "paragraph": re.split("\n *(?:\n *)+", mapped), "document": [mapped]}
    units = (" ".join(part.split()) for part in parts[text.unit])
    return [unit for unit in units if unit]


def split_units(texts: TextView, text: LanguageModelText) -> Units:
    """Tokens of N texts.

    Parameters
    ----------
    texts : TextView        N texts in UTF-8; other bytes give some tokens
    text                    see LanguageModelText

    Raises
    ------
    ConfigError             the tokenizer cannot be loaded

    Guarantees              same tokens for any batch split; no token is `<s>`, `</s>` or `<unk>` (a text cannot fake a sentence mark)
    Cost                    O(B) time; up to `growth` B bytes of normalised text and 24 bytes a token
    """
    table = make_replacements(text)
    num_texts = len(texts.offsets) - 1
    num_bytes = int(texts.offsets[-1] - texts.offsets[0])
    data = np.empty(table.growth * num_bytes + num_texts, np.uint8)
    line_ends, text_offsets = np.empty(num_bytes // 2 + num_texts + 1, np.int64), np.zeros(num_texts + 1, np.int64)
    count = kernels.normalize_units_kernel(
        texts.data,
        texts.offsets,
        table.data,
        table.offsets,
        character_table(),
        FEEDS[text.unit],
        data,
        line_ends,
        text_offsets,
    )
    line_offsets = np.concatenate([np.zeros(1, np.int64), line_ends[:count]])
    data = data[: line_offsets[-1]].copy()
    if text.tokens == "pieces":
        return _split_pieces(data, line_offsets, text_offsets, text.tokenizer)
    room = len(data)  # tokens of one byte with a blank after each, or characters
    hashes, starts, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    unit_offsets = np.zeros(len(line_offsets), np.int64)
    characters = text.tokens == "characters"
    num_tokens = kernels.hash_units_kernel(
        data, line_offsets, MARKS, characters, np.uint64(hash_token(BLANK_MARK)), hashes, starts, ends, unit_offsets
    )
    return Units(
        hashes[:num_tokens].copy(),
        unit_offsets,
        text_offsets,
        starts[:num_tokens].copy(),
        ends[:num_tokens].copy(),
        data,
    )


def _split_pieces(data: npt.NDArray[np.uint8], line_offsets: Int64, text_offsets: Int64, tokenizer: str) -> Units:
    ids = encode_documents(TextView(data, line_offsets), tokenizer=tokenizer, key="language_model.tokenizer")
    hashes = piece_hashes(tokenizer)[ids.ids]
    kept = ~np.isin(hashes, MARKS)
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])
    nowhere = np.zeros(int(counts[-1]), np.int64)
    return Units(hashes[kept], counts[ids.offsets], text_offsets, nowhere, nowhere, data)


def fingerprint_tokenizer(text: LanguageModelText) -> str:
    """xxh3-128 of the tokenizer's whole definition, 32 hex digits; empty where tokens are no pieces."""
    return _fingerprint_tokenizer(text.tokenizer) if text.tokens == "pieces" else ""


@functools.lru_cache(maxsize=4)
def _fingerprint_tokenizer(tokenizer: str) -> str:
    definition: str = load_backend(tokenizer, "language_model.tokenizer").to_str()
    return xxhash.xxh3_128_hexdigest(definition.encode("utf-8", "surrogatepass"))


@functools.lru_cache(maxsize=4)
def piece_names(tokenizer: str) -> tuple[str, ...]:
    """The pieces of a vocabulary in order of their ids, white space inside them as BLANK_MARK; ConfigError as load_backend."""
    vocabulary = load_backend(tokenizer, "language_model.tokenizer").get_vocab(with_added_tokens=True)
    names = [f"#{number}" for number in range(max(vocabulary.values(), default=-1) + 1)]
    for piece, number in vocabulary.items():
        names[number] = "".join(BLANK_MARK if mark.isspace() else mark for mark in piece) or BLANK_MARK
    return tuple(names)


@functools.lru_cache(maxsize=4)
def piece_hashes(tokenizer: str) -> UInt64:
    """uint64 (vocabulary,): hash_token of each piece."""
    return np.array([hash_token(piece) for piece in piece_names(tokenizer)], np.uint64)


def make_replacements(text: LanguageModelText) -> Replacements:
    """normalize_character of every code point below TABLE_SIZE; a second, once per process and normalisation."""
    return _make_replacements(_characters_only(text))


def _characters_only(text: LanguageModelText) -> LanguageModelText:
    """What of the settings speaks of single characters."""
    return text.model_copy(update={"tokens": "words", "tokenizer": "", "unit": "line"})


@functools.lru_cache(maxsize=8)
def _make_replacements(text: LanguageModelText) -> Replacements:
    parts = []
    growth = 3  # a byte that is not UTF-8 becomes U+FFFD
    for code in range(TABLE_SIZE):
        character = "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
        encoded = normalize_character(character, text).encode()
        growth = max(growth, -(-len(encoded) // len(character.encode())))
        parts.append(encoded)
    offsets = np.zeros(TABLE_SIZE + 1, np.int32)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return Replacements(np.frombuffer(b"".join(parts), np.uint8), offsets, growth)


@functools.lru_cache(maxsize=8)
def _translation(text: LanguageModelText) -> dict[int, str]:
    changes = {code: normalize_character(chr(code), text) for code in range(sys.maxunicode + 1)}
    return {code: change for code, change in changes.items() if change != chr(code)}


@functools.lru_cache(maxsize=1)
def _ascii_signs() -> dict[str, str]:
    return {sign: plain for signs, plain in ASCII_SIGNS.items() for sign in signs}
