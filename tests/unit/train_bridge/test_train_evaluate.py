"""Bits per byte, windows, continuations, zstandard, whole evaluations."""

import json
import math

import pytest
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError
from train_bridge.compression import zstd_bits_given_contexts, zstd_bits_per_byte
from train_bridge.evaluate import (
    bits_per_byte,
    continuation_window,
    document_windows,
    doubled_lengths,
    plan_batches,
    score_windows,
)
from train_bridge.model import ModelConfig, build_model
from train_bridge.run_evaluation import evaluate
from train_bridge.run_training import train
from train_bridge.text_tokenizer import TextTokenizer

tokenizers = pytest.importorskip("tokenizers")
SHAPE = {"d_model": 16, "mlp_hidden": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8}
TEXTS = ["A short text.", "Zwei Zeilen,\nmit \u00e4\u00f6\u00fc und \U0001f600.", "long " * 40]
ITEMS = [
    {"id": "a", "question": "How many?", "answer": "42", "passage": None},
    {"id": "b", "question": "Who " + "was it " * 60 + "?", "answer": "\u00c4nne", "passage": "Some lines."},
]


def byte_tokenizer(path):
    """Byte-level BPE of 300 entries; id 0 is <|endoftext|>."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(path))
    return TextTokenizer(path)


def zstd_of_items():
    """What eval.json must say of zstandard and ITEMS, from literal texts."""
    compress = zstandard.ZstdCompressor(level=19, write_checksum=False).compress
    contexts = ["Question: How many?\nAnswer:", f"Some lines.\n\nQuestion: {ITEMS[1]['question']}\nAnswer:"]
    answers = [b" 42", " \u00c4nne".encode()]
    whole = [len(compress(context.encode() + answer)) for context, answer in zip(contexts, answers, strict=True)]
    added = [8 * (size - len(compress(context.encode()))) for size, context in zip(whole, contexts, strict=True)]
    return {
        "zstd_given_question_mean_over_items": (added[0] / 3 + added[1] / 6) / 2,
        "zstd_given_question_byte_weighted": sum(added) / 9,
        "zstd_each_answer_bits_per_byte": 8 * (len(compress(answers[0])) + len(compress(answers[1]))) / 9,
        "zstd_one_frame_bits_per_byte": 8 * len(compress(b"".join(answers))) / 9,
    }


def small_model(vocab_size=384, window=8):
    return build_model(ModelConfig(**SHAPE, vocab_size=vocab_size, window_tokens=window), seed=0)


@given(st.integers(0, 60), st.integers(1, 12), st.integers(0, 11))
def test_windows_predict_every_token_once(num_ids, window_tokens, overlap_tokens):
    overlap_tokens = min(overlap_tokens, window_tokens - 1)
    ids = list(range(1, num_ids + 1))
    windows = document_windows(3, ids, eos_token_id=0, window_tokens=window_tokens, overlap_tokens=overlap_tokens)
    assert [token for window in windows for token in window.ids[-window.num_scored :]] == ids
    for window in windows:
        assert window.text == 3
        assert len(window.ids) <= window_tokens + 1
        assert window.num_scored < len(window.ids)  # something stands before the first scored token
        first = window.ids[0]
        assert window.ids == list(range(first, first + len(window.ids)))


def test_bits_match_logits_of_each_window_alone():
    model = small_model()
    windows = document_windows(0, [5, 9, 300, 7, 7, 2, 8], eos_token_id=0, window_tokens=4, overlap_tokens=2)
    windows += document_windows(1, [3], eos_token_id=0, window_tokens=4, overlap_tokens=2)
    expected = [0.0, 0.0]
    for window in windows:
        log_p = torch.log_softmax(model(torch.tensor([window.ids[:-1]]))[0].double(), dim=1) / math.log(2)
        for place in range(len(window.ids) - 1 - window.num_scored, len(window.ids) - 1):
            expected[window.text] -= float(log_p[place, window.ids[place + 1]].detach())
    for batch_tokens in (1, 5, 4096):
        got = score_windows(model, windows, num_texts=2, batch_tokens=batch_tokens, chunk_tokens=3)
        assert got == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100), st.booleans())
def test_every_window_is_in_one_batch_that_fits(lengths, batch_tokens, has_few_shapes):
    row_lengths = doubled_lengths(4, 40) if has_few_shapes else []
    batches = plan_batches(lengths, batch_tokens=batch_tokens, row_lengths=row_lengths)
    assert sorted(number for batch in batches for number in batch.numbers) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[number] for number in batch.numbers)
        assert len(batch.numbers) <= batch.num_rows and longest <= batch.num_tokens
        assert batch.num_rows * batch.num_tokens <= max(batch_tokens, batch.num_tokens)
        assert batch.num_tokens == (
            next(size for size in row_lengths if size >= longest) if has_few_shapes else longest
        )
    assert not has_few_shapes or len({batch[1:] for batch in batches}) <= len(row_lengths)


def test_the_documented_numbers_of_passes_and_shapes():
    assert len(plan_batches([59] * 1000, batch_tokens=16384)) == 4
    lengths = {last: doubled_lengths(128, last) for last in (8192, 65536)}
    assert len(plan_batches([59] * 1000, batch_tokens=16384, row_lengths=lengths[8192])) == 8
    assert (len(lengths[8192]), len(lengths[65536])) == (7, 10)


def test_a_uniform_model_needs_log2_of_the_vocabulary():
    model = small_model(vocab_size=256)
    with torch.no_grad():
        model.lm_head.w_out.weight.zero_()
    windows = document_windows(0, [1] * 11, eos_token_id=0, window_tokens=4, overlap_tokens=0)
    assert score_windows(model, windows, num_texts=1) == pytest.approx([88.0])  # 11 tokens * 8 bits


def test_means_weigh_bytes_or_texts():
    got = bits_per_byte([2.0, 12.0], [1, 3])
    assert got.byte_weighted == 14 / 4
    assert got.mean_over_texts == (2 / 1 + 12 / 3) / 2


def test_continuation_begins_with_its_space(tmp_path):
    tokenizer = byte_tokenizer(tmp_path / "tokenizer.json")
    window = continuation_window(
        0, tokenizer, context="Question: How many?\nAnswer:", continuation=" 42", eos_token_id=0, window_tokens=100
    )
    assert tokenizer.decode(window.ids[-window.num_scored :]) == " 42"
    spaced = continuation_window(
        0, tokenizer, context="Question: How many?\nAnswer: ", continuation="42", eos_token_id=0, window_tokens=100
    )
    assert spaced == window  # a space at the end of the context moves to the continuation


def test_long_contexts_lose_their_left_end(tmp_path):
    tokenizer = byte_tokenizer(tmp_path / "tokenizer.json")
    whole = tokenizer.encode("x" * 50 + " 42")
    window = continuation_window(0, tokenizer, context="x" * 50, continuation=" 42", eos_token_id=0, window_tokens=10)
    assert window.ids == whole[-11:]
    alone = continuation_window(0, tokenizer, context="", continuation="42", eos_token_id=0, window_tokens=10)
    assert (alone.ids, alone.num_scored) == ([0, *tokenizer.encode("42")], len(tokenizer.encode("42")))


def test_zstd_counts_bits_of_frames():
    texts = [b"abc" * 100, b"", b"abc" * 100]
    alone, joined = zstd_bits_per_byte(texts)
    compress = zstandard.ZstdCompressor(level=19).compress
    assert alone == [8 * len(compress(text)) for text in texts]
    assert joined == 8 * len(compress(b"abc" * 200)) / 600
    assert zstd_bits_per_byte([]) == ([], 0.0)


def test_zstd_knows_the_context_of_a_continuation():
    contexts, answers = (
        [b"the answer is forty-two, again: ", b"", b"the answer is forty-two, again: "],
        [b"forty-two, again: "] * 3,
    )
    compress = zstandard.ZstdCompressor(level=19, write_checksum=False).compress
    header = len(compress(b""))
    got = zstd_bits_given_contexts(contexts, answers)
    assert got[0] == got[2] == 8 * (len(compress(contexts[0] + answers[0])) - len(compress(contexts[0])))
    assert got[1] == 8 * (len(compress(answers[1])) - header)
    assert got[0] < got[1] / 2  # a copy of what the context holds costs less than the letters
    assert zstd_bits_given_contexts([], []) == []


@pytest.fixture
def finished_run(make_shards, train_config_file, tmp_path):
    shards = make_shards(vocab_size=300, heldout={"prose": TEXTS, "empty": []})
    byte_tokenizer(shards / "tokenizer.json")
    output = tmp_path / "run"
    train(config=str(train_config_file), shards=str(shards), output=str(output), overrides=[], dry_run=False)
    return output, shards


def test_evaluation_counts_what_is_there(finished_run, tmp_path):
    output, shards = finished_run
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    result = evaluate(run=str(output), shards=str(shards), items=str(items), output=None, max_docs_per_source=None)
    assert json.loads((output / "eval.json").read_text()) == result
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    prose = result["sources"]["prose"]
    assert (prose["documents"], prose["bytes"]) == (3, num_bytes)
    assert result["sources"]["empty"]["documents"] == 0 and result["sources"]["empty"]["per_document"]["rows"] == []
    each = prose["per_document"]
    assert each["rows"] == [0, 1, 2] and each["bytes"] == [len(text.encode()) for text in TEXTS]
    assert sum(each["bits"]) / num_bytes == pytest.approx(prose["bits_per_byte"])
    assert result["all_documents"]["bits_per_byte"] == pytest.approx(prose["bits_per_byte"])
    compress = zstandard.ZstdCompressor(level=19, write_checksum=False).compress
    alone = sum(8 * len(compress(text.encode())) for text in TEXTS) / num_bytes
    assert prose["zstd_each_document_bits_per_byte"] == pytest.approx(alone)
    assert result["items"]["answer_bytes"] == len(" 42") + len(" \u00c4nne".encode())
    mean = sum(result["items"]["per_item"].values()) / 2
    assert result["items"]["mean_over_items"] == pytest.approx(mean)
    assert {name: value for name, value in result["items"].items() if name.startswith("zstd")} == zstd_of_items()
    again = evaluate(
        run=str(output), shards=str(shards), items=str(items), output=str(tmp_path / "e.json"), max_docs_per_source=None
    )
    assert again == result
    first = evaluate(run=str(output), shards=str(shards), items=None, output=None, max_docs_per_source=1)
    assert first["sources"]["prose"]["bytes"] == len(TEXTS[0])
    assert first["sources"]["prose"]["per_document"]["bits"] == pytest.approx(each["bits"][:1])
    # pairs are made where digests agree, and these are of other documents
    assert first["sources"]["prose"]["texts_digest"] != prose["texts_digest"]


def test_an_older_checkpoint_has_an_evaluation_of_its_own(finished_run):
    output, shards = finished_run
    common = {"shards": str(shards), "items": None, "output": None, "max_docs_per_source": None}
    newest = evaluate(run=str(output), **common)
    older = evaluate(run=f"{output}@5", **common)
    assert json.loads((output / "eval-step0000005.json").read_text()) == older
    assert (newest["checkpoint"], older["checkpoint"]) == ("step0000010", "step0000005")
    assert older["all_documents"]["bits_per_byte"] > newest["all_documents"]["bits_per_byte"]


def test_evaluation_refuses_what_does_not_fit(finished_run, tmp_path):
    output, shards = finished_run
    common = {"run": str(output), "shards": str(shards), "output": None, "max_docs_per_source": None}
    bad = tmp_path / "items.jsonl"
    bad.write_text('{"id": "a", "question": "b"}\n')
    with pytest.raises(DataError, match="items.jsonl:1: expected a JSON object with answer"):
        evaluate(**common, items=str(bad))
    with pytest.raises(ConfigError, match="expected the folder of a run with a checkpoint"):
        evaluate(**{**common, "run": str(tmp_path)}, items=None)
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["tokenizer"]["fingerprint"] = "other"
    (shards / "manifest.json").write_text(json.dumps(manifest))
    mine = json.loads((output / "config.json").read_text())["tokenizer_fingerprint"]
    with pytest.raises(ConfigError) as caught:
        evaluate(**common, items=None)
    assert (caught.value.key, caught.value.got) == ("--shards", str(shards))
    assert f"({mine}), these have another (other)" in str(caught.value) and "resume" not in str(caught.value)
