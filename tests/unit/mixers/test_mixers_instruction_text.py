"""Chat markup against the twin, rendered templates that become plain lines, and the check that finds a planted token."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from dolma_py.errors import DataError
from mixers import instruction_text
from mixers.instruction_text_kernels import HEADER, HEADER_END, ROLE, TOKEN
from mixers.tokenization import BpeConfig, build_tokenizer, train_bpe
from taggers.base import tag_checked
from taggers.registry import build_tagger
from tests.reference import instruction_text as reference
from tests.strategies import texts

KINDS = {TOKEN: "token", HEADER: "header", HEADER_END: "header_end", ROLE: "role"}
EXTRA = ["<|fim_prefix|>", "\u00e9nde", "<|"]
PIECES = st.sampled_from(
    [*instruction_text.CHAT_MARKERS, *EXTRA, "user", "assistant", "\n", "\n\n", " ", "Hi", "<|im_", "a" * 33]
)


def markers_of(tokens=()):
    return instruction_text.make_markers(tokens, chat=True)


def cut(text, markers):
    found = instruction_text.find_markup(view_text(pa.array([text])), markers)
    data = text.encode()
    spans = list(zip(found.spans.starts.tolist(), found.spans.ends.tolist(), strict=True))
    bounds = [0, *(place for span in spans for place in span), len(data)]
    return b"".join(data[a:b] for a, b in zip(bounds[::2], bounds[1::2], strict=True)).decode(), spans, found


@settings(deadline=None)
@given(st.lists(st.one_of(st.lists(PIECES, max_size=12).map("".join), texts(max_size=8)), max_size=6))
def test_markup_matches_reference(documents):
    markers = markers_of(EXTRA)
    kinds = {name: KINDS[kind] for name, kind in zip(markers.names, markers.kinds.tolist(), strict=True)}
    found = instruction_text.find_markup(view_text(pa.array(documents, pa.large_string())), markers)
    for row, text in enumerate(documents):
        bounds = slice(int(found.spans.offsets[row]), int(found.spans.offsets[row + 1]))
        spans = list(zip(found.spans.starts[bounds].tolist(), found.spans.ends[bounds].tolist(), strict=True))
        expected = reference.find_markup(text.encode(), kinds)
        assert (int(found.special_tokens[row]), int(found.turns[row]), spans) == expected[:3]


CHATS = {
    "chatml": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n4<|endoftext|>",
    "tulu": "<|system|>\nBe kind.\n<|user|>\n2 + 2?\n<|assistant|>\n4<|endoftext|>",
    "llama": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "2 + 2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n4<|eot_id|>",
}  # fmt: skip


@pytest.mark.parametrize("template", sorted(CHATS))
def test_a_rendered_conversation_becomes_plain_lines(template):
    text, _, found = cut(CHATS[template], markers_of())
    assert text == "Be kind.\n2 + 2?\n4" and found.turns.tolist() == [3]
    again, spans, found = cut(text, markers_of())
    assert again == text and spans == [] and found.special_tokens.tolist() == [0]


@pytest.mark.parametrize(
    "text", ["", "x", "a < b | c > d", "\U0001f600" * 50, "<" * 1000, "<|im_star", "plain text\n" * 100_000]
)
def test_plain_text_stays(text):
    assert cut(text, markers_of())[0] == text


def test_what_only_looks_like_a_header_loses_its_token_alone():
    assert cut("so <|im_start|> begins a turn", markers_of())[:2] == ("so  begins a turn", [(3, 15)])


def make_tokenizer():
    names = ("<|endoftext|>", "<|pad|>", "<|fim_prefix|>", "|||EMAIL_ADDRESS|||")
    return build_tokenizer(train_bpe(["some text"], BpeConfig(vocab_size=300, special_tokens=names)))


def test_special_tokens_of_a_tokenizer_are_found_and_placeholders_are_not():
    found = instruction_text.list_special_tokens(make_tokenizer().backend)
    assert found == ["<|endoftext|>", "<|fim_prefix|>", "<|pad|>"]


def test_a_planted_token_is_an_error_with_its_document():
    markers = instruction_text.make_markers(instruction_text.list_special_tokens(make_tokenizer().backend), chat=False)
    ids, clean = (
        pa.array(["a", "b", "c"]),
        ["fine", "mail |||EMAIL_ADDRESS||| us", "<|im_end|> is none of this tokenizer's"],
    )
    instruction_text.check_plain(pa.array(clean), ids, markers)
    planted = pa.array([clean[0], clean[1], "x <|fim_prefix|> y"])
    with pytest.raises(DataError, match=r"document c.*spells a special token, '<\|fim_prefix\|>'"):
        instruction_text.check_plain(planted, ids, markers)
    with pytest.raises(DataError, match="document c"):
        instruction_text.check_plain(planted.slice(1), ids.slice(1), markers)


def test_the_tagger(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(make_tokenizer().backend.to_str())
    batch = pa.RecordBatch.from_pydict({"text": [CHATS["chatml"], "none", "a <|fim_prefix|> ours"]})
    tagger = build_tagger("mixers.instruction_text:InstructionTextTagger", {"tokenizer": str(path), "tokens": ["ours"]})
    got = tag_checked(tagger, batch)
    assert got.column("special_tokens").to_pylist() == [6, 0, 2] and got.column("turns").to_pylist() == [3, 0, 0]
    assert got.column("markup").to_pylist()[1] == [] and np.all(
        got.column("markup").value_lengths().to_numpy() == [6, 0, 2]
    )
