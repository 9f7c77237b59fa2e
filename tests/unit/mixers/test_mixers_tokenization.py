"""mixers.tokenization: round trips, special tokens stay text, the same bytes for any number of threads, errors."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError, SchemaError
from mixers import tokenization

ODD = [
    "",
    "a",
    " ",
    "plain words, 12345 numbers and 'll don't",
    "line\r\nbreaks\r and\n\n\n tabs\t\t end \t",
    "control \x00\x01\x1f\x7f\x85\u2028 characters",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 and marks e\u0301 \u0928\u092e\u0938\u094d\u0924\u0947",
    "<|endoftext|>",
    "a<|endoftext|>b<|pad|> <|endoftext|><|endoftext|>",
    "\ufeffbom \ufffd \uffff",
    "\u0130\u0131 \u00df \u1e9e \ufb01",
    "x" * 100_000,
    "\n" * 5_000,
]
CORPUS = ["the quick brown fox jumps over the lazy dog. " * 20, "def f(x):\n    return x + 1\n" * 20, *ODD[:8]]
CONFIG = tokenization.BpeConfig(vocab_size=400)


@pytest.fixture(scope="module")
def tokenizer():
    return tokenization.build_tokenizer(tokenization.train_bpe(CORPUS, CONFIG))


def test_special_tokens_come_first(tokenizer):
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
    assert 258 < tokenizer.vocab_size <= 400
    assert tokenizer.dtype == np.dtype("<u2")
    assert tokenization.choose_dtype(65_536) == np.dtype("<u2") and tokenization.choose_dtype(65_537) == np.dtype("<u4")


def test_documents_come_back_byte_for_byte(tokenizer):
    ids, offsets = tokenization.encode_batch(tokenizer, ODD)
    assert ids.dtype == np.uint32 and offsets.dtype == np.int64 and offsets[-1] == len(ids)
    back = [tokenization.decode_ids(tokenizer, ids[offsets[i] : offsets[i + 1]]) for i in range(len(ODD))]
    assert [text.encode() for text in back] == [text.encode() for text in ODD]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_any_text_comes_back(tokenizer, texts):
    ids, offsets = tokenization.encode_batch(tokenizer, texts)
    back = [tokenization.decode_ids(tokenizer, ids[offsets[i] : offsets[i + 1]]) for i in range(len(texts))]
    assert back == texts
    assert np.flatnonzero(ids == 0).tolist() == (offsets[1:] - 1).tolist()


def test_text_never_becomes_a_special_token(tokenizer):
    ids, offsets = tokenization.encode_batch(tokenizer, ODD)
    assert np.flatnonzero(ids == tokenizer.eos_token_id).tolist() == (offsets[1:] - 1).tolist()
    assert not (ids == tokenizer.pad_token_id).any()
    # the backend would do it if it were asked in the usual way
    tokenizer.backend.encode_special_tokens = False
    try:
        assert 0 in tokenizer.backend.encode("a<|endoftext|>b").ids
    finally:
        tokenizer.backend.encode_special_tokens = True


def test_ids_do_not_depend_on_batches(tokenizer, monkeypatch):
    ids, offsets = tokenization.encode_batch(tokenizer, ODD)
    monkeypatch.setattr(tokenization, "BATCH_CHARS", 3)
    single = tokenization.encode_batch(tokenizer, pa.array(ODD, pa.large_string()))
    assert np.array_equal(ids, single[0]) and np.array_equal(offsets, single[1])
    part = tokenization.encode_batch(tokenizer, pa.array(ODD, pa.string()).slice(3, 2))
    assert np.array_equal(part[0], ids[offsets[3] : offsets[5]])


def test_no_texts_and_empty_texts(tokenizer):
    ids, offsets = tokenization.encode_batch(tokenizer, [])
    assert ids.dtype == np.uint32 and len(ids) == 0 and offsets.tolist() == [0]
    ids, offsets = tokenization.encode_batch(tokenizer, ["", ""])
    assert ids.tolist() == [0, 0] and offsets.tolist() == [0, 1, 2]


def test_what_is_not_text_is_refused(tokenizer):
    with pytest.raises(DataError) as caught:
        tokenization.encode_batch(tokenizer, ["fine", "lone \ud800 surrogate"])
    assert caught.value.row == 1
    with pytest.raises(SchemaError) as refused:
        tokenization.encode_batch(tokenizer, pa.array(["a", None]))
    assert "row 1" in refused.value.got


TRAIN = """
import sys
from mixers.tokenization import BpeConfig, train_bpe
texts = [f"word{i % 97} and other{i % 31} things-{i} \\n\\tin line {i * 7919 % 1000}" for i in range(4000)]
texts = texts[::-1] if sys.argv[1] == "reversed" else texts
sys.stdout.buffer.write(train_bpe(iter(texts), BpeConfig(vocab_size=1000)))
"""


def train_in_process(num_threads, order):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(num_threads), "TOKENIZERS_PARALLELISM": "true"}
    command = [sys.executable, "-c", TRAIN, order]
    root = Path(__file__).parents[3]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, check=True, timeout=120).stdout


def test_training_gives_the_same_bytes_for_any_threads_and_order():
    outputs = [train_in_process(1, "straight"), train_in_process(2, "straight"), train_in_process(2, "reversed")]
    assert len(json.loads(outputs[0])["model"]["vocab"]) == 1000
    assert len({hashlib.sha256(output).hexdigest() for output in outputs}) == 1


def test_files_folders_and_fingerprints(tokenizer, tmp_path):
    content = tokenization.train_bpe(CORPUS, CONFIG)
    (tmp_path / "tokenizer.json").write_bytes(content)
    loaded = tokenization.load_tokenizer(str(tmp_path))
    assert loaded.fingerprint == tokenizer.fingerprint
    compact = tmp_path / "compact.json"
    compact.write_text(json.dumps(json.loads(content)))
    assert tokenization.load_tokenizer(str(compact)).fingerprint == tokenizer.fingerprint
    changed = json.loads(content)
    changed["model"]["merges"].pop()
    assert tokenization.build_tokenizer(json.dumps(changed).encode()).fingerprint != tokenizer.fingerprint


def test_foreign_settings_do_not_leak_in():
    values = json.loads(tokenization.train_bpe(CORPUS, CONFIG))
    values["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    values["padding"] = {
        "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
        "pad_token": "<|pad|>",
    }  # fmt: skip
    loaded = tokenization.build_tokenizer(json.dumps(values).encode())
    ids, _ = tokenization.encode_batch(loaded, ["the quick brown fox"])
    assert tokenization.decode_ids(loaded, ids) == "the quick brown fox"


def test_an_end_token_that_text_turns_into_is_refused():
    values = json.loads(tokenization.train_bpe(CORPUS, CONFIG))
    for token in values["added_tokens"]:
        token["special"] = False
    with pytest.raises(ConfigError) as caught:
        tokenization.build_tokenizer(json.dumps(values).encode())
    assert caught.value.key == "eos_token" and caught.value.got == "<|endoftext|>"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"model": 5}'])
def test_what_is_no_tokenizer_is_refused(content):
    with pytest.raises(ConfigError) as caught:
        tokenization.build_tokenizer(content, where="bad.json")
    assert caught.value.key == "tokenizer" and caught.value.got == "bad.json"


def test_missing_files_tokens_and_the_hub_offline(tokenizer, tmp_path):
    with pytest.raises(ConfigError):
        tokenization.load_tokenizer(str(tmp_path / "missing.json"))
    content = tokenization.train_bpe(CORPUS, CONFIG)
    with pytest.raises(ConfigError) as caught:
        tokenization.build_tokenizer(content, eos_token="<eot>")
    assert caught.value.got == "<eot>"
    program = (
        "from dolma_py.errors import ConfigError\n"
        "from mixers.tokenization import load_tokenizer\n"
        "try:\n    load_tokenizer('nobody/nothing')\nexcept ConfigError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=Path(__file__).parents[3], capture_output=True, timeout=60
    )
    assert b"nobody/nothing" in result.stdout and b"Download its tokenizer.json" in result.stdout


@pytest.mark.parametrize(
    "values",
    [
        {"vocab_size": 258, "special_tokens": ("a", "b", "c")},
        {"special_tokens": ("a", "a")},
        {"special_tokens": ("a", "")},
    ],
)
def test_impossible_training_settings_are_refused(values):
    with pytest.raises(ConfigError):
        tokenization.train_bpe(["x"], tokenization.BpeConfig(**values))
