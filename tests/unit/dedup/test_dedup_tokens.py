"""Token ids of batches, and shingles of them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dedup.minhash import MinHashConfig, hash_bands
from dedup.shingles import ShingleConfig, shingle_documents
from dedup.text_rules import apply_rules
from dolma_py import token_ids as tokens
from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError
from mixers.tokenization import BpeConfig, train_bpe
from tests.reference import shingles as reference
from tests.strategies import any_bytes


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = ["the cat sat on the mat and the other cat did not", "numbers 123 456 and words, words, words"] * 4
    path.write_bytes(train_bpe(texts, BpeConfig(vocab_size=300)))
    return str(path)


def to_arrays(texts):
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)]).astype(np.int64)


@given(texts=st.lists(any_bytes(), max_size=5))
def test_ids_are_the_tokenizers_for_any_batches(tokenizer, texts):
    backend = Tokenizer.from_file(tokenizer)
    whole = tokens.encode_documents(TextView(*to_arrays(texts)), tokenizer=tokenizer)
    assert whole.ids.dtype == np.uint32
    found = [whole.ids[a:b].tolist() for a, b in pairwise(whole.offsets.tolist())]
    assert found == [backend.encode(text.decode(errors="replace"), add_special_tokens=False).ids for text in texts]


def test_a_batch_is_bounded_by_bytes(tokenizer, monkeypatch):
    texts = [b"the cat sat", b"", b"on the mat " * 9, b"and"]
    whole = tokens.encode_documents(TextView(*to_arrays(texts)), tokenizer=tokenizer)
    monkeypatch.setattr(tokens, "BATCH_BYTES", 12)  # now the third is larger than a batch
    pieces = tokens.encode_documents(TextView(*to_arrays(texts)), tokenizer=tokenizer)
    assert pieces.ids.tolist() == whole.ids.tolist()
    assert pieces.offsets.tolist() == whole.offsets.tolist()


@given(
    texts=st.lists(any_bytes(), max_size=4),
    num_items=st.integers(1, 4),
    hash_name=st.sampled_from(["rolling", "xxh64", "sha1"]),
    short=st.sampled_from(["one_shingle", "skip", "exact"]),
)
def test_shingles_of_tokens_equal_twin(tokenizer, texts, num_items, hash_name, short):
    config = ShingleConfig(
        unit="tokens",
        tokenizer=tokenizer,
        rules="duplodocus",
        num_items=num_items,
        hash=hash_name,
        short_documents=short,
    )
    found = shingle_documents(*to_arrays(texts), config=config)
    normal = apply_rules(*to_arrays(texts), rules="duplodocus")
    ids = tokens.encode_documents(normal, tokenizer=tokenizer)
    bytes_of = [ids.ids[a:b].astype("<u4").tobytes() for a, b in pairwise(ids.offsets.tolist())]
    expected = reference.shingle_normal(bytes_of, texts, config)
    assert [found.hashes[a:b].tolist() for a, b in pairwise(found.offsets.tolist())] == expected


def test_copies_meet_by_tokens_and_empty_texts_do_not(tokenizer):
    config = MinHashConfig(shingles=ShingleConfig(unit="tokens", tokenizer=tokenizer, rules="duplodocus"))
    text = b"the cat sat on the mat and the other cat did not like it"
    bands = hash_bands(
        *to_arrays([text, b"The cat, sat on the mat and the other cat did not like it!", b"", b"..."]), config=config
    )
    assert bands.keys[0].tolist() == bands.keys[1].tolist()
    assert bands.is_valid.tolist() == [True, True, False, False]


def test_a_tokenizer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.json"):
        tokens.load_backend(str(tmp_path / "nowhere.json"))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        tokens.load_backend(str(tmp_path))
