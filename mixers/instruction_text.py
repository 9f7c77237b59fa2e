"""Instruction data as plain text: chat markup cut so that lines remain, and a check that no text spells a special token.

Olmo 3 has no chat template and no special token in its midtraining data, only line feeds: with them GSM8K fell from 49.4 to 0 (report
3.5.4). Conversations in `messages` become plain text when they are read (docs/inputs.md); this is for text that was already rendered.
Legend: N documents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field
from tokenizers import Tokenizer

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.errors import DataError
from dolma_py.spans import Spans, build_spans
from mixers.instruction_text_kernels import HEADER, HEADER_END, ROLE, TOKEN, find_markup_kernel
from mixers.tokenization import load_tokenizer

# of the templates of Olmo, ChatML, Tulu, Zephyr, Llama 3, Gemma and Mistral
CHAT_MARKERS = {
    "<|im_start|>": HEADER, "<|im_end|>": TOKEN, "<|endoftext|>": TOKEN, "<|system|>": ROLE, "<|user|>": ROLE, "<|assistant|>": ROLE,
    "<|begin_of_text|>": TOKEN, "<|end_of_text|>": TOKEN, "<|start_header_id|>": HEADER, "<|end_header_id|>": HEADER_END,
    "<|eot_id|>": TOKEN, "<start_of_turn>": HEADER, "<end_of_turn>": TOKEN, "[INST]": TOKEN, "[/INST]": TOKEN, "<|pad|>": TOKEN,
}  # fmt: skip
# Special tokens that stand for what was taken out of a text, and belong there
PLACEHOLDERS = ("|||PHONE_NUMBER|||", "|||EMAIL_ADDRESS|||", "|||IP_ADDRESS|||")


class Markers(NamedTuple):
    """M strings for the kernel, longer ones first."""

    names: tuple[str, ...]
    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]  # (M + 1,)
    kinds: npt.NDArray[np.uint8]  # (M,)
    first_bytes: npt.NDArray[np.uint8]  # (256,)


class Markup(NamedTuple):
    """Of N documents."""

    special_tokens: npt.NDArray[np.int64]
    turns: npt.NDArray[np.int64]
    spans: Spans  # what is cut


def list_special_tokens(backend: Tokenizer) -> list[str]:
    """The strings of a tokenizer's special tokens but PLACEHOLDERS, sorted."""
    found = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    return sorted(found - set(PLACEHOLDERS) - {""})


def make_markers(tokens: Iterable[str], *, chat: bool, allowed: Collection[str] = ()) -> Markers:
    """The given strings, and CHAT_MARKERS where `chat` is set, but those `allowed`; of what is both the chat marker's kind counts."""
    kinds = dict.fromkeys(tokens, TOKEN)
    if chat:
        kinds |= CHAT_MARKERS
    names = sorted(kinds.keys() - set(allowed), key=lambda name: (-len(name.encode()), name))
    pieces = [name.encode() for name in names]
    first_bytes = np.zeros(256, np.uint8)
    first_bytes[np.array([piece[0] for piece in pieces], np.int64)] = 1
    offsets = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
    return Markers(
        tuple(names), np.frombuffer(b"".join(pieces), np.uint8), offsets, np.array([kinds[name] for name in names], np.uint8), first_bytes
    )  # fmt: skip


def find_markup(texts: TextView, markers: Markers) -> Markup:
    """Special tokens, turns, and the spans without which N texts are plain lines; see the kernel for what a header takes along."""
    num_docs = len(texts.offsets) - 1
    counts, offsets = np.empty((num_docs, 2), np.int64), np.empty(num_docs + 1, np.int64)
    starts = ends = np.empty(0, np.int64)
    arguments = (*texts, markers.data, markers.offsets, markers.kinds, markers.first_bytes, counts, offsets)
    find_markup_kernel(*arguments, starts, ends)
    if offsets[-1]:
        starts, ends = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
        find_markup_kernel(*arguments, starts, ends)
    return Markup(counts[:, 0], counts[:, 1], Spans(offsets, starts, ends))


def check_plain(texts: pa.Array, ids: pa.Array, markers: Markers) -> None:
    """Raise DataError, with the document's id and the string, when one of N texts spells a marker."""
    view = view_text(texts)
    found = find_markup(view, markers)
    rows = np.flatnonzero(found.special_tokens)
    if len(rows):
        row = int(rows[0])
        start, end = (int(column[found.spans.offsets[row]]) for column in found.spans[1:])
        spelled = bytes(view.data[int(view.offsets[row]) + start : int(view.offsets[row]) + end]).decode(
            errors="replace"
        )
        raise DataError(
            f"document {ids[row].as_py()}", f"its text spells a special token, {spelled[:80]!r}",
            hint=f"{len(rows)} of {len(texts)} documents here do. Cut chat markup by the tagger instruction-text, or drop them by a rule.",
        )  # fmt: skip


class InstructionTextConfig(Config):
    """Whose special tokens are looked for."""

    tokenizer: str | None = Field(
        default=None,
        description="tokenizer.json, folder or hub name: its special tokens count too; null: chat markers alone",
    )
    tokens: list[str] = Field(default_factory=list, description="further strings that count as special tokens")


class InstructionTextTagger:
    """Chat markup of a text, and spans without which it is plain lines.

    special_tokens  int32   strings that are special tokens, of the tokenizer or of a chat template
    turns           int32   headers of a chat template: <|im_start|>user, <|assistant|>, ...
    markup          SPANS   for an edit: the tokens, with role and line feeds of a header
    """

    name = "instruction-text"
    version = 1
    tokenizer_options = ("tokenizer",)
    schema = pa.schema([("special_tokens", pa.int32()), ("turns", pa.int32()), ("markup", SPANS)])
    config_model = InstructionTextConfig

    def __init__(self, config: InstructionTextConfig) -> None:
        self.config = config
        own = [] if config.tokenizer is None else list_special_tokens(load_tokenizer(config.tokenizer).backend)
        self.markers = make_markers([*own, *(token for token in config.tokens if token)], chat=True)

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row per document."""
        found = find_markup(view_text(batch.column("text")), self.markers)
        columns = [
            pa.array(found.special_tokens.astype(np.int32)), pa.array(found.turns.astype(np.int32)), build_spans(found.spans),
        ]  # fmt: skip
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
