import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.errors import ConfigError
from mixers.tokenization import BpeConfig, train_bpe
from taggers.base import tag_checked
from taggers.gzip_ratio import GzipRatioTagger, GzipRatioTaggerConfig, gzip_ratios
from taggers.ngram_loops import LOOP_RULES, find_loops
from taggers.ngram_loops_kernels import find_loops_kernel
from taggers.registry import build_tagger
from tests import strategies
from tests.reference import ngram_loops as reference

UNITS = st.lists(
    st.sampled_from(["a", "b", "ab", "\u00e9", "\U0001f600", " ", "\n", "\u00a0", "x y "]), min_size=1, max_size=4
).map("".join)
LOOPED = st.lists(st.tuples(UNITS, st.integers(1, 40)), max_size=3).map(
    lambda parts: "".join(unit * count for unit, count in parts)
)
TEXTS = st.one_of(LOOPED, strategies.texts())


def view(texts):
    return view_text(pa.array(texts, pa.large_string()))


@given(st.lists(TEXTS, max_size=4), st.integers(1, 15))
def test_loops_match_reference(texts, max_period):
    words = [list(reference.find_word_loops(text, max_period)) for text in texts]
    assert find_loops(view(texts), max_period=max_period).tolist() == words
    in_bytes = [list(reference.find_loops(list(text.encode()), max_period)) for text in texts]
    assert find_loops(view(texts), items="bytes", max_period=max_period).tolist() == in_bytes


@given(st.lists(st.lists(st.integers(0, 2), max_size=60), max_size=4))
def test_loops_of_ids_match_reference(rows):
    offsets = np.cumsum([0, *map(len, rows)])
    loops = np.empty((len(rows), 2), np.int64)
    find_loops_kernel(np.array([item for row in rows for item in row], np.uint32), offsets, 5, loops)
    assert loops.tolist() == [list(reference.find_loops(row, 5)) for row in rows]


def test_kernel_example_and_broken_bytes():
    loops = np.empty((1, 2), np.int64)
    find_loops_kernel(np.frombuffer(b"xabababc", np.uint8), np.array([0, 8]), 13, loops)
    assert loops.tolist() == [[3, 2]]
    broken = np.frombuffer(b"\x80 \x80 \xf0\x9f", np.uint8)
    assert find_loops(TextView(broken, np.array([0, len(broken)]))).tolist() == [[2, 1]]


def test_a_long_line_takes_no_time():
    text = "na " * 400_000 + "x" * 1_000_000
    assert find_loops(view([text])).tolist() == [[400_000, 1]]
    assert find_loops(view([text]), items="bytes").tolist() == [[1_000_000, 1]]


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [
        ("go " * 31 + "on", "go " * 32 + "on"),
        ("a b c " * 31 + "a b", "a b c " * 32),
        (" ".join(map(str, range(13))) + " ", ""),
    ],
)
def test_rule_at_its_threshold(kept, dropped):
    (rule,) = LOOP_RULES
    texts = [kept, dropped or kept * 32]
    rows = tag_checked(
        build_tagger("ngram-loops"), pa.record_batch({"text": pa.array(texts, pa.large_string())})
    ).to_pylist()
    assert rule.expression == "loop_repeats < 32"
    assert rule.holds([row["loop_repeats"] for row in rows]).tolist() == [True, False]


def test_a_loop_of_fourteen_words_is_none():
    text = (" ".join(map(str, range(14))) + " ") * 40
    assert find_loops(view([text])).tolist() == [[1, 1]]
    assert find_loops(view([text]), max_period=14).tolist() == [[40, 14]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_bytes(train_bpe(["the cat sat on the mat again and again. "] * 50, BpeConfig(vocab_size=300)))
    return str(path)


def test_loops_of_tokens(tokenizer):
    tagger = build_tagger("ngram-loops", {"items": "tokens", "tokenizer": tokenizer})
    texts = ["again and again. " * 40, "the cat sat", ""]
    rows = tag_checked(tagger, pa.record_batch({"text": pa.array(texts, pa.large_string())})).to_pylist()
    assert rows[0]["loop_repeats"] in (39, 40) and rows[0]["loop_period"] <= 13
    assert [row["loop_repeats"] for row in rows[1:]] == [1, 0]


def test_tokens_and_tokenizer_go_together(tmp_path):
    for options in ({"items": "tokens"}, {"tokenizer": "x.json"}):
        with pytest.raises(ConfigError, match="expected a tokenizer with items: tokens"):
            build_tagger("ngram-loops", options)
    with pytest.raises(ConfigError) as error:
        build_tagger("ngram-loops", {"items": "tokens", "tokenizer": str(tmp_path / "none.json")})
    assert error.value.key == "ngram-loops.tokenizer"


@given(st.lists(TEXTS, max_size=4))
def test_ratios_are_those_of_gzip(texts):
    expected = [len(gzip.compress(text.encode(), 6)) / len(text.encode()) if text else 0 for text in texts]
    assert gzip_ratios(*view(texts)).tolist() == expected


def test_ratio_of_a_slice_and_of_levels():
    texts = ["noise", "a" * 10_000, " ".join(map(str, range(2000)))]
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    tagger = GzipRatioTagger(GzipRatioTaggerConfig())
    whole = tag_checked(tagger, batch).column("gzip_ratio").to_pylist()
    assert whole[0] > 1 and whole[1] < 0.01 and 0.2 < whole[2] < 0.6
    assert tag_checked(tagger, batch.slice(1)).column("gzip_ratio").to_pylist() == whole[1:]
    fast = tag_checked(build_tagger("gzip-ratio", {"level": 1}), batch).column("gzip_ratio").to_pylist()
    assert fast[2] != whole[2]
