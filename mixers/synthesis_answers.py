"""Whether an answer of a model may be used at all: it ended by itself, is no chat, does not loop, is in the text's language, and about it.

What is not taken is counted by its first reason, never mended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from dolma_py.endpoint import Answer
from dolma_py.trace_filters import TraceLimits, first_problems, strip_thinking, trace_problems

Languages = Callable[[Sequence[str]], Sequence[str]]  # of texts, "" where it is not clear
# what opens and ends a chat; an answer in another language may have its own, which are not seen
_GREETING = re.compile(
    r"(?:sure(?: thing)?[,!.:]|certainly[,!.:]|of course[,!.:]|absolutely[,!.:]|great question|i(?:'m| am) (?:sorry|unable|not able)"
    r"|i apologi[sz]e|i can(?:not|'t|not)\b|unfortunately, i\b|as an ai\b|i(?:'d| would) be happy|(?:here(?:'s| is| are)|below (?:is|are))"
    r"\b[^\n]{0,200}:[ \t]*(?:\n|\Z))",
    re.IGNORECASE,
)
_FAREWELL = re.compile(
    r"(?:let me know if|(?:i )?hope (?:this|that) helps|feel free to|would you like me to|is there anything else|if you (?:need|have|want) (?:any )?"
    r"(?:more|further|other|help|questions))[^\n]*\Z",
    re.IGNORECASE,
)
_MARK = re.compile(r"</?text [0-9a-f]{16}>")
_FENCES = ("```", "~~~")
_JSON_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*?)\n?```\Z", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]{4,}|\d+")


class Read(NamedTuple):
    """An answer's text, or why it cannot be used."""

    text: str = ""
    reason: str = ""


def read_answers(answers: Sequence[Answer], limits: TraceLimits) -> list[Read]:
    """The texts of answers without their thinking, or failed:KIND, unfinished, empty, trace:REASON, chat, or marked."""
    problems = first_problems(trace_problems(pa.array([answer.text for answer in answers], pa.large_string()), limits))
    return [_read_answer(answer, problem, limits) for answer, problem in zip(answers, problems, strict=True)]


def _read_answer(answer: Answer, problem: str, limits: TraceLimits) -> Read:
    if answer.failure:
        return Read(reason=f"failed:{answer.failure}")
    if answer.finish_reason != "stop":
        return Read(reason="unfinished")  # cut off at max_tokens, refused, or filtered
    if problem:
        return Read(reason="empty" if problem == "empty" else f"trace:{problem}")
    text = strip_thinking(answer.text, limits)
    if is_chat(text):
        return Read(reason="chat")
    return Read(reason="marked") if _MARK.search(text) else Read(text)


def is_chat(text: str) -> bool:
    """Whether it begins or ends as an answer to a person does."""
    last = text.rpartition("\n")[2]
    return bool(_GREETING.match(text) or _FAREWELL.match(last))


def find_other_languages(shown: Sequence[str], texts: Sequence[str], name: Languages) -> list[bool]:
    """Whether a text is clearly in another language than what was shown."""
    of_shown, of_texts = name(shown), name(texts)
    return [bool(one and other and one != other) for one, other in zip(of_shown, of_texts, strict=True)]


def kept_words_frac(shown: str, text: str) -> float:
    """Share of the shown text's words of four letters and more, and of its numbers, that stand in the other one; 1 where it has none."""
    words = set(_WORD.findall(shown.casefold()))
    return len(words & set(_WORD.findall(text.casefold()))) / len(words) if words else 1.0


def find_blocks(text: str) -> list[str]:
    """What stands in each block of code between fences; a fence that none ends begins no block.

    >>> find_blocks("a\\n```python\\nx = 1\\n```\\nb")
    ['x = 1']
    """
    blocks: list[str] = []
    inside: list[str] | None = None
    for line in text.split("\n"):
        mark = line.strip()
        if inside is None:
            inside = [] if mark.startswith(_FENCES) else None
        elif mark in _FENCES:
            blocks.append("\n".join(inside))
            inside = None
        else:
            inside.append(line)
    return blocks


def is_fenced(text: str) -> bool:
    """Whether all of it is one block of code."""
    return text.startswith("```") and text.endswith("```") and len(find_blocks(text)) == 1


def read_json(text: str) -> Any:
    """The value of an answer that is JSON, alone or alone in a block of code; None where it is none.

    >>> read_json('[1]'), read_json('Here: [1]')
    ([1], None)
    """
    fenced = _JSON_FENCE.match(text)
    try:
        return orjson.loads(fenced[1] if fenced else text)  # refuses what no text can hold: half a surrogate pair, NaN
    except (ValueError, RecursionError):
        return None


def stands_in(words: str, text: str) -> bool:
    """Whether words stand in a text as whole words: no letter, digit or _ goes on before or behind them, nor the digits of a number.

    >>> stands_in("10", "in 2010 and 10.5"), stands_in("10", "all 10.")
    (False, True)
    """
    pattern = rf"(?<!\w)(?<!\d[.,]){re.escape(words)}(?!\w)(?![.,]\d)"
    return re.search(pattern, text) is not None


def plain_words(text: str) -> str:
    """The text with one blank for all white space between words."""
    return " ".join(text.split())
