"""The numbers of the example in docs/decontamination.md."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from dolma_py.word_problems import make_word_problems
from taggers.registry import build_tagger
from tests.conftest import REPOSITORY

QUESTION = (
    "A farmer has 17 lanterns and buys 25 more before giving 9 of them to the captain of the silver ship. "
    "How many lanterns does the farmer have?"
)
PAGE = (
    "So here is one for the evening: a farmer has 17 lanterns and buys 25 more in town before giving 9 of them to the captain of "
    "the silver ship. How many lanterns does the farmer have? Simple! That leaves 33 of them for the winter."
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    items = [{key: item[key] for key in ("id", "question", "answer")} for item in make_word_problems(1000, 3)]
    items.append({"id": "lanterns", "question": QUESTION, "answer": "33"})
    path = tmp_path_factory.mktemp("example") / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    tagger = build_tagger("contamination", {"items_paths": [str(path)]})
    other = PAGE.replace("17", "14").replace("25", "23").replace("33", "many")
    texts = [PAGE, PAGE.replace("silver", "golden"), PAGE.replace("33", "many"), other]
    return tagger.tag(pa.record_batch({"text": pa.array(texts, pa.large_string())})).to_pylist()


def test_the_documentation_has_the_texts():
    words = " ".join((REPOSITORY / "docs" / "decontamination.md").read_text().split())
    assert QUESTION in words and PAGE in words


@pytest.mark.parametrize(
    ("row", "contaminated", "score", "question", "answer"),
    [(0, True, 1.0, 1.0, 1.0), (1, True, 0.99, 0.92, 1.0), (2, True, 0.95, 1.0, 0.0), (3, True, 0.94, 0.91, 0.0)],
)
def test_the_scores_are_those_of_the_documentation(rows, row, contaminated, score, question, answer):
    found = rows[row]
    assert (found["item"], found["contaminated"]) == ("lanterns", contaminated)
    assert found["score"] == pytest.approx(score, abs=0.005)
    assert found["question_overlap"] == pytest.approx(question, abs=0.005)
    assert found["answer_overlap"] == answer
