"""`dolma-py dpo` from end to end in seconds: a start, log-probs, updates, resume, kill, refusals."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from dolma_py.errors import ConfigError, ResumeMismatchError
from tests.conftest import REPOSITORY
from tests.made_pairs import make_pairs, write_pairs
from tests.made_shards import write_byte_tokenizer, write_shards
from tests.saved_tensors import final_weights
from train_bridge.checkpoint import list_checkpoints
from train_bridge.metrics import TIMED_KEYS
from train_bridge.preference_step import take_preference_step
from train_bridge.run_evaluation import load_run
from train_bridge.run_preference import dpo
from train_bridge.run_training import train
from train_bridge.souping import soup

SHAPE = "model: {d_model: 16, mlp_hidden: 32, num_layers: 2, num_heads: 2, num_kv_heads: 1, head_dim: 8, vocab_size: null, window_tokens: 8}\n"
BASE = (
    SHAPE
    + """
data: {sequence_tokens: 16, batch_instances: 4, micro_batch_instances: 4, seed: 5}
schedule: {kind: constant, peak_lr: 1e-2}
run: {steps: 3, device: cpu, num_threads: 1}
"""
)
DPO = (
    SHAPE
    + """
data: {sequence_tokens: 64, batch_instances: 8, micro_batch_instances: 2, instances: packed, seed: 5}
preference: {max_tokens: 32}
schedule: {kind: linear, peak_lr: 1e-2, warmup_frac: 0.1, final_frac: 0}
optimizer: {beta2: 0.999, weight_decay: 0, max_grad_norm: null, skip_sigma: null}
run: {epochs: 4, steps: 1, device: cpu, num_threads: 1, log_every_steps: 1}
checkpoints: {permanent_every_steps: 5, load_parent_optimizer: false}
"""
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of three steps, its configuration, pairs and the configuration of dpo."""
    folder = tmp_path_factory.mktemp("base")
    shards = write_shards(folder / "shards", vocab_size=257)
    write_byte_tokenizer(shards)
    (folder / "base.yaml").write_text(BASE)
    (folder / "dpo.yaml").write_text(DPO)
    train(config=str(folder / "base.yaml"), shards=str(shards), output=str(folder / "run"), overrides=[], dry_run=False)
    write_pairs(folder / "pairs", make_pairs(20))
    return folder


def run(base, output, *overrides, **options):
    values = {
        "config": str(base / "dpo.yaml"),
        "pairs": str(base / "pairs"),
        "parent": str(base / "run"),
        "dry_run": False,
    }
    return dpo(output=str(output), overrides=list(overrides), **{**values, **options})


def lines_of(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMED_KEYS} for line in lines]


@pytest.fixture(scope="module")
def straight(base, tmp_path_factory):
    output = tmp_path_factory.mktemp("straight") / "run"
    run(base, output)
    return output


def test_it_starts_at_the_log_of_two_and_learns(straight):
    lines = lines_of(straight)
    assert [line["step"] for line in lines] == list(range(1, 9))  # 4 epochs of 20 // 8 batches
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=2e-5)
    assert lines[0]["reward_margin"] == pytest.approx(0, abs=1e-4)
    assert lines[-1]["loss"] < 0.6 and lines[-1]["reward_accuracy"] > 0.8
    for line in lines:
        assert line["reward_margin"] == pytest.approx(line["rewards_chosen"] - line["rewards_rejected"], abs=1e-5)
        assert line["log_probs_chosen"] < 0 and line["log_probs_rejected"] < 0
    assert lines[0]["lr"] == pytest.approx(1e-2)  # 0.1 of 8 steps: one of warm-up
    assert lines[-1]["lr"] == 0
    # tokens without padding
    pairs = make_pairs(20)
    assert lines[-1]["tokens"] < 4 * sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in pairs)


def test_the_start_is_the_parents_and_the_run_is_read_as_any_other(base, straight, tmp_path):
    config, _, _ = load_run(str(straight))
    assert config.preference.beta == 5 and config.run.steps == 8
    soup(runs=[str(straight), str(base / "run")], weights=[], output=str(tmp_path / "mean"))
    assert json.loads((straight / "manifest.json").read_text())["parent"]["step"] == 3
    assert json.loads((straight / "run.json").read_text())["reference_sec"] >= 0


def test_what_is_trained_on_is_shown(base, tmp_path, caplog):
    with caplog.at_level("INFO", "dolma_py.train"):
        run(base, tmp_path / "run", "run.epochs=null")
    assert "chosen, {+ trained on +}" in caplog.text and "rejected, {+ trained on +}" in caplog.text
    assert "0 conversations are longer than 32 tokens" in caplog.text
    assert "reward margin" in caplog.text and "reward accuracy" in caplog.text


