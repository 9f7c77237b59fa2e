"""What language models are asked, and what that costs, when the made sources of a mix are made at their full size."""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table

from dolma_py.endpoint_budget import NANO, Prices
from pipelines.recipe import Recipe


class EndpointLine(NamedTuple):
    """One stage of one source."""

    source: str
    stage: str
    model: str
    requests: int
    prompt_tokens: int
    answer_tokens: int
    cost: float


def estimate_endpoints(recipe: Recipe) -> list[EndpointLine]:
    """A line for each stage that the recipe's sources name, in their order; cost by the recipe's prices."""
    prices = Prices(recipe.prices.per_million_prompt, recipe.prices.per_million_completion, 0)
    lines = []
    for source in recipe.sources:
        for size in source.endpoint:
            cost = prices.nano(size.prompt_tokens, size.answer_tokens) / NANO
            numbers = (size.requests, size.prompt_tokens, size.answer_tokens)
            lines.append(EndpointLine(source.name, size.stage, size.model, *numbers, cost))
    return lines


def describe_endpoints(recipe: Recipe) -> dict[str, Any]:
    """The lines as plain values, with their sums and the prices."""
    lines = estimate_endpoints(recipe)
    names = ("requests", "prompt_tokens", "answer_tokens", "cost")
    sums = {name: sum(getattr(line, name) for line in lines) for name in names}
    return {"lines": [line._asdict() for line in lines], "prices": recipe.prices.model_dump(), **sums}


def print_endpoints(made: dict[str, Any]) -> None:
    """The table of what is asked; nothing where nothing is."""
    if not made["lines"]:
        return
    console = Console(markup=False, emoji=False)
    numbers = ("million requests", "B prompt tokens", "B answer tokens", "to pay")
    table = Table(
        Column("source", no_wrap=True), "asked", "model", *(Column(name, justify="right") for name in numbers)
    )
    for line in [*made["lines"], made | {"source": "all", "stage": "", "model": ""}]:
        table.add_row(
            line["source"], line["stage"], line["model"], f"{line['requests'] / 1e6:,.2f}", f"{line['prompt_tokens'] / 1e9:,.2f}",
            f"{line['answer_tokens'] / 1e9:,.2f}", f"{line['cost']:,.0f}",
        )  # fmt: skip
    console.print(
        "Made by language models, if all of it is made anew (as it was made; the released files cost none of this):",
        highlight=False,
    )
    console.print(table)
    prices = made["prices"]
    console.print(
        f"At {prices['per_million_prompt']:g} a million prompt tokens and {prices['per_million_completion']:g} a million of answers, "
        f"examples that --set prices.per_million_prompt=... changes.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
