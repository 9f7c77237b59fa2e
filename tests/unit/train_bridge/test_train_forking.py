"""Runs that start from other runs, and averages of runs: what goes on, what begins anew, what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.errors import ConfigError, DataError
from tests.saved_tensors import final_weights, saved_tensors, write_hf_copy
from train_bridge import forking
from train_bridge.checkpoint import Snapshot, commit, list_checkpoints, read_state, take_snapshot, write_partial
from train_bridge.launcher import launch
from train_bridge.model import ModelConfig, build_model
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.run_evaluation import evaluate, load_run
from train_bridge.run_export import export_hf
from train_bridge.run_training import train
from train_bridge.souping import soup

REPOSITORY = Path(__file__).resolve().parents[3]
# a rate of 0: what was loaded is what is saved
STILL = ("schedule.peak_lr=1e-12", "optimizer.weight_decay=0", "run.steps=1")


def run(config, shards, output, *overrides, **values):
    return train(
        config=str(config), shards=str(shards), output=str(output), overrides=list(overrides),
        **{"dry_run": False, **values},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    return tmp_path_factory.mktemp("made") / "parent"


@pytest.fixture
def parent(made_once, make_shards, train_config_file, tmp_path):
    """A run of 10 steps with checkpoints after 5 and 10, and its shards; trained once, copied for each test."""
    shards = make_shards()
    if not made_once.exists():
        run(train_config_file, shards, made_once)
    shutil.copytree(made_once, tmp_path / "parent")
    return tmp_path / "parent"


def lines_of(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def assert_close(left, right):
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=1e-6)


def test_a_fork_takes_weights_and_moments_and_begins_its_steps_and_data_anew(
    parent, make_shards, train_config_file, tmp_path, monkeypatch
):
    """Other shards, another schedule; its state before the first step is the parent's but for position and memory."""
    taken = {}

    def note(*args, **kwargs):
        load(*args, **kwargs)
        taken.update(kwargs)
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        taken["tensors"] = {
            name: tensor.clone()
            for name, tensor in take_snapshot(
                step=0, kind="permanent", model=model, optimizer=optimizer, loader_state={}
            ).tensors.items()
            if not name.startswith("rng")
        }
        taken["counters"] = [float(optimizer.num_updates), float(optimizer.num_skipped), len(optimizer.loss_history)]

    load = forking.load_parent
    monkeypatch.setattr("train_bridge.run_training.load_parent", note)
    other = make_shards(file_tokens=(1200, 500), name="other")
    run(train_config_file, other, tmp_path / "child", "schedule.peak_lr=5e-3", parent=f"{parent}@5")
    stored = {name: tensor for name, tensor in saved_tensors(list_checkpoints(parent)[0]).items() if name[:3] != "rng"}
    assert stored.keys() == taken["tensors"].keys()
    assert all(torch.equal(stored[name], taken["tensors"][name]) for name in stored)
    assert taken["counters"] == [5, 0, 0]
    lines = lines_of(tmp_path / "child")
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert [line["tokens"] for line in lines] == [64 * step for step in range(1, 11)]
    assert {line["skipped_steps"] for line in lines} == {0}
    assert lines[0]["loss"] < lines_of(parent)[0]["loss"] - 0.1
    manifest = json.loads((tmp_path / "child" / "manifest.json").read_text())
    expected = json.loads((parent / "manifest.json").read_text())["fingerprint"]
    assert manifest["parent"] == {"form": "run", "fingerprint": expected, "step": 5}
    state = read_state(list_checkpoints(tmp_path / "child")[-1])
    assert state["optimizer"]["num_updates"] == 15


