"""A program in a sandbox gets what it was given, and its outcome says how it ended; without a sandbox nothing runs by accident."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dolma_py import sandbox, sandbox_watch
from dolma_py.errors import ConfigError, SandboxError
from dolma_py.sandbox import UNSAFE, Limits, Program, check_sandbox, run_program
from dolma_py.sandbox_pool import Pool
from dolma_py.sandbox_run import Sandbox
from tests.conftest import REPOSITORY

needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")


@needs_bwrap
def test_a_program_gets_what_it_was_given():
    source = "import sys, part.one\nprint(sys.argv[1:], input(), part.one.x, open('data.bin', 'rb').read(), __name__)"
    files = {"part/one.py": b"x = 5\n", "data.bin": b"\0\xff"}
    outcome = run_program(Program(source, argv=("a", ""), stdin=b"line\nmore", files=files))
    assert outcome.stdout == b"['a', ''] line 5 b'\\x00\\xff' __main__\n", outcome
    assert (outcome.status, outcome.exit_code, outcome.stderr) == ("ok", 0, b"")
    assert 0 < outcome.cpu_sec < 60 and 0 <= outcome.wall_sec < 60


@needs_bwrap
@pytest.mark.parametrize(
    ("argv", "status", "exit_code", "stdout"),
    [
        (("sh", "-c", "cat; echo $0 >&2; exit 3", "name"), "failed", 3, b"in"),
        (("/usr/bin/env",), "ok", 0, None),
        (("no-such-program",), "failed", 127, b""),
        (("sh", "-c", "kill -9 $$"), "failed", 137, b""),
        (("true", "x" * 3_000_000), "failed", 127, b""),  # more than the kernel takes
        (("",), "failed", 127, b""),
    ],
)
def test_a_command_line_is_run(argv, status, exit_code, stdout):
    outcome = run_program(Program(argv=argv, stdin=b"in"))
    assert (outcome.status, outcome.exit_code) == (status, exit_code), outcome
    assert stdout in (None, outcome.stdout)


@needs_bwrap
def test_much_input_and_output_pass():
    size = 5_000_000
    source = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    outcome = run_program(Program(source, stdin=b"x" * size), Limits(max_output_bytes=size))
    assert outcome.status == "ok" and len(outcome.stdout) == size


@needs_bwrap
@pytest.mark.parametrize(("room", "status", "kept"), [(10, "ok", 10), (9, "output", 9), (0, "output", 0)])
def test_output_is_cut_at_its_limit(room, status, kept):
    outcome = run_program(Program("print('x' * 9)"), Limits(max_output_bytes=room))
    assert (outcome.status, len(outcome.stdout)) == (status, kept)


@needs_bwrap
def test_input_that_nobody_reads_stalls_nothing():
    assert run_program(Program("print(1)", stdin=b"x" * 5_000_000)).status == "ok"


@needs_bwrap
def test_installed_packages_are_seen_only_when_asked():
    program = Program("import os, sys; print(os.path.exists(sys.argv[1]))", argv=(sys.prefix,))
    if sys.prefix == sys.base_prefix:
        pytest.skip("no virtual environment here")
    assert run_program(program).stdout == b"False\n"
    assert run_program(program, with_packages=True).stdout == b"True\n"


@needs_bwrap
def test_with_a_virtual_environment_come_no_neighbours_of_its_folder():
    if sys.prefix == sys.base_prefix:
        pytest.skip("no virtual environment here")
    folder, name = os.path.split(sys.prefix)
    program = Program("import os, sys; print(os.listdir(sys.argv[1]))", argv=(folder,))
    assert run_program(program, with_packages=True).stdout == f"[{name!r}]\n".encode()


@needs_bwrap
def test_an_interpreter_is_found_through_links_in_any_folder(tmp_path):
    """python -> DIR/bin/python -> DIR/newest/bin/python, where DIR/newest is a link too: as version managers lay them out."""
    own = Path(os.path.realpath(sys.executable))
    (tmp_path / "bin").mkdir()
    (tmp_path / "newest").symlink_to(own.parent.parent)
    (tmp_path / "bin" / "python").symlink_to(f"../newest/{own.parent.name}/{own.name}")
    script = "import sys; from dolma_py.sandbox import Program, run_program; print(run_program(Program('print(7)'), with_packages=True))"
    subprocess.run([tmp_path / "bin" / "python", "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])}
    command = [tmp_path / "venv" / "bin" / "python", "-c", script]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path / "bin")
    assert "status='ok'" in found.stdout and "stdout=b'7\\n'" in found.stdout


@needs_bwrap
@pytest.mark.parametrize(
    ("home", "prefix", "told"),
    [
        (None, Path.cwd().parent, "working folder"),
        (None, Path.cwd(), "working folder"),
        ("/usr/share/me", Path("/usr/share"), "home"),
        ("/usr/share", Path("/usr/share"), "home"),
        ("/usr/share", Path("/"), "home"),
    ],
)
def test_an_interpreter_that_would_bring_private_folders_is_refused(monkeypatch, home, prefix, told):
    monkeypatch.setenv("HOME", home or os.environ["HOME"])
    monkeypatch.setattr(sys, "base_prefix", str(prefix))
    with pytest.raises(SandboxError, match=f"holds the {told}"):
        Sandbox(Limits()).close()


@needs_bwrap
def test_a_program_alone_has_the_standard_library():
    source = "import json, sqlite3, ssl, multiprocessing, sys; print([x for x in sys.path if 'site-packages' in x])"
    assert run_program(Program(source)).stdout == b"[]\n"
    assert b"site-packages" in run_program(Program(source), with_packages=True).stdout


@needs_bwrap
@pytest.mark.parametrize(
    "names",
    [
        ("/etc/x",), ("../x",), ("a/../../x",), ("",), ("a\0b",), (".",),
        ("a", "a/b"), ("a/b/c", "a/b"), ("x", "./x"), ("x", "x/"), ("y" * 256,), ("\u00e9" * 128,), ("y/" * 100 + "y",),
        (("y" * 200 + "/") * 16,), ("\udcff",),
    ],
)  # fmt: skip
def test_files_stay_below_the_working_folder_and_can_be_written(names):
    with pytest.raises(ConfigError, match="program.files"):
        run_program(Program("", files=dict.fromkeys(names, b"")))


@needs_bwrap
def test_the_longest_names_and_the_most_files_can_be_written():
    names = ["./a/b/", "y" * 255, "\u00e9" * 127, "z/" * 99 + "z", *map(str, range(500))]
    program = Program("import os; print(len(os.listdir('.')), open('a/b').read())", files=dict.fromkeys(names, b"5"))
    needed = 504 + 99 + 1 + 4
    assert run_program(program, Limits(max_files=needed)).stdout == b"504 5\n"
    with pytest.raises(ConfigError, match=str(needed)):
        run_program(program, Limits(max_files=needed - 1))
    small = Program("x", files={str(n): b"5" for n in range(130)})
    with pytest.raises(ConfigError, match=str(131 * resource.getpagesize())):  # of memory, each file a page
        run_program(small, Limits(max_disk_bytes=1 << 20))


@needs_bwrap
@pytest.mark.parametrize(
    "program",
    [
        Program(),
        Program(argv=("a\0b",)),
        Program("x", files={"a": b"x" * (1 << 26)}),
        Program("x", files={f"{n}/{n}": b"" for n in range(2100)}),
    ],
)
def test_what_cannot_be_run_is_refused(program):
    with pytest.raises(ConfigError, match="program"):
        run_program(program)


_PARENT = """
import sys
from dolma_py.sandbox import Limits, Program, run_program
source = "import os; os.fork(); os.setsid() if os.getpid() != 2 else 0; os.execv('/usr/bin/sleep', [sys.argv[1], '600'])"
run_program(Program("import sys; " + source, argv=(sys.argv[1],)), Limits(wall_sec=600))
"""


def find_named(name: str) -> list[Path]:
    """Folders in /proc of the processes that go by this name."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            found += [path] * (
                path.name.isdigit() and (path / "cmdline").read_bytes().startswith(name.encode() + b"\0")
            )
        except OSError:
            continue
    return found


