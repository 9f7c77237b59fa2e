"""Sampling, batches of prompts against each alone, ends, and the command, from a run and from a folder in Hugging Face's form."""

import json
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError
from tests.saved_tensors import write_hf_copy
from tests.unit.train_bridge.test_train_evaluate import TEXTS, byte_tokenizer
from tests.unit.train_bridge.test_train_model import YARN, small_model
from train_bridge.generation import SamplingConfig, draw_tokens, generate_batch, token_probabilities
from train_bridge.run_export import export_hf
from train_bridge.run_generation import _open_source, generate
from train_bridge.run_training import train

PROMPTS = [[5], [17, 4, 80, 3, 3, 9, 60, 41, 22], [1, 2, 3, 4], [90, 0, 90]]
WAYS = {
    "greedy": {"temperature": 0.0, "top_p": 1.0},
    "sampled": {"temperature": 1.0, "top_p": 1.0},
    "top_p": {"temperature": 1.3, "top_p": 0.7},
    "top_k": {"temperature": 0.7, "top_k": 5, "top_p": 1.0},
    "both": {"temperature": 1.1, "top_k": 20, "top_p": 0.9},
}


def probabilities(logits, **values):
    settings = SamplingConfig(**{"temperature": 1.0, "top_p": 1.0, **values})
    return token_probabilities(torch.as_tensor(logits)[None], settings)[0]


def run_batch(model, prompts, *, seeds=None, end_ids=(), vocab_size=96, **sampling):
    seeds = list(range(len(prompts))) if seeds is None else seeds
    settings = SamplingConfig(**{"max_new_tokens": 12, **sampling})
    return generate_batch(model, prompts, sampling=settings, seeds=seeds, end_ids=end_ids, vocab_size=vocab_size)


def test_nucleus_keeps_the_fewest_tokens_that_suffice():
    logits = torch.log(torch.tensor([0.1, 0.5, 0.25, 0.15]))
    for top_p, expected in (
        (1.0, [0.1, 0.5, 0.25, 0.15]),
        (0.7, [0, 2 / 3, 1 / 3, 0]),
        (0.01, [0, 1, 0, 0]),
    ):
        assert probabilities(logits, top_p=top_p).tolist() == pytest.approx(expected, abs=1e-6)
    assert probabilities(logits, temperature=0.0).tolist() == [0, 1, 0, 0]
    cooled = probabilities(logits, temperature=0.5)
    assert float(cooled[1] / cooled[2]) == pytest.approx(4.0, rel=1e-5)
    assert probabilities(logits, top_k=2).tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0], abs=1e-6)
    # of the two that are left the first has 2 / 3 of the whole: top_p counts after top_k
    assert probabilities(logits, top_k=2, top_p=0.6).tolist() == [0, 1, 0, 0]
    assert probabilities(torch.zeros(4), top_k=2).tolist() == [0.5, 0.5, 0, 0]


@given(
    logits=st.lists(st.integers(-400, 400), min_size=2, max_size=20, unique=True),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_k=st.integers(0, 6),
    top_p=st.sampled_from([0.2, 0.55, 0.9, 1.0]),
)
def test_probabilities_are_those_of_transformers(logits, temperature, top_k, top_p):
    warpers = pytest.importorskip("transformers.generation.logits_process", reason="the peer is not installed")
    scores = torch.tensor([logits]) / 100
    expected = warpers.TemperatureLogitsWarper(temperature)(None, scores)
    expected = warpers.TopKLogitsWarper(top_k)(None, expected) if top_k else expected
    expected = warpers.TopPLogitsWarper(top_p)(None, expected) if top_p < 1 else expected
    got = probabilities(torch.tensor(logits) / 100, temperature=temperature, top_k=top_k, top_p=top_p)
    torch.testing.assert_close(got, torch.softmax(expected, dim=-1)[0], rtol=0, atol=1e-6)


