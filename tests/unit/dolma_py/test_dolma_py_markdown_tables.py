import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from dolma_py.arrow_buffers import TextView
from dolma_py.markdown_tables import find_tables, write_tables
from tests import strategies
from tests.reference import markdown_tables as reference

PARTS = (
    "|", "|", "a", "b c", "-", "---", ":-", "-:", "\\", "\\|", " ", "\t", "\n", "\n", "\r\n", "```", "~~~", "\u00e9", "|a|b|\n|-|-|\n",
    "|1|2|3|\n", "<td>", "<", ">", "&", "&lt;", "&#3", "&#x1f;", ";", "`", "``", "<a b='", '<a b="x">', "c=", "'", '"', "/>", "</p >", "<!--", "-->",
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=16).map(lambda parts: "".join(parts).encode()), strategies.any_bytes()
)


def view(texts):
    return TextView(np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)]))


def parts_of(texts):
    return [texts.data[low:high].tobytes() for low, high in zip(texts.offsets, texts.offsets[1:], strict=False)]


@given(st.lists(TEXTS, max_size=4))
def test_tables_match_reference(texts):
    found = find_tables(view(texts))
    spans = list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    assert [spans[low:high] for low, high in zip(found.offsets, found.offsets[1:], strict=False)] == [
        reference.find_tables(text) for text in texts
    ]
    written = write_tables(view(texts))
    assert parts_of(written) == [reference.write_tables(text) for text in texts]
    assert parts_of(write_tables(written)) == parts_of(written)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            b"x\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\nz",
            b"x\n<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td>2</td></tr>\n</table>\n\nz",
        ),
        (b"a|b\n-|-\nc\\|d|", b"<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>c|d</td></tr>\n</table>"),
        (b"|a|\n|-|\n|1|2|3|", b"<table>\n<tr><th>a</th></tr>\n<tr><td>1</td><td>2</td><td>3</td></tr>\n</table>"),
        (b"|a|b|\n|-|\n|1|2|", None),  # cells and delimiters differ
        (b"|a|\n|x|\n|1|", None),
        (b"```\n|a|\n|-|\n```", None),
        (b"a\n-\nb", None),
        (b"a \\| b\n-\n", None),
    ],
)
def test_worked_examples(text, html):
    assert parts_of(write_tables(view([text]))) == [text if html is None else html]


@given(st.lists(st.sampled_from(PARTS), max_size=16))
def test_cells_match_reference(parts):
    """Texts that are a table for certain, so that markup in cells is tried often."""
    cell = "".join(parts).replace("\n", " ").replace("\r", "").replace("|a|b| |-|-| ", "")
    text = f"|{cell}|\n".encode()
    text += b"|" + b"-|" * max(1, len(reference.split_row(text[:-1]))) + b"\n" + text
    assert parts_of(write_tables(view([text]))) == [reference.write_tables(text)]


@pytest.mark.parametrize(
    ("cell", "html"),
    [
        (b"p < 0.05", b"p &lt; 0.05"),
        (b"<LOQ, n>3", b"&lt;LOQ, n&gt;3"),
        (b"AT&T", b"AT&amp;T"),
        (b"a&nbsp;b &#8804; &#x3c; &#; &x", b"a&nbsp;b &#8804; &#x3c; &amp;#; &amp;x"),
        (b"one<br/>two <sup>3</sup>", b"one<br/>two <sup>3</sup>"),
        (b"<a href='x>y' b = 1>z</a >", b"<a href='x>y' b = 1>z</a >"),
        (b"$a<b$ and $c>d$", b"$a&lt;b$ and $c&gt;d$"),
        (b"`<div>` and ``a`<b>``", b"`&lt;div&gt;` and ``a`&lt;b&gt;``"),
        (b"`<i> <b>", b"`<i> <b>"),
        (b"\\<i>\\&lt;\\`<b>`", b"\\&lt;i&gt;\\&amp;lt;\\`<b>`"),
        (b"<https://x.org/?a&b>", b"&lt;https://x.org/?a&amp;b&gt;"),
        (b"<!-- a > b -->c<!-- d", b"<!-- a > b -->c&lt;!-- d"),
        (b"<i x='" + b"y" * 1000 + b"'>", b"&lt;i x='" + b"y" * 1000 + b"'&gt;"),
        (b"`a\\|b<c>`", b"`a|b&lt;c&gt;`"),
    ],
)
def test_text_is_escaped_and_markup_is_not(cell, html):
    text = b"|a|\n|-|\n|" + cell + b"|"
    expected = b"<table>\n<tr><th>a</th></tr>\n<tr><td>" + html + b"</td></tr>\n</table>"
    assert parts_of(write_tables(view([text]))) == [expected]


def test_a_reader_of_html_sees_the_text_of_the_cells():
    cells = ["x < y && y > z", "if a<b then", "R&D; &", "`<title>`"]
    text = ("|h|\n|-|\n" + "".join(f"|{cell}|\n" for cell in cells)).encode()
    (page,) = parts_of(write_tables(view([text])))
    assert re.findall(r"<td>(.*)</td>", page.decode()) != cells
    tree = HTMLTree.parse(page.decode())
    # "R&D;" could be a reference by its form, and no reader knows it: it stays
    assert [element.text for element in tree.body.get_elements_by_tag_name("td")] == cells


@pytest.mark.parametrize("unit", [b"<a b='", b"<a ", b"&a", b"`` ` ``` ", b"<!--", b"<a b=\"c' d='"])
def test_time_stays_linear_in_markup_that_never_ends(unit):
    begin = time.process_time()
    write_tables(view([b"|a|\n|-|\n|" + unit * (1_000_000 // len(unit))]))
    assert time.process_time() - begin < 10


def test_a_view_that_does_not_start_at_zero_is_read_right():
    texts = view([b"junk", b"|a|\n|-|", b"|b|\n|-|"])
    assert parts_of(write_tables(TextView(texts.data, texts.offsets[1:]))) == [
        reference.write_tables(b"|a|\n|-|"),
        reference.write_tables(b"|b|\n|-|"),
    ]


def test_hostile_tables_stay_small():
    wide = b"|" * 100_000 + b"\n" + b"|-" * 99_999 + b"|\n" + b"|\n" * 100_000
    begin = time.process_time()
    written = write_tables(view([wide, b"|a\n" * 300_000]))
    assert len(written.data) < 20 * len(wide) + 2_000_000
    assert time.process_time() - begin < 20
