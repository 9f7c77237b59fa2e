"""The packaged recipes of fine-tuning and of preferences are the report's tables 47 and 48, by the dry run that prints them."""

from __future__ import annotations

import pytest
import torch

from train_bridge.dry_run import Assumptions, plan_run
from train_bridge.run_preference import dpo
from train_bridge.run_sft import sft
from train_bridge.train_config import load_train_config

# follows, peak rate, tokens of a step, tokens of an epoch
SFT = {
    "olmo3_7b/think-sft": (("olmo3_7b/longcontext",), 5e-5, 1_048_576, 45.4e9),
    "olmo3_7b/instruct-sft": (("olmo3_7b/think-sft",), 8e-5, 1_048_576, 3.4e9),
    "olmo3_32b/think-sft_1": (("olmo3_32b/longcontext",), 1e-4, 4_194_304, 45.2e9),
    "olmo3_32b/think-sft_2": (("olmo3_32b/longcontext",), 5e-5, 4_194_304, 45.2e9),
    "olmo3_32b/instruct-sft": (("olmo3_32b/think-sft_1", "olmo3_32b/think-sft_2"), 8e-5, 4_194_304, 3.4e9),
}
# follows, peak rate, pairs, tokens of a conversation at most, GPUs
DPO = {
    "olmo3_7b/think-dpo": (("olmo3_7b/think-sft",), 8e-8, 150_000, 16_384, 32),
    "olmo3_7b/instruct-dpo": (("olmo3_7b/instruct-sft",), 1e-6, 260_000, 16_384, 16),
    "olmo3_32b/think-dpo": (("olmo3_32b/think-sft_1", "olmo3_32b/think-sft_2"), 7e-8, 200_000, 8_192, 64),
    "olmo3_32b/instruct-dpo": (("olmo3_32b/instruct-sft",), 1e-6, 260_000, 8_192, 64),
}
GPUS = {"olmo3_7b/think-sft": 64, "olmo3_32b/think-sft_1": 256, "olmo3_32b/think-sft_2": 256}


def load(name):
    return load_train_config(name, overrides=[], manifest=None)


def plan(name):
    return plan_run(load(name), device=torch.device("cpu"), assumed=Assumptions())


@pytest.mark.parametrize("name", SFT)
def test_fine_tuning_is_that_of_table_47(name):
    follows, rate, batch, tokens = SFT[name]
    config, got = load(name), plan(name)
    assert config.stage.follows == follows
    assert (got["peak_lr"], got["tokens_per_step"], got["sequence_tokens"]) == (rate, batch, 32_768)
    assert got["tokens"] == pytest.approx(2 * tokens, rel=2e-4) and config.run.epochs == 2
    assert got["warmup_steps"] == round(0.03 * got["steps"]) and (got["schedule"], got["lr_at_end"]) == ("linear", 0)
    optimizer = config.optimizer
    assert (optimizer.beta1, optimizer.beta2, optimizer.weight_decay, optimizer.max_grad_norm) == (0.9, 0.95, 0, 1)
    assert optimizer.skip_sigma == 6 and config.loss.z_weight == 0
    assert (config.data.instances, config.data.long_documents) == ("packed", "truncate")
    assert config.model.yarn.factor == 8 and not config.checkpoints.load_parent_optimizer
    assert got["gpus"] == GPUS.get(name, got["gpus"])
    assert got["memory_bytes"] < 85.5e9  # of an H100


@pytest.mark.parametrize("name", DPO)
def test_preferences_are_those_of_table_48(name):
    follows, rate, pairs, longest, gpus = DPO[name]
    config, got = load(name), plan(name)
    preference, optimizer = config.preference, config.optimizer
    assert config.stage.follows == follows
    assert (preference.loss, preference.beta, preference.label_smoothing, preference.turns) == (
        "dpo_norm",
        5,
        0,
        "all_assistant",
    )
    assert (preference.max_tokens, config.data.batch_instances, got["peak_lr"], got["gpus"]) == (
        longest,
        128,
        rate,
        gpus,
    )
    assert got["steps"] == pairs // 128 and config.run.epochs == 1
    assert got["warmup_steps"] == round(0.1 * got["steps"]) and (got["schedule"], got["lr_at_end"]) == ("linear", 0)
    assert (optimizer.beta1, optimizer.beta2, optimizer.weight_decay) == (0.9, 0.999, 0)
    assert optimizer.max_grad_norm is None and optimizer.skip_sigma is None
    assert config.model.yarn.factor == 8
    assert got["memory_bytes"] < 85.5e9


