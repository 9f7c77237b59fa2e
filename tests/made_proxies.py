"""Stands for `dolma-py train` and `eval` in tests of what starts them: bits per byte of a known law of the shares, in no time.

    python tests/made_proxies.py train --output D --set data.sources={...} ...
    python tests/made_proxies.py eval --run D --output FILE ...

A source that no law knows is as web. With data.seed among the settings, values vary with it, and documents of a task vary among each other;
`sft` is a training that gives what its parent gives. Each training writes when it began and ended to D/../trace.txt. The environment gives
MADE_PROXIES_SLEEP, seconds of a training, MADE_PROXIES_FAIL, how many trainings of each run fail first, and MADE_PROXIES_NOISE, the standard
deviation of the values of runs that differ in their seeds.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from pathlib import Path

# task -> (floor, coefficient by source)
LAWS = {
    "web": (1.0, {"web": -1.0, "code": 0.3, "math": 0.2}),
    "code": (0.5, {"web": 0.4, "code": -3.0, "math": 0.0}),
    "math": (0.8, {"web": 0.2, "code": -0.5, "math": -2.0}),
}


def bits_per_byte(task: str, shares: dict[str, float]) -> float:
    floor, coefficients = LAWS[task]
    return floor + math.exp(sum(coefficients.get(name, coefficients["web"]) * share for name, share in shares.items()))


def train(words: list[str]) -> int:
    output = Path(words[words.index("--output") + 1])
    with open(output.parent / "trace.txt", "a") as trace:
        trace.write("begin\n")
    time.sleep(float(os.environ.get("MADE_PROXIES_SLEEP", "0")))
    tries = (output.parent / "trace.txt").read_text().count("begin")
    if tries <= int(os.environ.get("MADE_PROXIES_FAIL", "0")):
        print("error: made to fail", file=sys.stderr)
        return 2
    (output / "checkpoints").mkdir(parents=True, exist_ok=True)
    if words[0] == "sft":
        parent = Path(words[words.index("--from") + 1])
        for name in ("sources.json", "seed.json"):
            (output / name).write_text((parent / name).read_text())
    else:
        given = next(word for word in words if word.startswith("data.sources="))
        seed = next((word.partition("=")[2] for word in words if word.startswith("data.seed=")), "null")
        (output / "sources.json").write_text(given.partition("=")[2])
        (output / "seed.json").write_text(seed)
    with open(output.parent / "trace.txt", "a") as trace:
        trace.write("end\n")
    return 0


def measure(task: str, shares: dict[str, float], seed: int | None) -> dict[str, object]:
    """Of 20 documents of 100 bytes."""
    value = bits_per_byte(task, shares)
    if seed is None:
        return {"bits_per_byte": value, "per_document": {"rows": [0], "bits": [100 * value], "bytes": [100]}}
    of_run = random.Random(f"{task} {sorted(shares.items())} {seed}")
    of_documents = random.Random(task)  # the same in all runs
    value += of_run.gauss(0, float(os.environ.get("MADE_PROXIES_NOISE", "0.001")))
    bits = [100 * (value + of_documents.gauss(0, 0.3) + of_run.gauss(0, 0.001)) for _ in range(20)]
    return {
        "bits_per_byte": sum(bits) / 2000,
        "per_document": {"rows": list(range(20)), "bits": bits, "bytes": [100] * 20},
    }


def evaluate(words: list[str]) -> int:
    run, output = (Path(words[words.index(name) + 1]) for name in ("--run", "--output"))
    ratios = {name: source["target_ratio"] for name, source in json.loads((run / "sources.json").read_text()).items()}
    total = sum(ratios.values())
    shares = {name: ratio / total for name, ratio in ratios.items()}
    seed = json.loads((run / "seed.json").read_text())
    found = {"sources": {task: measure(task, shares, seed) for task in LAWS}}
    if "--items" in words:
        lines = Path(words[words.index("--items") + 1]).read_text().splitlines()
        # of an item its number is what it takes
        found["items"] = {"per_item": {json.loads(line)["id"]: float(json.loads(line)["answer"]) for line in lines}}
    output.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    if "--help" in sys.argv:
        sys.exit(sys.argv[1] not in ("train", "eval", *os.environ.get("MADE_PROXIES_COMMANDS", "").split()))
    sys.exit({"train": train, "sft": train, "eval": evaluate}[sys.argv[1]](sys.argv[1:]))
