"""Write a corpus of its own from another one's splits: one shard for each unit, listed when all are there, and made once.

A folder that holds another corpus is refused; one that holds this corpus stands as it is. The steps `materialize` and `synth` end so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from dolma_py import storage
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.listing import Listing, Shard, append_shards
from dolma_py.views import SIZES
from pipelines.shard_files import SIZES_FINGERPRINT
from pipelines.steps import StepContext, StepResult, Unit, finish_attribute_set, split_name, split_params
from pipelines.units import Work

SUMMARY = "made.json"  # beside the listing: what a summary of all units says
Summarize = Callable[[list[dict[str, Any]]], dict[str, Any]]


def open_target(context: StepContext, output: str) -> Corpus:
    """The new corpus, {corpus} in its name filled in; ConfigError where it is the one that is read."""
    target = Corpus(output.replace("{corpus}", context.corpus.root))
    if target.root == context.corpus.root:
        raise ConfigError("output", output, "expected another folder than the corpus itself")
    return target


def plan_units(
    context: StepContext, target: Corpus, params: dict[str, Any], name_source: Callable[[str], str] = str
) -> list[Unit]:
    """A unit for each split of the view, in corpus order, with `target`, `part` and `source` of its shard among its params."""
    shards = context.corpus.read_listing().shards
    units, counts = [], dict[str, int]()
    for split in context.plan_splits():
        source = name_source(shards[split.shard].source)
        counts[source] = counts.get(source, -1) + 1
        own = {"target": target.root, "part": f"{source}/part-{counts[source]:05d}", "source": source}
        units.append(Unit(split_name(split), split_params(context, split) | own | params, split.text_bytes))
    return units


def write_corpus(
    context: StepContext, target: Corpus, units: list[Unit], work: Work, mark: str, summarize: Summarize | None = None
) -> StepResult:
    """Run the units, whose work is that of shard_files.write_shard, and list their shards in order.

    mark: of all that decides the shards, the listing's claim of whose they are. summarize: from the units' facts to further facts of the
    step, which are kept with the corpus, since a corpus that stands has no units.
    """
    listing = target.read_listing()
    expected = [(f"documents/{unit.params['part']}.parquet", unit.name, mark) for unit in units]
    if listing.shards and [(shard.path, *_origin(shard)) for shard in listing.shards] != expected:
        raise ConfigError(
            "output", target.root, "expected an empty folder, it holds another corpus", "Give another folder."
        )
    if listing.shards and _files_stand(target, listing):  # killed after the listing was written, or asked for twice
        summary = orjson.loads(storage.read_bytes(target.path(SUMMARY))) if summarize else {}
        return StepResult(facts=_describe(listing) | summary)
    done, times = context._replace(corpus=target).run_units("documents", units, work)
    made = []
    for number, unit in enumerate(units):
        line = done.units[unit.name]
        file, facts = line["files"][0], line["facts"]
        groups = tuple((rows, text_bytes) for rows, text_bytes in facts["row_groups"])
        inputs = ((unit.name, facts["text_bytes"], mark),)
        made.append(
            Shard(
                number,
                file["path"],
                "parquet",
                unit.params["source"],
                facts["rows"],
                facts["text_bytes"],
                file["bytes"],
                file["checksum"],
                groups,
                inputs,
            )
        )
    sizes = [file for line in done.units.values() for file in line["files"] if file["path"].startswith("attributes/")]
    finish_attribute_set(target, SIZES, SIZES_FINGERPRINT, sizes)
    summary = {}
    if summarize:
        summary = summarize([done.units[unit.name]["facts"] for unit in units])
        storage.write_bytes(target.path(SUMMARY), orjson.dumps(summary, option=orjson.OPT_SORT_KEYS))
    if not listing.shards:
        listing = append_shards(target.listing_path, Listing(()), made)
    storage.remove_tree(target.path(context.work))
    return StepResult(facts=_describe(listing) | summary, times=times._asdict())


def _origin(shard: Shard) -> tuple[str, str]:
    """(split of the corpus that it was made from, mark of view and settings)."""
    name, _, mark = shard.inputs[0] if shard.inputs else ("", 0, "")
    return name, mark


def _files_stand(target: Corpus, listing: Listing) -> bool:
    sizes = storage.find_sizes([target.shard_path(shard) for shard in listing.shards])
    return sizes == [shard.num_bytes for shard in listing.shards]


def _describe(listing: Listing) -> dict[str, Any]:
    return {
        "output_listing": listing.fingerprint,
        "documents": listing.rows,
        "text_bytes": listing.text_bytes,
        "shards": len(listing.shards),
    }
