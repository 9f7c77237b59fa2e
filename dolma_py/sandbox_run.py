"""One sandbox: started before its program is known, used for one program, gone with everything in it.

All that is believed of a run is seen from outside: the code that bubblewrap ends with, the clock, the kernel's account of CPU time
and memory, and the bytes of two pipes, of which no more than a set number are kept.
"""

from __future__ import annotations

import contextlib
import io
import marshal
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from importlib import resources
from pathlib import PurePosixPath

from dolma_py.errors import SandboxError
from dolma_py.sandbox_command import ENVIRONMENT, GO_FIRST, NOBODY, choose_interpreter, open_command
from dolma_py.sandbox_program import PROGRAM_FILE, WORK_FOLDER, Limits, Outcome, Program, Status
from dolma_py.sandbox_watch import Watch

START_SEC = 60.0  # for the interpreter's start, on a machine that has much else to do
WATCH_SEC = 0.02  # between two looks at the memory: what can be filled in that time may be used beyond the limit
_PIPE_BYTES = 1 << 16
_CPU_CODES = (128 + signal.SIGXCPU, 128 + signal.SIGKILL)  # of RLIMIT_CPU
_WORKER = resources.files("dolma_py").joinpath("sandbox_worker.py").read_text()


class Sandbox:
    """A worker that waits for its one program; `close` it, or leave its `with` block, when there is none.

    bubblewrap is killed when the thread that made this object ends, so that thread must also run the program.
    """

    def __init__(self, limits: Limits, *, with_packages: bool = False, is_confined: bool = True) -> None:
        self.limits, self.is_confined = limits, is_confined
        self.init: int | None = None  # a descriptor of the namespace's first process
        self.init_pid = 0
        self.has_begun = False  # the program, as far as is known
        self._home = WORK_FOLDER
        try:
            with ExitStack() as kept:
                self.process = self._start(kept, with_packages=with_packages)
                self._kept = kept.pop_all()
        except OSError as error:
            raise SandboxError(
                f"no process can be started ({error.strerror})", "Look at this machine's limits (ulimit -n, ulimit -u)."
            ) from error

    def _start(self, kept: ExitStack, *, with_packages: bool) -> subprocess.Popen[bytes]:
        """The worker, or bubblewrap around it; what must live as long goes into `kept`."""
        python, folders = choose_interpreter(with_packages=with_packages or not self.is_confined)
        with ExitStack() as passed:  # to the process that is started, and closed here
            self.report, report_end = _open_pipe(kept, passed)
            self.info, info_end = _open_pipe(kept, passed)
            # without site, which takes most of the time of a start where much is installed
            bare = [] if with_packages or not self.is_confined else ["-S"]
            worker = [python, "-I", *bare, "-c", _WORKER, str(report_end)]
            if self.is_confined:
                command, inherited = passed.enter_context(open_command(worker, folders, self.limits, info_end))
            else:
                self._home = kept.enter_context(tempfile.TemporaryDirectory(prefix="dolma-py-program-"))
                command, inherited = [*GO_FIRST, *worker], []
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                pass_fds=[report_end, info_end, *inherited], env={**ENVIRONMENT, "HOME": self._home}, cwd="/", start_new_session=True,
            )  # fmt: skip
        if self.is_confined and os.geteuid() == 0:
            for pipe in (process.stdout, process.stderr):  # to be opened as /dev/stdout too
                with contextlib.suppress(OSError):
                    os.fchown(pipe.fileno(), NOBODY, NOBODY)  # type: ignore[union-attr]  # a pipe
        return process

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what is left of it and wait until it is gone; a second call does nothing."""
        if self.process.returncode is None:
            self.kill()
            self.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        if self.init is not None:
            os.close(self.init)
            self.init = None
        self._kept.close()

    def run(self, program: Program) -> Outcome:
        """Run the program to its end or to its first limit; nothing of it is alive or on a disk when this returns.

        Raises
        ------
        ConfigError     the program cannot be run whatever is in it
        SandboxError    the sandbox did not start, and the program was not run; or the run cannot be watched, and was ended
        """
        if self.process.returncode is not None:
            raise SandboxError("it was used or closed before", "Open another.")
        with self:
            program.check(self.limits)
            try:
                with contextlib.closing(_Run(self, self._write_request(program), program.stdin)) as run:
                    return run.finish()
            except OSError as error:
                raise SandboxError(
                    f"a run cannot be watched to its end ({error})",
                    "Look at this machine's limits (ulimit -n, ulimit -u); root needs the capability SYS_PTRACE.",
                ) from error

    def _write_request(self, program: Program) -> bytes:
        source = None if program.source is None else program.source.encode("utf-8", "surrogatepass")
        path = PROGRAM_FILE if self.is_confined else os.path.join(self._home, os.path.basename(PROGRAM_FILE))
        files = {str(PurePosixPath(name)): bytes(content) for name, content in program.files.items()}
        request = {
            "source": source, "argv": list(program.argv), "files": files, "stdin": len(program.stdin), "path": path, "work": self._home,
            "resources": self._list_resources(),
        }  # fmt: skip
        body = marshal.dumps(request, 2)
        return len(body).to_bytes(8, "big") + body

    def _list_resources(self) -> list[tuple[str, int, int]]:
        limits = self.limits
        cpu = int(limits.cpu_sec) + 1  # the kernel counts whole seconds
        found = [
            ("RLIMIT_CORE", 1, 1),  # the kernel dumps to a program in spite of 0, and less than a page nowhere
            ("RLIMIT_MEMLOCK", 0, 0), ("RLIMIT_MSGQUEUE", 0, 0), ("RLIMIT_CPU", cpu, cpu + 1),
            ("RLIMIT_AS", 2 * limits.max_memory_bytes, 2 * limits.max_memory_bytes),
            ("RLIMIT_FSIZE", limits.max_disk_bytes, limits.max_disk_bytes),
            ("RLIMIT_NOFILE", limits.max_open_files, limits.max_open_files),
        ]  # fmt: skip
        if self.is_confined:  # the kernel counts per user and namespace; outside of one it would count everybody's
            found.append(("RLIMIT_NPROC", limits.max_processes + 1, limits.max_processes + 1))  # one is the worker
        return found

    def hold_init(self, pid: int) -> None:
        """Take hold of the namespace's first process, which waits for its request now."""
        with contextlib.suppress(OSError):
            self.init = os.pidfd_open(pid)
            with open(f"/proc/{pid}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
            if parent == self.process.pid:
                self.init_pid = pid
                return
        if self.init is not None:  # of another process that got its number
            os.close(self.init)
            self.init = None
        raise SandboxError("what bubblewrap started has ended at once", "Look at this machine's limits.")

    def kill(self) -> None:
        """What it has started too. Popen.kill would reap bubblewrap, and the account of its CPU time with it."""
        with contextlib.suppress(ProcessLookupError):
            if self.init is not None:  # the kernel kills all others of the namespace with it
                signal.pidfd_send_signal(self.init, signal.SIGKILL)
        if self.init is None:
            # bubblewrap's child is in its group until it is sure to die with bubblewrap
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self) -> float:
        """Reap it; CPU seconds of everything it was. bubblewrap ends after its namespace has."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime


class _Run:
    """The pipes, the clock and the limits of one program while it runs."""

    def __init__(self, sandbox: Sandbox, request: bytes, stdin: bytes) -> None:
        self._sandbox, self._process, self._limits = sandbox, sandbox.process, sandbox.limits
        self._watch: Watch | None = None
        self._pending = memoryview(request + stdin)
        self._kept = {"stdout": bytearray(), "stderr": bytearray()}
        self._told = b""  # by bubblewrap, of what it started
        self._begin: float | None = None
        self._excess: Status | None = None
        self._selector = selectors.DefaultSelector()

    def finish(self) -> Outcome:
        end_of_process = os.pidfd_open(self._process.pid)
        try:
            with self._selector:
                self._register(end_of_process)
                self._follow()
        finally:
            os.close(end_of_process)
        if self._excess is not None or not self._sandbox.is_confined:
            self._sandbox.kill()  # without a namespace, also what the program left behind
        cpu_sec = max(self._sandbox.wait(), self._watch.cpu_sec if self._watch else 0.0)
        end = time.monotonic()
        if self._begin is None and self._sandbox.report.read(_PIPE_BYTES):  # it ended before anybody looked
            self._begin = end
        for name in self._kept:
            while self._take(name):
                pass
        code = self._process.returncode
        if self._begin is None:
            raise SandboxError(*_explain_failed_start(bytes(self._kept["stderr"]), code))
        exit_code = code if code >= 0 else 128 - code
        if self._excess is None and exit_code in _CPU_CODES and cpu_sec > self._limits.cpu_sec:
            self._excess = "cpu"  # the kernel was first
        most = self._limits.max_output_bytes
        stdout, stderr = (bytes(kept[:most]) for kept in self._kept.values())
        status = self._excess or ("ok" if exit_code == 0 else "failed")
        return Outcome(status, exit_code, stdout, stderr, end - self._begin, cpu_sec)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def _register(self, end_of_process: int) -> None:
        for name in ("stdin", "stdout", "stderr"):
            os.set_blocking(getattr(self._process, name).fileno(), False)
        for name in self._kept:
            self._selector.register(getattr(self._process, name), selectors.EVENT_READ, name)
        self._selector.register(self._sandbox.report, selectors.EVENT_READ, "report")
        self._selector.register(end_of_process, selectors.EVENT_READ, "end")
        if self._sandbox.is_confined:
            self._selector.register(self._sandbox.info, selectors.EVENT_READ, "info")
        else:
            self._register_stdin()

    def _register_stdin(self) -> None:
        self._selector.register(self._process.stdin, selectors.EVENT_WRITE, "stdin")  # type: ignore[arg-type]  # a pipe

    def _follow(self) -> None:
        """Until the process has ended or a limit is passed."""
        deadline = time.monotonic() + START_SEC
        next_look = 0.0
        while self._excess is None:
            events = {key.data: key for key, _ in self._selector.select(WATCH_SEC)}
            if "info" in events:
                self._hear_info()
            if "stdin" in events:
                self._feed()
            if "report" in events:
                deadline = self._hear_report() or deadline
            for name in self._kept.keys() & events.keys():
                if self._take(name) is None:
                    self._selector.unregister(events[name].fileobj)
            if "end" in events:
                return
            now = time.monotonic()
            if now > deadline:
                if self._begin is None:
                    raise SandboxError(f"it did not start in {START_SEC:.0f} s", "Run fewer at a time.")
                self._excess = "timeout"
            elif self._watch is not None and now > next_look:
                self._excess = self._excess or self._watch.find_excess()
                next_look = time.monotonic() + WATCH_SEC

    def _hear_info(self) -> None:
        """Take hold of the first process as soon as bubblewrap has named it, and only then send the program."""
        part = self._sandbox.info.read(_PIPE_BYTES)
        self._told += part
        match = re.search(rb'"child-pid": (\d+)\D', self._told)
        if match:
            self._sandbox.hold_init(int(match[1]))
            self._register_stdin()
        if match or not part:
            self._selector.unregister(self._sandbox.info)

    def _hear_report(self) -> float | None:
        """The moment at which the program must have ended, when it has just started; nothing else is told here."""
        self._selector.unregister(self._sandbox.report)
        if not self._sandbox.report.read(_PIPE_BYTES):
            return None
        self._begin = time.monotonic()
        self._sandbox.has_begun = True
        if self._sandbox.init is not None:
            self._watch = Watch(self._sandbox.init_pid, self._limits)
        return self._begin + self._limits.wall_sec

    def _feed(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            self._pending = self._pending[os.write(pipe.fileno(), self._pending[:_PIPE_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # nobody reads it any more
            self._pending = self._pending[:0]
        if not self._pending:
            self._selector.unregister(pipe)
            pipe.close()

    def _take(self, name: str) -> bool | None:
        """Keep what has come on a pipe: True; False when nothing is to be had now, None at its end. One byte too many ends the run."""
        kept = self._kept[name]
        try:
            part = os.read(getattr(self._process, name).fileno(), _PIPE_BYTES)
        except BlockingIOError:
            return False
        if not part:
            return None
        kept += part[: max(self._limits.max_output_bytes + 1 - len(kept), 0)]
        if len(kept) <= self._limits.max_output_bytes:
            return True
        self._excess = self._excess or "output"
        return False


def _open_pipe(kept: ExitStack, passed: ExitStack) -> tuple[io.FileIO, int]:
    """(end to read, end to pass on). Reading never waits: another process that was forked here may hold the other end open."""
    reader, writer = os.pipe()
    passed.callback(os.close, writer)
    file = kept.enter_context(io.FileIO(reader))
    os.set_blocking(reader, False)
    return file, writer


def _explain_failed_start(stderr: bytes, code: int) -> tuple[str, str]:
    said = " ".join(stderr.decode("utf-8", "replace").split())[-300:] or f"it ended with {code}"
    if "Unknown option" in said:
        return f"bubblewrap is too old ({said})", "Install bubblewrap 0.8 or later."
    if b"Traceback" in stderr:  # of the worker, which bubblewrap has started
        return (
            f"the program was not started ({said})",
            "Look at this machine's limits (ulimit -u, pids of the container).",
        )
    return (
        f"bubblewrap did not start ({said})",
        "Allow unprivileged user namespaces (sysctl, AppArmor), or run as root.",
    )
