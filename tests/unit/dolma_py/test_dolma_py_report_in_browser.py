"""The report opened in a real browser: no complaint in the console, nothing loaded, the funnel and the curves are drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from dolma_py import report
from tests.browser import Look, find_browser, open_page
from tests.report_corpus import make_corpus, make_training_run

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome here: apt-get install chromium")

# of what a reader sees: an element counts when it has a size and is not hidden
QUESTION = """(() => {
  const seen = element => {
    const box = element.getBoundingClientRect();
    const is_shown = element.checkVisibility({opacityProperty: true, visibilityProperty: true});
    return is_shown && box.width > 0 && box.height > 0;
  };
  const table = document.querySelector("#funnel ~ .wide table");
  const rows = [...table.rows].filter(seen);
  const filled = bar => seen(bar) && getComputedStyle(bar).backgroundColor !== "rgba(0, 0, 0, 0)";
  return {
    funnel: rows.slice(1).map(row => row.cells[0].firstChild.textContent.trim()),
    left: rows.slice(1, -1).map(row => Math.round(row.querySelector(".bar i").getBoundingClientRect().width)),
    bars: [...table.querySelectorAll(".bar i:first-child")].filter(filled).length,
    curves: [...document.querySelectorAll("svg path")].filter(seen).length > 10,
    pictures: [...document.querySelectorAll("svg")].filter(seen).length,
    scrolls_sideways: document.documentElement.scrollWidth > innerWidth,
  };
})()"""
# the bars are 8rem = 128 px for the 208 bytes that came in
DRAWN = {
    "funnel": ["too_short", "near_copy", "repeated (edit)", "contaminated", "all rules"],
    "left": [round(128 * left / 208) for left in (202, 172, 158, 120)],
    "bars": 4,
    "curves": True,
    "pictures": 7,
    "scrolls_sideways": False,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("report")
    corpus, run = make_corpus(folder), make_training_run(folder)
    report.write_report(corpus=corpus.root, run=str(run), output=str(folder / "report.html"), recipe=None)
    return (folder / "report.html").read_text(encoding="utf-8")


def look_at(page: str, folder: Path) -> Look:
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    look = open_page(str(BROWSER), path, question=QUESTION, profile=folder / "profile")
    return look._replace(requests=[address for address in look.requests if address != path.as_uri()])


def test_the_report_is_drawn_without_complaint(page, tmp_path):
    assert look_at(page, tmp_path) == Look(complaints=[], requests=[], answer=DRAWN)


@pytest.mark.parametrize(
    ("planted", "seen"),
    [
        ("<script>document.title = 'x'</script>", "Content Security Policy"),
        ("<img src='https://example.invalid/a.png'>", "Content Security Policy"),
        ("<style>#funnel ~ .wide { display: none }</style>", "'funnel': []"),
        ("<style>.bar i { background: none !important }</style>", "'bars': 0"),
        ("<style>svg { display: none !important }</style>", "'pictures': 0"),
        ("<p style='width: 9000px; max-width: none'>wide</p>", "'scrolls_sideways': True"),
    ],
)
def test_a_planted_fault_is_seen(page, tmp_path, planted, seen):
    look = look_at(page.replace("<h1>", f"{planted}<h1>", 1), tmp_path)
    assert look != Look(complaints=[], requests=[], answer=DRAWN)
    assert seen in str(look)
