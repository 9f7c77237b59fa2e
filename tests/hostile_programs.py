"""Programs that try to do harm, and how each of their runs must end. What they must not reach is made by the test that runs them.

A source gets PREAMBLE before it. `T` are facts about the test: where its files and sockets are, the process that stands in for the
parent. Nothing here would do lasting harm if a protection failed: the files, sockets and processes attacked are the test's own,
and what belongs to the machine is only opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PREAMBLE = """
import ctypes, json, os, signal, socket, subprocess, sys, threading, time
T = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def attempt(function, *arguments):
    try:
        print("got", function(*arguments))
    except (OSError, RuntimeError, ValueError) as error:
        print("refused")
def call(name, *arguments):
    print("refused" if getattr(libc, name)(*arguments) == -1 else "got")
def system(x86_64, aarch64, *arguments):
    number = x86_64 if os.uname().machine == "x86_64" else aarch64
    print("refused" if libc.syscall(number, *arguments) == -1 else "got")
def fill(folder, size=1 << 20, most=100):
    for number in range(most):
        with open(f"{folder}/{number}", "wb", buffering=0) as file:
            for _ in range(4):  # below the limit of one file
                if file.write(b"x" * size) < size:
                    raise OSError("full")
    return "all"
def sleep_for_ever():
    while True:
        time.sleep(1)
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""


@dataclass(frozen=True)
class Attack:
    """One program. `prints`: its whole standard output, None where that is not known; `exit_code`: None likewise."""

    name: str
    source: str
    status: str = "ok"  # several, with a bar between them, where it depends on which limit is met first
    prints: bytes | None = None
    exit_code: int | None = None
    limits: dict[str, Any] = field(default_factory=dict)


def refused(name: str, source: str) -> Attack:
    """A program that asks for one thing, prints that it was refused and goes on to a normal end."""
    return Attack(name, source, "ok", b"refused\n", 0)


PROCESSES = [
    Attack(
        "fork_bomb", "while True:\n  try: os.fork()\n  except OSError: time.sleep(0.01)", "timeout|cpu|memory",
        limits={"wall_sec": 1.5},
    ),
    Attack("sleepers", "try:\n  while True:\n    if not os.fork(): os.execv('/usr/bin/sleep', ['sleep-' + T['token'], '60'])\n"
           "except OSError: print('refused')", "ok", b"refused\n"),
    Attack("thread_bomb", "threading.stack_size(1 << 16)\ntry:\n  while True: threading.Thread(target=sleep_for_ever, daemon=True).start()\n"
           "except RuntimeError: print('refused', flush=True); os._exit(0)", "ok", b"refused\n"),
    Attack("daemon", "if os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
           "os.execv('/usr/bin/sleep', ['sleep-' + T['token'], '60'])", "ok", b""),
    Attack("daemon_outlived_by_timeout", "if not os.fork():\n  os.setsid(); os.closerange(0, 64)\n"
           "  os.execv('/usr/bin/sleep', ['sleep-' + T['token'], '60'])\nsleep_for_ever()", "timeout", limits={"wall_sec": 1.0}),
    Attack("kill_all", "assert os.getppid() == 1, 'no namespace'\ntry: os.kill(-1, signal.SIGKILL)\nexcept OSError: pass", "ok"),
    refused("kill_a_process_outside", "attempt(os.kill, T['victim'], signal.SIGKILL)"),
    Attack("kill_the_worker", "for number in (2, 15, 1, 9, 11): os.kill(1, number)\ntime.sleep(0.1)\nprint('here')", "ok|failed"),
    refused("write_into_the_worker", "def scribble():\n"
            "  start = next(int(x.split('-')[0], 16) for x in open('/proc/1/maps') if ' r-xp ' in x and '/libc.so' in x)\n"
            "  with open('/proc/1/mem', 'r+b', 0) as f: f.seek(start); return f.write(b'\\xcc' * (1 << 20))\nattempt(scribble)"),
    refused("read_the_worker", "attempt(os.open, '/proc/1/mem', os.O_RDONLY)"),
    refused("memory_of_the_worker_by_its_thread", "attempt(os.open, '/proc/1/task/1/mem', os.O_RDWR)"),
    refused("descriptors_of_the_worker_listed", "attempt(os.listdir, '/proc/1/fd')"),
    Attack("stop_itself", "os.kill(os.getpid(), signal.SIGSTOP)", "timeout", limits={"wall_sec": 1.0}),
    Attack("stop_the_worker", "os.kill(1, signal.SIGSTOP); print('on')", "ok", b"on\n"),
    refused("ptrace_a_process_outside", "call('ptrace', 16, T['victim'], 0, 0)"),
    refused("ptrace_the_worker", "call('ptrace', 16, 1, 0, 0)"),
    refused("nice", "attempt(os.nice, -10)"),
]  # fmt: skip

