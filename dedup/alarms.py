"""When deduplication removes more than it plausibly should: stop and say what, before the result counts as complete.

Whole sources have been lost to chains of near-duplicates and to shared templates without anybody being told. Counts are of
documents in the view and of their bytes after edits, per source.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.config import Config, render_flow
from dolma_py.errors import DedupAlarmError


class SourceAlarms(Config):
    """Bounds beyond which a person should look. They change no byte of the output, only whether the step may finish."""

    max_source_removed_frac: float = Field(
        0.9, ge=0.0, le=1.0, description="share of a source's documents, or of its bytes, that may go; 1 allows all"
    )
    min_source_docs: int = Field(
        1000, ge=1, description="smaller sources raise no alarm: a few copies are half of them"
    )
    allow: tuple[str, ...] = Field((), description="sources that may lose any share")


class CopyAlarms(SourceAlarms):
    """For equal texts and URLs: they are certain, and a crawl may hold each many times, so only a source that all but vanishes stops."""

    max_cluster_size: int | None = Field(None, ge=2, description="members of one cluster; null: any")


class NearCopyAlarms(CopyAlarms):
    """For near copies, where a chain or a template can take what is no copy."""

    max_source_removed_frac: float = Field(
        0.5, ge=0.0, le=1.0, description="share of a source's documents, or of its bytes, that may go; 1 allows all"
    )
    max_cluster_size: int | None = Field(100_000, ge=2, description="members of one cluster; null: any")


class SourceCounts(NamedTuple):
    """Of one source."""

    documents: int
    bytes: int
    removed_documents: int
    removed_bytes: int


def count_sources(
    sources: pa.Array, num_bytes: npt.NDArray[np.int64], removed: npt.NDArray[np.bool_], removed_bytes: npt.NDArray[np.int64]
) -> dict[str, SourceCounts]:  # fmt: skip
    """Counts of N documents by source.

    Parameters
    ----------
    sources : string (N,)
    num_bytes : int64 (N,)          text of each in the view, in bytes
    removed : bool (N,)             the document leaves
    removed_bytes : int64 (N,)      what leaves of each, num_bytes for one that leaves whole
    """
    encoded = sources.dictionary_encode()
    place, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    sums = np.zeros((len(names), 4), np.int64)
    for column, values in enumerate((1, num_bytes, removed, removed_bytes)):
        np.add.at(sums[:, column], place, values)
    return {name: SourceCounts(*row) for name, row in zip(names, sums.tolist(), strict=True)}


def add_counts(parts: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, SourceCounts]:
    """The sum of many counts per source, in order of names."""
    total: dict[str, SourceCounts] = {}
    for part in parts:
        for source, values in part.items():
            before = total.get(source, SourceCounts(0, 0, 0, 0))
            total[source] = SourceCounts(*(a + b for a, b in zip(before, values, strict=True)))
    return dict(sorted(total.items()))


def check_sources(step: str, sources: Mapping[str, SourceCounts], alarms: SourceAlarms, key: str = "alarms") -> None:
    """Raise DedupAlarmError that names every source which loses more than its share; `key`: what --set takes for the alarms."""
    found, names = [], []
    for source, counts in sorted(sources.items()):
        shares = (
            counts.removed_documents / max(counts.documents, 1),
            counts.removed_bytes / max(counts.bytes, 1),
        )
        if source in alarms.allow or counts.documents < alarms.min_source_docs:
            continue
        if max(shares) > alarms.max_source_removed_frac:
            names.append(source)
            found.append(
                f"source {source} loses {counts.removed_documents} of {counts.documents} documents ({shares[0]:.1%}) and "
                f"{counts.removed_bytes} of {counts.bytes} bytes ({shares[1]:.1%})"
            )
    if found:
        allowed = shlex.quote(
            f"{key}.allow={render_flow(sorted({*alarms.allow, *names}))}"
        )  # the shell's words, then YAML's
        raise DedupAlarmError(
            step, found, f"allowed is a share of {alarms.max_source_removed_frac}",
            f"Look at what goes; if it is right, give --set {allowed} (or a larger "
            f"{key}.max_source_removed_frac) and run again: finished work is kept.",
        )  # fmt: skip


def check_clusters(
    step: str, largest: Sequence[tuple[str | None, int]], alarms: CopyAlarms, key: str = "alarms"
) -> None:
    """Raise DedupAlarmError that names clusters beyond the bound; `largest`: (id of the document that stays, members).

    The id is None where a filter of earlier data has seen the cluster: no document stays here, and a filter names none.
    """
    limit = alarms.max_cluster_size
    names = [("that a filter has seen" if kept_id is None else f"of {kept_id}", size) for kept_id, size in largest]
    found = [f"the cluster {name} has {size} members" for name, size in names if size > (limit or size)]
    if found:
        raise DedupAlarmError(
            step, found, f"allowed are {limit}",
            f"Look at some members; if they are copies, raise {key}.max_cluster_size (null: any size) and run again: finished work is kept.",
        )  # fmt: skip
