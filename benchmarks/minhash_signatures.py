"""MinHash band keys per core, stage by stage, beside datasketch and rensa, in one run on one text.

    python -m benchmarks.minhash_signatures                           made text
    DOLMA_PY_DATA=<folder> python -m benchmarks.minhash_signatures    the documents of <folder>/pool

Prints one table: MB/s of one thread (CPU time of the thread, so that a busy machine does not change it much; best of 7), bytes
moved and their share of what np.copyto moves on this machine in the same run. Then the vector operations that signatures cost,
and shingles of BPE tokens beside the tokenizer alone. The peers get the normalised text and the same number of permutations,
shingled in Python as their users do; they are timed on a small part of the text, since they are slow. rensa runs where the
interpreter of .venv-peers/datatrove (made by `make peers`), or the one that RENSA_PYTHON names, has it.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasketch
import numpy as np
import xxhash

from dedup import minhash, normalise, shingles
from dedup.minhash_presets import get_preset
from dolma_py import token_ids
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


def peer_texts(view: TextView) -> tuple[list[bytes], int]:
    """Normalised texts of the first PEER_BYTES, and how many bytes they were."""
    last = int(np.searchsorted(view.offsets, PEER_BYTES)) or 1
    normal = normalise.normalise_texts(view.data, view.offsets[: last + 1])
    texts = [bytes(normal.data[a:b]) for a, b in zip(normal.offsets, normal.offsets[1:], strict=False)]
    return texts, int(view.offsets[last])


def time_datasketch(texts: list[bytes], num_permutations: int) -> float:
    """Seconds: word 5-grams, xxh64 of each, update_batch per document."""

    def run() -> None:
        for text in texts:
            words = text.split(b" ")
            grams = [b" ".join(words[k : k + 5]) for k in range(max(len(words) - 4, 1))]
            sketch = datasketch.MinHash(
                num_permutations, hashfunc=lambda gram: xxhash.xxh64_intdigest(gram) & 0xFFFFFFFF
            )
            sketch.update_batch(grams)

    return measure_sec(run, repeats=2)


RENSA_PROGRAM = """
import sys, time, rensa
texts = open(sys.argv[1], encoding="utf-8", errors="replace", newline="").read().split("\\n")
best = 1e9
for _ in range(3):
    begin = time.thread_time()
    for text in texts:
        words = text.split(" ")
        sketch = rensa.RMinHash(num_perm=int(sys.argv[2]), seed=1)
        sketch.update([" ".join(words[k : k + 5]) for k in range(max(len(words) - 4, 1))])
        sketch.digest()
    best = min(best, time.thread_time() - begin)