def wait_until(condition) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@needs_bwrap
def test_a_killed_parent_takes_everything_along(tmp_path):
    name = f"sleep-{os.getpid()}-of-a-killed-parent"
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, name], stderr=subprocess.PIPE)
    assert wait_until(lambda: len(find_named(name)) == 2), parent.stderr.read1(9999)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stderr.close()
    assert wait_until(lambda: len(find_named(name)) == 0)


@needs_bwrap
def test_the_worker_has_the_limits_of_the_program_and_is_closed_to_it():
    name = f"sleep-{os.getpid()}-beside-a-worker"
    program = Program(f"import os; os.execv('/usr/bin/sleep', ['{name}', '600'])")
    with Pool(1, Limits(wall_sec=2, max_processes=7)) as pool:
        waiting = pool.submit(program)
        assert wait_until(lambda: len(find_named(name)) == 1)
        folder = find_named(name)[0]
        worker = Path("/proc", re.search(r"PPid:\t(\d+)", (folder / "status").read_text())[1])
        limits = (worker / "limits").read_text()
        assert re.search(r"Max processes +8 +8 ", limits) and limits == (folder / "limits").read_text()
        assert (worker / "oom_score_adj").read_text() == "1000\n"
        assert (worker / "environ").stat().st_uid != (folder / "environ").stat().st_uid or os.geteuid() != 0
        assert waiting.result().status == "timeout"


