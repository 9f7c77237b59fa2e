"""Hypothesis strategies for what breaks text code: odd texts, broken UTF-8, documents, spans."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Each has broken somebody's code: nothing, one character, combining marks, joined emoji, line ends, NUL, right-to-left,
# the byte order mark, the replacement character, non-characters, the last code point, characters of 1 to 4 bytes.
NASTY = (
    "", " ", "\n", "\r\n", "\r", "\t", "\x00", "a", "\x7f", "\u0085", "\u2028", "\u00a0", "\u200b", "\ufeff", "\ufffd",
    "\ufffe", "e\u0301", "\u00e9", "\u0130", "\u00df", "\ufb01", "\u05d0", "\u4e2d", "\uac00", "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0010ffff", "...", "\u2026", "- ", "\u2022 ",
    "the", "The", "THE", "lorem ipsum", "{", "}", "http://a.b/c?d=e", "a@b.cc", "1234567890",
)  # fmt: skip


def texts(*, max_size: int = 60) -> st.SearchStrategy[str]:
    """Valid text: pieces of NASTY and random characters, mixed; never a lone surrogate. `max_size` counts pieces."""
    characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    pieces = st.one_of(st.sampled_from(NASTY), characters)
    repeated = st.tuples(st.sampled_from(NASTY[1:]), st.integers(1, 80)).map(lambda pair: pair[0] * pair[1])
    return st.one_of(st.lists(pieces, max_size=max_size).map("".join), repeated)


# A lone continuation, a cut sequence of 2, 3 and 4 bytes, an overlong slash, a surrogate, beyond U+10FFFF, bytes that never
# occur.
BROKEN_UTF8 = (
    b"\x80",
    b"\xc3",
    b"\xe4\xb8",
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xff",
    b"\xfe",
)


def broken_bytes() -> st.SearchStrategy[bytes]:
    """Bytes that are not UTF-8, with good text around the bad place."""
    good = st.sampled_from(NASTY).map(lambda text: text.encode())
    return st.tuples(good, st.sampled_from(BROKEN_UTF8), good).map(b"".join).filter(_is_broken)


def _is_broken(data: bytes) -> bool:
    return "\ufffd" in data.decode(errors="replace") and data.decode(errors="ignore").encode() != data


def any_bytes() -> st.SearchStrategy[bytes]:
    """Good text, broken text and noise."""
    return st.one_of(texts().map(lambda text: text.encode()), broken_bytes(), st.binary(max_size=200))


def documents(*, max_size: int = 12) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows in the shape of DOCUMENT_SCHEMA, ids unique; equal texts are common."""
    few = st.lists(texts(max_size=8), min_size=1, max_size=4)
    return few.flatmap(
        lambda pool: st.lists(
            st.fixed_dictionaries(
                {
                    "id": st.integers(0, 10**6).map(lambda number: f"doc-{number}"),
                    "text": st.one_of(st.sampled_from(pool), texts(max_size=8)),
                    "source": st.sampled_from(["web", "code", "b\u00fccher"]),
                    "added": st.none(),
                    "created": st.none(),
                    "metadata": st.sampled_from([None, "{}", '{"url": "http://a.b/"}']),
                }
            ),
            max_size=max_size,
            unique_by=lambda row: row["id"],
        )
    )


def spans(length: int, *, max_size: int = 8) -> st.SearchStrategy[list[tuple[int, int]]]:
    """(start, end) pairs inside [0, length], start <= end, in any order; overlaps, touching and empty ones included."""
    position = st.integers(0, length)
    return st.lists(st.tuples(position, position).map(lambda pair: (min(pair), max(pair))), max_size=max_size)


def texts_with_spans(*, max_size: int = 8) -> st.SearchStrategy[tuple[str, list[tuple[int, int]]]]:
    """A text and spans over its UTF-8 bytes; a span may cut a character."""
    return texts(max_size=20).flatmap(
        lambda text: st.tuples(st.just(text), spans(len(text.encode()), max_size=max_size))
    )
