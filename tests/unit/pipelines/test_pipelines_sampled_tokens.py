"""Tokens sampled = tokens written, by source: compared by the step, and told in the manifest where they cannot be equal."""

from __future__ import annotations

import json

import pytest

from dolma_py.errors import ConfigError
from mixers.tokenization import BpeConfig, build_tokenizer, encode_batch, train_bpe
from pipelines import steps
from pipelines.job_main import run_step_file
from pipelines.sampled_tokens import SampledSource, check_written, describe_written
from tests import tiny_corpus
from tests.jobs import made_mix

SPECIALS = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The corpus of made_mix with the tokens that its texts have, and a tokenizer beside it; planned and sampled."""
    root = tmp_path_factory.mktemp("mix") / "corpus"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "run_units", made_mix.run_in_order)
        rows = made_mix.write(root, num_docs=60)
        content = train_bpe([row["text"] for row in rows], BpeConfig(vocab_size=300, special_tokens=SPECIALS))
        (root.parent / "tokenizer.json").write_bytes(content)
        ids, offsets = encode_batch(build_tokenizer(content), [row["text"] for row in rows])
        values = [
            {name: row[name] for name in made_mix.SCORES.names} | {"tokens": int(end - start)}
            for row, start, end in zip(rows, offsets[:-1], offsets[1:], strict=True)
        ]
        groups = [[values[20 * s : 20 * s + 10], values[20 * s + 10 : 20 * s + 20]] for s in range(3)]
        made = tiny_corpus.Corpus(str(root))
        tiny_corpus.write_attributes(made, "scores-v1", groups, made_mix.SCORES)
        made_mix.plan(root, {"heldout_docs": 2}, budget=int(len(ids) * 1.5), plan={"token_budget": int(len(ids) * 1.5)})
        made_mix.sample(root, {"heldout_docs": 2})
        yield root


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(steps, "run_units", made_mix.run_in_order)


def tokenize(root, name, **settings):
    step = {"mix": name, "tokenizer": str(root.parent / "tokenizer.json")} | settings
    run_step_file("tokenize", {"corpus": str(root), "name": name, "step": step}, made_mix.OPTIONS)
    return json.loads((root / "tokens" / name / "manifest.json").read_text())


def test_tokens_written_are_those_sampled(corpus):
    made = tokenize(corpus, "same")
    assert set(made["mix"]) == {"code", "web"}
    for source, told in made["mix"].items():
        assert told["sampled_tokens"] == told["written_tokens"] == made["sources"][source]["tokens"] > 0
    sampled = sum(row["sampled_tokens"] for row in made_mix.read_table(corpus))
    assert made["tokens"] == sampled


def test_another_vocabulary_than_the_counted_one_stops_the_step(corpus):
    other = corpus.parent / "other.json"
    other.write_bytes(train_bpe(["text 0.1234567890 text"] * 5, BpeConfig(vocab_size=290, special_tokens=SPECIALS)))
    with pytest.raises(ConfigError, match="tokens were sampled") as caught:
        tokenize(corpus, "other", tokenizer=str(other))
    assert "tokenizer" in caught.value.key and not (corpus / "tokens" / "other" / "manifest.json").exists()
    made = tokenize(corpus, "other", tokenizer=str(other), check_tokens=False)
    assert any(told["sampled_tokens"] != told["written_tokens"] for told in made["mix"].values())


def test_of_a_source_that_is_cut_the_difference_is_told(corpus):
    made = tokenize(corpus, "cut", fim={"sources": {"code": 1.0}}, tokens_per_part=1024)
    code, web = made["mix"]["code"], made["mix"]["web"]
    assert web["sampled_tokens"] == web["written_tokens"]
    # three tokens for each copy, and a word that a cut splits is never fewer tokens
    assert code["written_tokens"] >= code["sampled_tokens"] + 3 * made["sources"]["code"]["documents"]
    assert made["sources"]["code"]["documents"] == sum(made["fim"]["documents"].values())


def test_a_view_that_lost_documents_after_the_sample_stops_the_step():
    sampled = {"web": SampledSource(100, 10)}
    check_written(sampled, {"web": {"tokens": 100, "documents": 10}}, uncut={"web"}, tokenizer="t")
    with pytest.raises(ConfigError, match="the view has 9 of them"):
        check_written(sampled, {"web": {"tokens": 90, "documents": 9}}, uncut=set(), tokenizer="t")
    with pytest.raises(ConfigError, match="0 copies of this source were sampled"):
        check_written({}, {"web": {"tokens": 90, "documents": 9}}, uncut={"web"}, tokenizer="t")
    with pytest.raises(ConfigError, match="the view has 0"):
        check_written(sampled, {}, uncut={"web"}, tokenizer="t")
    assert describe_written({"web": {"rate": 1.0}}, None, {}) == {"web": {"rate": 1.0, "written_tokens": 0}}
