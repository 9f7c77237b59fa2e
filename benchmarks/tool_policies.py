"""What the scores of tools say of policies that need no model: `python -m benchmarks.tool_policies`.

right       says what the item was made with: the ceiling
never       never calls: right where no call is
first       calls the first function that is offered, without arguments
parrot      answers as the most similar of the training sessions did, word by word: what learning by heart is worth on the held-out test
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from dolma_py.tool_calls import CLOSE_TAG, OPEN_TAG
from dolma_py.tool_scores import render_table, score_items, tabulate
from dolma_py.tool_sessions import Ask, ChatMessage
from mixers.made_tool_sessions import make_item, make_row, make_rows
from mixers.tool_commands import execute_in_world


def say(message: ChatMessage) -> str:
    """What an assistant's message is as a model's text."""
    block = message["function_calls"]
    return str(message["content"] or "") + ("" if block is None else f"{OPEN_TAG}\n{block}\n{CLOSE_TAG}")


def each(one: Callable[[list[ChatMessage]], str]) -> Ask:
    """A policy that looks at one conversation at a time."""
    return lambda conversations: [one(messages) for messages in conversations]


def call_first(messages: list[ChatMessage]) -> str:
    """The first function once, then words."""
    if messages[-1]["role"] == "environment":
        return "Done."
    return f"{OPEN_TAG}{json.loads(messages[0]['functions'])[0]['name']}(){CLOSE_TAG}"


class Parrot:
    """Repeats the assistant's turn of the training session whose last turn shares most words with this one's."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.known = [
            (before["role"], self.words(before), say(message))
            for row in rows
            for before, message in zip(row["messages"], row["messages"][1:], strict=False)
            if message["role"] == "assistant"
        ]

    @staticmethod
    def words(message: ChatMessage) -> frozenset[str]:
        """Of a message."""
        return frozenset(re.findall(r"\w+", str(message["content"]).lower()))

    def __call__(self, messages: list[ChatMessage]) -> str:
        """By the share of common words."""
        role, asked = messages[-1]["role"], self.words(messages[-1])
        known = [one for one in self.known if one[0] == role]
        return max(known, key=lambda one: len(one[1] & asked) / len(one[1] | asked))[2]


def main() -> None:
    """Print a table for each policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=280)
    parser.add_argument("--training", type=int, default=420)
    options = parser.parse_args()
    made = [make_item(number, seed=0, part="test") for number in range(options.items)]
    right = {
        json.dumps(row["messages"][:place]): say(message)
        for row in (make_row(*one) for one in made)
        for place, message in enumerate(row["messages"])
        if message["role"] == "assistant"
    }
    policies: dict[str, Ask] = {
        "right": each(lambda messages: right[json.dumps(messages)]),
        "never": each(lambda messages: "I cannot do that."),
        "first": each(call_first),
        "parrot": each(Parrot(list(make_rows(options.training, seed=0)))),
    }
    for name, policy in policies.items():
        scores = score_items([item for item, _ in made], policy, execute_in_world)
        print(f"\n{name}\n\n{render_table(tabulate(scores))}")


if __name__ == "__main__":
    main()
