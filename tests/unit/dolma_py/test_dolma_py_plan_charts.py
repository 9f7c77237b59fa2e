"""Pictures of a plan: what they show of the numbers, the same bytes again, and names that are no markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from dolma_py import plan_charts
from dolma_py.report_charts import as_file

CURVE = {"power": 1.0, "growth": 0.0, "scale": 4.0, "start": 0.5}
ROWS = [
    ("code", "", [10, 10], [5, 5]), ("web", "art", [100, 0], [0, 0]), ("web", "law", [40, 40], [0, 80]),
]  # fmt: skip
SOURCES = [
    {"source": "code", "tokens": 20, "wanted_tokens": 10, "planned_tokens": 10, "repetition": 0.5, "binds": "share"},
    {"source": "web", "tokens": 180, "wanted_tokens": 80, "planned_tokens": 80, "repetition": 0.444, "binds": "natural"},
]  # fmt: skip
GROUPS = [
    {"source": "web", "topic": "law", "max_repetition": 2.0, "curve": CURVE},
    {"source": "code", "topic": "", "max_repetition": 2.0},
]


def build(rows):
    cells = [
        {"source": source, "topic": topic, "bucket": bucket, "tokens": tokens[bucket], "planned_tokens": planned[bucket]}
        for source, topic, tokens, planned in rows
        for bucket in range(len(tokens))
    ]  # fmt: skip
    return pa.Table.from_pylist(cells)


def test_cells_are_sorted_by_what_is_planned():
    cells = plan_charts.read_cells(build(ROWS[::-1]))
    assert cells.names == [("web", "law"), ("code", ""), ("web", "art")]
    assert cells.tokens.tolist() == [[40, 40], [10, 10], [100, 0]] and cells.planned.tolist() == [
        [0, 80],
        [5, 5],
        [0, 0],
    ]


def test_a_cell_that_is_not_there_has_no_tokens():
    cells = plan_charts.read_cells(build([("a", "", [3], [1]), ("b", "", [1, 2, 4], [1, 1, 1])]))
    assert cells.tokens.tolist() == [[1, 2, 4], [3, 0, 0]]


def test_pictures_say_the_numbers_twice_the_same():
    drawn = plan_charts.draw_plan(build(ROWS), SOURCES, GROUPS)
    assert drawn == plan_charts.draw_plan(build(ROWS), SOURCES, GROUPS)
    texts = {name: re.findall(r">([^<>]*)</text>", picture) for name, picture in drawn.items()}
    # law has 80 of 200 tokens, and 80 of 90 planned ones
    assert {"web / law", "code", "40.0 to 88.9 %", "10.0 to 11.1 %", "50.0 to 0 %"} <= set(texts["heat"])
    assert {"web / law", "max_repetition 2"} <= set(texts["curves"])
    assert {"88.9 %, 0.444 x, natural", "target", "available", "planned"} <= set(texts["shares"])


def test_a_longer_plan_shows_as_many_rows_as_it_may():
    rows = [("web", f"t{i:03d}", [5, 5], [i, i]) for i in range(200)]
    heat = plan_charts.draw_plan(build(rows), SOURCES, [])["heat"]
    labels = re.findall(r">(t\d{3})</text>", heat)
    assert labels == [f"t{i:03d}" for i in range(199, 199 - plan_charts.MAX_ROWS, -1)]


def test_what_is_not_drawn_is_told():
    rows = [("web", f"t{i:03d}", [5, 5], [i, i]) for i in range(200)]
    sources = [SOURCES[0] | {"source": f"s{i:03d}"} for i in range(33)]
    drawn = plan_charts.draw_plan(build(rows), sources, [])
    texts = {name: re.findall(r">([^<>]*)</text>", picture) for name, picture in drawn.items()}
    left = 200 - plan_charts.MAX_ROWS
    share = 100 * sum(range(left)) / sum(range(200))
    assert f"{left} more" in texts["heat"] and f"{left / 2:.1f} to {share:.1f} %" in texts["heat"]
    assert {"32 more in grey,", "160 are not drawn"} <= set(texts["curves"])
    assert "share of the tokens, %; 3 smaller sources are not drawn" in texts["shares"]
    whole = plan_charts.draw_plan(build(ROWS), SOURCES, GROUPS)
    assert not any(" more" in picture or "not drawn" in picture for picture in whole.values())


def test_the_heat_map_says_what_binds():
    groups = [
        GROUPS[0] | {"binds_by_bucket": ["throwaway", "max_repetition"]},
        GROUPS[1] | {"binds": "natural"},
        {"source": "web", "topic": "art", "max_repetition": 2.0, "binds": "no_share"},
    ]
    heat = plan_charts.draw_plan(build(ROWS), SOURCES, groups)["heat"]
    texts = re.findall(r">([^<>]*)</text>", heat)
    assert {"40.0 to 88.9 %, max repetition", "10.0 to 11.1 %, natural", "50.0 to 0 %"} <= set(texts)
    assert "repeated max_repetition times" in texts
    dots = heat.lower().count(plan_charts.COLORS[1].lower())
    groups[0]["binds_by_bucket"] = ["max_repetition"] * 2
    more = plan_charts.draw_plan(build(ROWS), SOURCES, groups)["heat"]
    assert more.lower().count(plan_charts.COLORS[1].lower()) > dots > 0
    groups[0]["binds_by_bucket"] = ["throwaway", "share"]
    none = plan_charts.draw_plan(build(ROWS), SOURCES, groups)["heat"]
    assert "repeated max_repetition" not in none and plan_charts.COLORS[1].lower() not in none.lower()


@pytest.mark.parametrize("rows", [[("a", "", [0], [0])], [("a", "<b>&\n", [1, 2], [0, 4])]])
def test_odd_plans_are_drawn_as_whole_xml(rows):
    sources = [SOURCES[0] | {"source": "<script>$x$", "tokens": 0, "planned_tokens": 0, "wanted_tokens": 0}]
    for picture in plan_charts.draw_plan(build(rows), sources, []).values():
        root = ElementTree.fromstring(as_file(picture))
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and "<script" not in picture and "<b>" not in picture
