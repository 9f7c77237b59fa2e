"""Token shards in the form that docs/architecture.md describes, of made tokens, for tests of what trains on them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_shards(
    folder: Path, *, file_tokens: Sequence[int] = (1000, 700), dtype: str = "uint16", vocab_size: int = 50,
    header: bool = False, heldout: dict[str, list[str]] | None = None,
    document_tokens: Sequence[Sequence[int]] | None = None, labels_mask: bool = False,
) -> Path:  # fmt: skip
    """Token files, a manifest and held-out documents; returns the folder.

    document_tokens: lengths of the documents of each file; None: a file is one document; (): no sidecars
    """
    (folder / "heldout").mkdir(parents=True)
    rng = np.random.Generator(np.random.PCG64(3))
    files = []
    for number, num_tokens in enumerate(file_tokens):
        # a repeating motif with noise: something to learn, with an EOS now and then
        tokens = (np.arange(num_tokens) * 7 + rng.integers(0, 2, num_tokens)) % vocab_size
        tokens = tokens.astype(np.dtype(dtype).newbyteorder("<"))
        path = folder / f"part-{number:05d}.npy"
        np.save(path, tokens) if header else path.write_bytes(tokens.tobytes())
        entry: dict[str, Any] = {"path": path.name, "tokens": num_tokens, "documents": 1, "bytes": path.stat().st_size}
        entry["checksum"] = f"{number:032x}"
        if document_tokens != ():
            lengths = [num_tokens] if document_tokens is None else document_tokens[number]
            ends = np.cumsum(lengths).tolist()
            lines = [
                f'{end - size},{end},"d,{i}",a.jsonl,{i + 1}'
                for i, (size, end) in enumerate(zip(lengths, ends, strict=True))
            ]
            entry["sidecar"] = {"path": path.name.replace(".npy", ".csv.gz"), "checksum": f"{number}"}
            text = "".join(line + "\n" for line in lines)
            (folder / entry["sidecar"]["path"]).write_bytes(gzip.compress(text.encode(), mtime=0))
        if labels_mask:
            entry["labels_mask"] = {"path": f"labels_mask_part_{number:04d}.npy", "checksum": f"{number}"}
            mask = np.arange(num_tokens) % 3 > 0
            mask_path = folder / entry["labels_mask"]["path"]
            np.save(mask_path, mask) if header else mask_path.write_bytes(mask.tobytes())
        files.append(entry)
    sources = {}
    for source, texts in (heldout or {}).items():
        path = folder / "heldout" / f"{source}.jsonl.gz"
        documents = [{"id": str(i), "text": t, "source": source, "metadata": {}} for i, t in enumerate(texts)]
        path.write_bytes(gzip.compress("".join(json.dumps(d) + "\n" for d in documents).encode(), mtime=0))
        num_bytes = sum(len(text.encode()) for text in texts)
        sources[source] = {"path": f"heldout/{path.name}", "documents": len(texts), "bytes": num_bytes}
    manifest = {
        "format": "dolma-py-shards",
        "version": 1,
        "dtype": dtype,
        "vocab_size": vocab_size,
        "eos_token_id": 0,
        "tokenizer": {"path": "tokenizer.json", "fingerprint": "ab"},
        "tokens": sum(file_tokens),
        "documents": len(file_tokens),
        "seed": 1,
        "fingerprint": "cd",
        "files": files,
        "sources": {},
        "heldout": sources,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_byte_tokenizer(folder: Path) -> None:
    """tokenizer.json of 257 entries, a byte each; id 0 is <|endoftext|>."""
    import tokenizers

    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, **{letter: place for place, letter in enumerate(letters, 1)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