def test_a_fork_resumes_without_its_parents_checkpoint_and_knows_its_parent(
    parent, make_shards, train_config_file, tmp_path, monkeypatch
):
    child, shards = tmp_path / "child", tmp_path / "shards"
    run(train_config_file, shards, tmp_path / "straight", parent=f"{parent}@5")
    step_once = __import__("train_bridge.step", fromlist=["train_step"]).train_step

    def stop_at_step_7(*args, **kwargs):
        if kwargs["step"] == 7:
            raise KeyboardInterrupt
        return step_once(*args, **kwargs)

    monkeypatch.setattr("train_bridge.loop.train_step", stop_at_step_7)
    with pytest.raises(KeyboardInterrupt):
        run(train_config_file, shards, child, parent=f"{parent}@5")
    monkeypatch.undo()
    monkeypatch.setattr("train_bridge.run_training.load_parent", None)
    with pytest.raises(Exception, match="parent.*was.*form.*run.*None") as caught:
        run(train_config_file, shards, child)
    assert caught.value.field == "parent"
    with pytest.raises(Exception, match="parent.step was 5, now 10"):
        run(train_config_file, shards, child, parent=str(parent))
    shutil.rmtree(parent / "checkpoints" / "step0000005")
    run(train_config_file, shards, child, parent=f"{parent}@5")
    left, right = final_weights(tmp_path / "straight"), final_weights(child)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_moments_are_left_where_they_are_not_wanted(parent, train_config_file, tmp_path, caplog):
    caplog.set_level("INFO", "dolma_py.train")
    for name, wanted in (("with", "true"), ("without", "false")):
        setting = f"checkpoints.load_parent_optimizer={wanted}"
        run(train_config_file, tmp_path / "shards", tmp_path / name, *STILL, setting, parent=str(parent))
        assert_close(final_weights(tmp_path / name), final_weights(parent))
    counts = [
        read_state(list_checkpoints(tmp_path / name)[0])["optimizer"]["num_updates"] for name in ("with", "without")
    ]
    assert counts == [11, 1]
    assert "weights and moments of" in caplog.text and "weights, with fresh moments, of" in caplog.text


def test_a_fork_goes_on_without_a_source(make_shards, train_config_file, tmp_path):
    web = make_shards(name="web")
    make_shards(name="code")
    sources = "data.sources={web: {path: ., target_ratio: 2}, code: {path: ../code, target_ratio: 1}}"
    run(train_config_file, web, tmp_path / "both", sources)
    run(train_config_file, web, tmp_path / "web-only", sources, "data.sources.code=null", parent=str(tmp_path / "both"))
    identity = json.loads((tmp_path / "web-only" / "config.json").read_text())
    assert list(identity["config"]["data"]["sources"]) == ["web"]
    assert identity["parent"]["step"] == 10


def test_yarn_may_come_with_a_fork_and_nothing_else_of_the_model_may_change(parent, train_config_file, tmp_path):
    shards = tmp_path / "shards"
    yarn = "model.yarn={factor: 8, original_context_tokens: 16}"
    run(train_config_file, shards, tmp_path / "long", *STILL, yarn, "data.sequence_tokens=64", parent=str(parent))
    assert_close(final_weights(tmp_path / "long"), final_weights(parent))
    for override, key, rule in (
        ("model.mlp_hidden=48", "model.mlp_hidden", "expected 32, as in"),
        ("model.window_tokens=8", "model.window_tokens", "expected 4, as in"),
        ("model.rope_theta=10000", "model.rope_theta", "expected 500000.0, as in"),
    ):
        with pytest.raises(ConfigError, match=rule) as caught:
            run(train_config_file, shards, tmp_path / "x", override, parent=str(parent), dry_run=True)
        assert caught.value.key == key