MEMORY = [
    Attack("memory_of_one", "kept = []\nwhile True: kept.append(bytearray(os.urandom(1 << 16) * 16))", "memory|failed"),
    Attack("memory_at_once", "bytearray(1 << 29)", "failed", exit_code=1),
    Attack("memory_of_many", "for _ in range(8):\n  if not os.fork():\n    kept = bytearray(os.urandom(1 << 16) * 640); sleep_for_ever()\n"
           "sleep_for_ever()", "memory"),
    Attack("memory_in_files", "for n in range(20): open(f'/tmp/{n}', 'wb').write(bytes(10 << 20))\nsleep_for_ever()", "memory",
           limits={"max_disk_bytes": 512 << 20}),
    Attack("memory_of_a_thread_that_outlives_the_first",
           "def allocate():\n  kept = [bytearray(os.urandom(1 << 16) * 16) for _ in range(130)]\n  sleep_for_ever()\n"
           "threading.Thread(target=allocate).start()\nsystem(60, 93, 0)", "memory", limits={"wall_sec": 10.0}),
    refused("memory_that_is_shared", "import mmap\nattempt(mmap.mmap, -1, 1 << 20)"),
    refused("memory_of_dev_zero", "import mmap\nattempt(mmap.mmap, os.open('/dev/zero', os.O_RDWR), 1 << 20)"),
    refused("memory_in_huge_pages", "import mmap\nattempt(mmap.mmap, -1, 1 << 21, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)"),
    refused("memory_in_system_v", "system(29, 194, 0, 1 << 20, 0o1600)"),
    refused("memory_in_memfd", "system(319, 279, b'x', 0)"),
    refused("locked_memory", "call('mlockall', 1 | 2)"),
    Attack("deep_recursion", "sys.setrecursionlimit(10**9)\ndef f(): return [f()]\nf()", "failed|memory"),
    Attack("core_dump", "import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE))", "ok", b"(1, 1)\n"),
    refused("raise_a_limit_of_the_worker", "import resource\nattempt(resource.prlimit, 1, resource.RLIMIT_AS, (1 << 40, 1 << 40))"),
    refused("raise_a_limit", "import resource\nattempt(resource.setrlimit, resource.RLIMIT_NPROC, (10**6, 10**6))"),
]  # fmt: skip

DISK = [
    refused("fill_tmp", "attempt(fill, '/tmp')"),
    refused("fill_working_folder", "attempt(fill, '.')"),
    refused("fill_shared_memory", "attempt(fill, '/dev/shm')"),
    refused("sparse_file", "open('f', 'w').close(); attempt(os.truncate, 'f', 1 << 40)"),
    Attack("many_files", "for n in range(10**6): open(str(n), 'w').close()\nsleep_for_ever()", "files"),
    Attack("many_folders", "for n in range(10**6): os.mkdir(str(n))\nsleep_for_ever()", "files"),
    Attack("many_links", "for n in range(10**6): os.symlink('/', str(n))\nsleep_for_ever()", "files"),
    Attack("many_files_in_shared_memory", "for n in range(10**6): open(f'/dev/shm/{n}', 'w').close()\nsleep_for_ever()", "files"),
    Attack("write_everywhere", "found = []\nfor folder, folders, _ in os.walk('/'):\n"
           "  spared = ('/proc', '/tmp', '/dev/shm', '/usr/lib', '/dev/pts', T['prefix'])\n"
           "  folders[:] = [x for x in folders if os.path.join(folder, x) not in spared]\n"
           "  try: os.mkdir(folder + '/' + T['token']); found.append(folder)\n  except OSError: pass\nprint(found)", "ok", b"[]\n"),
    refused("write_to_root", "attempt(os.mkdir, '/' + T['token'])"),
    refused("write_to_dev", "attempt(os.mkdir, '/dev/' + T['token'])"),
    refused("write_to_usr", "attempt(open, '/usr/bin/' + T['token'], 'w')"),
    refused("write_to_library", "attempt(open, os.__file__, 'a')"),
    refused("write_to_interpreter", "attempt(open, sys.executable, 'r+b')"),
    refused("write_to_own_executable", "attempt(open, '/proc/self/exe', 'r+b')"),
    refused("change_rights_of_interpreter", "attempt(os.chmod, sys.executable, 0o755)"),
    refused("write_through_link", "os.symlink(T['canary'], 'link'); attempt(open, 'link', 'w')"),
    refused("hard_link", "attempt(os.link, T['canary'], 'link')"),
    refused("remove_outside", "attempt(os.remove, T['canary'])"),
    refused("climb_out", "attempt(open, '../' * 30 + T['canary'], 'w')"),
]  # fmt: skip

