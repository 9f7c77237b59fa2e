"""Write manifest.json for token files of another toolkit, so that they train here: OLMo-core's and open-instruct's layouts.

    python -m train_bridge.describe_shards FOLDER --dtype uint32 --vocab-size 100278 --eos 100257

Takes every .npy below FOLDER, in order of names: token files, and beside NAME.npy its sidecar NAME.csv.gz; for SFT
token_ids_part_NNNN.npy with its labels_mask_part_NNNN.npy. Nothing is moved or changed. The type is told, never guessed.
Source: OLMo-core's data formats.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError, DataError, DolmaError, MissingDependencyError
from train_bridge.checkpoint import write_json
from train_bridge.manifest import MANIFEST_NAME, ShardManifest, read_manifest
from train_bridge.token_files import NPY_MAGIC, TokenFiles

TOKEN_PREFIX, MASK_PREFIX = "token_ids_part_", "labels_mask_part_"
READ_TOKENS = 1 << 22


def describe_shards(folder: str | Path, *, dtype: str, vocab_size: int, eos_token_id: int, tokenizer: str) -> Path:
    """Write FOLDER/manifest.json and return its path; DataError when a file does not fit what is said of it.

    tokenizer: path of tokenizer.json relative to the folder; it may be absent, training does not need it
    """
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    if path.exists():
        raise DataError(str(path), "exists already", hint="Delete it to describe the folder anew.")
    names = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*.npy") if not p.name.startswith(MASK_PREFIX)
    )
    if not names:
        raise DataError(str(folder), "holds no .npy file")
    files = [_describe_file(folder, name, dtype=np.dtype(dtype).newbyteorder("<")) for name in names]
    digest = _checksum(folder / tokenizer) if (folder / tokenizer).is_file() else ""
    manifest: dict[str, Any] = {
        "format": "dolma-py-shards",
        "version": 1,
        "dtype": dtype,
        "vocab_size": vocab_size,
        "eos_token_id": eos_token_id,
        "tokenizer": {"path": tokenizer, "fingerprint": digest},
        "tokens": sum(file["tokens"] for file in files),
        "documents": 0,
        "files": files,
        "heldout": {},
    }
    opened = TokenFiles(folder, ShardManifest.model_validate_json(json.dumps({**manifest, "fingerprint": ""})))
    for place, file in enumerate(files):
        # reads every id once: one outside the vocabulary tells a wrong type now and not on day three
        for start in range(0, file["tokens"], READ_TOKENS):
            opened.read_ids(place, start, min(start + READ_TOKENS, file["tokens"]))
        file["documents"] = len(opened.document_spans(place))
    manifest["documents"] = sum(file["documents"] for file in files)
    write_json(path, {**manifest, "fingerprint": fingerprint(manifest)})
    return path


def _describe_file(folder: Path, name: str, *, dtype: np.dtype) -> dict[str, Any]:
    path = folder / name
    with path.open("rb") as file:
        has_header = file.read(len(NPY_MAGIC)) == NPY_MAGIC
    size = path.stat().st_size
    if not has_header and size % dtype.itemsize:
        raise DataError(str(path), f"{size} bytes are no whole number of {dtype.name} ids", hint="Check --dtype.")
    try:
        tokens = np.load(path, mmap_mode="r", allow_pickle=False).size if has_header else size // dtype.itemsize
    except ValueError as error:
        raise DataError(str(path), f"broken .npy header ({error})") from error
    entry = {"path": name, "tokens": tokens, "documents": 0, "checksum": _checksum(path)}
    mask_name = path.name.replace(TOKEN_PREFIX, MASK_PREFIX, 1)
    beside = {"sidecar": path.with_suffix(".csv.gz"), "labels_mask": path.with_name(mask_name)}
    for key, other in beside.items():
        if other != path and other.is_file():
            entry[key] = {"path": other.relative_to(folder).as_posix(), "checksum": _checksum(other)}
    return entry


def _checksum(path: Path) -> str:
    try:
        from dolma_py.storage import checksum_file  # with packages that a trainer's machine may lack
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "xxhash", "train") from error
    return checksum_file(str(path))


def main(argv: list[str] | None = None) -> int:
    """Describe one folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--dtype", required=True, choices=("uint8", "uint16", "uint32", "uint64"))
    parser.add_argument("--vocab-size", required=True, type=int, help="entries of the tokenizer (Olmo 3: 100278)")
    parser.add_argument("--eos", required=True, type=int, help="id that ends each document (Olmo 3: 100257)")
    parser.add_argument("--tokenizer", default="tokenizer.json", help="relative to FOLDER; may be absent")
    given = parser.parse_args(argv)
    try:
        if not 0 <= given.eos < given.vocab_size:
            raise ConfigError("--eos", given.eos, f"expected an id below --vocab-size {given.vocab_size}")
        options = {"dtype": given.dtype, "vocab_size": given.vocab_size, "eos_token_id": given.eos}
        path = describe_shards(given.folder, **options, tokenizer=given.tokenizer)
    except DolmaError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    manifest = read_manifest(path.parent)
    counts = f"{len(manifest.files)} files, {manifest.tokens:,} tokens, {manifest.documents:,} documents"
    sys.stdout.write(f"{path}: {counts}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
