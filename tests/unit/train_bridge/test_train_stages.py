"""The packaged stages of Olmo 3 are the published ones: every number of the runs' table, by the dry run that prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dolma_py.errors import ConfigError
from train_bridge import run_training
from train_bridge.dry_run import Assumptions, describe_plan, plan_run
from train_bridge.schedule import learning_rate
from train_bridge.souping import soup
from train_bridge.train_config import load_train_config

STAGES = (
    "olmo3_7b/pretrain", "olmo3_7b/midtrain", "olmo3_7b/longcontext",
    "olmo3_32b/pretrain", "olmo3_32b/midtrain_1", "olmo3_32b/midtrain_2", "olmo3_32b/longcontext",
)  # fmt: skip
# one row a stage, as published (report tables 34 and 35, OLMo-core's scripts); temperatures are table 35's
PUBLISHED = {
    # stage: peak, warm-up, batch tokens, instances, tokens of one, steps, tokens, micro-batch, seed, rate at the end, temperature
    STAGES[0]: (3e-4, 2000, 4_194_304, 512, 8192, 1_413_814, 5.930e12, 2, 34521, 3.0e-5, 2.146e-14),
    STAGES[1]: (2.0712352850360292e-4, 0, 2_097_152, 256, 8192, 47_684, 100.0e9, 2, 1337, 0.0, 2.051e-14),
    STAGES[2]: (2.0712352850360292e-4, 200, 4_194_304, 64, 65_536, 11_921, 50.0e9, 1, 34521, 0.0, 1.026e-14),
    STAGES[3]: (6e-4, 2000, 8_388_608, 1024, 8192, 656_000, 5.503e12, 1, 34521, 6.69e-5, 4.292e-14),
    STAGES[4]: (2.071235285e-4, 0, 4_194_304, 512, 8192, 23_842, 100.0e9, 1, 42069, 0.0, 1.023e-14),
    STAGES[5]: (2.071235285e-4, 0, 4_194_304, 512, 8192, 23_842, 100.0e9, 1, 42070, 0.0, 1.023e-14),
    STAGES[6]: (2.071235285e-4, 200, 8_388_608, 128, 65_536, 11_921, 100.0e9, 1, 34521, 0.0, 5.113e-15),
}
# replicate, shard, context, GPUs, tokens/s a GPU, activation checkpointing and its budget, float8
LAYOUTS = {
    STAGES[0]: (64, 8, 1, 512, 7700, "none", None, False),
    STAGES[1]: (16, 8, 1, 128, 8500, "mlp", None, False),
    STAGES[2]: (32, 1, 8, 256, 4000, "none", None, True),
    STAGES[3]: (16, 64, 1, 1024, 1960, "budget", 0.5, False),
    STAGES[4]: (8, 64, 1, 512, 2000, "budget", 0.5, False),
    STAGES[5]: (8, 64, 1, 512, 2000, "budget", 0.5, False),
    STAGES[6]: (16, 8, 8, 1024, 1300, "budget", 0.3, False),
}
# of one trained token in 1e9 operations: windows counted, all layers full
OPERATIONS = {("7b", 8192): (49.38, 54.21), ("32b", 8192): (210.46, 222.54), ("7b", 65_536): (71.93, 144.40),
              ("32b", 65_536): (266.83, 448.02)}  # fmt: skip


def load(name, *overrides):
    return load_train_config(name, overrides=list(overrides), manifest=None)


def plan(name, *overrides, **assumed):
    return plan_run(load(name, *overrides), device=torch.device("cpu"), assumed=Assumptions(**assumed))


@pytest.mark.parametrize("name", STAGES)
def test_the_dry_run_prints_the_published_run(name):
    peak, warmup, batch, instances, sequence, steps, tokens, micro, seed, end, temperature = PUBLISHED[name]
    got = plan(name)
    assert (got["peak_lr"], got["warmup_steps"], got["tokens_per_step"]) == (peak, warmup, batch)
    assert (got["batch_instances"], got["sequence_tokens"], got["steps"], got["loader_seed"]) == (
        instances, sequence, steps, seed,
    )  # fmt: skip
    assert got["tokens"] == pytest.approx(tokens, rel=1e-4)
    assert got["lr_at_end"] == pytest.approx(end, rel=1e-3, abs=1e-12)
    # the 7B's 2.074e-4 of table 35 is 0.14% above the script's rate: see the next test
    assert got["temperature"] == pytest.approx(temperature, rel=3e-3)
    assert load(name).data.micro_batch_instances == micro
    operations = OPERATIONS["32b" if "32b" in name else "7b", sequence]
    assert (got["flops_per_token"] / 1e9, got["flops_per_token_all_full"] / 1e9) == pytest.approx(operations, abs=0.006)
    text = "\n".join(describe_plan(got))
    for shown in (f"{batch:,} tokens", f"{steps:,} steps", f"{peak:.5g}", f"{got['temperature']:.3e}", f"seed {seed}"):
        assert shown in text


@pytest.mark.parametrize("name", STAGES[1:3])
def test_the_rate_of_table_35_gives_its_temperature_to_the_last_digit(name):
    got = plan(name, "schedule.peak_lr=2.074e-4")
    assert f"{got['temperature']:.3e}" == f"{PUBLISHED[name][-1]:.3e}"


@pytest.mark.parametrize("name", STAGES)
def test_the_layout_is_the_published_one(name):
    replicate, shard, context, gpus, rate, mode, budget, float8 = LAYOUTS[name]
    got = plan(name)
    parallel = got["parallel"]
    assert (parallel["replicate"], parallel["shard"], parallel["context"]) == (replicate, shard, context)
    assert (got["gpus"], parallel["tensor"], parallel["float8"]) == (gpus, 1, float8)
    assert (parallel["activation_checkpointing"], parallel["activation_budget"]) == (mode, budget)
    assert got["tokens_per_sec_per_gpu"] == pytest.approx(rate)
    assert got["estimated_sec"] == pytest.approx(got["tokens"] / rate / gpus, rel=1e-6)
    loops = load(name).data.instance_filter
    assert (loops is not None) == ("32b" in name)
    assert loops is None or (loops.repetition_min_period, loops.repetition_max_period, loops.repetition_max_count) == (
        1,
        13,
        32,
    )
    checkpoints = load(name).checkpoints
    assert checkpoints.permanent_every_steps == 1000 and 100 <= checkpoints.ephemeral_every_steps <= 500
    # H100s have 85.5e9 bytes
    assert got["memory_bytes"] < 85.5e9


def test_the_reported_mfus_are_of_two_counts():
    seven, thirty_two = plan(STAGES[0]), plan(STAGES[3])
    assert (round(100 * seven["mfu"], 1), round(100 * seven["mfu_all_full"], 1)) == (38.4, 42.2)  # reported: 43
    assert (round(100 * thirty_two["mfu"], 1), round(100 * thirty_two["mfu_all_full"], 1)) == (41.7, 44.1)  # 41


@pytest.mark.parametrize("name", STAGES)
def test_long_context_is_packed_and_stretched_on_full_layers(name):
    config, is_long = load(name), "long" in name
    assert (config.data.instances == "packed") == is_long
    assert (config.model.yarn is not None) == is_long
    if config.model.yarn is not None:
        yarn = config.model.yarn
        assert (yarn.factor, yarn.beta_fast, yarn.beta_slow, yarn.original_context_tokens) == (8, 32, 1, 8192)


def test_the_chain_leads_back_to_pretraining():
    for name in STAGES:
        links = load(name).stage.follows
        assert (links == ()) == name.endswith("pretrain")
        for link in links:
            before, after = load(link), load(name)
            assert before.model == after.model.model_copy(update={"yarn": None})
    assert load(STAGES[6]).stage.follows == STAGES[4:6]
    assert load(STAGES[6]).stage.averaged_steps == (10_000, 11_000, 11_921)
    first, second = load(STAGES[4]), load(STAGES[5])
    assert first.data.seed != second.data.seed
    assert first.model_copy(update={"data": second.data, "stage": second.stage}) == second


def test_the_seven_billion_curve_meets_itself_in_the_middle():
    config = load(STAGES[0])
    rates = [learning_rate(config.schedule, step, run_steps=config.run.steps) for step in (597_045, 597_046, 1_413_814)]
    assert rates == pytest.approx([1.65e-4, 1.65e-4, 3.0e-5], rel=2e-3)


def test_what_is_published_of_a_run_is_no_part_of_its_identity():
    config = load(STAGES[1])
    values = config.values_for_fingerprint()
    assert "stage" not in values and "launch" not in values and "schedule" in values


def test_other_machines_change_time_and_price():
    got = plan(STAGES[0], gpus=64, gpu="B200", mfu=0.5, price=4.0)
    assert got["parallel"]["replicate"] == 8
    rate = 2250e12 * 0.5 / got["flops_per_token"]
    assert got["tokens_per_sec_per_gpu"] == pytest.approx(rate)
    assert got["estimated_sec"] == pytest.approx(got["tokens"] / rate / 64, rel=1e-6)
    assert got["cost"] == pytest.approx(4.0 * got["gpu_hours"]) and got["gpu_hours"] == pytest.approx(
        got["tokens"] / rate / 3600, rel=1e-6
    )
    assert got["mfu"] == pytest.approx(0.5)
    assert "in the currency of the price" in describe_plan(got)[-1]
    # another card without a stated share: the usual one, not the published rate of H100
    assert plan(STAGES[0], gpu="A100")["mfu"] == pytest.approx(0.4)


@pytest.mark.parametrize(("assumed", "key"), [({"gpus": 12}, "--gpus"), ({"gpu": "H1000"}, "--gpu")])
def test_machines_that_do_not_fit_are_told(assumed, key):
    with pytest.raises(ConfigError) as caught:
        plan(STAGES[0], **assumed)
    assert caught.value.key == key


# the packaged stages as they are, but for sizes
SMALL = (
    "model.d_model=16", "model.mlp_hidden=32", "model.num_layers=4", "model.num_heads=2", "model.num_kv_heads=1",
    "model.head_dim=8", "model.vocab_size=128", "model.window_tokens=4", "data.batch_instances=4", "data.micro_batch_instances=2",
    "run.steps=3", "run.device=cpu", "run.num_threads=1", "parallel={}", "launch={}", "schedule.warmup_steps=0",
)  # fmt: skip


def test_the_chain_of_the_large_model_runs_in_small(make_shards, tmp_path):
    """Pretraining, two mid-trainings from it, their mean, long context from that with YaRN and packed documents."""
    shards = make_shards(file_tokens=(800, 600), document_tokens=[[50, 30, 20] * 8, [40, 20] * 10])

    def run(stage, *overrides, parent=None):
        output = str(tmp_path / stage.replace("/", "-"))
        run_training.train(config=stage, shards=str(shards), output=output, dry_run=False, parent=parent,
                           overrides=[*SMALL, *overrides])  # fmt: skip
        return output

    pretrain = run(STAGES[3], "data.sequence_tokens=16")
    mids = [run(stage, "data.sequence_tokens=16", parent=pretrain) for stage in STAGES[4:6]]
    mean = str(tmp_path / "mean")
    soup(runs=mids, weights=[], output=mean)
    long = run(STAGES[6], "data.sequence_tokens=64", "model.yarn.original_context_tokens=16", parent=mean)
    saved = [json.loads((Path(folder) / "manifest.json").read_text()) for folder in (pretrain, *mids, long)]
    losses = [values["results"]["final_loss"] for values in saved]
    assert losses[1] != losses[2]  # another order of the data
    assert all(loss < 6 for loss in losses)
    assert saved[3]["config"]["model"]["yarn"]["factor"] == 8
    assert saved[3]["config"]["data"]["instances"] == "packed"
