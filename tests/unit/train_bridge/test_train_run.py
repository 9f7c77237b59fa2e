"""Whole runs in seconds: start, overfit, micro-batches, ranks, resume, kill, refusals, cost."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dolma_py.errors import ConfigError, NotFiniteError, ResumeMismatchError
from tests.saved_tensors import final_weights
from train_bridge import cost
from train_bridge.checkpoint import list_checkpoints
from train_bridge.cost import flops_per_token
from train_bridge.loss import LossConfig, shift_labels
from train_bridge.metrics import TIMED_KEYS
from train_bridge.model import ModelConfig, build_model
from train_bridge.optimizer import OptimizerConfig, build_optimizer
from train_bridge.parallel_mesh import Layout
from train_bridge.presets import preset_values
from train_bridge.run_training import choose_attention, train
from train_bridge.step import StepSettings, accumulate_gradients, train_step
from train_bridge.train_config import CONFIG_FOLDER, find_config, load_train_config

REPOSITORY = Path(__file__).resolve().parents[3]
SHAPE = {"d_model": 32, "mlp_hidden": 64, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
SMALL = ModelConfig(**SHAPE, vocab_size=128, window_tokens=4)
LOSS = LossConfig(chunk_tokens=32)


def settings(micro=4, loss=LOSS, **values):
    return StepSettings(micro, loss, 1.0, None, **values)


def thirds(rows, tokens):
    """Document numbers of rows of three documents each."""
    return (torch.arange(tokens) * 3 // tokens).expand(rows, tokens).contiguous()


def random_ids(rows, tokens, seed=1):
    return torch.randint(0, 128, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def run(config, shards, output, *overrides, dry_run=False):
    return train(config=str(config), shards=str(shards), output=str(output), overrides=list(overrides), dry_run=dry_run)


def assert_same_weights(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_loss_starts_at_the_log_of_the_vocabulary():
    """Nothing is known: ln 128 = 4.852, but for logits of deviation 0.02 * sqrt(32) = 0.11."""
    loss, *_ = accumulate_gradients(build_model(SMALL, seed=0), random_ids(8, 32), settings=settings())
    assert float(loss) == pytest.approx(math.log(128), abs=0.05)


def test_one_batch_can_be_learned_by_heart():
    model = build_model(SMALL, seed=0)
    optimizer, ids = build_optimizer(model, OptimizerConfig(skip_sigma=None)), random_ids(4, 16)
    losses = [
        float(train_step(model, optimizer, ids, lr=1e-2, step=step, settings=settings()).cross_entropy)
        for step in range(80)
    ]
    assert losses[0] > 4.5
    assert losses[-1] < 0.1


@pytest.mark.parametrize("documents", [None, thirds(8, 16)])
@pytest.mark.parametrize("micro", [1, 2, 8])
def test_micro_batches_do_not_change_loss_and_gradient(micro, documents):
    ids, results = random_ids(8, 16), []
    is_trained = torch.rand(8, 16, generator=torch.Generator().manual_seed(2)) > torch.arange(8)[:, None] / 10
    for size in (8, micro):
        model = build_model(SMALL, seed=0)
        rows = {"documents_BT": documents, "is_trained_BT": is_trained}
        loss, z, _ = accumulate_gradients(model, ids, **rows, settings=settings(size))
        results.append((float(loss), float(z), gradients_of(model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)
    # float32 sums in another order
    torch.testing.assert_close(results[0][2], results[1][2], rtol=0, atol=1e-7)


def gradients_of(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_packed_documents_give_the_loss_of_documents_alone():
    """Three documents of 5, 7 and 3 tokens and one of padding in a row, and each in a row of its own."""
    ids, lengths = random_ids(1, 16), (5, 7, 3, 1)
    documents = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))[None]
    packed, alone = build_model(SMALL, seed=0), build_model(SMALL, seed=0)
    rows = {"documents_BT": documents, "is_trained_BT": documents < 3}
    together = accumulate_gradients(packed, ids, **rows, settings=settings())
    sums = []
    for piece in ids.split(lengths, dim=1)[:3]:
        losses = alone.loss(piece, shift_labels(piece), config=LOSS)
        (losses.total / 12).backward()  # labels: 4 + 6 + 2
        sums.append(float(losses.cross_entropy))
    assert float(together.cross_entropy) == pytest.approx(sum(sums) / 12, rel=1e-5)
    torch.testing.assert_close(gradients_of(packed), gradients_of(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize("divisor", ["global", "rank"])
def test_labels_weigh_alike_over_ranks_unless_asked(divisor, monkeypatch):
    """Two ranks with 15 and 18 labels; what they tell each other is simulated by adding their shares."""
    ids, is_trained = random_ids(4, 16), torch.ones(4, 16, dtype=torch.bool)
    is_trained[3, 4:], is_trained[2] = False, False
    shares = [slice(0, 3, 2), slice(1, 4, 2)]
    loss = LOSS.model_copy(update={"divisor": divisor})
    counts = [int((shift_labels(ids[share], is_trained[share]) >= 0).sum()) for share in shares]
    assert counts == [15, 18]
    monkeypatch.setattr("train_bridge.step.global_sum", lambda t: t.fill_(33) if t.dtype == torch.float64 else t)
    total, gradient = 0.0, 0.0
    for rank, share in enumerate(shares):
        model = build_model(SMALL, seed=0)
        one = settings(loss=loss, layout=Layout(replicate=2, rank=rank))
        total += float(accumulate_gradients(model, ids[share], is_trained_BT=is_trained[share], settings=one)[0])
        gradient = gradient + gradients_of(model)
    monkeypatch.undo()
    if divisor == "global":
        model = build_model(SMALL, seed=0)
        whole = accumulate_gradients(model, ids, is_trained_BT=is_trained, settings=settings())
        torch.testing.assert_close(gradient, gradients_of(model), rtol=0, atol=1e-6)
        assert total == pytest.approx(float(whole[0]), rel=1e-6)
    else:
        model = build_model(SMALL, seed=0)
        means = [
            float(accumulate_gradients(model, ids[share], is_trained_BT=is_trained[share], settings=settings())[0])
            for share in shares
        ]
        assert total == pytest.approx(sum(means) / 2, rel=1e-6)


def test_a_batch_without_labels_changes_no_gradient():
    model = build_model(SMALL, seed=0)
    sums = accumulate_gradients(
        model, random_ids(2, 8), is_trained_BT=torch.zeros(2, 8, dtype=torch.bool), settings=settings()
    )
    assert float(sums.cross_entropy) == 0 and float(gradients_of(model).abs().max()) == 0


def test_a_loss_that_is_not_finite_stops_before_any_change():
    model = build_model(SMALL, seed=0)
    optimizer = build_optimizer(model, OptimizerConfig())
    with torch.no_grad():
        model.lm_head.w_out.weight[5, 3] = float("nan")
    before = model.embeddings.weight.detach().clone()
    with pytest.raises(NotFiniteError) as caught:
        train_step(model, optimizer, random_ids(4, 16), lr=1e-2, step=12, settings=settings())
    assert (caught.value.step, caught.value.ranks, caught.value.what) == (12, [0], "loss")
    assert torch.equal(before, model.embeddings.weight)


def test_the_rank_whose_loss_is_not_finite_is_named():
    """Sums over ranks turn everybody's loss into NaN; the flags say whose it was."""
    model = build_model(SMALL, seed=0)
    with torch.no_grad():
        model.lm_head.w_out.weight[5, 3] = float("inf")
    with pytest.raises(NotFiniteError) as caught:
        one = settings(layout=Layout(replicate=3, rank=1))
        train_step(model, build_optimizer(model, OptimizerConfig()), random_ids(4, 16), lr=1.0, step=2, settings=one)
    assert (caught.value.ranks, caught.value.what) == ([1], "loss")


