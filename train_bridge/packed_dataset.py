"""Whole documents packed into instances of fixed length, each seen alone.

Best-fit decreasing over the documents of a group of files (dolma_py.packing); what is left of an instance is padding, never
trained. Source: OLMo-core's packed dataset, used for Olmo 3's long-context stage and SFT. Deviation: documents come from the
sidecar, not from end-of-text ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dolma_py.config import fingerprint
from dolma_py.errors import DataError, MissingDependencyError
from train_bridge.manifest import ShardManifest
from train_bridge.rows import Rows
from train_bridge.shard_cache import ShardCache
from train_bridge.token_files import TokenFiles

LongDocuments = Literal["truncate", "split"]


class PackedDataset:
    """`read(indices)` gives rows with document numbers; padding is a document of its own of end-of-text ids."""

    def __init__(
        self,
        shards: str | Path,
        manifest: ShardManifest,
        *,
        sequence_tokens: int,
        long_documents: LongDocuments = "truncate",
        group_files: int = 8,
        cache: ShardCache | None = None,
    ) -> None:
        """cache: of remote shards, whose sidecars are all read here. MissingDependencyError without numba and xxhash."""
        self.name, self.manifest, self.sequence_tokens = str(shards), manifest, sequence_tokens
        self.long_documents, self.group_files = long_documents, group_files
        self.files = TokenFiles(shards, manifest, cache=cache)
        self.num_truncated_documents = self.num_untrained_documents = 0
        groups = [self._pack_group(first) for first in range(0, len(manifest.files), group_files)]
        # piece p is tokens starts[p]:ends[p] of file places[p]; instance i holds pieces first_piece[i]:first_piece[i + 1]
        self.places, self.starts, self.ends = (
            np.concatenate(column) for column in zip(*[g[:3] for g in groups], strict=True)
        )
        pieces = np.concatenate([group[3] for group in groups])
        self.first_piece = np.concatenate(([0], np.cumsum(pieces, dtype=np.int64)))
        self.num_instances = len(self.first_piece) - 1
        if self.num_instances == 0:
            raise DataError(str(shards), "no document of one token or more to pack")
        num_packed = int((self.ends - self.starts).sum())
        self.num_dropped_tokens = manifest.tokens - num_packed
        self.num_padding_tokens = self.num_instances * sequence_tokens - num_packed

    def _pack_group(self, first: int) -> tuple[NDArray[np.int64], ...]:
        """places, starts, ends of the group's pieces in the order of their instances, and pieces of each instance."""
        try:
            from dolma_py.packing import pack_best_fit  # with numba, which other instances do without
        except ModuleNotFoundError as error:
            raise MissingDependencyError(error.name or "numba", "train") from error

        columns = []
        for place in range(first, min(first + self.group_files, len(self.manifest.files))):
            spans = self.files.document_spans(place)
            starts, ends = cut_documents(
                spans, sequence_tokens=self.sequence_tokens, long_documents=self.long_documents
            )
            if self.long_documents == "truncate":
                starts, ends = self._drop_untrained(place, spans, starts, ends)
            columns.append((np.full(len(starts), place, dtype=np.int64), starts, ends))
        places, starts, ends = (np.concatenate(column) for column in zip(*columns, strict=True))
        instances, num_instances = pack_best_fit(ends - starts, self.sequence_tokens)
        # inside an instance documents keep the order of the files
        order = np.argsort(instances, kind="stable")
        return places[order], starts[order], ends[order], np.bincount(instances, minlength=num_instances)

    def _drop_untrained(
        self, place: int, spans: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Without the documents of which nothing that is trained on is left by truncation; both kinds are counted."""
        is_cut = np.diff(spans[spans[:, 1] > spans[:, 0]])[:, 0] > self.sequence_tokens
        self.num_truncated_documents += int(is_cut.sum())
        if not self.files.has_labels_mask:
            return starts, ends
        is_kept = np.ones(len(starts), dtype=np.bool_)
        for number in np.flatnonzero(is_cut).tolist():
            # the first token of a document is never a label
            is_kept[number] = self.files.read_trained(place, int(starts[number]) + 1, int(ends[number])).any()
        self.num_untrained_documents += int((~is_kept).sum())
        return starts[is_kept], ends[is_kept]

    def describe(self) -> dict[str, Any]:
        """Everything that the instances depend on."""
        values = {"instances": "packed", "sequence_tokens": self.sequence_tokens}
        options = {"long_documents": self.long_documents, "group_files": self.group_files}
        if self.files.has_labels_mask and self.long_documents == "truncate":
            options["untrained_documents"] = "dropped"
        return {**values, **options, **self.files.describe()}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())

    def read(self, indices: NDArray[np.integer] | Sequence[int]) -> Rows:
        """Rows of instances, (len(indices), T). DataError names file and position of an id outside the vocabulary."""
        shape = (len(indices), self.sequence_tokens)
        ids = np.full(shape, self.manifest.eos_token_id, dtype=np.int64)
        documents = np.empty(shape, dtype=np.int64)
        is_trained = np.zeros(shape, dtype=np.bool_)
        for row, index in enumerate(np.asarray(indices).tolist()):
            filled, first = 0, int(self.first_piece[index])
            pieces = range(first, int(self.first_piece[index + 1]))
            for piece in pieces:
                place, start, end = int(self.places[piece]), int(self.starts[piece]), int(self.ends[piece])
                stretch = slice(filled, filled + end - start)
                ids[row, stretch] = self.files.read_ids(place, start, end)
                documents[row, stretch] = piece - first
                has_mask = self.files.has_labels_mask
                is_trained[row, stretch] = self.files.read_trained(place, start, end) if has_mask else True
                filled += end - start
            documents[row, filled:] = len(pieces)
        return Rows(ids, documents, is_trained)


def cut_documents(
    spans: NDArray[np.int64], *, sequence_tokens: int, long_documents: LongDocuments
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends of the pieces of documents: none above `sequence_tokens`, none empty.

    A longer document keeps its beginning alone (truncate), or becomes pieces of `sequence_tokens` and a rest (split).

    Examples
    --------
    >>> starts, ends = cut_documents(np.array([[0, 3], [3, 10]]), sequence_tokens=3, long_documents="split")
    >>> starts.tolist(), ends.tolist()
    ([0, 3, 6, 9], [3, 6, 9, 10])
    """
    spans = spans[spans[:, 1] > spans[:, 0]]
    starts, ends = spans[:, 0], spans[:, 1]
    if long_documents == "truncate":
        return starts, np.minimum(ends, starts + sequence_tokens)
    counts = -(-(ends - starts) // sequence_tokens)
    # number of each piece inside its document
    numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(starts, counts) + numbers * sequence_tokens
    return starts, np.minimum(np.repeat(ends, counts), starts + sequence_tokens)
