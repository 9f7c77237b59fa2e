"""Encodings: what is sure is decoded, small damage is repaired or marked, all else is refused; nothing is read as another language."""

from __future__ import annotations

import codecs
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.formats.text_encoding import decode_text

FRENCH = (
    "Le caf\u00e9 \u00e9tait tr\u00e8s \u00e0 c\u00f4t\u00e9 de l\u2019\u00e9glise, o\u00f9 l\u2019on chantait \u00ab No\u00ebl \u00bb. "
    * 5
)
GERMAN = "Die B\u00e4ume und H\u00e4user stehen \u00fcber der Stra\u00dfe, sch\u00f6n und gro\u00df. " * 5
PORTUGUESE = (
    "A informa\u00e7\u00e3o das na\u00e7\u00f5es n\u00e3o \u00e9 a ora\u00e7\u00e3o; \u00e9 a a\u00e7\u00e3o e a emo\u00e7\u00e3o. "
    * 5
)
RUSSIAN = (
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a "
    "\u0434\u0435\u043b\u0430 \u0443 \u0442\u0435\u0431\u044f \u0441\u0435\u0433\u043e\u0434\u043d\u044f? " * 5
)
JAPANESE = "\u4eca\u65e5\u306f\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u306d\u3002" * 10
CHINESE = "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u5427\u3002" * 10
POLISH = (
    "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144. Czy mo\u017cemy zobaczy\u0107 \u017c\u00f3\u0142te kwiaty? "
    * 5
)
GREEK = "\u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03c3\u03b5 \u03cc\u03bb\u03bf\u03c5\u03c2. " * 10


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        (FRENCH, "utf-8", "utf-8"), (FRENCH, "utf-8-sig", "utf-8"), (FRENCH, "utf-16", "utf-16"), (FRENCH, "utf-32", "utf-32"),
        (FRENCH, "utf-16-le", "utf-16-le"), (FRENCH, "utf-16-be", "utf-16-be"), (FRENCH, "cp1252", "windows-1252"),
        (GERMAN, "latin-1", "windows-1252"), (PORTUGUESE, "latin-1", "windows-1252"), ("Jos\u00e9 wrote it", "latin-1", "windows-1252"),
        (RUSSIAN, "cp1251", "cp1251"), (RUSSIAN, "koi8-r", "koi8-r"), (JAPANESE, "cp932", "cp932"), (JAPANESE, "euc-jp", "euc_jp"),
        (CHINESE, "gbk", "gb18030"), (GREEK, "iso8859-7", "iso8859-7"), (JAPANESE, "iso-2022-jp", "iso-2022-jp"),
        ("plain ASCII", "ascii", "utf-8"), ("\x1b[31mred\x1b[0m", "ascii", "utf-8"),
    ],
)  # fmt: skip
def test_what_is_sure_is_decoded(text, codec, name):
    assert decode_text(text.encode(codec)) == (text, name, "", 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"ELF\0\0\0", "binary"), (b"\xff\xfea\0\0\0b\0", "binary"), (bytes(range(256)) * 4, "binary"), (b"\xff\xfe\x00\xd8", "bad_encoding"),
        (b"\x01\0\x02\0\x03\0\x04\0", "binary"),  # small numbers of 16 bits
        (b"odd \x81 byte", "bad_encoding"), (bytes(range(128, 256)) * 10, "bad_encoding"), (POLISH.encode("cp1250"), "bad_encoding"),
        (RUSSIAN[:6].encode("cp1251"), "bad_encoding"),  # too short for a guess
        (FRENCH.encode() + FRENCH.encode("cp1252"), "bad_encoding"), (GERMAN.encode() + RUSSIAN.encode("koi8-r"), "bad_encoding"),
        (FRENCH.encode().replace(b"\xc3", b"\xff"), "bad_encoding"),
    ],
)  # fmt: skip
def test_what_is_not_sure_is_refused(data, reason):
    assert decode_text(data).reason == reason
    assert decode_text(data).text == ""


