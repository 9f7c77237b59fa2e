"""tiktoken in the place of `tokenizers`: which tokenizer.json files allow it, and the encoder that gives the same ids.

Both libraries merge bytes inside pieces of text, but `tokenizers` merges the pairs of a list in the list's order and tiktoken any two
neighbours whose joined bytes are a token, the token with the smallest number first. The ids are equal when

* the text is cut into the same pieces: no normalizer, a pattern of PATTERNS, and added tokens that text may turn into are found alike;
* every token that is kept is what its own bytes are encoded into, and smaller ids have earlier merges. Then by induction over merges
  two neighbours whose bytes are those of a kept token t have seen the merges that encoding t's bytes alone begins with, so what comes
  next there is the merge into t, in either library. A token whose bytes are encoded into something else never occurs and is left out.

build_fast_encoder checks all of that and says what is missing; nobody needs to know which library ran.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tiktoken
from tokenizers import Tokenizer

# Contractions; words with an optional sign or blank before them, combining marks included; numbers by three digits at most;
# signs with the line breaks after them; line breaks with the blanks before them; blanks, the last one left to the next word.
# The shape is that of the published GPT-4 family; marks inside words are our addition (Indic and Arabic words stay whole).
SPLIT_PATTERN = (
    r"(?i:'(?:s|t|re|ve|m|ll|d))|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# of cl100k, and so of dolma2 (Olmo 2 and 3) and Llama 3
CL100K_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# what ByteLevel with use_regex cuts by
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Both engines cut all text alike by these, character by character (tests/unit/mixers/test_mixers_fast_encoding.py): nothing is between
# the pieces, so it does not matter whether a Split isolates matches or removes what is not one.
PATTERNS = (SPLIT_PATTERN, CL100K_PATTERN, GPT2_PATTERN)
BLANK_ENDING = r"|\s+(?!\S)|\s+"

# tiktoken's regular expressions keep a state per character of a run of blanks, and stop the process's work at a million of them
MAX_BLANKS = 1 << 16


class FastEncoder(NamedTuple):
    """tiktoken with the vocabulary of a tokenizer.json."""

    encoding: tiktoken.Encoding
    added: frozenset[str]  # added tokens that text turns into

    def encode(self, text: str) -> npt.NDArray[np.uint32]:
        """Ids uint32 (T,) without an end token. UnicodeEncodeError for a lone surrogate; the text has no run of MAX_BLANKS blanks."""
        ids = self.encoding.encode_to_numpy(text, allowed_special=self.added, disallowed_special=())
        return np.asarray(ids, np.uint32)


def has_long_blank(text: str, max_blanks: int = MAX_BLANKS) -> bool:
    """Whether a run of at least `max_blanks` blanks is in the text; looks at one character in `max_blanks`, and around blank ones.

    >>> has_long_blank("ab   c", 3), has_long_blank("ab  c ", 3)
    (True, False)
    """
    for place in range(0, len(text), max_blanks) if len(text) >= max_blanks else ():
        if text[place].isspace():
            before, after = text[max(0, place - max_blanks) : place], text[place : place + max_blanks]
            if len(before) - len(before.rstrip()) + len(after) - len(after.lstrip()) >= max_blanks:
                return True
    return False


def build_fast_encoder(values: dict[str, Any], backend: Tokenizer) -> FastEncoder | str:
    """The encoder of a tokenizer.json, or the reason in words why `tokenizers` has to do it.

    values: the file's JSON. backend: what `tokenizers` made of it, with special tokens taken as text.
    Cost: some 5 microseconds per token of the vocabulary.
    """
    try:
        pattern = _find_pattern(values)
        added = _find_added(values.get("added_tokens") or [])
        ranks = _find_ranks(values["model"], backend)
    except _NotEqualError as error:
        return str(error)
    # tiktoken wants a special token to look for; one that is not allowed stays text
    specials = added or {token["content"]: token["id"] for token in values["added_tokens"][:1]}
    encoding = tiktoken.Encoding("fast", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
    return FastEncoder(encoding, frozenset(added))


class _NotEqualError(Exception):
    """Why tiktoken might give other ids."""


def _find_pattern(values: dict[str, Any]) -> str:
    if values.get("normalizer") is not None:
        raise _NotEqualError("it normalizes text")
    steps = values.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", []) if steps.get("type") == "Sequence" else [steps]
    last = steps[-1] if steps else {}
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space", True):
        raise _NotEqualError("it does not take text as bytes as they stand")
    if len(steps) == 1:
        pattern = GPT2_PATTERN if last.get("use_regex", True) else None
    else:
        first = steps[0]
        ways = [("Isolated", False), ("Removed", True)]
        is_plain = first.get("type") == "Split" and (first.get("behavior"), first.get("invert", False)) in ways
        is_plain = is_plain and len(steps) == 2 and not last.get("use_regex", True)
        pattern = first["pattern"].get("Regex") if is_plain else None
    if pattern not in PATTERNS:
        raise _NotEqualError("its pattern is not one of those that both libraries were compared on")
    # The same alternatives: those before the last two need no look around them, and in a group of their own one pass finds the first
    # that matches. Blanks at the end of the text are matched whole either way.
    return f"(?:{pattern.removesuffix(BLANK_ENDING)}|\\s+$){BLANK_ENDING}"


def _find_added(tokens: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The added tokens that text turns into: those not marked as special."""
    if not tokens:
        raise _NotEqualError("it has no added token")
    if any(token["single_word"] or token["lstrip"] or token["rstrip"] for token in tokens):
        raise _NotEqualError("an added token depends on what is around it")
    if len({token["normalized"] for token in tokens}) > 1:
        raise _NotEqualError("its added tokens are searched in two passes")
    special = [token["content"] for token in tokens if token["special"]]
    added = {token["content"]: token["id"] for token in tokens if not token["special"]}
    for text in added:
        if any(other != text and other.startswith(text) for other in added):
            raise _NotEqualError("an added token begins another")
        # `tokenizers` finds special tokens too, and goes on behind them
        if any(_overlaps(other, text) for other in special):
            raise _NotEqualError("a special token runs into an added one")
    return added


