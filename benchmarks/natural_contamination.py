"""What the pool holds of the benchmarks without anybody having planted it: documents by benchmark and source, and each to read.

    DOLMA_PY_DATA=<folder> python -m benchmarks.natural_contamination              the table
    DOLMA_PY_DATA=<folder> python -m benchmarks.natural_contamination FILE         and each find with its texts, as JSON lines

--set a.b=c of the command is not here: options of the tagger follow as key=value, such as preset=olmo3-web.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.contamination_material import BATCH_DOCS, make_tagger, read_items, read_pool
from dolma_py.config import apply_overrides
from taggers.base import Tagger
from taggers.ngram_match import Item

BEHIND_BYTES = 200  # of a document behind what matched


def find_natural(data: Path, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Flagged documents of the whole pool, with the item's text and what matched."""
    items = read_items(data)
    known = {item.id: item for item in items}
    tagger = make_tagger(items, options)
    rows: list[dict[str, Any]] = []
    for row in read_pool(data):
        rows.append(row)
        if len(rows) == BATCH_DOCS:
            yield from list_flagged(tagger, rows, known)
            rows = []
    yield from list_flagged(tagger, rows, known)


def list_flagged(tagger: Tagger, rows: list[dict[str, Any]], known: dict[str, Item]) -> Iterator[dict[str, Any]]:
    """The finds among some documents."""
    batch = pa.record_batch({"text": pa.array([row["text"] for row in rows], pa.large_string())})
    for row, found in zip(rows, tagger.tag(batch).to_pylist(), strict=True):
        if found["contaminated"]:
            data, item = row["text"].encode(), known[found["item"]]
            spans = [
                data[span["start"] : span["end"] + BEHIND_BYTES].decode(errors="replace") for span in found["spans"]
            ]
            yield {
                "benchmark": item.benchmark, "source": row["source"], "document": row["id"], "item": item.id,
                "score": round(found["score"], 3), "question": item.question, "answer": item.answer, "found": spans,
            }  # fmt: skip


def print_table(finds: list[dict[str, Any]]) -> None:
    """Documents by benchmark and source, most first."""
    counts = Counter((find["benchmark"], find["source"]) for find in finds)
    print(f"{'benchmark':16s} {'source':24s} documents")
    for (benchmark, source), number in sorted(counts.items(), key=lambda cell: (-cell[1], cell[0])):
        print(f"{benchmark:16s} {source:24s} {number:9d}")
    print(f"{'all':41s} {len(finds):9d}")


def main() -> None:
    data = os.environ.get("DOLMA_PY_DATA")
    if data is None:
        raise SystemExit("expected DOLMA_PY_DATA, the folder of the sample data")
    files = [word for word in sys.argv[1:] if "=" not in word]
    finds = list(find_natural(Path(data), apply_overrides({}, [word for word in sys.argv[1:] if "=" in word])))
    print_table(finds)
    for file in files:
        Path(file).write_text("".join(json.dumps(find) + "\n" for find in finds))


if __name__ == "__main__":
    main()
