"""What a run says: keys of metrics.jsonl, spikes and NaN planted into real commands, other tools' logs read back."""

import builtins
import importlib.util
import json
import os
import struct
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.cli import main
from dolma_py.errors import DolmaError, MissingDependencyError, NotFiniteError, SpikeError
from tests.conftest import REPOSITORY
from train_bridge.loader import epoch_order
from train_bridge.manifest import read_manifest
from train_bridge.metrics import TIMED_KEYS, MetricsLog
from train_bridge.run_log import RunLog, flatten
from train_bridge.run_training import train
from train_bridge.spikes import SpikeWatch
from train_bridge.step import StepResult
from train_bridge.train_config import load_train_config
from train_bridge.utilization import find_peak, utilization

KEYS = {
    "step", "tokens", "epoch", "loss", "z_loss", "grad_norm", "lr", "skipped_steps", "loss_spike_score",
    "grad_norm_spike_score", "tokens_per_sec", "step_sec", "mfu_window_aware", "data_wait_sec", "data_wait_frac",
    "peak_memory_bytes",
}  # fmt: skip
# a short memory, so that a spike can come after 30 steps
SPIKES = (
    "optimizer.skip_window_steps=16", "optimizer.skip_min_steps=8", "optimizer.skip_sigma=10",
    "logs.spike_sigma=10", "logs.spike_score_steps=16",
    "run.steps=60", "run.log_every_steps=20", "schedule.peak_lr=3e-2",
)  # fmt: skip


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(config, shards, output, *overrides):
    train(config=str(config), shards=str(shards), output=str(output), overrides=list(overrides), dry_run=False)
    return read_lines(output / "metrics.jsonl")


