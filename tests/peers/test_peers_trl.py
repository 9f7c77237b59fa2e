"""Losses and gradients beside TRL's, recorded by record_trl.py: the same weights, conversations and pairs; ours are packed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.made_pairs import write_pairs
from tests.peers.trl_batch import CHATS, PAIRS, REFERENCES, SHAPE, describe_gradients
from train_bridge.loss import LossConfig
from train_bridge.model import build_model
from train_bridge.pair_dataset import PairDataset
from train_bridge.pair_files import copy_pairs, open_pairs, read_pair_manifest
from train_bridge.preference_loss import PreferenceConfig
from train_bridge.preference_step import accumulate_preference_gradients
from train_bridge.step import StepSettings, accumulate_gradients

RECORDED = json.loads((Path(__file__).parent / "recorded" / "trl.json").read_text())
SETTINGS = StepSettings(1, LossConfig(z_weight=0.0, chunk_tokens=16), 1.0, None)


def assert_same_gradients(model, recorded):
    """Norm and product of each parameter, over the norm of all: the last rows of the output matrix only pad the vocabulary there."""
    found = describe_gradients({name: one.grad for name, one in model.named_parameters()})
    assert found.keys() == recorded.keys()
    whole = float(np.linalg.norm([norm for norm, _ in recorded.values()]))
    assert whole > 0.01
    for name, (norm, product) in recorded.items():
        assert found[name][0] == pytest.approx(norm, abs=1e-5 * whole), name
        assert found[name][1] == pytest.approx(product, abs=2e-5 * whole), name


def model_without_padding():
    """The model, of which the rows that pad the vocabulary are out of reach: TRL's has none."""
    model = build_model(SHAPE, seed=3)
    model.lm_head.w_out.weight = torch.nn.Parameter(model.lm_head.w_out.weight.detach()[:257].clone())
    return model


@pytest.mark.parametrize("loss", ["dpo_norm", "dpo"])
def test_dpo_is_trls(loss, tmp_path):
    folder = write_pairs(tmp_path / "pairs", PAIRS)
    manifest = read_pair_manifest(str(folder))
    copy_pairs(str(folder), manifest, tmp_path / "copy")
    recorded = RECORDED[loss]
    preference = PreferenceConfig(loss=loss, beta=recorded["beta"], max_tokens=32)
    dataset = PairDataset(
        "made",
        manifest,
        open_pairs(str(folder), manifest, tmp_path / "copy"),
        sequence_tokens=64,
        preference=preference,
    )
    dataset.references = np.array(REFERENCES, dtype=np.float32)
    model = model_without_padding()
    sums, _ = accumulate_preference_gradients(
        model, dataset.read(range(len(PAIRS))), preference=preference, num_pairs=len(PAIRS), settings=SETTINGS
    )
    assert float(sums.cross_entropy) == pytest.approx(recorded["loss"], rel=1e-5)
    assert_same_gradients(model, recorded["gradients"])


def test_fine_tuning_is_trls():
    """All conversations in one row, each seen alone."""
    ids = torch.tensor([[token for chat in CHATS for token in chat["ids"]]])
    mask = torch.tensor([[value for chat in CHATS for value in chat["mask"]]])
    documents = torch.tensor([[number for number, chat in enumerate(CHATS) for _ in chat["ids"]]])
    model = model_without_padding()
    sums = accumulate_gradients(model, ids, documents_BT=documents, is_trained_BT=mask, settings=SETTINGS)
    assert float(sums.cross_entropy) == pytest.approx(RECORDED["sft"]["loss"], rel=1e-5)
    assert_same_gradients(model, RECORDED["sft"]["gradients"])
