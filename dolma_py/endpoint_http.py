"""One POST to a chat endpoint over a connection that is kept: a deadline for the whole exchange, a bound on the reply.

The standard library's client and nothing else. Redirects are not followed, proxies of the environment not used.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import select
import socket
import ssl
import threading
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from dolma_py.errors import ConfigError

_PIECE_BYTES = 1 << 16


class Address(NamedTuple):
    """Where requests go."""

    is_https: bool
    host: str
    port: int | None
    path: str


class Reply(NamedTuple):
    """What came back; `failure` is "" when it is whole, whatever its status."""

    status: int = 0
    body: bytes = b""
    retry_after: str = ""
    failure: str = ""  # timeout, connection, truncated, too_large
    detail: str = ""
    is_sent: bool = True  # the server has the request and may charge for it


def parse_address(base_url: str) -> Address:
    """The address below which `chat/completions` lies.

    Raises ConfigError for anything but http or https, and for a name, password, query or fragment in the address.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise ConfigError("base_url", base_url, "expected an address such as http://127.0.0.1:8000/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("base_url", base_url, "expected an address such as http://127.0.0.1:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # what was got may be a secret, so it is not repeated
        raise ConfigError(
            "base_url", "...", "expected an address without name, password, ? and #", "Give a key by api_key_variable."
        )
    return Address(parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/") + "/chat/completions")


def parse_retry_after(value: str) -> float | None:
    """Seconds to wait from now: a number, or a date of HTTP; None when it is neither.

    >>> parse_retry_after("1.5"), parse_retry_after("soon")
    (1.5, None)
    """
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < 1e9 else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


class Line:
    """One connection; a thread uses it for one request after the other."""

    def __init__(self, address: Address, headers: dict[str, str], *, timeout_seconds: float, max_bytes: int) -> None:
        self.address, self.headers, self.timeout_seconds, self.max_bytes = address, headers, timeout_seconds, max_bytes
        self._connection: http.client.HTTPConnection | None = None
        self._is_late = self._is_sent = False

    def post(self, body: bytes) -> Reply:
        """The reply within timeout_seconds; the time covers connecting, sending and reading together."""
        self._is_late = self._is_sent = False
        timer = threading.Timer(self.timeout_seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(body)
        except (OSError, http.client.HTTPException) as error:
            late = self._is_late or isinstance(error, TimeoutError)
            kind = "timeout" if late else "truncated" if isinstance(error, http.client.IncompleteRead) else "connection"
            self.close()
            words = f"no answer in {self.timeout_seconds:g} s" if late else f"{type(error).__name__}: {error}"
            return Reply(failure=kind, detail=words[:200], is_sent=self._is_sent)
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _expire(self) -> None:
        self._is_late = True
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # wakes the thread that reads or writes
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> http.client.HTTPConnection:
        """The kept connection; another where the server has closed it, which makes it readable."""
        kept = self._connection
        if kept is not None and kept.sock is not None:
            poll = select.poll()  # select takes no descriptor above 1023
            poll.register(kept.sock, select.POLLIN)
            if not poll.poll(0):
                return kept
            self.close()
        address = self.address
        if address.is_https:
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                address.host, address.port, timeout=self.timeout_seconds, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(address.host, address.port, timeout=self.timeout_seconds)
        return self._connection

    def _exchange(self, body: bytes) -> Reply:
        connection = self._connect()
        connection.request("POST", self.address.path, body, self.headers)
        self._is_sent = True
        response = connection.getresponse()
        pieces, num_bytes = [], 0
        while piece := response.read(_PIECE_BYTES):
            pieces.append(piece)
            num_bytes += len(piece)
            if num_bytes > self.max_bytes:
                self.close()
                return Reply(response.status, failure="too_large", detail=f"more than {self.max_bytes} bytes")
        if self._is_late:
            raise TimeoutError
        if response.length:  # bytes promised that did not come
            self.close()
            return Reply(response.status, failure="truncated", detail=f"{response.length} bytes are missing")
        if response.will_close:
            self.close()
        retry_after = response.headers.get("Retry-After", "")
        return Reply(response.status, b"".join(pieces), retry_after)
