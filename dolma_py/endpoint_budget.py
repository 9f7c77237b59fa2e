"""What asking costs, before and while it is done: estimates, and an account in the cache's folder that no process overdraws.

Before a request goes out the most that it can cost is booked; when its usage is known the rest is given back. What a server may have
charged for an exchange that broke stays booked. A process that is killed leaves its bookings behind: the account then errs on the
dear side, by the requests that were under way.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import xxhash

from dolma_py.endpoint_cache import LEDGER_LOCK, LockedFolder
from dolma_py.endpoint_messages import Request
from dolma_py.errors import DataError

LEDGER_FILE = "spent"
BYTES_PER_TOKEN = 4  # of ordinary English text, about; for estimates alone
MESSAGE_TOKENS = 16  # role and marks of a message, at most
NANO = 10**9
_LAYOUT = struct.Struct("<QQQ")


class Prices(NamedTuple):
    """Of the endpoint; images are counted in tokens, as servers do."""

    per_million_prompt: float
    per_million_completion: float
    image_tokens: int

    def nano(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The price in 1e-9 of the currency, rounded up."""
        millionths = prompt_tokens * self.per_million_prompt + completion_tokens * self.per_million_completion
        return -int(-millionths * (NANO // 10**6) // 1)


class Estimate(NamedTuple):
    """Of many requests. Tokens of answers, and so `max_cost`, are what they may be at most."""

    requests: int = 0
    cached: int = 0  # of them, answered before: they cost nothing and count in no other field
    images: int = 0
    prompt_tokens: int = 0  # about: four bytes of text each, and the set number for an image
    max_completion_tokens: int = 0
    max_cost: float = 0.0

    def describe(self) -> str:
        """One line for a person."""
        return (
            f"{self.requests} requests, {self.cached} of them answered before; for the others about {self.prompt_tokens} prompt tokens "
            f"with {self.images} images, at most {self.max_completion_tokens} tokens of answers, at most {self.max_cost:.2f} to pay"
        )


class Spent(NamedTuple):
    """The account's columns; `nano` is 1e-9 of the currency of the prices."""

    requests: int = 0
    tokens: int = 0
    nano: int = 0


def add_estimate(total: Estimate, request: Request, prices: Prices, *, is_cached: bool) -> Estimate:
    """The estimate with one more request in it."""
    if is_cached:
        return total._replace(requests=total.requests + 1, cached=total.cached + 1)
    images = sum(len(message.images) for message in request.messages)
    text_bytes = sum(len(message.text.encode("utf-8", "replace")) for message in request.messages)
    prompt = -(-text_bytes // BYTES_PER_TOKEN) + images * prices.image_tokens
    return Estimate(
        total.requests + 1,
        total.cached,
        total.images + images,
        total.prompt_tokens + prompt,
        total.max_completion_tokens + request.max_tokens,
        total.max_cost + prices.nano(prompt, request.max_tokens) / NANO,
    )


def bound_cost(request: Request, prices: Prices) -> Spent:
    """The most that one exchange can cost. A token of text is never shorter than a byte."""
    images = sum(len(message.images) for message in request.messages)
    text_bytes = sum(len(message.text.encode("utf-8", "replace")) for message in request.messages)
    prompt = text_bytes + MESSAGE_TOKENS * len(request.messages) + images * prices.image_tokens
    return Spent(1, prompt + request.max_tokens, prices.nano(prompt, request.max_tokens))


class Ledger:
    """The account of one cache folder, over all processes and runs that used it."""

    def __init__(self, locks: LockedFolder, *, max_requests: int | None, max_cost: float | None) -> None:
        self._locks, self._max_requests = locks, max_requests
        self._max_nano = None if max_cost is None else int(max_cost * NANO)
        self.path = os.path.join(locks.folder, LEDGER_FILE)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self.read()

    def read(self) -> Spent:
        """What is booked. Raises DataError when the file is damaged."""
        data = os.pread(self._file, _LAYOUT.size + 8, 0)
        if not data:
            return Spent()
        if len(data) != _LAYOUT.size + 8 or xxhash.xxh3_64_digest(data[:-8]) != data[-8:]:
            raise DataError(self.path, "the account is damaged", hint="Remove it to count from zero.")
        return Spent(*_LAYOUT.unpack(data[:-8]))

    def book(self, most: Spent) -> bool:
        """Book it, unless it would pass what is allowed."""
        with self._locks.hold(LEDGER_LOCK):
            spent = self.read()
            if self._max_requests is not None and spent.requests + most.requests > self._max_requests:
                return False
            if self._max_nano is not None and spent.nano + most.nano > self._max_nano:
                return False
            self._write(Spent(*(old + new for old, new in zip(spent, most, strict=True))))
            return True

    def settle(self, most: Spent, real: Spent) -> None:
        """Put what a request really cost in the place of what was booked for it."""
        with self._locks.hold(LEDGER_LOCK):
            spent = self.read()
            self._write(Spent(*(max(0, old - b + r) for old, b, r in zip(spent, most, real, strict=True))))

    def _write(self, spent: Spent) -> None:
        data = _LAYOUT.pack(*spent)
        os.pwrite(self._file, data + xxhash.xxh3_64_digest(data), 0)  # one call: a killed process has made it or not

    def close(self) -> None:
        """The file only."""
        os.close(self._file)