def run_command(config, shards, output, *overrides):
    """The command itself; returns (exit code, lines on the console)."""
    command = [sys.executable, "-m", "dolma_py", "train", "--config", str(config), "--shards", str(shards)]
    command += ["--output", str(output)] + [part for override in overrides for part in ("--set", override)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.fixture
def odd_shards(make_shards):
    """A motif that is soon known by heart, and four instances of other tokens, which make up the batch of step 41."""
    shards = make_shards(file_tokens=(16 * 240,))
    tokens = (np.arange(16 * 240) * 7 % 50).astype("<u2")
    odd = epoch_order(240, seed=5, epoch=0)[160:164]
    tokens.reshape(240, 16)[odd] = np.random.Generator(np.random.PCG64(1)).integers(0, 50, (4, 16))
    tokens.tofile(shards / "part-00000.npy")
    return shards


@pytest.mark.slow
def test_a_planted_spike_is_one_line_and_one_record_and_the_run_goes_on(odd_shards, train_config_file, tmp_path):
    code, lines = run_command(train_config_file, odd_shards, tmp_path / "run", *SPIKES)
    assert code == 0, lines
    assert [line.split(":")[0] for line in lines if line.startswith("spike")] == ["spike at step 41"]
    (event,) = read_lines(tmp_path / "run/events.jsonl")
    assert (event["event"], event["step"], event["skipped"]) == ("spike", 41, True)
    assert event["spikes"]["loss"]["deviations"] > 10
    assert event["loss_spike_score"] == 1 / 16
    metrics = read_lines(tmp_path / "run/metrics.jsonl")
    assert [(line["step"], line["skipped_steps"], line["loss_spike_score"]) for line in metrics] == [
        (20, 0, 0), (40, 0, 0), (60, 1, 0),
    ]  # fmt: skip


def test_spikes_above_the_allowed_share_stop_the_run_with_their_code(odd_shards, train_config_file, tmp_path):
    limits = (*SPIKES, "logs.max_spike_score=0.06")
    code, lines = run_command(train_config_file, odd_shards, tmp_path / "run", *limits)
    assert code == SpikeError.exit_code == 4
    assert [line for line in lines if line.startswith("error: ")] == [
        "error: step 41: spike score of the loss is 0.0625, allowed is 0.06 (logs.max_spike_score). The last checkpoint is "
        "untouched; lower the learning rate, look at the data of these steps (events.jsonl) or raise the limit."
    ]
    assert [event["step"] for event in read_lines(tmp_path / "run/events.jsonl")] == [41]


def test_a_planted_nan_is_one_line_and_one_record_and_its_code(make_shards, train_config_file, tmp_path):
    """A rate at which the weights leave what a float holds."""
    shards, output = make_shards(), tmp_path / "run"
    plant = ("schedule.peak_lr=1e38", "optimizer.weight_decay=0")
    code, lines = run_command(train_config_file, shards, output, *plant)
    assert code == NotFiniteError.exit_code == 3
    assert [line for line in lines if "finite" in line] == lines[-1:]
    assert lines[-1].startswith("error: step 2: loss is not finite on ranks [0]. The last checkpoint is untouched;")
    record = {"event": "not_finite", "step": 2, "what": "loss", "ranks": [0]}
    assert read_lines(output / "events.jsonl") == [record]
    with pytest.raises(NotFiniteError):  # again from the start, and the record of the first attempt stays
        run(train_config_file, shards, output, *plant)
    assert read_lines(output / "events.jsonl") == [record, record]


def test_exit_codes_are_distinct_and_documented(repository):
    codes = {kind.__name__: kind.exit_code for kind in (DolmaError, NotFiniteError, SpikeError)}
    assert len(set(codes.values())) == 3
    text = (repository / "docs/training-logs.md").read_text()
    assert [f"| {code} |" in text for code in (0, *codes.values(), 130)] == [True] * 5


def test_a_spike_scores_the_same_after_a_resume(odd_shards, train_config_file, tmp_path, monkeypatch, caplog):
    """The window of the score reaches over the stop: its flags come back from events.jsonl, its values from the checkpoint."""
    settings = (*SPIKES, "run.log_every_steps=1")
    straight = run(train_config_file, odd_shards, tmp_path / "straight", *settings)
    lines = [record.message.split(":")[0] for record in caplog.records if record.message.startswith("spike")]
    assert lines == ["spike at step 41"]
    stop_at(47, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(train_config_file, odd_shards, tmp_path / "parted", *settings)
    monkeypatch.undo()
    parted = run(train_config_file, odd_shards, tmp_path / "parted", *settings)
    assert [line["loss_spike_score"] for line in straight[40:58]] == [1 / 16] * 16 + [0, 0]
    timeless = [
        [{k: v for k, v in line.items() if k not in TIMED_KEYS} for line in lines] for lines in (straight, parted)
    ]
    assert timeless[0] == timeless[1]
    for name in ("straight", "parted"):
        assert [event["step"] for event in read_lines(tmp_path / name / "events.jsonl")] == [41]


def test_a_line_has_all_that_is_promised_with_its_unit(make_shards, train_config_file, tmp_path):
    lines = run(train_config_file, make_shards(), tmp_path / "run", "logs.peak_flops_per_sec=1e9", "run.steps=4")
    assert {frozenset(line) for line in lines} == {frozenset(KEYS)}
    assert set(TIMED_KEYS) - {"peak_device_memory_bytes", "device_alloc_retries"} < KEYS
    from train_bridge.cost import flops_per_token
    from train_bridge.train_config import TrainConfig

    saved = TrainConfig.model_validate(json.loads((tmp_path / "run/config.json").read_text())["config"])
    count = flops_per_token(saved.model, saved.data.sequence_tokens)
    for line in lines:
        assert line["tokens"] == line["step"] * 4 * 16
        assert line["mfu_window_aware"] == pytest.approx(line["tokens_per_sec"] * count / 1e9, rel=1e-3, abs=1e-6)
        assert line["step_sec"] == pytest.approx(4 * 16 / line["tokens_per_sec"], rel=1e-2, abs=1e-5)
        assert 0 <= line["data_wait_sec"] <= line["step_sec"]
        assert line["peak_memory_bytes"] > 50 << 20


def test_the_peak_is_given_known_or_measured(monkeypatch):
    assert find_peak(torch.device("cpu"), given=5e12) == (5e12, "given")
    assert find_peak(torch.device("cpu"), given=None).source == "measured"
    assert utilization(1e6, flops_per_token=2e6, peak_flops_per_sec=1e12, num_devices=4) == 0.5


def spike_watch(values=(), **settings):
    settings = {
        "last_step": len(values),
        "spike_steps": [],
        "sigma": 6.0,
        "window": 128,
        "min_values": 64,
        "score_steps": 128,
        **settings,
    }
    return SpikeWatch(values, **settings)


@given(
    st.lists(st.integers(-1000, 1000).map(float), max_size=40),
    st.integers(2, 10),
    st.integers(2, 10),
    st.integers(1, 12),
    st.integers(0, 40),
)
def test_spikes_match_a_plain_count_and_survive_a_stop(values, window, min_values, score_steps, stop):
    """Against exact fractions over the whole list, and with a stop and a resume anywhere."""
    expected = []
    for step, value in enumerate(values):
        before = [Fraction(int(number)) for number in values[max(0, step - window) : step]]
        if len(before) < min_values:
            expected.append(False)
            continue
        mean = sum(before) / len(before)
        variance = sum((number - mean) ** 2 for number in before) / (len(before) - 1)
        distance = (Fraction(int(value)) - mean) ** 2
        # 1.5 deviations; None where floats may round either way
        border = Fraction(9, 4) * variance
        is_close = distance != border and abs(distance - border) < border / 10**9
        expected.append(None if is_close or (distance == border and border) else distance > border)
    settings = {"sigma": 1.5, "window": window, "min_values": min_values, "score_steps": score_steps}
    watch, flags = spike_watch(**settings), []
    for step, value in enumerate(values):
        if step == stop:
            steps = [place + 1 for place, flag in enumerate(flags) if flag]
            watch = spike_watch(values[max(0, step - window) : step], **settings, last_step=step, spike_steps=steps)
        flags.append(watch.observe(value) is not None)
        recent = flags[-score_steps:]
        assert watch.score == sum(recent) / len(recent)
    assert [flag for flag, wanted in zip(flags, expected, strict=True) if wanted is not None] == [
        wanted for wanted in expected if wanted is not None
    ]


def test_a_fall_is_a_spike_too_and_equal_values_have_no_deviation():
    assert spike_watch([1.0, 3.0] * 40).observe(-9.0)["deviations"] > 6
    assert spike_watch([2.0] * 64).observe(2.0) is None
    assert spike_watch([2.0] * 64).observe(2.5) == {"value": 2.5, "mean": 2.0, "deviations": None}
    assert spike_watch([2.0] * 63).observe(9.0) is None


def test_a_resumed_log_keeps_what_stays(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"event": "spike", "step": 5}\n{"event": "not_finite", "step": 9}\n{"event": "spike", "step": 8}\n{"st'
    )
    log = MetricsLog(path, resume_step=5, stays=lambda record: record["event"] == "not_finite")
    assert [record["step"] for record in log.read()] == [5, 9]


def test_nested_values_become_names():
    values = {"step": 3, "sources": {"web": {"loss": 2.0, "perplexity": None, "documents": 4}}}
    assert flatten(values, prefix="validation") == {
        "validation/sources/web/loss": 2.0, "validation/sources/web/documents": 4.0,
    }  # fmt: skip


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_a_log_that_cannot_be_written_is_told_before_any_work(
    package, make_shards, train_config_file, tmp_path, monkeypatch
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    setting = {"tensorboard": "logs.tensorboard=true", "wandb": "logs.wandb={mode: offline}"}[package]
    with pytest.raises(
        MissingDependencyError, match=rf"{package} is not installed. Run: pip install 'dolma-py\[logs\]'"
    ):
        run(train_config_file, make_shards(), tmp_path / "run", setting)
    assert not (tmp_path / "run").exists()


def test_nothing_of_them_is_imported_unless_asked_for(make_shards, train_config_file, tmp_path, monkeypatch):
    imported, real = [], builtins.__import__

    def note(name, *args, **kwargs):
        imported.append(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", note)
    run(train_config_file, make_shards(), tmp_path / "run", "run.steps=1", "schedule.warmup_steps=0")
    assert [name for name in imported if name.split(".")[0] in ("tensorboard", "wandb")] == []
    assert "torch.utils.tensorboard" not in imported


def stop_at(step, monkeypatch):
    from train_bridge.step import train_step

    def stop(*args, **kwargs):
        if kwargs["step"] + 1 == step:
            raise KeyboardInterrupt
        return train_step(*args, **kwargs)

    monkeypatch.setattr("train_bridge.loop.train_step", stop)


def test_tensorboard_reads_what_a_stopped_and_resumed_run_wrote(make_shards, train_config_file, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shards, output = make_shards(), tmp_path / "run"
    stop_at(8, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(train_config_file, shards, output, "logs.tensorboard=true")
    monkeypatch.undo()
    lines = run(train_config_file, shards, output, "logs.tensorboard=true")
    reader = EventAccumulator(str(output / "tensorboard"))
    reader.Reload()
    assert set(reader.Tags()["scalars"]) == {f"train/{name}" for name in KEYS - {"step"}}
    losses = reader.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 11))  # each once, though 6 and 7 were written twice
    np.testing.assert_allclose([event.value for event in losses], [line["loss"] for line in lines], rtol=1e-6)


@pytest.mark.slow
def test_an_offline_wandb_run_reads_back(make_shards, train_config_file, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    output = tmp_path / "run"
    lines = run(train_config_file, make_shards(), output, "logs.wandb={mode: offline, project: tiny}", "run.steps=3")
    (path,) = output.glob("wandb/offline-run-*/run-*.wandb")
    losses, projects = [], set()
    for record in read_wandb(path.read_bytes()):
        items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        losses += [(int(items["_step"]), float(items["train/loss"]))] if "train/loss" in items else []
        projects |= {record.run.project} if record.run.project else set()
    assert losses == [(line["step"], pytest.approx(line["loss"])) for line in lines]
    assert projects == {"tiny"}


def read_wandb(content):
    """The records of an offline run's file: 7 bytes of head, then LevelDB's log format in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    assert content[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:  # no head fits: zeros up to the next block
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def log_of_rank(rank, config_file, shards, output, **logs):
    """A RunLog without a loop around it."""
    overrides = [f"logs.{name}={value}" for name, value in logs.items()] + ["logs.peak_flops_per_sec=1e9"]
    settings = load_train_config(str(config_file), overrides=overrides, manifest=read_manifest(shards))
    return RunLog(
        settings,
        output,
        first_step=0,
        loader=SimpleNamespace(num_tokens=0, wait_sec=0.0),
        optimizer=SimpleNamespace(loss_history=torch.full((64,), 2.0), norm_history=torch.full((64,), 2.0)),
        device=torch.device("cpu"),
        rank=rank,
        world_size=2,
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_rank_alone_writes_and_says_it(rank, make_shards, train_config_file, tmp_path, caplog):
    log = log_of_rank(rank, train_config_file, make_shards(), tmp_path, max_spike_score=0)
    with pytest.raises(SpikeError) as caught:  # all stop at the same step
        log.observe(1, StepResult(*(torch.tensor(value) for value in (9.0, 0.0, 2.0, 0.0))))
    assert caught.value.is_told is (rank == 1)
    with pytest.raises(NotFiniteError) as caught, log.watch(2):
        raise NotFiniteError(1, [1], "loss")
    assert (caught.value.is_told, caught.value.step) == (rank == 1, 2)
    path = tmp_path / "events.jsonl"
    assert [event["event"] for event in read_lines(path)] == ["spike", "not_finite"] if rank == 0 else not path.exists()
    assert [record.message.split(":")[0] for record in caplog.records] == ["spike at step 1"] * (rank == 0)


@pytest.mark.parametrize("is_told", [False, True])
def test_the_command_line_keeps_quiet_about_what_another_process_says(is_told, monkeypatch, capsys):
    error = NotFiniteError(3, [1], "loss")
    error.is_told = is_told

    def fail():
        raise error

    monkeypatch.setattr("dolma_py.cli.app", fail)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 3
    assert capsys.readouterr().err == ("" if is_told else f"error: {error}\n")
