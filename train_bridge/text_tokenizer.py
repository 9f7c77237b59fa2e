"""The tokenizer of a run: text to ids and back."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dolma_py.errors import DataError, MissingDependencyError


class TextTokenizer:
    """tokenizer.json of a run or shards folder; never adds special tokens of its own."""

    def __init__(self, path: Path) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise MissingDependencyError("tokenizers", "train") from error
        if not path.is_file():
            raise DataError(str(path), "no such file", hint="Shards and runs carry their tokenizer.json.")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))

    @classmethod
    def from_bytes(cls, content: bytes) -> TextTokenizer:
        """Of a tokenizer.json's content."""
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(content)
            file.flush()
            return cls(Path(file.name))

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)
