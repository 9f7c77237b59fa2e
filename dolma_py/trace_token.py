"""`dolma-py trace token SHARD:OFFSET`: from a token of a shard back to its document, its bytes there, and the file that it came from.

The sidecar says which copy the token belongs to, the lineage which document and row that is and how fill-in-the-middle cut it, the
tokenizer which bytes of the edited text it stands for, and the view's edits which bytes of the original those are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.token_texts import TokenTexts
from dolma_py.trace_mix import (
    REMAKE,
    Copy,
    Mix,
    SidecarRow,
    find_copies,
    find_copy,
    find_mixes,
    find_origin,
    find_part,
    find_sidecar_row,
    load_token_texts,
    read_tokens,
)
from dolma_py.trace_text import TracedText, read_text

CONTEXT_BYTES = 160  # shown on each side of a token
TEXT, END = "text", "end"  # roles of a token; those of fill-in-the-middle are prefix_token, suffix_token, middle_token


class PlacedTokens(NamedTuple):
    """Where the T tokens of a copy stand in the document's edited text."""

    starts: npt.NDArray[np.int64]  # (T,) bytes
    ends: npt.NDArray[np.int64]  # (T,) exclusive; the start again for tokens that are no text
    roles: list[str]  # (T,)


def trace_token(
    corpus: Corpus, place: str, *, mix: str | None, view: str | None, with_attributes: bool
) -> dict[str, Any]:
    """What is known of one token, as JSON values.

    Parameters
    ----------
    place : str             [MIX/]part-NNNNN[.npy]:OFFSET, or a path of the part's file; OFFSET counts tokens from 0
    mix : str               folder under tokens/, where `place` does not name it and the corpus has several
    view : str              another view than the one that the mix was drawn from
    with_attributes : bool  add what each step of the view did, and the values of its attribute sets

    Raises
    ------
    ConfigError             no such mix, part, offset or view
    DataError               files that do not belong together: tokens, sidecar, lineage, documents or attributes were changed
    """
    of_mix, part, offset = find_place(corpus, place, mix)
    number, entry = find_part(of_mix, part)
    if not 0 <= offset < entry["tokens"]:
        raise ConfigError("OFFSET", offset, f"expected a token of {part}, 0 to {entry['tokens'] - 1}")
    side = find_sidecar_row(of_mix, entry, offset)
    copy = match_copy(of_mix, number, side)
    copies = [
        other for other in find_copies(of_mix, copy.document) if (other.shard, other.row) == (copy.shard, copy.row)
    ]
    text = read_text(corpus, find_origin(corpus, of_mix, view).view, copy.shard, copy.row)
    check_document(text, copy)
    tokens = read_tokens(of_mix, entry, side.start, side.end)
    names = load_token_texts(of_mix)
    placed = place_tokens(of_mix, copy, tokens, names, text.edited)
    index = offset - side.start
    start, end = int(placed.starts[index]), int(placed.ends[index])
    found = {
        "token": {
            "mix": of_mix.name, "part": part, "offset": offset, "id": int(tokens[index]), "role": placed.roles[index],
            "text": show_bytes(text.edited[start:end]) if start < end else names.name(int(tokens[index])),
        },
        "copy": describe_copy(of_mix, copy) | {"copies": len(copies)},
        "document": text.describe() | {"file": side.path, "line": side.line},
        "edited": [start, end],
        "original": [list(span) for span in text.to_original(start, end)],
        "context": cut_context(text.edited, start, end),
    }  # fmt: skip
    return found | ({"steps": text.steps, "values": text.attributes} if with_attributes else {})


def find_place(corpus: Corpus, place: str, mix: str | None) -> tuple[Mix, str, int]:
    """(mix, name of the part's file, token) of SHARD:OFFSET; ConfigError for what is no such address."""
    shard, _, offset = place.rpartition(":")
    if not shard or not (offset.isascii() and offset.isdigit()):
        raise ConfigError("SHARD:OFFSET", place, "expected a part and a token of it", "Such as MIX/part-00000.npy:1234")
    folder, _, name = shard.rpartition("/")
    named = folder.rpartition("/")[2] or mix
    if mix is not None and mix != named:
        raise ConfigError("--mix", mix, f"expected the mix of {place}, or none")
    mixes = find_mixes(corpus, named)
    if len(mixes) != 1:
        raise ConfigError("--mix", mix, f"expected the name of a mix, one of {[found.name for found in mixes]}")
    return mixes[0], name if name.endswith(".npy") else f"{name}.npy", int(offset)


