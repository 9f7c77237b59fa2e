"""What is asked of a chat endpoint and what comes back: messages with text and images, the request's body and key, the answer.

A request's key says what was asked of which model, not where or when: it is the name under which the answer is kept.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from dolma_py import config
from dolma_py.errors import ConfigError

OWN_FIELDS = ("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "stream", "n")
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Image(NamedTuple):
    """A picture as the bytes of its file."""

    data: bytes
    media_type: str = "image/png"


class Message(NamedTuple):
    """One turn; the images stand before the text."""

    role: str  # system, user or assistant
    text: str
    images: tuple[Image, ...] = ()


class Request(NamedTuple):
    """One answer wanted."""

    messages: tuple[Message, ...]
    max_tokens: int = 1024
    temperature: float = 0.0
    sample: int = 0  # 0, 1, 2 ... for several answers to one question: each is asked for, and kept, by itself
    options: Mapping[str, Any] = _NO_OPTIONS  # more fields of the body: top_p, seed, stop, response_format


class Answer(NamedTuple):
    """What the model said; or why there is no answer: `failure` is "" when there is one.

    Failures: rate_limited, server_error, timeout, connection, truncated, bad_reply (these were tried again), refused (the server
    takes no such request), too_large.
    """

    text: str = ""
    finish_reason: str = ""  # stop, length, content_filter or what else the server says
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""  # as the server names it
    key: str = ""  # of the request
    failure: str = ""
    detail: str = ""
    tries: int = 0  # 0 when the answer was there
    is_cached: bool = False


def make_key(request: Request, model: str, revision: str = "") -> str:
    """blake2b-128 of model, revision, messages (images by their sha256), sampling and options, 32 hex digits.

    The server's address is no part: the same model elsewhere gives the same answer. `revision` tells apart two models of one name.
    """
    messages = [
        [message.role, message.text, [[image.media_type, hashlib.sha256(image.data).hexdigest()] for image in message.images]]
        for message in request.messages
    ]  # fmt: skip
    sampling = [request.max_tokens, float(request.temperature), request.sample]
    return config.fingerprint("chat-1", model, revision, messages, sampling, dict(request.options))


def render_body(request: Request, model: str, tokens_field: str = "max_tokens") -> bytes:
    """The request as the chat completions interface has it: JSON, images as data URLs.

    Raises ConfigError for an option that would replace a field of our own.
    """
    for name in request.options:
        if name in OWN_FIELDS:
            raise ConfigError(f"options.{name}", request.options[name], "expected a field that the request has not")
    body = {
        "model": model,
        "messages": [{"role": message.role, "content": _render_content(message)} for message in request.messages],
        tokens_field: request.max_tokens,
        "temperature": request.temperature,
        **request.options,
    }
    return orjson.dumps(body)


def _render_content(message: Message) -> Any:
    if not message.images:
        return message.text
    parts: list[dict[str, Any]] = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"},
        }
        for image in message.images
    ]
    return [*parts, {"type": "text", "text": message.text}]


def parse_body(body: bytes) -> Answer | None:
    """The first choice of a chat completion; None when the bytes are no such thing."""
    try:
        values = orjson.loads(body)
        choice = values["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return None
    if isinstance(content, list):  # some servers answer in parts
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        content = "".join(text for text in texts if isinstance(text, str))
    is_refusal = content is None and isinstance(message.get("refusal"), str)
    if not isinstance(content, str) and not is_refusal:
        return None
    usage = values.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    reason, model = choice.get("finish_reason"), values.get("model")
    return Answer(
        text=content or "",
        finish_reason="refusal" if is_refusal else reason if isinstance(reason, str) else "",
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        model=model if isinstance(model, str) else "",
    )


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
