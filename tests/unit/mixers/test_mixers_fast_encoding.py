"""mixers.fast_encoding: tiktoken gives the ids of `tokenizers` wherever it is taken, and is not taken where it might not."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixers import fast_encoding, tokenization
from mixers.fast_encoding import CL100K_PATTERN, FastEncoder, byte_letters, has_long_blank

CORPUS = [
    "the quick brown fox doesn't jump over the lazy dog's back; they're we'll I'VE 12345 6\n" * 20,
    "def f(x):\n    return x + 1\r\n\r\n\tfor i in range(10):\n\t\tprint('a', i)\n" * 20,
    "\u4e2d\u6587\u5b57\u7b26 na\u00efve \u0928\u092e\u0938\u094d\u0924\u0947 e\u0301 \U0001f600\U0001f468\u200d\U0001f469 \u0661\u0662\u0663"
    * 20,
]
WORDS = [
    "'s", "'LL", "'\u017f", "''", "a", "the", "Z", "\u00df", "\u0130", "e\u0301", "\u0301", "\u0928\u0947", "\u4e2d\u6587", "1", "12345", "\u00b2",
    "\u0663", "\u2167", ".", "...", "<|", "|>", "<|endoftext|>", "<|pad|>", "|||IP_ADDRESS|||", "|||", "IP_ADDRESS|||", " ", "  ", "\t", "\n", "\r\n",
    "\r", "\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\x1c", "\x00", "\U0001f600", "\U0001f468\u200d\U0001f469", "\ufeff", "\ufffd", "\U000e0001",
]  # fmt: skip
TEXT = st.lists(
    st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=12
).map("".join)
SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def train(pattern=None):
    """The JSON of a tokenizer of ours, cut by another pattern; the GPT-2 pattern is that of ByteLevel itself."""
    values = json.loads(tokenization.train_bpe(CORPUS, tokenization.BpeConfig(vocab_size=700)))
    if pattern == "gpt2":
        values["pre_tokenizer"] = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
    elif pattern:
        values["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}
    return values


def like_dolma2():
    """As dolma2's file: its pattern, merges of every way to make a token, ids of added tokens last, some of them for text to turn into."""
    values = train(CL100K_PATTERN)
    split = values["pre_tokenizer"]["pretokenizers"][0]
    split["behavior"], split["invert"] = "Removed", True
    letters = byte_letters()
    names = [
        name
        for name in values["model"]["vocab"]
        if all(letter in letters for letter in name) and not name.startswith("<|")
    ]
    vocab = {name: number for number, name in enumerate(names)}
    values["model"]["vocab"] = vocab
    values["model"]["merges"] = [
        [name[:cut], name[cut:]] for name in names for cut in range(1, len(name)) if name[:cut] in vocab and name[cut:] in vocab
    ]  # fmt: skip
    added = [("<|extra_id_0|>", False), ("<|endoftext|>", True), ("|||IP_ADDRESS|||", False), ("<|pad|>", True)]
    values["added_tokens"] = [
        {**SPECIAL, "id": len(vocab) + place, "content": text, "special": special} for place, (text, special) in enumerate(added)
    ]  # fmt: skip
    return values


FILES = {"ours": train(), "cl100k": train(CL100K_PATTERN), "gpt2": train("gpt2"), "dolma2": like_dolma2()}


@pytest.fixture(scope="module", params=sorted(FILES))
def tokenizer(request):
    loaded = tokenization.build_tokenizer(json.dumps(FILES[request.param]).encode())
    assert isinstance(loaded.fast, FastEncoder)
    return loaded


def slow_ids(tokenizer, text):
    return tokenizer.backend.encode(text, add_special_tokens=False).ids


@given(text=TEXT)
@example(text="a |||IP_ADDRESS|||IP_ADDRESS||| <|endoftext|>|||IP_ADDRESS|||")
@example(text="x  \n  \n y   z  ")
@settings(max_examples=150)
def test_ids_are_those_of_tokenizers(tokenizer, text):
    assert tokenizer.fast.encode(text).tolist() == slow_ids(tokenizer, text)


def test_text_turns_into_added_tokens_that_are_not_special():
    loaded = tokenization.build_tokenizer(json.dumps(FILES["dolma2"]).encode())
    number = loaded.backend.token_to_id("|||IP_ADDRESS|||")
    assert loaded.fast.encode("|||IP_ADDRESS|||<|pad|>").tolist().count(number) == 1
    assert loaded.pad_token_id not in loaded.fast.encode("|||IP_ADDRESS|||<|pad|>").tolist()


@pytest.fixture(scope="module")
def ours():
    return tokenization.build_tokenizer(json.dumps(FILES["ours"]).encode())