def test_a_gradient_that_is_not_finite_is_told_apart():
    model = build_model(SMALL, seed=0)
    model.lm_head.w_out.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = model.embeddings.weight.detach().clone()
    with pytest.raises(NotFiniteError) as caught:
        optimizer = build_optimizer(model, OptimizerConfig())
        train_step(model, optimizer, random_ids(4, 16), lr=1.0, step=2, settings=settings())
    assert (caught.value.ranks, caught.value.what) == ([0], "gradient norm")
    assert torch.equal(before, model.embeddings.weight)


def test_a_run_on_packed_instances_resumes_to_the_same_weights(make_shards, train_config_file, tmp_path, monkeypatch):
    lengths = [[30, 9, 20, 3, 16, 2] * 10, [11, 5] * 25]
    shards = make_shards(file_tokens=(800, 400), document_tokens=lengths, labels_mask=True)
    packed = "data.instances=packed"
    run(train_config_file, shards, tmp_path / "straight", packed)

    def stop_at_step_8(*args, **kwargs):
        if kwargs["step"] == 8:
            raise KeyboardInterrupt
        return train_step(*args, **kwargs)

    monkeypatch.setattr("train_bridge.loop.train_step", stop_at_step_8)
    with pytest.raises(KeyboardInterrupt):
        run(train_config_file, shards, tmp_path / "resumed", packed)
    monkeypatch.undo()
    run(train_config_file, shards, tmp_path / "resumed", packed)
    assert_same_weights(final_weights(tmp_path / "straight"), final_weights(tmp_path / "resumed"))
    with pytest.raises(ResumeMismatchError) as caught:
        run(train_config_file, shards, tmp_path / "resumed", packed, "data.long_documents=split")
    assert caught.value.field == "config.data.long_documents"


