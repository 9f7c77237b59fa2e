"""UTF-8 by the standard library."""

from __future__ import annotations


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def are_utf8(texts: list[bytes]) -> bool:
    """Whether all of them are."""
    return all(map(is_utf8, texts))


def copy_utf8(texts: list[bytes]) -> bytes | None:
    """All of them, one after the other; None where one of them is no UTF-8."""
    return b"".join(texts) if are_utf8(texts) else None