@needs_bwrap
def test_a_program_goes_first_when_memory_runs_out():
    source = "import os\ntry: os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'0')\nexcept OSError: print('refused')"
    source += "\nprint(open('/proc/self/oom_score_adj').read())"
    assert run_program(Program(source)).stdout == b"refused\n1000\n\n"


@needs_bwrap
@pytest.mark.parametrize(
    ("change", "status", "pass_sec"), [("0", "ok", sandbox_watch.PASS_SEC), ("0", "ok", 0.0), ("1", "memory", 0.0)]
)
def test_shared_memory_counts_once(monkeypatch, change, status, pass_sec):
    """Eight processes, seven of them children of one that has a third of the limit; then each writes to its copy."""
    monkeypatch.setattr(sandbox_watch, "PASS_SEC", pass_sec)
    source = (
        "import os, time\nkept = bytearray(b'x' * (40 << 20))\n[os.fork() for _ in range(3)]\n"
        f"if {change}: kept[::4096] = bytes(len(kept) // 4096)\ntime.sleep(0.5)"
    )
    assert run_program(Program(source), Limits(max_memory_bytes=128 << 20)).status == status


@needs_bwrap
def test_standard_streams_can_be_opened_by_name():
    program = Program(argv=("sh", "-c", "cat /dev/stdin > /dev/stdout; echo told > /dev/stderr"), stdin=b"in")
    outcome = run_program(program)
    assert (outcome.stdout, outcome.stderr) == (b"in", b"told\n")


_PARALLEL = """
import asyncio, concurrent.futures, mmap, multiprocessing, sys
from multiprocessing import shared_memory
kept = multiprocessing.Array('i', 1000)
def put(x):
    kept[x] = x
    return 2 * x
with multiprocessing.Pool(2) as pool:
    print(pool.map(put, [1, 2, 3]), kept[:4])
with concurrent.futures.ProcessPoolExecutor(2) as executor:
    print(list(executor.map(put, [4, 5])))
async def run():
    child = await asyncio.create_subprocess_exec('echo', 'said', stdout=asyncio.subprocess.PIPE)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return (await child.communicate())[0], await reader.read(), await asyncio.to_thread(lambda: 7)
print(asyncio.run(run()))
shared = shared_memory.SharedMemory(create=True, size=1000)
shared.unlink()
print(len(mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))
"""


