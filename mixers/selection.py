"""Who of a pool comes first: by hash, by score, or by a draw weighted with the score; and which cells share a pool.

Every key is a function of the document's id, score and pool alone, so no selection depends on order or partitions.
Legend: N documents, C cells, P pools, B buckets per group.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import derive_seed, mix_keys
from mixers.quality_thresholds import order_scores

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

MODES = ("hash", "top", "reservoir")
LN2 = 0.6931471805599453
LOG_TERMS = 12  # of the series in (m - 1) / (m + 1), at most 0.1716: the next is below 2^-58 of the first
INFINITE = 0x7FF0_0000_0000_0000  # bits of the float64 above all finite ones


class SelectionConfig(Config):
    """How a source's documents are chosen, where not by hash within each cell. They are chosen within (source, topic) then."""

    mode: Literal["hash", "top", "reservoir"] = Field(
        default="hash",
        description="who comes first: the smallest hash; the highest score; or a draw without replacement weighted by the score "
        "(Efraimidis and Spirakis 2006), as Olmo 3 takes code by educational score",
    )
    top_buckets: int | None = Field(
        default=None,
        ge=1,
        description="only the highest buckets take part, and share what is planned of all: 2 of 20 are Dolmino's top two "
        "vigintiles, 4 of 20 the upper 20% of its code; null: all",
    )
    max_repetition: float = Field(
        default=7.0,
        gt=0,
        description="most copies of a document on average over the buckets that take part; Olmo 3 report A.2.4",
    )


class Pools(NamedTuple):
    """P pools: sets of cells with one budget, in the order of their cells."""

    of_cell: npt.NDArray[np.int32]  # (C,) -1 for a cell that takes no part
    of_budget: npt.NDArray[np.int32]  # (C,) where the cell's planned tokens go
    planned: Ints  # (P,) tokens
    chain: npt.NDArray[np.int32]  # (P,) number of the source
    seeds: UInt64s  # (P,)
    mode: npt.NDArray[np.int8]  # (P,) place in MODES
    max_repetition: Floats  # (P,) infinite for a pool of one cell: cut_to_caps keeps the plan's


def make_pools(
    cells: list[tuple[str, str, int]],
    *,
    planned: Ints,
    num_buckets: int,
    selection: dict[str, SelectionConfig],
    seed: int,
) -> Pools:
    """Each cell a pool of its own, and each (source, topic) of a source with a selection one pool of its highest buckets.

    Parameters
    ----------
    cells : C of (source, topic, bucket)    sorted, every group with all its buckets
    planned : int64 (C,)                    tokens

    Raises
    ------
    ConfigError                             a selection for a source that has no cells, or of more buckets than there are
    """
    sources = sorted({source for source, _, _ in cells})
    for name, config in sorted(selection.items()):
        if name not in sources:
            raise ConfigError(f"selection.{name}", name, f"expected one of {sources}")
        if config.top_buckets is not None and config.top_buckets > num_buckets:
            raise ConfigError(
                f"selection.{name}.top_buckets", config.top_buckets, f"at most num_buckets, {num_buckets}"
            )
    of_cell, of_budget = np.full(len(cells), -1, np.int32), np.zeros(len(cells), np.int32)
    numbers: dict[tuple[str, str, int], int] = {}
    rows: list[tuple[int, int, int, float]] = []
    budgets: list[int] = []
    for at, (source, topic, bucket) in enumerate(cells):
        chosen = selection.get(source)
        key = (source, topic, bucket if chosen is None else -1)
        if key not in numbers:
            numbers[key] = len(rows)
            names = (source, topic) if chosen is None else (source, topic, chosen.mode)
            own = derive_seed(seed, "sample", *names, *((bucket,) if chosen is None else ()))
            mode = MODES.index("hash" if chosen is None else chosen.mode)
            rows.append((sources.index(source), own, mode, np.inf if chosen is None else chosen.max_repetition))
            budgets.append(0)
        of_budget[at] = numbers[key]
        budgets[numbers[key]] += int(planned[at])
        lowest = 0 if chosen is None or chosen.top_buckets is None else num_buckets - chosen.top_buckets
        if bucket >= lowest:
            of_cell[at] = numbers[key]
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    return Pools(
        of_cell, of_budget, np.array(budgets, np.int64), np.array(columns[0], np.int32), np.array(columns[1], np.uint64),
        np.array(columns[2], np.int8), np.array(columns[3], np.float64),
    )  # fmt: skip


