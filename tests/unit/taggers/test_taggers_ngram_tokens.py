"""Tokens and the hashes of n-grams equal their slow twins, and no place cuts a character."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.errors import ConfigError
from mixers.tokenization import BpeConfig, train_bpe
from taggers import ngram_index_kernels, ngram_tokens, ngram_tokens_kernels
from tests.reference import ngram_tokens as reference

TEXTS = [
    "The cat sat on the mat, and 12 other cats did not.",
    "don\u2019t \u00c9t\u00e9 \u65e5\u672c 100 caf\u00e9",
] * 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_bytes(train_bpe(TEXTS, BpeConfig(vocab_size=300)))
    return str(path)


def view(texts):
    return view_text(pa.array(texts, pa.large_string()))


def list_tokens(tokens):
    """[[(hash, start, end)]] of every text."""
    rows = list(zip(tokens.hashes.tolist(), tokens.starts.tolist(), tokens.ends.tolist(), strict=True))
    return [rows[a:b] for a, b in pairwise(tokens.offsets.tolist())]


def assert_same(found, expected):
    """Equal places; equal hashes where, and only where, tokens are equal."""
    assert [[place for _, *place in row] for row in found] == [[place for _, *place in row] for row in expected]
    pairs = {
        (token, name)
        for a, b in zip(found, expected, strict=True)
        for (token, *_), (name, *_) in zip(a, b, strict=True)
    }
    assert len(pairs) == len({token for token, _ in pairs}) == len({name for _, name in pairs})


@given(st.lists(st.text(max_size=60) | st.text("aB9 \u0301\u00b2\u65e5\u0130\u200b_-", max_size=30), max_size=4))
def test_words_match_reference(texts):
    assert_same(list_tokens(ngram_tokens.split_words(view(texts))), [reference.split_tokens(text) for text in texts])


@given(texts=st.lists(st.text(max_size=60) | st.sampled_from(TEXTS), max_size=4))
def test_pieces_match_reference(tokenizer, texts):
    backend = Tokenizer.from_file(tokenizer)
    found = list_tokens(ngram_tokens.encode_pieces(view(texts), tokenizer=tokenizer))
    assert_same(found, [reference.encode_pieces(text, backend) for text in texts])


@given(st.text(max_size=60) | st.text("\u023a\u0130\u212a\u2019 .a\x00", max_size=30))
def test_normal_text_matches_reference(text):
    normal, places = ngram_tokens.normalize_texts(view([text]))
    expected, bounds = reference.normalize(text)
    assert normal.data.tobytes().decode() == expected
    # a place for each byte there, for each character here
    widths = [len(char.encode()) for char in expected]
    assert places.T.tolist() == [list(place) for place, width in zip(bounds, widths, strict=True) for _ in range(width)]


@given(st.binary(max_size=60))
def test_bytes_that_are_not_utf8_become_utf8(blob):
    normal, places = ngram_tokens.normalize_texts(TextView(np.frombuffer(blob, np.uint8), np.array([0, len(blob)])))
    normal.data.tobytes().decode()
    assert (places <= len(blob)).all()


def test_pieces_do_not_depend_on_parts(tokenizer, monkeypatch):
    texts = ["", *TEXTS, "", "x"]
    whole = list_tokens(ngram_tokens.encode_pieces(view(texts), tokenizer=tokenizer))
    monkeypatch.setattr(ngram_tokens, "PART_BYTES", 60)
    assert list_tokens(ngram_tokens.encode_pieces(view(texts), tokenizer=tokenizer)) == whole
    assert list_tokens(ngram_tokens.encode_pieces(view([]), tokenizer=tokenizer)) == []
    # a slice's texts do not begin at byte 0
    column = pa.array(["q q", *texts], pa.large_string()).slice(1)
    assert list_tokens(ngram_tokens.encode_pieces(view_text(column), tokenizer=tokenizer)) == whole


def write_tokenizer(path, normalizer=None, byte_level=True):
    vocabulary = {char: number for number, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    made = Tokenizer(models.BPE(vocab=vocabulary if byte_level else {"a": 0, " ": 1}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False) if byte_level else None
    if normalizer is not None:
        made.normalizer = normalizer
    made.save(str(path))
    return str(path)


def test_a_vocabulary_that_is_not_of_bytes_is_refused(tmp_path):
    good = write_tokenizer(tmp_path / "good.json")
    assert len(ngram_tokens.encode_pieces(view(["caf\u00e9"]), tokenizer=good).hashes) == 6
    for path in (
        write_tokenizer(tmp_path / "normal.json", normalizers.NFC()),
        write_tokenizer(tmp_path / "letters.json", byte_level=False),
    ):
        with pytest.raises(ConfigError, match="byte-level") as error:
            ngram_tokens.encode_pieces(view(["b\u00e9"]), tokenizer=path)
        assert (error.value.key, error.value.got) == ("contamination.tokenizer", path)


def test_the_fingerprint_is_of_the_vocabulary_not_the_path(tokenizer, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_bytes(Path(tokenizer).read_bytes())
    other = write_tokenizer(tmp_path / "other.json")
    marks = [ngram_tokens.fingerprint_tokenizer(str(path)) for path in (tokenizer, copy, other)]
    assert marks[0] == marks[1] != marks[2]


def test_token_example():
    assert [token for token, _, _ in reference.split_tokens("It's 3.5")] == ["it", "s", "3", "5"]
    data = np.frombuffer(b"It's 3.5 IT", np.uint8)
    hashes, places = np.zeros(9, np.uint64), np.zeros((2, 9), np.int64)
    count = ngram_tokens_kernels.split_tokens_kernel(
        data, 0, 11, ngram_tokens.make_tables(), hashes, places[0], places[1]
    )
    assert count == 5
    assert hashes[0] == hashes[4]
    assert ngram_tokens.normalize_texts(view(["It's  3."]))[0].data.tobytes() == b" it s 3"


def test_hashes_stay_unsigned_and_depend_on_order():
    tokens = np.array([2**64 - 1, 2**63, 1, 5], np.uint64)
    forward = ngram_index_kernels.hash_ngram_kernel(tokens, 0, 3)
    assert forward != ngram_index_kernels.hash_ngram_kernel(tokens[2::-1].copy(), 0, 3)
    base, mask = int(ngram_index_kernels.NGRAM_BASE), 2**64 - 1
    total = ((2**64 - 1) * base**2 + 2**63 * base + 1) & mask
    assert forward == mix((total + 0x6E6772616D) & mask)
    value, power = ngram_index_kernels.sum_ngram_kernel(tokens, 3)
    assert (int(value), int(power)) == (total, base**3 & mask)
    assert (
        ngram_index_kernels.roll_kernel(np.uint64(value), tokens, 1, 3, np.uint64(power))
        == (2**63 * base**2 + base + 5) & mask
    )


def mix(key):
    """splitmix64 in Python integers."""
    mask = 2**64 - 1
    key = (key + 0x9E3779B97F4A7C15) & mask
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & mask
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & mask
    return key ^ (key >> 31)
