"""Checkpoints: what is in them, when they are taken and removed, what a broken one says, and a kill at every moment of a save."""

import errno
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
import torch.distributed.checkpoint.metadata as distributed_metadata
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from dolma_py.config import build_config
from dolma_py.errors import ConfigError, DataError
from train_bridge import checkpoint_tensors, checkpoint_writer
from train_bridge.checkpoint import (
    clear_leftovers,
    list_checkpoints,
    load_checkpoint,
    load_model_weights,
    read_state,
    save_checkpoint,
    take_snapshot,
)
from train_bridge.checkpoint_config import CheckpointConfig, steps_to_remove
from train_bridge.checkpoint_tensors import plain_name
from train_bridge.checkpoint_writer import CheckpointWriter
from train_bridge.loss import LossConfig
from train_bridge.model import ModelConfig, build_model
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.run_training import train
from train_bridge.step import StepSettings, train_step

REPOSITORY = Path(__file__).resolve().parents[3]
SMALL = ModelConfig(
    d_model=16, mlp_hidden=32, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=8, vocab_size=128, window_tokens=4
)
STATE = {"epoch": 3}


def trained(num_steps=3, seed=0):
    """A model and its optimizer after some steps, so that moments and the skip rule's memory are not empty."""
    model = build_model(SMALL, seed=seed)
    optimizer = build_optimizer(model, OptimizerConfig())
    for step in range(num_steps):
        take_step(model, optimizer, step)
    return model, optimizer


def take_step(model, optimizer, step):
    ids = torch.randint(0, 128, (4, 16), generator=torch.Generator().manual_seed(step))
    settings = StepSettings(4, LossConfig(chunk_tokens=32), 1.0, None)
    return train_step(model, optimizer, ids, lr=1e-2, step=step, settings=settings)


def snapshot(model, optimizer, step=3, kind="permanent"):
    return take_snapshot(step=step, kind=kind, model=model, optimizer=optimizer, loader_state=STATE)


def everything(model, optimizer):
    """All that a step reads, as one list of tensors."""
    moments = [optimizer.state[parameter][key] for parameter in model.parameters() for key in ("exp_avg", "exp_avg_sq")]
    counters = [getattr(optimizer, name) for name in ("num_updates", "num_skipped", "loss_history", "norm_history")]
    return [*model.parameters(), *moments, *counters]


def names(output):
    return [path.name for path in list_checkpoints(output)]


def test_what_is_saved_is_loaded(tmp_path):
    model, optimizer = trained()
    torch.rand(3)
    folder = save_checkpoint(tmp_path, snapshot(model, optimizer))
    random_numbers = torch.rand(3)
    again, its_optimizer = trained(0, seed=9)
    assert load_checkpoint(folder, model=again, optimizer=its_optimizer) == (3, STATE)
    for ours, theirs in zip(everything(model, optimizer), everything(again, its_optimizer), strict=True):
        assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    assert torch.equal(random_numbers, torch.rand(3))
    assert [float(take_step(m, o, 3).cross_entropy) for m, o in ((model, optimizer), (again, its_optimizer))] == [
        float(take_step(*trained(), 3).cross_entropy)
    ] * 2


def test_a_checkpoint_before_the_first_step_has_no_moments(tmp_path):
    model, optimizer = trained(0)
    folder = save_checkpoint(tmp_path, snapshot(model, optimizer, step=0))
    again, its_optimizer = trained(0, seed=9)
    load_checkpoint(folder, model=again, optimizer=its_optimizer)
    assert torch.equal(again.embeddings.weight, model.embeddings.weight)
    assert not its_optimizer.state


@pytest.mark.parametrize("wrapper", ["checkpoint", pytest.param("compile", marks=pytest.mark.slow)])
def test_wrappers_of_a_model_do_not_change_its_names(wrapper):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model = build_model(SMALL, seed=0)
    expected = list(model.state_dict())
    if wrapper == "compile":
        model = torch.compile(model)
    else:
        model.blocks[0].feed_forward = checkpoint_wrapper(model.blocks[0].feed_forward)
    wrapped = [name for name, _ in model.named_parameters()]
    assert wrapped != expected
    assert [plain_name(name) for name in wrapped] == expected


