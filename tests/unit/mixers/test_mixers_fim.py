"""mixers.fim: cuts and arrangements against the twin, rates met, the text back from the tokens, errors."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError, SchemaError
from dolma_py.hashing import hash_ids
from mixers import fim, tokenization
from tests.reference import fim as reference

NAMES = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
HASH = st.integers(0, (1 << 64) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CORPUS = ["def f(x):\n    return x + 1\n" * 20, "the quick brown fox <|fim_prefix|> \u4e2d\u6587 \U0001f600" * 20]


@pytest.fixture(scope="module")
def tokenizer():
    config = tokenization.BpeConfig(vocab_size=320, special_tokens=("<|endoftext|>", *NAMES))
    return tokenization.build_tokenizer(tokenization.train_bpe(CORPUS, config))


@given(st.lists(st.tuples(TEXT.map(str.encode) | st.binary(max_size=9), HASH, HASH), max_size=6), st.binary(max_size=3))
@example([(b"", 0, (1 << 64) - 1), ("a\u00e9".encode(), (1 << 64) - 1, 0), (b"\x80\x80", 1 << 63, 0)], b"\x80")
def test_cut_texts_match_reference(rows, before):
    texts = [text for text, _, _ in rows]
    data = np.frombuffer(before + b"".join(texts), np.uint8)
    stop = len(before) + np.cumsum([len(text) for text in texts], dtype=np.int64)
    begin = stop - np.array([len(text) for text in texts], np.int64)
    hashes = [np.array([row[place] for row in rows], np.uint64) for place in (1, 2)]
    start, end = fim.cut_texts(data, begin, stop, *hashes)
    expected = reference.cut_texts(texts, *(values.tolist() for values in hashes))
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == expected


def test_a_megabyte_is_cut_as_the_twin_cuts_it():
    text = ("\U0001f600" * 250_000).encode()
    values = np.array([3 << 62], np.uint64), np.array([1 << 62], np.uint64)
    start, end = fim.cut_texts(np.frombuffer(text, np.uint8), np.zeros(1, np.int64), np.array([len(text)]), *values)
    assert [(start[0], end[0])] == reference.cut_texts([text], *(value.tolist() for value in values))
    assert start[0] % 4 == end[0] % 4 == 0 and 0 < start[0] < end[0] < len(text)


def test_ranges_outside_the_data_are_refused():
    with pytest.raises(SchemaError):
        fim.cut_texts(
            np.zeros(2, np.uint8), np.zeros(1, np.int64), np.array([3]), np.zeros(1, np.uint64), np.zeros(1, np.uint64)
        )


COPIES = st.lists(st.tuples(TEXT, st.integers(1, 3)), min_size=1, max_size=5)


@given(COPIES, st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 99))
def test_copies_match_reference_and_give_their_texts_back(tokenizer, rows, rate, spm_frac, seed):
    texts = pa.array([text for text, _ in rows], pa.large_string())
    index = np.repeat(np.arange(len(rows)), [number for _, number in rows])
    copy = np.concatenate([np.arange(number) for _, number in rows]).astype(np.int32)
    id_hash = hash_ids([str(row) for row in index], seed=0, name="document")
    tokens = fim.find_fim_tokens(tokenizer, fim.FimConfig())
    cuts = fim.choose_cuts(
        texts, index=index, copy=copy, id_hash=id_hash, rate=np.full(len(index), rate), spm_frac=spm_frac, seed=seed
    )
    ids, offsets = fim.encode_copies(tokenizer, texts, index=index, cuts=cuts, tokens=tokens)
    for place, row in enumerate(index.tolist()):
        text, mode = rows[row][0], fim.MODE_NAMES[cuts.mode[place]]
        own = ids[offsets[place] : offsets[place + 1]]
        start, end = int(cuts.start[place]), int(cuts.end[place])
        expected = reference.arrange(
            text.encode(), mode, start, end, lambda part: tokenizer.backend.encode(part.decode()).ids,
            eos=tokenizer.eos_token_id, **tokens._asdict(),
        )  # fmt: skip
        assert own.tolist() == expected
        assert fim.undo_fim(tokenizer, own, tokens) == (cuts.mode[place], start, end, text)
        assert rate > 0 or mode is None
        assert rate < 1 or mode is not None or not text


def test_a_copy_depends_on_nothing_but_its_document_and_number():
    texts = pa.array([f"text {row} \u00e9" for row in range(50)], pa.large_string())
    index, copy = np.repeat(np.arange(50), 2), np.tile(np.array([0, 1], np.int32), 50)
    id_hash = hash_ids([f"d{row}" for row in index], seed=0, name="document")
    common = {"spm_frac": 0.5, "seed": 4}
    whole = fim.choose_cuts(texts, index=index, copy=copy, id_hash=id_hash, rate=np.full(100, 0.5), **common)
    order = np.random.default_rng(1).permutation(100)[:37]
    some = fim.choose_cuts(
        texts, index=index[order], copy=copy[order], id_hash=id_hash[order], rate=np.full(37, 0.5), **common
    )
    assert all(np.array_equal(one[order], other) for one, other in zip(whole, some, strict=True))
    # of two copies of a document one may be cut and the other not
    assert (whole.mode[0::2] != whole.mode[1::2]).any()
    lower = fim.choose_cuts(texts, index=index, copy=copy, id_hash=id_hash, rate=np.full(100, 0.25), **common)
    assert set(np.flatnonzero(lower.mode)) < set(np.flatnonzero(whole.mode))


def test_cuts_are_those_of_before():
    """Other ones need another VERSION of pipelines.make_tokens: shards that were made keep what they say."""
    num = 9
    texts = pa.array(["def f(x):\n    return x \u00e9"] * num)
    id_hash = hash_ids([f"d{row // 3}" for row in range(num)], seed=0, name="document")
    cuts = fim.choose_cuts(
        texts, index=np.arange(num), copy=np.arange(num, dtype=np.int32) % 3, id_hash=id_hash, rate=np.full(num, 0.6), spm_frac=0.5,
        seed=5,
    )  # fmt: skip
    assert list(zip(*(values.tolist() for values in cuts), strict=True)) == [
        (1, 3, 3), (0, 0, 0), (0, 0, 0), (2, 21, 23), (0, 0, 0), (1, 1, 18), (1, 8, 12), (2, 16, 17), (2, 8, 15),
    ]  # fmt: skip


def test_rates_and_cuts_are_uniform():
    """Of 20,000 copies: shares within five standard deviations, cuts over eleven places by a chi-square of ten degrees of freedom."""
    num = 20_000
    index, texts = np.zeros(num, np.int64), pa.array(["0123456789"])
    id_hash = hash_ids([str(row) for row in range(num)], seed=0, name="document")
    cuts = fim.choose_cuts(
        texts, index=index, copy=np.zeros(num, np.int32), id_hash=id_hash, rate=np.full(num, 0.3), spm_frac=0.5, seed=8
    )
    cut = cuts.mode != fim.PLAIN
    assert abs(cut.mean() - 0.3) < 5 * (0.3 * 0.7 / num) ** 0.5
    assert abs((cuts.mode[cut] == fim.SPM).mean() - 0.5) < 5 * 0.5 / cut.sum() ** 0.5
    places = np.bincount(np.concatenate([cuts.start[cut], cuts.end[cut]]), minlength=11)
    assert len(places) == 11
    expected = 2 * cut.sum() / 11
    assert ((places - expected) ** 2 / expected).sum() < 35  # p of 1e-4


def test_missing_and_unusable_tokens_are_told_of(tokenizer):
    bare = tokenization.build_tokenizer(tokenization.train_bpe(CORPUS, tokenization.BpeConfig(vocab_size=300)))
    with pytest.raises(ConfigError, match=r"fim\.prefix_token.*<\|fim_prefix\|>"):
        fim.find_fim_tokens(bare, fim.FimConfig())
    with pytest.raises(ConfigError, match=r"steps\.shards\.fim\.suffix_token.*the"):
        fim.find_fim_tokens(tokenizer, fim.FimConfig(suffix_token="e"), "steps.shards.fim")
    with pytest.raises(ConfigError, match="three tokens"):
        fim.find_fim_tokens(tokenizer, fim.FimConfig(suffix_token="<|fim_prefix|>"))
    values = json.loads(tokenizer.backend.to_str())
    next(token for token in values["added_tokens"] if token["content"] == "<|fim_middle|>")["special"] = False
    spoken = tokenization.build_tokenizer(json.dumps(values).encode())
    with pytest.raises(ConfigError, match=r"fim\.middle_token.*no text"):
        fim.find_fim_tokens(spoken, fim.FimConfig())


def test_rates_are_checked():
    fim.check_rates(fim.FimConfig(sources={"code": 0.5}), ["code"])
    fim.check_rates(fim.FimConfig(sources={"code": 0.5}), None)
    with pytest.raises(ConfigError, match=r"fim\.sources:.*code.*prose"):
        fim.check_rates(fim.FimConfig(sources={"prose": 0.5}), ["code"])
    with pytest.raises(ConfigError, match=r"fim\.sources\.code.*1\.5"):
        fim.check_rates(fim.FimConfig(sources={"code": 1.5}), ["code"])


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (0, 2), (0, 2, 1, 0)])
def test_other_orders_are_no_cut_document(tokenizer, order):
    tokens = fim.find_fim_tokens(tokenizer, fim.FimConfig())
    ids = np.array([*(tokens[place] for place in order), tokenizer.eos_token_id], np.uint32)
    with pytest.raises(DataError, match="no cut document"):
        fim.undo_fim(tokenizer, ids, tokens)
