"""Hostile programs, one by one: each ends as it must, and nothing outside of its sandbox is other than before."""

from __future__ import annotations

import shutil
import time

import pytest

from dolma_py.sandbox import Limits, Outcome, Program, run_program
from dolma_py.sandbox_pool import Pool
from tests.hostile_programs import ATTACKS, PREAMBLE, Attack
from tests.sandbox_world import World

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")

LIMITS = Limits(
    wall_sec=20, cpu_sec=10, max_memory_bytes=128 << 20, max_processes=16, max_disk_bytes=8 << 20, max_files=500,
    max_output_bytes=1 << 16,
)  # fmt: skip
# one of each kind, short ones: the others are run by make test-slow
FAST = {
    "sleepers", "daemon_outlived_by_timeout", "kill_a_process_outside", "write_into_the_worker", "memory_that_is_shared", "fill_tmp",
    "many_files_in_shared_memory", "write_everywhere", "write_through_link", "read_checkout", "read_homes", "read_environment",
    "inherited_descriptors", "abstract_socket", "namespaces", "endless_stdout", "forged_report",
}  # fmt: skip


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def attack_from(world: World, attack: Attack) -> Outcome:
    program = Program(source=PREAMBLE + attack.source, argv=(world.describe(),))
    return run_program(program, LIMITS.model_copy(update=attack.limits))


def check(world: World, attack: Attack) -> None:
    begin = time.monotonic()
    outcome = attack_from(world, attack)
    assert world.harm(outcome) == []
    assert outcome.status in attack.status.split("|"), outcome
    assert attack.prints in (None, outcome.stdout), outcome
    assert attack.exit_code in (None, outcome.exit_code), outcome
    assert len(outcome.stdout) <= LIMITS.max_output_bytes and len(outcome.stderr) <= LIMITS.max_output_bytes
    assert time.monotonic() - begin < 60  # twice the longest limit, and a start


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.name in FAST], ids=lambda attack: attack.name
)
def test_a_hostile_program_harms_nothing(world, attack):
    check(world, attack)


@pytest.mark.slow  # 40 s together
@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.name not in FAST], ids=lambda attack: attack.name
)
def test_every_other_hostile_program_harms_nothing(world, attack):
    check(world, attack)


# one that each limit ends, and those that end, stop, close or deceive what is around them
THROUGH_A_POOL = (
    "fork_bomb", "daemon", "kill_all", "kill_the_worker", "write_into_the_worker", "stop_itself", "memory_of_many", "many_files",
    "endless_stdout", "busy_children", "deaf", "closed_descriptors", "forged_report", "patched_worker", "native_crash",
)  # fmt: skip


@pytest.mark.slow  # 20 s
def test_hostile_programs_in_a_pool_harm_no_other(world):
    """Each is followed by a program that adds two numbers, in two workers; all of them share the shortest limits."""
    attacks = {attack.name: attack for attack in ATTACKS}
    limits = LIMITS.model_copy(update={"wall_sec": 2.0, "cpu_sec": 1.0})
    programs = []
    for name in THROUGH_A_POOL:
        programs.append(Program(PREAMBLE + attacks[name].source, argv=(world.describe(),)))
        programs.append(Program("print(sum(map(int, input().split())))", stdin=b"2 3"))
    begin = time.monotonic()
    with Pool(2, limits) as pool:
        outcomes = list(pool.map(programs))
    assert time.monotonic() - begin < 10 * len(THROUGH_A_POOL)
    assert [(outcome.status, outcome.stdout) for outcome in outcomes[1::2]] == [("ok", b"5\n")] * len(THROUGH_A_POOL)
    for name, outcome in zip(THROUGH_A_POOL, outcomes[::2], strict=True):
        assert world.harm(outcome) == [], name
        assert outcome.status in [*attacks[name].status.split("|"), "timeout", "cpu"], (name, outcome)


def test_the_table_is_whole():
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 40
    assert set(names) >= FAST


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda world: world.canary.write_text("x"), "files of the test were changed"),
        (lambda world: (world.folder / "new").touch(), "files of the test were changed"),
        (lambda world: world.victim.kill() or world.victim.wait(), "a process of the test was killed"),
    ],
)
def test_harm_is_seen(world, harm, told):
    quiet = Outcome("ok", 0, b"", b"", 0.0, 0.0)
    assert world.harm(quiet) == []
    harm(world)
    assert world.harm(quiet) == [told]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', T['port']))", "socket 0 was reached"),
        ("import socket; socket.socket(socket.AF_UNIX).connect('\\0' + T['token'])", "socket 1 was reached"),
        ("import socket; socket.socket(socket.AF_UNIX).connect(T['socket'])", "socket 2 was reached"),
        ("import socket; socket.socket(type=2).sendto(b'x', ('127.0.0.1', T['port']))", "socket 3 was reached"),
        ("print(open(T['secret']).read())", "it read"),
        ("print(open('/etc/passwd').read())", "it read 'root:'"),
        ("print(open(T['test_file']).read())", None),
    ],
)
def test_what_a_program_outside_can_reach_is_seen(world, source, told):
    """The same deeds without a sandbox."""
    source = f"import json, sys; T = json.loads(sys.argv[1])\n{source}"
    with pytest.warns(UserWarning, match="without a sandbox"):
        outcome = run_program(Program(source=source, argv=(world.describe(),)), LIMITS, unsafe="run without a sandbox")
    assert outcome.status == "ok", outcome
    assert any((told or "it read") in line for line in world.harm(outcome))
