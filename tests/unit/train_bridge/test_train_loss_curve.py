"""Training computes what is recorded: see tests/golden/make_loss_curve.py."""

from __future__ import annotations

import json

import pytest

from tests.golden import make_loss_curve
from train_bridge import run_training
from train_bridge.packed_dataset import PackedDataset

RECORD = json.loads(make_loss_curve.RECORD.read_text())


def test_losses_are_those_recorded(tmp_path):
    for name in make_loss_curve.CONFIGS:
        (tmp_path / name).mkdir()
        losses = make_loss_curve.train_losses(tmp_path / name, name)
        assert make_loss_curve.find_difference(RECORD, make_loss_curve.name_hardware(), name, losses) == ""
        assert losses[-1] < losses[0]


def test_the_record_is_of_this_version():
    assert RECORD["version"] == run_training.TRAIN_VERSION and RECORD["curves"]
    assert all(list(curves) == list(make_loss_curve.CONFIGS) for curves in RECORD["curves"].values())


@pytest.mark.parametrize(("hardware", "off", "found"), [("a", 0.0, False), ("a", 1e-12, True), ("b", 1e-6, False), ("b", 1e-4, True)])  # fmt: skip
def test_another_loss_is_found(hardware, off, found):
    """To the last bit on known hardware, by the tolerance on another."""
    record = {"version": 1, "curves": {"a": {"one": [1.0, 1.0], "two": [4.0, 2.0]}}}
    assert bool(make_loss_curve.find_difference(record, hardware, "two", [4.0, 2.0 * (1 + off)])) == found


@pytest.mark.parametrize(
    ("name", "section", "changes"),
    [
        ("fixed", "model", {"norm_eps": 1e-5}),  # for 1e-6
        ("packed", "model", {"yarn": None}),
        ("packed", "model", {"window_tokens": 7}),
        ("packed", "data", {"instance_filter": None}),
        ("packed", "data", {"instances": "fixed", "document_mask": True}),
        ("packed", "data", {"pack_group_files": 1}),
    ],
)
def test_a_small_change_is_beyond_what_hardware_explains(name, section, changes, tmp_path, monkeypatch):
    config = make_loss_curve.CONFIGS[name]
    monkeypatch.setitem(make_loss_curve.CONFIGS, name, {**config, section: {**config[section], **changes}})
    losses = make_loss_curve.train_losses(tmp_path, name)
    assert "further from" in make_loss_curve.find_difference(RECORD, "another", name, losses)


@pytest.mark.parametrize("left_out", ["documents", "is_trained"])
def test_masks_that_are_left_out_are_seen(left_out, tmp_path, monkeypatch):
    """Of documents in attention and of labels: the recorded losses of packed instances are others without."""
    read = PackedDataset.read
    monkeypatch.setattr(PackedDataset, "read", lambda self, indices: read(self, indices)._replace(**{left_out: None}))
    losses = make_loss_curve.train_losses(tmp_path, "packed")
    assert "further from" in make_loss_curve.find_difference(RECORD, "another", "packed", losses)
