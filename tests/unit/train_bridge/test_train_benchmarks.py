"""The scripts that measure training run as they stand: the one for a GPU in small on this CPU, with few packages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
# every package of ours but torch, numpy, pyarrow and pydantic
REFUSED = (
    "yaml", "typer", "click", "rich", "numba", "orjson", "smart_open", "zstandard", "tokenizers", "tiktoken", "transformers",
    "safetensors", "accelerate", "matplotlib", "pandas", "pyspark", "xxhash", "datasketch", "fasttext", "isal", "huggingface_hub",
)  # fmt: skip
_RUN_WITHOUT = '''
import importlib.abc, runpy, sys

class Hiding(importlib.abc.MetaPathFinder):
    """Another finder, to which some packages are not installed."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in REFUSED else self.finder.find_spec(name, path, target)

REFUSED = set(sys.argv[2:])
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
name, sys.argv = sys.argv[1], ["gpu_train", "--small"]
runpy.run_module(name, run_name="__main__")
'''


def test_the_gpu_script_runs_in_small_with_few_packages():
    answer = subprocess.run(
        [sys.executable, "-c", _RUN_WITHOUT, "benchmarks.gpu_train", *REFUSED],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    rows = [line.split(" | ") for line in answer.stdout.splitlines() if line.startswith("| small")]
    whats = [row[1] for row in rows]
    parts = ["forward and backward", "forward and loss", "optimizer", "loss alone",
             "attention of one layer, full", "attention of one layer, window 64"]  # fmt: skip
    assert whats == [
        what for again in ("none", "mlp", "full") for what in (f"training step ({again} computed again)", *parts)
    ]
    # milliseconds and tokens of a second are of each other: 2 x 128 tokens
    for row in rows:
        ms, rate = (float(value.replace(",", "")) for value in row[2:4])
        assert abs(256 / rate - ms / 1e3) < 0.06 / 1e3 + 0.01 * ms / 1e3
    assert re.search(r"TFLOP/s of dense products, torch .*attention sdpa, not compiled", answer.stdout)
