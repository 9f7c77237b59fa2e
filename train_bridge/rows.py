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
