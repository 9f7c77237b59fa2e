"""The filter of system calls, run by a few lines that do what the kernel does with it; its numbers are the kernel's."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from dolma_py.sandbox_seccomp import LOOKED_INTO, REFUSED, build_filter

ALLOWED = 0x7FFF0000
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def run_filter(steps: bytes, audit: int, number: int, first: int = 0, second: int = 0, fourth: int = 0) -> int:
    """What the filter returns for a call with these arguments."""
    call = struct.pack("<IIQQQQQ", number, audit, 0, first, second, 0, fourth)
    program = list(struct.iter_unpack("<HBBI", steps))
    at = value = 0
    while True:
        code, if_true, if_false, constant = program[at]
        if code == 0x06:
            return constant
        if code == 0x20:
            value = struct.unpack_from("<I", call, constant)[0]
            at += 1
            continue
        holds = {0x15: value == constant, 0x35: value >= constant, 0x45: value & constant != 0}[code]
        at += 1 + (if_true if holds else if_false)


def refused(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize(("column", "machine"), list(enumerate(MACHINES)))
def test_each_call_gets_its_answer(column, machine):
    steps, audit = build_filter(machine), MACHINES[machine]
    numbers = {name: both[column] for name, both in REFUSED.items() if both[column] is not None}
    assert {run_filter(steps, audit, number) for number in numbers.values()} == {refused(errno.EPERM)}
    special = {name: both[column] for name, both in LOOKED_INTO.items()}
    others = set(range(500)) - set(numbers.values()) - set(special.values())
    assert {run_filter(steps, audit, number) for number in others} == {ALLOWED}
    assert run_filter(steps, audit, special["clone3"]) == refused(errno.ENOSYS)
    assert run_filter(steps, MACHINES["x86_64"] ^ 1, 1) == 0x80000000  # another machine's table: killed


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "first", "second", "expected"),
    [
        ("clone", 0x3D0F00, 0, ALLOWED),  # a thread, as libc starts it
        ("clone", 0x01200011, 0, ALLOWED),  # a fork
        ("clone", 0x10000011, 0, refused(errno.EPERM)),
        ("clone", 0x00020011, 0, refused(errno.EPERM)),
        ("socket", 1, 0, ALLOWED),
        ("socket", 2, 0, refused(errno.EAFNOSUPPORT)),
        ("socket", 10, 0, refused(errno.EAFNOSUPPORT)),
        ("socketpair", 1, 0, ALLOWED),
        ("socketpair", 30, 0, refused(errno.EAFNOSUPPORT)),
        ("socket", 40, 0, refused(errno.EAFNOSUPPORT)),
        ("socket", 16, 0, refused(errno.EAFNOSUPPORT)),
        ("ioctl", 0, 0x5401, ALLOWED),
        ("ioctl", 0, 0x5412, refused(errno.EPERM)),
        ("ioctl", 0, 0x541C, refused(errno.EPERM)),
    ],
)
def test_arguments_are_looked_into(machine, name, first, second, expected):
    number = LOOKED_INTO[name][list(MACHINES).index(machine)]
    assert run_filter(build_filter(machine), MACHINES[machine], number, first, second) == expected


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0x02, ALLOWED),  # a file, private
        (0x01, ALLOWED),  # a file, shared
        (0x22, ALLOWED),  # memory of its own
        (0x21, refused(errno.EPERM)),  # memory that is shared and has no file
        (0x4021, refused(errno.EPERM)),
        (0x40022, refused(errno.EPERM)),  # huge pages
        (0x40002, refused(errno.EPERM)),
    ],
)
def test_memory_that_no_account_shows_is_refused(machine, flags, expected):
    number = LOOKED_INTO["mmap"][list(MACHINES).index(machine)]
    assert run_filter(build_filter(machine), MACHINES[machine], number, fourth=flags) == expected


def test_the_second_table_of_x86_is_closed():
    assert run_filter(build_filter("x86_64"), MACHINES["x86_64"], 0x40000000 | 101) == refused(errno.ENOSYS)


def test_an_unknown_machine_has_no_filter():
    assert build_filter("riscv64") == b""


HEADERS = [
    (0, Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")),
    (1, Path("/usr/include/asm-generic/unistd.h")),
]


@pytest.mark.parametrize(("column", "header"), HEADERS)
def test_numbers_are_the_kernels(column, header):
    if not header.is_file():
        pytest.skip(f"no {header} here")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    ours = {name: str(both[column]) for name, both in (REFUSED | LOOKED_INTO).items() if both[column] is not None}
    assert {name: known.get(name, number) for name, number in ours.items()} == ours
    assert len(ours.keys() & known.keys()) > 50
