"""Text to token ids and back: loading a tokenizer, training a byte-level BPE, encoding batches into flat arrays.

Vocabularies of the GPT-4 family are encoded by tiktoken, which gives the same ids several times faster (mixers.fast_encoding says
when that is so); all others, and texts with a run of 65,536 blanks, by `tokenizers`.
Threads: the `tokenizers` library runs a batch over all cores unless TOKENIZERS_PARALLELISM is false. A Spark task owns one
core and its Python worker is a fork, so workers call use_one_thread() first; the ids are the same either way.
Legend: N texts, T tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from dolma_py.config import Config, fingerprint
from dolma_py.errors import ConfigError, DataError, SchemaError
from mixers.fast_encoding import SPLIT_PATTERN, FastEncoder, build_fast_encoder, has_long_blank
from mixers.tokenizer_files import find_tokenizer_file, read_tokenizer_file

# An encoding holds some 100 bytes per token until its ids are copied out, so batches go through in pieces of about this size.
BATCH_CHARS = 1 << 20


class BpeConfig(Config):
    """Training of a byte-level BPE."""

    vocab_size: int = Field(8192, ge=258, le=1 << 20, description="tokens in all, special ones included; own choice")
    special_tokens: tuple[str, ...] = Field(
        ("<|endoftext|>", "<|pad|>"), min_length=1, description="ids 0, 1, ...; the first ends documents; own choice"
    )
    min_frequency: int = Field(2, ge=1, description="a pair seen less often is not merged; default of tokenizers is 0")
    max_token_bytes: int | None = Field(
        32,
        ge=2,
        description="longest token in bytes; keeps rules of dashes and blanks out of the vocabulary; own choice",
    )


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer that never turns text into a special token and adds none of its own."""

    backend: Tokenizer = field(repr=False)
    eos_token_id: int
    pad_token_id: int | None
    vocab_size: int  # highest id + 1
    fingerprint: str  # 32 hex digits, of the tokenizer's JSON content (not of its layout)
    fast: FastEncoder | str = field(default="not asked for", repr=False)  # tiktoken, or why it cannot be used

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Of token files: uint16 while every id fits, else uint32."""
        return choose_dtype(self.vocab_size)


def choose_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Little-endian uint16 for up to 65,536 ids, else uint32."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def use_one_thread() -> None:
    """Keep `tokenizers` to the calling thread; for forked and Spark workers, which own one core each."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def train_bpe(texts: Iterable[str], config: BpeConfig) -> bytes:
    """Train a byte-level BPE and return its tokenizer.json; the same bytes for any number of threads.

    Pairs are counted over all texts and merged by (count, smaller ids), so neither threads nor the order of the texts matter.
    Memory grows with the number of distinct words, not with the text: feed a sample of some 100 MB.

    Raises
    ------
    ConfigError     no room in vocab_size for 256 bytes and the special tokens, or a special token repeated
    """
    if len(set(config.special_tokens)) != len(config.special_tokens) or "" in config.special_tokens:
        raise ConfigError("special_tokens", list(config.special_tokens), "expected different, non-empty strings")
    if config.vocab_size < 256 + len(config.special_tokens):
        rule = f"expected at least 256 bytes + {len(config.special_tokens)} special tokens"
        raise ConfigError("vocab_size", config.vocab_size, rule)
    backend = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in config.special_tokens],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=config.max_token_bytes,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend.to_str(pretty=True).encode()


def load_tokenizer(name: str, *, eos_token: str | None = None, pad_token: str | None = None) -> LoadedTokenizer:
    """Load a tokenizer.json file, a folder that holds one, or a tokenizer of the Hugging Face hub by its name.

    Parameters
    ----------
    name : str              path or hub name, with @revision if need be; a path wins when it exists
    eos_token : str         ends every document; by default the first of the usual names that the vocabulary has
    pad_token : str         by default the first usual name, None when there is none

    Raises
    ------
    ConfigError             not found, not a tokenizer, no such token, or a token that plain text would turn into
    """
    content = read_tokenizer_file(name)
    return build_tokenizer(content, eos_token=eos_token, pad_token=pad_token, where=find_tokenizer_file(name) or name)


EOS_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>")
PAD_NAMES = ("<|pad|>", "<pad>", "[PAD]", "<|padding|>")


def build_tokenizer(
    content: bytes, *, eos_token: str | None = None, pad_token: str | None = None, where: str = "tokenizer.json"
) -> LoadedTokenizer:
    """The tokenizer of a tokenizer.json's content; raises as load_tokenizer."""
    try:
        values = json.loads(content)
        backend = Tokenizer.from_str(content.decode())
    except Exception as error:
        # the library raises bare Exception for a bad field, so nothing narrower can be named; subclasses are let through
        if type(error) is not Exception and not isinstance(error, ValueError):
            raise
        raise ConfigError("tokenizer", where, f"expected the JSON of a tokenizer ({error})") from error
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # text that looks like a special token stays text
    eos_token_id = _find_token(backend, eos_token, EOS_NAMES, "eos_token")
    if eos_token_id is None:
        special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
        rule = f"expected one of {', '.join(EOS_NAMES)} among the special tokens"
        raise ConfigError("eos_token", special[:12], rule, "Name the end token with eos_token.", where)
    check_unspoken(backend, eos_token_id, "eos_token", where)
    ids = backend.get_vocab(with_added_tokens=True).values()
    pad_token_id = _find_token(backend, pad_token, PAD_NAMES, "pad_token")
    fast = build_fast_encoder(values, backend)
    return LoadedTokenizer(backend, eos_token_id, pad_token_id, max(ids) + 1, fingerprint(values), fast)


