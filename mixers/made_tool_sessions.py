"""Sessions with tools made without any model, for training and for a test that is held out: every call is right and its result is real.

Categories: simple (one tool is offered), multiple (one of several), parallel (two calls in one block), multi_step (the second call needs the
first one's result), multi_turn (the user goes on), missing_argument (the assistant asks back), no_tool (none of those offered fits: no call).
A session follows from (seed, part, number) alone. Training and test differ in every name of a person, city, title, article, currency and
subject; two domains are in the test only.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from dolma_py.hashing import derive_seed
from dolma_py.tool_calls import ToolCall, render_calls
from dolma_py.tool_items import ExpectedTurn, ToolItem
from dolma_py.tool_sessions import SYSTEM_WORDS, ChatMessage, make_message, render_result
from dolma_py.tool_specs import render_specs
from mixers.tool_domains import DOMAINS
from mixers.tool_worlds import Domain, Draw, execute

VERSION = 1
CATEGORIES = ("simple", "multiple", "parallel", "multi_step", "multi_turn", "missing_argument", "no_tool")
REFUSALS = (
    "None of the functions that I have can do that.",
    "I have no function for that, so I cannot do it.",
    "That is not possible with the functions that are available to me.",
)
Part = Literal["train", "test"]


class _Planned(NamedTuple):
    turns: tuple[ExpectedTurn, ...]
    answers: tuple[str, ...]  # one for each turn


def make_item(number: int, *, seed: int, part: Part) -> tuple[ToolItem, tuple[str, ...]]:
    """Session `number` and the assistant's answers to each turn. Categories and domains come in turn, so that all are as frequent."""
    category = CATEGORIES[number % len(CATEGORIES)]
    known = [domain for domain in DOMAINS.values() if part == "test" or not domain.is_unseen]
    domain = known[number // len(CATEGORIES) % len(known)]
    world = derive_seed(seed, "tool sessions", part, number) >> 1  # fits a signed 64-bit column
    rng = random.Random(world)
    draw = Draw(rng, is_unseen=part == "test")
    others = [other for other in known if other.name != domain.name]
    offered = rng.sample(others, 2)
    if category == "simple":
        offered = []
    if category != "no_tool":
        offered = [*offered, domain]
    specs = [spec for one in offered for spec in one.specs]
    rng.shuffle(specs)  # the place of a function in the list tells nothing
    planned = _plan(category, domain, draw, world)
    functions = render_specs(specs)
    name = f"made-tools-{part}-{seed}-{number}"
    return ToolItem(name, category, functions, planned.turns, domain.name, domain.is_unseen, world), planned.answers


def _plan(category: str, domain: Domain, draw: Draw, world: int) -> _Planned:
    def result(call: ToolCall) -> Any:
        found = execute(world, call, DOMAINS)
        if found.problem:
            raise ValueError(f"{call.name}: {found.detail}")
        return found.value

    wish = domain.lookup(draw)
    if category == "no_tool":
        return _Planned((ExpectedTurn(wish.request, ()),), (draw.phrase(*REFUSALS),))
    found = result(wish.call)
    answer = wish.say(found)
    first = ExpectedTurn(wish.request, ((wish.call,),), find_needles(found, answer))
    if category in ("simple", "multiple"):
        return _Planned((first,), (answer,))
    if category == "missing_argument":
        second = first._replace(user=wish.gives)
        return _Planned((ExpectedTurn(wish.vague, ()), second), (wish.asks, answer))
    if category == "parallel":
        other = domain.lookup(draw)
        while other.call == wish.call:
            other = domain.lookup(draw)
        more = result(other.call)
        both = f"{answer} {other.say(more)}"
        needles = (*find_needles(found, both), *find_needles(more, both))
        return _Planned(
            (ExpectedTurn(f"{wish.request} {other.request}", ((wish.call, other.call),), needles),), (both,)
        )
    then = domain.follow(draw, wish)
    call = then.call(found)
    done = result(call)
    said = then.say(found, done)
    if category == "multi_turn":
        return _Planned((first, ExpectedTurn(then.request, ((call,),), find_needles(done, said))), (answer, said))
    request = f"{wish.request} {draw.phrase('I need you to do that', 'Do that')} {then.joined}."
    return _Planned((ExpectedTurn(request, ((wish.call,), (call,)), find_needles(done, said)),), (said,))


def find_needles(result: Any, answer: str) -> tuple[str, ...]:
    """Values of a result that the answer tells: what a right answer cannot know without the call."""
    written = [str(value) for value in result.values()]
    return tuple(value for value in written if value in answer)


def make_row(item: ToolItem, answers: tuple[str, ...]) -> dict[str, Any]:
    """The chat row of a session: specs in the system turn, calls, results as `environment` turns, answers."""
    messages: list[ChatMessage] = [make_message("system", SYSTEM_WORDS, functions=item.functions)]
    for turn, answer in zip(item.turns, answers, strict=True):
        messages.append(make_message("user", turn.user))
        for block in turn.blocks:
            results = [render_result(execute(item.seed, call, DOMAINS)) for call in block]
            messages.append(make_message("assistant", None, function_calls=render_calls(block)))
            messages.append(make_message("environment", "\n".join(results)))
        messages.append(make_message("assistant", answer))
    return {
        "id": item.id,
        "messages": messages,
        "source": "made-tools",
        "category": item.category,
        "domain": item.domain,
    }


def make_rows(count: int, *, seed: int) -> Iterator[dict[str, Any]]:
    """Chat rows for training."""
    for number in range(count):
        yield make_row(*make_item(number, seed=seed, part="train"))


def make_items(count: int, *, seed: int) -> Iterator[ToolItem]:
    """The held-out test."""
    for number in range(count):
        yield make_item(number, seed=seed, part="test")[0]
