"""Count what a view's rules and edits do: documents and bytes in and out per rule and source, and examples of each.

Reads ids, sources and attributes only, no text; sizes come from the attributes written with the documents. Guarantees
in = out + dropped for documents and bytes, per source and step. Each rule is also asked by itself, over what the first of them got.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dolma_py import config, hashing, rules, views
from dolma_py.corpus import Corpus, evaluate_group
from dolma_py.errors import ConservationError
from dolma_py.listing import Split, pack_address
from dolma_py.storage import WrittenFile
from dolma_py.views import View
from pipelines.short_circuit import choose_whole
from pipelines.steps import StepContext, Unit, split_name, split_params

VERSION = 2
EXAMPLES = 6  # addresses kept per rule, and of the documents that stay

# a row of the funnel: documents and bytes that reach the step, and what it takes away
Counts = dict[str, int]


def run(context: StepContext, first_step: int, whole_frac: float = 1.0) -> dict[str, Any]:
    """The funnel of the view's steps from `first_step` on: {"steps": [...], "kept": {...}}, deterministic.

    whole_frac: share of documents whose attributes are all there, see pipelines.short_circuit; a rule's `alone` is counted over them.
    """
    view = context.need_view()
    units = [
        Unit(
            split_name(split),
            split_params(context, split) | {"first_step": first_step, "seed": context.seed, "whole_frac": whole_frac},
            split.text_bytes,
        )
        for split in context.plan_splits()
    ]
    phase = f"count-{config.fingerprint(VERSION, view.fingerprint, first_step, whole_frac)[:12]}"
    done, _ = context.run_units(phase, units, count_split)
    steps = [{"name": step.name, "sources": {}, "examples": []} for step in view.steps[first_step:]]
    kept: dict[str, Any] = {"sources": {}, "examples": []}
    for name in sorted(done.units):
        facts = done.units[name]["facts"]
        for total, part in zip([*steps, kept], [*facts["steps"], facts["kept"]], strict=True):
            _add_counts(total["sources"], part["sources"])
            if "alone" in part:
                _add_counts(total.setdefault("alone", {}), part["alone"])
            total["examples"] = sorted([*total["examples"], *part["examples"]])[:EXAMPLES]
    _check_conservation(steps, kept)
    return {"steps": steps, "kept": kept}


def _add_counts(total: dict[str, Counts], part: dict[str, Counts]) -> None:
    for source, counts in part.items():
        sums = total.setdefault(source, dict.fromkeys(counts, 0))
        for key, value in counts.items():
            sums[key] += value


def _check_conservation(steps: list[dict[str, Any]], kept: dict[str, Any]) -> None:
    following = [*steps, kept][1:]
    for step, after in zip(steps, following, strict=True):
        for source, counts in step["sources"].items():
            out = after["sources"].get(source, {"documents": 0, "bytes": 0})
            left = {
                "in": counts["documents"], "dropped": counts["dropped_documents"], "out": out["documents"],
                "bytes_in": counts["bytes"], "bytes_dropped": counts["dropped_bytes"], "bytes_out": out["bytes"],
            }  # fmt: skip
            if (
                left["in"] != left["dropped"] + left["out"]
                or left["bytes_in"] != left["bytes_dropped"] + left["bytes_out"]
            ):
                raise ConservationError(f"{step['name']} of {source}", left)


def count_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the funnel of one split."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    first = params["first_step"]
    shard = corpus.read_listing().shards[split.shard]
    steps: list[dict[str, Any]] = [{"sources": {}, "examples": []} for _ in view.steps[first:]]
    kept: dict[str, Any] = {"sources": {}, "examples": []}
    first_row = split.first_row
    for group in range(split.first_group, split.last_group + 1):
        verdict, keys = evaluate_group(corpus, view, shard, group)
        names, codes = _encode(keys.column("source"))
        addresses = pack_address(shard.number, first_row + np.arange(keys.num_rows))
        order = hashing.hash_ids(keys.column("id").combine_chunks(), seed=params["seed"], name="examples")
        reached = (verdict.failed < 0) | (verdict.failed >= first)
        sample = reached.copy()
        if params["whole_frac"] < 1:
            sample &= choose_whole(keys.column("id"), seed=params["seed"], frac=params["whole_frac"])
        for index, step in enumerate(steps, first):
            _count_alone(step, view.steps[index], verdict, sample, names, codes, keys.column("source"))
        for index, step in enumerate(steps, first):
            dropped = verdict.failed == index
            before, after = verdict.bytes_before[index], verdict.bytes_before[index + 1]
            lost = np.where(dropped, before, before - after)
            _count(step["sources"], names, codes, reached, before, dropped, lost)
            _pick(step, order, addresses, dropped if view.steps[index].edit is None else reached & (before > after))
            reached &= ~dropped
        last = verdict.bytes_before[-1]
        _count(kept["sources"], names, codes, reached, last, None, None)
        _pick(kept, order, addresses, reached)
        first_row += keys.num_rows
    return [], {"steps": steps, "kept": kept}


def _count_alone(
    total: dict[str, Any], step: views.Step, verdict: views.Evaluation, sample: np.ndarray, names: list[str], codes: np.ndarray,
    sources: pa.ChunkedArray,
) -> None:  # fmt: skip
    """What a rule drops of the sampled documents if no other rule is asked: {source: {documents, dropped}}."""
    if step.keep is None:
        return
    broken = sample & views.applies(step, sources.combine_chunks())
    if (step.attributes or "") in verdict.tables:  # not where the rule is for none of the sources
        holds, _ = rules.evaluate_rule(rules.parse_rule(step.keep), verdict.tables[step.attributes or ""])
        broken &= ~holds
    for code, name in enumerate(names):
        counts = {"documents": int((sample & (codes == code)).sum()), "dropped": int((broken & (codes == code)).sum())}
        _add_counts(total.setdefault("alone", {}), {name: counts})


def _encode(sources: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    encoded = sources.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


def _count(
    totals: dict[str, Counts], names: list[str], codes: np.ndarray, rows: np.ndarray, num_bytes: np.ndarray,
    dropped: np.ndarray | None, lost: np.ndarray | None,
) -> None:  # fmt: skip
    for code, name in enumerate(names):
        mine = rows & (codes == code)
        counts = {"documents": int(mine.sum()), "bytes": int(num_bytes[mine].sum())}
        if dropped is not None and lost is not None:
            counts |= {"dropped_documents": int((mine & dropped).sum()), "dropped_bytes": int(lost[mine].sum())}
        if counts["documents"]:
            _add_counts(totals, {name: counts})


def _pick(total: dict[str, Any], order: np.ndarray, addresses: np.ndarray, rows: np.ndarray) -> None:
    """The EXAMPLES rows with the smallest hash, as [hash, address]."""
    index = np.flatnonzero(rows)
    best = index[np.argsort(order[index], kind="stable")][:EXAMPLES]
    pairs = [[int(order[row]), int(addresses[row])] for row in best]
    total["examples"] = sorted([*total["examples"], *pairs])[:EXAMPLES]
