"""Rendered conversations as token ids, and which of them are trained on.

The text is cut at special tokens and at the ends of trained spans, and each piece is encoded by itself. So no token is half prompt and half
answer, the ids before an answer are those that inference gives a model, and a mask decodes to exactly the spans. Where an answer does not begin
with white space these are the ids of the whole text encoded at once. A conversation has one end-of-text token, its last: it is the
template's where the template closes the last turn with it (trained), else put behind (not trained).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mixers.chat_templates import ChatTemplate, Rendered
from mixers.tokenization import LoadedTokenizer, encode_texts

REASONS = ("eos_inside", "mask_differs", "no_trained_token")


class Encoded(NamedTuple):
    """One conversation of T tokens."""

    ids: npt.NDArray[np.uint32]  # (T,)
    mask: npt.NDArray[np.bool_]  # (T,)  True: trained on
    is_truncated: bool


def encode_conversations(
    rendered: Sequence[Rendered], *, tokenizer: LoadedTokenizer, template: ChatTemplate, max_tokens: int
) -> list[Encoded | str]:
    """Ids and mask of each conversation, or one of REASONS.

    eos_inside: the end-of-text token stands elsewhere than at the end; mask_differs: what is trained does not decode to the spans, as with
    tokenizers that lose something; no_trained_token: nothing to train on, after cutting too.

    Longer conversations are cut to max_tokens, an untrained end-of-text token the last: a cut answer must not teach where to end.
    """
    cut = [_cut_pieces(one, template) for one in rendered]
    texts = [piece for pieces in cut for piece, is_special, _ in pieces if not is_special]
    encoded = iter(encode_texts(tokenizer, texts))
    made: list[Encoded | str] = []
    for one, pieces in zip(rendered, cut, strict=True):
        parts = [
            np.array([tokenizer.backend.token_to_id(piece)], np.uint32) if is_special else next(encoded)
            for piece, is_special, _ in pieces
        ]
        lengths = [len(part) for part in parts]
        ids = np.concatenate([np.empty(0, np.uint32), *parts])
        mask = np.repeat(np.array([is_trained for _, _, is_trained in pieces], np.bool_), lengths)
        made.append(_finish(Encoded(ids, mask, False), one, tokenizer, max_tokens))
    return made


def encode_prompt(text: str, *, tokenizer: LoadedTokenizer, template: ChatTemplate) -> npt.NDArray[np.uint32]:
    """Ids of the text before an answer, special tokens in it as such; no end-of-text token is added."""
    pieces = _cut_pieces(Rendered(text, []), template)
    encoded = iter(encode_texts(tokenizer, [piece for piece, is_special, _ in pieces if not is_special]))
    parts = [
        np.array([tokenizer.backend.token_to_id(piece)], np.uint32) if is_special else next(encoded)
        for piece, is_special, _ in pieces
    ]
    return np.concatenate([np.empty(0, np.uint32), *parts])


def _cut_pieces(rendered: Rendered, template: ChatTemplate) -> list[tuple[str, bool, bool]]:
    """(piece, whether it is a special token, whether it is trained) of a text, in order; none is empty."""
    text, spans = rendered
    specials = template.iterate_specials(text)
    starts = {start for start, _ in specials}
    borders = sorted({0, len(text), *(place for pair in (*specials, *spans) for place in pair)})
    pieces, span = [], 0
    for start, stop in zip(borders, borders[1:], strict=False):
        while span < len(spans) and spans[span][1] <= start:
            span += 1
        is_trained = span < len(spans) and spans[span][0] <= start
        pieces.append((text[start:stop], start in starts, is_trained))
    return pieces


def _finish(made: Encoded, rendered: Rendered, tokenizer: LoadedTokenizer, max_tokens: int) -> Encoded | str:
    """Put the end-of-text token where it belongs, check the mask, cut."""
    ids, mask, _ = made
    ends = np.flatnonzero(ids == tokenizer.eos_token_id)
    if len(ends) > 1 or (len(ends) and ends[0] != len(ids) - 1):
        return "eos_inside"
    trained = [rendered.text[start:stop] for start, stop in rendered.spans]
    if decode_trained(ids, mask, tokenizer) != trained:
        return "mask_differs"
    if not len(ends):
        ids, mask = np.append(ids, np.uint32(tokenizer.eos_token_id)), np.append(mask, False)
    is_truncated = len(ids) > max_tokens
    if is_truncated:
        ids, mask = ids[:max_tokens].copy(), mask[:max_tokens].copy()
        ids[-1], mask[-1] = tokenizer.eos_token_id, False
    return Encoded(ids, mask, is_truncated) if mask.any() else "no_trained_token"


def decode_trained(
    ids: npt.NDArray[np.unsignedinteger], mask: npt.NDArray[np.bool_], tokenizer: LoadedTokenizer
) -> list[str]:
    """The text of each run of trained tokens, special tokens in it as they are spelled."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    runs = [ids[start:stop].tolist() for start, stop in edges.reshape(-1, 2).tolist()]
    return [str(tokenizer.backend.decode(run, skip_special_tokens=False)) for run in runs]


def turn_starts(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Indices of the first trained token of each assistant turn, int64: where runs of trained tokens begin.

    >>> turn_starts(np.array([False, True, True, False, True])).tolist()
    [1, 4]
    """
    return np.flatnonzero(mask & ~np.concatenate(([False], mask[:-1])))


def show_sample(made: Encoded, tokenizer: LoadedTokenizer, *, max_chars: int = 4000) -> str:
    """A conversation decoded, what is trained between \u27e6 and \u27e7; the middle of a long one is left out."""
    edges = np.flatnonzero(np.diff(made.mask.astype(np.int8))) + 1
    borders = [0, *edges.tolist(), len(made.ids)]
    parts = []
    for start, stop in zip(borders, borders[1:], strict=False):
        text = str(tokenizer.backend.decode(made.ids[start:stop].tolist(), skip_special_tokens=False))
        parts.append(f"\u27e6{text}\u27e7" if made.mask[start] else text)
    text = "".join(parts)
    if len(text) <= max_chars:
        return text
    half = max_chars // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters are not shown]\n{text[-half:]}"
