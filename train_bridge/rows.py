"""The rows of one batch: ids and, where they are wanted, the documents of a row and which tokens are trained on.

Legend: B rows, T tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Rows(NamedTuple):
    """What a dataset reads."""

    ids: NDArray[np.int64]  # (B, T)
    documents: NDArray[np.int64] | None = None  # (B, T), numbers from 0 that rise along a row; None: no document mask
    is_trained: NDArray[np.bool_] | None = None  # (B, T), False for padding and prompts; None: everything is
    is_filtered: NDArray[np.bool_] | None = None  # (B,), True where the instance filter found a loop; None: no filter

    def to_tensors(self, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        ids, documents, is_trained, is_filtered = (
            None if part is None else torch.from_numpy(part).to(device) for part in self
        )
        assert ids is not None
        return ids, documents, is_trained, is_filtered


class PairPlaces(NamedTuple):
    """Where preference pairs stand in rows that hold whole pairs: P of them, in the order of their rows.

    Of the k-th pair of a row (from 0) document 2k is the chosen conversation and 2k + 1 the rejected one; padding comes after the last.
    """

    numbers: NDArray[np.int64]  # (P,) in the data set
    rows: NDArray[np.int64]  # (P,)
    num_labels: NDArray[np.int64]  # (P, 2), chosen and rejected, 1 or more
    references: NDArray[np.float32] | None = None  # (P, 2), sums of ln p of the reference


class PairRows(NamedTuple):
    """What a data set of preference pairs reads: rows that hold whole pairs."""

    ids: NDArray[np.int64]  # (B, T)
    documents: NDArray[np.int64]  # (B, T)
    is_trained: NDArray[np.bool_]  # (B, T)
    pairs: PairPlaces

    @property
    def is_filtered(self) -> None:
        """No filter knows pairs."""
        return None
