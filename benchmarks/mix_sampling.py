"""What docs/sampling.md says in numbers: memory of the driver, rounding of cells, copies in the final order, and what a search
beyond memory leaves open.

    python -m benchmarks.mix_sampling [--corpus DIR]

--corpus: one that `dolma-py build quickstart` made; its cells are rounded each alone, and with what is carried.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolma_py.hashing import hash_ids
from dolma_py.machine import read_peak_bytes, reset_peak
from mixers import prefix_search, sampling, selection
from mixers.prefix_search import NUM_DIGITS, Ordered
from mixers.sampling import HeldoutConfig
from mixers.shards import order_hash
from pipelines import mix_passes
from pipelines.mix_table import ROW_SCHEMA, MixInputs


def read_rows(root: Path) -> pa.Table:
    """source, id, tokens and bucket of every document of the mix's view that is not held out."""
    tables = []
    for path in sorted((root / "documents").rglob("*.parquet")):
        relative = path.relative_to(root / "documents")
        columns = pq.read_table(path, columns=["id", "source"])
        columns = columns.append_column(
            "tokens", pq.read_table(root / "attributes/token_count-v1" / relative)["tokens"]
        )
        columns = columns.append_column("bucket", pq.read_table(root / "attributes/sample-v1" / relative)["bucket"])
        tables.append(columns)
    rows = pa.concat_tables(tables)
    return rows.filter(pa.compute.fill_null(pa.compute.greater_equal(rows["bucket"], 0), False))


def compare_rounding(root: Path) -> None:
    """Cells of a built corpus: tokens planned and given when each cell takes what is nearest to its own budget, and when it is carried."""
    (path,) = sorted(root.glob("runs/*/*-plan/cells.parquet"))
    cells, rows = pq.read_table(path).to_pylist(), read_rows(root)
    keys = [(cell["source"], cell["topic"], cell["bucket"]) for cell in cells]
    planned = np.array([cell["planned_tokens"] for cell in cells], np.int64)
    number = {(source, bucket): at for at, (source, _, bucket) in enumerate(keys)}
    pairs = zip(rows["source"].to_pylist(), rows["bucket"].to_pylist(), strict=True)
    cell = np.array([number[pair] for pair in pairs], np.int32)
    pools = selection.make_pools(keys, planned=planned, num_buckets=20, selection={}, seed=0)
    id_hash = hash_ids(rows["id"].combine_chunks(), seed=0, name="document")
    score = np.zeros(len(cell), np.float32)
    high, low = selection.order_keys(cell, id_hash=id_hash, score=score, pools=pools)
    docs = Ordered(cell, high, low, np.arange(len(cell)), rows["tokens"].to_numpy().astype(np.int64))
    available = np.zeros(len(keys), np.int64)
    np.add.at(available, cell, docs.weight)
    whole, rest = sampling.split_budget(planned, available=available, names=list(map(str, keys)))
    counts = np.bincount(cell, minlength=len(keys))
    has = planned > 0
    print(
        f"{len(cell)} documents in {int((counts > 0).sum())} cells, {int(has.sum())} of them planned, median {np.median(counts[has]):.0f} documents"
    )
    for name, chain in (("each alone", np.arange(len(keys), dtype=np.int32)), ("carried within a source", pools.chain)):
        copies, edges = sampling.sample_copies(docs, whole=whole, rest=rest, chain=chain)
        given = np.zeros(len(keys), np.int64)
        np.add.at(given, cell, docs.weight * copies)
        off = given - planned
        by_source = np.zeros(int(pools.chain.max()) + 1, np.int64)
        np.add.at(by_source, pools.chain, off)
        assert (np.abs(off) <= edges).all()
        print(
            f"{name}: planned {planned.sum()}, sampled {given.sum()} ({off.sum() / planned.sum():+.3%}), "
            f"cells off by {np.abs(off[has]).mean():.0f} on average, sources by at most {np.abs(by_source).max()}"
        )


