"""Instances with loops: which are marked, what they do to loss and gradients, padding, settings."""

import json

import numpy as np
import pytest
import torch

from dolma_py.errors import ConfigError
from train_bridge.dataset import InstanceDataset
from train_bridge.instance_filter import FilteredDataset, InstanceFilterConfig, find_lengths
from train_bridge.loss import LossConfig
from train_bridge.manifest import read_manifest
from train_bridge.model import ModelConfig, build_model
from train_bridge.packed_dataset import PackedDataset
from train_bridge.run_training import train
from train_bridge.step import StepSettings, accumulate_gradients

SHAPE = {"d_model": 32, "mlp_hidden": 64, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
MODEL = ModelConfig(**SHAPE, vocab_size=128, window_tokens=4)
SETTINGS = StepSettings(2, LossConfig(chunk_tokens=32), 1.0, None)


def plant(folder, *, start, ngram, copies):
    """Writes a loop over tokens of the first file."""
    path = folder / "part-00000.npy"
    tokens = np.fromfile(path, dtype="<u2")
    tokens[start : start + len(ngram) * copies] = ngram * copies
    tokens.tofile(path)


def read_all(dataset):
    return dataset.read(np.arange(dataset.num_instances))


def test_instances_with_a_loop_are_marked_and_the_rest_is_as_it_was(make_shards):
    folder = make_shards()
    plant(
        folder, start=130, ngram=[3, 4], copies=32
    )  # 64 tokens inside instance 2 of 64 tokens, and one of 63 in instance 5
    plant(folder, start=325, ngram=[8], copies=31)
    plain = InstanceDataset(folder, read_manifest(folder), sequence_tokens=64)
    plant(folder, start=128, ngram=[3, 4], copies=32)
    plant(folder, start=400, ngram=[9], copies=32)  # across the border of instances 5 and 6 at token 384: all inside 6
    filtered = FilteredDataset(plain, InstanceFilterConfig())
    rows = read_all(filtered)
    assert np.flatnonzero(rows.is_filtered).tolist() == [2, 6]
    np.testing.assert_array_equal(rows.ids, read_all(plain).ids)
    assert (filtered.num_instances, filtered.num_dropped_tokens) == (plain.num_instances, plain.num_dropped_tokens)
    assert filtered.fingerprint != plain.fingerprint


def test_padding_is_no_loop(make_shards):
    """A row of one short document is mostly end-of-text ids that nobody trains on."""
    folder = make_shards(file_tokens=(20, 80), document_tokens=[[20], [80]])
    plant(folder, start=3, ngram=[6], copies=10)
    dataset = PackedDataset(folder, read_manifest(folder), sequence_tokens=80, group_files=1)
    assert find_lengths(read_all(dataset)).tolist() == [20, 80]
    assert read_all(FilteredDataset(dataset, InstanceFilterConfig())).is_filtered.tolist() == [False, False]
    ten = InstanceFilterConfig(repetition_max_count=10)
    assert read_all(FilteredDataset(dataset, ten)).is_filtered.tolist() == [True, False]


@pytest.mark.parametrize("micro", [1, 4])
def test_a_marked_row_teaches_nothing_and_weighs_as_before(micro):
    """The gradient is that of the other rows with the divisor of all rows: 4 rows of 15 labels, one of them marked."""
    ids = torch.randint(0, 128, (4, 16), generator=torch.Generator().manual_seed(1))
    is_filtered = torch.tensor([False, True, False, False])
    marked, kept = build_model(MODEL, seed=0), build_model(MODEL, seed=0)
    settings = SETTINGS._replace(micro_batch_instances=micro)
    got = accumulate_gradients(marked, ids, is_filtered_B=is_filtered, settings=settings)
    expected = accumulate_gradients(kept, ids[~is_filtered], settings=settings)
    assert float(got.cross_entropy) == pytest.approx(float(expected.cross_entropy) * 3 / 4, rel=1e-5)
    for left, right in zip(marked.parameters(), kept.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad * 3 / 4, rtol=1e-4, atol=1e-7)


def test_rows_that_are_all_marked_change_nothing():
    model = build_model(MODEL, seed=0)
    ids = torch.zeros(2, 16, dtype=torch.int64)
    sums = accumulate_gradients(model, ids, is_filtered_B=torch.ones(2, dtype=torch.bool), settings=SETTINGS)
    assert float(sums.cross_entropy) == 0
    assert all(float(parameter.grad.abs().max()) == 0 for parameter in model.parameters())


def test_a_run_logs_the_share_and_its_identity_names_the_rule(make_shards, train_config_file, tmp_path):
    shards = make_shards()
    plant(shards, start=0, ngram=[3], copies=320)  # 20 of 105 instances of 16 tokens
    rule = "data.instance_filter={repetition_max_count: 16}"
    options = {"config": str(train_config_file), "shards": str(shards), "dry_run": False}
    train(**options, output=str(tmp_path / "run"), overrides=[rule, "run.steps=26"])  # 26 batches of 4 make an epoch
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    share = sum(line["filtered_instances_frac"] for line in lines) / 26
    assert 19 / 104 <= share <= 20 / 104 + 1e-6  # one instance fills no batch
    saved = json.loads((tmp_path / "run/config.json").read_text())
    assert saved["dataset"]["instance_filter"]["repetition_max_count"] == 16
    with pytest.raises(ConfigError, match="repetition_min_period: expected at most repetition_max_period, 13"):
        train(**options, output=str(tmp_path / "x"), overrides=["data.instance_filter={repetition_min_period: 14}"])
