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

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.config import Config
from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.hashing import derive_seed, mix_keys, uniform_hash
from mixers.fim_kernels import cut_texts_kernel
from mixers.tokenization import LoadedTokenizer, check_unspoken, decode_ids, encode_texts

PLAIN, PSM, SPM = 0, 1, 2  # values of a mode
MODE_NAMES = (None, "psm", "spm")


class FimConfig(Config):
    """Which copies are cut, and the tokens before their parts."""

    rate: float = Field(
        default=0.0, ge=0, le=1, description="share of the copies of sources not named below; Olmo 3 took 0.5 of its code"
    )
    sources: dict[str, float] = Field(default_factory=dict, description="share of the copies of a source, 0 to 1")
    spm_frac: float = Field(default=0.5, ge=0, le=1, description="share of the cut copies written suffix first; as Olmo 3")
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


def check_rates(config: FimConfig, sources: Sequence[str], key: str = "fim") -> None:
    """Raise ConfigError for a rate outside 0..1, or of a source that is not one of `sources`."""
    for source, rate in sorted(config.sources.items()):
        if not 0 <= rate <= 1:
            raise ConfigError(f"{key}.sources.{source}", rate, "expected a share from 0 to 1")
        if source not in sources:
            raise ConfigError(f"{key}.sources", source, f"expected one of the corpus's sources {sorted(sources)}")


def find_fim_tokens(tokenizer: LoadedTokenizer, config: FimConfig, key: str = "fim") -> FimTokens:
    """Ids of the three tokens; ConfigError when the vocabulary lacks one, a text would be encoded into it, or two are the same."""
    found = []
    for name in ("prefix_token", "middle_token", "suffix_token"):
        token = getattr(config, name)
        number = tokenizer.backend.token_to_id(token)
        if number is None:
            hint = f"Name the tokenizer's own, or train one with all of special_tokens <|endoftext|>, <|pad|> and {token}."
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
    for row in np.unique(index[chosen]).tolist():
        copies = chosen[index[chosen] == row]
        one = TextView(text.data[text.offsets[row] : text.offsets[row + 1]], np.zeros(1, np.int64))
        del copies, one
    start[chosen], end[chosen] = _cut_copies(text, index[chosen], *hashes)
    return Cuts(mode, start, end)