def check_unspoken(backend: Tokenizer, token_id: int, key: str, where: str = "") -> None:
    """Raise ConfigError, under `key`, for a token that a text which spells it would be encoded into."""
    token = backend.id_to_token(token_id)
    if token_id in backend.encode(f"a {token} b{token}", add_special_tokens=False).ids:
        hint = "Mark the token as special in the tokenizer's added_tokens."
        raise ConfigError(key, token, "expected a token that no text is encoded into", hint, where)


def _find_token(backend: Tokenizer, given: str | None, usual: Sequence[str], key: str) -> int | None:
    if given is not None:
        found = backend.token_to_id(given)
        if found is None:
            raise ConfigError(key, given, "expected a token of the vocabulary")
        return int(found)
    found_ids = [backend.token_to_id(name) for name in usual]
    return next((int(found) for found in found_ids if found is not None), None)


def encode_batch(
    tokenizer: LoadedTokenizer, texts: Sequence[str] | pa.Array
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Encode N texts into flat arrays, an end-of-text token after each.

    Parameters
    ----------
    texts : N str, or a string Array    text that spells a special token stays text; an empty text gives the end token alone

    Returns
    -------
    ids : uint32 (T,)                   all texts, back to back
    offsets : int64 (N + 1,)            text i is ids[offsets[i]:offsets[i + 1]], its last id is eos_token_id

    Raises
    ------
    SchemaError                         a null or something that is not text
    DataError                           a str that UTF-8 cannot hold (a lone surrogate), with its row

    Guarantees                          ids do not depend on how texts are batched, on the library or on the number of threads
    Cost                                8 bytes per token; with `tokenizers` some 100 bytes per token of a piece of BATCH_CHARS characters
                                        (or of one longer text) on top
    """
    rows = texts.to_pylist() if isinstance(texts, pa.Array | pa.ChunkedArray) else list(texts)
    parts = encode_texts(tokenizer, rows)
    lengths = np.fromiter((len(part) for part in parts), np.int64, len(parts))
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths + 1, out=offsets[1:])
    ids = np.full(offsets[-1], tokenizer.eos_token_id, np.uint32)
    for part, start in zip(parts, offsets[:-1].tolist(), strict=True):
        ids[start : start + len(part)] = part
    return ids, offsets


def encode_texts(tokenizer: LoadedTokenizer, rows: list[str]) -> list[npt.NDArray[np.uint32]]:
    """The ids of each text, uint32, without end tokens; raises as encode_batch."""
    parts: list[npt.NDArray[np.uint32] | None] = [None] * len(rows)
    fast = tokenizer.fast
    try:
        if isinstance(fast, FastEncoder):
            parts = [None if has_long_blank(text) else fast.encode(text) for text in rows]
        left = [row for row, part in enumerate(parts) if part is None]
        for batch in _split_batches(rows, left):
            encodings = tokenizer.backend.encode_batch_fast([rows[row] for row in batch], add_special_tokens=False)
            for row, encoding in zip(batch, encodings, strict=True):
                parts[row] = np.array(encoding.ids, np.uint32)
    except (TypeError, AttributeError, UnicodeEncodeError) as error:
        for row, text in enumerate(rows):
            _check_text(text, row)
        raise SchemaError("text", "texts", error) from error
    return [part for part in parts if part is not None]


def _check_text(text: object, row: int) -> None:
    if not isinstance(text, str):
        raise SchemaError("text", "a text in every row", f"{type(text).__name__} in row {row}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError("text", f"not valid Unicode ({error.reason})", row, "Drop or mend the document.") from error


def _split_batches(rows: list[str], chosen: list[int]) -> Iterable[list[int]]:
    """The chosen rows in lists of about BATCH_CHARS characters; a longer text is a list of its own."""
    batch: list[int] = []
    num_chars = 0
    for row in chosen:
        size = len(rows[row]) if isinstance(rows[row], str) else 0
        if batch and num_chars + size > BATCH_CHARS:
            yield batch
            batch, num_chars = [], 0
        batch.append(row)
        num_chars += size
    if batch:
        yield batch


def decode_ids(tokenizer: LoadedTokenizer, ids: npt.NDArray[np.unsignedinteger]) -> str:
    """The text of one document's ids; its end token, when it is last, is not part of the text."""
    values = ids.tolist()
    if values and values[-1] == tokenizer.eos_token_id:
        values.pop()
    return str(tokenizer.backend.decode(values, skip_special_tokens=False))


# What vocabularies lose: case, blanks, line ends, compositions, signs without a token, bytes
_HARD_TEXTS = (
    "", " ", "Hello  WORLD", "two\n\n\nlines\r\nand\tmore \t ", " leading and trailing ", "don't stop, can't . go ( on ) !",
    "12345 1,000.50", "\u00e9 e\u0301 \u212b \ufb01", "\u4e2d\u6587\u5b57", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0645\u0631\u062d\u0628\u0627", "\U0001f600\u200d\U0001f469", "\u00a0\u2003\u3000", "\ufeffbom \ufffd", "\x00\x01\x7f",
    "\u2028\u2029\x85", "<|endoftext|> <s> [CLS] \u2581", "def f(x):\n    return x ** 2\n", "##ing @@ing </w>", "x" * 200,
)  # fmt: skip


def find_loss(tokenizer: LoadedTokenizer) -> tuple[str, str] | None:
    """(text, what comes back) of the first of some hard texts that encoding and decoding changes; None where all come back."""
    ids, offsets = encode_batch(tokenizer, _HARD_TEXTS)
    for text, start, end in zip(_HARD_TEXTS, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        back = decode_ids(tokenizer, ids[start:end])
        if back != text:
            return text, back
    return None
