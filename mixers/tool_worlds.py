"""Small worlds of tools that nobody has to host: eight domains, each with two functions, what people ask of them, and how it is answered.

What a function returns follows from the world's seed and its arguments alone, so a call gives the same result in training data, in evaluation and
when a model makes it in another order. Two domains (hotels, repairs) are left for tests of tools that were never seen.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from dolma_py.hashing import derive_seed
from dolma_py.tool_calls import ToolCall
from dolma_py.tool_sessions import ToolResult
from dolma_py.tool_specs import ToolBox, ToolSpec, parse_specs

SEEN = {
    "city": ("Oslo", "Lyon", "Porto", "Graz", "Turin", "Ghent", "Malmo", "Split", "Leeds", "Bern", "Cork", "Brno"),
    "person": (
        "Ada Byrne",
        "Bruno Costa",
        "Carla Diaz",
        "Dmitri Petrov",
        "Elena Rossi",
        "Farid Aziz",
        "Grete Holm",
        "Hassan Ali",
    ),
    "title": (
        "The Glass Orchard",
        "Rivers of Salt",
        "A Winter Atlas",
        "The Last Ferry",
        "Notes on Moss",
        "Paper Lanterns",
    ),
    "item": (
        "desk lamp",
        "steel bolt",
        "garden hose",
        "oak board",
        "paint roller",
        "door hinge",
        "copper pipe",
        "work glove",
    ),
    "code": ("EUR", "USD", "GBP", "JPY", "CHF", "SEK"),
    "note": ("team lunch", "budget review", "call with the bank", "dentist", "design workshop", "piano lesson"),
}
UNSEEN = {
    "city": ("Trieste", "Bergen", "Nantes", "Gdansk", "Seville", "Aarhus"),
    "person": ("Ines Moreau", "Jonas Weber", "Kofi Mensah", "Lucia Bianchi", "Mei Tanaka"),
    "title": ("The Copper Moon", "Seven Quiet Harbours", "An Index of Birds", "Letters from Tarn"),
    "item": ("ceiling fan", "brass screw", "pine shelf", "rain barrel", "wall socket"),
    "code": ("NOK", "CAD", "AUD", "PLN"),
    "note": ("yoga class", "parents evening", "sprint planning", "tax appointment"),
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Draw:
    """Words and numbers for one task out of one random stream; unseen: words that training data never has."""

    def __init__(self, rng: random.Random, *, is_unseen: bool) -> None:
        self.rng, self._words = rng, UNSEEN if is_unseen else SEEN

    def word(self, kind: str) -> str:
        """One word."""
        return self.rng.choice(self._words[kind])

    def two(self, kind: str) -> list[str]:
        """Two words that differ."""
        return self.rng.sample(self._words[kind], 2)

    def day(self) -> str:
        """A day of the week."""
        return self.rng.choice(DAYS)

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self.rng.randint(low, high)

    def phrase(self, *phrases: str) -> str:
        """One of several ways to say it."""
        return self.rng.choice(phrases)


class Lookup(NamedTuple):
    """A wish that one call fulfils, and the same without the argument that the call cannot do without."""

    request: str
    call: ToolCall
    say: Callable[[Any], str]  # the answer, from the result
    vague: str
    asks: str  # the assistant's question back
    gives: str  # what the user says to it


class Follow(NamedTuple):
    """A wish that needs the result of a lookup."""

    request: str  # as a turn of its own
    joined: str  # as the end of the lookup's sentence, without a full stop
    call: Callable[[Any], ToolCall]  # from the lookup's result
    say: Callable[[Any, Any], str]  # from both results


class Domain(NamedTuple):
    """Two functions and what is wanted of them."""

    name: str
    specs: tuple[ToolSpec, ...]
    results: dict[
        str, Callable[..., Any]
    ]  # function -> result; the first argument is a random stream of seed and arguments
    lookup: Callable[[Draw], Lookup]
    follow: Callable[[Draw, Lookup], Follow]
    is_unseen: bool


def execute(seed: int, call: ToolCall, domains: dict[str, Domain]) -> ToolResult:
    """What the function returns in the world of this seed; unknown functions and missing arguments are errors of the tool."""
    for domain in domains.values():
        if call.name in domain.results:
            given = domain_box(domain).fill_defaults(call).arguments
            written = json.dumps(given, sort_keys=True)
            rng = random.Random(derive_seed(seed, "tool", call.name, written))
            try:
                return ToolResult(domain.results[call.name](rng, **call.arguments))
            except (
                TypeError,
                ValueError,
                LookupError,
                AttributeError,
                ArithmeticError,
            ) as error:  # whatever a model gave
                return ToolResult(None, "tool_error", f"{call.name}: {error}")
    return ToolResult(None, "tool_error", f"no function {call.name}")


def domain_box(domain: Domain) -> ToolBox:
    """The domain's functions as a model is offered them."""
    return ToolBox(domain.specs)


def make_specs(*functions: tuple[str, str, dict[str, Any], list[str]]) -> tuple[ToolSpec, ...]:
    """Specs of (name, description, properties, required)."""
    tools = [
        {
            "name": name,
            "description": told,
            "parameters": {"type": "object", "properties": properties, "required": required},
        }
        for name, told, properties, required in functions
    ]
    parsed = parse_specs(json.dumps(tools))
    if parsed.problem:
        raise ValueError(f"{parsed.problem}: {parsed.where}")
    return parsed.specs


def text(description: str, **more: Any) -> dict[str, Any]:
    """The schema of a text."""
    return {"type": "string", "description": description, **more}


def whole(description: str, **more: Any) -> dict[str, Any]:
    """The schema of a whole number."""
    return {"type": "integer", "description": description, **more}


def identifier(rng: random.Random, letters: str) -> str:
    """An id that nobody guesses."""
    return f"{letters}-{rng.randrange(10_000, 100_000)}"