def test_yarn_may_neither_go_nor_change_with_a_fork(parent, make_shards, train_config_file, tmp_path):
    """The same weights with other angles are another model; a configuration that forgets YaRN must not make one."""
    shards, yarn = tmp_path / "shards", "model.yarn={factor: 8, original_context_tokens: 16}"
    run(train_config_file, shards, tmp_path / "long", *STILL, yarn, parent=str(parent))
    for overrides, got in (
        ((), None),
        (("model.yarn={factor: 2, original_context_tokens: 16}",), 2.0),
        (("model.yarn={factor: 8, original_context_tokens: 32}",), 8.0),
    ):
        with pytest.raises(ConfigError, match="expected {'factor': 8.0, .* as in") as caught:
            run(train_config_file, shards, tmp_path / "x", *overrides, parent=str(tmp_path / "long"), dry_run=True)
        assert caught.value.key == "model.yarn"
        assert (caught.value.got and caught.value.got["factor"]) == got
    run(train_config_file, shards, tmp_path / "same", *STILL, yarn, parent=str(tmp_path / "long"))
    allowed = "checkpoints.change_parent_yarn=true"
    run(train_config_file, shards, tmp_path / "short", *STILL, allowed, parent=str(tmp_path / "long"))
    assert json.loads((tmp_path / "short" / "config.json").read_text())["config"]["model"]["yarn"] is None
    folder = write_hf_copy(tmp_path / "long", tmp_path / "hf")
    with pytest.raises(ConfigError, match="expected {'factor': 8.0, .* as in"):
        run(train_config_file, shards, tmp_path / "x", parent=str(folder), dry_run=True)
    run(train_config_file, shards, tmp_path / "x", yarn, parent=str(folder), dry_run=True)


@pytest.mark.parametrize(
    ("suffix", "rule"),
    [("@7", "expected one of the steps 5, 10"), ("-absent", "the folder of a run with a checkpoint")],
)
def test_a_parent_that_is_not_there_is_named(suffix, rule, parent, train_config_file, tmp_path):
    with pytest.raises(ConfigError, match=rule) as caught:
        run(train_config_file, tmp_path / "shards", tmp_path / "child", parent=f"{parent}{suffix}")
    assert (caught.value.key, caught.value.got) == ("--from", f"{parent}{suffix}")
    assert not (tmp_path / "child").exists()


def test_a_folder_may_be_named_like_a_step(parent, tmp_path):
    parent.rename(tmp_path / "parent@5")
    assert forking.split_run(str(tmp_path / "parent@5")) == (tmp_path / "parent@5", None)
    assert forking.find_checkpoint(f"{tmp_path}/parent@5@5").name == "step0000005"


def test_shards_of_another_tokenizer_are_refused(parent, make_shards, train_config_file, tmp_path):
    other = make_shards(name="other")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["tokenizer"]["fingerprint"] = "another"
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="expected shards of the tokenizer of") as caught:
        run(train_config_file, other, tmp_path / "child", parent=str(parent))
    assert caught.value.key == "--shards"


@pytest.mark.parametrize("place", ["s3://bucket/run", "gs://bucket/run", "file:///run"])
def test_a_remote_output_is_refused_before_any_work(place, parent, train_config_file, tmp_path, monkeypatch):
    """It became a folder of that name here."""
    monkeypatch.chdir(tmp_path)
    shards, sizes = tmp_path / "shards", sorted(path.name for path in tmp_path.iterdir())
    calls = {
        "train": lambda: run(train_config_file, shards, place),
        "dry": lambda: run(train_config_file, shards, place, dry_run=True),
        "launch": lambda: launch(
            launcher="slurm", arguments=[], config=str(train_config_file), shards=str(shards), output=place,
            overrides=["launch.processes_per_node=1"], dry_run=False,
        ),
        "soup": lambda: soup(runs=[str(parent)], weights=[], output=place),
        "export": lambda: export_hf(run=str(parent), output=place, dtype="float32"),
        "eval": lambda: evaluate(
            run=str(parent), shards=str(shards), items=None, output=place, max_docs_per_source=None
        ),
    }  # fmt: skip
    for name, call in calls.items():
        with pytest.raises(ConfigError, match="expected a path of this machine") as caught:
            call()
        assert (caught.value.key, caught.value.got) == ("--output", place), name
    for key, call in (
        ("--from", lambda: run(train_config_file, shards, tmp_path / "x", parent=f"{place}@5")),
        ("RUN", lambda: soup(runs=[place], weights=[], output=str(tmp_path / "x"))),
    ):
        with pytest.raises(ConfigError, match="expected a path of this machine") as caught:
            call()
        assert caught.value.key == key
    assert sorted(path.name for path in tmp_path.iterdir()) == sizes


