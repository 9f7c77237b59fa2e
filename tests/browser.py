"""Opens a page in a headless browser and asks it a question, over the two pipes of the DevTools protocol."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from dolma_py.doctor import BROWSERS

MAX_WAIT_SEC = 120.0  # for one answer; a busy machine takes long to start a browser


class Look(NamedTuple):
    """What a page did when it was opened, and what it answered."""

    complaints: list[str]  # errors and warnings in the console, what the content policy blocked included
    requests: list[str]  # every address that was asked for
    answer: Any


def find_browser() -> str | None:
    """The browser that `dolma-py doctor` finds."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def open_page(browser: str, page: Path, *, question: str, profile: Path) -> Look:
    """Open a file and evaluate the JavaScript expression `question` there, when it has been drawn."""
    commands_read, commands_write = os.pipe()
    events_read, events_write = os.pipe()
    shell = f'exec "$0" "$@" 3<&{commands_read} 4>&{events_write}'
    options = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    options += ["--no-sandbox"] * (os.geteuid() == 0)  # Chromium's own sandbox refuses root
    process = subprocess.Popen(
        ["bash", "-c", shell, browser, *options], pass_fds=(commands_read, events_write),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(commands_read)
    os.close(events_write)
    talk = _Talk(commands_write, events_read)
    try:
        target = talk.call("Target.createTarget", url="about:blank")["targetId"]
        talk.session = talk.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Log", "Runtime", "Network", "Page"):
            talk.call(f"{domain}.enable")
        talk.call("Page.navigate", url=page.as_uri())
        talk.wait_for(lambda message: message.get("method") == "Page.loadEventFired")
        answer = talk.call("Runtime.evaluate", expression=question, returnByValue=True)
    finally:
        process.kill()
        process.wait()
        os.close(commands_write)
        os.close(events_read)
    return Look(list_complaints(talk.events), list_requests(talk.events), answer["result"].get("value", answer))


def list_complaints(events: list[dict[str, Any]]) -> list[str]:
    """The texts of console entries that are errors or warnings, and of exceptions."""
    found = []
    for event in events:
        method, told = event["method"], event["params"]
        if method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            found.append(told["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            found.append(str(told["args"]))
        elif method == "Runtime.exceptionThrown":
            found.append(told["exceptionDetails"]["text"])
    return found


def list_requests(events: list[dict[str, Any]]) -> list[str]:
    """Addresses in the order in which they were asked for."""
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


class _Talk:
    """Commands to a browser and what comes back: JSON objects that end with a zero byte."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers = commands, answers
        self.session: str | None = None
        self.events: list[dict[str, Any]] = []
        self.buffer, self.last_id = b"", 0

    def call(self, method: str, **params: object) -> dict[str, Any]:
        self.last_id += 1
        command = {"id": self.last_id, "method": method, "params": params}
        command |= {"sessionId": self.session} if self.session else {}
        os.write(self.commands, json.dumps(command).encode() + b"\0")
        answer = self.wait_for(lambda message: message.get("id") == self.last_id)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait_for(self, is_wanted: Any) -> dict[str, Any]:
        """The next message that is wanted; events on the way are kept."""
        deadline = time.monotonic() + MAX_WAIT_SEC
        while True:
            while b"\0" not in self.buffer:
                ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
                piece = os.read(self.answers, 1 << 16) if ready else b""
                if not piece:
                    raise RuntimeError(
                        f"the browser said nothing for {MAX_WAIT_SEC} s or ended; last: {self.events[-3:]}"
                    )
                self.buffer += piece
            line, _, self.buffer = self.buffer.partition(b"\0")
            message = json.loads(line)
            if "method" in message:
                self.events.append(message)
            if is_wanted(message):
                return message
