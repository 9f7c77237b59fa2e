"""Microanneals on made runs of a known law: verdicts, exit status, reuse, a kill; then real ones of a tiny model, whose runs `compare` reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.config import build_config, load_yaml
from dolma_py.errors import ConfigError, DataError
from dolma_py.run_comparison import compare_runs
from mixers import training_runs
from mixers.anneal_config import AnnealConfig, MicroannealConfig
from mixers.anneal_runs import plan_anneals, read_base
from mixers.mix_microanneal import list_mixes, microanneal, run_microanneal
from tests.conftest import REPOSITORY
from tests.made_proxies import bits_per_byte
from tests.made_shards import write_byte_tokenizer, write_shards

FAKE = (sys.executable, "-I", "-S", str(REPOSITORY / "tests" / "made_proxies.py"))
NAMES = ("web", "code", "math", "copy")


def write_base(folder, *, steps=(5, 10), config=None):
    for step in steps:
        (folder / "checkpoints" / f"step{step:07d}").mkdir(parents=True)
    values = (
        {"data": {"batch_instances": 2, "sequence_tokens": 10}, "model": {"d_model": 8}} if config is None else config
    )
    (folder / "config.json").write_text(json.dumps({"config": values, "tokenizer_fingerprint": "ab"}))
    return folder


@pytest.fixture
def config_file(tmp_path):
    """Web and candidates of 1,000 tokens; runs of 40 instances of 10 tokens from a made run."""
    for name in NAMES:
        write_shards(tmp_path / name, file_tokens=(1000,), heldout={name: ["a"] for name in ("web", "code", "math")})
    write_base(tmp_path / "base")
    path = tmp_path / "microanneal.yaml"
    path.write_text(
        f"base: {tmp_path}/base\nweb: {{shards: {tmp_path}/web}}\n"
        f"candidates: {{math: {{shards: {tmp_path}/math}}, copy: {{shards: {tmp_path}/copy, share: 0.25}}}}\n"
        "anneal: {steps: 20, peak_lr: 1e-3, overrides: [run.num_threads=1]}\n"
        "tasks: {web: {heldout: web}, code: {heldout: code, shards: WEB}, math: {heldout: math}}\n".replace(
            "WEB", f"{tmp_path}/web"
        )
    )
    return path


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(training_runs, "COMMAND", FAKE)
    for name in ("SLEEP", "FAIL", "NOISE"):
        monkeypatch.delenv(f"MADE_PROXIES_{name}", raising=False)
    return monkeypatch


def anneal(config_file, tmp_path, *overrides, output="out"):
    text, code = microanneal(
        config=str(config_file), output=str(tmp_path / output), overrides=list(overrides), dry_run=False
    )
    report = json.loads((tmp_path / output / "report.json").read_text())
    assert report["exit_code"] == code and (tmp_path / output / "report.md").read_text() == text
    return report, text


def count_trainings(tmp_path, output="out"):
    return {path.parent.name: path.read_text() for path in (tmp_path / output / "runs").glob("*/trace.txt")}


def test_a_source_that_helps_gets_its_verdict_and_a_copy_of_web_none(config_file, tmp_path, made):
    report, text = anneal(config_file, tmp_path)
    math, copy = report["comparisons"]
    assert (math["mix"], math["reference"], copy["mix"]) == ("math", "web", "copy")
    for task in ("web", "code", "math"):
        true = bits_per_byte(task, {"math": 0.5, "web": 0.5}) - bits_per_byte(task, {"web": 1.0})
        found = math["tasks"][task]
        assert found["difference"] == pytest.approx(true, abs=0.005) and found["instances"] == 20
        assert found["error"] == pytest.approx((found["error_instances"] ** 2 + found["error_runs"] ** 2) ** 0.5)
        assert found["errors_needed"] > 2 and abs(found["difference"]) > found["errors_needed"] * found["error"]
    assert {task: found["verdict"] for task, found in math["tasks"].items()} == {
        "web": "worse",
        "code": "better",
        "math": "better",
    }
    assert math["mean"]["verdict"] == "better" and copy["mean"]["verdict"] is None
    assert report["pairs"][0]["mix"] == "math" and report["pairs"][0]["reference"] == "copy"
    assert report["pairs"][0]["mean"]["verdict"] == "better"
    # math alone would have ended with 0
    assert report["exit_code"] == 3
    assert report["mixes"]["copy"]["shares"] == {"copy": 0.25, "web": 0.75}
    assert report["mixes"]["math"]["copies"] == {"math": 0.2, "web": 0.2} and report["tokens"] == 400
    assert "**math is better than web**: -" in text and "math is worse on web, better on code, better on math." in text
    assert "copy is" not in text and "| math | math 0.500, web 0.500 | math 0.20, web 0.20 |" in text


def test_exit_status_is_that_of_the_verdicts(config_file, tmp_path, made):
    one = f"candidates={{math: {{shards: {tmp_path}/math}}}}"
    assert anneal(config_file, tmp_path, one)[0]["exit_code"] == 0
    assert anneal(config_file, tmp_path, one, "tasks.code.weight=0", "tasks.math.weight=0")[0]["exit_code"] == 4
    assert (
        anneal(config_file, tmp_path, *(f"tasks.{name}.weight=0" for name in ("web", "code", "math")))[0]["exit_code"]
        == 3
    )
    words = ["mix", "microanneal", str(config_file), str(tmp_path / "out")]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 3 and answer.stdout.splitlines()[-1].startswith("wrote ")
    answer = CliRunner().invoke(app, [*words, "--set", one])
    assert answer.exit_code == 0


def test_one_seed_gives_no_verdict_whatever_the_difference(config_file, tmp_path, made):
    report, text = anneal(config_file, tmp_path, "anneal.seeds=1")
    assert {found["mean"]["verdict"] for found in report["comparisons"]} == {None} and report["exit_code"] == 3
    assert report["comparisons"][0]["tasks"]["math"]["error_instances"] > 0 and "raise anneal.seeds." in text
    assert "**" not in text


def test_runs_are_trained_once_whatever_is_added_later(config_file, tmp_path, made):
    one = f"candidates={{math: {{shards: {tmp_path}/math}}}}"
    anneal(config_file, tmp_path, one, "anneal.seeds=2")
    assert len(count_trainings(tmp_path)) == 4
    written = (tmp_path / "out" / "report.json").read_bytes()
    anneal(config_file, tmp_path, one, "anneal.seeds=2", "anneal.workers=3")
    assert (
        json.loads((tmp_path / "out" / "report.json").read_bytes())["comparisons"] == json.loads(written)["comparisons"]
    )
    # a candidate more trains its own runs; a seed more, one of each mix
    anneal(config_file, tmp_path, "anneal.seeds=2")
    assert len(count_trainings(tmp_path)) == 6
    anneal(config_file, tmp_path)
    assert len(count_trainings(tmp_path)) == 9
    assert set(count_trainings(tmp_path).values()) == {"begin\nend\n"}
    # what decides the result makes other runs
    for change in ("anneal.peak_lr=2e-3", "anneal.overrides=[]", f"base={tmp_path}/base@5", "anneal.warmup_steps=1"):
        before = len(count_trainings(tmp_path))
        anneal(config_file, tmp_path, change)
        assert len(count_trainings(tmp_path)) == before + 9


def test_what_fails_is_tried_again(config_file, tmp_path, made):
    made.setenv("MADE_PROXIES_FAIL", "1")
    anneal(config_file, tmp_path)
    assert set(count_trainings(tmp_path).values()) == {"begin\nbegin\nend\n"}
    with pytest.raises(DataError, match="1 of 9 runs failed"):
        anneal(config_file, tmp_path, "anneal.retries=0", output="other")


def test_runs_get_the_checkpoint_the_shares_and_the_rate(config_file, tmp_path):
    settings = build_config(MicroannealConfig, load_yaml(config_file))
    shards = {name: str(tmp_path / name) for name in ("web", "math", "copy")}
    plan = plan_anneals(settings.base, settings.anneal, shards, list_mixes(settings), "out")
    assert (
        list(plan.trials) == ["web", "math", "copy"]
        and len({t.identity for some in plan.trials.values() for t in some}) == 9
    )
    words = plan.trials["math"][1].arguments
    assert words[:7] == [
        "train",
        "--config",
        plan.config,
        "--shards",
        f"{tmp_path}/web",
        "--from",
        f"{tmp_path}/base@10",
    ]
    given = dict(word.split("=", 1) for word in words[7:] if word != "--set")
    assert json.loads(given["schedule"]) == {"kind": "linear", "peak_lr": 1e-3, "warmup_steps": 0, "final_frac": 0.0}
    assert given["data.seed"] == given["data.source_seed"] == "1" and given["run.steps"] == "20"
    assert given["data.batch_instances"] == "2" and given["data.sequence_tokens"] == "10"
    mixture = json.loads(given["data.sources"])
    assert {name: source["target_ratio"] for name, source in mixture.items()} == {"math": 0.5, "web": 0.5}
    assert load_yaml(write_text(tmp_path / "base.yaml", plan.config_text)) == {
        "data": {"batch_instances": 2, "sequence_tokens": 10}, "model": {"d_model": 8},
    }  # fmt: skip


def write_text(path, text):
    path.write_text(text)
    return path


def test_a_dry_run_does_nothing(config_file, tmp_path):
    text, code = run_microanneal(config=str(config_file), output=str(tmp_path / "out"), overrides=[], dry_run=True)
    assert text.splitlines()[0] == "9 runs of 400 tokens, 2 evaluations each"
    assert code == 0 and not (tmp_path / "out").exists() and "copy 0.250, web 0.750" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("base=nowhere", "base: expected the folder of a run with a checkpoint"),
        ("base=BASE@7", "base: expected one of the steps 5, 10"),
        ("web.shards=nowhere", "expected a folder of token shards"),
        ("candidates={web: {shards: x}}", "expected another name"),
        ("anneal.overrides=[schedule.kind=cosine]", "overrides: expected no setting"),
        ("anneal.config=quickstart/pretrain", "batch_instances: expected a number beside config"),
        ("candidate_share=0.01", "anneal.steps: a share of 0.01 of 40 instances is less than one"),
        ("tasks.web.heldout=none", "tasks.web.heldout"),
        ("anneal.seeds=0", "anneal.seeds"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(config_file, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        run_microanneal(
            config=str(config_file), output=str(tmp_path / "out"), overrides=[override.replace("BASE", f"{tmp_path}/base")],
            dry_run=True,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_output_is_a_local_folder(config_file):
    with pytest.raises(ConfigError, match="OUTPUT"):
        run_microanneal(config=str(config_file), output="gs://bucket/out", overrides=[], dry_run=True)


def test_a_base_is_known_by_what_it_is(tmp_path):
    one, moved = write_base(tmp_path / "one"), write_base(tmp_path / "moved")
    assert read_base(str(one)).identity == read_base(f"{moved}@10").identity != read_base(f"{one}@5").identity
    assert (
        write_base(tmp_path / "other", config={"model": {}})
        and read_base(str(tmp_path / "other")).identity != read_base(str(one)).identity
    )
    (one / "config.json").write_text("{}")
    with pytest.raises(DataError, match="is not that of a run"):
        read_base(str(one))
    (moved / "config.json").write_text('{"model_type": "olmo3"}')
    (moved / "model.safetensors").write_bytes(b"1")
    first = read_base(str(moved))
    (moved / "model.safetensors").write_bytes(b"2")
    assert first.config is None and read_base(str(moved)).identity != first.identity
    with pytest.raises(ConfigError, match="anneal.config"):
        plan_anneals(str(moved), AnnealConfig(steps=1, peak_lr=1), {}, {}, "out")


_DRIVER = """
import sys
from mixers import training_runs
training_runs.COMMAND = (sys.executable, sys.argv[1])
from mixers.mix_microanneal import microanneal
microanneal(config=sys.argv[2], output=sys.argv[3], overrides=sys.argv[4:], dry_run=False)
"""


@pytest.mark.slow
def test_killed_by_force_it_goes_on_and_no_run_is_trained_twice_at_once(config_file, tmp_path, made):
    words = [sys.executable, "-c", _DRIVER, FAKE[-1], str(config_file), str(tmp_path / "out"), "anneal.workers=2"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MADE_PROXIES_SLEEP": "2"}
    process = subprocess.Popen(words, env=environment, cwd=tmp_path)
    while sum("end" in text for text in count_trainings(tmp_path).values()) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    while not any(text.endswith("begin\n") for text in count_trainings(tmp_path).values()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    anneal(config_file, tmp_path)
    anneal(config_file, tmp_path, output="other")
    whole, other = ((tmp_path / name / "report.json").read_bytes() for name in ("out", "other"))
    assert whole == other
    for text in count_trainings(tmp_path).values():
        # a training that outlived its command ended before the next began
        assert text.replace("begin\nend\n", "") == ""


def test_real_microanneals_of_a_tiny_model_and_an_ablation(tmp_path):
    heldout = {"a": ["some text", "more of it"], "b": ["other text", "and the last"]}
    for number, name in enumerate(("web", "cand")):
        write_shards(tmp_path / name, file_tokens=(900 + 300 * number,), vocab_size=257, heldout=heldout)
        write_byte_tokenizer(tmp_path / name)
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text(
        "model: {d_model: 16, mlp_hidden: 32, num_layers: 1, num_heads: 2, num_kv_heads: 1, head_dim: 8, vocab_size: null, window_tokens: 4}\n"
        "data: {sequence_tokens: 16, batch_instances: 2, micro_batch_instances: 2, seed: 5}\n"
        "schedule: {kind: constant, peak_lr: 1e-2, warmup_steps: 2}\n"
        "run: {steps: 6, device: cpu, num_threads: 1, log_every_steps: 1}\n"
    )
    command = [
        *training_runs.COMMAND,
        "train",
        "--config",
        str(tiny),
        "--shards",
        str(tmp_path / "web"),
        "--output",
        str(tmp_path / "base"),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)
    config = tmp_path / "microanneal.json"
    config.write_text(json.dumps({
        "base": f"{tmp_path}/base@6", "web": {"shards": f"{tmp_path}/web"}, "candidates": {"cand": {"shards": f"{tmp_path}/cand"}},
        "anneal": {
            "steps": 4, "peak_lr": 1e-2, "seeds": 1, "retries": 0,
            "overrides": ["run.num_threads=1", "run.device=cpu", "run.log_every_steps=1"],
        },
        "tasks": {"a": {"heldout": "a", "shards": f"{tmp_path}/web"}, "b": {"heldout": "b", "shards": f"{tmp_path}/web"}},
    }))  # fmt: skip
    _, code = microanneal(config=str(config), output=str(tmp_path / "out"), overrides=[], dry_run=False)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert code == 3 and report["tokens"] == 4 * 2 * 16
    for task in ("a", "b"):
        found = report["comparisons"][0]["tasks"][task]
        assert found["instances"] == 2 and 0 < found["left"] < 20 and found["error_instances"] > 0
    folders = {name: Path(tmp_path, "out", mix["runs"][0]["folder"]) for name, mix in report["mixes"].items()}
    manifest = json.loads((folders["cand"] / "train" / "manifest.json").read_text())
    assert manifest["parent"]["step"] == 6 and manifest["config"]["schedule"]["final_frac"] == 0.0
    assert {n: s["target_ratio"] for n, s in manifest["config"]["data"]["sources"].items()} == {"cand": 0.5, "web": 0.5}
    rates = [json.loads(line)["lr"] for line in (folders["web"] / "train" / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([0.0075, 0.005, 0.0025, 0.0])
    # the same two runs as an ablation: one without the source beside one with it
    name = next(folders["web"].glob("eval-*.json")).name
    comparison = compare_runs([str(folders[mix] / "train") for mix in ("cand", "web")], evaluation_name=f"../{name}")
    assert "config.data.sources.cand" in [one["field"] for one in comparison["settings"]]
    assert (
        comparison["comparisons"][0]["tasks"]["a"]["difference"]
        == -report["comparisons"][0]["tasks"]["a"]["difference"]
    )
    assert comparison["sides"][0]["runs"][0]["seeds"] == {"data.source_seed": 0, "data.seed": 0, "run.init_seed": 0}
