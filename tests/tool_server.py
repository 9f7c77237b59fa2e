"""A server on this machine that makes calls of tools, with every fault that a real one can have. For tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Function = Callable[..., Any]
FAULTS = ("hang", "500", "html", "huge", "truncated", "not_a_result", "surrogate", "nan", "deep")


class ToolServerOfTests:
    """Serves until it is closed. functions: name -> what it does; `fault(number, call)` names what goes wrong, "" for nothing."""

    def __init__(
        self, functions: dict[str, Function], fault: Callable[[int, dict[str, Any]], str] = lambda number, call: ""
    ) -> None:
        self.functions, self.fault = functions, fault
        self.calls: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.is_closed = threading.Event()
        outer = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that go away are part of the play."""

        class Handler(_Handler):
            owner = outer

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def __enter__(self) -> ToolServerOfTests:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: ToolServerOfTests
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.owner.lock:
            number = len(self.owner.calls)
            self.owner.calls.append(call)
        fault = self.owner.fault(number, call)
        if self.path != "/call" or fault == "500":
            self._send(500, b"{}")
        elif fault:
            getattr(self, f"_fault_{fault}")()
        else:
            self._send(200, json.dumps(self._call(call)).encode())

    def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = self.owner.functions.get(call["name"])
        if function is None:
            return {"error": f"no function {call['name']}"}
        try:
            return {"result": function(**call["arguments"])}
        except LookupError as error:
            return {"error": str(error.args[0])}

    def _send(self, status: int, data: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def _fault_hang(self) -> None:
        self.owner.is_closed.wait(30)

    def _fault_html(self) -> None:
        self._send(200, b"<html>log in</html>")

    def _fault_huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        while not self.owner.is_closed.is_set():
            self.wfile.write(b" " * (1 << 16))

    def _fault_truncated(self) -> None:
        self._send(200, b'{"result": ', 100)
        self.close_connection = True

    def _fault_not_a_result(self) -> None:
        self._send(200, b'{"result": 1, "error": "x"}')

    def _fault_surrogate(self) -> None:
        self._send(200, b'{"result": "\\ud800"}')

    def _fault_nan(self) -> None:
        self._send(200, b'{"result": NaN}')

    def _fault_deep(self) -> None:
        self._send(200, b'{"result": ' + b"[" * 50_000)
