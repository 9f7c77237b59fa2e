"""Shared by the tests of train_bridge: one thread, and token shards in the form that docs/architecture.md describes."""

import pytest
import torch

from tests.made_shards import write_shards

# the models here are tiny: a second thread costs more waiting than it computes
torch.set_num_threads(1)


@pytest.fixture
def make_shards(tmp_path):
    """write_shards into a folder of this test."""
    return lambda *, name="shards", **values: write_shards(tmp_path / name, **values)


@pytest.fixture
def train_config_file(tmp_path):
    """A configuration of a run of 10 steps that takes about a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        """
model: {d_model: 16, mlp_hidden: 32, num_layers: 2, num_heads: 2, num_kv_heads: 1, head_dim: 8, vocab_size: null, window_tokens: 4}
data: {sequence_tokens: 16, batch_instances: 4, micro_batch_instances: 2, seed: 5}
schedule: {kind: cosine, peak_lr: 1e-2, warmup_steps: 2}
run: {steps: 10, device: cpu, num_threads: 1, log_every_steps: 1}
checkpoints: {permanent_every_steps: 5}
""",
        encoding="utf-8",
    )
    return path
