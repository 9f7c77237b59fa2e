"""Instances with loops teach nothing: OLMo-core's instance filter, on in Olmo 3 32B's runs.

An instance in which an n-gram of 1 to 13 tokens stands 32 times or more in a row keeps its place in the batch but gives no loss; its
labels stay in the divisor, so that the other instances weigh no more for it. Source: OLMo-core, `InstanceFilterConfig` and its train
module. Deviations: the labels that stay in the divisor are those that the instance would have had (OLMo-core adds all its T tokens),
and the padding of a packed instance is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dolma_py.config import Config, OptionError, fingerprint
from dolma_py.errors import MissingDependencyError
from train_bridge.dataset import Dataset
from train_bridge.rows import Rows


class InstanceFilterConfig(Config):
    """What a loop is; the defaults are OLMo-core's."""

    repetition_min_period: int = Field(1, ge=1, description="Shortest n-gram, in tokens.")
    repetition_max_period: int = Field(13, ge=1, le=1000, description="Longest n-gram, in tokens.")
    repetition_max_count: int = Field(32, ge=3, description="An n-gram so often in a row, or more often, is a loop.")

    @model_validator(mode="after")
    def _check_periods(self) -> InstanceFilterConfig:
        if self.repetition_min_period > self.repetition_max_period:
            rule = f"expected at most repetition_max_period, {self.repetition_max_period}"
            raise OptionError("repetition_min_period", self.repetition_min_period, rule)
        return self


class FilteredDataset:
    """Another dataset's instances, those with loops marked."""

    def __init__(self, dataset: Dataset, config: InstanceFilterConfig) -> None:
        """MissingDependencyError without numba and xxhash: here, before the first step."""
        try:
            from dolma_py.token_loops import find_looping  # with numba, which runs without a filter do without
        except ModuleNotFoundError as error:
            raise MissingDependencyError(error.name or "numba", "train") from error
        self._find_looping = find_looping
        self.dataset, self.config = dataset, config
        self.name, self.sequence_tokens = dataset.name, dataset.sequence_tokens
        self.num_instances, self.num_dropped_tokens = dataset.num_instances, dataset.num_dropped_tokens

    def describe(self) -> dict[str, Any]:
        """Everything that the instances depend on."""
        return {**self.dataset.describe(), "instance_filter": self.config.model_dump()}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())

    def read(self, indices: NDArray[np.integer] | Sequence[int]) -> Rows:
        """Rows of instances; `is_filtered` says which of them have a loop."""
        rows = self.dataset.read(indices)
        is_filtered = self._find_looping(
            rows.ids,
            lengths=find_lengths(rows),
            min_period=self.config.repetition_min_period,
            max_period=self.config.repetition_max_period,
            min_repeats=self.config.repetition_max_count,
        )
        return rows._replace(is_filtered=is_filtered)


def find_lengths(rows: Rows) -> NDArray[np.int64]:
    """Tokens of each row before its padding, int64 (B,); padding is equal tokens at the end of which none is trained.

    Examples
    --------
    >>> ids = np.array([[5, 6, 9, 9], [5, 6, 9, 9]])
    >>> is_trained = np.array([[True, True, True, False], [True, True, True, True]])
    >>> find_lengths(Rows(ids, np.zeros_like(ids), is_trained)).tolist()
    [3, 4]
    """
    num_rows, num_tokens = rows.ids.shape
    if rows.documents is None or rows.is_trained is None or not num_tokens:
        return np.full(num_rows, num_tokens, dtype=np.int64)
    is_padding = (rows.ids == rows.ids[:, -1:]) & ~rows.is_trained & (rows.documents == rows.documents[:, -1:])
    # tokens up to the last that is no padding
    return num_tokens - np.argmin(np.concatenate((is_padding[:, ::-1], np.zeros((num_rows, 1), bool)), axis=1), axis=1)
