"""Words of the list are counted as a slow twin does; the rule at its threshold; the first pages alone."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import ConfigError
from taggers import download_spam_kernels as kernels
from taggers.base import tag_checked
from taggers.characters import character_table, lower_table
from taggers.download_spam import SPAM_WORDS, DownloadSpamTagger, DownloadSpamTaggerConfig, count_listed
from taggers.registry import build_tagger
from tests.reference import download_spam as reference

LISTED = ("pdf", "free", "e_book", "k", "\u0131".encode().hex())
PIECES = st.sampled_from(
    [
        "pdf",
        "PDF",
        "free",
        "FrEe",
        "pdfs",
        " ",
        "\n",
        "_",
        "e_book",
        ".",
        "\u00e9",
        "\u212a",
        "\u0130",
        "\U0001f600",
        "x" * 300,
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))


def rows(texts: list[str], listed=LISTED) -> list[tuple[int, ...]]:
    return [tuple(row) for row in count_listed(*view_text(pa.array(texts, pa.large_string())), listed).tolist()]


@given(st.lists(TEXTS, max_size=4))
def test_counts_match_reference(texts):
    assert rows(texts) == [reference.count_listed(text, LISTED) for text in texts]


@pytest.mark.parametrize("text", ["", "a", "pdf", "a" * 1_000_000, "pdf " * 250_000, "\U0001f600" * 1000, "_" * 1000])
def test_odd_inputs_match_reference(text):
    assert rows([text]) == [reference.count_listed(text, LISTED)]


@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_do_no_harm(data):
    counts = count_listed(np.frombuffer(data, np.uint8), np.array([0, len(data)]), LISTED)
    assert (counts >= 0).all() and counts[0, kernels.LISTED] <= counts[0, kernels.WORDS] <= len(data)


def test_kernel_example():
    counts = np.zeros((1, kernels.NUM_COUNTS), np.int64)
    listed, offsets = np.frombuffer(b"pdf", np.uint8), np.array([0, 3])
    data = np.frombuffer(b"A PDF, pdfs!", np.uint8)
    kernels.count_listed_kernel(data, np.array([0, 12]), character_table(), lower_table(), listed, offsets, counts)
    assert counts.tolist() == [[12, 8, 3, 1]]


def tag(texts: list[str], metadata: list[str | None] | None = None, **options) -> list[dict]:
    columns = {"text": pa.array(texts, pa.large_string())}
    if metadata is not None:
        columns["metadata"] = pa.array(metadata, pa.string())
    tagger = DownloadSpamTagger(DownloadSpamTaggerConfig(**options))
    return tag_checked(tagger, pa.record_batch(columns)).to_pylist()


def test_the_rule_at_its_threshold():
    """0.4 % is no spam, one word more is; olmOCR: more than 0.004."""
    at, beyond = "download " + "word " * 249, "download ebook " + "word " * 498 + "Free"
    assert [(row["num_words"], row["num_spam_words"], row["is_spam"]) for row in tag([at, beyond])] == [
        (250, 1, False),
        (501, 3, True),
    ]


@pytest.mark.parametrize(
    ("text", "is_spam"),
    [
        ("free pdf " * 23, True),
        ("free pdf " * 22, False),
        ("free 12345678 " * 30, False),
        ("", False),
        ("12 % " * 100, False),
    ],
)
def test_what_is_unclear_is_not_spam(text, is_spam):
    """207 characters are enough, 198 are not; so are 4 letters of 14."""
    assert tag([text])[0]["is_spam"] is is_spam


@pytest.mark.parametrize(("num_letters", "is_spam"), [(100, True), (99, False)])
def test_the_share_of_letters_at_its_threshold(num_letters, is_spam):
    """Half letters are enough, one letter fewer is not."""
    text = "free " * 2
    text += "a" * (num_letters - 8) + "1" * (200 - len(text) - (num_letters - 8))
    options = {"least_letter_frac": 0.5, "least_chars": 200}
    (row,) = tag([text], **options)
    assert len(text) == 200 and row["letter_frac"] == num_letters / 200 and row["is_spam"] is is_spam


def test_the_first_pages_are_looked_at():
    text = "clean page " * 30 + "\n\n" + "free pdf " * 100
    numbers = [[0, 330, 1], [332, len(text), 2]]
    metadata = [json.dumps({"pdf_page_numbers": numbers}), json.dumps({"other": 1}), None]
    assert [row["is_spam"] for row in tag([text] * 3, metadata, first_pages=1)] == [False, True, True]
    assert [row["is_spam"] for row in tag([text] * 3, metadata, first_pages=2)] == [True] * 3
    assert [row["is_spam"] for row in tag([text] * 3, metadata, first_pages=None)] == [True] * 3


def test_the_words_are_an_option():
    assert tag(["casino free " * 30], words=["roulette"])[0]["num_spam_words"] == 0
    assert len(SPAM_WORDS) == 12
    with pytest.raises(ConfigError, match="words"):
        build_tagger("download-spam", {"words": ["Download"]})
