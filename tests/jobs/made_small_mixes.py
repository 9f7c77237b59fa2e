"""A made folder of sample data for recipes dolmino-small and longmino-small, and their settings for so little text."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.jobs.made_recipe import ITEM, WORDS, make_text

SCALE = 64  # 128 to 255 tokens are the bucket 8K-16K
REGISTRY = """sets:
  - name: quiz
    paths: ["{folder}/quiz.jsonl"]
    fields: {id: id, question: question, answer: answer}
"""


def make_page(rng: random.Random, num_paragraphs: int) -> str:
    """English about two things that a page is about and others, so that words stand often enough to be asked for."""
    one, two = rng.sample(WORDS, 2)
    lines = []
    for part in range(num_paragraphs):
        other = rng.choice(WORDS)
        lines.append(
            f"On day {part} the {one} was near the {other}, and people who came to see the {two} went to the {one} first. "
            f"It had been {rng.randrange(3, 90)} years since the {other} of the old {two} was painted."
        )
    return "\n\n".join(lines) + "\n"


def make_code(number: int) -> str:
    return f'"""Numbers, part {number}."""\n\n' + "".join(
        f"def step_{number}_{place}(value):\n    return value * {number} + {place}\n\n\n" for place in range(6)
    )


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_data(folder: Path) -> None:
    """pool/, posttrain/ and benchmarks/ as the sample data have them, in made text; one page of questions holds an item of the benchmark."""
    rng = random.Random(11)
    dirty = f"{make_text(rng, 20)} {ITEM['question']} The answer is {ITEM['answer']}. {make_text(rng, 20)}"
    texts = {
        "code/code_oss-0": [make_code(number) for number in range(60)],
        "code/code_leetcode-0": [make_code(number + 100) for number in range(20)],
        "code/code_leetcode_readme-0": [dirty] + [f"# Problem {number}\n\n{make_page(rng, 4)}" for number in range(40)],
        "math/math_stacks-0": [
            f"\\section{{Part {number}}}\n{make_text(rng, 12)} $x_{number} = {number}$" for number in range(60)
        ],
        "math/math_arxiv_sample-0": [make_text(rng, 6) for _ in range(40)],
        "web/web_pages_rawtext-0": [*(make_text(rng, 12) + f" Click {n} to subscribe." for n in range(399))],
        "docs/docs_powershell-0": [make_page(rng, 1 + number % 14) for number in range(300)],
        "books/books-0": [make_page(rng, 60) for _ in range(4)],
    }
    for name, made in texts.items():
        write_lines(
            folder / "pool" / f"{name}.jsonl", ({"id": f"{name}-{n}", "text": text} for n, text in enumerate(made))
        )
    pairs = (
        {"prompt": f"### Instruction:\n{make_text(rng, 2)}\n\n### Response:\n", "response": make_text(rng, 4)}
        for _ in range(60)
    )
    write_lines(folder / "posttrain" / "dolly_hhrlhf_a.jsonl", pairs)
    write_lines(folder / "benchmarks" / "quiz.jsonl", [ITEM])
    (folder / "registry.yaml").write_text(REGISTRY)


def override_dolmino(folder: Path) -> list[str]:
    return [
        f"variables.data={folder}", f"steps.decontaminate.taggers.0.options.evaluation_sets={folder}/registry.yaml",
        "steps.classifier.classifier.dim=8", "steps.tokenizer.vocab_size=500", "steps.plan.plan.token_budget=40000",
        "steps.shards.tokens_per_part=8192", "split_bytes=30000", "steps.sources.row_group_text_bytes=20000",
    ]  # fmt: skip


def override_longmino(folder: Path, dolmino: Path) -> list[str]:
    return [
        f"variables.data={folder}", f"variables.dolmino={dolmino}", f"variables.scale={SCALE}",
        f"steps.decontaminate.taggers.0.options.evaluation_sets={folder}/registry.yaml", "steps.plan.plan.token_budget=30000",
        "steps.cwe.cwe={num_words: 2, min_count: 2, quote_words: 3}", "steps.shards.tokens_per_part=8192", "split_bytes=30000",
        "steps.long.row_group_text_bytes=20000", "steps.mixed.row_group_text_bytes=20000",
    ]  # fmt: skip
