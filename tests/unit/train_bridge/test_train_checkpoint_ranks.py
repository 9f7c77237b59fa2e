"""Checkpoints of several processes: another number of ranks, another layout, a full disk on one rank, kills. gloo on the CPU."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.jobs.killed_commands import kill_all, reach, start
from tests.saved_tensors import final_weights, saved_tensors, write_hf_copy
from train_bridge.checkpoint import list_checkpoints, load_model_weights, read_state
from train_bridge.model import ModelConfig, Olmo3
from train_bridge.run_training import train
from train_bridge.step import train_step

REPOSITORY = Path(__file__).resolve().parents[3]

# one rank, or the parent of several: WORLD of them in one process group, so that a test can kill all at once
_TRAIN = """
import os, subprocess, sys
from pathlib import Path
world = int(os.environ["WORLD"])
if world > 1 and "RANK" not in os.environ:
    ranks = [subprocess.Popen([sys.executable, "-c", os.environ["PROGRAM"], *sys.argv[1:]],
                              env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world)}) for rank in range(world)]
    sys.exit(max(abs(rank.wait()) for rank in ranks))
from train_bridge import checkpoint_tensors, loop
from train_bridge.run_training import train
step_once, last, fault = loop.train_step, int(os.environ["LAST_STEP"]), os.environ["FAULT_RANK"]
def stop(*args, **kwargs):
    if kwargs["step"] == last:
        raise KeyboardInterrupt
    return step_once(*args, **kwargs)
loop.train_step = stop
if fault == os.environ.get("RANK", "0"):
    import torch.distributed.checkpoint.filesystem as filesystem
    def full(self, path, mode):
        raise OSError(28, "No space left on device", str(path))
    filesystem.FileSystem.create_stream = full
train(config=sys.argv[1], shards=sys.argv[2], output=sys.argv[3], overrides=sys.argv[4:], dry_run=False,
      parent=os.environ.get("PARENT") or None)