def _overlaps(first: str, then: str) -> bool:
    """Whether `then` can begin inside `first`."""
    return then in first or any(then.startswith(first[place:]) for place in range(len(first)))


def _find_ranks(model: dict[str, Any], backend: Tokenizer) -> dict[bytes, int]:
    """Bytes -> id of every token that encoding can give."""
    if model.get("type") != "BPE" or model.get("byte_fallback") or model.get("dropout"):
        raise _NotEqualError("it is no plain byte pair encoding")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _NotEqualError("it marks parts of words")
    vocabulary = _read_vocabulary(model["vocab"])
    if sum(len(content) == 1 for content, _ in vocabulary.values()) < 256:
        raise _NotEqualError("it lacks some single byte")
    if model.get("ignore_merges"):
        plain = {"version": "1.0", "added_tokens": [], "model": {**model, "ignore_merges": False}}
        backend = Tokenizer.from_str(json.dumps(plain))
    spread = _spread_merges(model["merges"])
    ranks: dict[bytes, int] = {}
    tokenize = backend.model.tokenize  # each look-up makes an object, and this is done for every token
    last_merge = -1
    for name, (content, number) in sorted(vocabulary.items(), key=lambda item: item[1][1]):
        if len(content) > 1:
            tokens = tokenize(name)
            if len(tokens) != 1 or tokens[0].id != number:
                if model.get("ignore_merges"):
                    raise _NotEqualError("it gives tokens that its merges do not make")
                continue
            first, last = spread.get(name, (-1, -1))
            if first <= last_merge:
                raise _NotEqualError("its ids are not in the order of its merges")
            last_merge = last
        ranks[content] = number
    return ranks


def _read_vocabulary(vocab: dict[str, int]) -> dict[str, tuple[bytes, int]]:
    """Token -> its bytes and its id, of those that are written in the letters of bytes; text is encoded into no others."""
    letters = byte_letters()
    table = dict.fromkeys(range(0x200), 0x200) | {ord(letter): byte for letter, byte in letters.items()}
    found = {}
    for name, number in vocab.items():
        try:
            content = name.translate(table).encode("latin-1")
        except UnicodeEncodeError:  # some other letter
            continue
        if content:
            found[name] = (content, number)
    return found


def _spread_merges(merges: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """Token -> numbers of the first and the last merge that makes it."""
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
    if len(set(pairs)) < len(pairs):
        raise _NotEqualError("a merge is there twice")
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, name in enumerate(map("".join, pairs)):
        first.setdefault(name, number)
        last[name] = number
    return {name: (first[name], last[name]) for name in first}


def byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in a byte-level vocabulary, as GPT-2 has them: itself where it shows, else from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}
