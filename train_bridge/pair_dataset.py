"""Preference pairs as rows that hold whole pairs, each conversation seen alone.

A row has data.sequence_tokens and takes pairs by best fit, so that the loss of a row needs no other row: micro-batches and ranks may be
cut between any two. Inside a row a pair's chosen conversation is followed by its rejected one, and padding comes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolma_py.config import fingerprint
from dolma_py.errors import DataError, MissingDependencyError
from train_bridge.pair_files import PairArrays, PairManifest
from train_bridge.preference_loss import PreferenceConfig
from train_bridge.rows import PairPlaces, PairRows


class PairDataset:
    """`read(indices)` gives rows; index i is the i-th pair that has labels on both sides. Its rows are as many as the pairs need."""

    def __init__(
        self,
        name: str,
        manifest: PairManifest,
        arrays: PairArrays,
        *,
        sequence_tokens: int,
        preference: PreferenceConfig,
    ) -> None:
        try:
            from dolma_py.packing import pack_best_fit  # with numba
        except ModuleNotFoundError as error:
            raise MissingDependencyError(error.name or "numba", "train") from error
        self._pack = pack_best_fit
        self.name, self.manifest, self.arrays = name, manifest, arrays
        self.sequence_tokens, self.preference = sequence_tokens, preference
        self.references: NDArray[np.float32] | None = None  # (num_instances, 2), set when they are known
        whole = np.diff(arrays.ends, axis=0, prepend=0)
        lengths = np.minimum(whole, preference.max_tokens)
        labels = self._count_labels(lengths)
        # a pair whose last answer is cut away on a side has nothing to prefer
        is_whole = (arrays.lasts < lengths).all(axis=1)
        self.pairs = np.flatnonzero((labels.min(axis=1, initial=1) > 0) & is_whole)  # (num_instances,), of all pairs
        self.lengths, self.num_labels = lengths[self.pairs], labels[self.pairs]
        self.num_truncated = int((whole > preference.max_tokens).sum())  # conversations
        self.num_untrained = len(whole) - len(self.pairs)
        self.num_dropped_tokens = int(whole.sum() - self.lengths.sum())
        self.num_instances = len(self.pairs)
        if not self.num_instances:
            raise DataError(name, f"none of its {len(whole)} pairs has a label on both sides")

    def _count_labels(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels of both conversations of every pair, int64 (N, 2)."""
        counts = np.zeros_like(lengths)
        for pair in range(len(lengths)):
            for side in (0, 1):
                # the first token is never a label
                counts[pair, side] = self._read_trained(pair, side, int(lengths[pair, side]))[1:].sum()
        return counts

    def _read_trained(self, pair: int, side: int, length: int) -> NDArray[np.bool_]:
        start, _ = self.arrays.span(pair, side)
        is_trained = self.arrays.masks[side][start : start + length].astype(np.bool_)
        if self.preference.turns == "last":
            is_trained[: self.arrays.lasts[pair, side]] = False
        return is_trained

    def describe(self) -> dict[str, Any]:
        """Everything that the rows depend on."""
        return {
            "instances": "pairs",
            "sequence_tokens": self.sequence_tokens,
            "max_tokens": self.preference.max_tokens,
            "turns": self.preference.turns,
            "vocab_size": self.manifest.vocab_size,
            "eos_token_id": self.manifest.eos_token_id,
            "template": self.manifest.template.model_dump(),
            "files": {
                entry.path: {"pairs": entry.documents, "checksum": entry.checksum} for entry in self.manifest.files
            },
            "file_order": [entry.path for entry in self.manifest.files],
        }

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())

    def count_tokens(self, indices: NDArray[np.integer]) -> int:
        """Tokens of pairs, padding not counted."""
        return int(self.lengths[indices].sum())

    def pair_names(self, first: int, end: int) -> list[str]:
        """Ids of the pairs first to end (exclusive)."""
        return self.arrays.names.take(self.pairs[first:end]).to_pylist()

    def read_conversation(self, index: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Ids and what is trained on of one conversation; side: 0 chosen, 1 rejected."""
        pair, length = int(self.pairs[index]), int(self.lengths[index, side])
        start, _ = self.arrays.span(pair, side)
        return self.arrays.ids[side][start : start + length].astype(np.int64), self._read_trained(pair, side, length)

    def read(self, indices: NDArray[np.integer] | Sequence[int]) -> PairRows:
        """Rows of whole pairs, (as many as they need, T), with `pairs`."""
        numbers = np.asarray(indices, dtype=np.int64)
        rows, num_rows = self._pack(self.lengths[numbers].sum(axis=1), self.sequence_tokens)
        order = np.argsort(rows, kind="stable")
        numbers, rows = numbers[order], rows[order]
        shape = (num_rows, self.sequence_tokens)
        ids = np.full(shape, self.manifest.eos_token_id, dtype=np.int64)
        documents, is_trained = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
        filled, counts = np.zeros(num_rows, dtype=np.int64), np.zeros(num_rows, dtype=np.int64)
        for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
            for side in (0, 1):
                its_ids, its_trained = self.read_conversation(number, side)
                stretch = slice(int(filled[row]), int(filled[row]) + len(its_ids))
                ids[row, stretch], is_trained[row, stretch], documents[row, stretch] = its_ids, its_trained, counts[row]
                filled[row] += len(its_ids)
                counts[row] += 1
        for row in range(num_rows):
            documents[row, filled[row] :] = counts[row]
        references = None if self.references is None else self.references[numbers]
        places = PairPlaces(numbers, rows, self.num_labels[numbers], references)
        return PairRows(ids, documents, is_trained, places)