def test_a_few_bytes_in_utf8_cost_themselves_alone():
    data = FRENCH.encode()
    cut = data[: data.rindex(b"\xc3") + 1]
    assert decode_text(cut) == (FRENCH[: len(cut.decode("utf-8", "ignore"))] + "\ufffd", "utf-8", "", 1)
    wrong = data + b" don\x92t go \x97 to the caf\xe9, na\xefve \xe9cole"
    assert decode_text(wrong) == (
        FRENCH + " don\u2019t go \u2014 to the caf\u00e9, na\u00efve \u00e9cole",
        "utf-8",
        "",
        0,
    )
    assert decode_text(data + b"\xe4\xb8 and \xd0").reason == "bad_encoding"  # two in a few hundred characters
    long = (FRENCH * 20).encode() + b"\xe4\xb8 and \xd0"
    assert decode_text(long) == (FRENCH * 20 + "\ufffd and \ufffd", "utf-8", "", 2)
    assert decode_text(long).facts == {"encoding": "utf-8", "replaced_chars": 2}


def test_what_the_text_itself_has_of_replacement_signs_is_not_counted():
    assert decode_text(("\ufffd" * 50 + FRENCH).encode()).replaced == 0
    assert decode_text(("\ufffd" * 50 + FRENCH).encode() + b"\xe9").replaced == 1


def test_a_declared_encoding_is_believed_if_the_bytes_are_text_in_it():
    data = POLISH.encode("iso8859-2")
    assert decode_text(data).reason == "bad_encoding"
    assert decode_text(data, ["ISO-8859-2"]) == (POLISH, "iso8859-2", "", 0)
    assert decode_text(RUSSIAN.encode("cp1251"), ["iso-8859-1", "windows-1251"]).text == RUSSIAN
    assert decode_text(RUSSIAN.encode("cp1251"), ["iso-8859-1"]).text == RUSSIAN
    assert decode_text(FRENCH.encode(), ["windows-1251"]).text == FRENCH  # UTF-8 is not so by chance
    for lie in ("utf-16", "utf-8", "made-up", "", "utf-7", "replacement", "x\0y", "base64", "zip"):
        assert decode_text(FRENCH.encode("cp1252"), [lie]).text == FRENCH


def test_a_broken_character_of_a_declared_encoding_is_marked():
    text = JAPANESE * 10
    data = text.encode("cp932")
    broken = data[:1000] + b"\x82 " + data[1000:]
    found = decode_text(broken, ["shift_jis"])
    assert found == (text[:500] + "\ufffd " + text[500:], "cp932", "", 1)
    assert decode_text(data[:1000] + b"\xff" + data[1000:], ["shift_jis"]).reason == "bad_encoding"


@given(st.binary(max_size=300), st.lists(st.sampled_from(["utf-8", "gbk", "koi8-r", "x", "utf-16"]), max_size=2))
def test_any_bytes_give_text_or_a_reason(data, declared):
    found = decode_text(data, declared)
    assert found.reason in ("", "binary", "bad_encoding")
    assert "\0" not in found.text.encode().decode()
    assert bool(found.text) <= (not found.reason)


@given(
    st.text(min_size=1).filter(lambda text: "\0" not in text and not text.startswith("\ufeff")),
    st.sampled_from(["utf-8", "utf-16", "utf-32"]),
)
def test_unicode_comes_back(text, codec):
    assert decode_text(text.encode(codec) if codec != "utf-8" else codecs.BOM_UTF8 + text.encode()).text == text


@pytest.mark.parametrize(
    "unit", [bytes(range(128, 256)), b"\xc3\xa9\xff", b"a\x80", b"\xe4\xb8", "\u00e9".encode() * 4 + b"\x92"]
)
def test_time_stays_linear(unit):
    begin = time.process_time()
    decode_text(unit * (8_000_000 // len(unit)))
    assert time.process_time() - begin < 20