@pytest.mark.slow  # 2 s
@needs_bwrap
def test_ways_to_work_in_parallel_work():
    outcome = run_program(Program(_PARALLEL, stdin=b"in"))
    expected = "[2, 4, 6] [0, 1, 2, 3]\n[8, 10]\n(b'said\\n', b'in', 7)\n4096\n"
    assert (outcome.status, outcome.stdout.decode()) == ("ok", expected), outcome


@needs_bwrap
def test_devices_that_read_as_zeros_do():
    program = Program("print(open('/dev/zero', 'rb', 0).read(5))")
    assert run_program(program).stdout == b"b'\\x00\\x00\\x00\\x00\\x00'\n"


@needs_bwrap
def test_a_sandbox_that_waits_can_be_closed_and_is_used_once():
    waiting = Sandbox(Limits())
    waiting.close()
    waiting.close()
    with pytest.raises(SandboxError):
        waiting.run(Program("print(1)"))


@needs_bwrap
def test_a_sandbox_that_is_closed_while_it_starts_leaves_nothing():
    mark = (1 << 26) + os.getpid()  # a size in bubblewrap's command line
    for number in range(40):
        starting = Sandbox(Limits(max_disk_bytes=mark))
        time.sleep(number / 2000)
        starting.close()
    left = [path for path in find_named("/usr/bin/bwrap") if str(mark).encode() in (path / "cmdline").read_bytes()]
    assert left == []


@needs_bwrap
def test_descriptors_are_given_back():
    run_program(Program("print(1)"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        run_program(Program("print(1)"))
    assert len(os.listdir("/proc/self/fd")) == before


@needs_bwrap
def test_the_sandbox_is_checked_by_a_program():
    assert check_sandbox().startswith("bubblewrap")


@pytest.fixture
def other_bwrap(monkeypatch):
    """A PATH on which bwrap is this script, or nothing where the text is empty."""

    def put(text: str) -> None:
        if text:
            (folder / "bwrap").write_text(f"#!/bin/sh\n{text}\n")
            (folder / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # for the user that root's programs run as
        yield put


# bubblewrap whose worker may start no process: the program never runs, and that is no verdict on it
NO_FORK = """
for word; do shift; if [ "$word" = -- ]; then set -- "$@" -- prlimit --nproc=1:1; else set -- "$@" "$word"; fi; done
exec /usr/bin/bwrap "$@"
"""


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        ("", "apt-get install bubblewrap"),
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "user namespaces"),
        ("echo 'bwrap: Unknown option --disable-userns' >&2; exit 1", "0.8"),
        ("echo bubblewrap 0.8.0", "user namespaces"),
        (NO_FORK, "ulimit -u"),
    ],
)
def test_nothing_runs_where_no_sandbox_can_be_opened(other_bwrap, script, hint):
    other_bwrap(script)
    with pytest.raises(SandboxError) as caught:
        run_program(Program("print(1)"))
    assert hint in str(caught.value)


def test_it_runs_without_one_only_by_the_words(other_bwrap):
    other_bwrap("")
    with pytest.raises(ConfigError, match="unsafe"):
        run_program(Program("print(1)"), unsafe="yes")
    with pytest.warns(UserWarning, match="without a sandbox"):
        outcome = run_program(Program("print(1)"), unsafe=UNSAFE)
    assert (outcome.status, outcome.stdout) == ("ok", b"1\n")


@pytest.mark.filterwarnings("ignore:A program runs without a sandbox")
@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("import time; time.sleep(600)", "timeout"),
        ("import subprocess; subprocess.Popen(['sleep', '600'])", "ok"),
        ("bytearray(1 << 40)", "failed"),
        ("print('x' * 10_000_000)", "output"),
    ],
)
def test_limits_hold_without_one(source, status):
    outcome = run_program(Program(source), Limits(wall_sec=2), unsafe=UNSAFE)
    assert outcome.status == status


def test_the_worker_imports_nothing_of_ours():
    source = (Path(sandbox.__file__).parent / "sandbox_worker.py").read_text()
    assert "import marshal" in source and "dolma_py" not in source
