"""Which rows of post-training data are left out, and for which reason: licence, special tokens in a text, problems of answers.

Source: Olmo 3 report 4.2 and 5.2. Of a pair the chosen side alone is looked at for problems of answers: rejected answers stay unfiltered (4.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dolma_py.trace_filters import REASONS as TRACE_REASONS
from dolma_py.trace_filters import TraceLimits, first_problems, trace_problems
from mixers.chat_rows import ChatRow, join_texts, list_answers
from mixers.chat_templates import ChatTemplate

REASONS = ("license", "special_token", *TRACE_REASONS)


def find_dropped(
    rows: Sequence[ChatRow],
    *,
    template: ChatTemplate,
    licenses: Sequence[str] | None,
    default_license: str | None,
    traces: TraceLimits | None,
) -> list[str]:
    """Of each row the first of REASONS that drops it, "" where none does.

    Parameters
    ----------
    template : whose special tokens no text may spell: it would be encoded into markup
    licenses : allowed, capitals do not matter; None: any, and none at all
    default_license : of rows that name none
    traces : limits of each assistant turn; None: answers are not looked at
    """
    allowed = None if licenses is None else {name.lower() for name in licenses}
    reasons = [_find_reason(row, template, allowed, default_license) for row in rows]
    if traces is None:
        return reasons
    answers = [list_answers(row.messages) if not reason else [] for row, reason in zip(rows, reasons, strict=True)]
    texts = pa.array([answer for found in answers for answer in found], pa.large_string())
    problems = iter(first_problems(trace_problems(texts, traces)))
    for place, found in enumerate(answers):
        own = [next(problems) for _ in found]
        reasons[place] = reasons[place] or next((problem for problem in own if problem), "")
    return reasons


def _find_reason(row: ChatRow, template: ChatTemplate, allowed: set[str] | None, default_license: str | None) -> str:
    license = row.license or default_license
    if allowed is not None and (license is None or license.lower() not in allowed):
        return "license"
    texts = [row.messages, *([row.rejected] if row.rejected is not None else [])]
    return "special_token" if any(template.find_special(join_texts(messages)) for messages in texts) else ""
