"""The cells of a plan as matrices, and the settings of each group: what all parts of a plan work on.

Legend: G groups, B buckets per group, S sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.errors import ConfigError, SchemaError
from mixers.percentiles import CELL_SCHEMA
from mixers.plan_settings import OTHER_TOPICS, PlanConfig, SourceConfig, find_rule

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Groups(NamedTuple):
    """G groups of S sources, sorted by (source, topic)."""

    names: list[tuple[str, str]]  # G of (source, topic)
    tokens: Ints  # (G, B)
    sources: list[str]  # S
    source_of: Ints  # (G,)
    configs: list[SourceConfig]  # S
    rules: npt.NDArray[np.str_]  # (G,)  a rule of mixers.rates
    max_rate: Floats  # (G,)
    throwaway_frac: Floats  # (G,)
    weights: Floats  # (G, B)  of the buckets, 1 but for rule duplicates
    given: Floats  # (G, B)  rates by hand, NaN for other rules

    def of_source(self, source: int) -> slice:
        """The rows of a source."""
        first, last = np.searchsorted(self.source_of, [source, source + 1])
        return slice(int(first), int(last))


def read_groups(cells: pa.Table, config: PlanConfig, size_weights: Mapping[str, Floats]) -> Groups:
    """CELL_SCHEMA rows as matrices; size_weights: by source, the weights of its buckets under rule duplicates.

    SchemaError for cells of another form; ConfigError for settings of what is not there, and rates that cannot be.
    """
    names, tokens = _read_cells(cells)
    num_buckets = tokens.shape[1]
    sources = sorted({source for source, _ in names})
    unknown = sorted(set(config.sources) - set(sources))
    if unknown:
        raise ConfigError("plan.sources", unknown[0], f"expected one of {sources}")
    index = {source: i for i, source in enumerate(sources)}
    source_of = np.array([index[source] for source, _ in names], np.int64)
    configs = [config.sources.get(source, config.default) for source in sources]
    source_rules = [find_rule(each, config.curve) for each in configs]
    cuts = [config.curve.throwaway_frac if c.throwaway_frac is None else c.throwaway_frac for c in configs]
    weights = np.ones((len(sources), num_buckets))
    for s, source in enumerate(sources):
        if source_rules[s] == "duplicates":
            weights[s] = _find_weights(source, config, size_weights, num_buckets)
    given = np.full(tokens.shape, np.nan)
    for s, each in enumerate(configs):
        if each.rates:
            first = int(np.searchsorted(source_of, s))
            topics = [topic for source, topic in names if source == sources[s]]
            given[first : first + len(topics)] = _read_rates(sources[s], topics, each, num_buckets)
    is_given = ~np.isnan(given[:, 0])
    return Groups(
        names, tokens, sources, source_of, configs,
        np.where(is_given, "given", np.array(source_rules)[source_of]),
        np.array([c.max_repetition for c in configs], np.float64)[source_of],
        np.array(cuts, np.float64)[source_of],
        np.where(is_given[:, None], 1.0, weights[source_of]), given,
    )  # fmt: skip


def _read_cells(cells: pa.Table) -> tuple[list[tuple[str, str]], Ints]:
    """(names, tokens by group and bucket), after checks."""
    if not cells.schema.equals(CELL_SCHEMA):
        raise SchemaError("cells", CELL_SCHEMA.names, cells.schema.names)
    bucket = cells.column("bucket").to_numpy()
    num_buckets = int(bucket.max()) + 1 if len(bucket) else 1
    if len(bucket) == 0 or len(bucket) % num_buckets:
        raise SchemaError("cells", "every group with all its buckets", f"{len(bucket)} rows")
    if not np.array_equal(bucket, np.tile(np.arange(num_buckets), len(bucket) // num_buckets)):
        raise SchemaError("bucket", f"0 to {num_buckets - 1} in order for every group", "another order")
    pairs = list(zip(cells.column("source").to_pylist(), cells.column("topic").to_pylist(), strict=True))
    names = pairs[::num_buckets]
    if names != sorted(set(names)) or pairs != [name for name in names for _ in range(num_buckets)]:
        raise SchemaError("cells", "unique groups sorted by (source, topic)", "another order")
    tokens = cells.column("tokens").to_numpy().reshape(-1, num_buckets)
    if int(tokens.min()) < 0:
        raise SchemaError("tokens", "non-negative counts", int(tokens.min()))
    return names, tokens


def _find_weights(source: str, config: PlanConfig, size_weights: Mapping[str, Floats], num_buckets: int) -> Floats:
    if source not in size_weights:
        raise ConfigError(
            f"plan.sources.{source}.curve", "duplicates", "expected buckets of cluster sizes for the documents of the source",
            "Set duplicates: {column: minhash-v1.cluster_size} beside `plan`, here and in `mix sample`.",
        )  # fmt: skip
    weights = size_weights[source] if config.duplicates.weights is None else np.array(config.duplicates.weights)
    if len(weights) > num_buckets or len(weights) != len(size_weights[source]):
        rule = f"expected {len(size_weights[source])} weights, one for each of duplicates.sizes"
        raise ConfigError("plan.duplicates.weights", len(weights), rule)
    return np.concatenate([weights, np.zeros(num_buckets - len(weights))])


def _read_rates(source: str, topics: list[str], config: SourceConfig, num_buckets: int) -> Floats:
    """Rates by hand of a source's topics, float64 (K, B); NaN where there are none."""
    key = f"plan.sources.{source}.rates"
    unknown = sorted(set(config.rates) - {*topics, OTHER_TOPICS})
    if unknown:
        raise ConfigError(key, unknown[0], f"expected topics of the source or *, some of {topics[:30]}")
    both = sorted(set(config.rates) & set(config.topics))
    if both:
        raise ConfigError(f"{key}.{both[0]}", config.rates[both[0]], "expected a share of the topic or rates, not both")
    rates = np.full((len(topics), num_buckets), np.nan)
    for k, topic in enumerate(topics):
        found = config.rates.get(topic, config.rates.get(OTHER_TOPICS) if topic not in config.topics else None)
        if found is None:
            continue
        if isinstance(found, list) and len(found) != num_buckets:
            raise ConfigError(
                f"{key}.{topic or OTHER_TOPICS}", len(found), f"expected {num_buckets} rates, one a bucket"
            )
        rates[k] = found
        top = float(rates[k].max())
        if top > config.max_repetition:
            raise ConfigError(
                f"{key}.{topic or OTHER_TOPICS}", top, f"expected at most the source's max_repetition, {config.max_repetition:g}",
                f"{top - config.max_repetition:g} too much: lower the rate, or set max_repetition: {top:g}.",
            )  # fmt: skip
    return rates
