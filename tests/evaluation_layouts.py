"""Made records in the layouts of eleven public benchmarks; not a word of theirs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

_WHY = "An invented person looks at an invented thing and asks in a good many words what will most likely happen next. Number {}?"
_CHOICES = [f"a made choice number {number}" for number in range(4)]
_PASSAGE = "A passage of a few invented sentences. It says nothing in particular. It is there to be read."
LAYOUT_COUNTS = {  # records and items of each set
    "arc_challenge": (2, 8), "bbh": (4, 4), "boolq": (2, 2), "gsm8k": (3, 3), "humaneval": (2, 2), "ifeval": (2, 2), "math": (2, 2),
    "mbpp": (2, 2), "mmlu": (8, 8), "piqa": (2, 4), "triviaqa": (2, 2),
}  # fmt: skip


def write_layouts(folder: Path) -> None:
    """All eleven below a folder, some records each."""
    for path, rows in _lines().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / path).write_bytes(gzip.compress(data) if path.endswith(".gz") else data)
    (folder / "bbh").mkdir()
    for name, examples in _tasks().items():
        (folder / "bbh" / f"{name}.json").write_text(json.dumps({"canary": "made", "examples": examples}))


def _lines() -> dict[str, list[dict[str, Any]]]:
    why = [_WHY.format(number) for number in range(4)]
    code = {
        "entry_point": "f",
        "test": "def check(f): ...",
        "language": "python",
        "description": "x",
        "canonical_solution": "    return 1",
    }
    return {
        "arc_challenge.jsonl": [{"choices": _CHOICES, "query": f"Question: {text}", "gold": 2} for text in why[:2]],
        "piqa.jsonl": [{"choices": _CHOICES[:2], "gold": 0, "query": f"Question: {text}\n"} for text in why[:2]],
        "boolq.jsonl": [{"query": f"Passage: {_PASSAGE}\nQuestion: {text}", "choices": ["no", "yes"], "gold": 1} for text in why[:2]],
        "triviaqa_sm_sub.jsonl": [
            {"context": f"Question: {text} Is it a vegetable?\nAnswer:", "answer": "Onion", "aliases": ["Onion"]} for text in why[:2]
        ],
        "gsm8k/train.jsonl": [{"question": text, "answer": "She made <<48+24=72>>72 of them.\n#### 72"} for text in why[:2]],
        "gsm8k/test.jsonl": [{"question": why[2], "answer": "#### 1,000"}],
        "humaneval/HumanEval.jsonl": [{"task_id": f"HumanEval/{n}", "prompt": f'def f():\n    """{why[n]}"""\n'} | code for n in (0, 1)],
        "mbpp/mbpp_release_v1.jsonl": [{"task_id": f"MBPP/{n}", "prompt": f'def g():\n\t"""\n\t{why[n]}\n\t"""\n'} | code for n in (0, 1)],
        "ifeval/ifeval_a.jsonl": [{"id": 1000 + n, "prompt": why[n], "instruction_id_list": [], "kwargs": []} for n in (0, 1)],
        "math/math_test_a.jsonl": [
            {"context": f"{text} Let $x=1$.", "answer": "149", "chain_of_thought": "x", "category": "algebra"} for text in why[:2]
        ],
        "mmlu/mmlu_dev-1.jsonl.gz": [
            {
                "eval_key": "mmlu", "eval_instance_index": number, "split": "dev", "question": why[number], "answer": text,
                "config": "all", "doc_id": 4 * number + index, "is_correct": index == 1, "fingerprint": f"{number}{index}",
            }
            for number in (0, 1) for index, text in enumerate(_CHOICES)
        ],
    }  # fmt: skip


def _tasks() -> dict[str, list[dict[str, str]]]:
    dates = "Options:\n(A) 01/04/1938\n(B) 02/04/1938"
    return {
        "dates": [{"input": f"{_WHY.format(number)}\n{dates}", "target": "(B)"} for number in (0, 1)],
        "words": [{"input": f"{_WHY.format(number)} Sort them.", "target": "a b c"} for number in (2, 3)],
    }
