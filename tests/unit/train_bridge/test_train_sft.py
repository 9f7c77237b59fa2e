"""`dolma-py sft`: what it refuses, what it shows, what it leaves out; beside float64 and one conversation at a time."""

import json

import numpy as np
import pytest
import torch

from benchmarks.rank_equality import MODEL
from dolma_py.errors import ConfigError, DataError
from tests.made_shards import write_byte_tokenizer, write_shards
from tests.preference_ranks import twin_shape
from tests.reference import olmo3_gradients as twin
from tests.saved_tensors import final_weights
from train_bridge.loss import LossConfig
from train_bridge.manifest import read_manifest
from train_bridge.masked_sample import MAX_PIECE_CHARS, mark_trained
from train_bridge.model import build_model
from train_bridge.packed_dataset import PackedDataset
from train_bridge.run_sft import sft
from train_bridge.run_training import train
from train_bridge.step import StepSettings, accumulate_gradients
from train_bridge.text_tokenizer import TextTokenizer

CONFIG = """
model: {d_model: 16, mlp_hidden: 32, num_layers: 2, num_heads: 2, num_kv_heads: 1, head_dim: 8, vocab_size: null, window_tokens: 8}
data: {sequence_tokens: 32, batch_instances: 2, micro_batch_instances: 2, instances: packed, seed: 5}
schedule: {kind: linear, peak_lr: 1e-2, warmup_frac: 0.2, final_frac: 0}
loss: {z_weight: 0}
optimizer: {weight_decay: 0}
run: {epochs: 2, steps: 1, device: cpu, num_threads: 1, log_every_steps: 1}
checkpoints: {load_parent_optimizer: false}
"""
DOCUMENTS = [[10, 20, 40, 5, 25], [30, 9, 11]]


def write_conversations(folder, *, vocab_size=257, labels_mask=True, documents=DOCUMENTS):
    sizes = [sum(lengths) for lengths in documents]
    shards = write_shards(
        folder, vocab_size=vocab_size, file_tokens=sizes, document_tokens=documents, labels_mask=labels_mask
    )
    write_byte_tokenizer(shards)
    return shards


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "sft.yaml"
    path.write_text(CONFIG)
    return path


def run(config_file, shards, output, *overrides, **options):
    return sft(
        config=str(config_file),
        shards=str(shards),
        output=str(output),
        overrides=list(overrides),
        dry_run=False,
        **options,
    )


def test_it_is_the_trainer_and_counts_its_steps_from_the_shards(config_file, tmp_path, caplog):
    shards = write_conversations(tmp_path / "shards")
    with caplog.at_level("INFO", "dolma_py.train"):
        run(config_file, shards, tmp_path / "sft")
    # 10, 20, 32 (cut), 5, 25, 30, 9 and 11 tokens go into 5 rows: 2 batches, of 2 epochs
    lines = [json.loads(line) for line in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 4 and lines[-1]["lr"] == 0 and lines[0]["z_loss"] == 0
    assert lines[0]["lr"] == pytest.approx(1e-2)  # one step of warm-up
    assert "a conversation, {+ trained on +}" in caplog.text
    assert "1 conversations are longer than 32 tokens and keep their beginning; 0 of them" in caplog.text
    train(config=str(config_file), shards=str(shards), output=str(tmp_path / "train"), overrides=[], dry_run=False)
    left, right = final_weights(tmp_path / "sft"), final_weights(tmp_path / "train")
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("overrides", "masks", "error", "message"),
    [
        ([], False, DataError, "has no label masks, which say what of a conversation is trained on"),
        (["data.instances=fixed"], True, ConfigError, "data.instances: expected packed for sft"),
        (["data.instance_filter={}"], True, ConfigError, "data.instance_filter: expected none for sft"),
        (["run.steps=3"], True, ConfigError, "run.steps: expected run.epochs to be null beside it"),
    ],
)
def test_what_would_train_on_prompts_is_refused(overrides, masks, error, message, config_file, tmp_path):
    shards = write_conversations(tmp_path / "shards", labels_mask=masks)
    with pytest.raises(error, match=message):
        run(config_file, shards, tmp_path / "run", *overrides)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_mask_is_refused(config_file, tmp_path):
    """Ids of one byte have as many bytes as a mask."""
    shards = write_conversations(tmp_path / "shards")
    mask = shards / "labels_mask_part_0001.npy"
    mask.write_bytes(bytes([0, 1, 7]) + mask.read_bytes()[3:])
    with pytest.raises(DataError, match="labels_mask_part_0001.npy: 7 at token 2 is no truth value"):
        run(config_file, shards, tmp_path / "run")


