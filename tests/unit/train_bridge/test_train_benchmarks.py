"""The scripts that measure training run as they stand: the one for a GPU in small on this CPU, with few packages."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zstandard

import train_bridge.model
from benchmarks import ladder, long_context
from train_bridge.model import ModelConfig, build_model

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


def test_what_is_asked_was_told_once_and_only_far_back():
    ids_BT, labels_BT = long_context.make_texts(3, 256, torch.Generator().manual_seed(2))
    for ids, labels in zip(ids_BT.tolist(), labels_BT.tolist(), strict=True):
        told = {
            ids[place]: ids[place + 1] for place in range(63) if ids[place] < long_context.KEYS <= ids[place + 1]
            < long_context.KEYS + long_context.VALUES
        }  # fmt: skip
        assert len(told) == long_context.PAIRS
        asked = [place for place, label in enumerate(labels) if label >= 0]
        assert min(asked) >= 64 and len(asked) > 60
        assert all(told[ids[place]] == labels[place] for place in asked)
        # the answer stands nowhere behind the question
        assert all(not long_context.KEYS <= token < long_context.KEYS + long_context.VALUES for token in ids[64:])


def test_yarn_goes_where_a_way_says():
    """On no layer, on the full one, on all four: seen by the factor on the rotations that a model asks for."""
    model = build_model(ModelConfig(**long_context.SHAPE), seed=0)
    found = {}
    for way in long_context.WAYS:
        with long_context.rotating(way):
            copy = long_context.with_way(model, way)
            tables = {
                window: train_bridge.model.rotation_table(
                    torch.zeros(1, dtype=torch.int64), 32, theta=5e5, yarn=copy.config.yarn if window is None else None
                )[0].max()
                for window in set(copy.windows)
            }
        found[way] = [round(float(tables[window]), 3) for window in (64, None)]
    factor = round(0.1 * math.log(8) + 1, 3)
    assert found == {"no layer": [1, 1], "full layers": [1, factor], "all layers": [factor, factor]}


@pytest.mark.slow
def test_the_ladder_goes_from_texts_to_a_picture(tmp_path, monkeypatch, capsys):
    rng = random.Random(3)
    for domain in ladder.DOMAINS:
        (tmp_path / "pool" / domain).mkdir(parents=True)
        texts = [{"text": " ".join(f"word{rng.randrange(60)}" for _ in range(400))} for _ in range(12)]
        lines = "".join(json.dumps(text) + "\n" for text in texts).encode()
        (tmp_path / "pool" / domain / "a.jsonl.zst").write_bytes(zstandard.compress(lines))
    monkeypatch.setenv("DOLMA_PY_DATA", str(tmp_path))
    words = ["ladder", str(tmp_path / "out"), "--minutes", "0.01", "--sizes", "ladder_1m", "ladder_14m", "--vocab", "384",
             "--million-chars", "0.2"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    ladder.main()
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    curves = json.loads((tmp_path / "out" / "curves.json").read_text())
    assert [name for name in curves if curves[name][-1][0] == plan["steps"] * 2048] == ["ladder_1m", "ladder_14m"]
    assert all(points[-1][2] < points[0][2] for points in curves.values())
    assert (tmp_path / "out" / "ladder.svg").read_text().count("<svg") == 1
    assert capsys.readouterr().out.count("| ladder_") == 2
