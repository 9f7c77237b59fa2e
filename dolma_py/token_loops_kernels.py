"""Whether a row of tokens holds an n-gram that is repeated behind itself so many times."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from typing import Any

from dolma_py import numba_options

# isort: split
import numba


@numba.njit(**numba_options.KERNEL)
def find_looping_kernel(
    ids: Any, lengths: Any, min_period: int, max_period: int, min_repeats: int, out_is_looping: Any
) -> None:
    """Set True for each row with a loop; see token_loops.find_looping.

    ids : int64 (B, T), lengths : int64 (B,)    row b is ids[b, :lengths[b]]
    out_is_looping : bool (B,)                  False on entry

    An n-gram of n tokens stands r times in a row where (r - 1) * n tokens equal those n before: "abababx" has "ab" three times, for
    4 tokens equal those 2 before. The last token of such a stretch is tried first; where it differs, all stretches across it fall out.
    """
    for row in range(len(ids)):
        end = lengths[row]
        for period in range(min_period, max_period + 1):
            stretch = (min_repeats - 1) * period
            at = period  # tokens from here on may equal those a period before
            while at + stretch <= end:
                place = at + stretch - 1
                while place >= at and ids[row, place] == ids[row, place - period]:
                    place -= 1
                if place < at:
                    out_is_looping[row] = True
                    break
                at = place + 1
            if out_is_looping[row]:
                break
