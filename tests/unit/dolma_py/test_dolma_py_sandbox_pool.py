"""A pool's outcomes come in order and are those of single runs; no program stalls or changes another."""

from __future__ import annotations

import os
import shutil
import time
from itertools import count, islice
from pathlib import Path

import pytest

from dolma_py.errors import ConfigError, SandboxError
from dolma_py.sandbox import Limits, Program
from dolma_py.sandbox_pool import Pool

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")


@pytest.mark.parametrize("num_workers", [1, 3])
def test_outcomes_come_in_order(num_workers):
    with Pool(num_workers) as pool:
        programs = [Program(f"import time; time.sleep({0.2 * (n % 2)}); print({n})") for n in range(7)]
        assert [outcome.stdout for outcome in pool.map(programs)] == [b"%d\n" % n for n in range(7)]


def test_a_stuck_program_costs_its_limit_and_no_more():
    begin = time.monotonic()
    with Pool(1, Limits(wall_sec=1)) as pool:
        sources = [
            "print(1)",
            "import time; time.sleep(600)",
            "import os; os.closerange(0, 99); os.abort()",
            "print(4)",
        ]
        statuses = [outcome.status for outcome in pool.map(map(Program, sources))]
    assert statuses == ["ok", "timeout", "failed", "ok"]
    assert time.monotonic() - begin < 60


def test_no_program_sees_what_another_left():
    source = "import os; print(os.listdir('/tmp'), os.listdir('.')); open('left', 'w'); open('/tmp/left', 'w')"
    with Pool(1) as pool:
        assert len({outcome.stdout for outcome in pool.map([Program(source)] * 3)}) == 1


def test_programs_are_taken_as_they_are_needed():
    taken = []
    with Pool(1) as pool:
        endless = (taken.append(n) or Program(f"print({n})") for n in count())
        assert [outcome.stdout for outcome in islice(pool.map(endless), 2)] == [b"0\n", b"1\n"]
    assert len(taken) <= 6


def test_a_program_that_cannot_run_is_its_own_error():
    with Pool(1) as pool:
        bad, good = pool.submit(Program()), pool.submit(Program("print(1)"))
        assert good.result().stdout == b"1\n"
        with pytest.raises(ConfigError):
            bad.result()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(Program("print(1)"))


def test_a_worker_that_died_while_it_waited_is_replaced():
    with Pool(1) as pool:
        pool.submit(Program("print(1)")).result()
        waiting = [pid for pid in children() if b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert waiting
        for pid in waiting:
            os.kill(pid, 9)
        assert pool.submit(Program("print(2)")).result().stdout == b"2\n"


def children() -> list[int]:
    text = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for pid in text.split()]


def test_nothing_is_left_when_it_is_closed():
    with Pool(2) as pool:
        list(pool.map([Program("print(1)")] * 3))
    assert children() == []


def test_it_needs_a_sandbox(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError):
        Pool(1)
