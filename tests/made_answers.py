"""A teacher for the recipes of synthesis that is no model: answers of the right form by a program, and answers with every fault that is refused."""

from __future__ import annotations

import json
import re

from tests.chat_server import Body, framed_in, question_of

FILLER = "so the next line follows from the one before it"
PAGE = """Posted 3 days ago. Sign in to vote.

Problem: A farmer has 17 sheep and buys 25 more at the market. How many sheep has the farmer now?
Solution: Adding the numbers gives 17 + 25 = 42, therefore the farmer owns fortytwo animals in total today.
Answer: 42
Share this page with your friends and subscribe to our newsletter for more puzzles about farmers and sheep every week."""
CODE = '''"""Words of a text."""


def count_words(text: str) -> dict[str, int]:
    """How often each word stands in the text."""
    counts: dict[str, int] = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


if __name__ == "__main__":
    print(count_words("a b a"))
'''


def answer_well(body: Body) -> str:
    """What a good teacher says to any of the packaged recipes."""
    system, question = body["messages"][0]["content"], question_of(body)
    if "programmer of Python" in system:
        return f"```python\n{framed_in(question)}\n```"
    if "examinations" in system:
        return json.dumps(
            [make_card(question, number) for number in range(int(re.search(r"Write (\d+)", question)[1]))]
        )
    if "reading exercises" in system:
        return json.dumps(
            [make_pair(question, number) for number in range(int(re.search(r"Write (\d+)", question)[1]))]
        )
    if "how to think" in system:
        return do_task(question) if "Its difficulty, of 10" in question else json.dumps(make_notes(framed_in(question)))
    return "Worked out. " + framed_in(question).replace("Sign in to vote.", FILLER + ".")


def make_card(question: str, number: int) -> dict[str, object]:
    """An item of the format that is asked for."""
    options = [f"choice {number} {letter}" for letter in "wxyz"]
    card = {"question": f"What is number {number}?", "options": options, "answer": options[number % 4]}
    if "beginning of a statement" in question:
        card["question"] = f"The number {number} is"
    elif "____" in question:
        card["question"] = f"The number {number} is ____."
    elif "Statement 1" in question:
        card["question"] = f"Statement 1: {number} is even. Statement 2: {number} is odd."
        card |= {"options": ["True, True", "True, False", "False, True", "False, False"], "answer": "True, False"}
    elif "certain property" in question:
        card["question"] = f"Which number has the property {number}?"
    elif "Which of the following" in question:
        card["question"] = f"Which of the following is true of {number}?"
    elif "within the question" in question:
        card |= {
            "question": f"Is {number} an odd number or an even number?",
            "options": ["an odd number", "an even number"],
            "answer": "an odd number",
        }
    return card


def make_pair(question: str, number: int) -> dict[str, object]:
    """An item about the framed passage."""
    words = framed_in(question).split()
    pair: dict[str, object] = {"question": f"What is thing {number}?", "answer": " ".join(words[number : number + 2])}
    if "places" in question:
        pair["places"] = [" ".join(words[number : number + 3])]
    if "adding, subtracting" in question:
        pair["answer"] = str(number)
    return pair


def make_notes(text: str) -> dict[str, object]:
    """Notes on a text in the form of PAGE."""
    found = re.search(r"Problem: (.*)", text)
    answer = re.search(r"Answer: (.*)", text)
    return {
        "problem": found[1] if found else text[:200], "answer": answer[1] if answer else "", "difficulty": 2, "steps": ["add"],
        "pitfalls": ["to subtract"], "check": "subtract again",
    }  # fmt: skip


def do_task(question: str) -> str:
    """The parts that are asked for, the last as its task wants it."""
    sections = re.findall(r"^[A-Z][A-Za-z ]*:$", question.rpartition("\n\n")[2], re.MULTILINE)
    answer = re.search(r"Its answer: (.*)", question)[1]
    parts = []
    for section in sections:
        words = f"First one thinks about it, {FILLER}."
        if section == "Answer:":
            words = f"${answer}$."
        elif section in ("Difficulty:", "Score:"):
            words = "3" if "poor program" in question or section == "Difficulty:" else "8"
        elif section == sections[-1] and "program" in section.lower():
            words = f"\n```python\n{CODE}```"
        parts.append(f"{section} {words}")
    return "\n".join(parts)