def test_the_same_state_gives_the_same_bytes_in_both_ways_of_writing(tmp_path):
    model, optimizer = trained()
    for writing in ("sync", "async"):
        with CheckpointWriter(tmp_path / writing, CheckpointConfig(writing=writing)) as writer:
            writer.save(snapshot(model, optimizer))
    folders = [list_checkpoints(tmp_path / writing)[0] for writing in ("sync", "async")]
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert files[0] == files[1] and len(files[0]) == 3
    for name in files[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_the_loop_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """What is written is the state at the call, though the model changes before a byte of it is on disk."""
    model, optimizer = trained()
    expected = [tensor.clone() for tensor in everything(model, optimizer)]
    may_write, write = threading.Event(), checkpoint_writer.write_partial

    def write_later(*args, **kwargs):
        assert may_write.wait(60)
        return write(*args, **kwargs)

    monkeypatch.setattr(checkpoint_writer, "write_partial", write_later)
    with CheckpointWriter(tmp_path, CheckpointConfig()) as writer:
        writer.save(snapshot(model, optimizer))
        take_step(model, optimizer, 3)
        writer.raise_failure()
        assert names(tmp_path) == []
        may_write.set()
        writer.save(snapshot(model, optimizer, step=4))  # waits for the first: one is in flight at a time
        assert names(tmp_path)[0] == "step0000003"
        assert writer.stall_sec > 0
        writer.save(snapshot(model, optimizer, step=5), is_last=True)
        assert names(tmp_path) == ["step0000003", "step0000004", "step0000005"]
    again, its_optimizer = trained(0)
    load_checkpoint(list_checkpoints(tmp_path)[0], model=again, optimizer=its_optimizer)
    assert all(map(torch.equal, expected, everything(again, its_optimizer)))
    load_checkpoint(list_checkpoints(tmp_path)[1], model=again, optimizer=its_optimizer)
    assert all(map(torch.equal, everything(model, optimizer), everything(again, its_optimizer)))


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device", "the-disk")


@pytest.mark.parametrize("where", ["create_stream", "commit"])
@pytest.mark.parametrize("writing", ["sync", "async"])
def test_a_checkpoint_that_cannot_be_written_stops_the_run_with_its_cause(where, writing, tmp_path, monkeypatch):
    model, optimizer = trained()
    save_checkpoint(tmp_path, snapshot(model, optimizer, step=2))
    if where == "commit":
        monkeypatch.setattr(checkpoint_writer, "commit", full_disk)
    else:
        monkeypatch.setattr(dcp.filesystem.FileSystem, "create_stream", full_disk)
    with (
        pytest.raises(
            DataError, match="step 3: could not be written .*No space left.*The checkpoints before it are whole"
        ),
        CheckpointWriter(tmp_path, CheckpointConfig(writing=writing)) as writer,
    ):
        writer.save(snapshot(model, optimizer))
        writer.wait()
    assert names(tmp_path) == ["step0000002"]


def test_a_failed_checkpoint_ends_training_at_the_next_step(make_shards, train_config_file, tmp_path, monkeypatch):
    steps = []

    def step_and_note(*args, **kwargs):
        steps.append(kwargs["step"])
        if kwargs["step"] == 6:  # the checkpoint of step 5 has failed by now, in its own time
            writer.shutdown_probe.wait(60)
        return train_step(*args, **kwargs)

    class writer:
        shutdown_probe = threading.Event()

    def fail(*args, **kwargs):
        try:
            full_disk()
        finally:
            writer.shutdown_probe.set()

    monkeypatch.setattr(checkpoint_writer, "write_partial", fail)
    monkeypatch.setattr("train_bridge.loop.train_step", step_and_note)
    with pytest.raises(DataError, match="step 5: could not be written .*No space left"):
        train(
            config=str(train_config_file), shards=str(make_shards()), output=str(tmp_path / "run"),
            overrides=["run.steps=200", "checkpoints.permanent_every_steps=5"], dry_run=False,
        )  # fmt: skip
    assert steps[-1] < 9, "it would have come at the next checkpoint anyway"


def test_another_error_is_not_hidden_by_a_failed_checkpoint(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint_writer, "write_partial", full_disk)
    with pytest.raises(KeyError, match="first"), CheckpointWriter(tmp_path, CheckpointConfig()) as writer:
        writer.save(snapshot(*trained()))
        raise KeyError("first")
    assert "No space left" in caplog.text


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    save_checkpoint(output, snapshot(*trained()))
    return output


@pytest.mark.parametrize("name", ["state.json", "model_and_optim/.metadata", "model_and_optim/__0_0.distcp"])
@pytest.mark.parametrize("fault", ["missing", "cut", "noise"])
def test_a_broken_file_is_named(name, fault, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    path = list_checkpoints(tmp_path / "run")[0] / name
    content = path.read_bytes()
    path.unlink()
    if fault != "missing":
        # noise where a byte counts: inside a tensor's record, at the start of the others
        at = len(content) // 2 if name.endswith(".distcp") else 0
        path.write_bytes(
            content[:-7] if fault == "cut" else content[:at] + bytes([255 - content[at]]) + content[at + 1 :]
        )
    model, optimizer = trained(0)
    with pytest.raises(DataError) as caught:
        load_checkpoint(path.parents[len(Path(name).parts) - 1], model=model, optimizer=optimizer)
    assert str(path) in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_an_old_checkpoint_says_so(tmp_path):
    old = tmp_path / "checkpoints" / "step0000005"
    old.mkdir(parents=True)
    (old / "model.pt").write_bytes(b"")
    with pytest.raises(DataError, match="older form"):
        load_model_weights(old, build_model(SMALL, seed=0))
    (old / "state.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match="format 2, got 1"):
        load_model_weights(old, build_model(SMALL, seed=0))


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


class Member:
    """How Python 3.11.2 and others pickle a member of an enumeration; and how one would get at anything else."""

    def __init__(self, kind, name):
        self.kind, self.name = kind, name

    def __reduce__(self):
        return getattr, (self.kind, self.name)


def test_members_of_enumerations_are_read_as_every_python_writes_them():
    encoding = distributed_metadata._MEM_FORMAT_ENCODING
    for written in (Member(encoding, "TORCH_PRESERVE_FORMAT"), encoding.TORCH_PRESERVE_FORMAT):
        file = io.BytesIO(pickle.dumps(written))
        assert checkpoint_tensors._MetadataUnpickler(file).load() is encoding.TORCH_PRESERVE_FORMAT
    for kind, name in ((encoding, "__class__"), (encoding, "mro"), (torch.Size, "count")):
        with pytest.raises(pickle.UnpicklingError, match="no place"):
            checkpoint_tensors._MetadataUnpickler(io.BytesIO(pickle.dumps(Member(kind, name)))).load()


@pytest.mark.parametrize(
    "content", [pickle.dumps(Harmful()), pickle.dumps({"state_dict_metadata": {}}), b"no pickle", b""],
    ids=["code", "other", "noise", "empty"],
)  # fmt: skip
def test_metadata_that_is_none_is_refused(content, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "run")
    folder = list_checkpoints(tmp_path / "run")[0]
    (folder / "model_and_optim/.metadata").write_bytes(content)
    state = read_state(folder)
    state["files"]["model_and_optim/.metadata"] = len(content)
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"\.metadata: cannot be read"):
        load_model_weights(folder, build_model(SMALL, seed=0))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mlp_hidden": 48}, "model.blocks.0.feed_forward.w1.weight has shape"),
        ({"num_layers": 3}, "holds no tensor model.blocks.2."),
        ({"num_layers": 1}, "it has no model.blocks.1."),
    ],
)
def test_weights_of_another_model_are_refused_by_name(change, problem, whole):
    with pytest.raises(DataError, match=problem):
        load_model_weights(list_checkpoints(whole)[0], build_model(SMALL.model_copy(update=change), seed=0))