def test_a_run_on_a_mixture_names_what_does_not_fit(make_shards, train_config_file, tmp_path):
    web = make_shards(name="web")
    make_shards(name="code", vocab_size=50, dtype="uint32")
    make_shards(name="other", vocab_size=51)
    sources = "data.sources={web: {path: ., target_ratio: 2}, code: {path: ../%s, target_ratio: 1}}"
    run(train_config_file, web, tmp_path / "run", sources % "code")
    saved = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert saved["instances"]["instances"] == 105 + 52  # 62 + 43 of web, half as many of code, by largest remainder
    with pytest.raises(ConfigError, match="data.sources.code: expected shards with the vocab_size of .*50, got '51'"):
        run(train_config_file, web, tmp_path / "other-run", sources % "other")


def test_a_run_leaves_its_files_and_a_second_one_does_nothing(make_shards, train_config_file, tmp_path, caplog):
    caplog.set_level("INFO", "dolma_py.train")
    output = tmp_path / "run"
    results = run(train_config_file, make_shards(), output)
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert results["final_loss"] == lines[-1]["loss"] < lines[0]["loss"]
    assert [path.name for path in list_checkpoints(output)] == ["step0000005", "step0000010"]
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["results"]["final_loss"] == results["final_loss"]
    assert manifest["config"]["model"]["vocab_size"] == 128
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert run(train_config_file, tmp_path / "shards", output) == results
    assert before == {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    assert "nothing to do" in caplog.text


def test_two_runs_leave_the_same_manifest(make_shards, train_config_file, tmp_path):
    shards = make_shards()
    for name in ("one", "two"):
        run(train_config_file, shards, tmp_path / name)
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()
    assert_same_weights(final_weights(tmp_path / "one"), final_weights(tmp_path / "two"))


def test_stopped_and_resumed_equals_straight(make_shards, train_config_file, tmp_path, monkeypatch):
    """10 steps == 5, stop, 5: weights, optimizer, metrics, bit for bit. Step skipping's memory, two steps here, is part of the state."""
    skip = ("optimizer.skip_min_steps=2", "optimizer.skip_window_steps=2", "optimizer.skip_sigma=0.9")
    shards = make_shards()
    run(train_config_file, shards, tmp_path / "straight", *skip)

    def stop_at_step_8(*args, **kwargs):
        if kwargs["step"] == 7:
            raise KeyboardInterrupt
        return train_step(*args, **kwargs)

    monkeypatch.setattr("train_bridge.loop.train_step", stop_at_step_8)
    with pytest.raises(KeyboardInterrupt):
        run(train_config_file, shards, tmp_path / "parted", *skip)
    monkeypatch.undo()
    assert [path.name for path in list_checkpoints(tmp_path / "parted")] == ["step0000005"]
    run(train_config_file, shards, tmp_path / "parted", *skip)
    assert_same_weights(final_weights(tmp_path / "straight"), final_weights(tmp_path / "parted"))
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in ("straight", "parted")]
    assert manifests[0] == manifests[1]
    assert json.loads(manifests[0])["results"]["skipped_steps"] > 0
    timeless = [
        [
            {key: value for key, value in json.loads(line).items() if key not in TIMED_KEYS}
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("straight", "parted")
    ]
    assert timeless[0] == timeless[1]


def test_killed_by_force_it_finishes_with_the_same_weights(make_shards, train_config_file, tmp_path):
    shards = make_shards()
    overrides = ("run.steps=60", "checkpoints.permanent_every_steps=10")
    run(train_config_file, shards, tmp_path / "straight", *overrides)
    code = (
        "import sys; from train_bridge.run_training import choose_attention, train; "
        "train(config=sys.argv[1], shards=sys.argv[2], output=sys.argv[3], overrides=sys.argv[4:], dry_run=False)"
    )
    output = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(train_config_file), str(shards), str(output), *overrides]
    process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not list_checkpoints(output) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < int(list_checkpoints(output)[-1].name.removeprefix("step")) < 60
    run(train_config_file, shards, output, *overrides)
    assert_same_weights(final_weights(tmp_path / "straight"), final_weights(output))
    straight, killed = (list_checkpoints(path)[-1] for path in (tmp_path / "straight", output))
    for name in (
        "model_and_optim/__0_0.distcp",
        "model_and_optim/.metadata",
        "state.json",
    ):  # optimizer and random state too
        assert (killed / name).read_bytes() == (straight / name).read_bytes(), name