# averages


def write_run(parent, output, change):
    """A run like the parent whose newest checkpoint has weights changed by a function of (name, tensor)."""
    output.mkdir()
    for name in ("config.json", "tokens.json"):
        (output / name).write_bytes((parent / name).read_bytes())
    folder = list_checkpoints(parent)[-1]
    tensors = {name: change(name, tensor) for name, tensor in saved_tensors(folder, "model.").items()}
    values = {key: value for key, value in read_state(folder).items() if key != "files"}
    snapshot = Snapshot(10, tensors, values)
    commit(write_partial(output, snapshot), snapshot)
    return output


def test_the_mean_of_equals_is_the_same_and_of_opposites_nothing(parent, tmp_path):
    opposite = write_run(parent, tmp_path / "opposite", lambda name, tensor: -tensor)
    soup(runs=[str(parent)] * 3, weights=[], output=str(tmp_path / "same"))
    soup(runs=[str(parent), str(opposite)], weights=[], output=str(tmp_path / "nothing"))
    expected = final_weights(parent)
    same, nothing = final_weights(tmp_path / "same"), final_weights(tmp_path / "nothing")
    assert same.keys() == nothing.keys() == expected.keys() and len(same) == 25
    for name in expected:
        assert torch.equal(same[name], expected[name])
        assert not nothing[name].any()


def test_the_mean_of_three_with_weights(parent, tmp_path):
    generator = torch.Generator().manual_seed(1)
    runs = [
        write_run(parent, tmp_path / f"run{n}", lambda name, tensor: torch.randn(tensor.shape, generator=generator))
        for n in range(3)
    ]
    parts = [final_weights(folder) for folder in runs]
    for weights, name in (([], "uniform"), ([1.0, 2.0, 5.0], "weighted")):
        identity = soup(runs=[f"{folder}@10" for folder in runs], weights=weights, output=str(tmp_path / name))
        mean = final_weights(tmp_path / name)
        shares = [weight / sum(weights) for weight in weights] or [1 / 3] * 3
        assert [one["share"] for one in identity["averaged"]] == shares
        for key in mean:
            total = sum(weight * part[key].double() for weight, part in zip(weights or [1] * 3, parts, strict=True))
            assert torch.equal(mean[key], (total / (sum(weights) or 3)).float())


