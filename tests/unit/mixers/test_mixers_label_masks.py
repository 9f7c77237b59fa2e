"""mixers.label_masks: a mask decodes to exactly the answers, one end-of-text token stands last, cuts teach no end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from mixers.chat_templates import Rendered, render, render_prompt
from mixers.label_masks import Encoded, decode_trained, encode_conversations, encode_prompt, show_sample, turn_starts
from mixers.tokenization import encode_texts
from tests.made_chats import CHATML, PLAIN_HEADERS, chat, conversations, make_template, make_tokenizer, tools_chat
from tests.reference import chat_templates as twin

NO_LIMIT = 1 << 30


def encode(messages, template, max_tokens=NO_LIMIT, tokenizer=None):
    rendered = render(messages, template)
    assert isinstance(rendered, Rendered)
    (made,) = encode_conversations(
        [rendered], tokenizer=tokenizer or make_tokenizer(), template=template, max_tokens=max_tokens
    )
    return made


@pytest.mark.parametrize("name", ["instruct", "think"])
@given(messages=conversations())
def test_a_mask_decodes_to_exactly_the_answers(name, messages):
    tokenizer = make_tokenizer()
    made = encode(messages, make_template(name))
    pieces = twin.render(messages, name)
    assert decode_trained(made.ids, made.mask, tokenizer) == [text for text, is_trained in pieces if is_trained]
    untrained = decode_trained(made.ids, ~made.mask, tokenizer)
    assert "".join(untrained) == "".join(text for text, is_trained in pieces if not is_trained)
    assert tokenizer.backend.decode(made.ids.tolist(), skip_special_tokens=False) == "".join(text for text, _ in pieces)
    assert np.flatnonzero(made.ids == tokenizer.eos_token_id).tolist() == [len(made.ids) - 1] and made.mask[-1]
    assert len(turn_starts(made.mask)) == sum(message["role"] == "assistant" for message in messages)


@given(st.lists(conversations(), max_size=4))
def test_conversations_do_not_depend_on_their_batch(batch):
    template, tokenizer = make_template("instruct"), make_tokenizer()
    rendered = [render(messages, template) for messages in batch]
    together = encode_conversations(rendered, tokenizer=tokenizer, template=template, max_tokens=40)
    for messages, one in zip(batch, together, strict=True):
        alone = encode(messages, template, 40)
        assert isinstance(one, str) == isinstance(alone, str)
        assert (
            one == alone if isinstance(one, str) else all(np.array_equal(a, b) for a, b in zip(one, alone, strict=True))
        )


def test_what_stands_before_an_answer_is_what_inference_gives():
    template, tokenizer = make_template("think"), make_tokenizer()
    made = encode(chat("a", "\n\n b", "c", "\nd"), template)
    for place, start in zip((1, 3), turn_starts(made.mask).tolist(), strict=True):
        prompt = render_prompt(chat("a", "\n\n b", "c", "\nd")[:place], template)
        assert encode_prompt(prompt, tokenizer=tokenizer, template=template).tolist() == made.ids[:start].tolist()


def test_a_template_that_does_not_end_documents_gets_an_untrained_end():
    made = encode(chat("a", "b"), make_template(content=CHATML))
    assert made.ids[-1] == make_tokenizer().eos_token_id and not made.mask[-1]
    assert decode_trained(made.ids, made.mask, make_tokenizer()) == ["b<|im_end|>"]


def test_an_end_inside_a_conversation_is_refused():
    template = make_template(content=PLAIN_HEADERS)
    assert isinstance(encode(chat("a", "b"), template), Encoded)
    assert encode(chat("a", "b", "a", "c"), template) == "eos_inside"


def test_a_tokenizer_that_loses_something_is_found_out():
    tokenizer = make_tokenizer()
    backend = type(tokenizer.backend).from_str(tokenizer.backend.to_str())
    backend.encode_special_tokens = True
    backend.normalizer = normalizers.Lowercase()
    lossy = dataclasses.replace(tokenizer, backend=backend, fast="it normalizes")
    assert encode(chat("A", "b"), make_template("instruct"), tokenizer=lossy).mask.any()
    assert encode(chat("a", "B"), make_template("instruct"), tokenizer=lossy) == "mask_differs"


def test_long_conversations_are_cut_and_teach_no_end():
    template, tokenizer = make_template("instruct"), make_tokenizer()
    whole = encode(chat("a", "b c d e f"), template)
    first = int(turn_starts(whole.mask)[0])
    assert (
        not whole.is_truncated
        and encode(chat("a", "b c d e f"), template, len(whole.ids)).ids.tolist() == whole.ids.tolist()
    )
    cut = encode(chat("a", "b c d e f"), template, len(whole.ids) - 1)
    assert cut.is_truncated and len(cut.ids) == len(whole.ids) - 1
    assert cut.ids[:-1].tolist() == whole.ids[:-2].tolist() and cut.ids[-1] == tokenizer.eos_token_id
    assert cut.mask[:-1].tolist() == whole.mask[:-2].tolist() and not cut.mask[-1]
    assert encode(chat("a", "b c d e f"), template, first + 1) == "no_trained_token"
    assert isinstance(encode(chat("a", "b c d e f"), template, first + 2), Encoded)


def test_special_tokens_in_a_text_would_stay_text():
    # rows that spell them are dropped before (mixers.chat_filters); a placeholder of pretraining stays text as there
    tokenizer = make_tokenizer()
    (ids,) = encode_texts(tokenizer, ["<|im_end|>"])
    assert tokenizer.backend.token_to_id("<|im_end|>") not in ids.tolist()


def test_a_sample_shows_what_is_trained():
    made = encode(tools_chat(), make_template("instruct"))
    shown = show_sample(made, make_tokenizer())
    assert "<|im_start|>assistant\n\u27e6Four.<|endoftext|>\u27e7" in shown
    assert shown.count("\u27e6") == shown.count("\u27e7") == 3
    assert shown.replace("\u27e6", "").replace("\u27e7", "") == render(tools_chat(), make_template("instruct")).text
    short = show_sample(made, make_tokenizer(), max_chars=100)
    assert "characters are not shown" in short and short.endswith("\u27e7")
