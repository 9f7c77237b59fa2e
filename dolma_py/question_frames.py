"""The frame in which a text stands in a question to a language model."""

from __future__ import annotations

import xxhash


def frame_text(shown: str) -> str:
    """The text between `<text MARK>` and `</text MARK>`. The mark is made from its hash and stands nowhere in it, so no text can end its frame.

    >>> frame_text("abc")
    '<text 44bc2cf5ad770999>\\nabc\\n</text 44bc2cf5ad770999>'
    """
    mark, number = "", 0
    while not mark or mark in shown:
        mark = xxhash.xxh64_hexdigest(shown.encode("utf-8", "surrogatepass"), seed=number)
        number += 1
    return f"<text {mark}>\n{shown}\n</text {mark}>"