def test_ephemeral_checkpoints_are_more_frequent_than_permanent_ones():
    with pytest.raises(ConfigError) as caught:
        build_config(CheckpointConfig, {"permanent_every_steps": 100, "ephemeral_every_steps": 100})
    assert (caught.value.key, caught.value.got) == ("ephemeral_every_steps", 100)


@given(st.integers(1, 12), st.integers(1, 11), st.integers(1, 4), st.integers(1, 60))
def test_what_stays_on_disk(permanent, ephemeral, keep, run_steps):
    """At every moment: every permanent one so far, the newest ephemeral ones, nothing else."""
    every = ephemeral if ephemeral < permanent else None
    config = CheckpointConfig(permanent_every_steps=permanent, ephemeral_every_steps=every, keep_ephemeral=keep)
    on_disk = {}
    for step in range(1, run_steps + 1):
        kind = config.kind_after(step, run_steps=run_steps)
        if kind is not None:
            on_disk[step] = kind
            for old in steps_to_remove(on_disk, keep_ephemeral=keep):
                assert on_disk.pop(old) == "ephemeral"
    permanents = {step for step in range(1, run_steps + 1) if step % permanent == 0 or step == run_steps}
    ephemerals = [step for step in range(1, run_steps + 1) if every and step % every == 0 and step not in permanents]
    assert set(on_disk) == permanents | set(ephemerals[-keep:])
    assert max(on_disk) == run_steps


