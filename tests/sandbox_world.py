"""What a program in a sandbox must not reach: files, sockets, a process and secrets of the test that runs it, and a look at each after."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

from dolma_py.sandbox_program import Outcome

MARK = "this line lies in the checkout"


class World:
    """Made before a program runs; `harm` after it, one line for each thing that is not as it was."""

    def __init__(self, folder: Path) -> None:
        self.token = "t" + secrets.token_hex(8)
        self.folder, self.hidden = folder, secrets.token_hex(16)
        self.secret, self.canary, self.address = folder / "secret", folder / "canary", folder / "socket"
        self.secret.write_text(self.hidden)
        self.canary.write_text("alive")
        os.environ["DOLMA_PY_TEST_SECRET"] = self.hidden
        self.leaked = os.open(self.secret, os.O_RDONLY)
        os.set_inheritable(self.leaked, True)
        self.sockets = [socket.socket() for _ in range(1)]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.port = self.sockets[0].getsockname()[1]
        datagrams = socket.socket(type=socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", self.port))
        for name in ("\0" + self.token, str(self.address)):
            self.sockets.append(socket.socket(socket.AF_UNIX))
            self.sockets[-1].bind(name)
        for listening in self.sockets:
            listening.listen()
        self.sockets.append(datagrams)
        for each in self.sockets:
            each.setblocking(False)
        self.victim = subprocess.Popen(["sleep", "600"])

    def describe(self) -> str:
        """What a program is told, as JSON: the more it knows, the better it can try."""
        shown = [Path(sys.base_prefix), *Path(sys.base_prefix).parents]
        private = [
            path
            for home in (Path("/root"), Path("/home"), Path.cwd(), Path("/var/lib"), Path("/run"))
            for path in _list(home)
        ]
        facts = {
            "token": self.token, "secret": str(self.secret), "canary": str(self.canary), "socket": str(self.address),
            "port": self.port, "victim": self.victim.pid, "test_file": __file__, "prefix": sys.base_prefix,
            "private": [str(path) for path in private if path not in shown],
            "disk": "/dev/" + min((path.name for path in Path("/sys/block").iterdir()), default="sda"),
        }  # fmt: skip
        return json.dumps(facts)

    def harm(self, outcome: Outcome) -> list[str]:
        said = outcome.stdout + outcome.stderr
        found = [f"it read {word!r}" for word in (self.hidden, MARK, "root:") if word.encode() in said]
        if _read(self.canary) != "alive" or {path.name for path in self.folder.iterdir()} != {
            "secret",
            "canary",
            "socket",
        }:
            found.append("files of the test were changed")
        found += [
            f"{path} was made" for path in (Path("/usr/bin") / self.token, Path("/") / self.token) if path.exists()
        ]
        found += [f"socket {number} was reached" for number, each in enumerate(self.sockets) if _was_reached(each)]
        if self.victim.poll() is not None:
            found.append("a process of the test was killed")
        return found + [f"process {pid} lives" for pid in self.list_left()]

    def list_left(self) -> list[str]:
        """Ids of the machine's processes that were started with the token in their name."""
        return [
            path.name
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and self.token in _read(path / "cmdline")
        ]

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for each in self.sockets:
            each.close()
        os.close(self.leaked)
        del os.environ["DOLMA_PY_TEST_SECRET"]


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _was_reached(each: socket.socket) -> bool:
    try:
        each.recv(1) if each.type == socket.SOCK_DGRAM else each.accept()
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