def test_stopped_and_resumed_equals_straight(base, straight, tmp_path, monkeypatch):
    output = tmp_path / "parted"

    def stop_at_step_7(*args, **kwargs):
        if kwargs["step"] == 6:
            raise KeyboardInterrupt
        return take_preference_step(*args, **kwargs)

    monkeypatch.setattr("train_bridge.run_preference.take_preference_step", stop_at_step_7)
    with pytest.raises(KeyboardInterrupt):
        run(base, output)
    monkeypatch.undo()
    # weights that the run started from are not needed any more
    monkeypatch.setattr("train_bridge.run_preference.load_parent", None)
    run(base, output)
    left, right = final_weights(straight), final_weights(output)
    assert all((left[name] == right[name]).all() for name in left)
    assert lines_of(straight) == lines_of(output)
    assert (straight / "manifest.json").read_bytes() == (output / "manifest.json").read_bytes()
    assert run(base, output) == json.loads((output / "metrics.json").read_text())


def test_killed_by_force_it_finishes_with_the_same_weights(base, tmp_path):
    overrides = ("run.epochs=30", "checkpoints.permanent_every_steps=10")
    run(base, tmp_path / "straight", *overrides)
    code = (
        "import sys; from train_bridge.run_preference import dpo; "
        "dpo(config=sys.argv[1], pairs=sys.argv[2], parent=sys.argv[3], output=sys.argv[4], overrides=sys.argv[5:], dry_run=False)"
    )
    output = tmp_path / "killed"
    places = [str(base / "dpo.yaml"), str(base / "pairs"), str(base / "run"), str(output)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *places, *overrides], cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 600
    while not list_checkpoints(output) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < int(list_checkpoints(output)[-1].name.removeprefix("step")) < 60
    run(base, output, *overrides)
    straight, killed = (list_checkpoints(path)[-1] for path in (tmp_path / "straight", output))
    for name in ("model_and_optim/__0_0.distcp", "state.json"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes(), name


def test_runs_share_a_reference_and_another_key_is_another(base, tmp_path):
    cache = tmp_path / "cache"

    def keys(name, *overrides, **options):
        run(base, tmp_path / name, "run.epochs=null", *overrides, reference_cache=str(cache), **options)
        return {path.name for path in cache.iterdir()}

    first = keys("a")
    assert len(first) == 1
    # what the sums do not depend on
    assert (
        keys("b", "preference.beta=0.1", "preference.loss=dpo", "data.micro_batch_instances=1", "schedule.peak_lr=1e-3")
        == first
    )
    found = first
    for number, override in enumerate(("preference.turns=last", "preference.max_tokens=10", "run.precision=bfloat16")):
        more = keys(f"c{number}", override)
        assert len(more) == len(found) + 1, override
        found = more
    train(config=str(base / "base.yaml"), shards=str(base / "shards"), output=str(tmp_path / "other"), overrides=["run.steps=2"],
          dry_run=False)  # fmt: skip
    assert len(keys("d", parent=str(tmp_path / "other"))) == len(found) + 1


def test_simpo_has_no_reference(base, tmp_path):
    run(base, tmp_path / "run", "preference.loss=simpo", "run.epochs=null")
    assert not (tmp_path / "run" / "reference").exists()


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["preference=null"], {}, "preference: expected the section of preference pairs, got None"),
        ([], {"parent": None}, "--from: expected a run or a folder in Hugging Face's form"),
        (
            ["data.sequence_tokens=63"],
            {},
            "data.sequence_tokens: expected two conversations of preference.max_tokens=32 or more",
        ),
        (["data.instances=fixed"], {}, "data.instances: expected packed"),
        (["checkpoints.load_parent_optimizer=true"], {}, "load_parent_optimizer: expected false"),
        (["data.instance_filter={}"], {}, "data.instance_filter: expected null"),
        (["validation.every_steps=2"], {}, "validation.every_steps: expected null"),
        (["run.steps=9"], {}, "run.steps: expected run.epochs to be null beside it"),
        (["schedule.warmup_steps=9"], {}, "schedule.warmup_steps: expected schedule.warmup_frac to be null beside it"),
        (["model.d_model=32"], {}, "model.d_model: expected 16, as in"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, options, message, base, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(base, tmp_path / "run", *overrides, **options)
    assert not (tmp_path / "run" / "config.json").exists()


def test_pairs_of_another_tokenizer_are_refused(base, tmp_path):
    write_pairs(tmp_path / "pairs", make_pairs(20), fingerprint="other")
    with pytest.raises(ConfigError, match="expected shards of the tokenizer of"):
        run(base, tmp_path / "run", pairs=str(tmp_path / "pairs"))


def test_train_refuses_a_configuration_of_pairs(base, tmp_path):
    with pytest.raises(ConfigError, match="Run: dolma-py dpo"):
        train(
            config=str(base / "dpo.yaml"),
            shards=str(base / "shards"),
            output=str(tmp_path / "run"),
            overrides=[],
            dry_run=False,
        )


def test_another_run_in_the_folder_is_refused_by_key(base, straight):
    with pytest.raises(ResumeMismatchError) as caught:
        run(base, straight, "preference.beta=4")
    assert caught.value.field == "config.preference.beta"
