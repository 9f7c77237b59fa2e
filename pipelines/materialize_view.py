"""Write a view out as a corpus of its own: kept rows, edits applied, every row naming where it came from.

metadata.parent of each document is {"listing", "shard", "row"}: the parent by its listing's fingerprint, and the address
there; that of an earlier materialize is nested in it as `parent`. Rows of the view = rows written, checked. With
`markdown_tables: html` tables become HTML on the way, which no edit of a view can do. With `sample` it is the documents of a sampled mix.

    spark-submit pipelines/materialize_view.py --config materialize.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from dolma_py import config
from dolma_py.arrow_buffers import build_text, view_text
from dolma_py.config import Config
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.done import read_done_lines
from dolma_py.errors import ConfigError
from dolma_py.formats.json_values import dump_json, load_json
from dolma_py.listing import ROW_BITS, Split
from dolma_py.markdown_tables import write_tables
from dolma_py.spans import take_spans
from dolma_py.storage import WrittenFile
from dolma_py.views import View
from pipelines.mix_table import read_column
from pipelines.new_corpus import open_target, plan_units, write_corpus
from pipelines.shard_files import write_shard
from pipelines.steps import StepContext, StepResult

VERSION = 4


class MaterializeConfig(Config):
    """Where the new corpus goes."""

    output: str = Field(min_length=1, description="folder of the new corpus; must not hold another one yet")
    row_group_text_bytes: int = Field(default=16 << 20, ge=1, description="text in one row group, in bytes")
    markdown_tables: Literal["keep", "html"] = Field(
        default="keep", description="html: markdown tables of the edited texts become HTML tables"
    )
    sample: str | None = Field(
        default=None,
        description="attribute set of `mix sample`, such as sample-v1: only documents of which copies were drawn, each once; null: all",
    )


def run(context: StepContext, settings: MaterializeConfig) -> StepResult:
    """One shard per split of the view, in corpus order."""
    target = open_target(context, settings.output)
    params = config.dump_config(settings)
    decided = [VERSION, context.need_view().fingerprint, settings.row_group_text_bytes]
    decided += ["html"] if settings.markdown_tables == "html" else []
    decided += [find_sample(context, settings.sample)] if settings.sample else []
    mark = config.fingerprint(*decided)
    return write_corpus(context, target, plan_units(context, target, params), copy_split, mark)


def find_sample(context: StepContext, name: str) -> str:
    """The fingerprint of a complete attribute set; ConfigError where there is none."""
    lines = read_done_lines(context.corpus.path("attributes", name, "_done.jsonl"))
    if not lines:
        raise ConfigError(
            context.setting_key("sample"), name, "expected an attribute set of `mix sample`", "Sample first."
        )
    return str(lines[0]["fingerprint"])


def take_drawn(batch: ViewBatch, corpus: Corpus, name: str) -> ViewBatch:
    """The documents of which the sample has copies."""
    copies = read_column(corpus, "sample", f"{name}.copies", batch.shard, batch.group, batch.rows)
    drawn = np.flatnonzero(copies.fill_null(0).to_numpy(zero_copy_only=False) > 0)
    return batch._replace(
        rows=batch.rows[drawn], addresses=batch.addresses[drawn], documents=batch.documents.take(pa.array(drawn)),
        removed=take_spans(batch.removed, drawn),
    )  # fmt: skip


def copy_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the kept rows of one split as one shard of the new corpus."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])

    def read() -> Iterator[pa.RecordBatch]:
        for found in read_view(corpus, view, split):
            batch = take_drawn(found, corpus, params["sample"]) if params["sample"] else found
            rows = (batch.addresses & np.int64((1 << ROW_BITS) - 1)).tolist()
            values = [load_json(value) if value else {} for value in batch.documents.column("metadata").to_pylist()]
            parents = ({"listing": view.listing, "shard": batch.shard.number, "row": row} for row in rows)
            named = map(name_parent, values, parents)
            column = pa.array([dump_json(value) for value in named], pa.string())
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
