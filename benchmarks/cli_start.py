"""How long `dolma-py --help` takes, beside Python's own start and the peer's command: the least of several runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

NUM_RUNS = 5
LIMIT_SEC = 0.3
ROOT = Path(__file__).resolve().parent.parent

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "dolma-py --help": [str(Path(sys.executable).parent / "dolma-py"), "--help"],
    "dolma-py train --help": [str(Path(sys.executable).parent / "dolma-py"), "train", "--help"],
    "dolma --help (peer)": [str(ROOT / ".venv-peers/dolma/bin/dolma"), "--help"],
}


def measure_sec(command: list[str]) -> list[float]:
    """Seconds of each run; the first, which fills the caches, is thrown away."""
    times = []
    for _ in range(NUM_RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])


def main() -> int:
    """Print one line per command; 1 when our help is slower than its limit."""
    slow = False
    for name, command in COMMANDS.items():
        if not Path(command[0]).exists():
            print(f"{name:24} not installed (make peers)")
            continue
        times = measure_sec(command)
        print(f"{name:24} min {times[0]:.3f} s, median {times[len(times) // 2]:.3f} s, max {times[-1]:.3f} s")
        slow |= name == "dolma-py --help" and times[0] > LIMIT_SEC
    print(f"limit for dolma-py --help: {LIMIT_SEC} s, {'missed' if slow else 'kept'}")
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
