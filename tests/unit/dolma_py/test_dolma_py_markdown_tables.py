import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import TextView
from dolma_py.markdown_tables import find_tables, write_tables
from tests import strategies
from tests.reference import markdown_tables as reference

PARTS = (
    "|", "|", "a", "b c", "-", "---", ":-", "-:", "\\", "\\|", " ", "\t", "\n", "\n", "\r\n", "```", "~~~", "\u00e9", "|a|b|\n|-|-|\n",
    "|1|2|3|\n", "<td>",
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