def measure_distances() -> None:
    """The least distance of two copies, around the end as around a circle, in shares of all tokens of the final order."""
    generator = np.random.default_rng(5)
    for copies in (2, 4, 7):
        num_single, num_repeated = 500_000, 20_000
        number = np.concatenate([np.ones(num_single, np.int32), np.full(num_repeated, copies, np.int32)])
        lengths = np.exp(generator.normal(6.3, 1.2, len(number))).astype(np.int64) + 1
        index = np.repeat(np.arange(len(number)), number)
        copy = (np.arange(len(index)) - np.repeat(np.cumsum(number) - number, number)).astype(np.int32)
        id_hash = generator.integers(0, 1 << 64, len(number), np.uint64)[index]
        least = []
        for spread in (number[index], None):
            order = np.argsort(order_hash(id_hash, copy=copy, copies=spread, seed=1), kind="stable")
            ends = np.cumsum(lengths[index][order])
            place = np.empty(len(index), np.float64)
            place[order] = (ends - lengths[index][order] / 2) / ends[-1]
            mine = np.sort(place[num_single:].reshape(num_repeated, copies), axis=1)
            least.append(float(np.diff(np.concatenate([mine, mine[:, :1] + 1], axis=1), axis=1).min()))
        apart = f"nearest two {least[0]:.4f} of the order apart (1/{2 * copies} = {1 / 2 / copies:.4f})"
        print(f"{copies} copies of {num_repeated} documents: {apart}; by a plain hash {least[1]:.7f}")


def count_open(num_docs: int = 4_000_000, num_pools: int = 480) -> None:
    """Documents in open bins after each level, and processor time of a pass."""
    generator = np.random.default_rng(1)
    docs = Ordered(
        generator.integers(0, num_pools, num_docs).astype(np.int32), generator.integers(0, 1 << 64, num_docs, np.uint64),
        np.zeros(num_docs, np.uint64), np.arange(num_docs), generator.integers(1, 3000, num_docs),
    )  # fmt: skip
    available, counts = np.zeros(num_pools, np.int64), np.bincount(docs.pool, minlength=num_pools).astype(np.int64)
    np.add.at(available, docs.pool, docs.weight)
    search = prefix_search.start_search(available // 3, available=available, num_docs=counts)
    for _ in range(2):
        begin = time.process_time()
        places, weights, counted = prefix_search.count_prefixes(docs, search)
        seconds = time.process_time() - begin
        sums = np.zeros((2, num_pools * NUM_DIGITS), np.int64)
        sums[:, places] += np.array([weights, counted])
        search = prefix_search.narrow_search(search, *(total.reshape(num_pools, NUM_DIGITS) for total in sums))
        print(
            f"{num_docs} documents in {num_pools} pools, level {search.level}: {int(search.num_docs.sum())} open, {seconds:.1f} s of CPU"
        )


def measure_memory(num_docs: int = 4_000_000, num_files: int = 40) -> None:
    """Bytes of the driver for a document at the peak, when it holds and sorts all rows."""
    generator = np.random.default_rng(0)
    sources, topics = np.array(["web_source_a", "web_source_b"]), np.array(["topic_number1", "topic_number2"])
    size = num_docs // num_files
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(num_files):
            columns = [
                np.arange(size) + number * size, sources[generator.integers(0, 2, size)], generator.random(size, np.float32),
                generator.integers(1, 3000, size), generator.integers(1, 3000, size), generator.integers(0, 1 << 64, size, np.uint64),
                topics[generator.integers(0, 2, size)],
            ]  # fmt: skip
            files.append({"path": f"{folder}/{number}.parquet", "rows": size})
            pq.write_table(pa.table([pa.array(column) for column in columns], schema=ROW_SCHEMA), files[-1]["path"])
        del columns
        pa.default_memory_pool().release_unused()
        reset_peak()
        before = read_peak_bytes()
        context: Any = SimpleNamespace(corpus=SimpleNamespace(path=str), seed=0, work=folder)
        rows = mix_passes.RowsHere(context, MixInputs(heldout=HeldoutConfig(heldout_docs=1000)), 20, files, {})
        counted = rows.count_cells()
        keys = [(source, topic, bucket) for source, topic in counted.groups for bucket in range(20)]
        planned = counted.tokens * 5 // 3
        pools = selection.make_pools(keys, planned=planned, num_buckets=20, selection={}, seed=0)
        available, _ = mix_passes.sum_pools(pools, counted)
        whole, rest = sampling.split_budget(pools.planned, available=available, names=list(map(str, keys)))
        rows.draw(pools, whole, rest)
        print(f"{num_docs} documents on the driver: {(read_peak_bytes() - before) / num_docs:.0f} bytes each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    corpus = parser.parse_args().corpus
    measure_memory()  # first: what others held would count as free
    if corpus is not None:
        compare_rounding(corpus)
    measure_distances()
    count_open()


if __name__ == "__main__":
    main()
