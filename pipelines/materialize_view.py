"""Write a view out as a corpus of its own: kept rows, edits applied, every row naming where it came from.

metadata.parent of each document is {"listing", "shard", "row"}: the parent by its listing's fingerprint, and the address
there; that of an earlier materialize is nested in it as `parent`. Rows of the view = rows written, checked. With
`markdown_tables: html` tables become HTML on the way, which no edit of a view can do.

    spark-submit pipelines/materialize_view.py --config materialize.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
from pydantic import Field

from dolma_py import config, storage
from dolma_py.arrow_buffers import build_text, view_text
from dolma_py.config import Config
from dolma_py.corpus import Corpus, read_view
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import ConfigError
from dolma_py.listing import ROW_BITS, Listing, Shard, Split, append_shards
from dolma_py.markdown_tables import write_tables
from dolma_py.storage import WrittenFile
from dolma_py.views import SIZES, View
from pipelines.shard_files import SIZES_FINGERPRINT, write_shard
from pipelines.steps import StepContext, StepResult, Unit, finish_attribute_set, split_name, split_params

VERSION = 4


class MaterializeConfig(Config):
    """Where the new corpus goes."""

    output: str = Field(min_length=1, description="folder of the new corpus; must not hold another one yet")
    row_group_text_bytes: int = Field(default=16 << 20, ge=1, description="text in one row group, in bytes")
    markdown_tables: Literal["keep", "html"] = Field(
        default="keep", description="html: markdown tables of the edited texts become HTML tables"
    )


def run(context: StepContext, settings: MaterializeConfig) -> StepResult:
    """One shard per split of the view, in corpus order."""
    target = Corpus(settings.output)
    if target.root == context.corpus.root:
        raise ConfigError("output", settings.output, "expected another folder than the corpus itself")
    shards = context.corpus.read_listing().shards
    units, counts = [], {}
    for split in context.plan_splits():
        source = shards[split.shard].source
        counts[source] = counts.get(source, -1) + 1
        params = split_params(context, split) | {
            "target": target.root, "part": f"{source}/part-{counts[source]:05d}", "source": source,
            "row_group_text_bytes": settings.row_group_text_bytes, "markdown_tables": settings.markdown_tables,
        }  # fmt: skip
        units.append(Unit(split_name(split), params, split.text_bytes))
    decided = [VERSION, context.need_view().fingerprint, settings.row_group_text_bytes]
    mark = config.fingerprint(*decided, *(["html"] if settings.markdown_tables == "html" else []))
    listing = target.read_listing()
    expected = [(f"documents/{unit.params['part']}.parquet", unit.name, mark) for unit in units]
    if listing.shards and [(shard.path, *_origin(shard)) for shard in listing.shards] != expected:
        raise ConfigError(
            "output", target.root, "expected an empty folder, it holds another corpus", "Give another folder."
        )
    if listing.shards and _files_stand(target, listing):  # killed after the listing was written, or asked for twice
        return StepResult(facts=_describe(listing))
    done, times = context._replace(corpus=target).run_units("documents", units, copy_split)
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
    if not listing.shards:
        listing = append_shards(target.listing_path, Listing(()), made)
    storage.remove_tree(target.path(context.work))
    return StepResult(facts=_describe(listing), times=times._asdict())


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


def copy_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the kept rows of one split as one shard of the new corpus."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])

    def read() -> Iterator[pa.RecordBatch]:
        for batch in read_view(corpus, view, split):
            rows = (batch.addresses & np.int64((1 << ROW_BITS) - 1)).tolist()
            values = [orjson.loads(value) if value else {} for value in batch.documents.column("metadata").to_pylist()]
            parents = ({"listing": view.listing, "shard": batch.shard.number, "row": row} for row in rows)
            named = map(name_parent, values, parents)
            column = pa.array([orjson.dumps(value).decode() for value in named], pa.string())
            index = batch.documents.schema.get_field_index("metadata")
            documents = batch.documents.set_column(index, DOCUMENT_SCHEMA.field("metadata"), column)
            if params["markdown_tables"] == "html":
                index = documents.schema.get_field_index("text")
                texts = build_text(*write_tables(view_text(documents.column("text"))))
                documents = documents.set_column(index, DOCUMENT_SCHEMA.field("text"), texts)
            yield documents.cast(DOCUMENT_SCHEMA)

    return write_shard(
        read(), root=params["target"], attempts=attempts, part=params["part"],
        row_group_text_bytes=params["row_group_text_bytes"],
    )  # fmt: skip


def name_parent(metadata: dict[str, Any], parent: dict[str, Any]) -> dict[str, Any]:
    """The metadata with `parent`; what stood under that name moves: an address of an earlier materialize into the new one, as its own
    `parent`, so that every way back is kept, and anything else to the first free of top_level_parent, top_level_parent_2, ...

    >>> name_parent({"parent": "t3"}, {"listing": "L", "shard": 0, "row": 7})
    {'top_level_parent': 't3', 'parent': {'listing': 'L', 'shard': 0, 'row': 7}}
    """
    rest = {key: value for key, value in metadata.items() if key != "parent"}
    if "parent" not in metadata:
        return rest | {"parent": parent}
    earlier = metadata["parent"]
    if isinstance(earlier, dict) and {"listing", "shard", "row"} <= earlier.keys() <= {
        "listing",
        "shard",
        "row",
        "parent",
    }:
        return rest | {"parent": parent | {"parent": earlier}}
    name, number = "top_level_parent", 2
    while name in rest:
        name, number = f"top_level_parent_{number}", number + 1
    return rest | {name: earlier, "parent": parent}


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("materialize", argv)


if __name__ == "__main__":
    sys.exit(main())
