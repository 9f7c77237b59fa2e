"""Peak memory of signatures: one document of 200 MB and a million tiny ones, each in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from dedup.minhash import MinHashConfig, hash_bands
from dedup.shingles import ShingleConfig
from dolma_py.machine import read_peak_bytes

shingles = ShingleConfig(**{shingles!r})
config = MinHashConfig(shingles=shingles)
data, offsets = {texts}
hash_bands(data[:100], np.array([0, 50, 100]), config=config)  # compiles, builds tables
before = read_peak_bytes()
bands = hash_bands(data, offsets, config=config)
assert bands.is_valid.all()
print(read_peak_bytes() - before)
"""
# 33 million words in one document; shingles times permutations would be 38 GB, the shingles alone 270 MB
LARGE = "np.tile(np.frombuffer(b'words ', np.uint8), 200_000_000 // 6), np.array([0, 200_000_000 // 6 * 6])"
SPACELESS = "np.full(200_000_000, 120, np.uint8), np.array([0, 200_000_000])"
TINY = "np.tile(np.frombuffer(b'tiny doc', np.uint8), 1_000_000), np.arange(0, 8_000_001, 8)"
KEYS = 1_000_000 * 32 * 8  # the default bands


@pytest.mark.slow
@pytest.mark.parametrize(
    ("texts", "shingles", "most_bytes"),
    [
        (LARGE, {}, 20e6),
        (LARGE, {"unit": "characters", "rules": "duplodocus"}, 260e6),  # the normalised text
        (SPACELESS, {}, 450e6),  # one word: scratch of the longest stretch without a border
        (TINY, {}, KEYS + 30e6),
        (TINY, {"rules": "whitespace", "hash": "xxh64"}, KEYS + 60e6),
    ],
)
def test_memory_is_bounded(repository, texts, shingles, most_bytes):
    program = PROGRAM.format(texts=texts, shingles=shingles)
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < most_bytes