def test_an_average_is_a_run_for_all_who_read_one(parent, train_config_file, tmp_path):
    soup(runs=[f"{parent}@5", f"{parent}@10"], weights=[], output=str(tmp_path / "average"))
    expected = final_weights(tmp_path / "average")
    _, model, checkpoint = load_run(str(tmp_path / "average"))
    assert torch.equal(model.embeddings.weight, expected["model.embeddings.weight"])
    assert checkpoint.name == "step0000000"
    run(train_config_file, tmp_path / "shards", tmp_path / "child", *STILL, parent=str(tmp_path / "average"))
    assert_close(final_weights(tmp_path / "child"), expected)
    described = json.loads((tmp_path / "child" / "config.json").read_text())["parent"]
    manifest = json.loads((tmp_path / "average" / "manifest.json").read_text())
    assert described == {"form": "average", "fingerprint": manifest["fingerprint"], "step": 0}
    again = soup(runs=[str(tmp_path / "average"), str(parent)], weights=[], output=str(tmp_path / "again"))
    assert [one["step"] for one in again["averaged"]] == [0, 10]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_commands_take_steps_weights_and_parents(parent, train_config_file, tmp_path):
    def call(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, (result.output, result.exception)

    call("soup", "--output", tmp_path / "average", f"{parent}@5", parent, "--weight", 3, "--weight", 1)
    averaged = json.loads((tmp_path / "average" / "config.json").read_text())["averaged"]
    assert [(one["step"], one["share"]) for one in averaged] == [(5, 0.75), (10, 0.25)]
    child, shards = tmp_path / "child", tmp_path / "shards"
    call("train", "--config", train_config_file, "--shards", shards, "--output", child, "--from", tmp_path / "average")
    assert json.loads((child / "run.json").read_text())["from"] == str(tmp_path / "average")


@pytest.mark.parametrize(
    ("weights", "rule"),
    [
        ([1.0], "expected one for each of the 2 runs"),
        ([1.0, -1.0], "with a sum above 0"),
        ([1.0, float("nan")], "with a sum above 0"),
    ],
)
def test_weights_that_make_no_mean_are_refused(weights, rule, parent, tmp_path):
    with pytest.raises(ConfigError, match=rule):
        soup(runs=[str(parent)] * 2, weights=weights, output=str(tmp_path / "average"))
    assert not (tmp_path / "average").exists()


def test_runs_that_do_not_fit_are_refused_by_field(parent, tmp_path):
    other = write_run(parent, tmp_path / "other", lambda name, tensor: tensor)
    identity = json.loads((other / "config.json").read_text())
    for change, rule in (
        ({"tokenizer_fingerprint": "another"}, "expected tokenizer_fingerprint"),
        (
            {"config": {**identity["config"], "model": {**identity["config"]["model"], "norm_eps": 1e-5}}},
            "model.norm_eps 1e-06",
        ),
    ):
        (other / "config.json").write_text(json.dumps({**identity, **change}))
        with pytest.raises(ConfigError, match=rule):
            soup(runs=[str(parent), str(other)], weights=[], output=str(tmp_path / "average"))
    cut = write_run(parent, tmp_path / "cut", lambda name, tensor: tensor[:1])
    with pytest.raises(DataError, match="has no model.blocks.0.attention.k_norm.weight of the shape"):
        soup(runs=[str(parent), str(cut)], weights=[], output=str(tmp_path / "average"))
    with pytest.raises(ConfigError, match="expected a folder that is not there yet"):
        soup(runs=[str(parent)], weights=[], output=str(parent))


_MEASURE = """
import resource, sys
import torch
from train_bridge.souping import soup
soup(runs=[sys.argv[1]], weights=[], output=sys.argv[2] + "-first")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
soup(runs=sys.argv[3:], weights=[], output=sys.argv[2])
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.slow
def test_one_tensor_at_a_time_is_in_memory(parent, tmp_path):
    """A model of 88 MB whose largest tensor has 1 MB of float32: three of them are averaged in little more than that."""
    shape = {"d_model": 512, "mlp_hidden": 512, "num_layers": 12, "num_heads": 8, "num_kv_heads": 8, "head_dim": 64}
    model = build_model(ModelConfig(**shape, vocab_size=128, window_tokens=4), seed=0)
    largest = max(parameter.numel() for parameter in model.parameters())
    total = sum(parameter.numel() for parameter in model.parameters())
    snapshot = take_snapshot(
        step=10, kind="permanent", model=model, optimizer=build_optimizer(model, OptimizerConfig()), loader_state={}
    )
    big = tmp_path / "big"
    big.mkdir()
    (big / "config.json").write_bytes((parent / "config.json").read_bytes())
    commit(write_partial(big, snapshot), snapshot)
    answer = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(parent), str(tmp_path / "average"), *[str(big)] * 3],
        cwd=REPOSITORY, env={"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert 4 * total > 80 * 4 * largest
    # 20 bytes an element, and what the allocator and the plan of all tensors take
    assert int(answer.stdout) < 20 * largest + 24_000_000 < 4 * total / 2
