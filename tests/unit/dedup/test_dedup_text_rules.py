"""Named text rules against regular expressions over Python strings."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.shingles import ShingleConfig, shingle_documents
from dedup.text_rules import apply_rules, build_table
from dedup.text_rules_kernels import decode_character_kernel
from dolma_py.errors import ConfigError, SchemaError
from tests.reference import text_rules as reference
from tests.strategies import any_bytes

RULES = ("duplodocus", "datatrove", "text-dedup", "bigcode", "whitespace", "none")
# the two characters whose lower case depends on what stands beside them, or has a mark of its own
CONTEXT = ("\u03a3".encode(), "\u0130".encode())
TEXTS = any_bytes().filter(lambda text: not any(sign in text for sign in CONTEXT))


def to_arrays(texts):
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)]).astype(np.int64)


def apply(texts, rules):
    view = apply_rules(*to_arrays(texts), rules=rules)
    return [view.data[a:b].tobytes() for a, b in pairwise(view.offsets.tolist())]


@pytest.mark.parametrize("rules", RULES)
@given(texts=st.lists(TEXTS, max_size=4))
def test_apply_rules_equals_twin(rules, texts):
    assert apply(texts, rules) == reference.apply_rules(texts, rules)


@pytest.mark.parametrize("rules", RULES)
def test_every_character_alone_and_beside_another_equals_twin(rules):
    points = [
        *range(0x3100),
        *range(0xA000, 0xA100),
        *range(0xF900, 0xFB10),
        *range(0xFE00, 0x10000),
        *range(0x1D400, 0x1D800),
    ]
    texts = [f"a{chr(point)}B1{chr(point)}2".encode() for point in points if chr(point) not in "\u03a3\u0130"]
    assert apply(texts, rules) == reference.apply_rules(texts, rules)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("dolma-py", "non stop caf\u00e9 3 14159 x 1"),
        ("duplodocus", "nonstop caf\u00e9 314159 x1"),
        ("datatrove", "non stop cafe 0 0 x 0"),
        ("text-dedup", " non stop  caf\u00e9 3 14159  x_1 "),
        ("bigcode", " Non stop  Caf  3 14159  x_1 "),
        ("whitespace", "Non-stop Caf\u00e9 3.14159, x_1"),
        ("none", " Non-stop  Caf\u00e9 3.14159, x_1\n"),
    ],
)
def test_what_each_rule_does(rules, expected):
    assert apply([" Non-stop  Caf\u00e9 3.14159, x_1\n".encode()], rules) == [expected.encode()]


def test_a_piece_of_an_array_and_padding():
    data, offsets = to_arrays([b"A b", b"C d", b"E f"])
    view = apply_rules(data, offsets[1:3], rules="duplodocus")
    assert view.offsets.tolist() == [0, 3]
    assert view.data.tobytes() == b"c d" + b"\0" * 8


@pytest.mark.parametrize(
    "text", [b"\xc3\xa9", b"\xe4\xb8\xad", b"\xf0\x9f\x98\x80", b"\xf4\x8f\xbf\xbf", b"\xed\x9f\xbf"]
)
def test_characters_are_decoded(text):
    assert decode_character_kernel(np.frombuffer(text, np.uint8), 0, len(text)) == (ord(text.decode()), len(text))


@pytest.mark.parametrize(
    "text", [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"\x80", b"\xff", b"\xe0\x80\x80"]
)
def test_what_is_not_utf8_is_not_decoded(text):
    assert decode_character_kernel(np.frombuffer(text, np.uint8), 0, len(text)) == (-1, 1)


def test_the_shingle_strings_of_text_dedup_and_bigcode():
    # their definition: split, take n in a row, join by a space, as a set; from 5 and 10 words on
    text = "Some Text, with-punctuation... and (some) re_peated words; and words 123 caf\u00e9!"
    for rules, pattern, source in (("text-dedup", r"\W", text.lower()), ("bigcode", "[^A-Za-z_0-9]", text)):
        words = re.split(pattern, source)
        strings = {" ".join(words[k : k + 5]).encode() for k in range(len(words) - 4)}
        config = ShingleConfig(rules=rules, hash="xxh64")
        found = shingle_documents(*to_arrays([text.encode()]), config=config)
        assert set(found.hashes.tolist()) == {hash_of(string) for string in strings}


def hash_of(string):
    import xxhash

    return xxhash.xxh64_intdigest(string)


def test_bad_rules_and_offsets_are_refused():
    with pytest.raises(ConfigError, match="datatrov"):
        build_table("datatrov")
    with pytest.raises(SchemaError, match=r"0\.\.9"):
        apply_rules(np.zeros(3, np.uint8), np.array([0, 9]), rules="bigcode")
