"""Validation between steps: right values, no trace in the training, the same on any number of ranks."""

import functools
import json
import math
import os
import subprocess
import sys

import pytest
import torch

from dolma_py.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.made_shards import write_byte_tokenizer
from train_bridge.checkpoint import list_checkpoints
from train_bridge.compilation import compile_function
from train_bridge.manifest import read_manifest
from train_bridge.model import build_model
from train_bridge.parallel_mesh import Layout
from train_bridge.run_evaluation import evaluate
from train_bridge.run_training import train
from train_bridge.train_config import load_train_config
from train_bridge.validation import Group, ValidationTexts, Validator, read_validation_texts

pytest.importorskip("tokenizers")
HELDOUT = {
    "web": ["A short text.", "Zwei Zeilen,\nmit \u00e4\u00f6\u00fc und \U0001f600.", ""],
    "code": ["long " * 30, "x = 1\n"],
}
ITEMS = [{"id": "a", "question": "How many?", "answer": "42"}, {"id": "b", "question": "Who?", "answer": "\u00c4nne"}]
EVERY_4 = "validation={every_steps: 4, items: %s}"


@pytest.fixture
def shards(make_shards):
    folder = make_shards(vocab_size=257, heldout=HELDOUT)
    write_byte_tokenizer(folder)
    return folder


