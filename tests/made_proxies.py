"""Stands for `dolma-py train` and `eval` in tests of what starts them: bits per byte of a known law of the shares, in no time.

    python tests/made_proxies.py train --output D --set data.sources={...} ...
    python tests/made_proxies.py eval --run D --output FILE ...

Each training writes when it began and ended to D/../trace.txt. The environment gives MADE_PROXIES_SLEEP, seconds of a training, and
MADE_PROXIES_FAIL, how many trainings of each run fail first.
"""

from __future__ import annotations

import json
import math
import os
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
    return floor + math.exp(sum(coefficients[name] * share for name, share in shares.items()))


def train(words: list[str]) -> int:
    output = Path(words[words.index("--output") + 1])
    with open(output.parent / "trace.txt", "a") as trace:
        trace.write("begin\n")
    time.sleep(float(os.environ.get("MADE_PROXIES_SLEEP", "0")))
    tries = (output.parent / "trace.txt").read_text().count("begin")
    if tries <= int(os.environ.get("MADE_PROXIES_FAIL", "0")):
        print("error: made to fail", file=sys.stderr)
        return 2
    given = next(word for word in words if word.startswith("data.sources="))
    (output / "checkpoints").mkdir(parents=True, exist_ok=True)
    (output / "sources.json").write_text(given.partition("=")[2])
    with open(output.parent / "trace.txt", "a") as trace:
        trace.write("end\n")
    return 0


def evaluate(words: list[str]) -> int:
    run, output = (Path(words[words.index(name) + 1]) for name in ("--run", "--output"))
    ratios = {name: source["target_ratio"] for name, source in json.loads((run / "sources.json").read_text()).items()}
    total = sum(ratios.values())
    shares = {name: ratio / total for name, ratio in ratios.items()}
    found = {"sources": {task: {"bits_per_byte": bits_per_byte(task, shares)} for task in LAWS}}
    if "--items" in words:
        lines = Path(words[words.index("--items") + 1]).read_text().splitlines()
        # of an item its number is what it takes
        found["items"] = {"per_item": {json.loads(line)["id"]: float(json.loads(line)["answer"]) for line in lines}}
    output.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit({"train": train, "eval": evaluate}[sys.argv[1]](sys.argv[2:]))
