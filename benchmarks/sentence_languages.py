"""MB/s of madlad400 with and without its rule of languages, on the pool, in one process.

    DOLMA_PY_DATA=<folder> python -m benchmarks.sentence_languages MODEL [--megabytes N]

MODEL is a fastText language model, such as lid.176.ftz; CPU seconds, the best of three.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pyarrow as pa

from benchmarks.gopher_rules import take_texts
from benchmarks.minhash_signatures import measure_sec, read_pool
from taggers.registry import build_tagger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--megabytes", type=float, default=4)
    options = parser.parse_args()
    num_bytes = int(options.megabytes * 1e6)
    texts = take_texts(read_pool(Path(os.environ["DOLMA_PY_DATA"]), num_bytes), num_bytes)
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    num_bytes = sum(len(text.encode()) for text in texts)
    for name, more in (("without", {}), ("with", {"language_model_path": options.model})):
        tagger = build_tagger("web-filter", {"preset": "madlad400"} | more)
        seconds = measure_sec(lambda tagger=tagger: tagger.tag(batch), repeats=3)
        print(f"madlad400 {name} rule 1: {num_bytes / seconds / 1e6:.2f} MB/s per core, {len(texts)} documents")


if __name__ == "__main__":
    main()
