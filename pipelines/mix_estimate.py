"""The plan of a mix before it is made: over the view's own counts, or those of some of its row groups where it has many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import views
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.views import View
from mixers.plan import Plan
from pipelines.costs import Estimate
from pipelines.minhash_plan import choose_groups
from pipelines.mix_table import ROW_SCHEMA, MixTable, add_removals, iterate_rows, row_params
from pipelines.plan_mix import PlanMixConfig, plan_table

MAX_GROUPS = 64  # row groups read
MAX_LINES = 40  # topics that are listed


def estimate(settings: PlanMixConfig, corpus: Corpus, view: View, text_bytes: int, seed: int) -> Estimate:
    """The tables of a dry run: tokens by source, and by topic, that the plan would take of `text_bytes` of text.

    Of a view with more than MAX_GROUPS row groups it reads those, always the same, and scales their tokens. Where attributes are
    not there yet, it says which. ConfigError as the step would raise it, but over a sample only told.
    """
    listing = views.check_listing(view, corpus.read_listing())
    num_groups = sum(len(shard.row_groups) for shard in listing.shards)
    chosen = sorted(choose_groups(listing, MAX_GROUPS))
    try:
        parts = [part for split in chosen for part in iterate_rows(corpus, view, split, row_params(settings))]
    except DataError as error:  # a step before this one makes them
        return Estimate({"not counted": str(error)}, None, None, None)
    rows = pa.concat_tables([ROW_SCHEMA.empty_table(), *(table for table, _ in parts)]).combine_chunks()
    said = f"{rows.num_rows:,} documents of view {view.name}"
    if not rows.num_rows:
        return Estimate({"counted": said}, None, None, None)
    scale = text_bytes / max(sum(split.text_bytes for split in chosen), 1)
    is_sample = len(chosen) < num_groups or scale != 1
    if is_sample:
        tokens = np.maximum(np.rint(rows.column("tokens").to_numpy() * scale), 1).astype(np.int64)
        rows = rows.set_column(rows.column_names.index("tokens"), ROW_SCHEMA.field("tokens"), pa.array(tokens))
        said += f", {len(chosen)} of {num_groups} row groups, tokens scaled {scale:.4g} times"
    try:
        plan, _ = plan_table(MixTable(rows, add_removals(removals for _, removals in parts)), settings, seed)
    except ConfigError as error:
        if not is_sample:
            raise
        return Estimate({"counted": said, "as it stands": str(error)}, None, None, None)
    return Estimate({"counted": said, **describe(plan)}, None, None, None)


def describe(plan: Plan) -> dict[str, Any]:
    """Rows of the tables by their name, and a line for each share that is not met."""
    total = max(sum(row["planned_tokens"] for row in plan.sources), 1)
    binds: dict[tuple[str, str], list[str]] = {}
    columns = (plan.cells.column(name).to_pylist() for name in ("source", "topic", "binds"))
    for source, topic, bound in zip(*columns, strict=True):
        known = binds.setdefault((source, topic), [])
        if bound not in known:
            known.append(bound)
    details: dict[str, Any] = {"sources": [_describe_row(row, total, {}, row["binds"]) for row in plan.sources]}
    if len(plan.groups) > len(plan.sources):
        most = sorted(plan.groups, key=lambda row: (-row["planned_tokens"], row["source"], row["topic"]))[:MAX_LINES]
        details["topics"] = [
            _describe_row(row, total, {"topic": row["topic"], "rule": row["rule"]}, ", ".join(binds[row["source"], row["topic"]]))
            for row in most
        ]  # fmt: skip
    for number, shortage in enumerate(plan.shortages[:MAX_LINES]):
        details[f"short {number + 1}"] = shortage.say()
    return details


def _describe_row(row: dict[str, Any], total: int, names: dict[str, str], binds: str) -> dict[str, str]:
    numbers = {
        "available": f"{row['tokens']:,}", "wanted": f"{row['wanted_tokens']:,}", "planned": f"{row['planned_tokens']:,}",
        "share": f"{100 * row['planned_tokens'] / total:.2f} %", "copies": f"{row['repetition']:.3f}",
    }  # fmt: skip
    if "rates" in row:
        rates = [rate for rate in row["rates"] if rate > 0]
        numbers["rates"] = f"{min(rates):.3g} to {max(rates):.3g}" if rates else "0"
    return {"source": row["source"], **names, **numbers, "binds": binds}
