"""The one client of model endpoints: any server that speaks the chat completions interface, text and images.

    with Endpoint(EndpointConfig(base_url="http://127.0.0.1:8000/v1", model="m", cache="answers")) as endpoint:
        print(endpoint.estimate(requests).describe())
        for answer in endpoint.ask(requests):   # in the order of the requests
            ...

An answer is kept on disk before it is given; a question that was answered is never asked again, by whatever process or run.
A request that fails gives an Answer with `failure`; an error is raised when too large a share fails, when nobody ever answers, and before
more is spent than allowed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from dolma_py.config import Config
from dolma_py.endpoint_budget import Estimate, Ledger, Prices, Spent, add_estimate, bound_cost
from dolma_py.endpoint_cache import open_cache
from dolma_py.endpoint_http import Line, Reply, parse_address, parse_retry_after
from dolma_py.endpoint_messages import Answer, Image, Message, Request, make_key, parse_body, render_body
from dolma_py.errors import ConfigError, EndpointError

logger = logging.getLogger("dolma_py.endpoint")

__all__ = ["Answer", "Endpoint", "EndpointConfig", "Estimate", "Image", "Message", "Request"]
MISTAKE_STATUS = frozenset(
    {401, 403, 404, 405}
)  # key, address or name of the model are wrong, as long as nothing else ever came
RETRIED_STATUS = frozenset({408, 425, 429})  # and all from 500
NOBODY_LISTENS = ("ConnectionRefusedError", "gaierror")  # how the detail of such a failure begins
KEPT_FIELDS = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "model")
FAILED_FLOOR = 20  # answers before their share of failures counts


class EndpointConfig(Config):
    """Where the model is, how hard it is asked, what that may cost."""

    base_url: str = Field(description="address below which chat/completions lies, such as http://127.0.0.1:8000/v1")
    model: str = Field(min_length=1, description="name of the model, as the server knows it")
    revision: str = Field(
        default="", description="tells apart two models of one name; part of what a kept answer belongs to"
    )
    api_key_variable: str = Field(
        default="",
        pattern=r"^[A-Za-z_0-9]*$",
        description="environment variable that holds the key; empty: none is sent",
    )
    cache: str = Field(
        min_length=1, description="folder of kept answers, on a file system; {corpus} is the corpus folder"
    )
    concurrency: int = Field(default=16, ge=1, le=1024, description="requests under way at a time, per process")
    timeout_seconds: float = Field(default=300.0, gt=0, description="for one exchange, connecting included")
    max_tries: int = Field(default=8, ge=1, description="exchanges for one request (8 as olmOCR)")
    first_wait_seconds: float = Field(
        default=1.0, ge=0, description="before the second try; doubles with each further one"
    )
    max_wait_seconds: float = Field(default=60.0, ge=0, description="longest wait, where the server asks for none")
    max_retry_after_seconds: float = Field(
        default=600.0, ge=0, description="longest wait that a server may ask for; beyond it the request fails"
    )
    max_reply_bytes: int = Field(default=16 << 20, ge=1024, description="a longer reply is cut off and fails")
    max_failed_frac: float = Field(
        default=0.05, ge=0, le=1, description=f"share of requests that may fail, counted from the {FAILED_FLOOR}th on"
    )
    price_per_million_prompt: float = Field(default=0.0, ge=0, description="price of a million prompt tokens")
    price_per_million_completion: float = Field(default=0.0, ge=0, description="price of a million tokens of answers")
    image_tokens: int = Field(default=2000, ge=0, description="prompt tokens that an image counts for, at most")
    max_cost: float | None = Field(
        default=None, ge=0, description="all that this cache's answers may cost; null: no bound"
    )
    max_requests: int | None = Field(
        default=None, ge=0, description="exchanges that this cache may begin; null: no bound"
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="what the server calls the bound on an answer"
    )

    @field_validator("base_url")
    @classmethod
    def _check_address(cls, value: str) -> str:
        try:
            parse_address(value)
        except ConfigError as error:
            raise ValueError(error.rule) from None
        return value

    @model_validator(mode="after")
    def _check_prices(self) -> EndpointConfig:
        if self.max_cost is not None and not (self.price_per_million_prompt or self.price_per_million_completion):
            raise ValueError("max_cost needs price_per_million_prompt and price_per_million_completion")
        return self

    @property
    def prices(self) -> Prices:
        """As the account wants them."""
        return Prices(self.price_per_million_prompt, self.price_per_million_completion, self.image_tokens)


class _Stop(Exception):
    """Asking has ended: an error was raised, or nobody takes the answers."""


class _Attempt(NamedTuple):
    answer: Answer
    is_final: bool
    is_charged: bool  # the server may have charged for it
    wait_seconds: float | None = None  # that the server asks for
    status: int = 0  # 0: nothing came


class Endpoint:
    """Asks one model. Threads may share it; each `ask` is used by one thread.

    Attributes
    ----------
    counts : Counter    asked, cached, failed:<kind>, retried:<kind>, prompt_tokens, completion_tokens. Of this object; not repeatable

    Raises (on construction)
    ------
    ConfigError         the key's variable is not set, or the cache is no folder of a file system
    """

    def __init__(self, settings: EndpointConfig, *, first_tries: int | None = None) -> None:
        """first_tries: exchanges for one request while nobody listens at the address and nothing ever came; None: max_tries."""
        self.settings = settings
        self._first_tries = settings.max_tries if first_tries is None else first_tries
        self.counts: Counter[str] = Counter()
        self._address = parse_address(settings.base_url)
        self._key = _read_key(settings.api_key_variable)
        if self._key and not self._address.is_https and self._address.host not in ("localhost", "127.0.0.1", "::1"):
            logger.warning("endpoint %s: the key goes over the network in clear", settings.base_url)
        self._cache = open_cache(settings.cache)
        self._ledger = Ledger(self._cache.locks, max_requests=settings.max_requests, max_cost=settings.max_cost)
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="endpoint")
        self._lines = threading.local()
        self._all_lines: list[Line] = []
        self._state = threading.Condition()  # guards what stands below, and counts
        self._num_booked = 0  # exchanges under way
        self._has_answered = False  # anything that is no mistake of ours
        self._has_warned = False  # that nobody listens
        self._not_before = 0.0  # monotonic: the server asked for silence until then
        self._closed = threading.Event()

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the exchanges under way, keep their answers, and close everything."""
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for line in self._all_lines:
            line.close()
        self._ledger.close()
        self._cache.close()

    def estimate(self, requests: Iterable[Request]) -> Estimate:
        """What asking would cost at most, without asking; requests are taken one at a time."""
        self._cache.refresh()
        total = Estimate()
        seen: set[str] = set()
        for request in requests:
            key = self.make_key(request)
            is_cached = key in seen or self._cache.find(key) is not None
            seen.add(key)
            total = add_estimate(total, request, self.settings.prices, is_cached=is_cached)
        return total

    def make_key(self, request: Request) -> str:
        """The name of the request's answer in the cache."""
        return make_key(request, self.settings.model, self.settings.revision)

    def spent(self) -> Spent:
        """Requests, tokens and cost booked for this cache, by all who ever used it."""
        return self._ledger.read()

    def ask(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """An answer for each request, in order. Requests are taken as they are needed: twice `concurrency` ahead at most.

        Raises
        ------
        EndpointError   more than max_failed_frac of the requests failed; the next one could pass max_cost or max_requests; or nothing ever
                        came but a refused connection, a 401, 403, 404 or 405
        """
        stopped = threading.Event()
        waiting: deque[Future[Answer]] = deque()
        num_answers = num_failed = 0
        try:
            for request in requests:
                waiting.append(self._pool.submit(self._answer, request, stopped))
                if len(waiting) >= 2 * self.settings.concurrency:
                    answer = waiting.popleft().result()
                    num_answers, num_failed = num_answers + 1, num_failed + bool(answer.failure)
                    self._check_share(num_failed, num_answers, answer)
                    yield answer
            while waiting:
                answer = waiting.popleft().result()
                num_answers, num_failed = num_answers + 1, num_failed + bool(answer.failure)
                self._check_share(num_failed, num_answers, answer)
                yield answer
        finally:
            stopped.set()
            for future in waiting:
                future.cancel()
            for future in waiting:  # an exchange under way is paid for: its answer is kept
                with contextlib.suppress(BaseException):
                    future.result()

    def _check_share(self, num_failed: int, num_answers: int, last: Answer) -> None:
        if last.failure and num_answers >= FAILED_FLOOR and num_failed > self.settings.max_failed_frac * num_answers:
            raise EndpointError(
                self.settings.base_url,
                f"{num_failed} of {num_answers} requests failed, the last one: {last.failure} ({last.detail})",
                "Look at the server, or raise max_failed_frac.",
            )

    def _answer(self, request: Request, stopped: threading.Event) -> Answer:
        """From the cache, else from the server; runs in the pool."""
        key = self.make_key(request)
        kept = self._cache.find(key)
        if kept is None:
            with self._cache.claim(key, lambda: stopped.is_set() or self._closed.is_set()) as kept:
                if kept is None:
                    return self._ask_server(request, key, stopped)
        self._count("cached")
        return Answer(**kept, key=key, is_cached=True)

    def _ask_server(self, request: Request, key: str, stopped: threading.Event) -> Answer:
        body = render_body(request, self.settings.model, self.settings.max_tokens_field)
        most = bound_cost(request, self.settings.prices)
        jitter = random.Random(key)
        for tries in range(1, self.settings.max_tries + 1):
            self._sleep_until_allowed(stopped)
            self._book(most, stopped)
            attempt = _Attempt(Answer(), False, True)  # whatever happens in between may have been charged
            try:
                attempt = self._read_reply(self._line().post(body))
            finally:
                self._settle(most, attempt)
            if attempt.status and attempt.status not in MISTAKE_STATUS:
                self._has_answered = True
            answer = attempt.answer._replace(key=key, tries=tries)
            if not answer.failure:
                self._cache.add(key, {field: getattr(answer, field) for field in KEPT_FIELDS})
                self._count("asked", prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens)
                return answer
            if attempt.is_final or tries == self.settings.max_tries:
                break
            if not self._has_answered and answer.detail.startswith(NOBODY_LISTENS):
                self._warn_once(answer)
                if tries >= self._first_tries:
                    break
            asked = attempt.wait_seconds
            if asked is not None and asked > self.settings.max_retry_after_seconds:
                break
            self._count(f"retried:{answer.failure}")
            self._wait(tries, asked, jitter, stopped)
        self._count(f"failed:{answer.failure}")
        if not self._has_answered and (answer.failure == "connection" or attempt.status in MISTAKE_STATUS):
            raise EndpointError(
                self.settings.base_url,
                f"no request was ever answered: {answer.failure} ({answer.detail})",
                f"Check base_url, model ({self.settings.model}) and the key.",
            )
        return answer

    def _warn_once(self, answer: Answer) -> None:
        with self._state:
            if self._has_warned:
                return
            self._has_warned = True
        tries = min(self.settings.max_tries, self._first_tries)
        logger.warning("endpoint %s: %s; each request is tried %d times", self.settings.base_url, answer.detail, tries)

    def _read_reply(self, reply: Reply) -> _Attempt:
        status = reply.status
        if reply.failure:
            answer = Answer(failure=reply.failure, detail=self._redact(reply.detail))
            return _Attempt(answer, reply.failure == "too_large", reply.is_sent, status=status)
        if status == 200:
            parsed = parse_body(reply.body)
            if parsed is not None:
                return _Attempt(parsed, True, True, status=status)
            return _Attempt(self._fail("bad_reply", reply), False, True, status=status)
        if status in RETRIED_STATUS or status >= 500:
            kind = "rate_limited" if status == 429 else "server_error"
            return _Attempt(self._fail(kind, reply), False, False, parse_retry_after(reply.retry_after), status)
        return _Attempt(self._fail("refused", reply), True, False, status=status)

    def _fail(self, kind: str, reply: Reply) -> Answer:
        # the key goes out first: cut in two it would not be found
        words = self._redact(reply.body[:65_536].decode("utf-8", "replace"))
        words = words[:200].encode("unicode_escape").decode("ascii")
        return Answer(failure=kind, detail=f"status {reply.status}: {words}"[:200])

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    def _line(self) -> Line:
        line: Line | None = getattr(self._lines, "line", None)
        if line is None:
            headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            line = self._lines.line = Line(
                self._address,
                headers,
                timeout_seconds=self.settings.timeout_seconds,
                max_bytes=self.settings.max_reply_bytes,
            )
            with self._state:
                self._all_lines.append(line)
        return line

    def _book(self, most: Spent, stopped: threading.Event) -> None:
        """Book the most that an exchange can cost; wait while what others have booked may come back.

        Raises EndpointError when it cannot be paid.
        """
        with self._state:
            while not self._ledger.book(most):
                self._check_running(stopped)
                if not self._num_booked:
                    spent = self._ledger.read()
                    raise EndpointError(
                        self.settings.base_url,
                        f"the next request could pass what is allowed: {spent.requests} requests and {spent.nano / 1e9:.6f} are booked, "
                        f"allowed are max_requests {self.settings.max_requests} and max_cost {self.settings.max_cost}",
                        "Raise the bound.",
                    )
                self._state.wait(1.0)
            self._num_booked += 1

    def _settle(self, most: Spent, attempt: _Attempt) -> None:
        answer = attempt.answer
        tokens = answer.prompt_tokens + answer.completion_tokens
        if tokens:
            real = Spent(1, tokens, self.settings.prices.nano(answer.prompt_tokens, answer.completion_tokens))
        else:
            real = most if attempt.is_charged else Spent(1)
        with self._state:
            self._ledger.settle(most, real)
            self._num_booked -= 1
            self._state.notify_all()

    def _wait(self, tries: int, asked: float | None, jitter: random.Random, stopped: threading.Event) -> None:
        if asked is not None:
            with self._state:  # what one request was told holds for all
                self._not_before = max(self._not_before, time.monotonic() + asked)
            return
        wait = min(self.settings.first_wait_seconds * 2 ** (tries - 1), self.settings.max_wait_seconds)
        self._sleep(wait * jitter.uniform(0.5, 1.0), stopped)

    def _sleep_until_allowed(self, stopped: threading.Event) -> None:
        self._check_running(stopped)
        while (left := self._not_before - time.monotonic()) > 0:
            self._sleep(left, stopped)

    def _sleep(self, seconds: float, stopped: threading.Event) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            stopped.wait(min(left, 0.5))
            self._check_running(stopped)

    def _check_running(self, stopped: threading.Event) -> None:
        if stopped.is_set() or self._closed.is_set():
            raise _Stop

    def _count(self, name: str, **more: int) -> None:
        with self._state:
            self.counts[name] += 1
            self.counts.update(more)


def _read_key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            "api_key_variable", variable, "expected a variable that is set", f"Run: export {variable}=..."
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError("api_key_variable", variable, "expected a key of printable ASCII")
    return key