def order_keys(
    pool: npt.NDArray[np.int32], *, id_hash: UInt64s, score: npt.NDArray[np.float32], pools: Pools
) -> tuple[UInt64s, UInt64s]:
    """(high, low), uint64 (N,) each: documents of a pool are taken by rising (high, low); 0 outside every pool.

    hash: high is mix(id_hash ^ seed of the pool). top: high begins with the score's bits, highest first, and equal scores go by
    that hash. reservoir: high is -ln(u) / score with u in (0, 1) from that hash: of those left the next one is each document
    with a chance in proportion to its score (Efraimidis and Spirakis 2006; their u^(1/w), largest first, is the same order). Who has a
    score of 0 or less comes last, by hash.

    Raises
    ------
    SchemaError     lengths differ, or a NaN score
    """
    if not len(pool) == len(id_hash) == len(score):
        raise SchemaError("score", f"{len(pool)} rows", f"{len(id_hash)} id hashes, {len(score)} scores")
    if np.isnan(score).any():
        raise SchemaError("score", "no NaN", f"{int(np.isnan(score).sum())} of {len(score)} NaN")
    high, low = np.zeros(len(pool), np.uint64), np.zeros(len(pool), np.uint64)
    rows = np.flatnonzero(pool >= 0)
    key = mix_keys(id_hash[rows] ^ pools.seeds[pool[rows]], seed=0)
    mode = pools.mode[pool[rows]]
    by_hash, top, drawn = (mode == number for number in range(len(MODES)))
    high[rows[by_hash]] = key[by_hash]
    falling = np.uint64((1 << 32) - 1) - order_scores(score[rows[top]]).astype(np.uint64)
    high[rows[top]] = falling << np.uint64(32) | key[top] >> np.uint64(32)
    high[rows[drawn]] = draw_by_weight(key[drawn], score[rows[drawn]])
    low[rows] = np.where(by_hash, np.uint64(0), key)
    return high, low


def draw_by_weight(key: UInt64s, weight: npt.NDArray[np.float32]) -> UInt64s:
    """Whole numbers, uint64 (N,), in the order of -ln(u) / weight, u = ((key >> 12) + 1/2) / 2^52; weights of 0 and less come last.

    Examples
    --------
    >>> bool(np.diff(draw_by_weight(np.uint64([5, 5, 5]), np.float32([4, 1, 0]))).all())
    True
    """
    u = ((key >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    has = weight > 0
    with np.errstate(over="ignore"):
        waits = -log_exactly(u) / np.where(has, weight, 1).astype(np.float64)
    return np.where(has, waits.view(np.uint64), np.uint64(INFINITE) | key >> np.uint64(12))


def log_exactly(values: Floats) -> Floats:
    """The natural logarithm of positive numbers, float64 (N,), within 2 ulp and with the same bits on every processor.

    np.log chooses its instructions, and so its last bit, by the processor; sums, products and quotients have one right answer. So:
    ln(m 2^e) = e ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), m in [sqrt 1/2, sqrt 2), the series by Horner's rule.
    """
    mantissa, exponent = np.frexp(values)
    low = mantissa < 0.7071067811865476
    mantissa = np.where(low, mantissa * 2, mantissa)
    exponent = exponent - low
    s = (mantissa - 1) / (mantissa + 1)
    square = s * s
    total = np.zeros_like(values)
    for term in range(LOG_TERMS, 0, -1):
        total = (total + 1 / (2 * term + 1)) * square
    logs: Floats = exponent * LN2 + (2 * s + 2 * s * total)
    return logs
