"""Which documents, and how often: copies of every document of a pool, the held-out split, and the check that the plan was met.

Nothing here depends on row order or partitions: a document's fate is a function of its pool, its keys and its tokens, and a pool's
outcome a function of the set of its documents and of the edges of its source's pools. A pool is a cell of the plan, or
several (mixers.selection). Legend: N documents, C cells, P pools.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py.config import Config
from dolma_py.errors import ConfigError, ConservationError, SchemaError
from dolma_py.hashing import derive_seed, mix_keys, uniform_hash
from mixers import prefix_search
from mixers.percentiles import check_cells, find_group_starts
from mixers.prefix_search import Ordered

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
UInt64s = npt.NDArray[np.uint64]
MAX_COPIES = 1 << 31

# What a sample took of each cell, sorted by (source, topic, bucket)
SAMPLED_SCHEMA = pa.schema([
    pa.field("source", pa.string(), nullable=False),
    pa.field("topic", pa.string(), nullable=False),
    pa.field("bucket", pa.int32(), nullable=False),
    pa.field("pool", pa.int32(), nullable=False),  # cells of one number share their budget
    pa.field("documents", pa.int64(), nullable=False),  # that may be sampled; 0 where the cell takes no part
    pa.field("tokens", pa.int64(), nullable=False),  # of these
    pa.field("excluded_documents", pa.int64(), nullable=False),  # that may never be sampled
    pa.field("planned_tokens", pa.int64(), nullable=False),
    pa.field("cut_tokens", pa.int64(), nullable=False),  # of those, what the documents left do not give under max_repetition
    pa.field("sampled_tokens", pa.int64(), nullable=False),
    pa.field("sampled_documents", pa.int64(), nullable=False),  # with a copy or more
    pa.field("copies", pa.int64(), nullable=False),
    pa.field("edge_tokens", pa.int64(), nullable=False),  # of the document at which the pool's budget ends: what it may be off by
])  # fmt: skip


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


def order_for_heldout(source: npt.NDArray[np.int32], *, id_hash: UInt64s, place: Ints, seed: int) -> Ordered:
    """The order in which select_heldout takes a number of documents of each source, for a search beyond memory; weights are 1."""
    key = mix_keys(id_hash, seed=derive_seed(seed, "heldout"))
    return Ordered(source, key, id_hash, place, np.ones(len(source), np.int64))


def cut_to_caps(planned_tokens: Ints, *, tokens: Ints, excluded_tokens: Ints, max_repetition: Floats) -> Ints:
    """Tokens that cells cannot give after documents were excluded from them, int64 (C,): what lies above max_repetition times the rest.

    The plan knew nothing of who is excluded, and its cap is one of documents. 0 for a cell without excluded documents, which the
    plan's own rounding may have a token above its cap, and for one without any other (split_budget refuses that).

    Parameters
    ----------
    planned_tokens, tokens, excluded_tokens : int64 (C,)    tokens count the excluded ones too
    max_repetition : float64 (C,)                           most copies of a document on average

    Examples
    --------
    >>> cut_to_caps(np.int64([20, 20]), tokens=np.int64([10, 10]), excluded_tokens=np.int64([0, 6]), max_repetition=np.array([2.0, 2.0]))
    array([ 0, 12])
    """
    left = tokens - excluded_tokens
    most = np.floor(max_repetition * left).astype(np.int64)
    return np.where((excluded_tokens > 0) & (left > 0), np.maximum(planned_tokens - most, 0), 0)


def split_budget(
    planned_tokens: Ints,
    *,
    available: Ints,
    names: Sequence[str],
    max_repetition: npt.NDArray[np.float64] | None = None,
) -> tuple[Ints, Ints]:
    """Copies of every document, and the tokens left for copies of some; int64 (P,) each. All arguments are of the P pools.

    Raises
    ------
    SchemaError     a negative count
    ConfigError     tokens are planned of a pool that has none, more than max_repetition times its tokens, or 2^31 copies
    """
    if len(planned_tokens) and int(planned_tokens.min()) < 0:
        raise SchemaError("planned_tokens", "counts of at least 0", int(planned_tokens.min()))
    impossible = np.flatnonzero((planned_tokens > 0) & (available == 0))
    if len(impossible):
        first = int(impossible[0])
        rule = f"planned of {names[first]}, which has no document that may be sampled"
        hint = "Make the plan from the documents that are sampled, or take more buckets."
        raise ConfigError("cells", int(planned_tokens[first]), rule, hint)
    if max_repetition is not None:
        many = np.flatnonzero(planned_tokens / max_repetition > available)
        if len(many):
            first = int(many[0])
            most = float(max_repetition[first])
            rule = f"{names[first]} has {int(available[first])} tokens, for at most {most:g} times as many planned"
            hint = f"{int(planned_tokens[first])} are planned: take more buckets, or plan less."
            raise ConfigError("selection.max_repetition", most, rule, hint)
    divisor = np.maximum(available, 1)
    whole = planned_tokens // divisor
    if len(whole) and int(whole.max()) >= MAX_COPIES:
        raise ConfigError("cells", int(whole.max()), "expected fewer than 2^31 copies of a document")
    return whole, planned_tokens - whole * divisor


def sample_copies(
    docs: Ordered, *, whole: Ints, rest: Ints, chain: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int32], Ints]:
    """How many copies of each document the mix takes, and the weight of each pool's edge.

    Every document of a pool gets its whole copies; for the tokens left, one copy more to the first documents by rising keys, up to the
    one at which the budget ends, its edge, or with it, whichever brings the sum over the chain closest to what was wanted
    (prefix_search.choose_ends). So a pool is off by at most its edge, and a chain by at most half of its longest edge.

    Parameters
    ----------
    docs : N documents              pool -1 is not sampled (0 copies); weights are tokens as they will be written, so >= 1
    whole, rest : int64 (P,)        from split_budget
    chain : int32 (P,)              pools of one number, a source's, mend what they are off together

    Returns
    -------
    copies : int32 (N,)             0, 1, 2, ...
    edge_tokens : int64 (P,)        0 where the budget is whole copies

    Raises
    ------
    SchemaError                     lengths differ, a pool out of range, a weight below 1, rest above the pool's tokens

    Guarantees                      independent of row order and of pools of other chains
    Cost                            O(N log N) time, about 80 N bytes

    Examples
    --------
    >>> docs = Ordered(np.int32([0, 0]), np.uint64([7, 3]), np.uint64([0, 0]), np.int64([0, 1]), np.int64([5, 5]))
    >>> sample_copies(docs, whole=np.int64([2]), rest=np.int64([4]), chain=np.int32([0]))[0]
    array([2, 3], dtype=int32)
    """
    check_cells(docs.pool, len(rest), docs.weight, docs.place)
    if not len(docs.high) == len(docs.low) == len(docs.pool) or not len(whole) == len(rest) == len(chain):
        raise SchemaError("docs", "columns of one length, and pools of one number", len(docs.high))
    if len(docs.weight) and int(docs.weight.min()) < 1:
        raise SchemaError("tokens", "counts of at least 1", int(docs.weight.min()))
    sampled = docs.pool >= 0
    available, counts = np.zeros(len(rest), np.int64), np.zeros(len(rest), np.int64)
    np.add.at(available, docs.pool[sampled], docs.weight[sampled])
    np.add.at(counts, docs.pool[sampled], 1)
    edges = prefix_search.find_edges(docs, prefix_search.start_search(rest, available=available, num_docs=counts))
    ends = prefix_search.choose_ends(edges, budget=rest, chain=chain)
    return count_copies(docs, whole=whole, ends=ends), edges.weight


def count_copies(docs: Ordered, *, whole: Ints, ends: prefix_search.Ends) -> npt.NDArray[np.int32]:
    """Copies, int32 (N,), of documents from the ends of their pools alone: what a task needs to decide about its own documents."""
    copies = np.where(docs.pool >= 0, whole[docs.pool], 0) if len(whole) else np.zeros(len(docs.pool), np.int64)
    return (copies + prefix_search.is_below(docs, ends)).astype(np.int32)


def check_conservation(sampled: pa.Table) -> None:
    """Raise ConservationError unless tokens sampled are tokens planned and not cut, of every pool to within its edge, of a source to
    within half an edge.

    sampled: SAMPLED_SCHEMA rows, whose sampled_tokens were counted from the copies.
    """
    pools = sampled.group_by(["source", "pool"]).aggregate(
        [("planned_tokens", "sum"), ("cut_tokens", "sum"), ("sampled_tokens", "sum"), ("edge_tokens", "max")]
    )
    sources: dict[str, list[int]] = {}
    for row in pools.sort_by("pool").to_pylist():
        wanted = row["planned_tokens_sum"] - row["cut_tokens_sum"]
        off, edge = row["sampled_tokens_sum"] - wanted, row["edge_tokens_max"]
        if abs(off) > edge:
            counts = {
                "planned_tokens": wanted,
                "sampled_tokens": row["sampled_tokens_sum"],
                "one_document": edge,
            }
            raise ConservationError(f"sample of {row['source']}, pool {row['pool']}", counts)
        found = sources.setdefault(row["source"], [0, 0])
        found[0] += off
        found[1] = max(found[1], edge)
    for source, (off, edge) in sorted(sources.items()):
        if 2 * abs(off) > edge:
            raise ConservationError(f"sample of {source}", {"sampled_above_planned": off, "one_document": edge})
