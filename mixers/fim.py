"""Fill-in-the-middle: some copies of a document are cut in three and written prefix, suffix, middle, so that a model learns to infill.

A copy's fate is a function of (seed, id, copy, rate of its source) alone. Each of the three parts is encoded by itself, and nothing goes
across documents. With the tokens named by FimConfig a copy becomes

    psm     <prefix> prefix <suffix> suffix <middle> middle <end>
    spm     <suffix> suffix <prefix> prefix <middle> middle <end>

Source of both forms and of the uniform cuts: Bavarian et al. 2022, section 3 (cuts on characters); the order of SPM is that of the tool
with which Olmo 3's code was made, which also takes half of the documents, and half of those as SPM.
Legend: N documents, K copies of them, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.hashing import check_ranges, derive_seed, mix_keys, uniform_hash
from mixers.fim_kernels import cut_texts_kernel
from mixers.tokenization import LoadedTokenizer, check_unspoken, decode_ids, encode_texts

PLAIN, PSM, SPM = 0, 1, 2  # values of a mode
MODE_NAMES = (None, "psm", "spm")


class FimConfig(Config):
    """Which copies are cut, and the tokens before their parts."""

    rate: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the copies of sources not named below; Olmo 3 took 0.5 of its code",
    )
    sources: dict[str, float] = Field(default_factory=dict, description="share of the copies of a source, 0 to 1")
    spm_frac: float = Field(
        default=0.5, ge=0, le=1, description="share of the cut copies written suffix first; as Olmo 3"
    )
    prefix_token: str = Field(default="<|fim_prefix|>", description="special token before the text's beginning")
    middle_token: str = Field(default="<|fim_middle|>", description="special token before the middle")
    suffix_token: str = Field(default="<|fim_suffix|>", description="special token before the text's end")

    def rate_of(self, source: str) -> float:
        """Share of this source's copies."""
        return self.sources.get(source, self.rate)


class FimTokens(NamedTuple):
    """Ids of the three tokens."""

    prefix: int
    middle: int
    suffix: int


class Cuts(NamedTuple):
    """What becomes of K copies."""

    mode: npt.NDArray[np.int8]  # (K,) PLAIN, PSM or SPM
    start: npt.NDArray[np.int64]  # (K,) bytes of text before the middle; 0 for PLAIN
    end: npt.NDArray[np.int64]  # (K,) bytes of text before the suffix; 0 for PLAIN


def check_rates(config: FimConfig, sources: Sequence[str] | None, key: str = "fim") -> None:
    """Raise ConfigError for a rate outside 0..1, or of a source that is not one of `sources`; None where they are not known."""
    for source, rate in sorted(config.sources.items()):
        if not 0 <= rate <= 1:
            raise ConfigError(f"{key}.sources.{source}", rate, "expected a share from 0 to 1")
        if sources is not None and source not in sources:
            raise ConfigError(f"{key}.sources", source, f"expected one of the sources {sorted(sources)}")


def find_fim_tokens(tokenizer: LoadedTokenizer, config: FimConfig, key: str = "fim") -> FimTokens:
    """Ids of the three tokens; ConfigError when the vocabulary lacks one, a text would be encoded into it, or two are the same."""
    found = []
    for name in ("prefix_token", "middle_token", "suffix_token"):
        token = getattr(config, name)
        number = tokenizer.backend.token_to_id(token)
        if number is None:
            hint = (
                f"Name the tokenizer's own, or train one with all of special_tokens <|endoftext|>, <|pad|> and {token}."
            )
            raise ConfigError(f"{key}.{name}", token, "expected a token of the vocabulary", hint)
        check_unspoken(tokenizer.backend, number, f"{key}.{name}")
        found.append(int(number))
    if len({*found, tokenizer.eos_token_id}) < 4:
        raise ConfigError(key, found, "expected three tokens, none of them the end token")
    return FimTokens(*found)


def choose_cuts(
    texts: pa.Array,
    *,
    index: npt.NDArray[np.int64],
    copy: npt.NDArray[np.int32],
    id_hash: npt.NDArray[np.uint64],
    rate: npt.NDArray[np.float64],
    spm_frac: float,
    seed: int,
) -> Cuts:
    """Which copies are cut, how and where.

    Parameters
    ----------
    texts : string Array (N,)       an empty one stays as it is
    index : int64 (K,)              text of each copy
    copy : int32 (K,)               0, 1, ... among the copies of its document
    id_hash : uint64 (K,)           hash of the document's id
    rate : float64 (K,)             share of the copies of its source
    spm_frac : float                share of the cut copies written suffix first
    seed : int                      of the run

    Returns
    -------
    cuts : Cuts
    """
    base = mix_keys(np.asarray(id_hash, np.uint64), seed=derive_seed(seed, "fim"))
    # mixed again: neighbouring copies of a document are independent
    own = mix_keys(base + copy.astype(np.uint64), seed=derive_seed(seed, "fim copy"))
    text = view_text(texts)
    is_cut = (uniform_hash(own, seed=derive_seed(seed, "fim rate")) < rate) & (np.diff(text.offsets)[index] > 0)
    is_spm = uniform_hash(own, seed=derive_seed(seed, "fim spm")) < spm_frac
    mode = np.where(is_cut, np.where(is_spm, SPM, PSM), PLAIN).astype(np.int8)
    start, end = np.zeros(len(index), np.int64), np.zeros(len(index), np.int64)
    chosen = np.flatnonzero(is_cut)
    hashes = [mix_keys(own[chosen], seed=derive_seed(seed, "fim cut", place)) for place in range(2)]
    start_byte, end_byte = text.offsets[:-1][index[chosen]], text.offsets[1:][index[chosen]]
    start[chosen], end[chosen] = cut_texts(text.data, start_byte, end_byte, *hashes)
    return Cuts(mode, start, end)


