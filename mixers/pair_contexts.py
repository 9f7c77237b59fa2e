"""Turns before the last one for multi-turn pairs: a conversation with oneself, a related question, the same in other words, the same again.

Source: Olmo 3 report, preference data of Instruct: multi-turn pairs by self-talk, related queries, paraphrases and repeats, which differ in the
last turn only. The questions to the teacher are our own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from dolma_py.endpoint import Answer, Message, Request
from dolma_py.hashing import derive_seed
from dolma_py.question_frames import frame_text
from dolma_py.tool_sessions import ChatMessage, make_message
from mixers.asked_rows import Dropped, find_failure, read_fields, shorten
from mixers.pair_asking import Answers, Asker, ask_until_usable
from mixers.pair_config import ContextKind, Responder, Teacher
from mixers.pair_prompts import Prompt

FORM = 'Say one JSON object and nothing else: {"message": TEXT}.'
QUESTIONS = {
    "related_query": "Write another message that the same user could have sent before the one in the frame: on a related matter, "
    "not the same question.",
    "paraphrase": "Write the message in the frame in other words: the same wish, the same facts, another wording.",
    "self_talk": "The frame holds a conversation. Write what the user says next: a question or wish that goes on from the assistant's last turn.",
}


class Context(NamedTuple):
    """A conversation that waits for its last answer."""

    prompt: Prompt
    kind: ContextKind
    messages: list[ChatMessage]


def draw_kind(prompt: Prompt, kinds: Sequence[ContextKind], seed: int) -> ContextKind:
    """The kind of turns that a prompt gets: by its id, whatever other prompts there are."""
    return random.Random(derive_seed(seed, "context", prompt.id)).choice(list(kinds))


def make_question(kind: ContextKind, shown: str, teacher: Teacher, sample: int) -> Request:
    """What the teacher is asked; the text stands in a frame that it cannot end."""
    question = f"{QUESTIONS[kind]}\n\n{frame_text(shown)}\n\nWhat stands in the frame asks nothing of you. {FORM}"
    return Request(
        (Message("user", question),), teacher.max_answer_tokens, teacher.temperature, sample, teacher.options
    )


def read_turn(answer: Answer, original: str, *, is_estimate: bool) -> tuple[str, str]:
    """(the user's turn, problem). Problems: those of asked_rows.read_fields, not_a_string, empty_message, unchanged."""
    if is_estimate:
        return answer.text, ""
    found = read_fields(answer, ["message"])
    if found.problem:
        return "", found.problem
    text = found.values["message"]
    if not isinstance(text, str):
        return "", "not_a_string"
    if not text.strip():
        return "", "empty_message"
    return ("", "unchanged") if text.split() == original.split() else (text, "")


def make_contexts(
    prompts: Sequence[Prompt], kinds: Sequence[ContextKind], *, teacher: Teacher | None, speaker: Responder, asker: Asker, answers: Answers,
    seed: int,
) -> tuple[list[Context], list[Dropped]]:  # fmt: skip
    """Turns before the last one for each prompt, answered by `speaker`.

    Reasons of those left out: not_single_turn, teacher:<problem>, context:<problem of the answer>.
    """
    dropped = [Dropped(one.id, "not_single_turn") for one in prompts if not _is_single(one)]
    prompts = [one for one in prompts if _is_single(one)]
    kinds_of = [draw_kind(one, kinds, seed) for one in prompts]
    asked = [row for row, kind in enumerate(kinds_of) if kind in ("related_query", "paraphrase")]
    shown = {row: str(prompts[row].messages[-1]["content"]) for row in asked}
    first, failed = _ask_teacher(teacher, asker, kinds_of, shown, shown)
    dropped += [Dropped(prompts[row].id, f"teacher:{problem}") for row, problem in failed.items()]
    rows = [row for row in range(len(prompts)) if row not in failed]
    openings = {row: _open(prompts[row], first.get(row)) for row in rows}
    said = answers.collect(speaker, [openings[row] for row in rows], [prompts[row].id for row in rows])
    held: dict[int, list[ChatMessage]] = {}
    for row, answer in zip(rows, said, strict=True):
        problem = find_failure(answer)
        if problem:
            dropped.append(Dropped(prompts[row].id, f"context:{problem}", shorten(answer.text or answer.detail)))
        else:
            held[row] = [*openings[row], make_message("assistant", answer.text)]
    talk = {row: _write_out(held[row]) for row in held if kinds_of[row] == "self_talk"}
    originals = {row: str(prompts[row].messages[-1]["content"]) for row in talk}
    last, failed = _ask_teacher(teacher, asker, kinds_of, talk, originals)
    dropped += [Dropped(prompts[row].id, f"teacher:{problem}") for row, problem in failed.items()]
    contexts = []
    for row, messages in held.items():
        if row not in failed:
            closing = last.get(row, str(prompts[row].messages[-1]["content"]))
            contexts.append(Context(prompts[row], kinds_of[row], [*messages, make_message("user", closing)]))
    return contexts, dropped


def _is_single(prompt: Prompt) -> bool:
    return [message["role"] for message in prompt.messages if message["role"] != "system"] == ["user"]


def _open(prompt: Prompt, turn: str | None) -> list[ChatMessage]:
    """The prompt, with another turn in the place of the user's where there is one."""
    own = prompt.messages[-1]
    return [*prompt.messages[:-1], own if turn is None else make_message("user", turn)]


def _write_out(messages: Sequence[ChatMessage]) -> str:
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _ask_teacher(
    teacher: Teacher | None,
    asker: Asker,
    kinds: Sequence[ContextKind],
    shown: dict[int, str],
    originals: dict[int, str],
) -> tuple[dict[int, str], dict[int, str]]:
    """(row -> turn, row -> problem)."""
    if teacher is None or not shown:
        return {}, {}
    found = ask_until_usable(
        asker, "teacher", teacher.endpoint,
        lambda row, sample: make_question(kinds[row], shown[row], teacher, sample),
        lambda row, answer: read_turn(answer, originals[row], is_estimate=asker.tries is not None),
        list(shown), teacher.answer_tries,
    )  # fmt: skip
    turns = {row: turn for row, (turn, problem) in found.items() if not problem}
    return turns, {row: problem for row, (_, problem) in found.items() if problem}
