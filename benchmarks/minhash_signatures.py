"""MinHash band keys per core beside datasketch, in one run on one text.

    python -m benchmarks.minhash_signatures                           made text
    DOLMA_PY_DATA=<folder> python -m benchmarks.minhash_signatures    the documents of <folder>/pool

Prints one table: MB/s of one thread (CPU time of the thread, so that a busy machine does not change it much; best of 7), bytes
moved and their share of what np.copyto moves on this machine in the same run. The peer gets the same words and the same number of
permutations, joined to 5-grams in Python as its users do; it is timed on a small part of the text, since it is slow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import datasketch
import numpy as np
import xxhash

from dedup import minhash, normalise, shingles
from dedup.minhash_presets import get_preset
from dolma_py.arrow_buffers import TextView

NUM_REPEATS = 7
PEER_BYTES = 300_000


def make_text(num_bytes: int) -> TextView:
    """Documents of 200 to 2,000 words drawn from 50,000 by Zipf's law, the same in every run."""
    generator = np.random.default_rng(1)
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgkjqxz", np.uint8)
    words = [bytes(generator.choice(letters, size=size)) for size in generator.integers(2, 11, 50_000)]
    texts = []
    while sum(map(len, texts)) < num_bytes:
        ranks = np.minimum(generator.zipf(1.3, generator.integers(200, 2000)), len(words)) - 1
        texts.append(b" ".join(words[rank] for rank in ranks))
    return join_texts(texts)


def read_pool(folder: Path, num_bytes: int) -> TextView:
    """Documents of every file of the pool in turn, until there are enough."""
    import io

    import orjson
    import zstandard

    texts: list[bytes] = []
    files = sorted(folder.glob("pool/*/*.jsonl.zst"))
    for path in files:
        taken = 0
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for line in io.BufferedReader(stream):
                texts.append(orjson.loads(line)["text"].encode())
                taken += len(texts[-1])
                if taken > num_bytes // len(files):
                    break
    return join_texts(texts)


def join_texts(texts: list[bytes]) -> TextView:
    sizes = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return TextView(np.frombuffer(b"".join(texts), np.uint8), sizes)


def measure_sec(action: Callable[[], object], repeats: int = NUM_REPEATS) -> float:
    """Best CPU time of one thread; the first call compiles and is not counted."""
    action()
    best = float("inf")
    for _ in range(repeats):
        begin = time.thread_time()
        action()
        best = min(best, time.thread_time() - begin)
    return best


def copy_rate() -> float:
    """Bytes per second that np.copyto moves between two large arrays: read plus written."""
    source = np.ones(1 << 27, np.uint8)
    target = np.zeros_like(source)
    return 2 * len(source) / measure_sec(lambda: np.copyto(target, source))


def time_datasketch(view: TextView, num_permutations: int) -> tuple[float, int]:
    """Seconds and bytes: word 5-grams, xxh64 of each, update_batch per document."""
    last = int(np.searchsorted(view.offsets, PEER_BYTES)) or 1
    normal = normalise.normalise_texts(view.data, view.offsets[: last + 1])
    texts = [bytes(normal.data[a:b]) for a, b in zip(normal.offsets, normal.offsets[1:], strict=False)]

    def run() -> None:
        for text in texts:
            words = text.split(b" ")
            grams = [b" ".join(words[k : k + 5]) for k in range(max(len(words) - 4, 1))]
            sketch = datasketch.MinHash(
                num_permutations, hashfunc=lambda gram: xxhash.xxh64_intdigest(gram) & 0xFFFFFFFF
            )
            sketch.update_batch(grams)

    return measure_sec(run, repeats=2), int(view.offsets[last])


def main() -> None:
    data_folder = os.environ.get("DOLMA_PY_DATA")
    view = read_pool(Path(data_folder), 16_000_000) if data_folder else make_text(8_000_000)
    num_bytes, num_docs = len(view.data), len(view.offsets) - 1
    config = get_preset("olmo3-web")
    multiplier, increment = minhash.draw_permutations(config.num_permutations, seed=config.seed)
    found = shingles.shingle_texts(*view, num_words=config.shingles.num_items)
    num_shingles = len(found.hashes)
    row_bytes = num_docs * config.num_permutations * 4
    key_bytes = num_docs * config.num_bands * 8
    rate = copy_rate()
    print(
        f"text: {'pool' if data_folder else 'made'}, {num_bytes / 1e6:.1f} MB, {num_docs} documents, {num_shingles} shingles"
    )
    print(f"copy rate of this machine: {rate / 1e9:.1f} GB/s (np.copyto, read + written)")
    print(f"{'step':34s} {'MB/s/core':>9s} {'ns/shingle':>10s} {'moved MB':>9s} {'of copy rate':>12s}")
    steps: list[tuple[str, Callable[[], object], int]] = [
        ("words", lambda: normalise.find_words(*view), num_bytes * 2),
        ("words + 5-gram hashes", lambda: shingles.shingle_texts(*view, num_words=5), num_bytes + num_shingles * 8),
        (
            f"signatures, {config.num_permutations} permutations",
            lambda: minhash.signatures(found, multiplier=multiplier, increment=increment),
            num_shingles * 8 + row_bytes,
        ),
        (
            "all: text to 26 x 11 band keys",
            lambda: minhash.hash_bands(*view, config=config),
            num_bytes + num_shingles * 16 + 2 * row_bytes + key_bytes,
        ),
    ]
    for name, action, moved in steps:
        sec = measure_sec(action)
        share = moved / sec / rate
        print(
            f"{name:34s} {num_bytes / sec / 1e6:9.0f} {sec / num_shingles * 1e9:10.1f} {moved / 1e6:9.0f} {share:12.3f}"
        )
    sec, peer_bytes = time_datasketch(view, config.num_permutations)
    print(f"{'datasketch ' + datasketch.__version__ + ', normalised text':34s} {peer_bytes / sec / 1e6:9.1f}")


if __name__ == "__main__":
    main()
