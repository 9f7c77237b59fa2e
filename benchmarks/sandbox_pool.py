"""Programs per second in a sandbox each: started for the program, ready before it came, and without any sandbox.

    python -m benchmarks.sandbox_pool

Each program adds two numbers; what is measured is the start of an interpreter and its sandbox. `python` is the plain subprocess
that the sandbox takes the place of. One warm-up, then the runs are interleaved; the middle of their times counts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from dolma_py.machine import count_cores
from dolma_py.sandbox import Program, check_sandbox, run_program
from dolma_py.sandbox_pool import Pool

NUM_PROGRAMS = 40
NUM_RUNS = 3
PROGRAM = Program(source="print(sum(int(x) for x in input().split()))", stdin=b"2 3\n")


def run_plain() -> None:
    for _ in range(NUM_PROGRAMS):
        answer = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM.source or ""], input=PROGRAM.stdin, capture_output=True, check=True
        )
        assert answer.stdout == b"5\n"


def run_cold() -> None:
    for _ in range(NUM_PROGRAMS):
        assert run_program(PROGRAM).stdout == b"5\n"


def run_pool(num_workers: int) -> None:
    with Pool(num_workers) as pool:
        for outcome in pool.map([PROGRAM] * NUM_PROGRAMS):
            assert outcome.stdout == b"5\n", outcome


def wait_for_one() -> list[float]:
    """Seconds that each of some programs takes in a pool that had time to get ready."""
    times = []
    with Pool(1) as pool:
        for _ in range(20):
            time.sleep(0.2)
            begin = time.perf_counter()
            pool.submit(PROGRAM).result()
            times.append(time.perf_counter() - begin)
    return times


def main() -> int:
    print(f"{check_sandbox()}, {count_cores()} cores, {NUM_PROGRAMS} programs a run, {NUM_RUNS} runs")
    cases: dict[str, Callable[[], None]] = {
        "python, no sandbox": run_plain,
        "run_program": run_cold,
        "Pool(1)": lambda: run_pool(1),
        f"Pool({count_cores()})": lambda: run_pool(count_cores()),
        f"Pool({2 * count_cores()})": lambda: run_pool(2 * count_cores()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(NUM_RUNS + 1):
        for name, run in cases.items():
            begin = time.perf_counter()
            run()
            seconds[name] += [time.perf_counter() - begin] * (number > 0)
    for name, times in seconds.items():
        rates = sorted(NUM_PROGRAMS / each for each in times)
        print(f"{name:20} {statistics.median(rates):6.1f} programs/s (min {rates[0]:.1f}, max {rates[-1]:.1f})")
    waits = sorted(wait_for_one())
    print(f"{'a ready sandbox':20} {1000 * statistics.median(waits):6.1f} ms a program (max {1000 * waits[-1]:.1f})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
