"""Which encoding bytes are in. What is sure is decoded, small damage is repaired or marked, everything else is refused.

In this order, the first that holds:

1. a byte order mark of UTF-8, UTF-16 or UTF-32; UTF-16 without one where the zero bytes tell it; any other zero byte: binary
2. UTF-8, which hardly any other text is by chance
3. UTF-8 with damage: four characters beyond ASCII or more for each place that is none. A lone byte between ASCII is what it is in
   windows-1252 (a quote or a letter pasted from elsewhere); every other place becomes U+FFFD
4. what was declared (HTTP header, meta element), if the bytes are text in it
5. the guess of resiliparse's detector, if the bytes are text in it of the scripts that it is for
6. windows-1252, if its characters beyond ASCII stand as those of a western language do

Up to one character in a thousand may be U+FFFD, counted as `replaced`; more, or no answer: bad_encoding. A declared encoding in which the
bytes read well is believed: that a page says one eastern encoding and means another of the same script cannot be known here.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

GOOD_PER_BAD = 4  # characters beyond ASCII for each place that is no UTF-8
CHARS_PER_REPLACED = 1000  # at least, for each U+FFFD that is put in; one is always allowed
SNIFF_BYTES = 64 << 10
MIN_GUESSED_BYTES = 8  # beyond ASCII, for the detector's guess to count
REPLACED = "\ufffd"
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# what browsers read under a name, where Python's codec of that name knows fewer characters
WIDER = {
    "shift_jis": "cp932", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "tis-620": "cp874", "iso8859-11": "cp874",
    "iso8859-1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254",
}  # fmt: skip
NAMES = {"cp1252": "windows-1252"}
WIDE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-7"})
# codec -> what its characters beyond ASCII must be, all but a tenth. Of encodings of one script the letters' case tells which it is.
CYRILLIC, GREEK, HEBREW = r"\u0400-\u045f\u0490\u0491", r"\u0384-\u03ce", r"\u05d0-\u05ea"
HAN, KANA, HANGUL, WIDE_SIGNS = (
    r"\u4e00-\u9fff",
    r"\u3040-\u30ff\uff61-\uff9f",
    r"\uac00-\ud7a3",
    r"\u3000-\u303f\uff00-\uff60",
)
SCRIPTS = {
    **dict.fromkeys(("cp1251", "koi8-r", "koi8-u", "iso8859-5", "cp866", "mac-cyrillic"), CYRILLIC),
    **dict.fromkeys(("cp1253", "iso8859-7"), GREEK), **dict.fromkeys(("cp1255", "iso8859-8"), HEBREW),
    **dict.fromkeys(("cp1256", "iso8859-6"), r"\u060c-\u0652"), "cp874": r"\u0e01-\u0e5b",
    **dict.fromkeys(("cp932", "euc_jp"), HAN + KANA + WIDE_SIGNS), "cp949": HANGUL + HAN + WIDE_SIGNS,
    **dict.fromkeys(("gb18030", "big5hkscs"), HAN + WIDE_SIGNS + "\u2014\u2018-\u201d\u2026\u00b7"),
}  # fmt: skip
WESTERN = frozenset({"cp1252", "iso8859-15"})
KANA_SIGN = re.compile(f"[{KANA}]")
JAPANESE = frozenset({"cp932", "euc_jp"})  # Korean bytes are kanji in one of them, but never kana
# letters of western languages, and the signs that stand between words, some of them inside; the rest of windows-1252 is rare in texts
LETTERS = "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e"
INNER = "\u00a0\u00ad\u00b7\u2013\u2014\u2018\u2019\u2022"
SIGNS = (
    INNER + "\u00a1\u00a3\u00a7\u00a9-\u00ab\u00ae\u00b0-\u00b4\u00b9-\u00bf\u201a-\u201e\u2026\u2039\u203a\u20ac\u2122"
)
NO_TEXT = re.compile("[\x80-\x9f\uf8f0-\uf8f3]")  # control characters, and what Python has in their place in Shift JIS
HIGH = re.compile("[^\x00-\x7f]")
RUN = re.compile(f"[{LETTERS}]{{3,}}")
ODD = re.compile(
    f"[^\x00-\x7f{LETTERS}{SIGNS}]|(?<=[A-Za-z{LETTERS}])[^\x00-\x7f{LETTERS}{INNER}](?=[A-Za-z{LETTERS}])"
)


class Decoded(NamedTuple):
    """Text with the encoding it was in; or the reason why there is none: binary, bad_encoding."""

    text: str
    encoding: str
    reason: str = ""
    replaced: int = 0  # characters that could not be read, each U+FFFD in the text

    @property
    def facts(self) -> dict[str, str | int]:
        """For metadata."""
        return {"encoding": self.encoding} | ({"replaced_chars": self.replaced} if self.replaced else {})


def decode_text(data: bytes, declared: Sequence[str] = ()) -> Decoded:
    """Bytes to text; `declared` are names of encodings as a server or a page gives them, the more trusted first.

    >>> decode_text(bytes([99, 97, 102, 233]))
    Decoded(text='caf\\xe9', encoding='windows-1252', reason='', replaced=0)
    >>> decode_text(bytes([0xCF, 0xF0, 0xE8, 0xE2, 0xE5, 0xF2])).reason
    'bad_encoding'
    """
    for mark, codec in MARKS:
        if data.startswith(mark):
            return _decode_wide(data, codec)
    if b"\0" in data:
        wide = _guess_wide(data)
        return _decode_wide(data, wide) if wide else Decoded("", "", "binary")
    escaped = _decode_escaped(data)
    if escaped is not None:
        return escaped
    try:
        return Decoded(data.decode("utf-8-sig"), "utf-8")
    except UnicodeDecodeError:
        pass
    found, is_mixed = _repair_utf8(data)
    if found is not None:
        return found
    refused = Decoded("", "", "bad_encoding")
    for name in declared:
        codec = _find_codec(name)
        if (
            codec
            and (found := _try_codec(data, codec)) is not None
            and (codec not in WESTERN or _is_western(found.text))
        ):
            return found
    high_bytes = _count_high(data)
    guess = _find_codec(detect_encoding(data, from_html_meta=False) or "") if high_bytes >= MIN_GUESSED_BYTES else ""
    if guess in SCRIPTS and (found := _try_codec(data, guess)) is not None and _is_of(found.text, guess):
        return found
    if is_mixed or (guess and guess not in WESTERN):
        return refused
    found = _try_codec(data, guess or "cp1252")
    return found if found is not None and _is_western(found.text) else refused


def _decode_wide(data: bytes, codec: str) -> Decoded:
    try:
        text = data.decode(codec)
    except UnicodeDecodeError:
        return Decoded("", codec, "bad_encoding")
    return Decoded("", codec, "binary") if "\0" in text else Decoded(text, codec)


def _guess_wide(data: bytes) -> str:
    """UTF-16 by its zero bytes: on one side of the pairs, of a third of them, and no control characters beside them."""
    head = np.frombuffer(data[: min(len(data), SNIFF_BYTES) // 2 * 2], np.uint8)
    if len(data) % 2 or len(head) < 4:
        return ""
    even, odd = (int(np.count_nonzero(head[start::2] == 0)) for start in (0, 1))
    if min(even, odd) or 6 * max(even, odd) < len(head):
        return ""
    low = head[0::2] if odd else head[1::2]
    high = head[1::2] if odd else head[0::2]
    is_control = (high == 0) & (low < 32) & (low != 9) & (low != 10) & (low != 12) & (low != 13)
    return "" if is_control.any() else "utf-16-le" if odd else "utf-16-be"


def _decode_escaped(data: bytes) -> Decoded | None:
    """ISO-2022-JP, which is ASCII with escapes; None for anything else."""
    if b"\x1b$" not in data or not data.isascii():
        return None
    try:
        text = data.decode("iso2022_jp")
    except UnicodeDecodeError:
        return None
    return None if "\x1b" in text else Decoded(text, "iso-2022-jp")


def _repair_utf8(data: bytes) -> tuple[Decoded | None, bool]:
    """(the text, whether the bytes are UTF-8 in a part): None as text where UTF-8 is not the bytes' encoding, or not theirs alone."""
    marked = data.decode("utf-8-sig", "replace")
    bad = marked.count(REPLACED) - data.count(REPLACED.encode())
    good = len(marked) - (len(data) - _count_high(data)) - bad
    if good < GOOD_PER_BAD * bad:
        return None, good > 1 and GOOD_PER_BAD * good >= bad
    text = data.decode("utf-8-sig", "dolma-py-repair")
    return _accept(text, "utf-8", text.count(REPLACED) - data.count(REPLACED.encode())), True


