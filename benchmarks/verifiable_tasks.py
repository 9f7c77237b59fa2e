"""What docs/verifiable-tasks.md says in numbers: time and text of a problem, agreement with the twins, wrong answers that a checker takes, guesses.

    PYTHONPATH=. python -m benchmarks.verifiable_tasks [--problems 200] [--examples]

Wrong answers are those of other problems of the family and level that are written otherwise (each answer has one canonical form), and the right one
with one letter or digit replaced. A guess is the answer of another problem of the family and level; how often it is right says how much a
model can gain without solving anything. Processor time of one process.
"""

from __future__ import annotations

import argparse
import random
import re
import time

from mixers.verifiable_problem import LEVELS, Problem
from mixers.verifiable_tasks import FAMILIES, check, make, write_response
from tests.reference import verifiable_puzzles, verifiable_tasks

PUZZLES = ("ordering", "knights-and-knaves", "sudoku-4x4", "shortest-path")


def spoil(answer: str, rng: random.Random) -> str:
    """The answer with one letter or digit replaced by another of its kind."""
    place = rng.choice([place for place, letter in enumerate(answer) if letter.isalnum()])
    others = "0123456789" if answer[place].isdigit() else "abcdefghijklmnopqrstuvwxyz"
    letter = rng.choice([other for other in others if other != answer[place].lower()])
    return answer[:place] + letter + answer[place + 1 :]


def solve(name: str, question: str) -> list[str]:
    """Every right answer, by the family's twin."""
    twins = verifiable_puzzles if name in PUZZLES else verifiable_tasks
    answers: list[str] = getattr(twins, re.sub(r"\W", "_", name))(question)
    return answers


def count_wrong(problems: list[Problem], rng: random.Random) -> tuple[int, int]:
    """(wrong answers given, those that the checker took)."""
    given = taken = 0
    for problem in problems:
        others = [
            other.answer for other in rng.sample(problems, min(10, len(problems))) if other.answer != problem.answer
        ]
        for answer in [*others, *(spoil(problem.answer, rng) for _ in range(10))]:
            given += 1
            taken += check(problem.evidence, f"Answer: {answer}").is_right
    return given, taken


def count_guesses(problems: list[Problem], rng: random.Random) -> float:
    """Share of other problems' answers that are right."""
    shuffled = rng.sample(problems, len(problems))
    hits = sum(
        check(problem.evidence, f"Answer: {other.answer}").is_right
        for problem, other in zip(problems, shuffled, strict=True)
        if problem is not other
    )
    return hits / len(problems)


def print_examples() -> None:
    """A row for each family, as the page has it."""
    for name in FAMILIES:
        problem = make(name, 1, 1)
        question = problem.question.replace("\n", "<br>").replace("*", "\\*").replace("_", "\\_")
        print(f"| `{name}` | {question} | {problem.answer} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=200, help="of each family and level")
    parser.add_argument("--examples", action="store_true", help="the page's table of examples alone")
    options = parser.parse_args()
    if options.examples:
        print_examples()
        return
    rng = random.Random(7)
    all_bytes = all_problems = all_seconds = all_given = all_taken = 0.0
    print(
        "| family | ms a problem, level 1 to 5 | bytes of text, level 1 to 5 | twin agrees | wrong answers taken | guesses right, level 1 to 5 |"
    )
    print("|---|---|---|---|---|---|")
    for name in FAMILIES:
        times, sizes, guesses, agreed, given, taken = [], [], [], 0, 0, 0
        for level in LEVELS:
            start = time.process_time()
            problems = [make(name, seed, level) for seed in range(options.problems)]
            times.append(time.process_time() - start)
            sizes.append(
                sum(len(f"{problem.question}\n\n{write_response(problem)}\n".encode()) for problem in problems)
            )
            agreed += sum(solve(name, problem.question) == [problem.answer] for problem in problems)
            more = count_wrong(problems, rng)
            given, taken = given + more[0], taken + more[1]
            guesses.append(count_guesses(problems, rng))
        total = options.problems * len(LEVELS)
        shown = [f"{1000 * seconds / options.problems:.2f}" for seconds in times]
        means = " ".join(str(size // options.problems) for size in sizes)
        print(
            f"| `{name}` | {' '.join(shown)} | {means} | {agreed} of {total} | {taken} of {given} | "
            f"{' '.join(f'{100 * guess:.1f}%' for guess in guesses)} |"
        )
        all_bytes, all_problems, all_seconds = all_bytes + sum(sizes), all_problems + total, all_seconds + sum(times)
        all_given, all_taken = all_given + given, all_taken + taken
    print(
        f"\n{all_problems:.0f} problems, {all_bytes / all_problems:.0f} bytes each, {all_bytes / 1e6 / all_seconds:.2f} MB a second of one core; ",
        end="",
    )
    print(f"{all_taken:.0f} of {all_given:.0f} wrong answers taken")


if __name__ == "__main__":
    main()