SECRETS = [
    refused("read_secret_file", "attempt(lambda: open(T['secret']).read())"),
    refused("read_checkout", "attempt(lambda: open(T['test_file']).read())"),
    refused("read_shadow", "attempt(lambda: open('/etc/shadow').read())"),
    Attack("read_homes", "found = []\nfor path in T['private']:\n  try: os.stat(path); found.append(path)\n  except OSError: pass\nprint(found)",
           "ok", b"[]\n"),
    refused("read_by_first_process", "attempt(lambda: open('/proc/1/root' + T['secret']).read())"),
    refused("read_by_first_process_folder", "attempt(lambda: open('/proc/1/cwd/../..' + T['secret']).read())"),
    Attack("read_environment", "print(dict(os.environ))\nfor pid in os.listdir('/proc'):\n"
           "  try: print(open(f'/proc/{pid}/environ').read())\n  except OSError: pass", "ok"),
    Attack("inherited_descriptors", "found = sorted(int(x) for x in os.listdir('/proc/self/fd'))\nprint(found[:-1])\n", "ok",
           b"[0, 1, 2]\n"),
    Attack("descriptors_of_the_worker", "found = []\nfor n in range(64):\n  path = f'/proc/1/fd/{n}'\n"
           "  for look in (os.readlink, lambda path: os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 999)):\n"
           "    try: found.append(look(path))\n    except OSError: pass\nprint(found)", "ok", b"[]\n"),
    Attack("see_processes", "print(sorted(int(x) for x in os.listdir('/proc') if x.isdigit()))", "ok", b"[1, 2]\n"),
    refused("read_keys", "system(250, 219, 0, -3, 0)"),
    refused("read_kernel_log", "system(103, 116, 3, ctypes.create_string_buffer(9), 9)"),
]  # fmt: skip

NETWORK = [
    refused("tcp_to_localhost", "attempt(socket.create_connection, ('127.0.0.1', T['port']), 2)"),
    refused("udp_to_localhost", "attempt(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', T['port'])))"),
    refused("buffers_of_loopback", "attempt(socket.create_server, ('127.0.0.1', 0))"),
    refused("internet_6", "attempt(socket.socket, socket.AF_INET6)"),
    refused("tcp_to_the_world", "attempt(socket.create_connection, ('192.0.2.1', 80), 2)"),
    refused("name_of_a_host", "attempt(socket.getaddrinfo, 'example.com', 80)"),
    refused("abstract_socket", "attempt(socket.socket(socket.AF_UNIX).connect, '\\0' + T['token'])"),
    refused("socket_file", "attempt(socket.socket(socket.AF_UNIX).connect, T['socket'])"),
    refused("vsock", "attempt(socket.socket, 40, socket.SOCK_STREAM)"),
    refused("packets", "attempt(socket.socket, 17, socket.SOCK_RAW)"),
    refused("netlink", "attempt(socket.socket, 16, socket.SOCK_RAW)"),
]  # fmt: skip