def test_a_run_keeps_what_the_rule_says(make_shards, train_config_file, tmp_path):
    overrides = [
        "checkpoints.permanent_every_steps=4",
        "checkpoints.ephemeral_every_steps=1",
        "checkpoints.keep_ephemeral=2",
    ]
    output = tmp_path / "run"
    train(
        config=str(train_config_file), shards=str(make_shards()), output=str(output), overrides=overrides, dry_run=False
    )
    assert names(output) == ["step0000004", "step0000007", "step0000008", "step0000009", "step0000010"]
    assert [read_state(path)["kind"][0] for path in list_checkpoints(output)] == ["p", "e", "p", "e", "p"]
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == names(output)


def test_one_that_cannot_be_understood_is_not_removed(tmp_path):
    model, optimizer = trained(1)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, snapshot(model, optimizer, step=step, kind="ephemeral"), keep_ephemeral=9)
    (list_checkpoints(tmp_path)[0] / "state.json").write_text("{")
    save_checkpoint(tmp_path, snapshot(model, optimizer, step=4, kind="ephemeral"), keep_ephemeral=1)
    assert names(tmp_path) == ["step0000001", "step0000004"]


_DIE = """
import os, shutil, signal, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from tests.unit.train_bridge.test_train_checkpoint import snapshot, trained
from train_bridge.checkpoint_config import CheckpointConfig
from train_bridge.checkpoint_writer import CheckpointWriter

def with_count(function, every=1):
    calls = [0]
    def call(*args, **kwargs):
        calls[0] += 1
        counted[0] += calls[0] % every == 0
        if calls[0] % every == 0 and counted[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

output, writing = Path(sys.argv[1]), sys.argv[2]
model, optimizer = trained(1)
with CheckpointWriter(output / "0", CheckpointConfig(writing=writing)) as writer:
    for step in (1, 2):
        writer.save(snapshot(model, optimizer, step=step, kind="ephemeral"))
config = CheckpointConfig(writing=writing, keep_ephemeral=1)
for moment in range(1, 200):
    shutil.copytree(output / "0", output / str(moment))
    counted = [0]
    child = os.fork()
    if child == 0:
        for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
            setattr(os, name, with_count(getattr(os, name)))
        torch.save = with_count(torch.save, every=20)
        with CheckpointWriter(output / str(moment), config) as writer:
            writer.save(snapshot(model, optimizer, step=3, kind="ephemeral"))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
sys.exit(9)
"""


@pytest.mark.parametrize("writing", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_killed_at_any_moment_of_a_save_a_whole_checkpoint_is_the_newest(writing, tmp_path):
    """A process that has two ephemeral checkpoints dies before the n-th thing that it does to the disk, for every n."""
    command = [sys.executable, "-c", _DIE, str(tmp_path), writing]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    killed = sorted((path for path in tmp_path.iterdir() if path.name != "0"), key=lambda path: int(path.name))
    assert len(killed) > 20
    seen = []
    for output in killed:
        newest = list_checkpoints(output)[-1]
        model, optimizer = trained(0, seed=9)
        step, _ = load_checkpoint(newest, model=model, optimizer=optimizer)
        assert newest.name == f"step{step:07d}"
        for older in list_checkpoints(output)[:-1]:
            load_model_weights(older, model)
        seen.append(step)
        clear_leftovers(output)
        assert sorted(path.name for path in (output / "checkpoints").iterdir()) == names(output)
    # the old ones stand until the new one does
    assert sorted(seen) == seen and set(seen) == {2, 3}
    assert [names(output) for output in killed if list_checkpoints(output)[-1].name == "step0000002"] == [
        ["step0000001", "step0000002"]
    ] * seen.count(2)


def test_stagers_that_serve_once_are_made_anew(tmp_path, monkeypatch):
    """So are those of torch before 2.13, which close themselves; here each does."""
    made = []

    class Once(DefaultStager):
        def stage(self, state_dict, **options):
            staged = super().stage(state_dict, **options)
            self.close()
            return staged

    def make_stager(is_cuda):
        made.append(Once(StagingOptions(False, False, False, False)))
        return made[-1]

    monkeypatch.setattr(checkpoint_writer, "_make_stager", make_stager)
    monkeypatch.setattr(checkpoint_writer, "_STAGES_ONCE", True)
    with CheckpointWriter(tmp_path, CheckpointConfig(writing="async")) as writer:
        for step in (1, 2):
            model, optimizer = trained(step)
            writer.save(snapshot(model, optimizer, step=step))
    assert len(made) == 2 and len(list_checkpoints(tmp_path)) == 2
