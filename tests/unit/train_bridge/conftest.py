"""Shared by the tests of train_bridge: one thread, and token shards in the form of DESIGN.md section 6."""

import gzip
import json

import numpy as np
import pytest
import torch

# the models here are tiny: a second thread costs more waiting than it computes
torch.set_num_threads(1)


@pytest.fixture
def make_shards(tmp_path):
    """A function that writes token files, a manifest and optionally a tokenizer with held-out documents; returns the folder."""

    def make(*, file_tokens=(1000, 700), dtype="uint16", vocab_size=50, header=False, name="shards", heldout=None):
        folder = tmp_path / name
        (folder / "heldout").mkdir(parents=True)
        rng = np.random.Generator(np.random.PCG64(3))
        files = []
        for number, num_tokens in enumerate(file_tokens):
            # a repeating motif with noise: something to learn, with an EOS now and then
            tokens = (np.arange(num_tokens) * 7 + rng.integers(0, 2, num_tokens)) % vocab_size
            tokens = tokens.astype(np.dtype(dtype).newbyteorder("<"))
            path = folder / f"part-{number:05d}.npy"
            np.save(path, tokens) if header else path.write_bytes(tokens.tobytes())
            entry = {"path": path.name, "tokens": num_tokens, "documents": 1, "bytes": path.stat().st_size}
            files.append({**entry, "checksum": f"{number:032x}", "sidecar": {"path": "none.csv.gz", "checksum": "0"}})
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

    return make


@pytest.fixture
def train_config_file(tmp_path):
    """A configuration of a run of 10 steps that takes about a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        """
model: {d_model: 16, mlp_hidden: 32, num_layers: 2, num_heads: 2, num_kv_heads: 1, head_dim: 8, vocab_size: null, window_tokens: 4}
data: {sequence_tokens: 16, batch_instances: 4, micro_batch_instances: 2, seed: 5}
schedule: {kind: cosine, peak_lr: 1e-2, warmup_steps: 2}
run: {steps: 10, device: cpu, num_threads: 1, checkpoint_every_steps: 5, log_every_steps: 1}
""",
        encoding="utf-8",
    )
    return path
