"""The rule presets against datatrove's and dolma's own filters on made documents: recorded answers, and the tools where they are."""

from __future__ import annotations

import pytest

from tests.peers import compare_filters, made_tree, our_side
from tests.peers.made_filter_texts import GOLDEN, all_texts

RECORDED = our_side.RECORDED / "filters"
TEXTS = all_texts()


@pytest.mark.parametrize("tool", ["datatrove", "dolma"])
def test_an_answer_was_recorded_for_every_text(tool):
    *answers, about = made_tree.read_lines(RECORDED / f"{tool}.jsonl")
    assert len(answers) == len(TEXTS) and about == {
        "datatrove": {"spacy": "3.8.18", "tool": "datatrove", "version": "0.10.1"},
        "dolma": {"tool": "dolma", "version": "1.2.1"},
    }[tool]  # fmt: skip


def test_datatrove_says_the_same():
    """Statistics, words, decisions with their reasons, single rules, and the text that C4 leaves."""
    *theirs, _ = made_tree.read_lines(RECORDED / "datatrove.jsonl")
    encoded = [text.encode() for text in TEXTS]
    ours = compare_filters.describe_datatrove(encoded, single=True)
    differing = {
        text[:60]: found
        for text, mine, other in zip(TEXTS, ours, theirs, strict=True)
        if (found := compare_filters.compare_datatrove(text.encode(), mine, other))
    }
    assert differing == WANTED_DIFFERENCES


# line ends that are no line feed stay as they are in our cuts, where datatrove writes line feeds
WANTED_DIFFERENCES: dict[str, list[str]] = {
    text[:60]: ["c4_text", "c4_any_end_text"] for text in TEXTS if text.startswith("a b c.\u2028")
}


def test_dolma_says_the_same():
    *theirs, _ = made_tree.read_lines(RECORDED / "dolma.jsonl")
    encoded = [text.encode() for text in TEXTS]
    for text, mine, other in zip(encoded, compare_filters.describe_dolma(encoded), theirs, strict=True):
        assert compare_filters.compare_dolma(text, mine, other["gopher_v2"]) == [], text[:60]


def test_dolma_v1_differs_in_its_lines_alone():
    *answers, _ = made_tree.read_lines(RECORDED / "dolma.jsonl")
    differing = {
        kind for answer in answers for kind, value in answer["gopher_v1"].items() if value != answer["gopher_v2"][kind]
    }
    assert differing and all("lines" in kind for kind in differing)


def test_each_golden_pair_parts_datatrove_too():
    """Among the recorded answers every single rule keeps one text of its pair and drops the other."""
    *theirs, _ = made_tree.read_lines(RECORDED / "datatrove.jsonl")
    single = dict(zip(TEXTS, (answer["single"] for answer in theirs), strict=True))
    rules = {ours: name for name, found in compare_filters.SINGLE_RULES.items() for ours in found}
    pairs = {name: GOLDEN["gopher-datatrove"][ours] for ours, name in rules.items()}
    pairs |= {name: GOLDEN["fineweb"][ours] for name, ours in compare_filters.SINGLE_FINEWEB.items()}
    assert [
        name for name, (kept, dropped) in pairs.items() if name in single[kept] or name not in single[dropped]
    ] == []


@pytest.mark.parametrize("tool", ["datatrove", "dolma"])
def test_the_tool_still_answers_as_recorded(tool):
    python = our_side.ENVIRONMENTS / tool
    if not (python / ".installed").exists():
        pytest.skip(f"{tool} is not there: run make peers")
    assert our_side.ask_filters(tool, TEXTS) == made_tree.read_lines(RECORDED / f"{tool}.jsonl")