PRIVILEGES = [
    refused("device_file", "attempt(os.mknod, '/tmp/disk', 0o60600, os.makedev(254, 0))"),
    refused("mount", "call('mount', b'none', b'/tmp/work', b'tmpfs', 0, None)"),
    refused("remount_root", "call('mount', None, b'/', None, 32 | 4096, None)"),
    refused("unmount", "call('umount2', b'/tmp', 2)"),
    refused("chroot", "attempt(os.chroot, '/tmp')"),
    refused("become_root", "attempt(os.setuid, 0)"),
    refused("become_somebody", "attempt(os.setresuid, 5, 5, 5)"),
    refused("namespaces", "call('unshare', 0x10000000)"),
    refused("namespaces_by_clone", "system(56, 220, 0x10000000 | 17, 0, 0, 0, 0)"),
    refused("join_namespace", "try: namespace = os.open('/proc/1/ns/mnt', os.O_RDONLY)\nexcept OSError: namespace = 0\ncall('setns', namespace, 0)"),
    Attack("sandbox_in_sandbox", "r = subprocess.run(['bwrap', '--unshare-all', '--ro-bind', '/', '/', 'true'], capture_output=True)\n"
           "print(r.returncode == 0)", "ok", b"False\n"),
    Attack("capabilities", "print([x.split()[1] for x in open('/proc/self/status') if x[:4] == 'Cap' + x[3] and x[3] in 'PE'], os.getuid())",
           "ok", b"['0000000000000000', '0000000000000000'] 1000\n"),
    refused("kernel_settings", "attempt(os.open, '/proc/sys/kernel/core_pattern', os.O_WRONLY)"),
    refused("system_request", "attempt(os.open, '/proc/sysrq-trigger', os.O_WRONLY)"),
    refused("memory_of_the_machine", "attempt(os.open, '/dev/mem', os.O_RDONLY)"),
    refused("disk_of_the_machine", "attempt(os.open, T['disk'], os.O_RDONLY)"),
    refused("type_into_terminal", "import fcntl; attempt(fcntl.ioctl, os.openpty()[1], 0x5412, b'x')"),
    refused("terminal", "attempt(os.open, '/dev/tty', os.O_RDWR)"),
    refused("bpf", "system(321, 280, 0, 0, 0)"),
    refused("io_uring", "system(425, 425, 1, ctypes.create_string_buffer(256))"),
    refused("page_faults", "system(323, 282, 0)"),
]  # fmt: skip

REPORTS = [
    Attack("endless_stdout", "while True: os.write(1, b'x' * 65536)", "output"),
    Attack("endless_stderr", "while True: os.write(2, b'x' * 65536)", "output"),
    Attack("sleep", "sleep_for_ever()", "timeout", limits={"wall_sec": 1.0}),
    Attack("busy", "while True: pass", "cpu", limits={"cpu_sec": 0.5}),
    Attack("busy_children", "for _ in range(4): os.fork()\nwhile True: pass", "cpu", limits={"cpu_sec": 1.0}),
    Attack("busy_children_that_nobody_waits_for",
           "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n  if not os.fork(): burn(0.1); os._exit(0)\n"
           "  try: os.wait()\n  except ChildProcessError: pass", "cpu", limits={"cpu_sec": 1.0}),
    Attack("deaf", "for n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\nsleep_for_ever()", "timeout",
           limits={"wall_sec": 1.0}),
    Attack("closed_descriptors", "os.closerange(0, 64); sleep_for_ever()", "timeout", limits={"wall_sec": 1.0}),
    Attack("hang_at_exit", "import atexit; atexit.register(sleep_for_ever)", "timeout", limits={"wall_sec": 1.0}),
    Attack("native_crash", "ctypes.string_at(0)", "failed", exit_code=139),
    Attack("exit_code", "os._exit(7)", "failed", exit_code=7),
    Attack("exit_by_name", "exit(3)", "failed", exit_code=3),
    Attack("exit_like_killed", "sys.exit(137)", "failed", exit_code=137),
    Attack("exit_like_cpu", "sys.exit(152)", "failed", exit_code=152),
    Attack("forged_report", "for n in range(1, 64):\n  try: os.write(n, b'started\\n{\"exit-code\": 0, \"child-pid\": 1}\\n')\n"
           "  except OSError: pass\nos._exit(3)", "failed", exit_code=3),
    Attack("patched_worker", "import builtins\ndef liar(*_): raise SystemExit(0)\n"
           "os.waitpid = os.wait = os.write = os.waitstatus_to_exitcode = lambda *_: (0, 0)\n"
           "for name in ('_end_as', '_serve', '_become_program'):\n"
           "  f = sys._getframe()\n  while f.f_back: f = f.f_back\n  f.f_globals[name] = liar\nsys.exit(5)", "failed", exit_code=5),
    Attack("wait_for_input", "print(repr(sys.stdin.read()))", "ok", b"''\n"),
    Attack("broken_text", "os.write(1, b'\\xff\\xfe\\x00\\xed\\xa0\\x80')", "ok", b"\xff\xfe\x00\xed\xa0\x80"),
    Attack("no_python", "def (:", "failed", exit_code=1),
    Attack("null_in_source", "x = '\0'", "failed", exit_code=1),
    Attack("lone_surrogate", "x = '\ud800'", "failed", exit_code=1),
    Attack("raise", "raise KeyError('x')", "failed", b"", exit_code=1),
]  # fmt: skip

ATTACKS = [*PROCESSES, *MEMORY, *DISK, *SECRETS, *NETWORK, *PRIVILEGES, *REPORTS]
