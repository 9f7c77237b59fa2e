"""Several datasets as one, in given shares of instances: which instances of each, and how often.

Every instance has the same number of tokens, so a share of instances is a share of tokens (padding of packed ones included).
Source: OLMo-core's source mixture; names of its settings. Deviation: it samples files, this samples instances.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dolma_py.config import Config, fingerprint
from dolma_py.errors import ConfigError
from train_bridge.dataset import Dataset
from train_bridge.manifest import ShardManifest, read_manifest
from train_bridge.rows import Rows
from train_bridge.shard_cache import join_shards


class SourceConfig(Config):
    """One source of a mixture."""

    path: str = Field(min_length=1, description="Its shards, relative to the folder of --shards; '.' is that folder.")
    target_ratio: float = Field(gt=0, description="Its share of all instances, relative to the other sources' shares.")
    max_repetition_ratio: float = Field(
        1.0, ge=1, description="How often an instance may come in one epoch, on average."
    )
    max_source_fraction: float = Field(1.0, gt=0, le=1, description="Share of the source's instances that may be used.")


class MixedDataset:
    """As many instances as the scarcest source allows; index i counts through the sources in their order."""

    def __init__(self, datasets: Mapping[str, Dataset], sources: Mapping[str, SourceConfig], *, seed: int) -> None:
        self.datasets, self.sources, self.seed = list(datasets.values()), dict(sources), seed
        first = self.datasets[0]
        self.name, self.sequence_tokens = first.name, first.sequence_tokens
        usable = {
            name: math.floor(
                datasets[name].num_instances * Fraction(source.max_source_fraction).limit_denominator(10**9)
            )
            for name, source in sources.items()
        }
        self.counts = share_instances(usable, sources)
        self.chosen = [
            choose_instances(datasets[name].num_instances, usable=usable[name], count=count, seed=seed, name=name)
            for name, count in self.counts.items()
        ]
        self.first_instance = np.concatenate(([0], np.cumsum(list(self.counts.values()), dtype=np.int64)))
        self.num_instances = int(self.first_instance[-1])
        self.num_dropped_tokens = sum(dataset.num_dropped_tokens for dataset in self.datasets) + sum(
            (dataset.num_instances - len(np.unique(chosen))) * self.sequence_tokens
            for dataset, chosen in zip(self.datasets, self.chosen, strict=True)
        )

    def describe(self) -> dict[str, Any]:
        """Everything that the instances depend on."""
        sources = {
            name: {**source.model_dump(exclude={"path"}), "data": dataset.describe()}
            for (name, source), dataset in zip(self.sources.items(), self.datasets, strict=True)
        }
        values = {"instances": "mixed", "sequence_tokens": self.sequence_tokens, "source_seed": self.seed}
        return {**values, "sources": sources, "source_order": list(self.sources)}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())

    def read(self, indices: NDArray[np.integer] | Sequence[int]) -> Rows:
        """Rows of instances, (len(indices), T); documents and is_trained when any of their sources has them."""
        indices = np.asarray(indices, dtype=np.int64)
        places = np.searchsorted(self.first_instance, indices, side="right") - 1
        shape = (len(indices), self.sequence_tokens)
        ids, documents, is_trained = np.empty(shape, np.int64), np.zeros(shape, np.int64), np.ones(shape, np.bool_)
        has_documents = has_mask = False
        for place in np.unique(places).tolist():
            where = np.flatnonzero(places == place)
            rows = self.datasets[place].read(self.chosen[place][indices[where] - self.first_instance[place]])
            ids[where] = rows.ids
            if rows.documents is not None:
                documents[where], has_documents = rows.documents, True
            if rows.is_trained is not None:
                is_trained[where], has_mask = rows.is_trained, True
        return Rows(ids, documents if has_documents else None, is_trained if has_mask else None)


def read_sources(
    shards: str, manifest: ShardManifest, sources: Mapping[str, SourceConfig]
) -> dict[str, tuple[str, ShardManifest]]:
    """Folder and manifest of each source. ConfigError when its tokenizer is another than that of `manifest`, the shards'."""
    found = {}
    for name, source in sources.items():
        folder = join_shards(shards, source.path)
        own = read_manifest(folder)
        for what in ("vocab_size", "eos_token_id", "tokenizer"):
            if getattr(own, what) != getattr(manifest, what):
                rule = f"expected shards with the {what} of {shards}, {getattr(manifest, what)}"
                raise ConfigError(f"data.sources.{name}", str(getattr(own, what)), rule, where=folder)
        found[name] = (folder, own)
    return found


def share_instances(usable: Mapping[str, int], sources: Mapping[str, SourceConfig]) -> dict[str, int]:
    """Instances of each source: the largest mixture in the target shares in which no source is used above its limits.

    usable: instances that may be used once. Rounded by largest remainders, so each count is less than 1 from its share.

    Examples
    --------
    >>> sources = {name: SourceConfig(path=name, target_ratio=ratio) for name, ratio in (("web", 3), ("code", 1))}
    >>> share_instances({"web": 60, "code": 100}, sources)
    {'web': 60, 'code': 20}
    """
    # fractions, not floats: a share must not fall below a whole number by rounding
    ratios = {name: Fraction(source.target_ratio).limit_denominator(10**9) for name, source in sources.items()}
    shares = {name: ratio / sum(ratios.values()) for name, ratio in ratios.items()}
    repeats = {name: Fraction(source.max_repetition_ratio).limit_denominator(10**9) for name, source in sources.items()}
    limits = {name: math.floor(usable[name] * repeats[name]) for name in sources}
    total = math.floor(min(limits[name] / shares[name] for name in sources))
    counts = {name: math.floor(total * share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: (counts[name] - total * shares[name], list(shares).index(name)))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    for name, count in counts.items():
        if count == 0:
            rule = f"expected a share that gives an instance or more in a mixture of {total}; usable are {usable[name]}"
            raise ConfigError(f"data.sources.{name}.target_ratio", sources[name].target_ratio, rule)
    return counts


def choose_instances(num_instances: int, *, usable: int, count: int, seed: int, name: str) -> NDArray[np.int64]:
    """`count` instance numbers, int64: all `usable` ones as often as they fit, then some once more.

    Which ones is drawn by seed and the source's name, so another source in the mixture changes nothing here.
    """
    key = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    order = np.random.Generator(np.random.PCG64(key)).permutation(num_instances)[:usable]
    return np.resize(order, count).astype(np.int64)
