import numpy as np
import pytest

from taggers import characters
from taggers.character_kernels import character_class_kernel, decode_kernel, lower_ascii_kernel
from tests.reference import word_stats as reference

LETTERS = {"": 0, "L": 1, "N": 2, "K": 3, "C": 4, "S": 5, "E": 6, ":": 7, ";": 8, ".": 9}


def test_every_character_has_the_class_of_the_reference():
    table = characters.character_table()
    codes = [code for code in range(characters.TABLE_SIZE) if not 0xD800 <= code < 0xE000]
    wrong = [hex(code) for code in codes if table[code] & 15 != LETTERS[reference.word_class(chr(code))]]
    assert wrong == []


def test_every_character_has_pythons_properties():
    table = characters.character_table()
    codes = [code for code in range(characters.TABLE_SIZE) if not 0xD800 <= code < 0xE000]
    expected = [(chr(c).isspace(), chr(c).isalpha(), chr(c).isalnum()) for c in codes]
    got = [(bool(e & 0x10), bool(e & 0x20), bool(e & 0x40)) for e in table[codes].tolist()]
    assert got == expected


def test_characters_beyond_the_table_are_marks_or_nothing():
    table = characters.character_table()
    codes = [*range(characters.TABLE_SIZE, 0x110000, 4099), *range(0xE0000, 0xE0200), 0x10FFFF]
    got = [character_class_kernel(table, code) & 15 for code in codes]
    assert got == [LETTERS[reference.word_class(chr(code))] for code in codes]


def test_lower_case_is_pythons_where_it_is_one_character():
    table = characters.lower_table()
    wrong = [
        hex(code)
        for code in range(characters.TABLE_SIZE)
        if not 0xD800 <= code < 0xE000 and len(chr(code).lower()) == 1 and table[code] != ord(chr(code).lower())
    ]
    assert wrong == []


@pytest.mark.parametrize("char", ["a", "\x7f", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff"])
def test_decode_gives_code_point_and_width(char):
    data = np.frombuffer(char.encode(), np.uint8)
    assert decode_kernel(data, 0, len(data)) == (ord(char), len(data))


def test_decode_example():
    data = np.frombuffer("a\u00e9".encode(), np.uint8)
    assert decode_kernel(data, 0, 3) == (97, 1)
    assert decode_kernel(data, 1, 3) == (233, 2)


@pytest.mark.parametrize("blob", [b"\xc3", b"\xe2\x80", b"\xf0\x9f\x98", b"\x80", b"\xff"])
def test_decode_of_broken_characters_stays_inside(blob):
    data = np.frombuffer(blob + b"\x80\x80\x80", np.uint8)
    code, width = decode_kernel(data, 0, len(blob))
    assert (width, code >= 0) == (1, True)


def test_capitals_of_ascii_become_small_and_no_other_byte_changes():
    every = np.arange(256, dtype=np.uint8)
    assert bytes(lower_ascii_kernel(byte) for byte in every) == every.tobytes().lower()
