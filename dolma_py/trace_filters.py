"""What speaks against an answer of a language model as training text: cut off, looping, in Chinese, or about who the model is.

    trace_problems(texts, TraceLimits())    one column of bool for each reason, a row for each text

Source: Olmo 3 report 4.2 and A.3.3: chains that do not end, sentences or paragraphs that stand 10 times or more, phrases 50 times or more, more
than 5% Chinese characters, dates of a cut-off, another developer's identity. The report does not say what a sentence or a phrase is and how
short ones are treated: that is our own (trace_filters_kernels). A mention counts as one of identity where the answer speaks of itself.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from dolma_py import trace_filters_kernels as kernels
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config

TRACE_VERSION = 1  # of what trace_problems says
REASONS = (
    "empty",
    "too_short",
    "too_long",
    "incomplete_thinking",
    "repeated_sentences",
    "repeated_paragraphs",
    "repeated_phrases",
    "chinese",
    "cutoff_mention",
    "other_model",
)
_NAMES = (
    "ChatGPT", "GPT-?3", "GPT-?4", "GPT-?5", "OpenAI", "Open AI", "Claude", "Anthropic", "Gemini", "Google DeepMind", "Meta AI", "Llama",
    "Mistral", "Cohere", "xAI", "Grok", "Perplexity", "Qwen", "Tongyi", "Alibaba", "DeepSeek", "Moonshot", "Kimi", "Zhipu", "MiniMax", "Phi-?[34]",
)  # fmt: skip
_SELF = r"\b(?:i am|i'm|i\x{2019}m)"
_KIND = r"\b(?:assistant|chatbot|language model|ai model|ai|model)\b"
_MAKING = r"(?:trained|developed|created|made|built|designed|provided)\s+by"
CUTOFF = (
    r"\bknowledge[ -]cut-?[ ]?off\b",
    r"\b(?:my|training|training data) cut-?[ ]?off\b",
    r"\bas of my (?:last|latest|most recent|knowledge|training)\b",
    r"\bmy (?:last|latest|most recent) (?:knowledge |training |training data )?update\b",
    r"\bmy (?:training data|training|knowledge) (?:only )?(?:goes up|extends|ends|stops|is (?:only )?current|was last updated)\b",
)


class TraceLimits(Config):
    """From where on an answer has a problem; null: that reason is never given."""

    opening: str = Field(default="<think>", min_length=1, description="what begins the thinking part")
    closing: str = Field(default="</think>", min_length=1, description="what ends it")
    thinking: Literal["required", "optional", "forbidden"] = Field(
        default="optional",
        description="required: a text without a thinking part, or with an empty one, is incomplete_thinking; forbidden: one with a mark of it is",
    )
    min_chars: int | None = Field(default=None, ge=1, description="shorter texts are too_short, in characters")
    max_chars: int | None = Field(default=None, ge=1, description="longer texts are too_long, in characters")
    max_sentence_repeats: int | None = Field(default=10, ge=2, description="a sentence that stands so often, or more")
    max_paragraph_repeats: int | None = Field(default=10, ge=2, description="a paragraph that stands so often, or more")
    max_phrase_repeats: int | None = Field(default=50, ge=2, description="a phrase that stands so often, or more")
    phrase_words: int = Field(
        default=5,
        ge=1,
        le=64,
        description="words of a phrase; those without a letter are none, and phrases may overlap",
    )
    min_sentence_bytes: int = Field(default=10, ge=1, description="shorter sentences are not counted, such as Wait.")
    min_paragraph_bytes: int = Field(default=10, ge=1, description="shorter paragraphs are not counted")
    max_chinese_frac: float | None = Field(
        default=0.05, ge=0, le=1, description="more Chinese characters than this share of all that are no white space"
    )
    cutoff_mentions: bool = Field(default=True, description="whether a mention of a knowledge cut-off is a problem")
    other_names: tuple[str, ...] = Field(
        default=_NAMES,
        description="models and developers that the answer must not say to be, or be of; regular expressions of RE2, capitals do not matter",
    )

    @field_validator("other_names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                pc.match_substring_regex(pa.array([""]), name)
            except pa.ArrowInvalid:
                raise ValueError(f"expected regular expressions of RE2, got {name!r}") from None
        return names

    @model_validator(mode="after")
    def _check_marks(self) -> TraceLimits:
        if self.opening == self.closing:
            raise ValueError("opening and closing must differ")
        return self


def trace_problems(texts: pa.LargeStringArray, limits: TraceLimits) -> pa.Table:
    """Which reasons hold for each text.

    Parameters
    ----------
    texts : string or large_string Array (N,)   answers, without nulls

    Returns
    -------
    problems : Table (N,)                       one bool column for each of REASONS, in that order, without nulls

    Raises
    ------
    SchemaError                                 not a string column, or nulls

    Guarantees                                  a row depends on its text and the limits alone
    Cost                                        about 12 B of memory for the B bytes of the longest text, and those of a sort
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    counts = measure_traces(texts, limits)
    length = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    none = np.zeros(len(texts), np.bool_)
    chinese = counts[:, kernels.HAN] > (limits.max_chinese_frac or 0.0) * counts[:, kernels.CHARS]
    columns = {
        "empty": counts[:, kernels.CHARS] == 0,
        "too_short": none if limits.min_chars is None else length < limits.min_chars,
        "too_long": none if limits.max_chars is None else length > limits.max_chars,
        "incomplete_thinking": _find_incomplete(texts, limits),
        "repeated_sentences": _at_least(counts[:, kernels.SENTENCES], limits.max_sentence_repeats),
        "repeated_paragraphs": _at_least(counts[:, kernels.PARAGRAPHS], limits.max_paragraph_repeats),
        "repeated_phrases": _at_least(counts[:, kernels.PHRASES], limits.max_phrase_repeats),
        "chinese": none if limits.max_chinese_frac is None else chinese,
        "cutoff_mention": _find_any(texts, CUTOFF) if limits.cutoff_mentions else none,
        "other_model": _find_any(texts, _identity_patterns(limits.other_names)) if limits.other_names else none,
    }
    return pa.table({name: pa.array(columns[name], pa.bool_()) for name in REASONS})