@pytest.fixture
def items(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    return path


def run(config, shards, output, *overrides):
    train(config=str(config), shards=str(shards), output=str(output), overrides=list(overrides), dry_run=False)


def read_lines(output):
    return [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()]


def checkpoint_bytes(output):
    """Every file of the last checkpoint: weights, moments, random state, place in the data."""
    folder = list_checkpoints(output)[-1]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_with_validation_has_the_bytes_of_one_without(shards, items, train_config_file, tmp_path):
    run(train_config_file, shards, tmp_path / "plain")
    run(train_config_file, shards, tmp_path / "validated", EVERY_4 % items)
    assert checkpoint_bytes(tmp_path / "plain") == checkpoint_bytes(tmp_path / "validated")
    manifests = [(tmp_path / name / "manifest.json").read_bytes() for name in ("plain", "validated")]
    assert manifests[0] == manifests[1]
    assert [line["step"] for line in read_lines(tmp_path / "validated")] == [4, 8, 10]


def test_the_last_line_is_what_the_evaluation_says(shards, items, train_config_file, tmp_path):
    """dolma-py eval computes the same from the checkpoint, by other batches and sums."""
    run(train_config_file, shards, tmp_path / "run", EVERY_4 % items)
    line = read_lines(tmp_path / "run")[-1]
    told = evaluate(
        run=str(tmp_path / "run"), shards=str(shards), items=str(items), output=None, max_docs_per_source=None
    )
    for name in ("web", "code"):
        mine, theirs = line["sources"][name], told["sources"][name]
        for key in ("documents", "bytes", "tokens", "documents_not_kept_by_tokenizer"):
            assert mine[key] == theirs[key], key
        assert mine["bits_per_byte"] == pytest.approx(theirs["bits_per_byte"], rel=1e-5)
        assert mine["loss"] == pytest.approx(mine["bits_per_byte"] * math.log(2) * mine["bytes"] / mine["tokens"])
        assert mine["perplexity"] == pytest.approx(math.exp(mine["loss"]))
    assert line["sources"]["web"]["documents_not_kept_by_tokenizer"] == 1  # the empty one
    assert line["all_documents"]["bits_per_byte"] == pytest.approx(told["all_documents"]["bits_per_byte"], rel=1e-5)
    assert line["items"] == {
        "items": 2, "bits_per_byte_mean_over_items": pytest.approx(told["items"]["mean_over_items"], rel=1e-5)
    }  # fmt: skip


def test_sources_of_a_mixture_are_told_apart(shards, make_shards, train_config_file, tmp_path):
    other = make_shards(name="other", vocab_size=257, heldout={"web": ["Other text of the same source's name."]})
    write_byte_tokenizer(other)
    sources = "data.sources={a: {path: ., target_ratio: 1}, b: {path: ../other, target_ratio: 1}}"
    limit = "validation={every_steps: 10, max_docs_per_source: 1}"
    run(train_config_file, shards, tmp_path / "run", sources, limit)
    (line,) = read_lines(tmp_path / "run")
    assert list(line["sources"]) == ["a/code", "a/web", "b/web"]
    assert [source["documents"] for source in line["sources"].values()] == [1, 1, 1]


def validator(config_file, shards, output, rank, num_ranks, *, layout=None, **overrides):
    settings = load_train_config(
        str(config_file),
        overrides=[f"{key}={value}" for key, value in overrides.items()],
        manifest=read_manifest(shards),
    )
    texts = read_validation_texts(settings, str(shards), read_manifest(shards))
    layout = layout or Layout(replicate=num_ranks, rank=rank)
    parts = {"autocast_dtype": None, "device": torch.device("cpu"), "first_step": 0}
    return Validator(settings, texts, output, **parts, layout=layout), settings


def test_any_number_of_ranks_gives_the_same_bits(shards, items, train_config_file, tmp_path, monkeypatch):
    """Each of four ranks scores its share; what they tell each other is simulated by the sum of what they have."""
    setting = {"validation": f"{{every_steps: 1, items: {items}, batch_tokens: 40}}"}
    alone, settings = validator(train_config_file, shards, tmp_path, 0, 1, **setting)
    model = build_model(settings.model, seed=0)
    expected = alone.validate(1, model)
    told = []
    monkeypatch.setattr("train_bridge.validation.global_sum", lambda tensor: told.append(tensor.clone()) or tensor)
    ranks = [validator(train_config_file, shards, tmp_path, rank, 4, **setting)[0] for rank in range(4)]
    for rank in ranks:
        rank._score(model)
    assert len(alone.batches) % 4  # some rank has one batch less
    numbers = [sorted(number for batch in alone.batches[rank::4] for number in batch.numbers) for rank in range(4)]
    assert [torch.nonzero(scores).flatten().tolist() for scores in told] == numbers
    monkeypatch.setattr("train_bridge.validation.global_sum", lambda tensor: torch.stack(told).sum(dim=0))
    assert ranks[1].validate(1, model) == expected


def test_padding_and_batches_change_nothing(shards, train_config_file, tmp_path):
    every = {"validation": "{every_steps: 1}"}
    wide, settings = validator(train_config_file, shards, tmp_path, 0, 1, **every)
    narrow, _ = validator(train_config_file, shards, tmp_path, 0, 1, validation="{every_steps: 1, batch_tokens: 1}")
    model = build_model(settings.model, seed=0)
    assert len(narrow.batches) == len(narrow.windows) > len(wide.batches) == 1
    losses = [[source["loss"] for source in one.validate(1, model)["sources"].values()] for one in (wide, narrow)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert model.training


def long_shards(make_shards, name="long"):
    """Documents of 1 to 700 tokens, one byte each."""
    folder = make_shards(name=name, vocab_size=257, heldout={"web": ["x" * size for size in range(1, 700, 37)]})
    write_byte_tokenizer(folder)
    return folder


def values_and_shapes(one, model, monkeypatch):
    """What a validation says, and the shapes of what goes through the model."""
    shapes, run_blocks = [], model._run_blocks

    def see(ids_BT, **options):
        shapes.append(tuple(ids_BT.shape))
        return run_blocks(ids_BT, **options)

    monkeypatch.setattr(model, "_run_blocks", see)
    values = one.validate(1, model)
    monkeypatch.undo()
    return values, shapes


def test_memory_is_bounded_and_shapes_are_few_where_they_are_compiled(
    make_shards, train_config_file, tmp_path, monkeypatch
):
    """Padding counts in batch_tokens; windows of all sources and lengths make a shape for each doubling."""
    shards = long_shards(make_shards)
    common = {"data.sequence_tokens": 600, "validation": "{every_steps: 1, batch_tokens: 1000}"}
    plain, settings = validator(train_config_file, shards, tmp_path, 0, 1, **common)
    few, _ = validator(train_config_file, shards, tmp_path, 0, 1, **common, parallel="{compile: true}")
    model = build_model(settings.model, seed=0)
    expected, any_shapes = values_and_shapes(plain, model, monkeypatch)
    found, shapes = values_and_shapes(few, model, monkeypatch)
    assert max(rows * tokens for rows, tokens in shapes) <= 1000
    assert set(shapes) == {(1, 600), (1, 512), (3, 256), (7, 128)} and len(set(any_shapes)) > 8
    assert found["sources"]["web"] == {
        key: pytest.approx(value, rel=1e-6) for key, value in expected["sources"]["web"].items()
    }


def test_one_row_goes_through_the_model_whatever_batch_tokens_says(make_shards, train_config_file, tmp_path):
    shards = long_shards(make_shards)
    settings = {"data.sequence_tokens": 600, "parallel": "{compile: true}"}
    one, _ = validator(
        train_config_file, shards, tmp_path, 0, 1, **settings, validation="{every_steps: 1, batch_tokens: 1}"
    )
    assert {(batch.num_rows, batch.num_tokens) for batch in one.batches} == {(1, 600), (1, 512), (1, 256), (1, 128)}


def test_a_context_group_can_share_every_row(make_shards, train_config_file, tmp_path):
    """Two pieces a rank, each a whole number of attention's blocks but in rows as long as the training's."""
    shards = long_shards(make_shards)
    common = {"data.sequence_tokens": 600, "validation": "{every_steps: 1, batch_tokens: 1}"}
    one, _ = validator(train_config_file, shards, tmp_path, 0, 1, layout=Layout(context=2), **common)
    assert {batch.num_tokens for batch in one.batches} == {600, 512}


def test_flex_has_few_shapes_on_a_gpu_alone(make_shards, train_config_file, tmp_path):
    shards = long_shards(make_shards)
    one, settings = validator(train_config_file, shards, tmp_path, 0, 1, validation="{every_steps: 1}")
    parts = {"autocast_dtype": None, "first_step": 0, "layout": Layout()}

    def shapes(backend, device):
        made = Validator(settings, one.texts, tmp_path, **parts, attention_backend=backend, device=torch.device(device))
        return [(batch.num_rows, batch.num_tokens) for batch in made.batches]

    assert len(set(shapes("flex", "cuda"))) == 1  # sequences of 16 tokens
    assert shapes("flex", "cpu") == shapes("sdpa", "cuda") == [(len(one.windows), 16)]


def test_items_go_through_the_model_together(shards, train_config_file, tmp_path, monkeypatch):
    """Values are those of one item at a time."""
    path = tmp_path / "many.jsonl"
    many = [{**item, "question": item["question"] * (1 + number)} for number, item in enumerate(ITEMS * 20)]
    path.write_text("".join(json.dumps(item) + "\n" for item in many))
    common = {"data.sequence_tokens": 64}
    together, settings = validator(
        train_config_file, shards, tmp_path, 0, 1, **common, validation=f"{{every_steps: 1, items: {path}}}"
    )
    alone, _ = validator(
        train_config_file,
        shards,
        tmp_path,
        0,
        1,
        **common,
        validation=f"{{every_steps: 1, items: {path}, batch_tokens: 1}}",
    )
    model = build_model(settings.model, seed=0)
    found, shapes = values_and_shapes(together, model, monkeypatch)
    expected, many_shapes = values_and_shapes(alone, model, monkeypatch)
    assert (len(shapes), len(many_shapes)) == (1, len(alone.windows)) and len(alone.windows) > 40
    assert found["items"] == {key: pytest.approx(value, rel=1e-6) for key, value in expected["items"].items()}
    assert found["items"]["items"] == 40


def test_a_function_with_too_many_kinds_is_an_error(monkeypatch):
    """torch would go on uncompiled without a word: with attention, all scores in memory."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    monkeypatch.setattr("train_bridge.compilation.NUM_KINDS", 3)
    with torch._dynamo.config.patch(recompile_limit=3, fail_on_recompile_limit_hit=False):
        compiled = compile_function(lambda x: x + 1, dynamic=False)
        for size in range(2, 5):
            compiled(torch.zeros(size))
        with pytest.raises(Exception, match="recompile_limit"):
            compiled(torch.zeros(9))


def test_a_group_without_texts_says_so(tmp_path, train_config_file, shards):
    one, settings = validator(train_config_file, shards, tmp_path, 0, 1, validation="{every_steps: 1}")
    empty = ValidationTexts({"web": Group([], 0, 0, 0, num_lossy=2)}, [])
    parts = {"autocast_dtype": None, "device": torch.device("cpu"), "first_step": 0, "layout": Layout()}
    values = Validator(settings, empty, tmp_path, **parts).validate(1, build_model(settings.model, seed=0))
    assert values["sources"]["web"] == values["all_documents"]
    assert values["all_documents"] == {"documents": 0, "bytes": 0, "tokens": 0, "documents_not_kept_by_tokenizer": 2}


def test_nothing_to_validate_on_is_told(make_shards, train_config_file, tmp_path):
    bare = make_shards()
    with pytest.raises(ConfigError, match="validation.every_steps: expected held-out documents in the manifest of"):
        run(train_config_file, bare, tmp_path / "run", "validation={every_steps: 4}")
    without_tokenizer = make_shards(name="other", heldout={"web": ["x"]})
    with pytest.raises(ConfigError, match="expected tokenizer.json beside the shards"):
        run(train_config_file, without_tokenizer, tmp_path / "run2", "validation={every_steps: 4}")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["{}", "{shard: 2}", "{context: 2}", "{tensor: 2}"])
def test_two_processes_validate_as_one(shards, items, train_config_file, tmp_path, layout):
    """The values are those of one process but for what two ranks' sums of gradients differ in."""
    every = EVERY_4 % items
    run(train_config_file, shards, tmp_path / "one", every, "model.num_kv_heads=2")
    command = [sys.executable, "-m", "dolma_py", "train", "--config", str(train_config_file), "--shards", str(shards)]
    command += ["--output", str(tmp_path / "two"), "--set", every, "--set", f"parallel={layout}"]
    command += ["--set", "model.num_kv_heads=2"]  # heads that two ranks can share
    port = str(20000 + os.getpid() % 20000)
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [subprocess.Popen(command, cwd=REPOSITORY, env={**shared, "RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in ranks] == [0, 0]
    one, two = read_lines(tmp_path / "one"), read_lines(tmp_path / "two")
    assert [line["step"] for line in two] == [line["step"] for line in one]
    for left, right in zip(one, two, strict=True):
        assert right["all_documents"]["loss"] == pytest.approx(left["all_documents"]["loss"], rel=1e-5)
