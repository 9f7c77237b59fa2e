"""Strings of a PLAIN page of Parquet, one by one."""

from __future__ import annotations

import struct


def longest_word(data: bytes) -> int:
    """Bytes of the longest, -1 where the page is cut off in one."""
    longest = 0
    while len(data) >= 4:
        (length,) = struct.unpack("<I", data[:4])
        longest, data = max(longest, length), data[4 + length :] if len(data) >= 4 + length else b"?"
    return longest if data == b"" else -1
