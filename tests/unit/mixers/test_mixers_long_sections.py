"""mixers.long_sections: breaks against the twin; sections lose nothing, double nothing, keep their lengths; buckets by powers of two."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from dolma_py.errors import SchemaError
from mixers import long_sections, tokenization
from mixers.length_buckets import LengthBucketsConfig, LengthBucketsTagger, name_buckets
from mixers.long_sections import SectionConfig
from tests.reference import long_sections as reference
from tests.strategies import any_bytes

PIECES = st.sampled_from(
    [b"One. ", b"Two!\") ", b"CHAPTER I", b"\n", b"\n\n", b"  \r\n", b"# a", b"####### b", b"\\section{x}", b"\\part", b"- item", b"\xc3\xa9" * 9,
     b"? ", b".\t", b".", b"\xf0\x9f\x98\x80" * 5, b"x" * 70, b"\x80" * 20]
)  # fmt: skip
SMALL = SectionConfig(min_document_tokens=64, max_document_tokens=128, min_tokens=16, max_tokens=64, near_tokens=4)


@pytest.fixture(scope="module")
def tokenizer():
    config = tokenization.BpeConfig(vocab_size=300, special_tokens=("<|endoftext|>",))
    return tokenization.build_tokenizer(tokenization.train_bpe(["the quick brown fox. " * 20], config))


@given(st.lists(PIECES, max_size=25).map(b"".join) | any_bytes(), st.integers(8, 40))
@example(b"", 8)
@example(b"a", 8)
@example(b"One. Two\n\nThree", 4096)
@example(b"\n\nCHAPTER I\n\nIt began.\nThen", 4096)
@example(b"CHAPTER I", 4096)
def test_breaks_match_reference(data, max_piece):
    found = long_sections.find_breaks(np.frombuffer(data, np.uint8), max_piece)
    assert list(zip(found.places.tolist(), found.ranks.tolist(), strict=True)) == reference.find_breaks(data, max_piece)


def test_breaks_of_a_small_text():
    found = long_sections.find_breaks(np.frombuffer(b"One. Two\n\nThree\n\nFOUR\n\nfive\n# Six", np.uint8))
    assert found.places.tolist() == [5, 10, 17, 23, 28]
    assert found.ranks.tolist() == [
        long_sections.SENTENCE,
        long_sections.PARAGRAPH,
        long_sections.HEADING,
        long_sections.PARAGRAPH,
        long_sections.HEADING,
    ]


@pytest.mark.parametrize("text", ["a" * 1_000_000, "\U0001f600" * 250_000, "\n" * 1_000_000])
def test_a_megabyte_of_one_sign_is_cut_between_characters(text):
    data = text.encode()
    found = long_sections.find_breaks(np.frombuffer(data, np.uint8))
    assert list(zip(found.places.tolist(), found.ranks.tolist(), strict=True)) == reference.find_breaks(data, 4096)
    edges = [0, *found.places.tolist(), len(data)]
    assert "".join(data[a:b].decode() for a, b in zip(edges[:-1], edges[1:], strict=True)) == text
    assert max(np.diff(edges)) <= 4096


def test_pieces_too_small_for_a_character_are_refused():
    with pytest.raises(SchemaError, match="7"):
        long_sections.find_breaks(np.zeros(1, np.uint8), 7)


WORDS = st.sampled_from(
    ["the quick ", "fox. ", "Brown! ", "\n\n", "- item\n", "1. item\n", "\u00e9", "\U0001f600", "HEAD\n\n"]
)


@given(st.lists(WORDS, min_size=5, max_size=90).map("".join), st.text(max_size=3), st.integers(0, 9))
def test_sections_are_the_document_each_byte_once(tokenizer, text, doc_id, seed):
    found = long_sections.cut_document(text, tokenizer, SMALL, doc_id=doc_id, seed=seed)
    if isinstance(found, str):
        assert found in ("short", "long", "uncut")
        return
    sections, breaks = found
    data = text.encode()
    assert b"".join(data[section.start : section.end] for section in sections) == data
    assert [section.start for section in sections[1:]] == [section.end for section in sections[:-1]]
    assert sections[0].start == 0 and {section.start for section in sections[1:]} <= set(breaks.places.tolist())
    assert 2 <= len(sections) <= 8 and all(16 <= section.tokens <= 64 for section in sections)
    assert 64 <= sum(section.tokens for section in sections) <= 128


def test_most_documents_of_the_range_are_cut_by_other_numbers_of_sections(tokenizer):
    text = "Zz. " * 25 + "\n\n" + "Zz.\n" * 5
    found = [long_sections.cut_document(text, tokenizer, SMALL, doc_id=str(number), seed=1) for number in range(40)]
    assert len({len(sections) for sections, _ in found}) >= 3
    assert len({tuple(sections) for sections, _ in found}) > 20
    again = [long_sections.cut_document(text, tokenizer, SMALL, doc_id=str(number), seed=1) for number in range(40)]
    assert [sections for sections, _ in again] == [sections for sections, _ in found]


def test_a_border_takes_the_best_break_nearby():
    before = np.arange(1, 100, dtype=np.int64)
    ranks = np.full(99, long_sections.LINE, np.int8)
    ranks[[39, 59]] = long_sections.HEADING
    config = SectionConfig(
        min_document_tokens=2, max_document_tokens=100, min_tokens=30, max_tokens=70, max_sections=2, near_tokens=100
    )
    chosen = {long_sections.choose_sections(before, ranks, 100, key, config)[0] for key in range(50)}
    assert chosen == {39, 59}  # at 40 and 60 tokens, of the 30 to 70 that leave room


def test_why_a_document_has_no_sections(tokenizer):
    cut = {"doc_id": "a", "seed": 0}
    assert long_sections.cut_document("", tokenizer, SMALL, **cut) == "short"
    assert long_sections.cut_document("fox. " * 500, tokenizer, SMALL, **cut) == "long"
    assert not isinstance(
        long_sections.cut_document(
            "fox. " * 50, tokenizer, SMALL.model_copy(update={"max_document_tokens": 500}), **cut
        ),
        str,
    )


@pytest.mark.parametrize("max_tokens", [41, 50])
def test_lengths_that_no_break_gives_are_told(tokenizer, max_tokens):
    """200 tokens, a break every four: no number of sections of 41, and of four sections of 41 to 50 the borders would be at 50."""
    narrow = SectionConfig(min_document_tokens=2, max_document_tokens=500, min_tokens=41, max_tokens=max_tokens)
    assert long_sections.cut_document("fox. " * 50, tokenizer, narrow, doc_id="a", seed=0) == "uncut"


@pytest.mark.parametrize(
    "values", [{"min_tokens": 9, "max_tokens": 8}, {"min_document_tokens": 9, "max_document_tokens": 8}]
)
def test_settings_that_fit_nothing_are_refused(values):
    with pytest.raises(ValidationError, match="or more"):
        SectionConfig(**values)


def test_buckets_are_powers_of_two(tmp_path):
    config = tokenization.BpeConfig(vocab_size=258, special_tokens=("<|endoftext|>",))
    (tmp_path / "tokenizer.json").write_bytes(tokenization.train_bpe(["ab"], config))
    tagger = LengthBucketsTagger(LengthBucketsConfig(tokenizer=str(tmp_path / "tokenizer.json"), least=8, most=32))
    texts = ["a" * number for number in (0, 6, 7, 14, 15, 30, 31, 500)]
    found = tagger.tag(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
    assert found.schema == tagger.schema
    assert found.column("tokens").to_pylist() == [1, 7, 8, 15, 16, 31, 32, 501]  # with the end token
    expected = ["0-8", "0-8", "8-16", "8-16", "16-32", "16-32", "32-up", "32-up"]
    assert found.column("bucket").to_pylist() == expected


def test_the_buckets_of_the_report():
    assert name_buckets(8_192, 1 << 20) == [
        "0-8K", "8K-16K", "16K-32K", "32K-64K", "64K-128K", "128K-256K", "256K-512K", "512K-1M", "1M-up",
    ]  # fmt: skip


@pytest.mark.parametrize("values", [{"least": 9}, {"most": 9}, {"least": 64, "most": 32}])
def test_other_bounds_than_powers_of_two_are_refused(values):
    with pytest.raises(ValidationError, match="powers of two"):
        LengthBucketsConfig(tokenizer="t", **values)


def test_buckets_of_shorter_documents_have_the_names_of_long_ones(tmp_path):
    """With a scale of 4, eight tokens are what 32 are without; what `tokens` says stays."""
    config = tokenization.BpeConfig(vocab_size=258, special_tokens=("<|endoftext|>",))
    (tmp_path / "tokenizer.json").write_bytes(tokenization.train_bpe(["ab"], config))
    texts = pa.record_batch({"text": pa.array(["a" * number for number in (0, 1, 2, 6, 7, 30)], pa.large_string())})

    def tag(**settings):
        return LengthBucketsTagger(LengthBucketsConfig(tokenizer=str(tmp_path / "tokenizer.json"), **settings)).tag(
            texts
        )

    scaled, plain = tag(least=8, most=32, scale=4), tag(least=2, most=8)
    assert scaled.column("tokens").to_pylist() == plain.column("tokens").to_pylist() == [1, 2, 3, 7, 8, 31]
    assert scaled.column("bucket").to_pylist() == ["0-8", "8-16", "8-16", "16-32", "32-up", "32-up"]
    assert plain.column("bucket").to_pylist() == ["0-2", "2-4", "2-4", "4-8", "8-up", "8-up"]


def test_a_scale_divides_all_numbers_of_tokens(tokenizer):
    text = "fox. " * 50
    plain = SectionConfig(
        min_document_tokens=2, max_document_tokens=511, min_tokens=20, max_tokens=100, near_tokens=8, max_sections=4
    )
    scaled = SectionConfig(
        min_document_tokens=2 * 16, max_document_tokens=511 * 16 + 15, min_tokens=20 * 16, max_tokens=100 * 16, near_tokens=8 * 16, max_sections=4,
        scale=16,
    )  # fmt: skip
    assert scaled.apply_scale() == plain and plain.apply_scale() is plain
    cut = {"doc_id": "a", "seed": 0}
    assert (
        long_sections.cut_document(text, tokenizer, scaled.apply_scale(), **cut)[0]
        == long_sections.cut_document(text, tokenizer, plain, **cut)[0]
    )
    with pytest.raises(ValidationError, match="min_tokens"):
        SectionConfig(scale=8193)
