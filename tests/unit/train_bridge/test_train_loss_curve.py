"""Training computes what is recorded: see tests/golden/make_loss_curve.py."""

from __future__ import annotations

import json

import pytest

from tests.golden import make_loss_curve
from train_bridge import run_training

RECORD = json.loads(make_loss_curve.RECORD.read_text())


def test_losses_are_those_recorded(tmp_path):
    losses = make_loss_curve.train_losses(tmp_path)
    assert make_loss_curve.find_difference(RECORD, make_loss_curve.name_hardware(), losses) == ""
    assert losses[-1] < losses[0]


def test_the_record_is_of_this_version():
    assert RECORD["version"] == run_training.TRAIN_VERSION and RECORD["curves"]


@pytest.mark.parametrize(("hardware", "off", "found"), [("a", 0.0, False), ("a", 1e-12, True), ("b", 1e-6, False), ("b", 1e-4, True)])  # fmt: skip
def test_another_loss_is_found(hardware, off, found):
    """To the last bit on known hardware, by the tolerance on another."""
    record = {"version": 1, "curves": {"a": [4.0, 2.0]}}
    assert bool(make_loss_curve.find_difference(record, hardware, [4.0, 2.0 * (1 + off)])) == found


def test_a_small_change_of_the_numbers_is_beyond_what_hardware_explains(tmp_path, monkeypatch):
    """Norms with an epsilon of 1e-5 for 1e-6."""
    changed = {**make_loss_curve.CONFIG, "model": {**make_loss_curve.CONFIG["model"], "norm_eps": 1e-5}}
    monkeypatch.setattr(make_loss_curve, "CONFIG", changed)
    assert "further from" in make_loss_curve.find_difference(RECORD, "another", make_loss_curve.train_losses(tmp_path))
