"""Runs that start from a folder in Hugging Face's form: the gate, what is read once, what many ranks share, what is refused."""

import datetime
import hashlib
import json
import pickle
import shutil

import pytest
import torch

from dolma_py.errors import ConfigError, DataError, ResumeMismatchError
from tests.hf_parent_ranks import run_hf_parent_ranks
from tests.saved_tensors import final_weights, write_hf_copy
from tests.unit.train_bridge.test_train_forking import STILL, assert_close, lines_of, run
from train_bridge import hf_parent, long_waits
from train_bridge.checkpoint import list_checkpoints
from train_bridge.conversion import HfDescription
from train_bridge.logits_gate import GateResult
from train_bridge.model import ModelConfig
from train_bridge.presets import preset_values


@pytest.fixture
def parent(make_shards, train_config_file, tmp_path):
    run(train_config_file, make_shards(), tmp_path / "parent")
    return tmp_path / "parent"


@pytest.fixture
def hf_folder(parent, tmp_path):
    """The parent's weights in Hugging Face's form."""
    return write_hf_copy(parent, tmp_path / "hf")


def weights_of_the_tokenizer(run_folder, parent):
    """Weights without the rows that only pad, which are not in a Hugging Face folder."""
    vocab_size = json.loads((parent / "tokens.json").read_text())["vocab_size"]
    weights = final_weights(run_folder)
    for name in ("model.embeddings.weight", "model.lm_head.w_out.weight"):
        weights[name] = weights[name][:vocab_size]
    return weights


def test_a_fork_of_a_hugging_face_folder_passes_the_gate_first(
    hf_folder, parent, train_config_file, tmp_path, monkeypatch
):
    pytest.importorskip("transformers", reason="the gate compares with it")
    shards, seen = tmp_path / "shards", []
    gate = hf_parent.check_logits

    def see(*args):
        seen.append(gate(*args))
        return seen[-1]

    monkeypatch.setattr(hf_parent, "check_logits", see)
    child = tmp_path / "child"
    run(train_config_file, shards, child, *STILL, parent=str(hf_folder))
    assert_close(weights_of_the_tokenizer(child, parent), weights_of_the_tokenizer(parent, parent))
    assert len(seen) == 1 and seen[0].max_abs_difference <= seen[0].bound
    description = json.loads((child / "config.json").read_text())["parent"]
    assert (description["form"], description["step"], len(description["fingerprint"])) == ("huggingface", None, 32)
    note = json.loads((child / "parent.json").read_text())
    assert note["fingerprint"] == description["fingerprint"]
    assert note["gate"]["max_abs_difference"] == seen[0].max_abs_difference
    assert set(note["files"]) == {"config.json", "model.safetensors"}

    def refuse(*args):
        raise DataError("hf", "gives other logits")

    monkeypatch.setattr(hf_parent, "check_logits", refuse)
    with pytest.raises(DataError, match="other logits"):
        run(train_config_file, shards, tmp_path / "refused", *STILL, parent=str(hf_folder))
    assert not list_checkpoints(tmp_path / "refused")
    with pytest.raises(DataError, match="other logits"):  # a gate that failed is not taken for one that was passed
        run(train_config_file, shards, tmp_path / "refused", *STILL, parent=str(hf_folder))


def test_a_hugging_face_folder_is_read_for_fingerprint_and_gate_once(
    hf_folder, parent, train_config_file, tmp_path, monkeypatch
):
    """Neither by a dry run nor by a later start, before its first checkpoint or after it; other bytes are seen all the same."""
    shards, child, counts = tmp_path / "shards", tmp_path / "child", {"hashed": 0, "compared": 0}
    digest = hashlib.file_digest

    def count_digest(file, kind):
        counts["hashed"] += 1
        return digest(file, kind)

    def count_gate(folder, *, device):
        counts["compared"] += 1
        return GateResult(1, 0.0, 1.0, "none")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(hashlib, "file_digest", count_digest)
    monkeypatch.setattr(hf_parent, "compare_with_transformers", count_gate)
    run(train_config_file, shards, child, parent=str(hf_folder), dry_run=True)
    assert counts == {"hashed": 0, "compared": 0} and not child.exists()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("train_bridge.run_training.load_parent", stop)
        run(train_config_file, shards, child, parent=str(hf_folder))
    assert counts == {"hashed": 2, "compared": 1}  # config.json and the weights
    run(train_config_file, shards, child, parent=str(hf_folder))
    shutil.rmtree(child / "checkpoints" / "step0000010")
    (child / "manifest.json").unlink()
    run(train_config_file, shards, child, parent=str(hf_folder))
    assert counts == {"hashed": 2, "compared": 1} and len(lines_of(child)) == 10
    weights = hf_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x77")
    with pytest.raises(ResumeMismatchError, match="parent.fingerprint"):
        run(train_config_file, shards, child, parent=str(hf_folder))
    (child / "parent.json").write_text("[]")
    with pytest.raises(ResumeMismatchError, match="parent.fingerprint"):
        run(train_config_file, shards, child, parent=str(hf_folder))


