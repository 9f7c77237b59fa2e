"""How preference pairs ask: one client for each model, or an estimate that asks nobody and goes on with answers as long as they may be."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Protocol, TypeVar

from dolma_py.endpoint import Answer, Endpoint, EndpointConfig, Estimate, Message, Request
from dolma_py.endpoint_budget import BYTES_PER_TOKEN
from dolma_py.tool_sessions import ChatMessage
from mixers.asked_rows import FIRST_TRIES
from mixers.pair_config import Responder
from mixers.pair_prompts import read_answers

T = TypeVar("T")


class Asker(Protocol):
    """Answers to requests, in their order."""

    tries: int | None  # of answers that cannot be used; None: as the settings say

    def ask(self, who: str, endpoint: EndpointConfig, requests: Sequence[Request]) -> list[Answer]:
        """who: the model's part, for counts."""


class EndpointAsker:
    """Asks. counts: requests:<who>, failed:<who>."""

    tries: int | None = None

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._stack = ExitStack()
        self._endpoints: dict[str, Endpoint] = {}

    def __enter__(self) -> EndpointAsker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, who: str, endpoint: EndpointConfig, requests: Sequence[Request]) -> list[Answer]:
        """Raises EndpointError as Endpoint.ask does."""
        if who not in self._endpoints:
            self._endpoints[who] = self._stack.enter_context(Endpoint(endpoint, first_tries=FIRST_TRIES))
        answers = list(self._endpoints[who].ask(requests))
        self.counts[f"requests:{who}"] += len(answers)
        self.counts[f"failed:{who}"] += sum(bool(answer.failure) for answer in answers)
        return answers


class EstimatingAsker:
    """Asks nobody: adds up what it would cost at most. Answers are as long as they may be and each is another, since later ones hold them."""

    tries: int | None = 1

    def __init__(self) -> None:
        self.estimates: dict[str, Estimate] = {}
        self._numbers = itertools.count()

    def ask(self, who: str, endpoint: EndpointConfig, requests: Sequence[Request]) -> list[Answer]:
        """Placeholders."""
        with Endpoint(endpoint) as opened:
            found = opened.estimate(requests)
        before = self.estimates.get(who, Estimate())
        self.estimates[who] = Estimate(*(old + new for old, new in zip(before, found, strict=True)))
        return [self._fill(request.max_tokens * BYTES_PER_TOKEN) for request in requests]

    def _fill(self, num_bytes: int) -> Answer:
        mark = f"{next(self._numbers)} "
        return Answer(text=(mark * (num_bytes // len(mark) + 1))[: max(num_bytes, len(mark))], finish_reason="stop")


class Answers:
    """What responders say to conversations, from endpoints or files."""

    def __init__(self, responders: Sequence[Responder], asker: Asker) -> None:
        self._asker = asker
        self._files = {one.name: read_answers(one.answers) for one in responders if one.answers is not None}

    def collect(
        self, responder: Responder, conversations: Sequence[Sequence[ChatMessage]], ids: Sequence[str]
    ) -> list[Answer]:
        """One answer for each conversation; ids: of their prompts, for answers of a file. No answer there: failure not_in_file."""
        if responder.endpoint is not None:
            requests = [make_request(responder, messages) for messages in conversations]
            return self._asker.ask(responder.name, responder.endpoint, requests)
        texts = self._files[responder.name]
        missing = Answer(failure="not_in_file")
        return [Answer(text=texts[name], finish_reason="stop") if name in texts else missing for name in ids]


def make_request(responder: Responder, messages: Sequence[ChatMessage]) -> Request:
    """A conversation as a request to a responder."""
    told = tuple(Message(message["role"], message["content"]) for message in messages)
    if responder.system and told[0].role != "system":
        told = (Message("system", responder.system), *told)
    return Request(told, responder.max_answer_tokens, responder.temperature, 0, responder.options)


def ask_until_usable(
    asker: Asker, who: str, endpoint: EndpointConfig, make: Callable[[int, int], Request], read: Callable[[int, Answer], tuple[T, str]],
    rows: Sequence[int], tries: int,
) -> dict[int, tuple[T, str]]:  # fmt: skip
    """Ask for each row, and again as another sample while `read` gives a problem; row -> what was read last and its problem."""
    found: dict[int, tuple[T, str]] = {}
    open_rows = list(rows)
    for sample in range(tries if asker.tries is None else asker.tries):
        answers = asker.ask(who, endpoint, [make(row, sample) for row in open_rows])
        for row, answer in zip(open_rows, answers, strict=True):
            found[row] = read(row, answer)
        open_rows = [row for row in open_rows if found[row][1]]
        if not open_rows:
            break
    return found
