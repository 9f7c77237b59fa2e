"""The process in the sandbox that waits for a program, starts it in a child and ends as the child did.

Its text is given to an interpreter that knows nothing of ours (`python -I -c`), so it imports no package and as little of the
standard library as it can. It is process 1 of its namespace: when it ends, the kernel ends all others. The program is another
process of the same user, so this one has the program's limits itself and cannot be opened by it: its memory would be as good as the
program's own. What it reads from standard input comes from outside: eight bytes of length, a marshalled request, then what it passes
on as the program's own standard input, through a pipe that has no other end outside. All that is told is one word on the descriptor
that the argument names, by the child before it becomes the program; after that nothing is believed.
"""

import ctypes
import marshal
import os
import resource
import select
import signal
import site
import sys


def _read_exactly(num_bytes: int) -> bytes:
    parts = []
    while num_bytes:
        part = os.read(0, min(num_bytes, 1 << 20))
        if not part:
            os._exit(0)  # nobody wants this worker any more
        parts.append(part)
        num_bytes -= len(part)
    return b"".join(parts)


def _write_file(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(content)


def _set_limits(limits: dict) -> None:  # type: ignore[type-arg]  # of plain numbers
    for name, soft, hard in limits["resources"]:
        kind = getattr(resource, name)
        most = resource.getrlimit(kind)[1]
        least = [value if most == resource.RLIM_INFINITY else min(value, most) for value in (soft, hard)]
        resource.setrlimit(kind, (least[0], least[1]))


def _let_be_opened(is_open: bool) -> None:
    """Whether processes of the same user may read and write this one's memory, and follow its links in /proc."""
    if ctypes.CDLL(None).prctl(4, int(is_open), 0, 0, 0) != 0:  # PR_SET_DUMPABLE
        raise OSError("this process cannot be closed to others")


def _become_program(request: dict) -> None:  # type: ignore[type-arg]  # as sandbox_run writes it
    """In the child: no descriptor but the three, then the program; comes back to end as a script does."""
    os.closerange(3, 1 << 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if request["source"] is None:
        try:
            os.execvp(request["argv"][0], request["argv"])
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{request['argv'][0][:200]!r} cannot be started: {error}\n")
            sys.exit(127)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if sys.flags.no_site:
        site.setquit()  # exit and quit, which many programs call
    main = type(sys)("__main__")
    main.__dict__.update(__file__=request["path"], __builtins__=__builtins__)
    sys.modules["__main__"] = main
    sys.argv = [request["path"], *request["argv"]]
    sys.path.insert(0, os.getcwd())
    try:
        exec(compile(request["source"], request["path"], "exec"), main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__
        sys.excepthook(type(error), error, trace.tb_next if trace else None)
        sys.exit(1)


def _feed(pipe: int, num_bytes: int, child: int) -> None:
    """Pass standard input on until that was all, nobody reads it any more, or the child has ended."""
    os.set_blocking(pipe, False)
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    poll.register(os.pidfd_open(child), select.POLLIN)
    part = b""
    while num_bytes and pipe in {number for number, _ in poll.poll()}:
        part = part or os.read(0, min(num_bytes, 1 << 16))
        try:
            written = os.write(pipe, part)
        except BlockingIOError:  # less room than poll promised
            continue
        except BrokenPipeError:
            return
        num_bytes -= written
        part = part[written:]


def _end_as(child: int) -> None:
    """Wait for the child, reaping all that lose their parents meanwhile, and end with its code as a shell tells it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _serve() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _let_be_opened(False)
    report = int(sys.argv[1])
    request = marshal.loads(_read_exactly(int.from_bytes(_read_exactly(8), "big")))
    os.chdir(request["work"])
    for name, content in request.pop("files").items():
        _write_file(os.path.join(request["work"], name), content)
    if request["source"] is not None:
        _write_file(request["path"], request["source"])
    reader, writer = os.pipe()
    _set_limits(request)
    child = os.fork()
    if child:
        os.close(report)
        os.close(reader)
        _feed(writer, request["stdin"], child)
        os.close(writer)
        os.close(0)
        _end_as(child)
    os.dup2(reader, 0)
    _let_be_opened(True)
    os.write(report, b"started\n")
    _become_program(request)


if __name__ == "__main__":
    _serve()