def _accept(text: str, codec: str, replaced: int) -> Decoded:
    name = NAMES.get(codec, codec)
    if replaced > max(1, len(text) // CHARS_PER_REPLACED):
        return Decoded("", name, "bad_encoding")
    return Decoded(text, name, "", replaced)


def _repair_byte(error: UnicodeError) -> tuple[str, int]:
    """What a place that is no UTF-8 becomes: a lone byte between ASCII what it is in windows-1252, all else U+FFFD.

    A byte that could begin a character needs a letter beside it: where a text was cut off, such a byte stands at the cut.
    """
    assert isinstance(error, UnicodeDecodeError)
    data, start, end = error.object, error.start, error.end
    if end - start == 1 and start > 0 and end < len(data) and data[start - 1] < 128 and data[end] < 128:
        beside = bytes([data[start - 1], data[end]])
        if data[start] < 0xA0 or any(chr(byte).isalpha() for byte in beside):
            return data[start:end].decode("cp1252", "replace"), end
    return REPLACED, end


codecs.register_error("dolma-py-repair", _repair_byte)


def _find_codec(name: str) -> str:
    """Python's name of the codec by which browsers read a declared encoding; "" for one that is unknown, UTF-8 or wide."""
    found = map_encoding_to_html5(name.strip(), fallback_utf8=False) if name.strip() else None
    if not found:
        return ""
    found = WIDER.get(found, found)
    # the bytes are no UTF-8 and have no zeros, so a page that says so errs
    return "" if found in WIDE or found.startswith("utf") or not _is_codec(found) else found


def _is_codec(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def _try_codec(data: bytes, codec: str) -> Decoded | None:
    """The text in that encoding; None where too much of it is none, or control characters stand in it."""
    text = data.decode(codec, "replace")
    found = _accept(text, codec, text.count(REPLACED))
    return None if found.reason or NO_TEXT.search(text) else found


def _count_high(data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) & 0x80))


def _is_of(text: str, codec: str) -> bool:
    """Whether nine tenths of what is beyond ASCII belongs to the codec's script, and few words have a capital behind a small letter."""
    high, script = len(HIGH.findall(text)), SCRIPTS[codec]
    if codec in JAPANESE and 10 * len(KANA_SIGN.findall(text)) < high:
        return False
    own = re.findall(f"[{script}]", text)
    words = re.findall(f"[{script}]{{2,}}", text)
    turned = sum(word[1:] != word[1:].lower() and word != word.upper() for word in words)
    return 10 * len(own) >= 9 * high and 10 * turned <= len(words)


def _is_western(text: str) -> bool:
    """Letters beyond ASCII stand alone or in twos, and signs between words: a tenth may not."""
    high = len(HIGH.findall(text))
    runs = sum(len(run) for run in RUN.findall(text) if len(set(run)) > 1)
    odd = len(ODD.findall(text))
    return 10 * runs <= high and 10 * odd <= high
