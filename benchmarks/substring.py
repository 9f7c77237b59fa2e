"""Repeated substrings beside the plain suffix sorter, in one run on one text.

    python -m benchmarks.substring
    DOLMA_PY_DATA=<folder> python -m benchmarks.substring

Prints MB/s of one thread (CPU time, best of 3) for the sorter alone, for each step after it and for the whole, and the whole's
speed as a share of the sorter's.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.minhash_signatures import join_texts, make_text, measure_sec, read_pool
from dedup.substring import SubstringConfig, find_repeated_spans
from dedup.substring_kernels import flag_positions_kernel, mark_repeats_kernel
from dolma_py.arrow_buffers import TextView
from dolma_py.suffix_array import build_suffix_array, permuted_lcp


def repeat_parts(view: TextView) -> TextView:
    """The made text with every fifth document once more, since made text alone repeats nothing."""
    texts = [bytes(view.data[a:b]) for a, b in zip(view.offsets, view.offsets[1:], strict=False)]
    return join_texts(texts + texts[::5])


def main() -> None:
    data_folder = os.environ.get("DOLMA_PY_DATA")
    view = read_pool(Path(data_folder), 10_000_000) if data_folder else repeat_parts(make_text(8_000_000))
    num_bytes = len(view.data)
    config = SubstringConfig()
    suffixes = build_suffix_array(view.data)
    plcp = permuted_lcp(view.data, suffixes)
    flags = np.empty(num_bytes, np.uint8)

    def mark() -> None:
        flag_positions_kernel(plcp, view.offsets, config.min_length_bytes, flags)
        mark_repeats_kernel(suffixes, True, flags)

    spans = find_repeated_spans(*view, config=config)
    covered = int((spans.end_byte.astype(np.int64) - spans.start_byte).sum())
    print(
        f"text: {'pool' if data_folder else 'made'}, {num_bytes / 1e6:.1f} MB; spans {len(spans.start_byte)}, {covered / num_bytes:.3f} of bytes"
    )
    sorter = measure_sec(lambda: build_suffix_array(view.data), 3)
    steps = [
        ("suffix sorter alone", sorter),
        ("PLCP", measure_sec(lambda: permuted_lcp(view.data, suffixes), 3)),
        ("marks", measure_sec(mark, 3)),
        ("whole", measure_sec(lambda: find_repeated_spans(*view, config=config), 3)),
    ]
    print(f"{'step':20s} {'MB/s':>8s} {'of sorter speed':>16s}")
    for name, sec in steps:
        print(f"{name:20s} {num_bytes / sec / 1e6:8.1f} {sorter / sec:16.2f}")


if __name__ == "__main__":
    main()