def cut_texts(
    data: npt.NDArray[np.uint8],
    start_byte: npt.NDArray[np.int64],
    end_byte: npt.NDArray[np.int64],
    first_hash: npt.NDArray[np.uint64],
    second_hash: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Two cuts of each text, uniform over the places before, between and after its characters.

    Parameters
    ----------
    data : uint8 (B,)                       UTF-8
    start_byte, end_byte : int64 (K,)       text i is data[start_byte[i]:end_byte[i]]; texts may overlap
    first_hash, second_hash : uint64 (K,)   one place each

    Returns
    -------
    start, end : int64 (K,)                 bytes from the start of the text, start <= end, never inside a character

    Raises
    ------
    SchemaError                             a range outside the data, or other lengths
    """
    check_ranges(len(data), start_byte, end_byte)
    if not len(start_byte) == len(first_hash) == len(second_hash):
        raise SchemaError("hashes", f"{len(start_byte)} of each", (len(first_hash), len(second_hash)))
    start, end = np.empty(len(start_byte), np.int64), np.empty(len(start_byte), np.int64)
    cut_texts_kernel(data, start_byte, end_byte, first_hash, second_hash, start, end)
    return start, end


def encode_copies(
    tokenizer: LoadedTokenizer, texts: pa.Array, *, index: npt.NDArray[np.int64], cuts: Cuts, tokens: FimTokens | None
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Encode K copies of N texts, each text and each part of a cut copy once, an end token after each copy.

    tokens: needed when any copy is cut. Returns (ids uint32 (T,), offsets int64 (K + 1,)) as encode_batch does; raises as it does.
    """
    rows = texts.to_pylist()
    plain = np.unique(index[cuts.mode == PLAIN]).tolist()
    todo = [rows[row] for row in plain]
    for row, mode, start, end in zip(index.tolist(), *(values.tolist() for values in cuts), strict=True):
        if mode != PLAIN:
            text = rows[row].encode()
            todo += [text[:start].decode(), text[start:end].decode(), text[end:].decode()]
    parts = encode_texts(tokenizer, todo)
    of_row = dict(zip(plain, parts[: len(plain)], strict=True))
    cut_parts = iter(parts[len(plain) :])
    copies = [
        [of_row[row]] if mode == PLAIN else _arrange(mode, [next(cut_parts) for _ in range(3)], tokens)
        for row, mode in zip(index.tolist(), cuts.mode.tolist(), strict=True)
    ]
    lengths = np.array([sum(map(len, copy)) + 1 for copy in copies], np.int64)
    offsets = np.zeros(len(copies) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    ids = np.full(offsets[-1], tokenizer.eos_token_id, np.uint32)
    for place, copy in zip(offsets[:-1].tolist(), copies, strict=True):
        for part in copy:
            ids[place : place + len(part)] = part
            place += len(part)
    return ids, offsets


def _arrange(mode: int, parts: list[npt.NDArray[np.uint32]], tokens: FimTokens | None) -> list[npt.NDArray[np.uint32]]:
    """The arrays of a cut copy in their order, its end token left out."""
    if tokens is None:
        raise SchemaError("mode", "no cut copies where no tokens are named", mode)
    before, middle, after = (np.array([token], np.uint32) for token in tokens)
    ends = [before, parts[0], after, parts[2]] if mode == PSM else [after, parts[2], before, parts[0]]
    return [*ends, middle, parts[1]]


class UndoneCopy(NamedTuple):
    """What a copy says of its document."""

    mode: int
    start: int  # bytes before the middle, 0 for PLAIN
    end: int
    text: str


def undo_fim(tokenizer: LoadedTokenizer, ids: npt.NDArray[np.unsignedinteger], tokens: FimTokens) -> UndoneCopy:
    """The document's text from the ids of one copy, cut or not, the end token with them.

    Raises
    ------
    DataError       the three tokens are there in another order, or not once each
    """
    places = np.flatnonzero(np.isin(ids, tokens))
    if not len(places):
        return UndoneCopy(PLAIN, 0, 0, decode_ids(tokenizer, ids))
    order = tuple(ids[places].tolist())
    orders = {(tokens.prefix, tokens.suffix, tokens.middle): PSM, (tokens.suffix, tokens.prefix, tokens.middle): SPM}
    if places[0] != 0 or order not in orders:
        raise DataError("tokens", f"fill-in-the-middle tokens {list(order)} at {places.tolist()} are no cut document")
    ends = [*places[1:].tolist(), len(ids)]
    found = {
        token: decode_ids(tokenizer, ids[place + 1 : end])
        for token, place, end in zip(order, places, ends, strict=True)
    }
    start = len(found[tokens.prefix].encode())
    end = start + len(found[tokens.middle].encode())
    return UndoneCopy(orders[order], start, end, found[tokens.prefix] + found[tokens.middle] + found[tokens.suffix])
