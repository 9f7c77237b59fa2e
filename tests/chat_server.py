"""A server on this machine that speaks the chat completions interface, with every fault that a real one can have.

For tests, and as a rehearsal before a dear run: `python tests/chat_server.py --port 8801 --fault 429:0.1 --every 5`,
which answers every fifth request with status 429 and asks for a pause of 0.1 s.
It is no model: it says what a function of the request says, by default how long the question was.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
FAULTS = (
    "429",
    "500",
    "503",
    "400",
    "401",
    "truncated",
    "invalid_json",
    "not_a_completion",
    "html",
    "hang",
    "drip",
    "reset",
    "huge",
    "close",
)


def count_letters(body: Body) -> str:
    """The default answer."""
    return f"{len(question_of(body))} letters, {len(images_of(body))} images"


def question_of(body: Body) -> str:
    """The text of the last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def framed_in(question: str) -> str:
    """The text that stands in the last frame of a question; see dolma_py.question_frames."""
    return re.findall(r"<text (\w{16})>\n(.*)\n</text \1>", question, re.DOTALL)[-1][1]


def images_of(body: Body) -> list[str]:
    """The data URLs of all messages."""
    contents = [message["content"] for message in body["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


class ChatServer:
    """Serves until it is closed; `fault(number, body)` names what goes wrong with a request, "" for nothing. Numbers begin at 0.

    Faults: a status, one with `:SECONDS` for Retry-After, or a word of FAULTS.
    """

    def __init__(
        self,
        answer: Callable[[Body], str | tuple[str, str]] = count_letters,
        fault: Callable[[int, Body], str] = lambda number, body: "",
        *,
        port: int = 0,
        key: str = "",
        seconds: float = 0.0,
        certificate: str = "",
    ) -> None:
        self.answer, self.fault, self.key, self.seconds = answer, fault, key, seconds
        self.bodies: list[Body] = []  # of all requests, in the order in which they came
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.num_connections = self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.is_closed = threading.Event()
        outer = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that go away are part of the play."""

        class Handler(_Handler):
            owner = outer

        self.server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        if certificate:  # a file with the key too
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def __enter__(self) -> ChatServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; requests that hang end."""
        self.is_closed.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: ChatServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.owner.lock:
            self.owner.num_connections += 1

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        owner = self.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            number = len(owner.bodies)
            owner.bodies.append(body)
            owner.headers.append(dict(self.headers))
            owner.times.append(time.monotonic())
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
        try:
            if owner.seconds:
                time.sleep(owner.seconds)
            self._reply(owner, number, body)
        finally:
            with owner.lock:
                owner.at_once -= 1

    def _reply(self, owner: ChatServer, number: int, body: Body) -> None:
        if self.path != "/v1/chat/completions":
            self._send(404, b'{"error": {"message": "no such path"}}')
            return
        if owner.key and self.headers.get("Authorization") != f"Bearer {owner.key}":
            self._send(
                401, json.dumps({"error": {"message": f"wrong key: {self.headers.get('Authorization')}"}}).encode()
            )
            return
        fault, _, seconds = owner.fault(number, body).partition(":")
        if fault.isdigit():
            headers = {"Retry-After": seconds} if seconds else {}
            said = self.headers.get("Authorization", "")
            self._send(
                int(fault), json.dumps({"error": {"message": f"as was wished {said}"}}).encode(), headers=headers
            )
            return
        good = json.dumps(_complete(body, owner.answer(body))).encode()
        if not fault:
            self._send(200, good)
            return
        getattr(self, f"_fault_{fault}")(good)

    def _send(
        self, status: int, data: bytes, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _fault_truncated(self, good: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(good)))
        self.end_headers()
        self.wfile.write(good[: len(good) // 2])
        self.close_connection = True

    def _fault_invalid_json(self, good: bytes) -> None:
        self._send(200, good[: len(good) // 2])

    def _fault_not_a_completion(self, good: bytes) -> None:
        self._send(200, b'{"object": "list", "data": []}')

    def _fault_html(self, good: bytes) -> None:
        self._send(200, b"<html>Please log in to this network</html>", "text/html")

    def _fault_hang(self, good: bytes) -> None:
        self.owner.is_closed.wait(60)

    def _fault_drip(self, good: bytes) -> None:
        """Headers that never end, a byte at a time: each read succeeds, the whole does not."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.owner.is_closed.wait(0.05):
            self.wfile.write(b"a")

    def _fault_reset(self, good: bytes) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _fault_huge(self, good: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        while not self.owner.is_closed.is_set():
            self.wfile.write(b" " * (1 << 20))

    def _fault_close(self, good: bytes) -> None:
        """A good answer, and then the idle connection is closed without a word."""
        self._send(200, good)
        self.close_connection = True


def _complete(body: Body, text: str | tuple[str, str]) -> Body:
    """A completion that says the text, and why it ended, where the answer is both."""
    text, reason = text if isinstance(text, tuple) else (text, "stop")
    prompt_tokens = len(question_of(body).split()) + 100 * len(images_of(body))
    return {
        "id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": body["model"] + "-served",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": len(text.split()), "total_tokens": 0},
    }  # fmt: skip


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8801)
    parser.add_argument(
        "--fault", default="", help=f"a status, one with :SECONDS for Retry-After, or one of {', '.join(FAULTS)}"
    )
    parser.add_argument(
        "--every", type=int, default=5, help="which requests fail: each with a number that this divides"
    )
    parser.add_argument("--answer", default="", help="a fixed answer")
    options = parser.parse_args()
    with ChatServer(
        (lambda body: options.answer) if options.answer else count_letters,
        lambda number, body: options.fault if number % options.every == 0 else "",
        port=options.port,
    ) as server:
        print(f"serving {server.url}", flush=True)
        server.thread.join()


if __name__ == "__main__":
    main()
