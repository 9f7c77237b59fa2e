"""What the work files of the shuffle cost: a block written, read and joined, and what the driver holds of a split.

    python -m benchmarks.shuffle_files [--copies 8000] [--ranges 24774] [--files 16]

Made rows of 100 to 4,700 random ids, as many splits as files. Processor time of this process; bytes by tracemalloc.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa

from dolma_py.done import DoneFile
from dolma_py.storage import HashingWriter, write_attempt
from mixers import piece_files, shards
from pipelines.encode_split import write_lines


def make_rows(num_rows: int) -> pa.Table:
    """PIECE_SCHEMA rows with random keys and ids."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(100, 4_700, num_rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(0, 100_000, offsets[-1]).astype(np.uint32)
    row = pa.array(np.arange(num_rows))
    columns = [
        pa.array(rng.integers(0, 1 << 64, num_rows, np.uint64)), pa.array([f"a{n:031d}" for n in range(num_rows)]),
        pa.array(np.zeros(num_rows, np.int32)), pa.array(["web"] * num_rows), pa.array(["documents/web/part-00000.parquet"] * num_rows), row,
        pa.array(np.zeros(num_rows, np.int32)), row, pa.array(lengths * 4), *shards.without_fim(num_rows), shards.build_tokens(ids, offsets),
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=shards.PIECE_SCHEMA)


def measure_driver(folder: Path, num_splits: int) -> tuple[float, float]:
    """(bytes, processor seconds) of the driver for each split that it publishes."""
    name = "runs/mix/09-shards/work/pieces/shard-{:05d}-group-00000-00003"
    write = functools.partial(write_lines, b"x", 1)
    files = [
        write_attempt(str(folder), "attempts", f"{name.format(number)}.pieces", write) for number in range(num_splits)
    ]
    done = DoneFile(str(folder), "runs/mix/09-shards/work/pieces", "f" * 32)
    tracemalloc.start()
    start = time.process_time()
    for number, file in enumerate(files):
        counts = {"web": {"tokens": 10**8 + number, "documents": 24_912 + number, "bytes": 10**8 + number}}
        facts = {"copies": 24_912 + number, "sources": counts, "heldout": {"web": 600}, "fim": {"psm": 0, "spm": 0}}
        done.publish(name.format(number), [file], facts)
    return tracemalloc.get_traced_memory()[0] / num_splits, (time.process_time() - start) / num_splits


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--copies", type=int, default=8_000, help="of a split")
    parser.add_argument("--ranges", type=int, default=24_774)
    parser.add_argument("--files", type=int, default=16)
    given = parser.parse_args()
    rows = make_rows(given.copies)
    with tempfile.TemporaryDirectory() as name:
        paths = [str(Path(name, f"{number}.pieces")) for number in range(given.files)]
        start = time.process_time()
        for path in paths:
            parts = [piece_files.sort_by_range(rows, given.ranges)]
            with open(path, "wb") as stream:
                piece_files.write_ranges(parts, given.ranges, HashingWriter(stream))
        seconds = time.process_time() - start
        print(f"sorted and written {1e6 * seconds / given.copies / given.files:.0f} microseconds a copy")
        start = time.process_time()
        for place in range(2_000):
            piece_files.read_ranges(paths[0], *piece_files.find_ranges(place, given.ranges, given.ranges), given.ranges)
        print(f"read {1e6 * (time.process_time() - start) / 2_000:.0f} microseconds a part of one file")
        start = time.process_time()
        with open(Path(name, "all"), "wb") as stream:
            piece_files.merge_files(paths, given.ranges, HashingWriter(stream))
        num_bytes = Path(name, "all").stat().st_size
        print(f"joined {num_bytes / 1e6 / (time.process_time() - start):.0f} MB/s")
        held, seconds = measure_driver(Path(name), 400)
        print(f"driver {held:.0f} bytes and {1e3 * seconds:.2f} ms a split")


if __name__ == "__main__":
    main()
