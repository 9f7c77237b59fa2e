"""Integration tests of mixes on made runs of a known law: anneals alone, with fine-tuning, and where there is no `sft`."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.errors import ConfigError
from mixers import training_runs
from mixers.mix_integrate import NO_SFT, integrate, run_integrate
from tests.conftest import REPOSITORY
from tests.made_proxies import bits_per_byte
from tests.made_shards import write_shards

FAKE = (sys.executable, "-I", "-S", str(REPOSITORY / "tests" / "made_proxies.py"))


@pytest.fixture
def config_file(tmp_path):
    """Three sources of 1,000 tokens, a mix against a reference; runs of 40 instances of 10 tokens from a made run."""
    for name in ("web", "code", "math"):
        write_shards(tmp_path / name, file_tokens=(1000,), heldout={name: ["a"] for name in ("web", "code", "math")})
    (tmp_path / "base" / "checkpoints" / "step0000010").mkdir(parents=True)
    config = {"config": {"data": {"batch_instances": 2, "sequence_tokens": 10}}, "tokenizer_fingerprint": "ab"}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    sources = "".join(f"  {name}: {{shards: {tmp_path}/{name}}}\n" for name in ("web", "code", "math"))
    path = tmp_path / "integrate.yaml"
    path.write_text(
        f"base: {tmp_path}/base@10\nsources:\n{sources}reference: old\n"
        "mixes: {new: {shares: {web: 3, math: 1}}, old: {shares: {web: 1}}}\n"
        "anneal: {steps: 20, peak_lr: 1e-3}\n"
        "tasks: {web: {heldout: web}, math: {heldout: math}}\n"
    )
    return path


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setattr(training_runs, "COMMAND", FAKE)
    for name in ("SLEEP", "FAIL", "NOISE", "COMMANDS"):
        monkeypatch.delenv(f"MADE_PROXIES_{name}", raising=False)
    return monkeypatch


def run_test(config_file, tmp_path, *overrides, output="out"):
    text, code = integrate(
        config=str(config_file), output=str(tmp_path / output), overrides=list(overrides), dry_run=False
    )
    report = json.loads((tmp_path / output / "report.json").read_text())
    assert report["exit_code"] == code and (tmp_path / output / "report.md").read_text() == text
    return report, text


def test_a_better_mix_gets_its_verdict(config_file, tmp_path):
    report, text = run_test(config_file, tmp_path)
    found = report["anneal"]["comparisons"]
    assert [(one["mix"], one["reference"]) for one in found] == [("new", "old")] and report["sft"] is None
    true = bits_per_byte("math", {"web": 0.75, "math": 0.25}) - bits_per_byte("math", {"web": 1.0})
    assert found[0]["tasks"]["math"]["difference"] == pytest.approx(true, abs=0.005)
    assert found[0]["mean"]["verdict"] == "better" and report["exit_code"] == 0
    assert report["mixes"]["new"]["shares"] == {"web": 0.75, "math": 0.25} and "code" not in text
    assert "## After the anneal" in text and "## After fine-tuning" not in text and report["sft_is_there"] is None
    assert CliRunner().invoke(app, ["mix", "integrate", str(config_file), str(tmp_path / "out")]).exit_code == 0


def test_weights_of_a_search_are_a_mix(config_file, tmp_path):
    weights = tmp_path / "weights.yaml"
    weights.write_text('plan:\n  sources:\n    "web": {share: 0.5}\n    "math": {share: 0.5}\n    gone: {share: 0.0}\n')
    report, _ = run_test(config_file, tmp_path, f"mixes.new={{weights: {weights}}}")
    assert report["mixes"]["new"]["shares"] == {"web": 0.5, "math": 0.5}
    for content, message in (
        ("plan: {sources: {other: {share: 1}}}", "mixes.new.weights: expected some of .*Give its shards"),
        ("plan: {sources: {web: 1}}", "expected weights.yaml of"),
        ("plan: {sources: {web: {share: 0}}}", "expected shares of 0 or more"),
    ):
        weights.write_text(content)
        with pytest.raises(ConfigError, match=message):
            run_test(config_file, tmp_path, f"mixes.new={{weights: {weights}}}")


def test_fine_tuning_follows_where_there_is_such_a_command(config_file, tmp_path, made):
    write_shards(tmp_path / "chats")
    sft = f"sft={{config: olmo3_7b/instruct-sft, shards: {tmp_path}/chats, overrides: [run.steps=3]}}"
    report, text = run_test(config_file, tmp_path, sft)
    assert report["sft"] is None and report["sft_is_there"] is False and report["exit_code"] == 0
    assert f"## After fine-tuning\n\n{NO_SFT}" in text and len(list((tmp_path / "out" / "runs").iterdir())) == 6
    made.setenv("MADE_PROXIES_COMMANDS", "sft")
    report, text = run_test(config_file, tmp_path, sft)
    assert report["sft_is_there"] is True and NO_SFT not in text
    # made fine-tuning changes nothing, so the table is that of the anneals
    assert report["sft"] == report["anneal"]
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 12
    assert {path.read_text() for path in (tmp_path / "out" / "runs").glob("*/trace.txt")} == {"begin\nend\n"}
    before = (tmp_path / "out" / "report.json").read_bytes()
    run_test(config_file, tmp_path, sft)
    assert (tmp_path / "out" / "report.json").read_bytes() == before
    run_test(config_file, tmp_path, sft.replace("run.steps=3", "run.steps=4"))
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 18


def test_a_dry_run_does_nothing(config_file, tmp_path):
    write_shards(tmp_path / "chats")
    sft = f"sft={{config: x, shards: {tmp_path}/chats}}"
    text, code = run_integrate(config=str(config_file), output=str(tmp_path / "out"), overrides=[sft], dry_run=True)
    assert (
        text.startswith("6 runs of 400 tokens")
        and text.endswith(NO_SFT)
        and code == 0
        and not (tmp_path / "out").exists()
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reference=none", "reference: expected one of"),
        ("mixes.new={}", "expected either shares or weights"),
        ("mixes.new={shares: {web: -1}}", "expected weights of 0 or more"),
        ("mixes.new={shares: {wiki: 1}}", "mixes.new.shares: expected some of"),
        ("sft={config: x, shards: nowhere}", "sft.shards: expected a folder of SFT shards"),
        ("no_such=1", "no_such"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(config_file, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        run_integrate(config=str(config_file), output=str(tmp_path / "out"), overrides=[override], dry_run=True)


def test_fine_tuning_needs_weights_and_output_a_local_folder(config_file, tmp_path):
    overrides = ["anneal.keep_weights=false", "sft={config: x, shards: y}"]
    with pytest.raises(ConfigError, match="anneal.keep_weights: expected true with sft"):
        run_integrate(config=str(config_file), output=str(tmp_path / "out"), overrides=overrides, dry_run=True)
    with pytest.raises(ConfigError, match="OUTPUT"):
        run_integrate(config=str(config_file), output="s3://bucket/out", overrides=[], dry_run=True)
