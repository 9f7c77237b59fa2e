"""Rehydration: documents of which many copies were removed come back more often, as far as the filters kept their like.

A bucket is a class of cluster sizes (how many copies of a document the crawl had, itself included). Where the rules that run after
deduplication removed at least as large a share of a class as of all documents, its weight is 1; where they removed the least,
max_weight; between, in proportion. Legend: N documents, B buckets.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from dolma_py.config import Config
from dolma_py.errors import SchemaError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class DuplicatesConfig(Config):
    """Which documents fall into buckets by their number of copies, in place of quality."""

    column: str = Field(
        "minhash-v1.cluster_size", description="SET.COLUMN with the copies of a document, itself included"
    )
    sizes: list[int] = Field(
        [1, 2, 3, 4, 5, 8, 16, 32, 64, 128, 512],
        min_length=1,
        max_length=1000,
        description="least cluster size of each bucket, 1 first, rising; own choice",
    )
    sources: list[str] | None = Field(
        None, description="whose documents; null: all sources. The others fall into buckets by quality"
    )

    @field_validator("sizes")
    @classmethod
    def _rise_from_one(cls, sizes: list[int]) -> list[int]:
        if sizes[0] != 1 or any(low >= high for low, high in pairwise(sizes)):
            raise ValueError(f"expected rising sizes, the first of them 1, such as [1, 2, 4], got {sizes}")
        return sizes


class DuplicateWeightsConfig(Config):
    """How much more often a bucket of cluster sizes is taken than others."""

    weights: list[Annotated[float, Field(ge=0)]] | None = Field(
        None,
        description="weight of each bucket, 0 or 1e-6 to 1e6; null: from what the rules after deduplication removed of each",
    )
    max_weight: float = Field(10.0, ge=1, description="weight of the bucket of which least was removed; FineWeb2")
    min_documents: int = Field(
        100,
        ge=1,
        description="documents that a bucket needs before the rules after deduplication to count; smaller ones have weight 1; own choice",
    )

    @field_validator("weights")
    @classmethod
    def _keep_digits(cls, weights: list[float] | None) -> list[float] | None:
        if any(weight and not 1e-6 <= weight <= 1e6 for weight in weights or []):
            raise ValueError(f"expected weights of 0 or 1e-6 to 1e6, got {weights}")
        return weights


def find_size_buckets(size: Ints, sizes: list[int]) -> npt.NDArray[np.int32]:
    """The bucket of each cluster size, int32 (N,): the last whose least size it reaches; sizes below 1 count as 1.

    Examples
    --------
    >>> find_size_buckets(np.int64([1, 3, 4, 900]), [1, 2, 4]).tolist()
    [0, 1, 2, 2]
    """
    found = np.searchsorted(np.array(sizes), np.maximum(size, 1), side="right") - 1
    return found.astype(np.int32)


def weigh_sizes(entered: Ints, removed: Ints, config: DuplicateWeightsConfig) -> Floats:
    """The weight of each bucket by what the rules after deduplication removed of it.

    Parameters
    ----------
    entered, removed : int64 (B,)       documents that came out of deduplication, and those of them that later rules removed

    Returns
    -------
    weight : float64 (B,)               1 to config.max_weight; all 1 where no bucket lost less than the whole

    Raises
    ------
    SchemaError                         lengths differ, or more documents were removed than entered

    Source                              FineWeb2 (arXiv 2506.20920), rehydration; deviations: buckets of sizes in place of single
                                        sizes with a moving mean over five of them, and weights that are not rounded

    Examples
    --------
    >>> weigh_sizes(np.int64([100, 100, 100]), np.int64([60, 20, 40]), DuplicateWeightsConfig()).tolist()
    [1.0, 10.0, 1.0]
    """
    if len(entered) != len(removed) or bool(np.any((removed < 0) | (removed > entered))):
        raise SchemaError("removed", f"{len(entered)} counts, none above its bucket's documents", removed.tolist())
    weight = np.ones(len(entered))
    counted = entered >= config.min_documents
    if not counted.any():
        return weight
    overall = float(removed.sum()) / float(entered.sum())
    removed_frac = removed / np.maximum(entered, 1)
    least = float(removed_frac[counted].min())
    if least >= overall:
        return weight
    below = counted & (removed_frac < overall)
    weight[below] += (config.max_weight - 1) * (overall - removed_frac[below]) / (overall - least)
    return weight
