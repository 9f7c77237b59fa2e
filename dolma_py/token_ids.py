"""Documents as token ids, for what compares tokens of a vocabulary: ids of a batch in one buffer, no Python object per token."""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError

BATCH_BYTES = 1 << 20  # an encoding holds some 100 bytes per token until its ids are copied out


class TokenIds(NamedTuple):
    """Token ids of N documents."""

    ids: npt.NDArray[np.uint32]  # uint32 (W,)
    offsets: npt.NDArray[np.int64]  # int64 (N + 1,)  document i owns ids[offsets[i]:offsets[i + 1]]


@functools.lru_cache(maxsize=4)
def load_backend(name: str, key: str = "minhash.shingles.tokenizer"):  # type: ignore[no-untyped-def]
    """The tokenizer of a tokenizer.json, of a folder with one, or of the Hugging Face hub; read once per process.

    key             of the setting that names it, for errors

    Raises
    ------
    ConfigError     no such file, not a tokenizer, or the hub cannot be reached
    """
    from tokenizers import Tokenizer  # only who asks for tokens of a vocabulary pays for loading it

    path = os.path.join(name, "tokenizer.json") if os.path.isdir(name) else name
    hint = "Give a tokenizer.json, a folder that holds one, or a hub name such as owner/name."
    try:
        if os.path.exists(path):
            return Tokenizer.from_file(path)
        if path.endswith(".json") or name.count("/") != 1 or name.startswith((".", "~")):
            raise ConfigError(key, name, "expected a file that exists or a hub name", hint)
        return Tokenizer.from_pretrained(name)
    except ConfigError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise ConfigError(key, name, f"cannot be loaded ({error})", hint) from error


def encode_documents(texts: TextView, *, tokenizer: str, key: str = "minhash.shingles.tokenizer") -> TokenIds:
    """Token ids of N documents, without special tokens; bytes that are not UTF-8 become U+FFFD first.

    Parameters
    ----------
    texts : TextView        N texts
    tokenizer, key : str    see load_backend

    Returns
    -------
    ids : TokenIds

    Raises
    ------
    ConfigError             see load_backend

    Guarantees              same ids for any batch split and number of threads
    Cost                    the tokenizer's; some 100 bytes per token of BATCH_BYTES of text or of the longest document
    """
    backend = load_backend(tokenizer, key)
    parts: list[npt.NDArray[np.uint32]] = []
    counts: list[int] = []
    first, num_docs = 0, len(texts.offsets) - 1
    while first < num_docs:
        limit = int(np.searchsorted(texts.offsets, texts.offsets[first] + BATCH_BYTES, side="right")) - 1
        last = min(max(limit, first + 1), num_docs)
        batch = [
            texts.data[texts.offsets[i] : texts.offsets[i + 1]].tobytes().decode(errors="replace")
            for i in range(first, last)
        ]
        for encoding in backend.encode_batch_fast(batch, add_special_tokens=False):
            parts.append(np.array(encoding.ids, np.uint32))
            counts.append(len(parts[-1]))
        first = last
    offsets = np.concatenate([[0], np.cumsum(np.array(counts, np.int64))]).astype(np.int64)
    return TokenIds(np.concatenate([np.empty(0, np.uint32), *parts]), offsets)
