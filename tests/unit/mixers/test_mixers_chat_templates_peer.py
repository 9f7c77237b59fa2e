"""Templates and masks beside transformers' own: the same text, the same ids, the same mask of answers."""

from __future__ import annotations

import pytest

from mixers.chat_templates import render, render_prompt
from mixers.label_masks import encode_conversations, encode_prompt
from tests.made_chats import CHATML, MARKED, SPECIALS, chat, make_template, make_tokenizer, tokenizer_json, tools_chat

transformers = pytest.importorskip("transformers")
CHATS = [chat("What is two?", "Two."), chat("a", "b c", "d\n", "<think>e</think>f", system="Be brief."), tools_chat()]


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    path = tmp_path_factory.mktemp("peer") / "tokenizer.json"
    path.write_bytes(tokenizer_json())
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(path),
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        additional_special_tokens=list(SPECIALS[2:]),
    )


def without_nulls(messages):
    return [{key: value for key, value in message.items() if value is not None} for message in messages]


@pytest.mark.parametrize("messages", CHATS)
@pytest.mark.parametrize("name", ["instruct", "think", "chatml"])
def test_text_and_ids_are_those_of_transformers(peer, name, messages):
    template = make_template(content=CHATML) if name == "chatml" else make_template(name)
    content = template.source.content
    messages = (
        messages
        if name != "chatml"
        else [{**one, "functions": None, "function_calls": None} for one in messages if one["content"]]
    )
    rendered = render(messages, template)
    assert rendered.text == peer.apply_chat_template(without_nulls(messages), chat_template=content, tokenize=False)
    (made,) = encode_conversations([rendered], tokenizer=make_tokenizer(), template=template, max_tokens=1 << 20)
    theirs = peer(rendered.text, add_special_tokens=False)["input_ids"]
    ours = made.ids.tolist()
    assert ours == theirs + [make_tokenizer().eos_token_id] * (name == "chatml")


@pytest.mark.parametrize("name", ["instruct", "think"])
def test_prompts_are_those_of_transformers(peer, name):
    template = make_template(name, think_prompt=True)
    messages = chat("a", "b", "What is two?")
    theirs = peer.apply_chat_template(
        messages, chat_template=template.source.content, tokenize=False, add_generation_prompt=True, think_prompt=True
    )
    assert render_prompt(messages, template) == theirs
    ids = encode_prompt(theirs, tokenizer=make_tokenizer(), template=template)
    assert ids.tolist() == peer(theirs, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("messages", CHATS[:2])
def test_answers_marked_for_transformers_are_those_that_are_trained(peer, messages):
    template = make_template(content=MARKED)
    (made,) = encode_conversations(
        [render(messages, template)], tokenizer=make_tokenizer(), template=template, max_tokens=1 << 20
    )
    theirs = peer.apply_chat_template(
        messages, chat_template=MARKED, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    assert made.ids.tolist()[:-1] == theirs["input_ids"]  # ours has the end-of-text token behind
    assert made.mask.tolist()[:-1] == [bool(value) for value in theirs["assistant_masks"]]
