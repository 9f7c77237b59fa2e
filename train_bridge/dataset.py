"""Token shards as instances of fixed length.

Each file is cut alone into pieces of T tokens, documents are split where a piece ends, and the rest of each file is dropped
and counted. Source: OLMo-core's fixed-length dataset. Deviation: a document mask takes borders from the sidecar, so that an
end-of-text id inside a document is no border.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dolma_py.config import fingerprint
from dolma_py.errors import DataError
from train_bridge.manifest import ShardManifest
from train_bridge.rows import Rows
from train_bridge.shard_cache import ShardCache
from train_bridge.token_files import TokenFiles

SPANS_KEPT = 256  # files whose document spans stay in memory, 16 bytes a document


class Dataset(Protocol):
    """What a loader reads from: a fixed number of instances, each of T tokens."""

    name: str  # of the data, for messages
    sequence_tokens: int
    num_instances: int
    num_dropped_tokens: int

    def describe(self) -> dict[str, Any]:
        """Everything that the instances depend on, JSON values by name."""

    def read(self, indices: NDArray[np.integer] | Sequence[int]) -> Rows:
        """Rows of instances."""


class InstanceDataset:
    """`read(indices)` gives rows of T ids; index i counts through the files in the manifest's order."""

    def __init__(
        self,
        shards: str | Path,
        manifest: ShardManifest,
        *,
        sequence_tokens: int,
        document_mask: bool = False,
        cache: ShardCache | None = None,
    ) -> None:
        """cache: of remote shards."""
        self.name, self.manifest, self.sequence_tokens = str(shards), manifest, sequence_tokens
        self.document_mask = document_mask
        self.files = TokenFiles(shards, manifest, cache=cache)
        counts = [entry.tokens // sequence_tokens for entry in manifest.files]
        # instance i lies in the file f with first_instance[f] <= i < first_instance[f + 1]
        self.first_instance = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        self.num_instances = int(self.first_instance[-1])
        self.num_dropped_tokens = manifest.tokens - self.num_instances * sequence_tokens
        if self.num_instances == 0:
            raise DataError(str(shards), f"no file holds one instance of {sequence_tokens} tokens")
        self._spans = functools.lru_cache(maxsize=SPANS_KEPT)(self.files.document_spans)

    def describe(self) -> dict[str, Any]:
        """Everything that the instances depend on."""
        values = {"instances": "fixed", "sequence_tokens": self.sequence_tokens, "document_mask": self.document_mask}
        return {**values, **self.files.describe()}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())

    def read(self, indices: NDArray[np.integer] | Sequence[int]) -> Rows:
        """Rows of instances, (len(indices), T). DataError names file and position of an id outside the vocabulary."""
        shape = (len(indices), self.sequence_tokens)
        ids = np.empty(shape, dtype=np.int64)
        documents = np.empty(shape, dtype=np.int64) if self.document_mask else None
        is_trained = np.empty(shape, dtype=np.bool_) if self.files.has_labels_mask else None
        places = np.searchsorted(self.first_instance, indices, side="right") - 1
        for row, (index, place) in enumerate(zip(np.asarray(indices).tolist(), places.tolist(), strict=True)):
            start = (index - int(self.first_instance[place])) * self.sequence_tokens
            end = start + self.sequence_tokens
            ids[row] = self.files.read_ids(place, start, end)
            if documents is not None:
                # a token outside every span goes with the next document
                ends = self._spans(place)[:, 1]
                numbers = np.searchsorted(ends, np.arange(start, end), side="right")
                documents[row] = numbers - numbers[0]
            if is_trained is not None:
                is_trained[row] = self.files.read_trained(place, start, end)
        return Rows(ids, documents, is_trained)
