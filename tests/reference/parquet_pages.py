"""Strings of a PLAIN page of Parquet and indices of a dictionary page, one by one."""

from __future__ import annotations

import struct


def longest_word(data: bytes) -> int:
    """Bytes of the longest, -1 where the page is cut off in one."""
    longest = 0
    while len(data) >= 4:
        (length,) = struct.unpack("<I", data[:4])
        longest, data = max(longest, length), data[4 + length :] if len(data) >= 4 + length else b"?"
    return longest if data == b"" else -1


def count_indices(data: bytes, num_values: int, counts: list[int]) -> int:
    """Add to counts how often each index stands in a page of them, num_values at most: how many were read, -1 where the page is wrong."""
    if not data or data[0] > 32:
        return -1
    width, rest, found = data[0], data[1:], []
    while rest and len(found) < num_values:
        head, number = 0, 0
        while True:
            if number >= len(rest) or number > 4:
                return -1
            head += (rest[number] % 128) * 128**number
            number += 1
            if rest[number - 1] < 128:
                break
        rest = rest[number:]
        if head % 2 and width:
            packed, rest = rest[: head // 2 * width], rest[head // 2 * width :]
            if len(packed) < head // 2 * width:
                return -1
            bits = "".join(f"{byte:08b}"[::-1] for byte in packed)
            run = [int(bits[at : at + width][::-1], 2) for at in range(0, len(bits), width)]
        else:
            size = -(-width // 8)
            if len(rest) < size:
                return -1
            times = head // 2 * (8 if head % 2 else 1)
            index, rest = int.from_bytes(rest[:size], "little"), rest[size:]
            if index >= len(counts):
                return -1
            run = [index] * min(times, num_values)
        run = run[: num_values - len(found)]
        if any(index >= len(counts) for index in run):
            return -1
        found += run
    for index in found:
        counts[index] += 1
    return len(found)
