"""A model behind a chat endpoint as the assistant of conversations with tools: specs in the system turn, calls between tags in its answers.

Servers that render the model's own template take the specs and the `environment` role themselves; others are told in words of ours.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dolma_py.config import Config
from dolma_py.endpoint import Endpoint, EndpointConfig, Message, Request
from dolma_py.tool_calls import CLOSE_TAG, OPEN_TAG, CallLimits
from dolma_py.tool_sessions import NOT_SAID, ChatMessage, SessionLimits

INSTRUCTIONS = f"""You can call functions. To call some, write their calls between {OPEN_TAG} and {CLOSE_TAG}, one on each line, as
name(argument="value", other=2): every argument is named and every value is a literal. The results come back in the next turn.
Call a function only where it fits; ask for what a call cannot do without; where no function fits, say so and call none.
When you have what is needed, answer in words.
The functions, as a JSON list:"""


class SpeakerConfig(Config):
    """Which model speaks, and how it is told about functions."""

    endpoint: EndpointConfig = Field(description="the model, its cache, its prices and bounds: docs/endpoint.md")
    max_answer_tokens: int = Field(default=1024, ge=1, description="of one turn of the assistant")
    temperature: float = Field(default=0.0, ge=0, description="of the model")
    environment_role: Literal["user", "environment", "tool"] = Field(
        default="user", description="role under which results are sent; environment where the server's template has it"
    )
    instructions: str = Field(default=INSTRUCTIONS, description="words before the specs in the system turn")
    options: dict[str, Any] = Field(default_factory=dict, description="more fields of the request")
    limits: SessionLimits = Field(default_factory=SessionLimits, description="when a turn ends")
    allow_dots: bool = Field(default=False, description="functions may be called math.factorial")

    @property
    def call_limits(self) -> CallLimits:
        """How blocks are read."""
        return CallLimits(allows_dots=self.allow_dots)


class Speaker:
    """Says what the assistant says next. failed: requests without an answer, for which it says NOT_SAID."""

    def __init__(self, endpoint: Endpoint, config: SpeakerConfig) -> None:
        self._endpoint, self._config = endpoint, config
        self.failed = 0

    def __call__(self, conversations: list[list[ChatMessage]]) -> list[str]:
        """One text for each conversation. Raises EndpointError as Endpoint.ask does."""
        answers = list(self._endpoint.ask(make_request(messages, self._config) for messages in conversations))
        self.failed += sum(bool(answer.failure) for answer in answers)
        return [NOT_SAID if answer.failure else answer.text for answer in answers]


def make_request(messages: list[ChatMessage], config: SpeakerConfig) -> Request:
    """The conversation as a request."""
    told = tuple(_make_message(message, config) for message in messages)
    return Request(told, config.max_answer_tokens, config.temperature, 0, config.options)


def _make_message(message: ChatMessage, config: SpeakerConfig) -> Message:
    content = message["content"] or ""
    if message["role"] == "environment":
        return Message(config.environment_role, content)
    if message["functions"] is not None:
        told = f"{config.instructions}\n<functions>{message['functions']}</functions>"
        content = f"{content}\n{told}".strip()
    if message["function_calls"] is not None:
        content = f"{content}{OPEN_TAG}\n{message['function_calls']}\n{CLOSE_TAG}"
    return Message(message["role"], content)
