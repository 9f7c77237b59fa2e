"""Which bytes of a text each of its tokens stands for, from the tokenizer.json beside the shards.

Byte-level vocabularies (GPT-2's, GPT-4's, Llama 3's, our own) need the file alone: a token's name spells its bytes. For all others, and
where a token took blanks along that its name does not have, the text is encoded again by `tokenizers` and its offsets are taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from dolma_py.errors import DataError

Int64 = npt.NDArray[np.int64]


def byte_alphabet() -> dict[str, int]:
    """Sign -> byte, as GPT-2 writes bytes: printable ones of Latin-1 by themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


class TokenTexts:
    """The tokens of one tokenizer.json."""

    def __init__(self, content: bytes, where: str) -> None:
        """content: of the file; where: its name in errors. DataError when it is no tokenizer."""
        try:
            values = orjson.loads(content)
            vocabulary = values["model"]["vocab"]
            self.added = {int(token["id"]): str(token["content"]) for token in values["added_tokens"]}
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(where, f"not a tokenizer ({error})", hint="Tokenize the mix again.") from error
        self.content, self.where = content, where
        self.names: dict[int, str] = {}
        if _is_byte_level(values.get("decoder")) and isinstance(vocabulary, dict):
            self.names = {number: name for name, number in vocabulary.items()}
        self.alphabet = byte_alphabet()

    def name(self, token: int) -> str:
        """The token as the vocabulary writes it; empty where that cannot be said."""
        return self.added.get(token) or self.names.get(token, "")

    def bytes_of(self, token: int) -> bytes | None:
        """What a token of a byte-level vocabulary stands for; None where the vocabulary does not say."""
        if token in self.added:
            return self.added[token].encode()
        name = self.names.get(token)
        if name is None or not all(sign in self.alphabet for sign in name):
            return None
        return bytes(self.alphabet[sign] for sign in name)

    def place(self, ids: Int64, text: bytes) -> tuple[Int64, Int64]:
        """Where in a text its tokens stand.

        Parameters
        ----------
        ids : int64 (T,)            the text's tokens, all of them, no end token
        text : bytes                UTF-8

        Returns
        -------
        starts, ends : int64 (T,)   bytes; of a byte-level vocabulary they tile the text, of others a character written as several
                                    tokens is in the span of each

        Raises
        ------
        DataError                   the tokens are not this text's
        """
        known = {token: self.bytes_of(token) for token in np.unique(ids).tolist()}
        parts = [known[token] for token in ids.tolist()]
        whole = [part for part in parts if part is not None]
        if len(whole) == len(parts) and b"".join(whole) == text:
            ends = np.cumsum([len(part) for part in whole], dtype=np.int64)
            return np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)], ends
        return self._encode(ids, text)

    def _encode(self, ids: Int64, text: bytes) -> tuple[Int64, Int64]:
        backend = _load_backend(self.content, self.where)
        encoding = backend.encode(text.decode(), add_special_tokens=False)
        if encoding.ids != ids.tolist():
            raise DataError(self.where, "the tokens are not those of the document's text", hint=(
                "The view or its attributes changed since the mix was written: name the mix's view with --view, or tokenize again."
            ))  # fmt: skip
        points = np.frombuffer(text.decode().encode("utf-32-le"), "<u4")
        sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
        places = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        return places[offsets[:, 0]], places[offsets[:, 1]]


def _is_byte_level(decoder: Any) -> bool:
    if not isinstance(decoder, dict):
        return False
    return decoder.get("type") == "ByteLevel" or any(map(_is_byte_level, decoder.get("decoders") or []))


def _load_backend(content: bytes, where: str) -> Any:
    from tokenizers import Tokenizer  # slow to load, and byte-level vocabularies do without

    try:
        backend = Tokenizer.from_str(content.decode())
    except Exception as error:
        # the library raises bare Exception for a bad field
        raise DataError(where, f"not a tokenizer ({error})", hint="Tokenize the mix again.") from error
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True  # as the step that wrote the shards
    return backend
