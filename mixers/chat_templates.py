"""Chat templates: conversation in, text and the spans of it that a model is trained on out.

A template is Jinja, as in `chat_template.jinja` and `tokenizer_config.json` of a tokenizer's folder, and is rendered in a sandbox. Names:

`own`, `own:NAME`       the tokenizer's own file (the first wins over the copy in the second); NAME where it has several
`instruct`, `think`     ours (mixers/templates), for tokenizers that have none
`FILE.jinja`            a file

Any other name is an error, never another template in its place. Trained is every assistant turn, from behind its header to the end of its
closing token. A `<think>` that a template writes into its generation prompt belongs to the answer: the model learns to write it.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from dolma_py import storage
from dolma_py.config import fingerprint
from dolma_py.errors import ConfigError
from mixers.chat_rows import Message
from mixers.tokenizer_files import fetch_from_hub, find_tokenizer_file

OWN, OURS = "own", ("instruct", "think")
TEMPLATE_FILE, CONFIG_FILE = "chat_template.jinja", "tokenizer_config.json"
TOKEN_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")
THINK_PROMPT = re.compile(r"<think>\s*\Z")
MARKER = re.compile(r"<\|[A-Za-z0-9_]+\|>")  # what templates spell special tokens as
REFUSALS = (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)


class Rendered(NamedTuple):
    """A conversation as text."""

    text: str
    spans: list[tuple[int, int]]  # characters that are trained: one span for each assistant turn, in order


class TemplateSource(NamedTuple):
    """A template as it can be handed to another process."""

    name: str  # as the user gave it
    content: str
    tokens: dict[str, str]  # bos_token and the like, as the tokenizer's folder names them

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.content, self.tokens)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}`, by which some templates mark answers for transformers: what is inside, as it stands."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template with its tokens and settings; as fast as Jinja is, some 10 microseconds a turn."""

    def __init__(
        self, source: TemplateSource, *, special_tokens: Sequence[str], variables: Mapping[str, Any] | None = None
    ) -> None:
        """special_tokens: those of the tokenizer, which end turns; variables: further ones that the template reads.

        Raises ConfigError for a template that is no Jinja, or that spells a special token which the tokenizer lacks.
        """
        self.source = source
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        try:
            self._template = environment.from_string(source.content)
        except jinja2.TemplateError as error:
            raise ConfigError("template", source.name, f"expected a chat template in Jinja ({error})") from error
        unknown = sorted(set(MARKER.findall(source.content)) - set(special_tokens))
        if unknown:
            hint = "Take a tokenizer that has it, or train one with it among special_tokens."
            raise ConfigError(
                "template", source.name, f"it writes {unknown[0]}, which is no special token of the tokenizer", hint
            )
        self._variables = {"tools": None, "documents": None, **source.tokens, **(variables or {})}
        self._specials = re.compile(
            "|".join(re.escape(token) for token in sorted(special_tokens, key=len, reverse=True)) or r"(?!)"
        )

    def write(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        """The text of the messages; prompt: with the header of an answer behind them. Raises one of REFUSALS where it takes no such messages."""
        return self._template.render(messages=list(messages), add_generation_prompt=prompt, **self._variables)

    def find_special(self, text: str) -> str | None:
        """The first special token that a text spells, None where it spells none."""
        found = self._specials.search(text)
        return None if found is None else found.group()

    def last_special_end(self, text: str, start: int, stop: int) -> int | None:
        """The end of the last special token of text[start:stop]."""
        ends = [match.end() for match in self._specials.finditer(text, start, stop)]
        return ends[-1] if ends else None

    def iterate_specials(self, text: str) -> list[tuple[int, int]]:
        """Characters of every special token of the text, in order."""
        return [match.span() for match in self._specials.finditer(text)]


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """As transformers has it: letters as they are, nothing escaped for HTML."""
    return json.dumps(
        value, ensure_ascii=options.get("ensure_ascii", False), indent=indent, sort_keys=options.get("sort_keys", False)
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def render(messages: Sequence[Message], template: ChatTemplate) -> Rendered | str:
    """The text of a conversation and the spans of its answers, or the reason why it has none.

    Reasons: template_refuses (it raises for these turns), tools_lost (tools or calls are not in the text), template_prefix (an answer cannot
    be found in it: earlier turns are written in another way once an answer follows).
    """
    try:
        text = template.write(messages)
        for message in messages:
            for part in (message["functions"], message["function_calls"]):
                if part and part.strip() not in text:
                    return "tools_lost"
        spans = []
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            span = _find_span(messages, place, text, template)
            if span is None or not _has_answer(text[slice(*span)], message) or (spans and span[0] < spans[-1][1]):
                return "template_prefix"
            spans.append(span)
    except REFUSALS:
        return "template_refuses"
    return Rendered(text, spans)


def render_prompt(messages: Sequence[Message], template: ChatTemplate) -> str | None:
    """The text before an answer, with its header; None where the template refuses the turns."""
    try:
        return template.write(messages, prompt=True)
    except REFUSALS:
        return None


def _find_span(messages: Sequence[Message], place: int, text: str, template: ChatTemplate) -> tuple[int, int] | None:
    """Characters of one assistant turn behind its header, closing token included; None where the text is not that of the turns before it."""
    before = template.write(messages[:place])
    prompt = THINK_PROMPT.sub("", template.write(messages[:place], prompt=True))
    if not text.startswith(prompt):
        return None
    start = len(prompt)
    opening = template.find_special(prompt[len(os.path.commonprefix([before, prompt])) :])
    if opening is not None:
        # no content spells a special token: the next one of this kind begins the next turn
        after = text.find(opening, start)
        stop = len(text) if after < 0 else after
        end = template.last_special_end(text, start, stop)
        return start, stop if end is None else end
    alone = template.write(messages[: place + 1])
    shared = len(os.path.commonprefix([alone, text]))
    if shared == len(alone):
        end = template.last_special_end(text, start, shared)
        return start, shared if end is None else end
    # the last turn of a conversation may close in another way: up to the end of what stands where the two part
    closing = [stop for first, stop in template.iterate_specials(text) if first <= shared < stop and first >= start]
    return (start, closing[0]) if closing else None


def _has_answer(span: str, message: Message) -> bool:
    """Whether a span holds the turn: its content behind any thinking part, which some templates leave out of earlier turns."""
    content = message["content"] or ""
    return content.rpartition("</think>")[2].strip() in span


def find_template(name: str, tokenizer: str, *, eos_token: str) -> TemplateSource:
    """The template that a name means; see the head of this file.

    Parameters
    ----------
    name : str              own, own:NAME, instruct, think or a path that ends in .jinja
    tokenizer : str         tokenizer.json, a folder with one, or a name on the hub; its folder is where `own` looks
    eos_token : str         the token that ends documents: that of our templates, and of a folder that names none

    Raises
    ------
    ConfigError             no such name, no such file, or a tokenizer without a template
    """
    if name in OURS:
        content = (importlib.resources.files("mixers") / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
        return TemplateSource(name, content, {"eos_token": eos_token})
    files = _read_folder(tokenizer) if name == OWN or name.startswith(f"{OWN}:") or name.endswith(".jinja") else None
    if files is None:
        rule = f"expected {OWN}, {OWN}:NAME, {', '.join(OURS)} or the path of a .jinja file"
        raise ConfigError("template", name, rule)
    own, values = files
    tokens = {"eos_token": eos_token}
    for key in TOKEN_NAMES:
        value = values.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            tokens[key] = value
    if name.endswith(".jinja"):
        path = storage.resolve_path(name)
        if storage.file_bytes(path) is None:
            raise ConfigError("template", name, "no such file", "Check the path.")
        return TemplateSource(name, storage.read_bytes(path).decode("utf-8", "replace"), tokens)
    return TemplateSource(name, _choose_own(name, tokenizer, own, values), tokens)


def _choose_own(name: str, tokenizer: str, own: str | None, values: dict[str, Any]) -> str:
    given = values.get("chat_template")
    named = {item["name"]: item["template"] for item in given} if isinstance(given, list) else {}
    wanted = name.partition(":")[2]
    if wanted:
        if wanted not in named:
            raise ConfigError("template", name, f"expected a template of the tokenizer, it names {sorted(named)}")
        return str(named[wanted])
    found = own or (given if isinstance(given, str) else named.get("default"))
    if not found:
        hint = f"Name one of ours ({' or '.join(OURS)}), or a .jinja file."
        raise ConfigError("template", name, f"the tokenizer {tokenizer} has no chat template", hint)
    return found


def _read_folder(tokenizer: str) -> tuple[str | None, dict[str, Any]]:
    """(content of chat_template.jinja, values of tokenizer_config.json) beside a tokenizer's file."""
    path = find_tokenizer_file(tokenizer)
    found = []
    for file in (TEMPLATE_FILE, CONFIG_FILE):
        if path is not None:
            beside = storage.join_path(posixpath.dirname(path) or ".", file)
            found.append(storage.read_bytes(beside) if storage.file_bytes(beside) is not None else None)
        else:
            found.append(_fetch_beside(tokenizer, file))
    own, text = found
    try:
        values = json.loads(text) if text else {}
    except ValueError as error:
        raise ConfigError("tokenizer", tokenizer, f"expected JSON in {CONFIG_FILE} ({error})") from error
    return None if own is None else own.decode("utf-8", "replace"), values if isinstance(values, dict) else {}


def _fetch_beside(tokenizer: str, file: str) -> bytes | None:
    """A file of the hub's folder and commit that the tokenizer.json is of; None where it has none."""
    import huggingface_hub  # slow to import, and only names of the hub need it
    from huggingface_hub import errors

    commit = posixpath.basename(posixpath.dirname(fetch_from_hub(tokenizer)))
    try:
        path = huggingface_hub.hf_hub_download(tokenizer.partition("@")[0], file, revision=commit)
    except (errors.EntryNotFoundError, errors.LocalEntryNotFoundError):
        return None
    return storage.read_bytes(str(path))
