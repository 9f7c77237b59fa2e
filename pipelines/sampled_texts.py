"""A sample of a view's texts as files, chosen by hash of the ids: the same for any partitioning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import hashing, parquet_files
from dolma_py.corpus import Corpus, read_view
from dolma_py.done import DoneFile
from dolma_py.listing import Split
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.views import View
from pipelines.steps import StepContext, Unit, UnitTimes, split_name, split_params

SAMPLE_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])


def sample_texts(context: StepContext, name: str, sample_bytes: int) -> tuple[DoneFile, UnitTimes]:
    """Run the phase `sample`: about `sample_bytes` of text, whole documents, by their hash under `name`.

    Its files have the columns id and text, its units' facts are documents and bytes.
    """
    splits = context.plan_splits()
    total = max(1, sum(split.text_bytes for split in splits))
    base = {"frac": min(1.0, sample_bytes / total), "seed": context.seed, "work": context.work, "name": name}
    units = [Unit(split_name(split), split_params(context, split) | base, split.text_bytes) for split in splits]
    return context.run_units("sample", units, sample_split)


def sample_split(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: the documents of a split whose hash falls into the share."""
    corpus, view, split = Corpus(params["root"]), View.model_validate(params["view"]), Split(*params["split"])
    facts = {"documents": 0, "bytes": 0}

    def write(sink: HashingWriter) -> int:
        with parquet_files.open_writer(sink, SAMPLE_SCHEMA) as writer:
            for batch in read_view(corpus, view, split, ["text"]):
                keys = hashing.hash_ids(batch.documents.column("id"), seed=params["seed"], name=params["name"])
                chosen = np.flatnonzero(hashing.uniform_hash(keys, seed=0) < params["frac"])
                table = pa.Table.from_batches([batch.documents.select(["id", "text"])]).take(pa.array(chosen))
                parquet_files.write_row_group(writer, table.cast(SAMPLE_SCHEMA))
                facts["documents"] += table.num_rows
                facts["bytes"] += pc.sum(pc.binary_length(table.column("text"))).as_py() or 0
        return facts["documents"]

    return [write_attempt(corpus.root, attempts, f"{params['work']}/sample/{split_name(split)}.parquet", write)], facts