@pytest.mark.slow
def test_ranks_share_the_work_on_a_hugging_face_folder_and_wait_for_it(hf_folder, parent, train_config_file, tmp_path):
    """Hashing, gate and the slowest reader each take longer than the ranks' timeout; no rank has more than a tensor at a time."""
    first, second = run_hf_parent_ranks(train_config_file, tmp_path / "shards", tmp_path / "child", hf_folder)
    assert (first["hashed"], first["compared"], second["hashed"], second["compared"]) == (2, 1, 0, 0)
    assert 0 < first["largest_bytes"] < (hf_folder / "model.safetensors").stat().st_size / 2
    assert_close(weights_of_the_tokenizer(tmp_path / "child", parent), weights_of_the_tokenizer(parent, parent))


class FakeRanks:
    """torch.distributed of a rank whose messages are written down, or come from there."""

    def __init__(self, rank, sent):
        self.rank, self.sent = rank, sent

    def is_initialized(self):
        return True

    def get_rank(self):
        return self.rank

    def new_group(self, *, backend, timeout):
        assert (backend, timeout) == ("gloo", datetime.timedelta(days=1))

    def destroy_process_group(self, group):
        pass

    def broadcast_object_list(self, values, *, group, device):
        if self.rank == 0:
            self.sent.append(pickle.dumps(values))
        else:
            values[:] = pickle.loads(self.sent[-1])


def test_an_error_of_the_first_rank_ends_all_and_is_said_once(monkeypatch):
    sent = []

    def fail():
        raise DataError("hf", "gives other logits")

    for rank, make in ((0, fail), (1, None)):
        monkeypatch.setattr(long_waits, "dist", FakeRanks(rank, sent))
        with pytest.raises(DataError, match="other logits") as caught:
            long_waits.from_first_rank(make)
        assert caught.value.is_told is (rank == 1)
    for rank, make in ((0, lambda: "x"), (1, None)):
        monkeypatch.setattr(long_waits, "dist", FakeRanks(rank, sent))
        assert long_waits.from_first_rank(make) == "x"
    assert len(sent) == 2


@pytest.mark.parametrize(("free_share", "place"), [(1.2, "cuda"), (1.0, "cpu")])
def test_the_gate_takes_the_gpu_where_a_model_fits(free_share, place, monkeypatch):
    config = ModelConfig(**preset_values("ladder_190m"))
    needed = 4 * (267_424_512 + 6 * 4128 * 100_352)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_share * needed), 2 * needed))
    description = HfDescription(config, 100_278, 8192, (0,))
    assert hf_parent.gate_device(description, torch.device("cuda")).type == place
    assert hf_parent.gate_device(description, torch.device("cpu")).type == "cpu"


def test_a_hugging_face_folder_of_another_tokenizer_is_refused(hf_folder, train_config_file, tmp_path):
    shards = tmp_path / "shards"
    manifest = json.loads((shards / "manifest.json").read_text())
    (shards / manifest["tokenizer"]["path"]).write_text(json.dumps({"model": {"vocab": {"b": 0}}}))
    with pytest.raises(ConfigError, match="expected the tokenizer of") as caught:
        run(train_config_file, shards, tmp_path / "child", parent=str(hf_folder))
    assert caught.value.key == "--shards"
    values = json.loads((hf_folder / "config.json").read_text())
    for key, value, rule in (
        ("eos_token_id", 3, "whose documents end with one of the ids"),
        ("vocab_size", values["vocab_size"] - 1, f"a tokenizer with {values['vocab_size'] - 1} entries"),
    ):
        (hf_folder / "config.json").write_text(json.dumps({**values, key: value}))
        with pytest.raises(ConfigError, match=rule):
            run(train_config_file, shards, tmp_path / "child", parent=str(hf_folder), dry_run=False)
