"""mixers.rex_forms: every form's prompt and what it takes, answers that cannot be taken, phrases and excerpts, documents."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dolma_py.endpoint import Answer
from mixers import rex_forms
from mixers.long_sections import Section, find_breaks
from mixers.noun_phrases import Phrase, Tagged
from mixers.passages import remove_passages
from mixers.rex_forms import FORMS, RexConfig
from tests.chat_server import framed_in

FILL = (
    "The old abbey stood above the river and the nuns kept it well through many years of war and hunger, as the excerpts tell it. "
    * 3
)
GOOD = {
    "professor_student": "Professor: The abbey.\nStudent: Why?\nProfessor: {fill}\nStudent: I see.",
    "flashcards": "\n".join("Front: What is the abbey?\nBack: A house of nuns by a river." for _ in range(5)),
    "quiz": "\n".join("Question: What is the abbey?\nAnswer: A house of nuns by a river." for _ in range(4)),
    "game_show": "Host: Welcome!\nContestant: Thanks.\nHost: {fill}\nContestant: The abbey.\nHost: Right.",
    "dinner_party": "Anna: The abbey.\nBen: What?\nCleo: {fill}\nAnna: Yes.\nBen: No.",
    "debate": "For: The abbey.\nAgainst: No.\nFor: {fill}\nAgainst: Still no.",
    "claims": "\n".join("Claim: The abbey had a great many nuns.\nTrue: The excerpts say so." for _ in range(4)),
    "movie_scene": "Scene: By the abbey.\nAnna: Look.\nOld Ben: {fill}\nAnna: Yes.\nOld Ben: So.",
}


def answer(text: str, **values) -> Answer:
    return Answer(text, "stop", key="k")._replace(**values)


def good(form: rex_forms.Form) -> str:
    return GOOD.get(form.name, "{fill}").format(fill=FILL)


def test_there_are_twelve_forms():
    assert len({form.name for form in FORMS}) == 12 and {*GOOD} <= {form.name for form in FORMS}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_asks_for_what_it_takes(form):
    request = rex_forms.make_request(form, "abbey", ["One abbey.", "</text> two"], RexConfig())
    (message,) = request.messages
    assert form.ask.format(phrase="abbey") in message.text and framed_in(message.text) == "</text> two"
    assert "{" not in message.text.split("<text")[0]
    assert rex_forms.judge_answer(answer(good(form)), form, "abbey") == ""
    assert all(
        pattern.split(":")[0].strip("(?:)").split("|")[0][:4] in form.ask or "[" in pattern for pattern, _ in form.needs
    )


@pytest.mark.parametrize("form", [form for form in FORMS if form.needs], ids=lambda form: form.name)
def test_an_answer_of_another_form_is_not_taken(form):
    assert rex_forms.judge_answer(answer(FILL), form, "abbey") == "form"
    lines = good(form).split("\n")
    assert rex_forms.judge_answer(answer("\n".join(lines[:1])), form, "abbey") == "form"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer(FILL, failure="timeout"), "failed:timeout"),
        (answer(FILL, finish_reason="length"), "unfinished"),
        (answer(FILL, finish_reason="content_filter"), "unfinished"),
        (answer(FILL, finish_reason=""), "unfinished"),
        (answer(" \n"), "empty"),
        (answer(FILL + "<text 0123>"), "marked"),
        (answer(FILL.replace("abbey", "house")), "phrase"),
        (answer("The abbey."), "short"),
        (answer(FILL.upper()), ""),
    ],
)
def test_why_an_answer_is_not_taken(given, reason):
    assert rex_forms.judge_answer(given, FORMS[0], "abbey") == reason


def test_excerpts_hold_the_phrase_each_once_in_order():
    sentences = [f"Sentence {number} of the abbey." for number in range(20)] + [
        "Sentence 3 of the abbey.",
        "None.",
        "x" * 600 + " abbey",
    ]
    tagged = Tagged(sentences, [["abbey"]] * 21 + [[], ["abbey"]], Counter(abbey=22), 0)
    found = rex_forms.pick_snippets(tagged, "abbey", 8, 5)
    assert len(found) == 8 and found == sorted(found, key=sentences.index)
    assert found != rex_forms.pick_snippets(tagged, "abbey", 8, 6)
    assert len(rex_forms.pick_snippets(tagged, "abbey", 99, 5)) == 20
    assert rex_forms.pick_snippets(tagged, "nun", 8, 5) == []


TEXT = "\n\n".join(f"Paragraph {number} is about the abbey and a nun." for number in range(30)) + "\n"


@pytest.fixture
def parts():
    data = TEXT.encode()
    breaks = find_breaks(np.frombuffer(data, np.uint8))
    middle = int(breaks.places[15])
    sections = [Section(0, middle, 1), Section(middle, len(data), 1)]
    sentences = [f"Paragraph {number} is about the abbey and a nun." for number in range(15)]
    tagged = [Tagged(sentences, [["abbey", "nun"]] * 15, Counter(abbey=15, nun=15), 0)] * 2
    ranked = [[Phrase("abbey", 15, 15.0), Phrase("nun", 15, 15.0), Phrase("rare", 1, 1.0)]] * 2
    return sections, breaks, tagged, ranked


def test_a_document_holds_what_was_answered_well(parts):
    sections, breaks, tagged, ranked = parts
    config = RexConfig(passages_per_section=2)
    tasks = rex_forms.plan_passages(sections, breaks, tagged, ranked, config, key=3)
    assert [task.section for task in tasks] == [0, 0, 1, 1] and {task.num_snippets for task in tasks} == {8}
    assert {task.phrase for task in tasks[:2]} == {"abbey", "nun"} and tasks[0].form != tasks[1].form
    assert all(task.place >= sections[task.section].end for task in tasks)
    answers = [answer(good(FORMS[task.form]) + f"\nnun {number}") for number, task in enumerate(tasks)]
    answers[2] = answer("", finish_reason="length")
    (made, details), counts = rex_forms.make_document(TEXT, sections, tasks, answers)
    assert counts == Counter(taken=3, unfinished=1)
    spans = [(passage["start"], passage["end"]) for passage in details["passages"]]
    assert remove_passages(made, spans) == TEXT
    written = [made.encode()[start:end].decode().strip() for start, end in spans]
    assert written == [answers[number].text.strip() for number in (0, 1, 3)]
    assert [passage["phrase"] for passage in details["passages"]] == [tasks[number].phrase for number in (0, 1, 3)]
    assert tasks == rex_forms.plan_passages(sections, breaks, tagged, ranked, config, key=3)


def test_without_phrases_or_answers_there_is_no_document(parts):
    sections, breaks, tagged, ranked = parts
    assert rex_forms.plan_passages(sections, breaks, tagged, ranked, RexConfig(min_snippets=16), key=3) == []
    assert rex_forms.make_document(TEXT, sections, [], []) == ("no_phrases", Counter())
    tasks = rex_forms.plan_passages(sections, breaks, tagged, ranked, RexConfig(), key=3)
    result, counts = rex_forms.make_document(TEXT, sections, tasks, [answer("no")] * 2)
    assert result == "no_answers"
    assert counts == Counter(rex_forms.judge_answer(answer("no"), FORMS[task.form], task.phrase) for task in tasks)


def test_all_forms_come(parts):
    sections, breaks, tagged, ranked = parts
    forms = Counter(
        task.form
        for key in range(200)
        for task in rex_forms.plan_passages(sections, breaks, tagged, ranked, RexConfig(), key=key)
    )
    assert len(forms) == 12 and min(forms.values()) > 10
