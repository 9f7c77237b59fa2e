"""Hostile programs, one by one: each ends as it must, and nothing outside of its sandbox is other than before."""

from __future__ import annotations

import shutil
import time

import pytest

from dolma_py.sandbox import Limits, Outcome, Program, run_program
from tests.hostile_programs import ATTACKS, PREAMBLE, Attack
from tests.sandbox_world import World

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")

LIMITS = Limits(
    wall_sec=20, cpu_sec=10, max_memory_bytes=128 << 20, max_processes=16, max_disk_bytes=8 << 20, max_files=500,
    max_output_bytes=1 << 16,
)  # fmt: skip
# one of each kind, short ones: the others are run by make test-slow
FAST = {
    "sleepers", "daemon", "daemon_outlived_by_timeout", "kill_a_process_outside", "memory_of_many", "fill_tmp", "many_files",
    "write_everywhere", "write_through_link", "read_checkout", "read_homes", "read_environment", "inherited_descriptors",
    "tcp_to_localhost", "abstract_socket", "namespaces", "endless_stdout", "closed_descriptors", "forged_report", "patched_worker",
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
