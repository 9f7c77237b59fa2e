"""A pool's outcomes come in order and are those of single runs; no program stalls or changes another."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import time
from contextlib import contextmanager, suppress
from itertools import count, islice
from pathlib import Path
from types import NoneType

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


def wait_until(condition) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def children() -> list[int]:
    text = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for pid in text.split()]


def test_nothing_is_left_when_it_is_closed():
    before = children()  # such as the JVM of tests that this process ran earlier
    with Pool(2) as pool:
        list(pool.map([Program("print(1)")] * 3))
        assert children() != before
    assert children() == before


def test_it_needs_a_sandbox(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError):
        Pool(1)


@contextmanager
def few_descriptors(more: int):
    """This process may open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + more, before[1]))
    filled: list[int] = []
    with suppress(OSError):
        while True:
            filled.append(os.dup(0))
    for descriptor in filled[:more]:
        os.close(descriptor)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in filled[more:]:
            os.close(descriptor)


@pytest.mark.parametrize(
    ("room", "answers"),
    [(0, {SandboxError}), (12, {SandboxError, NoneType})],
)
def test_a_caller_without_descriptors_gets_an_answer_from_each_future(room, answers):
    with Pool(1, Limits(wall_sec=10)) as pool:
        assert pool.submit(Program("print(1)")).result().status == "ok"
        time.sleep(0.5)  # for the sandbox after that one
        with few_descriptors(more=room):
            waiting = [pool.submit(Program("print(1)")) for _ in range(3)]
            assert {type(each.exception(timeout=60)) for each in waiting} <= answers
        assert pool.submit(Program("print(2)")).result(timeout=60).stdout == b"2\n"


def test_descriptors_that_run_out_in_the_middle_are_no_verdict():
    others = len(children())
    with Pool(1, Limits(wall_sec=10)) as pool:
        waiting = pool.submit(Program("import time; time.sleep(5)"))
        assert wait_until(lambda: waiting.running() and len(children()) > others + 1)
        time.sleep(1)
        with few_descriptors(more=0), pytest.raises(SandboxError, match="watched"):
            waiting.result(timeout=60)


def test_more_workers_than_descriptors_are_refused():
    with few_descriptors(more=200), pytest.raises(SandboxError, match="ulimit -n"):
        Pool(64)


def test_a_process_that_is_forked_beside_a_pool_keeps_no_input_open():
    with Pool(1, Limits(wall_sec=5)) as pool:
        pool.submit(Program("print(1)")).result()  # now another sandbox waits
        beside = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        beside.start()
        try:
            read = Program("import sys; print(len(sys.stdin.read()))", stdin=b"x" * 100_000)
            assert [outcome.stdout for outcome in pool.map([read, read])] == [b"100000\n"] * 2
        finally:
            beside.kill()
            beside.join()
