"""Slow twin of mixers/mix_swarm.py."""

from __future__ import annotations

import itertools


def grid_mixes(num_sources: int, parts: int) -> list[list[float]]:
    """All tuples of whole numbers that sum to `parts`, in the order of tuples."""
    counts = [row for row in itertools.product(range(parts + 1), repeat=num_sources) if sum(row) == parts]
    return [[count / parts for count in row] for row in counts]
