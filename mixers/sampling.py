"""Which documents, and how often: copies of every document of a cell, and the held-out split, both by hash of the id.

Nothing here depends on row order or partitions: a document's fate is a function of its cell, its tokens and the hash of its
id, and a cell's outcome a function of the set of its documents. Legend: N documents, C cells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from dolma_py.hashing import derive_seed, mix_keys, uniform_hash
from mixers.percentiles import check_cells, find_group_starts

UInt64s = npt.NDArray[np.uint64]


class HeldoutConfig(Config):
    """How many documents of each source are set aside for validation; one of the two is given."""

    heldout_frac: float | None = Field(
        None, ge=0, lt=1, description="share of each source's documents, 0 to 1 (exclusive); own choice"
    )
    heldout_docs: int | None = Field(
        None, ge=0, description="documents of each source; never more than half of a source; own choice"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> HeldoutConfig:
        if (self.heldout_frac is None) == (self.heldout_docs is None):
            raise ValueError("give one of heldout_frac and heldout_docs")
        return self


def select_heldout(
    source: npt.NDArray[np.int32], *, id_hash: UInt64s, seed: int, config: HeldoutConfig
) -> npt.NDArray[np.bool_]:
    """True for documents that go to validation and never into the mix.

    With a share, the documents whose hash lies in that share of the hash range (so adding documents moves none); with a number,
    the documents of each source with the smallest hash.

    Parameters
    ----------
    source : int32 (N,)         number of each document's source
    id_hash : uint64 (N,)       hash of the id; documents whose hashes collide are taken in row order
    seed : int                  of the run

    Returns
    -------
    is_heldout : bool (N,)
    """
    if len(source) != len(id_hash):
        raise SchemaError("id_hash", f"{len(source)} rows, one per source", len(id_hash))
    hash_seed = derive_seed(seed, "heldout")
    if config.heldout_frac is not None:
        return uniform_hash(id_hash, seed=hash_seed) < config.heldout_frac
    key = mix_keys(id_hash, seed=hash_seed)
    is_heldout = np.zeros(len(source), np.bool_)
    if len(source) == 0 or config.heldout_docs is None:
        return is_heldout
    order = np.lexsort((id_hash, key, source))
    starts = find_group_starts(source[order])
    counts = np.diff(np.append(starts, len(source)))
    rank = np.arange(len(source)) - np.repeat(starts, counts)
    wanted = np.minimum(config.heldout_docs, counts // 2)
    is_heldout[order] = rank < np.repeat(wanted, counts)
    return is_heldout


def derive_cell_seeds(cells: list[tuple[str, str, int]], *, seed: int) -> UInt64s:
    """One 64-bit seed per cell, uint64 (C,), from its (source, topic, bucket): the same whatever other cells a plan has."""
    return np.array([derive_seed(seed, "sample", *cell) for cell in cells], np.uint64)


def sample_copies(
    cell: npt.NDArray[np.int32],
    *,
    tokens: npt.NDArray[np.int64],
    id_hash: UInt64s,
    planned_tokens: npt.NDArray[np.int64],
    cell_seeds: UInt64s,
) -> npt.NDArray[np.int32]:
    """How many copies of each document the mix takes.

    A cell with T tokens and P planned gives P // T copies of every document; for the P % T tokens left, one copy more to
    the documents with the smallest hash(seed, id, cell), stopping at that number of documents whose tokens come closest to
    what is left (the smaller number on a tie). So the written tokens differ from P by at most half a document.

    Parameters
    ----------
    cell : int32 (N,)               cell of each document, -1 for one that is not sampled (0 copies)
    tokens : int64 (N,)             tokens of each document as they will be written, end-of-text token included, so >= 1
    id_hash : uint64 (N,)           hash of the id; ids whose hashes collide inside a cell are taken in row order
    planned_tokens : int64 (C,)     tokens to write from each cell, >= 0
    cell_seeds : uint64 (C,)        from derive_cell_seeds

    Returns
    -------
    copies : int32 (N,)             0, 1, 2, ...

    Raises
    ------
    SchemaError                     lengths differ, a cell out of range, a negative count
    ConfigError                     tokens are planned for a cell that has none, or more than 2^31 copies of a document

    Guarantees                      independent of row order and of the other cells
    Cost                            O(N log N) time, about 80 N bytes

    Examples
    --------
    >>> sample_copies(np.int32([0, 0]), tokens=np.int64([5, 5]), id_hash=np.uint64([1, 2]),
    ...               planned_tokens=np.int64([20]), cell_seeds=np.uint64([9]))
    array([2, 2], dtype=int32)
    """
    check_cells(cell, len(planned_tokens), tokens)
    if len(id_hash) != len(cell) or len(cell_seeds) != len(planned_tokens):
        raise SchemaError("id_hash", f"{len(cell)} rows and {len(planned_tokens)} cell seeds", len(id_hash))
    _check_counts(tokens, planned_tokens)
    available = np.zeros(len(planned_tokens), np.int64)
    sampled = np.flatnonzero(cell >= 0)
    np.add.at(available, cell[sampled], tokens[sampled])
    whole, rest = _split_budget(planned_tokens, available)
    copies = np.zeros(len(cell), np.int32)
    copies[sampled] = whole[cell[sampled]]
    partial = sampled[rest[cell[sampled]] > 0]
    if len(partial) == 0:
        return copies
    cell = cell[partial]
    key = mix_keys(id_hash[partial] ^ cell_seeds[cell], seed=0)
    order = np.lexsort((id_hash[partial], key, cell))
    taken = _is_taken(cell[order], tokens[partial][order], rest)
    copies[partial[order[taken]]] += 1
    return copies


def _is_taken(
    cell: npt.NDArray[np.int32], tokens: npt.NDArray[np.int64], rest: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Rows of the prefix of each cell whose token sum is nearest to rest[cell]; rows are sorted by (cell, key).

    Prefix sums rise, so row i belongs to the nearest prefix when |sum with i - rest| < |sum without i - rest|, that is when
    sum with i + sum without i < 2 * rest; on a tie it stays out.
    """
    starts = find_group_starts(cell)
    counts = np.diff(np.append(starts, len(cell)))
    with_row = np.cumsum(tokens)
    without_row = with_row - tokens
    base = np.repeat(without_row[starts], counts)
    nearer: npt.NDArray[np.bool_] = (with_row - base) + (without_row - base) < 2 * rest[cell]
    return nearer


def _check_counts(tokens: npt.NDArray[np.int64], planned_tokens: npt.NDArray[np.int64]) -> None:
    for name, counts, least in (("tokens", tokens, 1), ("planned_tokens", planned_tokens, 0)):
        if len(counts) and int(counts.min()) < least:
            raise SchemaError(name, f"counts of at least {least}", int(counts.min()))


def _split_budget(
    planned: npt.NDArray[np.int64], available: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Whole copies and tokens left per cell, int64 (C,) each."""
    impossible = np.flatnonzero((planned > 0) & (available == 0))
    if len(impossible):
        first = int(impossible[0])
        hint = "Make the plan from the counts of the documents that are sampled."
        raise ConfigError(f"plan.cells[{first}].planned_tokens", int(planned[first]), "the cell has no tokens", hint)
    divisor = np.maximum(available, 1)
    whole = planned // divisor
    if len(whole) and int(whole.max()) >= 1 << 31:
        raise ConfigError("plan.cells.planned_tokens", int(whole.max()), "expected fewer than 2^31 copies")
    return whole, planned - whole * divisor