def test_another_run_in_the_folder_is_refused_by_key(make_shards, train_config_file, tmp_path):
    shards = make_shards()
    run(train_config_file, shards, tmp_path / "run")
    with pytest.raises(ResumeMismatchError) as caught:
        run(train_config_file, shards, tmp_path / "run", "schedule.peak_lr=2e-2")
    assert (caught.value.field, caught.value.saved, caught.value.current) == ("config.schedule.peak_lr", 0.01, 0.02)
    other = make_shards(file_tokens=(1000, 800), name="other")
    with pytest.raises(ResumeMismatchError) as caught:
        run(train_config_file, other, tmp_path / "run")
    assert (caught.value.field, caught.value.saved, caught.value.current) == (
        "dataset.files.part-00001.npy.tokens", 700, 800,
    )  # fmt: skip


def test_bookkeeping_may_change(make_shards, train_config_file, tmp_path):
    shards = make_shards()
    results = run(train_config_file, shards, tmp_path / "run")
    assert run(train_config_file, shards, tmp_path / "run", "run.log_every_steps=3", "run.num_threads=2") == results


def test_two_ranks_give_the_gradient_of_one(make_shards, train_config_file, tmp_path):
    """Two gloo processes through torchrun's environment; sums over ranks are in another order, hence not bit for bit."""
    shards = make_shards()
    run(train_config_file, shards, tmp_path / "one")
    code = (
        "import sys; from train_bridge.run_training import choose_attention, train; "
        "train(config=sys.argv[1], shards=sys.argv[2], output=sys.argv[3], overrides=[], dry_run=False)"
    )
    command = [sys.executable, "-c", code, str(train_config_file), str(shards), str(tmp_path / "two")]
    port = str(20000 + os.getpid() % 20000)
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [subprocess.Popen(command, cwd=REPOSITORY, env={**shared, "RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    one, two = final_weights(tmp_path / "one"), final_weights(tmp_path / "two")
    # 10 steps of Adam at a rate of 1e-2 turn rounding of gradients near 0 into at most this
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-3


def test_the_best_of_several_measurements_counts(monkeypatch):
    """One slow moment of a busy machine does not change the time that --dry-run tells."""
    rates = iter([3e9, 1e9, 5e9, 2e9, 4e9])
    monkeypatch.setattr(cost, "_measure_rate", lambda a: next(rates))
    assert cost.device_flops_per_sec(torch.device("cpu")) == 5e9


@pytest.mark.parametrize(
    ("preset", "sequence_tokens", "gflops"),
    [
        ("olmo3_7b", 8192, 49.38),
        ("olmo3_32b", 8192, 210.46),
        ("olmo3_7b", 65_536, 71.93),
        ("olmo3_32b", 65_536, 266.83),
    ],
)
def test_operations_per_token_are_the_published_ones(preset, sequence_tokens, gflops):
    got = flops_per_token(ModelConfig(**preset_values(preset)), sequence_tokens)
    assert got / 1e9 == pytest.approx(gflops, abs=0.006)


@pytest.mark.parametrize(
    ("name", "tokens", "parameters"),
    [
        ("olmo3_7b/pretrain", 5.930e12, 7_298_617_344),
        ("olmo3_32b/pretrain", 5.503e12, 32_234_279_936),
    ],
)
def test_released_runs_can_be_costed_without_shards(name, tokens, parameters, tmp_path):
    cost = run(name, tmp_path / "absent", tmp_path / "out", "run.device=cpu", dry_run=True)
    assert cost["parameters"] == parameters
    assert cost["tokens"] == pytest.approx(tokens, rel=1e-3)
    assert cost["memory_parts_bytes"]["states"] == 16 * parameters // (8 if "7b" in name else 64)
    assert list(tmp_path.iterdir()) == []


def test_quickstart_is_found_by_name_and_takes_its_vocabulary_from_the_shards(make_shards, tmp_path):
    cost = run("quickstart/pretrain", make_shards(vocab_size=8192), tmp_path / "out", dry_run=True)
    assert cost["config"]["model"]["vocab_size"] == 8192
    assert cost["parameters"] < 10_000_000


def test_a_vocabulary_of_absent_shards_names_where_they_were_looked_for(make_shards, tmp_path):
    def cost(shards):
        with pytest.raises(ConfigError) as caught:
            run("olmo3_7b/pretrain", shards, tmp_path / "out", "model.vocab_size=null", dry_run=True)
        assert caught.value.key == "--shards" and caught.value.got == str(shards)
        assert "manifest.json" in str(caught.value) and "model.vocab_size is null" in str(caught.value)
        return caught.value.hint

    assert "dolma-py tokenize" in cost(tmp_path / "absent")
    made = make_shards()
    corpus = tmp_path / "corpus"
    (corpus / "tokens").mkdir(parents=True)
    made.rename(corpus / "tokens" / "mine")
    assert cost(corpus) == f"Use: --shards {corpus}/tokens/mine"


def test_every_packaged_config_loads():
    names = sorted(path.relative_to(CONFIG_FOLDER).with_suffix("").as_posix() for path in CONFIG_FOLDER.rglob("*.yaml"))
    assert names == [
        "olmo3_32b/instruct-dpo", "olmo3_32b/instruct-sft", "olmo3_32b/longcontext", "olmo3_32b/midtrain_1", "olmo3_32b/midtrain_2",
        "olmo3_32b/pretrain", "olmo3_32b/think-dpo", "olmo3_32b/think-sft_1", "olmo3_32b/think-sft_2",
        "olmo3_7b/instruct-dpo", "olmo3_7b/instruct-sft", "olmo3_7b/longcontext", "olmo3_7b/midtrain", "olmo3_7b/pretrain",
        "olmo3_7b/think-dpo", "olmo3_7b/think-sft", "quickstart/dpo", "quickstart/pretrain", "quickstart/sft",
    ]  # fmt: skip
    for name in names:
        load_train_config(name, overrides=["model.vocab_size=128"], manifest=None)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.preset=olmo4", "model.preset"),
        ("model.vocab_size=256", "model.vocab_size"),
        ("data.batch_instanzes=3", "data.batch_instanzes"),
        ("run.steps=0", "run.steps"),
        ("run.steps=2", "schedule.warmup_steps"),
        ("data.micro_batch_instances=3", "data.micro_batch_instances"),
        ("model.num_kv_heads=3", "model.num_kv_heads"),
        ("model.head_dim=3", "model.head_dim"),
        ("schedule.total_steps=1", "schedule.total_steps"),
        ("optimizer.skip_window_steps=8", "optimizer.skip_min_steps"),
    ],
)
def test_mistakes_are_named_by_key(override, key, make_shards, train_config_file, tmp_path):
    with pytest.raises(ConfigError) as caught:
        run(train_config_file, make_shards(), tmp_path / "out", override)
    assert caught.value.key == key
    assert len(str(caught.value)) < 400  # the one value, not the whole section


def test_an_unknown_config_lists_the_known_ones():
    with pytest.raises(ConfigError, match="quickstart/pretrain"):
        find_config("quickstart/pretrian")


def test_the_back_end_of_attention_is_a_setting(make_shards, train_config_file, tmp_path):
    assert [choose_attention("auto", torch.device(kind)) for kind in ("cpu", "cuda")] == ["sdpa", "flex"]
    # what a run asks for reaches its model: this back end has no gradients on a CPU
    with pytest.raises(ConfigError, match="expected a GPU where gradients are needed"):
        run(train_config_file, make_shards(), tmp_path / "run", "run.attention=flex")
