import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from taggers import lengths_kernels as kernels
from taggers.base import tag_checked
from taggers.characters import character_table
from taggers.lengths import LengthTagger, LengthTaggerConfig, count_lengths
from tests.reference import word_stats as reference

ODD_TEXTS = [
    "",
    " ",
    "\n",
    "a",
    "a\n\n\nb",
    " \n \n ",
    "\u3000x\u2028y\x85z\x1c",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "e\u0301",
    "x" * 1_000_000,
]
PIECES = st.sampled_from([" ", "\n", "\n\n", "\r\n", "word", "\u00e9", "\u65e5", "\U0001f600", "\u00a0", "\t", "."])
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60))


def as_rows(lengths):
    return list(zip(*(column.tolist() for column in lengths), strict=True))


@given(st.lists(TEXTS, max_size=5))
def test_lengths_match_reference(texts):
    view = view_text(pa.array(texts, pa.large_string()))
    assert as_rows(count_lengths(*view)) == [reference.count_lengths(text) for text in texts]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_lengths_of_odd_texts_match_reference(text):
    view = view_text(pa.array([text], pa.large_string()))
    assert as_rows(count_lengths(*view)) == [reference.count_lengths(text)]


def test_kernel_example():
    counts = np.zeros((1, kernels.NUM_COUNTS), np.int64)
    data = np.frombuffer(b"ab c\n\n\nd", np.uint8)
    kernels.count_lengths_kernel(data, np.array([0, 8]), character_table(), counts)
    assert counts.tolist() == [[8, 3, 4, 2, 2]]


@given(st.binary(max_size=60))
def test_bytes_that_are_not_utf8_do_no_harm(blob):
    # the guard bytes would be read by a kernel that runs past its text
    data = np.frombuffer(blob + b"\xf0\x9f", np.uint8)
    lengths = count_lengths(data, np.array([0, len(blob)]))
    assert lengths.num_bytes.tolist() == [len(blob)]
    assert 0 <= lengths.num_chars[0] <= len(blob)


def test_slices_and_batches_give_the_same_rows():
    texts = pa.array(ODD_TEXTS, pa.large_string())
    whole = as_rows(count_lengths(*view_text(texts)))
    assert as_rows(count_lengths(*view_text(texts.slice(3, 4)))) == whole[3:7]


def test_tagger_writes_its_schema():
    batch = pa.record_batch({"text": pa.array(["ab c", ""], pa.large_string())})
    rows = tag_checked(LengthTagger(LengthTaggerConfig()), batch).to_pylist()
    assert rows[0] == {
        "num_bytes": 4, "num_chars": 4, "num_words": 2, "num_lines": 1, "num_paragraphs": 1, "mean_word_chars": 1.5,
    }  # fmt: skip
    assert rows[1]["mean_word_chars"] == 0.0
    assert tag_checked(LengthTagger(LengthTaggerConfig()), batch.slice(0, 0)).num_rows == 0
