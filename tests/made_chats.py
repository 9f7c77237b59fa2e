"""Conversations, tokenizers with chat markers and templates of other people's forms, made for tests of post-training data."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from hypothesis import strategies as st

from mixers import chat_templates, tokenization
from mixers.chat_templates import ChatTemplate, TemplateSource
from mixers.instruction_text import list_special_tokens

SPECIALS = ("<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>")
TEXTS = [
    "What is two and two? Four. <think>Let me see.</think>\n" * 20,
    "def f(x):\n    return x\n" * 20,
    "assistant user system environment " * 20,
]

# a plain ChatML template: turns all close with <|im_end|> and no conversation with the end-of-text token
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# as CHATML, answers marked for transformers
MARKED = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# the generation prompt begins the thinking part, and earlier answers lose theirs
THINKING = (
    "{% for message in messages %}{% set text = message['content'] %}"
    "{% if message['role'] == 'assistant' and not loop.last and '</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + text + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)
# headers without a special token; every answer closes with the end-of-text token
PLAIN_HEADERS = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'Bot: ' + message['content'] + eos_token }}"
    "{% else %}{{ 'Human: ' + message['content'] + '\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Bot: ' }}{% endif %}"
)


def turn(role, content=None, *, functions=None, calls=None):
    return {"role": role, "content": content, "functions": functions, "function_calls": calls}


def chat(*contents, system=None):
    """A conversation of user and assistant turns by turns."""
    turns = [] if system is None else [turn("system", system)]
    return turns + [turn(("user", "assistant")[number % 2], text) for number, text in enumerate(contents)]


def tools_chat():
    tools = json.dumps([{"name": "add", "parameters": {"a": "int", "b": "int"}}])
    return [
        turn("system", "Use the functions.", functions=tools), turn("user", "What is 2 + 2?"),
        turn("assistant", "I ask.", calls="add(a=2, b=2)"), turn("environment", "4"), turn("assistant", None, calls="add(a=4, b=0)"),
        turn("environment", "4"), turn("assistant", "Four."),
    ]  # fmt: skip


@functools.lru_cache(maxsize=1)
def tokenizer_json() -> bytes:
    return tokenization.train_bpe(TEXTS, tokenization.BpeConfig(vocab_size=400, special_tokens=SPECIALS))


@functools.lru_cache(maxsize=1)
def make_tokenizer():
    return tokenization.build_tokenizer(tokenizer_json())


def make_settings(folder: Path) -> dict:
    """Settings of a step prepare_posttrain over what write_inputs writes in that folder."""
    source = {"name": "made", "inputs": [str(folder / "chats" / "made.jsonl")], "count": 12}
    tokenizer = str(folder / "chats" / "tokenizer")
    return {"mix": "chats", "template": "instruct", "tokenizer": tokenizer, "sources": [source], "tokens_per_part": 600}


def write_inputs(folder: Path) -> dict:
    """A file of conversations, some with tools, one that loops, and a tokenizer; returns make_settings."""
    write_tokenizer(folder / "chats" / "tokenizer")
    rows = [chat(f"What is {number}?", f"It is {number}.", "Sure?", "Yes.") for number in range(14)]
    rows += [tools_chat(), chat("a", "I say it again and again. " * 12)]
    lines = [json.dumps({"id": f"chat {number}", "messages": messages}) + "\n" for number, messages in enumerate(rows)]
    (folder / "chats" / "made.jsonl").write_text("".join(lines))
    return make_settings(folder)


def write_tokenizer(folder: Path, *, template: str | None = None, config: dict | None = None) -> str:
    """A tokenizer's folder, with a chat_template.jinja and a tokenizer_config.json where they are given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def make_template(name="instruct", *, content=None, **variables) -> ChatTemplate:
    """One of ours by name, or any by its content."""
    if content is None:
        source = chat_templates.find_template(name, "no tokenizer is asked", eos_token="<|endoftext|>")
    else:
        source = TemplateSource("made", content, {"eos_token": "<|endoftext|>"})
    specials = list_special_tokens(make_tokenizer().backend)
    return ChatTemplate(source, special_tokens=specials, variables=variables)


def is_unspecial(text: str) -> bool:
    return not any(token in text for token in SPECIALS) and bool(text.strip())


def contents():
    """Odd texts that a turn may have: no special token, not blank."""
    odd = [
        "a",
        " leading",
        "trailing \n",
        "\n\nlines",
        "<think>hm</think>4",
        "<|im_star",
        "|>",
        "\U0001f600",
        "é" * 50,
        "x" * 3000,
        "{{ 1 }}",
    ]
    return st.one_of(
        st.sampled_from(odd),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(is_unspecial),
    )


@st.composite
def conversations(draw):
    """Conversations of all roles that end with an answer, tools and calls among them."""
    messages = []
    if draw(st.booleans()):
        functions = draw(st.sampled_from([None, "[]", '[{"name": "f"}]']))
        messages.append(turn("system", draw(contents()), functions=functions))
    for _ in range(draw(st.integers(1, 3))):
        messages.append(
            turn("user", draw(contents()), functions=draw(st.sampled_from([None, None, '[{"name": "g"}]'])))
        )
        for _ in range(draw(st.integers(0, 2))):
            messages.append(
                turn("assistant", draw(st.none() | contents()), calls=draw(st.sampled_from(["f(x=1)", "g()\nf()"])))
            )
            messages.append(turn("environment", draw(contents())))
        messages.append(turn("assistant", draw(contents())))
    return messages
