"""mixers.chat_templates: our templates beside their slow twin, other people's forms, names, and what a template may not do."""

from __future__ import annotations

import pytest
from hypothesis import given

from dolma_py.errors import ConfigError
from mixers.chat_templates import Rendered, find_template, render, render_prompt
from tests.made_chats import (
    CHATML,
    PLAIN_HEADERS,
    THINKING,
    chat,
    conversations,
    make_template,
    tools_chat,
    turn,
    write_tokenizer,
)
from tests.reference import chat_templates as twin

LONG = "x" * (1 << 20)


def pieces_of(rendered: Rendered) -> list[str]:
    return [rendered.text[start:stop] for start, stop in rendered.spans]


@pytest.mark.parametrize("name", ["instruct", "think"])
@given(messages=conversations())
def test_our_templates_are_those_of_their_twin(name, messages):
    rendered = render(messages, make_template(name))
    pieces = twin.render(messages, name)
    assert rendered.text == "".join(text for text, _ in pieces)
    assert pieces_of(rendered) == [text for text, is_trained in pieces if is_trained]


def test_a_long_line_and_the_text_itself():
    assert render(chat("a", LONG, system="S"), make_template("instruct")).text == (
        f"<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n{LONG}<|endoftext|>"
    )


def test_calls_close_with_their_turn_and_are_trained():
    spans = pieces_of(render(tools_chat(), make_template("instruct")))
    assert spans == [
        "I ask.<function_calls>add(a=2, b=2)</function_calls><|im_end|>",
        "<function_calls>add(a=4, b=0)</function_calls><|im_end|>",
        "Four.<|endoftext|>",
    ]


@pytest.mark.parametrize(("content", "last"), [(CHATML, "c<|im_end|>"), (PLAIN_HEADERS, "c<|endoftext|>")])
def test_templates_of_other_forms(content, last):
    rendered = render(chat("a", "b", "a", "c"), make_template(content=content))
    assert pieces_of(rendered) == [last.replace("c", "b"), last]


def test_thinking_that_the_generation_prompt_begins_is_trained():
    template = make_template(content=THINKING)
    assert pieces_of(render(chat("a", "<think>\nhm</think>b"), template)) == ["<think>\nhm</think>b<|im_end|>"]
    assert render_prompt(chat("a"), template).endswith("<|im_start|>assistant\n<think>\n")
    # of earlier turns this template keeps what follows the thinking
    both = pieces_of(render(chat("a", "<think>\nhm</think>b", "c", "<think>\nso</think>d"), template))
    assert both == ["b<|im_end|>", "<think>\nso</think>d<|im_end|>"]
    ours = make_template("think", think_prompt=True)
    assert render_prompt(chat("a"), ours).endswith("<|im_start|>assistant\n<think>")
    assert pieces_of(render(chat("a", "<think>hm</think>b"), ours)) == ["<think>hm</think>b<|endoftext|>"]


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("template_refuses", "{{ raise_exception('no') }}"),
        ("template_refuses", "{{ messages[0]['content'] + 1 }}"),
        ("template_refuses", "{{ messages[99]['role'] }}"),
        ("tools_lost", "{% for message in messages %}{{ message['content'] }}{% endfor %}"),
        ("template_prefix", "{{ messages | length }}{% for one in messages %}{{ one['functions'] }}{{ one['function_calls'] }}{% endfor %}"),
    ],
)  # fmt: skip
def test_a_conversation_that_a_template_does_not_take_has_its_reason(reason, content):
    assert render(tools_chat(), make_template(content=content)) == reason


@pytest.mark.parametrize(
    "content", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% for i in range(999999999) %}{% endfor %}"]
)
def test_a_hostile_template_does_nothing(content):
    messages = chat("a", "b")
    assert render(messages, make_template(content=content)) == "template_refuses"
    assert messages == chat("a", "b")


def test_a_template_that_does_not_fit_is_an_error():
    with pytest.raises(ConfigError, match=r"it writes <\|start_of_turn\|>, which is no special token"):
        make_template(content="{{ '<|start_of_turn|>' }}")
    with pytest.raises(ConfigError, match="expected a chat template in Jinja"):
        make_template(content="{% if %}")


def find(name, folder):
    return find_template(name, folder, eos_token="<|endoftext|>")


def test_the_tokenizers_own_template_is_found(tmp_path):
    config = {
        "chat_template": "from the config",
        "bos_token": "<s>",
        "eos_token": {"content": "<|im_end|>"},
        "pad_token": None,
    }
    both = write_tokenizer(tmp_path / "both", template="from the file", config=config)
    assert find("own", both).content == "from the file"  # it wins
    assert find("own", f"{both}/tokenizer.json").tokens == {"bos_token": "<s>", "eos_token": "<|im_end|>"}
    alone = write_tokenizer(tmp_path / "alone", config=config)
    assert find("own", alone).content == "from the config"
    several = [{"name": "default", "template": "first"}, {"name": "tool_use", "template": "second"}]
    named = write_tokenizer(tmp_path / "named", config={"chat_template": several})
    assert (find("own", named).content, find("own:tool_use", named).content) == ("first", "second")
    assert find("own", named).fingerprint != find("own:tool_use", named).fingerprint
    (tmp_path / "mine.jinja").write_text("mine")
    assert find(str(tmp_path / "mine.jinja"), alone).content == "mine"


def test_no_other_template_takes_the_place_of_one_that_is_not_there(tmp_path):
    bare = write_tokenizer(tmp_path / "bare")
    with pytest.raises(ConfigError, match=r"has no chat template.*instruct or think"):
        find("own", bare)
    with pytest.raises(ConfigError, match="expected a template of the tokenizer"):
        find("own:tool_use", bare)
    with pytest.raises(ConfigError, match="expected own, own:NAME"):
        find("olmo_123", bare)
    with pytest.raises(ConfigError, match="no such file"):
        find("missing.jinja", bare)
    (tmp_path / "bare" / "tokenizer_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"expected JSON in tokenizer_config\.json"):
        find("own", bare)


def test_a_turn_without_text_is_taken():
    messages = [
        turn("user", "a"),
        turn("assistant", None, calls="f()"),
        turn("environment", ""),
        turn("assistant", "b"),
    ]
    assert render(messages, make_template("think")).text.count("<|im_start|>environment\n<|im_end|>") == 1