@pytest.mark.parametrize("run", ["a", ".", "'", "\u4e2d", "\u0301", "\r\n", "ab ", "\U0001f600", " x", "<|"])
def test_long_runs_are_encoded_alike(ours, run):
    text = run * (100_000 // len(run)) + "x"
    assert ours.fast.encode(text).tolist() == slow_ids(ours, text)


@pytest.mark.parametrize("text", [" " * 1_000_000 + "x", "\u3000 " * 500_000, "a" * 1_000_000, "\n" * 1_000_000])
def test_a_megabyte_of_one_character_is_encoded(ours, text):
    """In a run of a million blanks tiktoken's pattern engine gives up."""
    (part,) = tokenization.encode_texts(ours, [text])
    assert tokenization.decode_ids(ours, part) == text


@given(st.text(" \n\u3000a", max_size=30), st.integers(1, 6))
def test_long_blanks_are_seen(text, least):
    runs = [len(list(group)) for blank, group in itertools.groupby(text, str.isspace) if blank]
    assert has_long_blank(text, least) == any(run >= least for run in runs)


def test_long_blanks_go_to_tokenizers(ours, monkeypatch):
    texts = ["a" + " " * fast_encoding.MAX_BLANKS + "b", "short", "a" + " " * (fast_encoding.MAX_BLANKS - 1) + "b"]
    seen = []
    monkeypatch.setattr(FastEncoder, "encode", lambda self, text: seen.append(text) or np.zeros(1, np.uint32))
    tokenization.encode_texts(ours, texts)
    assert seen == texts[1:]


@st.composite
def merge_lists(draw):
    """Merges over three letters, of tokens that are there: in any order, several to one token, some that nothing ever uses."""
    names, merges = ["a", "b", "c"], []
    for _ in range(draw(st.integers(0, 12))):
        left, right = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        merges.append((left, right))
        names.append(left + right)
    merges = list(dict.fromkeys(merges))
    return draw(st.permutations(merges)) if draw(st.booleans()) else merges


@given(merge_lists(), st.lists(st.text("abc", max_size=14), min_size=1, max_size=8), st.booleans(), st.booleans())
@settings(max_examples=200)
def test_any_merges_are_taken_only_where_ids_are_equal(merges, texts, in_order, ignore_merges):
    """Merges that no training would give: tokens that nothing makes, that only a part of their ways makes, ids in another order."""
    names = list(dict.fromkeys(left + right for left, right in merges))
    kept = [*byte_letters(), *(names if in_order else sorted(names))]
    vocab = {name: number for number, name in enumerate(kept)}
    values = json.loads(json.dumps(FILES["ours"]))
    values["model"] |= {"vocab": vocab, "merges": [list(merge) for merge in merges], "ignore_merges": ignore_merges}
    values["added_tokens"] = [{**SPECIAL, "id": len(vocab), "content": "<|endoftext|>"}]
    loaded = tokenization.build_tokenizer(json.dumps(values).encode())
    ids, _ = tokenization.encode_batch(loaded, texts)
    expected = [number for text in texts for number in [*slow_ids(loaded, text), loaded.eos_token_id]]
    assert ids.tolist() == expected


def load_merges(merges):
    names = list(dict.fromkeys(left + right for left, right in merges))
    vocab = {name: number for number, name in enumerate([*byte_letters(), *names])}
    values = json.loads(json.dumps(FILES["ours"]))
    values["model"] |= {"vocab": vocab, "merges": [list(merge) for merge in merges]}
    values["added_tokens"] = [{**SPECIAL, "id": len(vocab), "content": "<|endoftext|>"}]
    return tokenization.build_tokenizer(json.dumps(values).encode())


def test_a_token_that_nothing_makes_is_left_out():
    """b and c meet before a and b can: abc is in the vocabulary and never among the ids, though tiktoken would join a and bc."""
    loaded = load_merges([("b", "c"), ("a", "b"), ("ab", "c")])
    assert isinstance(loaded.fast, FastEncoder)
    assert loaded.fast.encode("abc abd").tolist() == slow_ids(loaded, "abc abd")
    assert loaded.backend.token_to_id("abc") not in loaded.fast.encode("abc ababc").tolist()


def test_two_ways_to_one_token_between_which_another_comes_are_left_to_tokenizers():
    loaded = load_merges([("a", "a"), ("aa", "a"), ("a", "b"), ("a", "aa")])
    assert loaded.fast == "its ids are not in the order of its merges"


def change(path, value):
    """The file of ours with one value changed."""
    values = json.loads(json.dumps(FILES["dolma2"]))
    *folders, last = path
    place = values
    for folder in folders:
        place = place[folder]
    place[last] = value
    return values


def swap_merges():
    values = train()
    values["model"]["merges"][3], values["model"]["merges"][4] = (
        values["model"]["merges"][4],
        values["model"]["merges"][3],
    )
    return values


SPLIT = ("pre_tokenizer", "pretokenizers", 0)


@pytest.mark.parametrize(("values", "reason"), [
    (change(["normalizer"], {"type": "NFC"}), "normalizes"),
    (change([*SPLIT, "pattern"], {"Regex": r"\s+|\S+"}), "pattern"),
    (change([*SPLIT, "behavior"], "MergedWithNext"), "pattern"),
    (change(["pre_tokenizer", "pretokenizers", 1, "add_prefix_space"], True), "as they stand"),
    (change(["added_tokens", 2, "lstrip"], True), "around it"),
    (change(["added_tokens", 2, "normalized"], True), "two passes"),
    (change(["added_tokens", 2, "content"], "|>x"), "runs into"),
    (change(["added_tokens", 2, "content"], "<|extra_id_0|>1"), "begins another"),
    (change(["model", "dropout"], 0.5), "plain byte pair"),
    (change(["model", "end_of_word_suffix"], "</w>"), "parts of words"),
    (swap_merges(), "order of its merges"),
])  # fmt: skip
def test_others_are_left_to_tokenizers(values, reason):
    loaded = tokenization.build_tokenizer(json.dumps(values).encode())
    assert isinstance(loaded.fast, str) and reason in loaded.fast


def test_a_vocabulary_without_some_byte_is_left_to_tokenizers():
    values = train()
    values["model"]["vocab"] = {name: number for name, number in values["model"]["vocab"].items() if name != "\u0100"}
    loaded = tokenization.build_tokenizer(json.dumps(values).encode())
    assert isinstance(loaded.fast, str) and "single byte" in loaded.fast
