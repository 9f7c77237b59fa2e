"""Which documents a report shows, why, and which part of them; what became of planted items."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py import report_data, report_examples
from dolma_py.corpus import Corpus
from dolma_py.report_contamination import EvaluationItem
from dolma_py.report_data import total
from dolma_py.report_excerpts import Part, compare_texts, make_excerpt
from tests.report_corpus import ATTRIBUTES, collect, make_corpus, write_table
from tests.strategies import texts

ITEMS = {"q1": EvaluationItem("q1", "quiz", "How many pens?", "5", None)}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path)


def test_examples_say_why(corpus):
    data = collect(corpus)
    shown, kept = report_examples.collect_examples(corpus, data.view, funnel=data.funnel, items=ITEMS)
    assert [[example.id for example in group] for group in shown] == [["w0", "n2"], ["w3"], ["w4"], ["n0"]]
    assert shown[0][0].reasons == ("num_words = 1, must be >= 3",)
    near = shown[1][0]
    assert near.reasons == ("similarity 0.750", "one of 2 in its cluster")
    assert near.other.id == "w2"
    assert near.parts == (Part("the cat sat on the mat "), Part("tonight", "differs"))
    assert near.other.parts == (Part("the cat sat on the mat "), Part("today", "differs"))
    assert shown[2][0].reasons == ("14 bytes cut",)
    assert shown[2][0].parts == (Part("repeat repeat ", "cut"), Part("repeat stays"))
    assert shown[3][0].reasons == ("item q1, score 0.875",)
    assert shown[3][0].other.parts == (
        Part("How many "), Part("pens", "differs"), Part("?"), Part("\n\nAnswer: "), Part("5"),
    )  # fmt: skip
    assert (shown[3][0].role, shown[3][0].other.role, shown[3][0].other.source) == ("document: ", "item: ", "quiz")
    assert shown[3][0].parts == (Part("Ann has 3 pens. Bob has 2. How many?", "found"), Part(" 5"))
    assert [example.id for example in kept] == ["w1", "w4"]
    assert kept[1].parts == shown[2][0].parts


def test_the_kept_copy_is_found_where_the_cluster_does_not_begin(corpus, tmp_path):
    """A policy may keep another member than the first: the address of the cluster is then that of a dropped document."""
    schema, web, notes = ATTRIBUTES["minhash-v1"]
    web = [web[0], web[1], web[3] | {"kept_id": "n0", "cluster_id": 2}, web[3] | {"kept_id": "n0"}, web[4]]
    notes = [notes[0] | {"cluster_id": 2}, *notes[1:]]
    for source, rows, groups in (("web", web, [3, 2]), ("notes", notes, [3])):
        write_table(corpus.path(f"attributes/minhash-v1/{source}/part-00000.parquet"), rows, schema, groups)
    data = collect(corpus)
    shown, _ = report_examples.collect_examples(corpus, data.view, funnel=data.funnel, items={})
    assert shown[1][0].other.id == "n0"


def test_a_copy_whose_twin_is_not_found_names_it(corpus, monkeypatch):
    monkeypatch.setattr(report_examples, "MAX_SCAN_ROWS", 0)
    schema, web, notes = ATTRIBUTES["minhash-v1"]
    web = [web[0], web[1], web[3] | {"kept_id": "n0"}, web[3] | {"kept_id": "n0"}, web[4]]
    write_table(corpus.path("attributes/minhash-v1/web/part-00000.parquet"), web, schema, [3, 2])
    data = collect(corpus)
    shown, _ = report_examples.collect_examples(corpus, data.view, funnel=data.funnel, items={})
    assert shown[1][0].reasons[0] == "similarity 0.750 with n0, which is not among the 0 rows that were read"


def test_planted_items(corpus):
    data = collect(corpus)
    planted = report_examples.collect_planted(corpus, data.view, data.steps)
    assert planted[:3] == (3, 1, 2)
    assert {fate.text: (fate.is_good, fate.item_ids) for fate in planted.fates} == {
        "found, dropped by contaminated": (True, ("q1",)),
        "missed, still in the corpus": (False, ("q2 (score 0.500)",)),
        "not searched: dropped by too_short before": (True, ("q3",)),
    }
    assert planted.num_others == 0


def test_items_planted_twice_and_lost_ones_are_counted_by_document(corpus):
    path = Path(corpus.path("runs/made/00-sources/manifest.json"))
    made = json.loads(path.read_text())
    made["facts"]["planted"] = ["q1", "q1", "q2", "q3", "q4"]
    path.write_text(json.dumps(made))
    data = collect(corpus)
    planted = report_examples.collect_planted(corpus, data.view, data.steps)
    lost = [fate.item_ids for fate in planted.fates if fate.text.startswith("no document")]
    assert lost == [("q1", "q4")]
    assert planted.num_planted == 5
    assert sum(len(fate.item_ids) for fate in planted.fates) == 5


def test_a_job_run_by_hand_shows_its_own_rules(corpus, tmp_path):
    """The view that a job is given has rules already; its funnel begins behind them."""
    for step, number in (("minhash", 3), ("substring", 4)):
        shutil.copytree(
            corpus.path(f"runs/made/{number:02d}-{step}"), corpus.path(f"runs/later/{number - 3:02d}-{step}")
        )
    data = report_data.collect(corpus, recipe="later", run=None)
    assert [rule.name for rule in data.funnel.rules] == ["near_copy", "repeated"]
    assert total(data.funnel.entering) == (6, 202)
    shown, _ = report_examples.collect_examples(corpus, data.view, funnel=data.funnel, items={})
    assert [example.reasons[0] for group in shown for example in group] == ["similarity 0.750", "14 bytes cut"]


def join(parts: tuple[Part, ...]) -> str:
    return "".join(part.text for part in parts if part.mark != "gap")


@given(st.lists(texts(max_size=8), max_size=6))
def test_short_texts_are_shown_whole(pieces):
    """Every second piece is a span."""
    data = [piece.encode() for piece in pieces]
    ends = np.cumsum([0, *map(len, data)]).tolist()
    spans = [(ends[i], ends[i + 1]) for i in range(1, len(data), 2)]
    parts = make_excerpt(b"".join(data), spans, "cut")
    text = "".join(pieces)
    left_out = sum(int(part.text.split()[0].replace(",", "")) for part in parts if part.mark == "gap")
    assert len(join(parts)) + left_out == len(text)
    assert "".join(part.text for part in parts if part.mark == "cut") in ("".join(pieces[1::2]), join(parts))


def test_a_long_document_is_shortened():
    parts = make_excerpt(b"a" * 1000 + b"b" * 1000 + b"c" * 1000, [(1000, 2000)], "found")
    assert [(part.mark, len(part.text)) for part in parts if part.mark != "gap"] == [
        ("", 90),
        ("found", 200),
        ("found", 60),
        ("", 90),
    ]
    assert [part.text for part in parts if part.mark == "gap"] == ["910 characters", "740 characters", "910 characters"]


def test_many_places_are_counted():
    parts = make_excerpt(b"x." * 10, [(2 * i, 2 * i + 1) for i in range(10)], "cut")
    assert parts[-1] == Part("7 more places", "gap")
    assert sum(part.mark == "cut" for part in parts) == 3


@given(texts(), texts(), texts())
def test_what_is_not_marked_is_the_same_on_both_sides(common, one, other):
    sides = compare_texts(common + one, common + other)
    same = [re.sub(r"\s+", " ", "".join(part.text for part in side if part.mark == "")) for side in sides]
    assert same[0] == same[1]
    assert join(sides[0]) in common + one
    assert join(sides[1]) in common + other


def test_a_late_difference_is_found():
    parts, _ = compare_texts("a" * 5000 + " left", "a" * 5000 + " right")
    assert parts[0] == Part("4,921 characters", "gap")
    assert parts[-1] == Part("left", "differs")
