"""Accents on their letters, rows and cells of tables, margins: on glyphs written down by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.pdf_layout import ACCENTS, Glyph, Line, make_line, mend_accents, split_lines
from dolma_py.pdf_pages import SizedPage, drop_margins, join_lines, join_pages
from dolma_py.pdf_tables import arrange_page

EM = 10.0


def write(text: str, x: float = 0.0, y: float = 0.0, *, made_spaces: bool = True, angle: float = 0.0) -> list[Glyph]:
    """Letters of half an em each, side by side."""
    return [
        Glyph(letter, x + at * 5, y, x + at * 5 + 5, y + EM, angle, made_spaces and letter == " ")
        for at, letter in enumerate(text)
    ]


def write_row(cells: dict[float, str], y: float) -> list[Glyph]:
    """Cells at their x on one line, a made space between two."""
    glyphs: list[Glyph] = []
    for x, text in cells.items():
        glyphs += [Glyph(" ", 0, 0, 0, 0, 0.0, True)] * bool(glyphs) + write(text, x, y)
    return [*glyphs, Glyph("\r", 0, 0, 0, 0, 0.0, True), Glyph("\n", 0, 0, 0, 0, 0.0, True)]


def over(glyph: Glyph, accent: str) -> Glyph:
    return Glyph(accent, glyph.x0 + 1, glyph.y0 + 8, glyph.x1 - 1, glyph.y1 + 2)


def test_an_accent_goes_to_its_letter_wherever_it_stands():
    word = write("Jan Minac went")
    space = Glyph(" ", 0, 0, 0, 0, 0.0, True)
    moved = [
        *word[:7],
        space,
        over(word[1], "\u00b4"),
        space,
        word[7],
        over(word[7], "\u00b4"),
        *word[8:],
        space,
        over(word[8], "\u02c7"),
    ]
    assert make_line(mend_accents(moved)).text == "J\u00e1n Min\u00e1\u010d went"


def test_a_space_stays_where_there_is_a_gap():
    word = write("an") + write("On", 30.0)
    space = Glyph(" ", 0, 0, 0, 0, 0.0, True)
    moved = [*word[:2], space, over(word[0], "\u02c6"), space, *word[2:]]
    assert make_line(mend_accents(moved)).text == "\u00e2n On"


@pytest.mark.parametrize("text", ["5\u00b4 long", "`code`", "a \u02dc b", "x\u00a8", ""])
def test_an_accent_over_no_letter_stays(text):
    glyphs = write(text)
    assert "".join(glyph.text for glyph in mend_accents(glyphs)) == text


@given(
    st.lists(st.tuples(st.sampled_from("ae \u0131\u00b4\u02c7`1\u00e9"), st.floats(-5, 50), st.booleans()), max_size=12)
)
def test_no_letter_is_lost(items):
    glyphs = [Glyph(text, x, 0, x + 5, 10, 0.0, is_made and text == " ") for text, x, is_made in items]
    assert count_letters(mend_accents(glyphs)) == count_letters(glyphs)


def count_letters(glyphs: list[Glyph]) -> int:
    return sum(glyph.text.isalpha() and glyph.text not in ACCENTS for glyph in glyphs)


def test_lines_are_split_and_split_words_joined():
    glyphs = write("one\r\ntwo\nfi\x02ve\x00")
    assert [make_line(line).text for line in split_lines(glyphs)] == ["one", "two", "five"]


TABLE = [
    write_row({0: "Name", 60: "a", 110: "b", 160: "c", 210: "d"}, 640),
    write_row({0: "first", 60: "1.0", 110: "2.0", 160: "3", 210: "4"}, 620),
    write_row({0: "second one", 60: "5.0", 110: "6.0", 160: "7", 210: "<8"}, 600),
    write_row({0: "all", 110: "9"}, 580),
    write_row({0: "third", 60: "1.5", 110: "2.5", 160: "3.5", 210: "4.5"}, 560),
]
PROSE = [write_row({0: "This is a line of text that is longer than any cell of a table."}, y) for y in (540, 526, 512)]


def glyphs_of(*parts: list[list[Glyph]]) -> list[Glyph]:
    return [glyph for part in parts for row in part for glyph in row]


def test_a_table_is_found_with_its_headings():
    table, *lines = arrange_page(glyphs_of(TABLE, PROSE))
    assert table.kind == "table"
    assert table.text.split("\n") == [
        "<table>",
        "<tr><th>Name</th><th>a</th><th>b</th><th>c</th><th>d</th></tr>",
        "<tr><td>first</td><td>1.0</td><td>2.0</td><td>3</td><td>4</td></tr>",
        "<tr><td>second one</td><td>5.0</td><td>6.0</td><td>7</td><td>&lt;8</td></tr>",
        "<tr><td>all</td><td></td><td>9</td><td></td><td></td></tr>",
        "<tr><td>third</td><td>1.5</td><td>2.5</td><td>3.5</td><td>4.5</td></tr>",
        "</table>",
    ]
    assert [line.text for line in lines] == ["This is a line of text that is longer than any cell of a table."] * 3


def test_a_heading_spans_the_columns_below_it():
    head = write_row({75: "Left", 175: "Right", 275: "Last"}, 660)
    body = [write_row({0: f"row {n}"} | {60 + 50 * at: str(at) for at in range(6)}, 640 - 14 * n) for n in range(3)]
    rows = arrange_page(glyphs_of([head], body))[0].text.split("\n")
    assert rows[1] == '<tr><th></th><th colspan="2">Left</th><th colspan="2">Right</th><th colspan="2">Last</th></tr>'
    assert rows[2] == "<tr><td>row 0</td><td>0</td><td>1</td><td>2</td><td>3</td><td>4</td><td>5</td></tr>"


def test_prose_in_columns_is_no_table():
    words = "as many words as there stand on one line of a column "
    rows = [write_row({0: words, 300: words, 600: words}, 700 - 14 * n) for n in range(10)]
    assert {line.kind for line in arrange_page(glyphs_of(rows))} == {"line"}


def test_columns_that_the_file_has_row_by_row_are_read_one_after_the_other():
    rows = [write_row({0: f"left side line {n}", 200: f"right side line {n}"}, 700 - 14 * n) for n in range(8)]
    whole = write_row({0: "A heading over both columns of the page"}, 720)
    lines = arrange_page(glyphs_of([whole], rows, PROSE))
    assert [line.text for line in lines] == [
        "A heading over both columns of the page",
        *(f"left side line {n}" for n in range(8)),
        *(f"right side line {n}" for n in range(8)),
        *["This is a line of text that is longer than any cell of a table."] * 3,
    ]
    assert (lines[9].x0, lines[9].y0) == (200, 700)


@pytest.mark.parametrize(
    "cells",
    [
        lambda n: {0: f"key {n}", 200: f"a value of some words {n}"},  # a list of terms
        lambda n: {20 * n: f"left side line {n}", 20 * n + 100: f"right side line {n}"},  # no gutter
        lambda n: {0: f"only one line here {n}"},
    ],
)
def test_what_is_no_column_stays(cells):
    lines = arrange_page(glyphs_of([write_row(cells(n), 700 - 14 * n) for n in range(6)]))
    assert [line.text for line in lines] == [" ".join(cells(n).values()) for n in range(6)]


def test_five_rows_are_no_columns():
    rows = [write_row({0: f"left side line {n}", 200: f"right side line {n}"}, 700 - 14 * n) for n in range(5)]
    assert arrange_page(glyphs_of(rows))[0].text == "left side line 0 right side line 0"


def test_gaps_that_do_not_align_are_no_table():
    """Code with wide blanks: three words a line, each line with its own places."""
    places = [(0, 70, 200), (30, 120, 160), (0, 100, 180), (60, 90, 220), (20, 50, 110)]
    rows = [
        write_row(dict(zip(place, ("id", "::=", "TYPE"), strict=True)), 700 - 14 * n) for n, place in enumerate(places)
    ]
    assert [line.text for line in arrange_page(glyphs_of(rows))] == ["id ::= TYPE"] * 5


def test_a_table_of_contents_is_no_table():
    rows = [write_row({0: f"2.{n}", 40: "Naming", 90: "." * 30, 260: f"{n}"}, 700 - 14 * n) for n in range(8)]
    assert {line.kind for line in arrange_page(glyphs_of(rows))} == {"line"}


def test_low_signs_say_nothing_of_the_font():
    """Dashes of half a point in height: the gaps between words are no gaps between cells."""
    dashes = [Glyph("-", 60 + 5 * n, 3, 64 + 5 * n, 3.5) for n in range(20)]
    rows = [[*write("a b c", 0, 0), *dashes, Glyph("\n", 0, 0, 0, 0, 0.0, True)]] * 4
    rows = [[glyph._replace(y0=glyph.y0 - 14 * n, y1=glyph.y1 - 14 * n) for glyph in row] for n, row in enumerate(rows)]
    assert {line.kind for line in arrange_page(glyphs_of(rows))} == {"line"}


@pytest.mark.parametrize("num_rows", [1, 2])
def test_two_rows_are_no_table(num_rows):
    rows = [write_row({0: "a", 60: "b", 120: "c"}, 700 - 14 * n) for n in range(num_rows)]
    lines = arrange_page(glyphs_of(rows))
    assert [line.text for line in lines] == ["a b c"] * num_rows


def test_tables_may_be_left_alone():
    lines = arrange_page(glyphs_of(TABLE, PROSE), tables=False)
    assert [line.text for line in lines][:3] == ["Name a b c d", "first 1.0 2.0 3 4", "second one 5.0 6.0 7 <8"]
    assert {line.kind for line in lines} == {"line"}


def test_slanted_headings_stand_where_they_begin():
    head = write_row({0: "Name"}, 660)[:-2]
    for column, name in ((60, "apples"), (110, "pears"), (160, "plums")):
        head += [
            Glyph(letter, column + at * 4, 660 + at * 4, column + at * 4 + 5, 665 + at * 4, math.pi / 4)
            for at, letter in enumerate(name)
        ]
        head += write_row({}, 0)
    body = [write_row({0: f"row {n}", 60: "1", 110: "2", 160: "3"}, 640 - 14 * n) for n in range(4)]
    table = arrange_page(glyphs_of([head], body))[0]
    assert table.text.split("\n")[1] == "<tr><th>Name</th><th>apples</th><th>pears</th><th>plums</th></tr>"


def page_of(*lines: tuple[str, float], upright: tuple[str, float] = ()) -> SizedPage:
    found = [Line(text, 72, y, 300, y + 10) for text, y in lines]
    if upright:
        found.append(Line(upright[0], upright[1], 200, upright[1] + 10, 500, "upright"))
    return SizedPage(found, 600, 800)


def kept(pages: list[SizedPage]) -> list[list[str]]:
    return [[line.text for line in page.lines] for page in drop_margins(pages)]


@pytest.mark.parametrize(
    ("line", "y", "is_kept"),
    [
        ("7", 40, False), ("- 12 -", 40, False), ("Page 3 of 9", 40, False), ("xiv", 760, False), ("3/9", 40, False),
        ("7", 400, True), ("2024", 100, True), ("In 2024", 40, True), ("A title", 760, True),
        ("Downloaded from somewhere", 8, False), ("Downloaded from somewhere", 785, False), ("a last line", 30, True),
        ("a stamp", 9, False), ("no stamp", 10, True), ("a stamp", 781, False), ("no stamp", 780, True),  # a fortieth is 20 points
    ],
)  # fmt: skip
def test_lines_at_the_edge(line, y, is_kept):
    assert kept([page_of(("body", 500), (line, y))]) == [["body", line] if is_kept else ["body"]]


def test_what_repeats_at_the_edge_goes():
    pages = [page_of((f"Journal of Things {n}", 760), (f"Chapter {n}", 700), (f"body {n}", 400)) for n in range(5)]
    assert kept(pages) == [[f"Chapter {n}", f"body {n}"] for n in range(5)]
    assert kept(pages[:2]) == [[f"Journal of Things {n}", f"Chapter {n}", f"body {n}"] for n in range(2)]
    odd = [page_of(("Odd" if n % 2 else "Even", 760), ("body", 400)) for n in range(10)]
    assert kept(odd) == [["body"]] * 10
    for times, is_kept in ((3, True), (4, False)):  # two fifths
        some = [page_of(*[("Some", 760)] * (n < times), ("body", 400)) for n in range(10)]
        assert kept(some) == [["Some", "body"] if n < times and is_kept else ["body"] for n in range(10)]


def test_upright_text_at_the_side_goes():
    assert kept([page_of(("body", 400), upright=("arXiv:2501.00656", 20))]) == [["body"]]
    assert kept([page_of(("body", 400), upright=("a label", 200))]) == [["body", "a label"]]


def test_paragraphs_and_tables_are_set_off():
    page = SizedPage(
        [
            Line("one", 72, 700, 300, 710), Line("two", 72, 686, 300, 696), Line("new", 72, 650, 300, 660),
            Line("<table>", 72, 600, 300, 645, "table"), Line("after", 72, 588, 300, 598), Line("column", 320, 700, 500, 710),
        ],
        600, 800,
    )  # fmt: skip
    assert join_lines(page) == "one\ntwo\n\nnew\n\n<table>\n\nafter\n\ncolumn"


@given(st.lists(st.text(max_size=6), max_size=8))
def test_pages_stand_where_their_numbers_say(texts):
    whole, numbers = join_pages(texts)
    assert [whole[start:end] for start, end, _ in numbers] == texts
    assert [number for _, _, number in numbers] == list(range(1, len(texts) + 1))
    assert whole.replace("\n", "") == "".join(texts).replace("\n", "")