def test_draws_invert_the_running_sum_and_spare_the_impossible():
    row = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    uniforms = torch.tensor([0.0, 0.2499, 0.25, 0.9, 1 - 2**-53], dtype=torch.float64)
    assert draw_tokens(row.expand(5, -1), uniforms).tolist() == [1, 1, 3, 3, 3]
    thirds = torch.full((1000, 3), 1 / 3)
    uniforms = torch.rand(1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    counts = draw_tokens(thirds, uniforms).bincount(minlength=3)
    # 1,000 draws: 333 each, deviation 15
    assert float((counts - 1000 / 3).abs().max()) < 60


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_equals_each_prompt_alone(way):
    """Prompts of four lengths, two of them shorter than the window, a seed each; the order of the batch changes nothing."""
    model = small_model(yarn=YARN)
    together = run_batch(model, PROMPTS, **WAYS[way])
    alone = [run_batch(model, [prompt], seeds=[seed], **WAYS[way])[0] for seed, prompt in enumerate(PROMPTS)]
    assert together == alone
    assert all(len(completion.ids) == 12 and not completion.has_ended for completion in together)
    turned = run_batch(model, PROMPTS[::-1], seeds=[3, 2, 1, 0], **WAYS[way])
    assert turned == together[::-1]


def test_the_seed_of_a_sequence_decides_it():
    model = small_model()
    same = run_batch(model, [PROMPTS[1]] * 3, seeds=[4, 5, 4], temperature=1.0)
    assert same[0] == same[2] != same[1]
    greedy = run_batch(model, [PROMPTS[1]] * 2, seeds=[4, 5], temperature=0.0)
    assert greedy[0] == greedy[1]


def test_greedy_generation_equals_reading_from_the_start_each_time():
    model = small_model(yarn=YARN)
    with torch.no_grad():
        for prompt, completion in zip(PROMPTS, run_batch(model, PROMPTS, temperature=0.0), strict=True):
            ids = list(prompt)
            for _ in range(12):
                ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
            assert completion.ids == ids[len(prompt) :]


def test_sequences_end_one_by_one_and_the_others_go_on():
    """Ends chosen among what is drawn without them, so that rows leave the batch at different times."""
    model = small_model()
    free = run_batch(model, PROMPTS, temperature=1.0, top_p=1.0, max_new_tokens=40)
    ends = {free[0].ids[2], free[1].ids[9], free[2].ids[30]}
    got = run_batch(model, PROMPTS, temperature=1.0, top_p=1.0, max_new_tokens=40, end_ids=ends)
    lengths = []
    for before, after in zip(free, got, strict=True):
        stop = min((place for place, drawn in enumerate(before.ids) if drawn in ends), default=40)
        assert after == (before.ids[:stop], stop < 40)
        lengths.append(stop)
    assert len(set(lengths)) >= 3  # the batch did shrink on the way


def test_padding_of_the_vocabulary_is_never_drawn():
    model = small_model()
    with torch.no_grad():
        model.lm_head.w_out.weight.zero_()
    drawn = run_batch(model, [[0]], temperature=1.0, top_p=1.0, vocab_size=3, max_new_tokens=40)[0].ids
    assert set(drawn) == {0, 1, 2}


@pytest.mark.parametrize(("prompts", "seeds"), [([], []), ([[1], []], [0, 1]), ([[1]], [0, 1])])
def test_a_batch_needs_an_id_and_a_seed_for_each(prompts, seeds):
    with pytest.raises(ValueError, match="a seed each"):
        run_batch(small_model(), prompts, seeds=seeds)


@pytest.fixture
def finished_run(make_shards, train_config_file, tmp_path):
    shards = make_shards(vocab_size=300)
    byte_tokenizer(shards / "tokenizer.json")
    train(config=str(train_config_file), shards=str(shards), output=str(tmp_path / "run"), overrides=[], dry_run=False)
    return tmp_path / "run"


def command(run, *, prompt=None, prompts=None, batch=32, seed=1, **sampling):
    settings = {"max_new_tokens": 20, "temperature": 1.0, **sampling}
    return generate(run=str(run), prompt=prompt, prompts=prompts, sampling=settings, batch=batch, seed=seed)


def test_the_command_repeats_with_its_seed(finished_run):
    first = command(finished_run, prompt="A short")
    assert first == command(finished_run, prompt="A short") != command(finished_run, prompt="A short", seed=2)
    assert command(finished_run, prompt="A", temperature=0.0) == command(
        finished_run, prompt="A", temperature=0.0, seed=2
    )
    assert command(finished_run, prompt="", max_new_tokens=1) is not None
    for key, value in (("temperature", -1.0), ("top_p", 0.0), ("max_new_tokens", 0), ("top_k", -1)):
        with pytest.raises(ConfigError, match=key):
            command(finished_run, prompt="A", **{key: value})


def test_a_file_of_prompts_gives_each_its_own_text_in_any_batch(finished_run, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    lines = [json.loads(line) for line in command(finished_run, prompts=str(path), batch=2).splitlines()]
    assert [line["prompt"] for line in lines] == TEXTS
    assert [line["text"] for line in lines] == [command(finished_run, prompt=text) for text in TEXTS]
    assert {line["end"] for line in lines} <= {"end_of_text", "max_new_tokens"}
    for content, problem in (("", "holds no prompt"), ('{"a": 1}\n', ":1: expected"), ('{"prompt": 1}\n', "got int")):
        path.write_text(content)
        with pytest.raises(DataError, match=problem):
            command(finished_run, prompts=str(path))
    with pytest.raises(ConfigError, match="either --prompt or --prompts"):
        command(finished_run)


def test_an_exported_run_gives_the_runs_text(finished_run, tmp_path):
    pytest.importorskip("transformers", reason="exports are compared with it")
    export_hf(run=str(finished_run), output=str(tmp_path / "hf"), dtype="float32")
    for prompt in ("", "A short text"):
        assert command(tmp_path / "hf", prompt=prompt) == command(finished_run, prompt=prompt)


def test_generation_ends_where_generation_config_says(finished_run, tmp_path):
    """A released chat model names the end of a turn there alone; its documents begin after config.json's id."""
    folder = write_hf_copy(finished_run, tmp_path / "hf")
    shutil.copyfile(finished_run / "tokenizer.json", folder / "tokenizer.json")
    config, path = json.loads((folder / "config.json").read_text()), folder / "generation_config.json"
    for values, expected in (
        ({"eos_token_id": [9, 7]}, (9, 7)), ({"eos_token_id": 7}, (7,)), ({"eos_token_id": None}, (0,)), ({}, (0,)),
    ):  # fmt: skip
        path.write_text(json.dumps(values))
        source = _open_source(str(folder))
        assert (source.end_ids, source.start_id) == (expected, config["eos_token_id"])
    path.unlink()
    text = {"prompt": "A short text", "temperature": 0.0}
    whole = command(folder, **text)
    assert whole == command(finished_run, **text)
    assert whole
    # whatever comes first is an end
    path.write_text(json.dumps({"eos_token_id": list(range(config["vocab_size"]))}))
    assert command(folder, **text) == ""
    for wrong in (config["vocab_size"], -1, True, "9", [], [0, None]):
        path.write_text(json.dumps({"eos_token_id": wrong}))
        with pytest.raises(DataError, match="generation_config.json: eos_token_id: expected ids below"):
            command(folder, prompt="A")