"""


def environment(ranks, *, last=-1, fault="", parent=""):
    port = str(20000 + os.getpid() % 20000)
    return {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "WORLD": str(ranks), "LAST_STEP": str(last), "FAULT_RANK": fault, "PARENT": parent, "PROGRAM": _TRAIN,
    }  # fmt: skip


def train_ranks(ranks, config, shards, output, *overrides, **options):
    """Train in as many processes; returns the exit status of the worst and what all of them said."""
    command = [sys.executable, "-c", _TRAIN, str(config), str(shards), str(output), *overrides]
    answer = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment(ranks, **options),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return answer.returncode, answer.stderr


def test_a_run_goes_on_with_another_number_of_ranks(make_shards, train_config_file, tmp_path, monkeypatch):
    """1, then 2, then 1 process: the losses of one alone, but for the order of sums over ranks."""
    shards = make_shards()
    train_config_file.write_text(
        train_config_file.read_text().replace("permanent_every_steps: 5", "permanent_every_steps: 3")
    )
    config = {"config": str(train_config_file), "shards": str(shards), "overrides": [], "dry_run": False}
    train(**config, output=str(tmp_path / "one"))

    def stop_at_step_3(*args, **kwargs):
        if kwargs["step"] == 3:
            raise KeyboardInterrupt
        return train_step(*args, **kwargs)

    monkeypatch.setattr("train_bridge.loop.train_step", stop_at_step_3)
    with pytest.raises(KeyboardInterrupt):
        train(**config, output=str(tmp_path / "changing"))
    monkeypatch.undo()
    status, _ = train_ranks(2, train_config_file, shards, tmp_path / "changing", last=6)
    assert status in (signal.SIGINT, signal.SIGABRT)  # the second: gloo ends a rank whose peer went first
    second = list_checkpoints(tmp_path / "changing")[-1]
    assert second.name == "step0000006"
    assert len(list((second / "model_and_optim").glob("*.distcp"))) == 2, "both ranks wrote their share"
    assert {name.split(".")[1] for name in saved_tensors(second, "rng")} == {"00000", "00001"}
    train(**config, output=str(tmp_path / "changing"))
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "changing")
    ]
    assert losses[0][:3] == losses[1][:3]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def losses_of(output):
    return [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_goes_on_under_another_layout(make_shards, train_config_file, tmp_path):
    """DDP, then shards of FSDP, then tensor parallelism, then both with one more copy, then one process."""
    shards, output = make_shards(), tmp_path / "changing"
    train_config_file.write_text(
        train_config_file.read_text()
        .replace("permanent_every_steps: 5", "permanent_every_steps: 2")
        .replace("num_kv_heads: 1", "num_kv_heads: 2")
    )
    config = {"config": str(train_config_file), "shards": str(shards), "overrides": [], "dry_run": False}
    train(**config, output=str(tmp_path / "one"))
    layouts = [
        (2, ()), (2, ("parallel.shard=2",)), (2, ("parallel.tensor=2",)), (4, ("parallel.tensor=2", "parallel.shard=2")),
    ]  # fmt: skip
    for number, (ranks, overrides) in enumerate(layouts):
        last = 2 * number + 2
        status, words = train_ranks(ranks, train_config_file, shards, output, *overrides, last=last)
        assert status == signal.SIGINT, words[-3000:]
        newest = list_checkpoints(output)[-1]
        assert newest.name == f"step{last:07d}"
        # the same tensors, whole, whoever wrote which part
        names = {name: tuple(tensor.shape) for name, tensor in saved_tensors(newest).items() if name[:3] != "rng"}
        one = saved_tensors(tmp_path / "one" / "checkpoints" / newest.name)
        assert names == {name: tuple(tensor.shape) for name, tensor in one.items() if name[:3] != "rng"}
        model = Olmo3(ModelConfig(**json.loads((output / "config.json").read_text())["config"]["model"]))
        load_model_weights(newest, model)
    train(**config, output=str(output))
    assert losses_of(output) == pytest.approx(losses_of(tmp_path / "one"), rel=2e-5)
    left, right = final_weights(tmp_path / "one"), final_weights(output)
    assert max(float((left[name] - right[name]).abs().max()) for name in left) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [(), ("parallel.shard=2",)])
def test_a_fork_in_two_processes_starts_from_the_parents_weights(overrides, make_shards, train_config_file, tmp_path):
    """The first loss does not know how many processes compute it, nor how many its parent had."""
    shards = make_shards()
    config = {"config": str(train_config_file), "shards": str(shards), "overrides": [], "dry_run": False}
    train(**config, output=str(tmp_path / "parent"))
    train(**config, output=str(tmp_path / "one"), parent=f"{tmp_path}/parent@5")
    two = tmp_path / "two"
    status, words = train_ranks(2, train_config_file, shards, two, *overrides, parent=f"{tmp_path}/parent@5")
    assert status == 0, words[-3000:]
    assert losses_of(two) == pytest.approx(losses_of(tmp_path / "one"), rel=2e-5)
    assert losses_of(two)[0] < losses_of(tmp_path / "parent")[0] - 0.1
    assert json.loads((two / "config.json").read_text())["parent"]["step"] == 5
    folder = str(write_hf_copy(tmp_path / "parent", tmp_path / "hf"))
    train(**config, output=str(tmp_path / "one-hf"), parent=folder)
    status, words = train_ranks(2, train_config_file, shards, tmp_path / "two-hf", *overrides, parent=folder)
    assert status == 0, words[-3000:]
    assert losses_of(tmp_path / "two-hf") == pytest.approx(losses_of(tmp_path / "one-hf"), rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["0", "1"])
@pytest.mark.parametrize("writing", ["sync", "async"])
def test_a_full_disk_on_one_rank_stops_all_with_its_cause(fault, writing, make_shards, train_config_file, tmp_path):
    output = tmp_path / "run"
    status, words = train_ranks(
        2, train_config_file, make_shards(), output, f"checkpoints.writing={writing}", fault=fault
    )
    assert status == 1
    assert f"could not be written (rank {fault}: [Errno 28] No space left on device" in words
    assert list_checkpoints(output) == []


@pytest.mark.slow
def test_two_processes_killed_in_their_saves_finish_with_the_same_weights(make_shards, train_config_file, tmp_path):
    """kill -9 of both when a save has come so far; the run is started again each time and ends as one that nothing stopped."""
    shards, output = make_shards(), tmp_path / "killed"
    overrides = ["run.steps=60", "checkpoints.permanent_every_steps=50", "checkpoints.ephemeral_every_steps=1"]
    status, words = train_ranks(2, train_config_file, shards, tmp_path / "straight", *overrides)
    assert status == 0, words[-3000:]
    command = [sys.executable, "-c", _TRAIN, str(train_config_file), str(shards), str(output), *overrides]
    partial = "checkpoints/partial-step*"
    moments = [f"{partial}", f"{partial}/model_and_optim/__1_0.distcp", f"{partial}/model_and_optim/.metadata*",
               f"{partial}/state.json*", "checkpoints/removed-*"]  # fmt: skip
    steps = []
    for number, moment in enumerate(moments):
        started = steps[-1] if steps else 0

        def has_come(moment=moment, started=started):
            newest = list_checkpoints(output)[-1:]
            return bool(newest) and int(newest[0].name[4:]) > started and any(output.glob(moment))

        log = tmp_path / f"log{number}"
        process = start(["env", *[f"{key}={value}" for key, value in environment(2).items()], *command], log)
        assert reach(process, has_come)
        assert kill_all(process)
        steps.append(int(list_checkpoints(output)[-1].name[4:]))
    assert steps == sorted(steps) and steps[-1] < 60
    status, words = train_ranks(2, train_config_file, shards, output, *overrides)
    assert status == 0, words[-3000:]
    left, right = (saved_tensors(list_checkpoints(tmp_path / name)[-1]) for name in ("straight", "killed"))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    states = [read_state(list_checkpoints(tmp_path / name)[-1]) for name in ("straight", "killed")]
    assert states[0] == states[1]
    assert losses_of(tmp_path / "straight") == losses_of(output)
    kept = [[path.name for path in (tmp_path / name / "checkpoints").iterdir()] for name in ("straight", "killed")]
    assert sorted(kept[0]) == sorted(kept[1])
