"""The sample pool cut into cells: eight topics by a trained classifier, twenty buckets of quality in each, by the commands a user has.

    DOLMA_PY_DATA=<folder> python -m benchmarks.pool_cells --scratch DIR

Topics are those of the recipe `pool-topics`; quality is what a model trained on DCLM's 227 judged pages says, which is little: the table shows
what `mix partition` makes, not what is good in the pool. Weights are bytes of text.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import orjson
import pyarrow.parquet as pq


def run(*arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dolma_py", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def write_judged_pages(data: Path, path: Path) -> None:
    """DCLM's human labels as records with text and label."""
    records = [orjson.loads(line) for line in (data / "quality" / "dclm_human.jsonl").read_bytes().splitlines()]
    lines = [
        orjson.dumps({"text": record["text"], "label": "good" if record["label"] else "bad"}) for record in records
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True)
    scratch = parser.parse_args().scratch
    data = Path(os.environ["DOLMA_PY_DATA"])
    scratch.mkdir(parents=True, exist_ok=True)
    topic, quality, corpus = scratch / "topic.bin", scratch / "quality.bin", str(scratch / "corpus")
    seconds = {
        "train topics": run(
            "classifier", "train", "--recipe", "pool-topics", "--folder", str(data), "--output", str(topic)
        )
    }
    write_judged_pages(data, scratch / "judged.jsonl")
    options = ["--set", "classifier.epochs=25", "--set", "classifier.learning_rate=0.5"]
    seconds["train quality"] = run(
        "classifier", "train", "--input", str(scratch / "judged.jsonl"), "--output", str(quality), *options
    )
    seconds["ingest"] = run("ingest", "--corpus", corpus, "--input", str(data / "pool"))
    taggers = [
        {"tagger": "topic", "options": {"model_path": str(topic)}},
        {"tagger": "quality", "options": {"model_path": str(quality), "label": "good"}},
    ]
    (scratch / "tag.yaml").write_text(json.dumps({"taggers": taggers}))
    seconds["tag"] = run("tag", "--corpus", corpus, "--config", str(scratch / "tag.yaml"))
    settings = ["topic=topic-v1.topic", "score=quality-v1.score", "tokens=null", "by_source=false"]
    sets = [part for setting in settings for part in ("--set", setting)]
    seconds["partition"] = run("mix", "partition", "--corpus", corpus, *sets)
    cells = pq.read_table(Path(corpus) / "runs/mix-partition/00-mix-partition/cells.parquet").to_pylist()
    rows: dict[str, list[dict[str, int]]] = defaultdict(list)
    for cell in cells:
        rows[cell["topic"]].append(cell)
    print("| topic | documents | MB | " + " | ".join(f"{number:02d}" for number in range(1, 21)) + " |")
    print("|---" * 23 + "|")
    for name, line in sorted(rows.items()):
        counts = " | ".join(str(cell["documents"]) for cell in line)
        print(
            f"| {name} | {sum(c['documents'] for c in line)} | {sum(c['bytes'] for c in line) / 1e6:.1f} | {counts} |"
        )
    widths = [cell["bytes"] / (sum(c["bytes"] for c in rows[cell["topic"]]) / 20) for cell in cells]
    print(f"cells {len(cells)}, of equal bytes to {min(widths):.3f}-{max(widths):.3f} of their topic's twentieth")
    print("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))


if __name__ == "__main__":
    main()
