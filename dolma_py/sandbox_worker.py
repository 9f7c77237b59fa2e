"""The process in the sandbox that waits for a program, starts it in a child and ends as the child did.

Its text is given to an interpreter that knows nothing of ours (`python -I -c`), so it imports no package and as little of the
standard library as it can. It is process 1 of its namespace: when it ends, the kernel ends all others. What it reads from
standard input comes from outside: eight bytes of length, a marshalled request, then the program's own standard input. All it
tells is one word on the descriptor that its argument names, before the program starts; after that nothing it says is believed.
"""

import marshal
import os
import resource
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


def _become_program(request: dict) -> None:  # type: ignore[type-arg]  # as sandbox_run writes it
    """In the child: limits, no descriptor but the three, then the program; comes back to end as a script does."""
    os.closerange(3, 1 << 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    _set_limits(request)
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
    report = int(sys.argv[1])
    request = marshal.loads(_read_exactly(int.from_bytes(_read_exactly(8), "big")))
    os.chdir(request["work"])
    for name, content in request["files"].items():
        _write_file(os.path.join(request["work"], name), content)
    if request["source"] is not None:
        _write_file(request["path"], request["source"])
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # where memory runs out all the same, the kernel takes this one first
    except OSError:
        pass
    os.write(report, b"started\n")
    os.close(report)
    child = os.fork()
    if child:
        os.close(0)
        _end_as(child)
    _become_program(request)


if __name__ == "__main__":
    _serve()
