"""A server on this machine that speaks as much of the Hugging Face Hub's API as listing and reading a dataset takes."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

API = re.compile(
    r"/api/datasets/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(?:/(?P<path>.*))?)?$"
)
FILE = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")


class Hub:
    """folder/ORG/NAME/REVISION/... as datasets; `requests`: (method, path, range) of all that was asked; `fails`: answers 500 to reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str, str]] = []
        self.sent_bytes = 0
        self.fails = False
        self.token = ""  # that readers need


def make_handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def answer(self) -> None:
            url = urlsplit(self.path)
            hub.requests.append((self.command, unquote(url.path), self.headers.get("Range", "")))
            length = int(self.headers.get("Content-Length") or 0)
            sent = parse_qs(self.rfile.read(length).decode()) if length else {}
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.send(401, b"{}", {"X-Error-Code": "GatedRepo"})
            api, file = API.match(url.path), FILE.match(url.path)
            if api:
                return self.answer_api(api, sent)
            if file:
                return self.answer_file(file)
            return self.send(404, b"{}")

        do_GET = do_HEAD = do_POST = answer

        def answer_api(self, match: re.Match[str], sent: dict[str, list[str]]) -> None:
            repo = hub.folder / unquote(match["repo"])
            root = repo / unquote(match["revision"] or "main")
            if not repo.is_dir():
                return self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if not root.is_dir():
                return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            if match["what"] in (None, "revision"):
                return self.send_json(
                    {"id": match["repo"], "sha": "0" * 40, "siblings": [], "tags": [], "private": False}
                )
            if match["what"] == "paths-info":
                paths = [root / path for path in sent.get("paths", [])]
                return self.send_json([describe(root, path) for path in paths if path.exists()])
            folder = root / unquote(match["path"] or "")
            if not folder.is_dir():
                return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            is_deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            found = sorted(folder.rglob("*") if is_deep else folder.iterdir())
            return self.send_json([describe(root, path) for path in found])

        def send_json(self, value: Any) -> None:
            self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def answer_file(self, match: re.Match[str]) -> None:
            path = hub.folder / unquote(match["repo"]) / unquote(match["revision"]) / unquote(match["path"])
            if hub.fails:
                return self.send(403, b"{}")
            if not path.is_file():
                return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            data = path.read_bytes()
            asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if asked:
                data = data[int(asked[1]) : int(asked[2]) + 1]
            hub.sent_bytes += len(data)
            return self.send(206 if asked else 200, data)

    return Handler


def describe(root: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "1" * 40}
    return {"type": "file", "path": name, "oid": "2" * 40, "size": path.stat().st_size}


@contextlib.contextmanager
def open_hub(folder: Path) -> Iterator[Hub]:
    """The Hub to which this process's environment leads."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(hub))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
            patch.delenv("HF_HUB_OFFLINE", raising=False)
            yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
