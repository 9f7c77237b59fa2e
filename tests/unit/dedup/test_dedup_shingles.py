"""Words and shingles against a regular expression and Python integers."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import normalise, shingles
from dedup.sha1_kernels import sha1_kernel
from dedup.shingles_kernels import hash_word_kernel, roll_kernel, shingle_normal_kernel
from dedup.text_rules import apply_rules
from dolma_py.errors import ConfigError, SchemaError
from tests.reference import normalise as normalise_reference
from tests.reference import shingles as reference

PIECES = [
    *(b"a", b"B", b"Zz9", b"longerthaneightbytes", b"exactly8", b" ", b"\n", b"-", b"\x00", b"'"),
    *(
        text.encode()
        for text in (
            "\u00e9",
            "\u00aa",
            "\u00b5",
            "\u00ab",
            "\u2019",
            "\u3002",
            "\u6f22",
            "\u304b",
            "\ud55c",
            "\u2801",
            "\U0001f600",
        )
    ),
    *(b"\xe2", b"\xe2\x80", b"\xc2", b"\xe4\xb8", b"\x80", b"\xff", b"\xe3\x80"),
]
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), st.binary(max_size=40))


def to_arrays(texts):
    data = np.frombuffer(b"".join(texts), np.uint8)  # read-only
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    return data, offsets


def rows(values, offsets):
    return [values[a:b] for a, b in zip(offsets.tolist(), offsets.tolist()[1:], strict=False)]


def words_of(text):
    return [text[start:end].lower() for start, end in normalise_reference.find_words(text)]


@given(st.lists(TEXTS, max_size=5))
def test_find_words_equals_twin(texts):
    words = normalise.find_words(*to_arrays(texts))
    pairs = list(zip(words.start_byte.tolist(), words.end_byte.tolist(), strict=True))
    assert rows(pairs, words.offsets) == [normalise_reference.find_words(text) for text in texts]


@pytest.mark.parametrize("num_letters", range(18))
@pytest.mark.parametrize("character", ["\u201c", "\u00ab", "\u6f22"])
def test_wide_characters_are_seen_at_every_place_of_a_block(num_letters, character):
    text = b"a" * num_letters + character.encode() + b"b" * (17 - num_letters)
    words = normalise.find_words(*to_arrays([text]))
    pairs = list(zip(words.start_byte.tolist(), words.end_byte.tolist(), strict=True))
    assert pairs == normalise_reference.find_words(text)


@given(st.lists(TEXTS, max_size=5))
def test_normalise_texts_equals_twin_and_is_idempotent(texts):
    normal = normalise.normalise_texts(*to_arrays(texts))
    assert rows(normal.data.tobytes(), normal.offsets) == normalise_reference.normalise_texts(texts)
    again = normalise.normalise_texts(normal.data, normal.offsets)
    assert again.data.tobytes() == normal.data.tobytes()
    assert again.offsets.tolist() == normal.offsets.tolist()


SHORT_RULES = st.sampled_from(["one_shingle", "skip", "exact"])


@given(st.lists(TEXTS, max_size=5), st.integers(1, 7), SHORT_RULES, st.integers(1, 4))
def test_shingle_texts_equals_twin(texts, num_items, short, least):
    config = shingles.ShingleConfig(num_items=num_items, short_documents=short, min_items=least)
    found = shingles.shingle_documents(*to_arrays(texts), config=config)
    assert found.hashes.dtype == np.uint64
    expected = reference.shingle_texts([words_of(t) for t in texts], texts, config)
    assert rows(found.hashes.tolist(), found.offsets) == expected


@given(
    st.lists(TEXTS, max_size=5),
    st.builds(
        shingles.ShingleConfig,
        unit=st.sampled_from(["words", "characters"]),
        num_items=st.integers(1, 7),
        rules=st.sampled_from(["duplodocus", "datatrove", "text-dedup", "bigcode", "whitespace"]),
        hash=st.sampled_from(["rolling", "xxh64", "sha1"]),
        short_documents=SHORT_RULES,
        min_items=st.integers(1, 4),
    ),
)
def test_shingle_normal_equals_twin(texts, config):
    found = shingles.shingle_documents(*to_arrays(texts), config=config)
    normal = apply_rules(*to_arrays(texts), rules=config.rules)
    expected = reference.shingle_normal(rows(normal.data.tobytes(), normal.offsets), texts, config)
    assert rows(found.hashes.tolist(), found.offsets) == expected


@given(st.lists(TEXTS, max_size=5), st.integers(1, 7), SHORT_RULES)
def test_the_general_kernel_finds_what_the_fused_one_finds(texts, num_items, short):
    # our own words joined by spaces and split again
    config = shingles.ShingleConfig(num_items=num_items, short_documents=short)
    data, offsets = to_arrays(texts)
    fused = shingles.shingle_documents(data, offsets, config=config)
    normal = apply_rules(data, offsets, rules="dolma-py")
    room, general = np.empty(len(normal.data) + 1, np.uint64), np.empty(len(offsets), np.int64)
    exact = shingles.exact_hashes(data, offsets, config)
    total = shingle_normal_kernel(*normal, config.plan, exact, room, general)
    assert room[:total].tolist() == fused.hashes.tolist()
    assert general.tolist() == fused.offsets.tolist()


@given(st.binary(max_size=200))
def test_sha1_equals_hashlib(text):
    found = sha1_kernel(np.frombuffer(b"??" + text, np.uint8), 2, len(text) + 2, np.empty(80, np.uint32))
    assert int(found) == int.from_bytes(hashlib.sha1(text).digest()[:8], "little")


@pytest.mark.parametrize("num_bytes", range(130))
def test_sha1_of_every_length_around_two_blocks(num_bytes):
    text = bytes((k * 7 + num_bytes) % 256 for k in range(num_bytes))
    found = sha1_kernel(np.frombuffer(b"x" + text + b"yyy", np.uint8), 1, num_bytes + 1, np.empty(80, np.uint32))
    assert int(found) == int.from_bytes(hashlib.sha1(text).digest()[:8], "little")


def test_sha1_of_abc_and_of_a_megabyte():
    scratch = np.empty(80, np.uint32)
    assert sha1_kernel(np.frombuffer(b"abc", np.uint8), 0, 3, scratch) == 0x6A810647363E99A9
    text = bytes(range(256)) * 4096
    expected = int.from_bytes(hashlib.sha1(text).digest()[:8], "little")
    assert sha1_kernel(np.frombuffer(text, np.uint8), 0, len(text), scratch) == expected


def test_settings_without_effect_or_sense_are_refused():
    with pytest.raises(ValueError, match="no effect on shingles of words, got 'x.json'"):
        shingles.ShingleConfig(tokenizer="x.json")
    with pytest.raises(ValueError, match="what a word is, got 'none'"):
        shingles.ShingleConfig(rules="none")
    with pytest.raises(ConfigError, match="expected a tokenizer"):
        shingles.shingle_documents(*to_arrays([b"a"]), config=shingles.ShingleConfig(unit="tokens"))


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=8), max_size=5), st.integers(1, 9))
def test_shingle_items_equals_twin(items, num_items):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in items])]).astype(np.int64)
    found = shingles.shingle_items(np.array(sum(items, []), np.uint64), offsets, num_items=num_items)
    assert rows(found.hashes.tolist(), found.offsets) == [reference.shingle_items(row, num_items) for row in items]


@given(st.lists(st.lists(st.integers(2**63 - 2, 2**63 + 2), max_size=8), max_size=5))
def test_unique_sets_equals_twin(items):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in items])]).astype(np.int64)
    found = shingles.unique_sets(shingles.Shingles(np.array(sum(items, []), np.uint64), offsets))
    assert rows(found.hashes.tolist(), found.offsets) == reference.unique_sets(items)


def test_docstring_examples():
    words = normalise.find_words(*to_arrays([b"a b", b"", b"C"]))
    assert words.start_byte.tolist() == [0, 2, 0]
    assert words.end_byte.tolist() == [1, 3, 1]
    assert words.offsets.tolist() == [0, 2, 2, 3]
    assert normalise.normalise_texts(*to_arrays([b" The  CAT!"])).data.tobytes() == b"the cat"
    assert shingles.shingle_texts(*to_arrays([b"a b c d", b"a b", b""]), num_words=3).offsets.tolist() == [0, 2, 3, 3]
    out = np.zeros(4, np.uint64)
    counts = [roll_kernel(np.arange(4, dtype=np.uint64), num_items, 3, out) for num_items in (4, 2, 0)]
    assert counts == [2, 1, 0]


def test_case_punctuation_and_spacing_do_not_matter_but_order_does():
    texts = [b"The quick, brown fox", b"  the QUICK brown\n\nfox!!", b"quick the brown fox"]
    found = shingles.shingle_texts(*to_arrays(texts), num_words=5)
    assert found.hashes[0] == found.hashes[1] != found.hashes[2]


def test_documents_without_words_have_no_shingles():
    found = shingles.shingle_texts(*to_arrays([b"", b" ", b"--!--", "\u2026".encode(), b"\x00"]), num_words=3)
    assert found.offsets.tolist() == [0] * 6


@pytest.mark.parametrize("split", [1, 3, 7])
def test_shingles_do_not_depend_on_batches_slices_or_strides(split):
    generator = np.random.default_rng(11)
    texts = [b"".join(generator.choice(PIECES, size=i)) for i in range(21)]
    data, offsets = to_arrays(texts)
    whole = shingles.shingle_texts(data, offsets, num_words=2)
    parts = [shingles.shingle_texts(data, offsets[i : i + split + 1], num_words=2) for i in range(0, 21, split)]
    assert np.concatenate([part.hashes for part in parts]).tolist() == whole.hashes.tolist()
    strided = np.repeat(data, 2)[::2]
    assert shingles.shingle_texts(strided, offsets, num_words=2).hashes.tolist() == whole.hashes.tolist()


def test_one_long_line_of_one_megabyte():
    text = b"x" * 1_000_000
    found = shingles.shingle_texts(*to_arrays([text, b"y " * 500_000]), num_words=5)
    assert np.diff(found.offsets).tolist() == [1, 499_996]
    assert found.hashes[0] == reference.shingle_items([reference.hash_word(text)], 5)[0]
    assert len(set(found.hashes[1:].tolist())) == 1


@pytest.mark.parametrize("num_items", [1, 2, 5, 64])
def test_documents_of_many_pieces_equal_twin(num_items):
    generator = np.random.default_rng(6)
    words = [b"w%d" % value for value in generator.integers(0, 9000, 15_000)]
    # pieces of 16 KiB: many with borders, one stretch of 50 kB without any, one that ends where a piece does
    texts = [b" ".join(words), b"a b c " + b"x" * 50_000 + b" tail of words here now", b"a" * 16_383 + b" b c d e f"]
    config = shingles.ShingleConfig(num_items=num_items)
    found = shingles.shingle_documents(*to_arrays(texts), config=config)
    assert rows(found.hashes.tolist(), found.offsets) == reference.shingle_texts(
        [t.split() for t in texts], texts, config
    )


def test_hash_word_is_unsigned_and_does_not_read_what_follows():
    hashes = {int(hash_word_kernel(np.frombuffer(b"word" + tail * 8, np.uint8), 0, 4)) for tail in (b"\x00", b"\xff")}
    assert hashes == {reference.hash_word(b"word")}


def test_bad_input_is_refused_with_the_value():
    data, offsets = to_arrays([b"abc", b"def"])
    with pytest.raises(ConfigError, match="got 0"):
        shingles.shingle_texts(data, offsets, num_words=0)
    with pytest.raises(SchemaError, match=r"0\.\.9"):
        shingles.shingle_texts(data, np.array([0, 9]), num_words=1)
    with pytest.raises(SchemaError, match="int64"):
        shingles.shingle_items(np.array([1, 2]), np.array([0, 2]), num_items=1)
