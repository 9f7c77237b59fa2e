"""The description of a folder of token shards: tokens/<mix>/manifest.json."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pydantic
from pydantic import ConfigDict, Field

from dolma_py.config import Config
from dolma_py.errors import DataError
from train_bridge.shard_cache import join_shards, open_shard_file

MANIFEST_NAME = "manifest.json"


class _Entry(Config):
    # a later writer may add facts; the ones named here are those that reading depends on
    model_config = ConfigDict(frozen=True, extra="ignore")


class Sidecar(_Entry):
    path: str = Field(description="Gzipped CSV beside the tokens: start, end (exclusive), id, source path, line.")
    checksum: str = Field(description="xxh3-128 of the file, hex.")


class LabelsMask(_Entry):
    path: str = Field(description="One byte per token, 1: the token is trained on; relative to the manifest.")
    checksum: str = Field(description="xxh3-128 of the file, hex.")


class TokenFileEntry(_Entry):
    path: str = Field(description="Token file, relative to the manifest.")
    tokens: int = Field(ge=0, description="Token ids in the file.")
    documents: int = Field(ge=0, description="Documents that start in the file.")
    checksum: str = Field(description="xxh3-128 of the file, hex.")
    sidecar: Sidecar | None = Field(None, description="Where each document lies in the file.")
    labels_mask: LabelsMask | None = Field(None, description="Which tokens are trained on; null: all.")


class TokenizerEntry(_Entry):
    path: str = Field(description="tokenizer.json, relative to the manifest.")
    fingerprint: str = Field(description="Of the tokenizer, hex.")


class HeldoutEntry(_Entry):
    path: str = Field(description="Gzipped JSON lines of documents that no shard holds, relative to the manifest.")
    documents: int = Field(ge=0, description="Documents in the file.")
    bytes: int = Field(ge=0, description="UTF-8 bytes of their texts.")


class ShardManifest(_Entry):
    """What the reader needs of manifest.json."""

    format: Literal["dolma-py-shards"] = Field(description="Name of the format.")
    version: Literal[1] = Field(description="Version of the format.")
    dtype: Literal["uint8", "uint16", "uint32", "uint64"] = Field(
        description="Little-endian type of the ids; never guessed."
    )
    vocab_size: int = Field(ge=1, description="Entries of the tokenizer; every id is below it.")
    eos_token_id: int = Field(ge=0, description="Id that ends each document.")
    tokenizer: TokenizerEntry = Field(description="The tokenizer.")
    tokens: int = Field(ge=0, description="Ids in all files.")
    documents: int = Field(ge=0, description="Documents in all files.")
    fingerprint: str = Field(description="Of the content, hex.")
    files: tuple[TokenFileEntry, ...] = Field(min_length=1, description="Token files in order.")
    heldout: dict[str, HeldoutEntry] = Field(default_factory=dict, description="Held-out documents by source.")

    @property
    def numpy_dtype(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")


def read_manifest(shards: str | Path) -> ShardManifest:
    """The manifest of a shards folder; DataError says what is wrong with it."""
    path = join_shards(str(shards), MANIFEST_NAME)
    try:
        with open_shard_file(str(shards), MANIFEST_NAME) as file:
            text = file.read()
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise DataError(path, problem, hint="Run: dolma-py tokenize") from error
    try:
        manifest = ShardManifest.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(path, f"{key or 'content'}: {first['msg']}, got {first.get('input')!r:.80}") from error
    total = sum(entry.tokens for entry in manifest.files)
    if total != manifest.tokens:
        raise DataError(path, f"tokens: expected the files' sum {total}, got {manifest.tokens}")
    beside = [part for entry in manifest.files for part in (entry.sidecar, entry.labels_mask) if part is not None]
    for entry in (*manifest.files, *beside, manifest.tokenizer, *manifest.heldout.values()):
        if Path(entry.path).is_absolute() or ".." in Path(entry.path).parts:
            raise DataError(path, f"path {entry.path!r} leaves the shards folder")
    return manifest
