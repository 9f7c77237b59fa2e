"""What decontamination found: counted by benchmark and source, shown beside its item, hostile text and all."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pytest
from rich.console import Console

from dolma_py import manifest, storage
from dolma_py.documents import SPANS
from dolma_py.done import render_line
from dolma_py.errors import ConfigError, DataError
from dolma_py.inspect_documents import InspectOptions, collect_set, run_inspect
from dolma_py.inspect_terminal import print_sections
from dolma_py.report_contamination import (
    EvaluationItem,
    Finding,
    count_findings,
    list_spans,
    load_items,
    name_benchmark,
    show_item,
)
from dolma_py.report_excerpts import Part
from tests.tiny_corpus import write_attributes, write_corpus

NAME = "contamination-v3"
SCHEMA = pa.schema([("contaminated", pa.bool_()), ("score", pa.float32()), ("item", pa.string()), ("spans", SPANS)])
QUESTION = "Ann has 3 pens and Bob has 2. How many pens have they?"
ITEMS = [
    {"id": "quiz/test/1", "question": QUESTION, "answer": "5", "passage": None, "benchmark": "quiz"},
    {
        "id": "other/dev/4",
        "question": "<b>Who</b> \x1b[31m is it?",
        "answer": None,
        "passage": "p",
        "benchmark": "other",
    },
    {"id": "bare", "question": "What?", "answer": None, "passage": None, "benchmark": ""},
]
OPTIONS = InspectOptions(
    corpus=None, output=None, set=NAME, view=None, rule=None, source=None, id=None, sample=9, seed=0, html=None
)
FOUND = {0: "quiz/test/1", 2: "quiz/test/1", 3: "other/dev/4", 5: "bare", 6: "gone/test/9"}


def write_set(made, fingerprint="f"):
    rows = [
        {"contaminated": number in FOUND, "score": 0.9, "item": FOUND.get(number, "quiz/test/1"),
         "spans": [{"start": 4, "end": 30, "score": 0.9}] if number in FOUND else []}
        for number in range(7)
    ]  # fmt: skip
    rows[1] = dict.fromkeys(SCHEMA.names)  # outside the view
    write_attributes(made, NAME, [[rows[:2], rows[2:4]], [rows[4:]]], SCHEMA)
    line = {"unit": NAME, "fingerprint": fingerprint, "files": [], "facts": {}}
    storage.write_bytes(made.path("attributes", NAME, "_done.jsonl"), render_line(line))


@pytest.fixture
def corpus(tmp_path):
    rows = [
        {
            "text": f"No. {QUESTION.replace('3', '4')} The answer is {number}.",
            "id": f"d{number}",
            "source": "ab"[number % 2],
        }
        for number in range(7)
    ]
    made = write_corpus(str(tmp_path / "corpus"), [[rows[:2], rows[2:4]], [rows[4:]]])
    write_set(made)
    path = "runs/r/00-decontaminate/items.jsonl"
    storage.write_bytes(made.path(path), b"".join(json.dumps(item).encode() + b"\n" for item in ITEMS))
    step = {"attributes": {NAME: "f"}, "artifacts": {f"{NAME}-items": path}}
    manifest.write_manifest(made.path("runs/r/00-decontaminate"), step)
    return made


def test_documents_are_counted_by_benchmark_and_source(corpus):
    items = load_items(corpus, NAME)
    assert items["quiz/test/1"] == EvaluationItem("quiz/test/1", "quiz", QUESTION, "5", None)
    assert count_findings(corpus, NAME, items) == [
        Finding("quiz", "a", 2, 1), Finding("(none named)", "b", 1, 1), Finding("gone", "a", 1, 1), Finding("other", "b", 1, 1),
    ]  # fmt: skip
    assert [name_benchmark(item, {}) for item in ("quiz/test/1", "bare", None)] == [
        "quiz",
        "(none named)",
        "(none named)",
    ]


def test_items_are_those_of_the_run_that_made_the_set(corpus):
    write_set(corpus, fingerprint="another")
    assert load_items(corpus, NAME) == {}
    write_set(corpus)
    storage.write_bytes(corpus.path("runs/r/00-decontaminate/items.jsonl"), b'{"id": "x"}\n')
    with pytest.raises(DataError, match="no evaluation item"):
        load_items(corpus, NAME)


def test_a_find_stands_beside_its_item(corpus):
    table, sample = collect_set(corpus, OPTIONS)
    assert table.title == f"{NAME}: 5 contaminated documents"
    assert table.table[:2] == [("benchmark", "source", "documents", "items"), ("quiz", "a", "2", "1")]
    assert [(example.id, example.other and example.other.id) for example in sample.examples] == [
        ("d0", "quiz/test/1"), ("d2", "quiz/test/1"), ("d3", "other/dev/4"), ("d5", "bare"), ("d6", None),
    ]  # fmt: skip
    first = sample.examples[0]
    assert first.reasons == ("item quiz/test/1, score 0.900",) and (first.role, first.other.role) == (
        "document: ",
        "item: ",
    )
    assert [part.text for part in first.parts if part.mark == "found"] == ["Ann has 4 pens and Bob has"]
    # the document has 4 in place of 3, and no 5
    assert [part.text for part in first.other.parts if part.mark == "differs"] == ["3", "5"]


def test_an_id_that_neither_a_document_nor_an_item_has_is_told_with_the_nearest(corpus):
    for wanted, near in (("quiz/test/11", "quiz/test/1"), ("d22", "d2")):
        with pytest.raises(ConfigError, match=f"^--id: expected .*, got '{wanted}'. The nearest is {near}.$"):
            run_inspect(**OPTIONS._replace(corpus=corpus.root, id=wanted)._asdict())


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"source": "b"}, ["d3", "d5"]),
        ({"id": "d2"}, ["d2"]),
        ({"id": "quiz/test/1"}, ["d0", "d2"]),
        ({"id": "d4"}, []),
    ],
)
def test_source_document_and_item_choose(corpus, options, ids):
    _, sample = collect_set(corpus, OPTIONS._replace(**options))
    assert [example.id for example in sample.examples] == ids


def test_no_text_steers_terminal_or_page(corpus, tmp_path):
    stream = io.StringIO()
    print_sections(collect_set(corpus, OPTIONS), Console(file=stream, width=120, force_terminal=False))
    shown = stream.getvalue()
    assert "\x1b" not in shown and "<U+001B>[31m" in shown and "item: other/dev/4 of other" in shown
    page = tmp_path / "page.html"
    last = run_inspect(**OPTIONS._replace(corpus=corpus.root, html=str(page))._asdict())
    text = page.read_text()
    assert last == f"wrote {page} with 5 documents"
    assert "<b>Who" not in text and "&lt;<mark>b</mark>&gt;<mark>Who" in text and "\x1b" not in text
    assert "<td>quiz</td><td>a</td><td>2</td><td>1</td>" in text and "item: <b>quiz</b>" in text


def test_the_only_set_needs_no_name(corpus):
    file = {"path": f"attributes/{NAME}/web/part-00000.parquet", "bytes": 1, "rows": 1, "checksum": ""}
    line = {"unit": NAME, "fingerprint": "f", "files": [file], "facts": {}}
    storage.write_bytes(corpus.path("attributes", NAME, "_done.jsonl"), render_line(line))
    table, _ = collect_set(corpus, OPTIONS._replace(set=None))
    assert table.title.startswith(NAME)


def test_the_spans_of_the_best_item_are_shown():
    spans = [{"start": start, "end": start + 5, "score": 1.0} for start in (0, 10, 20)]
    values = {"item": "a", "spans": spans, "span_items": ["b", "a", "b"]}
    assert list_spans(values) == [spans[1]]
    assert list_spans(values | {"item": "c"}) == spans  # joined with a better one
    assert list_spans({"item": "a", "spans": spans}) == spans and list_spans({"item": "a", "spans": None}) == []


def test_the_words_behind_the_match_count_for_the_answer():
    item = EvaluationItem("i", "b", "How many?", "forty two", None)
    text = "\u00e4 How many? It is forty two."
    spans = [{"start": 3, "end": 11, "score": 1.0}]
    assert show_item(item, text, spans) == (Part("How many?"), Part("\n\nAnswer: "), Part("forty two"))
    assert show_item(item, "How many?", [])[-3:] == (Part("forty", "differs"), Part(" "), Part("two", "differs"))
