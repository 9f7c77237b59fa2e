import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.errors import ConfigError
from taggers import language_model_tokens_kernels as kernels
from taggers.characters import character_table
from taggers.language_model_tokens import (
    FEEDS,
    MARKS,
    LanguageModelText,
    hash_token,
    make_replacements,
    normalize_text,
    split_units,
)
from tests.reference import language_model_tokens as reference
from tests.strategies import any_bytes, texts

CCNET = LanguageModelText()
PLAIN = LanguageModelText.plain()
REMOVING = LanguageModelText(punctuation="remove", strip_accents=False, unit="document")
PARAGRAPHS = LanguageModelText(unit="paragraph")
SETTINGS = [CCNET, PLAIN, REMOVING, PARAGRAPHS]
ODD = [
    "",
    "\n",
    "a",
    "\n\n\x00\n\nb",
    "a\n \n\u2003\nb",
    "\uac00\u0130\u2026\u2014",
    "\U0001f600 \U0010ffff",
    "<s> </s> <unk> a",
]
LONG = "x" * 1_000_000


def units_of(text, settings):
    """The tokens of each unit, as the kernels find them, by their places in the normalised text."""
    units = split_units(view_text(pa.array([text], pa.large_string())), settings)
    words = [units.data[a:b].tobytes().decode() for a, b in zip(units.starts, units.ends, strict=True)]
    assert units.hashes.tolist() == [hash_token("\u2581" if word == " " else word) for word in words]
    assert units.text_offsets.tolist() == [0, len(units.unit_offsets) - 1]
    return [
        ["\u2581" if word == " " else word for word in words[a:b]]
        for a, b in zip(units.unit_offsets[:-1], units.unit_offsets[1:], strict=True)
    ]


def expected_of(text, settings):
    options = settings.model_dump(exclude={"tokens", "tokenizer"})
    characters = settings.tokens == "characters"
    return [reference.hash_units(unit, characters=characters) for unit in reference.normalize_units(text, **options)]


@given(texts(), st.sampled_from(SETTINGS), st.sampled_from(["words", "characters"]))
def test_units_match_reference(text, settings, tokens):
    settings = settings.model_copy(update={"tokens": tokens})
    assert units_of(text, settings) == expected_of(text, settings)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("text", [*ODD, LONG])
def test_units_of_odd_texts_match_reference(text, settings):
    assert units_of(text, settings) == expected_of(text, settings)


@given(texts(), st.sampled_from(SETTINGS))
def test_the_text_form_has_the_same_units(text, settings):
    options = settings.model_dump(exclude={"tokens", "tokenizer"})
    assert normalize_text(text, settings) == reference.normalize_units(text, **options)


@pytest.mark.parametrize("feeds, expected", [(1, [b"ab c", b"d"]), (0, [b"ab c d"]), (2, [b"ab c", b"d"])])
def test_kernel_example(feeds, expected):
    data, table = np.frombuffer(b" Ab  c\n\nd", np.uint8), make_replacements(CCNET)
    out, ends, offsets = np.zeros(20, np.uint8), np.zeros(9, np.int64), np.zeros(2, np.int64)
    count = kernels.normalize_units_kernel(
        data, np.array([0, 9]), table.data, table.offsets, character_table(), feeds, out, ends, offsets
    )
    bounds = [0, *ends[:count].tolist()]
    assert [out[a:b].tobytes() for a, b in zip(bounds[:-1], bounds[1:], strict=True)] == expected
    assert offsets.tolist() == [0, count]


def test_ccnets_normalisation():
    assert units_of("\u00dcber 1234\u20ac \u201ea\u201d\u2026 \u0663\nA\tB\x7f", CCNET) == [
        ["uber", "0000\u20ac", '"a"...', "0"],
        ["a", "b"],
    ]


def test_a_text_cannot_fake_a_sentence_mark():
    assert units_of("a <s> b </s> <unk>", CCNET) == [["a", "b"]]
    assert units_of("<S> <UNK>", CCNET) == [[]]  # lower case makes them marks


@given(st.lists(any_bytes(), max_size=4))
def test_bytes_that_are_not_utf8_do_no_harm(blobs):
    # the guard bytes would be read by a kernel that runs past its text
    data = np.frombuffer(b"".join(blobs) + b"\xf0\x9f", np.uint8)
    offsets = np.cumsum([0, *map(len, blobs)])
    for settings in SETTINGS:
        units = split_units(TextView(data, offsets), settings)
        assert len(units.text_offsets) == len(blobs) + 1 and units.unit_offsets[-1] == len(units.hashes)
        alone = [split_units(TextView(data, offsets[i : i + 2]), settings).hashes for i in range(len(blobs))]
        assert np.array_equal(np.concatenate([np.empty(0, np.uint64), *alone]), units.hashes)


def test_pieces_of_a_tokenizer(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"ab": 0, "c": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = LanguageModelText(tokens="pieces", tokenizer=str(tmp_path))
    units = split_units(view_text(pa.array(["AB c\n\nx ab"], pa.large_string())), settings)
    assert units.hashes.tolist() == [hash_token(piece) for piece in ("ab", "c", "?", "ab")]
    assert units.unit_offsets.tolist() == [0, 2, 4]


def test_a_tokenizer_goes_with_pieces_only():
    with pytest.raises(ValueError, match="tokenizer is needed with tokens pieces"):
        LanguageModelText(tokens="pieces")
    missing = LanguageModelText(tokens="pieces", tokenizer="/no/such/tokenizer.json")
    with pytest.raises(ConfigError, match="/no/such/tokenizer.json"):
        split_units(view_text(pa.array(["a"], pa.large_string())), missing)


def test_constants():
    assert set(FEEDS) == {"line", "paragraph", "document"}
    assert MARKS.tolist() == [hash_token(mark) for mark in reference.MARKS]