def test_a_conversation_with_nothing_left_to_train_on_is_left_out_and_counted(tmp_path):
    shards = write_conversations(tmp_path / "shards")
    mask = np.ones(100, np.uint8)
    mask[30:70] = [0] * 32 + [1] * 8  # the third document: labels only where it is cut
    (shards / "labels_mask_part_0000.npy").write_bytes(mask.tobytes())
    manifest = read_manifest(shards)
    dataset = PackedDataset(shards, manifest, sequence_tokens=32)
    assert (dataset.num_truncated_documents, dataset.num_untrained_documents) == (1, 1)
    rows = dataset.read(range(dataset.num_instances))
    assert (rows.documents < rows.documents[:, -1:]).sum() <= 110  # 150 tokens but the 40
    assert dataset.num_dropped_tokens == 40
    split = PackedDataset(shards, manifest, sequence_tokens=32, long_documents="split")
    assert (split.num_truncated_documents, split.num_dropped_tokens) == (0, 0)
    assert dataset.describe()["untrained_documents"] == "dropped" and "untrained_documents" not in split.describe()


def test_loss_and_gradients_are_those_of_a_float64_twin(tmp_path):
    """Packed rows with masks, beside one conversation at a time with whole logits."""
    shards = write_conversations(tmp_path / "shards", vocab_size=128)
    dataset = PackedDataset(shards, read_manifest(shards), sequence_tokens=32)
    rows = dataset.read(range(dataset.num_instances))
    ids, documents, is_trained, _ = rows.to_tensors(torch.device("cpu"))
    for micro in (1, 2, 8):
        model = build_model(MODEL, seed=3)
        settings = StepSettings(micro, LossConfig(z_weight=0.0, chunk_tokens=16), 1.0, None)
        found = accumulate_gradients(model, ids, documents_BT=documents, is_trained_BT=is_trained, settings=settings)
        state, values = twin.double_state(build_model(MODEL, seed=3).state_dict()), []
        for row in range(len(ids)):
            for number in range(int(documents[row, -1]) + 1):
                own = documents[row] == number
                logits = twin.logits(state, ids[row][own], **twin_shape(MODEL))
                values.append(twin.label_log_probs(logits, ids[row][own], is_trained[row][own]))
        log_probs = torch.cat(values)
        (-log_probs.mean()).backward()
        assert len(log_probs) > 50
        assert float(found.cross_entropy) == pytest.approx(-log_probs.mean().item(), rel=1e-6)
        gradients = {name: one.grad for name, one in state.items()}
        norm = torch.cat([one.flatten() for one in gradients.values()]).norm()
        for name, one in model.named_parameters():
            assert float((one.grad.double() - gradients[name]).abs().max() / norm) < 1e-6, name


def test_trained_stretches_are_marked(tmp_path):
    write_byte_tokenizer(tmp_path)
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json")
    ids = tokenizer.encode("user: hi bot: yes")
    mask = np.array([False] * 14 + [True] * 3)
    assert mark_trained(ids, mask, tokenizer) == "user: hi bot: {+yes+}"
    assert mark_trained(ids, ~mask, tokenizer) == "u{+ser: hi bot: +}yes"  # the first token is no label
    assert mark_trained(ids, np.zeros(17, bool), tokenizer) == "user: hi bot: yes"
    assert mark_trained([], np.zeros(0, bool), tokenizer) == ""
    long = tokenizer.encode("x" * (MAX_PIECE_CHARS + 100))
    assert "[... 100 characters ...]" in mark_trained(long, np.zeros(len(long), bool), tokenizer)
