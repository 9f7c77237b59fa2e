"""Problems of answers: counts against the slow twin, each reason at its border, texts that must pass."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from dolma_py.errors import SchemaError
from dolma_py.trace_filters import (
    REASONS,
    TraceLimits,
    first_problems,
    measure_traces,
    strip_thinking,
    trace_problems,
)
from dolma_py.trace_filters_kernels import measure_traces_kernel
from tests.reference import trace_filters as reference

PIECES = [
    "a",
    "b.",
    "c!",
    'd?"',
    " ",
    "  ",
    "\n",
    "\n\n",
    " \n\t\n",
    "。",
    "？",
    "中文",
    "𠀀",
    "é",
    "7",
    "...",
    "'",
    ")",
    "\x0b",
    "😀",
    "one two three",
]


def count_bytes(texts: list[bytes], sentence=1, paragraph=1, words=2) -> list[list[int]]:
    data = np.frombuffer(b"".join(texts), np.uint8)
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    counts = np.zeros((len(texts), 5), np.int64)
    measure_traces_kernel(data, offsets, sentence, paragraph, words, counts)
    return counts.tolist()


def find(text: str, **limits) -> set[str]:
    problems = trace_problems(pa.array([text], pa.large_string()), TraceLimits(**limits))
    assert problems.column_names == list(REASONS)
    return {name for name in REASONS if problems.column(name)[0].as_py()}


@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), max_size=4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 4),
)
@example(texts=["", "a", ". . .", "a.\n\na.\n \na."], sentence=1, paragraph=1, words=1)
def test_counts_match_reference(texts, sentence, paragraph, words):
    texts = [text.encode() for text in texts]
    expected = [reference.measure_traces(text, sentence, paragraph, words) for text in texts]
    assert count_bytes(texts, sentence, paragraph, words) == expected


@given(st.lists(st.binary(max_size=40), max_size=3), st.integers(1, 3))
@example(texts=[b"\xe3\x80", b"\x82a", b"\xf0"], words=1)
@example(texts=[b"a\xef\xbc", b"\x81"], words=1)
def test_repeats_of_bytes_that_are_no_utf8_match_reference(texts, words):
    """Characters of such bytes are not defined, and none is read beyond its text."""
    expected = [reference.measure_traces(text, 1, 1, words)[:3] for text in texts]
    assert [row[:3] for row in count_bytes(texts, words=words)] == expected
    assert [row for text in texts for row in count_bytes([text], words=words)] == count_bytes(texts, words=words)


@pytest.mark.parametrize("text", [b"a" * 1_000_000, b"a " * 500_000, b"a.\n\n" * 250_000, b"\xe4\xb8\xad" * 300_000])
def test_long_texts_of_one_thing_match_reference(text):
    assert count_bytes([text, b"x"], words=3) == [reference.measure_traces(one, 1, 1, 3) for one in (text, b"x")]


@pytest.mark.parametrize(
    ("unit", "limit", "reason"),
    [
        ("This line comes again. ", 10, "repeated_sentences"),
        ("第一句话很长。", 10, "repeated_sentences"),
        ("A paragraph, the same\n\n", 10, "repeated_paragraphs"),
        ("five words in one phrase ", 50, "repeated_phrases"),
    ],
)
def test_repeats_from_their_border_on(unit, limit, reason):
    assert reason not in find(unit * (limit - 1), max_chinese_frac=None)
    assert reason in find(unit * limit, max_chinese_frac=None)
    assert reason not in find(unit * limit, max_chinese_frac=None, **{f"max_{reason.split('_')[1][:-1]}_repeats": None})


def test_short_sentences_and_rows_of_a_table_are_no_repeats():
    assert find("Wait. " * 40 + "It is 4.") == set()
    assert find("| - | - | - | - | - |\n" * 60, max_sentence_repeats=None) == set()


@pytest.mark.parametrize(
    ("text", "optional", "required"),
    [
        ("<think>a</think>b", False, False),
        (" \n<think>\na\n</think>\n\nb", False, False),
        ("a</think>b", False, False),  # the template wrote the opening mark
        ("b", False, True),
        ("<think> </think>b", False, True),
        ("</think>b", False, True),
        ("<think>a", True, True),
        ("<think>a</think>", True, True),
        ("<think>a</think> \n", True, True),
        ("b<think>a</think>b", True, True),
        ("a</think>b</think>c", True, True),
        ("</think>a<think>b", True, True),
        ("<think>a<think>b</think>c", True, True),
    ],
)
def test_thinking_that_is_not_whole(text, optional, required):
    assert ("incomplete_thinking" in find(text)) is optional
    assert ("incomplete_thinking" in find(text, thinking="required")) is required
    assert ("incomplete_thinking" in find(text, thinking="forbidden")) is ("think>" in text)


def test_marks_are_no_patterns():
    assert find("[a.c]x[/a.c]y", opening="[a.c]", closing="[/a.c]", thinking="required") == set()
    assert find("abcx/abcy", opening="[a.c]", closing="[/a.c]", thinking="required") == {"incomplete_thinking"}


def test_chinese_above_its_share():
    assert find("x" * 95 + "中" * 5) == set()
    assert find("x" * 94 + "中" * 6) == {"chinese"}
    assert find(" " * 1000 + "x" * 94 + "中" * 6) == {"chinese"}
    assert find("中", max_chinese_frac=None) == set()
    assert find("中", max_chinese_frac=1.0) == set()


@pytest.mark.parametrize(
    "text",
    [
        "My knowledge cutoff is June 2024.",
        "As of my last update in April 2023, it was so.",
        "as of my knowledge, no",
        "My training data only goes up to 2021.",
        "The training cut-off was 2023.",
    ],
)
def test_a_cut_off_is_found(text):
    assert find(f"Well. {text}\nMore.") == {"cutoff_mention"} and find(text, cutoff_mentions=False) == set()


@pytest.mark.parametrize(
    "text",
    [
        "I am ChatGPT, and I can help.",
        "I’m DeepSeek-R1.",
        "My name is Claude.",
        "As an AI language model developed by OpenAI, I cannot.",
        "I am a large model trained by Google DeepMind.",
        "I was created by Alibaba Cloud.",
        "That is against OpenAI's usage policies.",
    ],
)
def test_another_identity_is_found(text):
    assert find(f"Well. {text}\nMore.") == {"other_model"} and find(text, other_names=()) == set()


@pytest.mark.parametrize(
    "text",
    [
        "GPT-4 was developed by OpenAI, and Claude by Anthropic.",
        "The cut-off frequency of the filter is 3 kHz.",
        "I am a teacher. Claude Monet painted it.",
        "Claude asked me: am I late?",
        "The llama is an animal; I am fond of it.",
        "Let me check. 2 + 2 = 4.\n\nSo the answer is 4.",
        "x",
    ],
)
def test_ordinary_texts_have_no_problem(text):
    assert find(text) == set()


def test_lengths_and_nothing():
    assert find("") == find(" \n\t") == {"empty"}
    assert find("éé", min_chars=3) == {"too_short"} and find("ééé", min_chars=3, max_chars=3) == set()
    assert find("éééé", max_chars=3) == {"too_long"}


def test_rows_do_not_depend_on_their_neighbours_and_slices_count():
    texts = pa.array(["", "<think>a", "中文", "I am Claude.", "ok", "This line comes again. " * 10], pa.large_string())
    found = trace_problems(texts, TraceLimits())
    assert first_problems(found) == ["empty", "incomplete_thinking", "chinese", "other_model", "", "repeated_sentences"]
    for row in range(len(texts)):
        assert trace_problems(texts.slice(row, 1), TraceLimits()).equals(found.slice(row, 1))
    assert trace_problems(texts.slice(0, 0), TraceLimits()).num_rows == 0
    assert measure_traces(texts.slice(5, 1), TraceLimits()).tolist() == [[10, 1, 9, 0, 190]]


def test_what_is_refused():
    with pytest.raises(SchemaError, match="no nulls"):
        trace_problems(pa.array(["a", None], pa.large_string()), TraceLimits())
    with pytest.raises(ValidationError, match="expected regular expressions"):
        TraceLimits(other_names=("(",))
    with pytest.raises(ValidationError, match="must differ"):
        TraceLimits(opening="|", closing="|")


def test_thinking_is_taken_off():
    assert strip_thinking("<think>a</think>\n b ", TraceLimits()) == "b" and strip_thinking(" b", TraceLimits()) == "b"


def test_a_text_about_other_models_does_not_speak_of_itself():
    texts = ["Open models such as the language model Llama 2 are free.", "He serves as a model for the Llama genome.",
             "As a language model by OpenAI, I cannot.", "I am the language model that OpenAI trained."]  # fmt: skip
    found = trace_problems(pa.array(texts, pa.large_string()), TraceLimits()).column("other_model").to_pylist()
    assert found == [False, False, True, True]