print(best)
"""


def time_rensa(texts: list[bytes], num_permutations: int) -> float | None:
    """Seconds of rensa's RMinHash on the same texts in the interpreter that has it; None where there is none."""
    python = os.environ.get("RENSA_PYTHON", ".venv-peers/datatrove/bin/python")
    if not os.path.exists(python):
        return None
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"\n".join(texts))
        file.flush()
        command = [python, "-c", RENSA_PROGRAM, file.name, str(num_permutations)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"rensa failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(done.stdout)


def print_tokens(view: TextView) -> None:
    """Band keys of BPE tokens beside the tokenizer alone, both on one thread, with a BPE trained on the text here."""
    from mixers.tokenization import BpeConfig, train_bpe, use_one_thread

    use_one_thread()
    last = int(np.searchsorted(view.offsets, 3 * PEER_BYTES)) or 1
    part = TextView(view.data, view.offsets[: last + 1])
    texts = [
        bytes(part.data[a:b]).decode(errors="replace") for a, b in zip(part.offsets, part.offsets[1:], strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        Path(path).write_bytes(train_bpe(texts, BpeConfig(vocab_size=8192)))
        backend = token_ids.load_backend(path)
        tokens_config = shingles.ShingleConfig(unit="tokens", tokenizer=path, rules="none")
        config = minhash.MinHashConfig(shingles=tokens_config, num_bands=26, num_rows=11)
        bounds = [*range(0, len(texts), 50), len(texts)]

        def encode() -> None:
            for a, b in zip(bounds, bounds[1:], strict=False):
                backend.encode_batch_fast(texts[a:b], add_special_tokens=False)

        alone = measure_sec(encode, repeats=2)
        whole = measure_sec(lambda: minhash.hash_bands(*part, config=config), repeats=2)
    num_bytes = int(part.offsets[-1])
    print(f"{'tokenizer alone, encode_batch_fast':34s} {num_bytes / alone / 1e6:9.2f}")
    print(
        f"{'text to band keys of BPE tokens':34s} {num_bytes / whole / 1e6:9.2f}   {alone / whole:.2f} of the tokenizer"
    )


def main() -> None:
    data_folder = os.environ.get("DOLMA_PY_DATA")
    view = read_pool(Path(data_folder), 16_000_000) if data_folder else make_text(8_000_000)
    num_bytes, num_docs = len(view.data), len(view.offsets) - 1
    config = get_preset("olmo3-web")
    multiplier, increment = minhash.draw_permutations(config.num_permutations, seed=config.seed)
    found = shingles.shingle_texts(*view, num_words=config.shingles.num_items)
    rows = minhash.signatures(found, multiplier=multiplier, increment=increment)
    num_shingles = len(found.hashes)
    row_bytes, key_bytes = rows.size * 4, num_docs * config.num_bands * 8
    rate = copy_rate()
    source = "pool" if data_folder else "made"
    print(f"text: {source}, {num_bytes / 1e6:.1f} MB, {num_docs} documents, {num_shingles} shingles")
    print(f"copy rate of this machine: {rate / 1e9:.1f} GB/s (np.copyto, read + written)")
    print(f"{'step':34s} {'MB/s/core':>9s} {'ns/shingle':>10s} {'moved MB':>9s} {'of copy rate':>12s}")
    other = {name: minhash.MinHashConfig(shingles=shingles.ShingleConfig(**values)) for name, values in OTHERS.items()}
    steps: list[tuple[str, Callable[[], object], int]] = [
        ("words (lower case, borders)", lambda: normalise.find_words(*view), num_bytes * 2),
        ("words + 5-gram hashes", lambda: shingles.shingle_texts(*view, num_words=5), num_bytes + num_shingles * 8),
        (
            f"signatures, {config.num_permutations} permutations",
            lambda: minhash.signatures(found, multiplier=multiplier, increment=increment),
            num_shingles * 8 + row_bytes,
        ),
        ("26 x 11 band keys", lambda: minhash.band_keys(rows, num_bands=26, num_rows=11), row_bytes + key_bytes),
        (
            "all: text to 26 x 11 band keys",
            lambda: minhash.hash_bands(*view, config=config),
            num_bytes + 2 * row_bytes + key_bytes,
        ),
        *(
            (f"all, {name}", functools.partial(minhash.hash_bands, *view, config=value), num_bytes * 3)
            for name, value in other.items()
        ),
    ]
    signatures_ns = 0.0
    for name, action, moved in steps:
        sec = measure_sec(action, repeats=1 if name[5:] in OTHERS else NUM_REPEATS)
        share = moved / sec / rate
        print(
            f"{name:34s} {num_bytes / sec / 1e6:9.0f} {sec / num_shingles * 1e9:10.1f} {moved / 1e6:9.0f} {share:12.3f}"
        )
        signatures_ns = sec / num_shingles * 1e9 if name.startswith("signatures") else signatures_ns
    vectors = -(-config.num_permutations // minhash.VECTOR_LANES)
    print(
        f"signatures: {vectors} vectors x (multiply, add, minimum) = {3 * vectors} operations per shingle with "
        f"{minhash.VECTOR_LANES} lanes, {signatures_ns / 3 / vectors:.3f} ns each; 4 loads and stores per vector and 8 shingles"
    )
    texts, peer_bytes = peer_texts(view)
    sec = time_datasketch(texts, config.num_permutations)
    print(f"{'datasketch ' + datasketch.__version__ + ', normalised text':34s} {peer_bytes / sec / 1e6:9.1f}")
    rensa_sec = time_rensa(texts, config.num_permutations)
    shown = "not installed here" if rensa_sec is None else f"{peer_bytes / rensa_sec / 1e6:9.1f}"
    print(f"{'rensa RMinHash, normalised text':34s} {shown}")
    print_tokens(view)


# the general way: rules by table, hashes of bytes
OTHERS: dict[str, dict[str, Any]] = {
    "rules datatrove": {"rules": "datatrove"},
    "rules text-dedup, sha1": {"rules": "text-dedup", "hash": "sha1"},
    "characters, rolling": {"unit": "characters"},
}


if __name__ == "__main__":
    main()