def first_problems(problems: pa.Table) -> list[str]:
    """Of each row of trace_problems the first reason that holds, "" where none does."""
    found = [""] * problems.num_rows
    for name in reversed(REASONS):
        for row in np.flatnonzero(problems.column(name).to_numpy()).tolist():
            found[row] = name
    return found


def measure_traces(texts: pa.LargeStringArray, limits: TraceLimits) -> NDArray[np.int64]:
    """int64 (N, 5): times of the most frequent sentence, paragraph and phrase, Chinese characters, characters that are no white space."""
    view = view_text(texts)
    counts = np.zeros((len(texts), kernels.NUM_COUNTS), np.int64)
    kernels.measure_traces_kernel(
        view.data, view.offsets, limits.min_sentence_bytes, limits.min_paragraph_bytes, limits.phrase_words, counts
    )
    return counts


def strip_thinking(text: str, limits: TraceLimits) -> str:
    """What stands behind the thinking part, outer white space apart; the text where it has none.

    >>> strip_thinking("<think>Hm.</think> Four.", TraceLimits())
    'Four.'
    """
    return text.rpartition(limits.closing)[2].strip()


def _at_least(counts: NDArray[np.int64], limit: int | None) -> NDArray[np.bool_]:
    return np.zeros(len(counts), np.bool_) if limit is None else counts >= limit


def _find_any(texts: pa.Array, patterns: tuple[str, ...]) -> NDArray[np.bool_]:
    """Whether one of the patterns of RE2, which takes time in proportion to the text, is found."""
    found = pc.match_substring_regex(texts, "|".join(f"(?:{pattern})" for pattern in patterns), ignore_case=True)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def _identity_patterns(names: tuple[str, ...]) -> tuple[str, ...]:
    """An answer that says what it is, who made it, or whose rules it keeps; within a sentence."""
    name = rf"\b(?:{'|'.join(names)})\b"
    return (
        rf"(?:{_SELF}|\bmy name is|\bcall me)\s+(?:called\s+|named\s+)?{name}",
        rf"(?:{_SELF}|(?:^|[.!?\n]\s*)as)\s+(?:an?\s+|the\s+)?[^.!?\n]{{0,60}}{_KIND}[^.!?\n]{{0,100}}{name}",
        rf"(?:{_SELF}|\bi was|\bi have been|\bi've been)\s+[^.!?\n]{{0,40}}{_MAKING}\s+[^.!?\n]{{0,60}}{name}",
        rf"\b(?:against|violates?|follow(?:ing)?|under)\s+{name}(?:'s|\x{{2019}}s)?\s+(?:[a-z-]+\s+)?(?:polic(?:y|ies)|guidelines|terms)\b",
    )


def _find_incomplete(texts: pa.Array, limits: TraceLimits) -> NDArray[np.bool_]:
    """Thinking that does not end, ends twice, begins late, or is followed by nothing. The opening mark may be missing: a template wrote it."""

    def matches(pattern: str) -> NDArray[np.bool_]:
        return np.asarray(pc.match_substring_regex(texts, f"(?s){pattern}").to_numpy(zero_copy_only=False), np.bool_)

    opens, closes = (
        pc.count_substring(texts, mark).to_numpy(zero_copy_only=False) for mark in (limits.opening, limits.closing)
    )
    has_none = (opens == 0) & (closes == 0)
    if limits.thinking == "forbidden":
        return np.asarray(~has_none)
    opening, closing = re.escape(limits.opening), re.escape(limits.closing)
    begins = (opens == 0) | ((opens == 1) & matches(rf"\A\s*{opening}.*{closing}"))
    whole = begins & (closes == 1) & matches(rf"{closing}.*\S")
    if limits.thinking == "required":
        return np.asarray(~whole | matches(rf"\A\s*(?:{opening})?\s*{closing}"))
    return np.asarray(~whole & ~has_none)
