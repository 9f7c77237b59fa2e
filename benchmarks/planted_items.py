"""Evaluation items as people leak them: edited, reworded, cut, in templates, put into documents at known places. The same in every run.

Every random choice is drawn from a generator seeded with the item's id, the form and the share of edited words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from taggers.ngram_match import Item

KEPT_SHARE = 0.85  # of the words of a truncated question
# each word of a pair stands for the other; reworded items swap every one that they hold
SYNONYMS = """begin start, big large, small little, buy purchase, sell vend, fast quick, happy glad, sad unhappy, child kid, children kids,
man guy, woman lady, house home, car automobile, road street, city town, many numerous, often frequently, rarely seldom, help assist,
show display, find locate, answer reply, ask request, total sum, each every, also too, but however, because since, if provided, after
following, before prior, until till, about regarding, all entire, almost nearly, always constantly, amount quantity, area region, build
construct, choose select, correct right, cost price, day weekday, different distinct, difficult hard, easy simple, end finish, enough
sufficient, error mistake, example instance, explain describe, false untrue, famous renowned, first initial, friend pal, get obtain, give
provide, go travel, good fine, group set, half 50%, important significant, job task, keep retain, know understand, last final, leave
depart, left remaining, long lengthy, look glance, make produce, maximum largest, minimum smallest, money cash, month 30-day, more
additional, most majority, name title, need require, new recent, next subsequent, number figure, old aged, only solely, order sequence,
pay spend, people persons, piece part, place spot, possible feasible, problem exercise, question query, quickly rapidly, result outcome,
same identical, say state, school academy, several various, side edge, sometimes occasionally, store shop, story tale, student pupil,
take grab, teacher instructor, tell inform, thing object, think believe, time moment, true valid, twice two-fold, use utilize, used
employed, usually normally, want wish, water liquid, way manner, week seven-day, whole complete, work labor, world globe, write compose,
wrong incorrect, year twelve-month, following subsequent, given supplied, return yield, function routine, list array, string text,
value quantity, find discover, calculate compute, determine figure, statement claim, describes depicts"""
_PAIRS = [pair.split() for pair in SYNONYMS.replace("\n", " ").split(",")]
_SWAPS = dict([*_PAIRS, *((other, one) for one, other in _PAIRS)])
_NUMBER = re.compile(r"\d+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Planted(NamedTuple):
    """A document with an item in it."""

    text: str
    item: Item
    start_byte: int  # of the planted text
    end_byte: int


class Form(NamedTuple):
    """One way to leak an item; `make` gets question, answer and a generator."""

    name: str
    meaning: str
    make: Callable[[str, str, random.Random], str]


def truncate_words(text: str, share: float = KEPT_SHARE) -> str:
    """The first words of a text, with the blanks between them."""
    pieces = re.findall(r"\S+\s*", text)
    return "".join(pieces[: max(1, round(share * len(pieces)))]).rstrip()


def reword(text: str, rng: random.Random) -> str:
    """Every word of SYNONYMS swapped for its partner, and every second sentence with a comma turned around its first comma.

    "If it rains, Ann walks." becomes "Ann walks, If it rains."
    """
    sentences = _SENTENCE_END.split(re.sub(r"\w+", lambda word: _SWAPS.get(word[0], word[0]), text))
    turned = []
    for sentence in sentences:
        head, comma, tail = sentence.partition(", ")
        if comma and rng.random() < 0.5:
            end = tail[-1] if tail and tail[-1] in ".!?" else ""
            sentence = f"{tail.removesuffix(end)}, {head}{end}"
        turned.append(sentence)
    return " ".join(turned)


FORMS = (
    Form("verbatim", "question, line end, answer", lambda question, answer, rng: f"{question}\n{answer}"),
    Form("answer-less", "the question alone", lambda question, answer, rng: question),
    Form("truncated", f"the first {KEPT_SHARE:.0%} of the question's words, no answer",
         lambda question, answer, rng: truncate_words(question)),
    Form("reworded", "about 120 pairs of synonyms swapped, clauses turned around commas, then the answer",
         lambda question, answer, rng: f"{reword(question, rng)}\n{answer}"),
    Form("template", "Question: ... Answer: ...", lambda question, answer, rng: f"Question: {question}\nAnswer: {answer}"),
    Form("chat", "<|user|> Please solve this: ... <|assistant|> The answer is ...",
         lambda question, answer, rng: f"<|user|>\nPlease solve this: {question}\n<|assistant|>\nThe answer is {answer}."),
)  # fmt: skip


def edit_words(text: str, share: float, words: list[str], rng: random.Random) -> str:
    """Exactly round(share * words) words of a text edited: in equal chance replaced by one of `words`, left out, or followed by one."""
    pieces = re.findall(r"\S+\s*", text)
    for place in sorted(rng.sample(range(len(pieces)), round(share * len(pieces))), reverse=True):
        space = pieces[place][len(pieces[place].rstrip()) :] or " "
        choice = rng.randrange(3)
        if choice == 0:
            pieces[place] = rng.choice(words) + space
        elif choice == 1:
            del pieces[place]
        else:
            pieces[place : place + 1] = [pieces[place].rstrip() + " ", rng.choice(words) + space]
    return "".join(pieces)


def change_numbers(text: str, rng: random.Random) -> str:
    """Every number replaced by another one of as many digits."""

    def change(match: re.Match[str]) -> str:
        low, high = (0, 9) if len(match[0]) == 1 else (10 ** (len(match[0]) - 1), 10 ** len(match[0]) - 1)
        return str(
            rng.choice(
                [number for number in (rng.randint(low, high) for _ in range(20)) if number != int(match[0])] or [high]
            )
        )

    return _NUMBER.sub(change, text)


def count_numbers(text: str) -> int:
    """Numbers in a text."""
    return len(_NUMBER.findall(text))


def make_planted(item: Item, form: Form, share: float, host: str, words: list[str]) -> Planted:
    """An item in a form, a share of the words of question and answer edited, put between two lines of a document."""
    rng = random.Random(f"{item.id} {form.name} {share}")
    passage = f"{item.passage}\n" if item.passage else ""
    question, answer = edit_words(item.question, share, words, rng), edit_words(item.answer or "", share, words, rng)
    return plant(passage + form.make(question, answer, rng).rstrip(), item, host, rng)


def make_changed(item: Item, host: str) -> Planted:
    """A hard negative: the item with other numbers in question and answer, put into a document."""
    rng = random.Random(f"{item.id} numbers")
    changed = change_numbers(f"{item.question}\n{item.answer or ''}".rstrip(), rng)
    return plant(changed, item, host, rng)


def plant(text: str, item: Item, host: str, rng: random.Random) -> Planted:
    """Text between two lines of a document, or at its end where it has one line."""
    breaks = [match.end() for match in re.finditer("\n", host)] or [len(host)]
    place = rng.choice(breaks)
    before = host[:place] if host[:place].endswith("\n") else host[:place] + "\n"
    start = len(before.encode())
    return Planted(f"{before}{text}\n{host[place:]}", item, start, start + len(text.encode()))
