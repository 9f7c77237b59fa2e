import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.rules import evaluate_rule, parse_rule
from dolma_py.spans import check_spans, cut_spans, read_spans
from taggers.base import tag_checked
from taggers.pdf_text import PDF_RULES, count_pdf_lines, find_url_references
from taggers.registry import build_tagger
from tests import strategies
from tests.reference import pdf_text as reference

PARTS = (
    "http://", "HTTPS://", "www.", "ftp://", "mailto:", "a.b", "/c", "?d=e", ".", ",", ")", "(", "[", "]", "](", "![", "<", ">", '"',
    ' "t"', " ", "\n",
    "\u00e9", "x", "_", "|", "\\", "{", "}", "[x](http://a.b)", "![i](p.png)", "<http://a.b>", "f[x](y)",
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=12).map(lambda parts: "".join(parts).encode()), strategies.any_bytes()
)
LINES = st.lists(
    st.sampled_from(["|", " ", "\n", "1", "22", "a", "\u00e9", "\u00a0", "\u0663", "|a|1|\n", "\r\n"]), max_size=12
).map("".join)


def view(texts):
    data = [text if isinstance(text, bytes) else text.encode() for text in texts]
    return TextView(np.frombuffer(b"".join(data), np.uint8), np.cumsum([0, *map(len, data)]))


@given(st.lists(TEXTS, max_size=3))
def test_url_references_match_reference(texts):
    found = find_url_references(view(texts))
    spans = list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    assert [spans[low:high] for low, high in zip(found.offsets, found.offsets[1:], strict=False)] == [
        reference.find_url_references(text) for text in texts
    ]
    check_spans(found, np.diff(view(texts).offsets), "here")


@given(st.lists(st.one_of(LINES, strategies.texts()), max_size=3))
def test_line_counts_match_reference(texts):
    counts, sums = count_pdf_lines(view(texts))
    assert [(tuple(row), total) for row, total in zip(counts.tolist(), sums.tolist(), strict=True)] == [
        reference.count_pdf_lines(text) for text in texts
    ]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("see [x](http://a.b)", "see x"),
        ("![figure 1](page_3.png) and ![](x)", " and "),
        ("[a](https://x.y/z_(w)) [b](www.c.d 'no') f[i](j) [see](below)", "a [b]( 'no') f[i](j) [see](below)"),
        ('[a](http://x.y "its title").', "a."),
        ("At https://x.y/z?q=1, (http://a.b), <http://c.d> and www.e.f.", "At , (),  and ."),
        ("xhttp://a.b http:// www. HTTP://A.B", "xhttp://a.b http:// www. "),
        ("\\url{http://a.b} |http://a.b| http://a.b\u4e2d", "\\url{} || \u4e2d"),
        ("[http://a.b](http://a.b)", ""),
    ],
)
def test_what_is_left_when_references_are_cut(text, left):
    texts = view([text])
    assert cut_spans(texts, find_url_references(texts)).data.tobytes().decode() == left


@pytest.mark.parametrize(("num_bytes", "spans"), [(2000, [0, 1987]), (2001, [1990])])
def test_a_link_is_of_at_most_two_thousand_bytes(num_bytes, spans):
    """The longer one loses its URL and stays a link in form."""
    link = "[" + "x" * (num_bytes - 14) + "](http://a.b)"
    assert len(link) == num_bytes
    assert find_url_references(view([link + "y"])).starts.tolist() == spans


def test_many_references_and_hostile_lines():
    assert len(find_url_references(view(["http://a.b " * 5000])).starts) == 5000
    hostile = ["[" * 200_000, "[a](" * 100_000, "![" * 100_000, "<http://" + "(" * 200_000, "http://" * 100_000]
    assert find_url_references(view(hostile)).offsets[:4].tolist() == [0, 0, 0, 0]


def tag(texts):
    return tag_checked(build_tagger("pdf-text"), pa.record_batch({"text": pa.array(texts, pa.large_string())}))


# (rule, text that the rule keeps, text that it drops)
EDGES = [
    ("pdf_numbers", "abcd1\nabcde 1", "abcd1\nab cd1"),
    ("pdf_numbers", "a\n\n1bcd", "abc1"),
    ("pdf_tables", "| a\n" * 29 + "a |\n" * 71, "| a\n" * 3 + "b\n" * 7),
]


@pytest.mark.parametrize(("rule", "kept", "dropped"), EDGES)
def test_rules_at_their_thresholds(rule, kept, dropped):
    (expression,) = [known.expression for known in PDF_RULES if known.name == rule]
    table = pa.Table.from_batches([tag([kept, dropped])])
    assert evaluate_rule(parse_rule(expression), table)[0].tolist() == [True, False]


def test_columns_of_a_page():
    page = "Intro\n\n| a | 1 |\n|---|---|\n| b | 22 |\n\nSee [x](http://a.b)."
    (row,) = tag([page]).to_pylist()
    assert row["pipe_start_line_frac"] == row["pipe_line_frac"] == 3 / 5
    assert row["mean_line_digit_frac"] == (1 / 5 + 2 / 6) / 5
    assert (row["num_tables"], row["table_byte_frac"]) == (1, 30 / len(page))
    assert row["num_url_references"] == 2
    (empty,) = tag([""]).to_pylist()
    assert {value for name, value in empty.items() if name != "url_reference_spans"} == {0}


def test_spans_of_a_slice_are_those_of_the_rows():
    batch = pa.record_batch({"text": pa.array(["http://a.b", "x http://c.d"], pa.large_string())})
    spans = read_spans(build_tagger("pdf-text").tag(batch.slice(1)).column("url_reference_spans"))
    assert (spans.starts.tolist(), spans.ends.tolist()) == ([2], [12])
    assert view_text(batch.column("text")).offsets.tolist() == [0, 10, 22]