def match_copy(mix: Mix, part: int, side: SidecarRow) -> Copy:
    """The lineage's row of a sidecar's row; DataError unless there is exactly one."""
    found = [
        copy for copy in find_copy(mix, side.id) if (copy.part, copy.start, copy.end) == (part, side.start, side.end)
    ]
    if len(found) != 1:
        where = f"tokens {side.start} to {side.end} of part {part} have {len(found)} rows"
        raise DataError(mix.folder, f"{where} in lineage.parquet, expected one", hint=REMAKE)
    return found[0]


def check_document(text: TracedText, copy: Copy) -> None:
    """Raise DataError when the row of the corpus is another document than the copy's."""
    if text.id != copy.document:
        problem = f"row {text.row} is document {text.id}, the mix was made of {copy.document} there"
        raise DataError(text.shard.path, problem, text.row, REMAKE)


def place_tokens(mix: Mix, copy: Copy, tokens: npt.NDArray[np.int64], names: TokenTexts, text: bytes) -> PlacedTokens:
    """Where each token of a copy stands in the document's text.

    Parameters
    ----------
    tokens : int64 (T,)     of the copy, its end token last
    text : bytes            the document's text after the view's edits

    Raises
    ------
    DataError               the tokens are not that text, or not cut as the lineage says
    """
    starts, ends, roles = np.empty(len(tokens), np.int64), np.empty(len(tokens), np.int64), [TEXT] * len(tokens)
    marks = [*find_pieces(mix, copy, len(text)), (mix.made["eos_token_id"], len(text), len(text), END)]
    place = 0
    for mark, (token, start, end, role) in enumerate(marks):
        if token is not None:
            if place >= len(tokens) or int(tokens[place]) != token:
                raise DataError(
                    mix.folder, f"token {copy.start + place} of part {copy.part} is not the {role}", hint=REMAKE
                )
            starts[place] = ends[place] = start if role != END or place == 0 else ends[place - 1]
            roles[place], place = role, place + 1
        if mark == len(marks) - 1:
            break
        stops = np.flatnonzero(tokens[place:] == marks[mark + 1][0])
        stop = place + int(stops[0]) if len(stops) else len(tokens)
        starts[place:stop], ends[place:stop] = names.place(tokens[place:stop], text[start:end])
        starts[place:stop] += start
        ends[place:stop] += start
        place = stop
    if place != len(tokens):
        raise DataError(
            mix.folder, f"tokens follow the end token {copy.start + place - 1} of part {copy.part}", hint=REMAKE
        )
    return PlacedTokens(starts, ends, roles)


def find_pieces(mix: Mix, copy: Copy, num_bytes: int) -> list[tuple[int | None, int, int, str]]:
    """(token before it, first byte, end, the token's role) of a copy's pieces of text in the order of its tokens."""
    if copy.fim_mode is None:
        return [(None, 0, num_bytes, "")]
    fim, start, end = mix.made.get("fim"), copy.fim_start, copy.fim_end
    if fim is None or start is None or end is None or not 0 <= start <= end <= num_bytes:
        problem = f"copy {copy.id} is cut at {start} and {end} of {num_bytes} bytes, and the manifest says {fim}"
        raise DataError(mix.folder, problem, hint=REMAKE)
    ranges = {"prefix": (0, start), "suffix": (end, num_bytes), "middle": (start, end)}
    order = ("prefix", "suffix", "middle") if copy.fim_mode == "psm" else ("suffix", "prefix", "middle")
    return [(fim[f"{name}_token_id"], *ranges[name], f"{name}_token") for name in order]


def describe_copy(mix: Mix, copy: Copy) -> dict[str, Any]:
    """The JSON values of a copy."""
    values: dict[str, Any] = {
        "mix": mix.name, "id": copy.id, "copy": copy.copy, "part": mix.made["files"][copy.part]["path"],
        "start": copy.start, "end": copy.end,
    }  # fmt: skip
    if copy.fim_mode is not None:
        values |= {"fim_mode": copy.fim_mode, "fim_start": copy.fim_start, "fim_end": copy.fim_end}
    return values


def cut_context(text: bytes, start: int, end: int) -> dict[str, str]:
    """The text before, in and behind a range, cut between characters at the outer sides."""
    first, last = max(0, start - CONTEXT_BYTES), min(len(text), end + CONTEXT_BYTES)
    while first < start and text[first] & 0xC0 == 0x80:
        first += 1
    while last > end and last < len(text) and text[last] & 0xC0 == 0x80:
        last -= 1
    return {
        "before": show_bytes(text[first:start]), "token": show_bytes(text[start:end]), "after": show_bytes(text[end:last]),
    }  # fmt: skip


def show_bytes(content: bytes) -> str:
    """Text, the bytes of a character that a token cuts as backslash escapes."""
    return content.decode("utf-8", "backslashreplace")