def test_the_two_runs_that_are_averaged_differ_in_their_rate_alone():
    first, second = load("olmo3_32b/think-sft_1"), load("olmo3_32b/think-sft_2")
    assert first.schedule.peak_lr == 2 * second.schedule.peak_lr
    assert first.model_copy(update={"schedule": second.schedule, "stage": second.stage}) == second


@pytest.mark.parametrize(
    ("before", "after"),
    [("olmo3_7b/longcontext", "olmo3_7b/think-dpo"), ("olmo3_32b/longcontext", "olmo3_32b/instruct-dpo")],
)
def test_the_model_is_the_same_all_along(before, after):
    assert load(before).model == load(after).model


def test_dry_runs_need_no_data(caplog):
    options = {"output": "", "overrides": [], "dry_run": True}
    with caplog.at_level("INFO", "dolma_py.train"):
        fine = sft(config="olmo3_7b/think-sft", shards="", **options)
        learned = dpo(config="olmo3_7b/think-dpo", pairs="", **options)
    assert fine["steps"] == 86_594 and "Olmo 3 7B Think, SFT, from the run of olmo3_7b/longcontext" in caplog.text
    assert learned["pairs"] == 1171 * 128
    assert "149,888 of at most 2 x 16,384 tokens, 128 a step; loss dpo_norm, beta 5" in caplog.text
    assert learned["reference_sec"] == pytest.approx(learned["estimated_sec"] / 3, abs=0.1)


def test_the_command_line_hands_its_options_on(monkeypatch):
    """Without torch: what is called, and with what."""
    from typer.testing import CliRunner

    from dolma_py import cli

    calls = []
    monkeypatch.setattr(cli, "importlib", FakeImport(calls))
    words = [
        "dpo",
        "--config",
        "c",
        "--pairs",
        "p",
        "--output",
        "o",
        "--from",
        "r",
        "--reference-cache",
        "k",
        "--set",
        "a=1",
    ]
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    assert CliRunner().invoke(cli.app, ["sft", "--config", "c", "--dry-run", "--gpus", "8"]).exit_code == 0
    none = {"gpus": None, "gpu": None, "mfu": None, "price": None}
    assert calls == [
        ("train_bridge.run_preference", "dpo", {"config": "c", "pairs": "p", "output": "o", "overrides": ["a=1"], "dry_run": False,
                                                "assumed": none, "parent": "r", "reference_cache": "k"}),
        ("train_bridge.run_sft", "sft", {"config": "c", "shards": "", "output": "", "overrides": [], "dry_run": True,
                                         "assumed": {**none, "gpus": 8}, "parent": None}),
    ]  # fmt: skip


class FakeImport:
    """importlib whose modules note what is called."""

    def __init__(self, calls):
        self.calls = calls

    def import_module(self, module):
        calls = self.calls

        class Module:
            def __getattr__(self, name):
                return lambda **options: calls.append((module, name, options))

        return Module()


@pytest.mark.parametrize(("command", "data"), [("sft", "--shards"), ("dpo", "--pairs")])
def test_a_launcher_starts_the_same_command_on_every_rank(command, data, capfd, tmp_path):
    from typer.testing import CliRunner

    from dolma_py import cli

    words = [command, "--config", f"olmo3_7b/think-{command}", data, "x", "--output", str(tmp_path / "o"), "--from", "r", "--launcher",
             "slurm", "--dry-run"]  # fmt: skip
    result = CliRunner().invoke(cli.app, words)
    shown = result.output + capfd.readouterr().out
    assert result.exit_code == 0 and "#SBATCH --gpus-per-node=8" in shown
    assert f"-m dolma_py {command} --config olmo3_7b/think-{command} {data} x --output {tmp_path}/o --from r" in shown


@pytest.mark.parametrize("command", ["sft", "dpo"])
def test_a_folder_that_is_missing_is_asked_for(command):
    from typer.testing import CliRunner

    from dolma_py import cli

    result = CliRunner().invoke(cli.app, [command, "--config", "c", "--output", "o"])
    assert "a folder is needed to train" in str(result.exception)
