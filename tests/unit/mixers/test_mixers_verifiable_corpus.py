"""mixers.verifiable_corpus: each question once, held-out ones apart, documents and chats that can be made again from what they say."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import ConfigError
from dolma_py.made_documents import read_making
from mixers import verifiable_corpus
from mixers.verifiable_corpus import VerifiableTasksConfig, draw_problems, make_chats, make_documents
from mixers.verifiable_problem import make_problem
from mixers.verifiable_tasks import ASK_FOR_LINE, make, part_of, reward


def list_documents(seed=1, family="sets", level=2, **settings):
    counts: Counter[str] = Counter()
    config = VerifiableTasksConfig(**{"num_problems": 300} | settings)
    batches = list(make_documents(config, family, level, seed=seed, source="made", counts=counts))
    assert all(batch.schema == DOCUMENT_SCHEMA for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()], counts


def test_a_document_tells_how_it_is_made_again():
    rows, counts = list_documents()
    assert len(rows) == 300 == len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == counts["made"]
    for row in rows:
        details, making = json.loads(row["metadata"])["verifiable"], read_making(row["metadata"])
        problem = make(details["family"], details["seed"], details["level"])
        assert row["text"] == f"{problem.question}\n\n{problem.solution}\nAnswer: {problem.answer}\n"
        assert details["evidence"] == problem.evidence and (row["source"], row["added"], row["created"]) == (
            "made",
            None,
            None,
        )
        assert (
            making.parents == (f"verifiable/sets-v1/2/{details['seed']}",) and making.seed == 1 and making.model is None
        )
        assert row["id"] == making.parents[0] + "#verifiable-0" and len(making.recipe) == 32
        assert part_of(problem.question, 0.05) == "train" and "<|" not in row["text"]


def test_more_problems_only_add_at_the_end_and_another_seed_makes_others():
    rows, _ = list_documents()
    assert list_documents(num_problems=50)[0] == rows[:50]
    others, _ = list_documents(seed=2)
    assert not {row["text"] for row in rows} & {row["text"] for row in others}


def test_no_held_out_question_is_in_a_training_set_of_any_seed():
    held_out = {row["text"] for row in list_documents(part="heldout", num_problems=60, family="calendar", level=1)[0]}
    assert len(held_out) == 60
    for seed in range(1, 4):
        rows, counts = list_documents(seed=seed, num_problems=400, family="calendar", level=1)
        assert not held_out & {row["text"] for row in rows}
        assert 5 < counts["other_part"] < 50  # a twentieth of the draws


def test_chats_have_what_a_reward_needs():
    counts: Counter[str] = Counter()
    config = VerifiableTasksConfig(num_problems=20, format="chats")
    rows = [json.loads(line) for line in make_chats(config, "calendar", 3, seed=1, counts=counts)]
    assert len(rows) == 20 == counts["made"]
    for row in rows:
        assert list(row) == ["id", "messages", "verifier", "ground_truth"] and row["verifier"] == "verifiable/calendar"
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant") and user["content"].endswith(ASK_FOR_LINE)
        assert reward(user["content"], assistant["content"], row) == 1.0
        assert reward(user["content"], "Answer: no day", row) == 0.0


def test_a_level_with_too_few_questions_is_told(monkeypatch):
    monkeypatch.setattr(
        verifiable_corpus, "make", lambda family, seed, level: make_problem(f"What is {seed % 7}?", [], "1", "number")
    )
    config, counts = VerifiableTasksConfig(num_problems=10, heldout_frac=0), Counter()
    with pytest.raises(
        ConfigError, match=r"num_problems: expected at most 7: level 1 of sets has no more questions .* got 10"
    ):
        list(draw_problems(config, "sets", 1, seed=0, counts=counts))
    assert counts["made"] == 7 and counts["repeated"] >= verifiable_corpus.MAX_REPEATS


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"families": ["set"]}, "Did you mean sets"),
        ({"families": ["sets", "sets"]}, "each once"),
        ({"families": []}, "at least 1"),
        ({"levels": [0]}, "from 1 to 5"),
        ({"levels": [1, 1]}, "each once"),
        ({"part": "heldout", "heldout_frac": 0}, "0.001 or more"),
        ({"num_problems": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_are_checked(settings, match):
    with pytest.raises(ValidationError, match=match):
        VerifiableTasksConfig(**settings)
