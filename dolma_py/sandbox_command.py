"""The command line that opens a sandbox around an interpreter: what a program in it sees of this machine, and as whom.

bubblewrap makes the namespaces (user, process ids, network, System V, host name, control groups, mounts) and the mounts; nothing
of the machine is in them but what `READABLE` and the interpreter's own folder name, read-only. The root folder, /dev and /proc
cannot be written; /tmp and /dev/shm are memory of a set size, gone with the run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dolma_py.errors import SandboxError
from dolma_py.sandbox_program import MIB, WORK_FOLDER, Limits
from dolma_py.sandbox_seccomp import build_filter

# Programs, their libraries, and what maps the libraries' names and the time zones; no /etc/passwd, no /usr/local.
READABLE = ("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/alternatives", "/etc/ld.so.cache")
SHORT_NAMES = ("/bin", "/lib", "/lib64", "/sbin")  # links into /usr on most systems, folders on some
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": WORK_FOLDER, "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC"}
SHARED_MEMORY_BYTES = MIB  # for the semaphores of multiprocessing
USER_INSIDE = 1000
# Root runs bubblewrap as this user: the kernel counts no processes of root's, even of a root that is somebody else inside.
NOBODY = 65534
# Reads as /dev/zero does, and cannot be mapped: what is mapped of that is memory that no process need show.
_ZEROS = ("--dev-bind", "/dev/full", "/dev/zero")
# Where memory runs out all the same, the kernel takes a program first; /proc cannot be written in there to take this back.
_GO_FIRST = "{ echo 1000 > /proc/$$/oom_score_adj; } 2> /dev/null; "
GO_FIRST = ("sh", "-c", _GO_FIRST + 'exec "$@"', "sh")
_PLACES = ("/mnt", "/media", "/srv", "/opt", "/boot")  # one that an interpreter's folder is not in


def find_bubblewrap() -> str:
    """The path of bwrap; SandboxError says what to do where there is none."""
    path = shutil.which("bwrap")
    if path is None:
        raise SandboxError("bubblewrap (bwrap) is not on PATH", "Run: apt-get install bubblewrap (0.8 or later).")
    return path


def choose_interpreter(*, with_packages: bool) -> tuple[str, list[str]]:
    """This interpreter's path and the folders it needs: its own installation, and its virtual environment where asked."""
    own = os.path.realpath(sys.executable)
    if not with_packages:
        return own, [os.path.realpath(sys.base_prefix)]
    return os.path.abspath(sys.executable), sorted({os.path.realpath(sys.base_prefix), os.path.abspath(sys.prefix)})


@contextmanager
def open_command(
    worker: list[str], folders: list[str], limits: Limits, info_fd: int
) -> Iterator[tuple[list[str], list[int]]]:
    """(command line, descriptors it must inherit) that runs `worker`; the descriptors are closed when the block ends.

    bwrap writes the id of the namespace's first process to `info_fd`.
    """
    opened: list[int] = []
    before, sources = _prepare(folders)
    try:
        command = [
            *before, find_bubblewrap(), "--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-net", "--unshare-ipc",
            "--unshare-uts", "--unshare-cgroup-try", "--uid", str(USER_INSIDE), "--gid", str(USER_INSIDE),
            "--hostname", "sandbox", "--die-with-parent", "--new-session", "--as-pid-1", "--info-fd", str(info_fd),
            "--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev",
            "--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm", *_ZEROS, "--remount-ro", "/dev",
            "--size", str(limits.max_disk_bytes), "--tmpfs", "/tmp", "--dir", WORK_FOLDER, "--chdir", WORK_FOLDER,
            *_mounts(sources), *_links(worker[0], folders), "--remount-ro", "/",
        ]  # fmt: skip
        steps = build_filter()
        if steps:
            command += ["--seccomp", str(_open_filter(steps, opened))]
        yield [*command, "--", *worker], opened
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _mounts(sources: dict[str, str]) -> Iterator[str]:
    for path in SHORT_NAMES:
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        elif os.path.isdir(path):
            yield from ("--ro-bind", path, path)
    for path in READABLE:
        if os.path.exists(path):
            yield from ("--ro-bind", path, path)
    for folder, source in sources.items():
        if folder != "/usr":  # what is needed of it is there
            _refuse_private_folder(folder)
            yield from ("--ro-bind", source, folder)


def _links(path: str, folders: list[str]) -> Iterator[str]:
    """The symbolic links that lead to a file and lie in nothing that is mounted: a virtual environment's interpreter is a link to
    what was on PATH, which may be a link in any folder (~/.local/bin, a version manager's).
    """
    mounted = [*folders, *READABLE, *SHORT_NAMES]
    for _ in range(40):  # as many as the kernel follows
        links = [link for link in [*reversed(Path(path).parents), Path(path)] if link.is_symlink()]
        if not links:
            return
        link, target = links[0], os.readlink(links[0])
        if not any(link.is_relative_to(folder) for folder in mounted):
            yield from ("--symlink", target, str(link))
        path = os.path.normpath(link.parent / target / Path(path).relative_to(link))


def _refuse_private_folder(folder: str) -> None:
    for name, private in (("home", os.path.expanduser("~")), ("working folder", os.readlink("/proc/self/cwd"))):
        if Path(os.path.realpath(private)).is_relative_to(os.path.realpath(folder)):
            raise SandboxError(
                f"the interpreter's folder {folder} holds the {name} {private}, which a program must not see",
                "Use an interpreter with a folder of its own, and work in another.",
            )


def _prepare(folders: list[str]) -> tuple[list[str], dict[str, str]]:
    """(what runs before bubblewrap, where bubblewrap then finds each folder).

    Root's runs become nobody's, who cannot pass a folder like /root: in a mount namespace of its own, such folders are mounted
    where nobody can.
    """
    sources = {folder: folder for folder in folders}
    if os.geteuid() != 0:
        return [*GO_FIRST], sources
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    hidden = [folder for folder in folders if not _is_open_to_all(folder)]
    if not hidden:
        return [*GO_FIRST, *become], sources
    free = [place for place in _PLACES if os.path.isdir(place) and not any(f.startswith(place) for f in hidden)]
    if not free:
        raise SandboxError(f"no folder to mount {hidden} at, which {NOBODY} cannot pass", "Make a folder /mnt.")
    place = free[0]
    script = [f"mount -t tmpfs -o mode=755,size=1m none {place}"]
    for number, folder in enumerate(hidden):
        sources[folder] = f"{place}/{number}"
        script.append(f"mkdir {place}/{number} && mount --bind {shlex.quote(folder)} {place}/{number}")
    script.append('exec "$@"')
    return ["unshare", "--mount", "--", "sh", "-c", _GO_FIRST + " && ".join(script), "sh", *become], sources


def _is_open_to_all(folder: str) -> bool:
    return all(os.stat(path).st_mode & stat.S_IXOTH for path in (Path(folder), *Path(folder).parents))


def _open_filter(steps: bytes, opened: list[int]) -> int:
    reader, writer = os.pipe()
    opened.append(reader)
    try:
        os.write(writer, steps)  # less than a page: a pipe holds them
    finally:
        os.close(writer)
    return reader
