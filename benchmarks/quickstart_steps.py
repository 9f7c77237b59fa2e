"""Time, rate and memory of every step of a finished build, as its run.json files say: where the cost table's rates come from.

python -m benchmarks.quickstart_steps [demo/corpus [quickstart]]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(corpus: str = "demo/corpus", recipe: str = "quickstart") -> int:
    """Print one line per step."""
    if not Path(corpus).is_dir():
        print(f"{corpus} is not there: run make demo first")
        return 0
    print(f"{'step':<16}{'seconds':>9}{'MB/s':>8}{'task s':>8}{'MB/s per core-s':>17}{'peak worker MB':>16}")
    total = 0.0
    for path in sorted(Path(corpus).glob(f"runs/{recipe}/*/run.json")):
        run = json.loads(path.read_text())
        made = json.loads((path.parent / "manifest.json").read_text())
        task_sec = run.get("task_sec", 0.0)
        funnel = made["funnel"] and (made["funnel"]["steps"] or [made["funnel"]["kept"]])
        num_bytes = sum(counts["bytes"] for counts in funnel[0]["sources"].values()) if funnel else 0
        per_core = num_bytes / 1e6 / task_sec if task_sec else 0.0
        peak = run.get("peak_worker_bytes", 0) / 1e6
        speed = "" if run["mb_per_sec"] is None else f"{run['mb_per_sec']:.1f}"
        total += run["seconds"]
        print(f"{made['step']:<16}{run['seconds']:>9.1f}{speed:>8}{task_sec:>8.1f}{per_core:>17.1f}{peak:>16.0f}")
    print(f"{'all':<16}{total:>9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
