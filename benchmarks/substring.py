"""Repeated substrings beside the plain suffix sorter, in one run on one text.

    python -m benchmarks.substring
    DOLMA_PY_DATA=<folder> python -m benchmarks.substring
    python -m benchmarks.substring --documents 'CORPUS/documents/*/*.parquet' --repeats 1

Prints MB/s of one thread (CPU time, best of a few) for the sorter alone, for what comes after it and for the whole, the whole's
speed as a share of the sorter's, and the speed of the anchors of a search through a larger corpus. A sorter is slower the longer its
text: --documents takes all of it, in 7 times its memory.
"""

from __future__ import annotations

import argparse
import glob
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.minhash_signatures import join_texts, make_text, measure_sec, read_pool
from dedup.anchors import find_anchors
from dedup.substring import SubstringConfig, cut_repeats, find_repeated_spans
from dedup.substring_kernels import MAX_SHIFT
from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.suffix_array import build_suffix_array, permuted_lcp


def repeat_parts(view: TextView) -> TextView:
    """The made text with every fifth document once more, since made text alone repeats nothing."""
    texts = [bytes(view.data[a:b]) for a, b in zip(view.offsets, view.offsets[1:], strict=False)]
    return join_texts(texts + texts[::5])


def read_documents(paths: list[str]) -> TextView:
    """The texts of Parquet files of documents, back to back."""
    parts, lengths = [], []
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(4096, columns=["text"]):
            text = view_text(batch.column(0))
            parts.append(np.array(text.data[text.offsets[0] : text.offsets[-1]]))
            lengths.append(np.diff(text.offsets))
    return TextView(np.concatenate(parts), np.cumsum(np.concatenate([[0], *lengths])).astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", help="glob of Parquet files of documents")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    data_folder = os.environ.get("DOLMA_PY_DATA")
    if options.documents:
        view = read_documents(sorted(glob.glob(options.documents)))
    else:
        view = read_pool(Path(data_folder), 10_000_000) if data_folder else repeat_parts(make_text(8_000_000))
    name = "documents" if options.documents else "pool" if data_folder else "made"
    num_bytes = len(view.data)
    config = SubstringConfig()
    suffixes = build_suffix_array(view.data)

    def cut() -> None:
        cut_repeats(*view, suffixes, min_length_bytes=config.min_length_bytes)

    spans = find_repeated_spans(*view, config=config)
    covered = int((spans.end_byte.astype(np.int64) - spans.start_byte).sum())
    print(f"text: {name}, {num_bytes / 1e6:.1f} MB; spans {len(spans.start_byte)}, {covered / num_bytes:.3f} of bytes")
    sorter = measure_sec(lambda: build_suffix_array(view.data), options.repeats)
    steps = [
        ("suffix sorter alone", sorter),
        (
            "PLCP of blocks",
            measure_sec(lambda: permuted_lcp(view.data, suffixes, step=1 << MAX_SHIFT), options.repeats),
        ),
        ("all after it", measure_sec(cut, options.repeats)),
        (
            "anchors",
            measure_sec(lambda: find_anchors(*view, min_length_bytes=config.min_length_bytes), options.repeats),
        ),
        ("whole", measure_sec(lambda: find_repeated_spans(*view, config=config), options.repeats)),
    ]
    print(f"{'step':20s} {'MB/s':>8s} {'of sorter speed':>16s}")
    for name, sec in steps:
        print(f"{name:20s} {num_bytes / sec / 1e6:8.1f} {sorter / sec:16.2f}")


if __name__ == "__main__":
    main()
