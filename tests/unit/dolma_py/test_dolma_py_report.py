"""The page: what stands on it, that untrusted text stays text, and every way to be incomplete."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import pytest
from hypothesis import given

from dolma_py import pages, report
from dolma_py.corpus import Corpus
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import ConfigError, DataError
from tests.report_corpus import (
    CELL_SCHEMA,
    CELLS,
    NOTES,
    REPEATS,
    STEPS,
    collect,
    make_corpus,
    make_training_run,
    write_table,
)
from tests.strategies import texts


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path)


@pytest.fixture
def training_run(tmp_path: Path) -> Path:
    return make_training_run(tmp_path)


def write(corpus: Corpus, run: Path | None, tmp_path: Path, recipe: str | None = None) -> str:
    output = tmp_path / "report.html"
    report.write_report(corpus=corpus.root, run=None if run is None else str(run), output=str(output), recipe=recipe)
    return output.read_text(encoding="utf-8")


def plain(page: str) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_headline(corpus, training_run):
    items = [tuple(item) for item in report.list_headlines(collect(corpus, training_run))]
    assert items == [
        ("8", "documents in, 0.000\u00a0MB"),
        ("4", "documents kept, 0.000\u00a0MB"),
        ("4", "of the kept documents in the shards, in 5 copies"),
        ("0", "of the kept documents held out for evaluation"),
        ("4", "documents dropped, 0.000\u00a0MB"),
        ("29", "tokens in 1 part"),
        ("1,234,567", "parameters of the model"),
        ("4.000", "loss at the end, nats per token"),
        ("1.500", "bits per byte on held-out text; zstd -19 needs 2.000"),
    ]


def test_the_headline_says_no_more_of_the_shards_than_there_is(corpus):
    data = collect(corpus)
    once = data.mix._replace(sample=data.mix.sample | {"copies": 4, "heldout_documents": 1234})
    drawn = report.list_drawn(data._replace(shards=None, mix=once))
    assert [tuple(item) for item in drawn] == [
        ("4", "of the kept documents drawn for the shards"),
        ("1,234", "of the kept documents held out for evaluation"),
    ]
    for mix in (data.mix._replace(sample=None), None):
        labels = [item.label for item in report.list_headlines(data._replace(mix=mix))]
        assert not any("of the kept" in label for label in labels)


def test_a_broken_sum_is_shown(corpus, tmp_path):
    path = corpus.path("runs/made/08-shards/manifest.json")
    Path(path).write_text(Path(path).read_text().replace('"tokens": 29', '"tokens": 28'))
    checks = {check.text: check.failures for check in collect(corpus).checks}
    assert checks["tokens drawn = tokens in the shards"] == ("29 and 28",)
    assert checks["tokens over all sources = tokens in the shards"] == ("29 and 28",)
    assert plain(write(corpus, None, tmp_path)).count("does not hold") == 2


def test_what_each_rule_removes_is_on_the_page(corpus, tmp_path):
    """And whose pairs were not compared."""
    (found,) = collect(corpus).near_copies
    assert (found.rule, found.representative, found.pairs, found.unverified) == ("representative", 1, 2, 3)
    words = plain(write(corpus, None, tmp_path))
    assert (
        "minhash representative 0.80 1 2 and more 3 minhash: pairs leaves out 1,600 members of components of 500"
        in words
    )
    assert "share one of 200 bands" not in words
    (manifest,) = Path(corpus.path("runs/made")).glob("*-minhash/manifest.json")
    manifest.write_text(manifest.read_text().replace('"prefix"', '"olmo3"'))
    assert "minhash: in components of 500 or more only documents that share one of 200 bands" in plain(
        write(corpus, None, tmp_path)
    )


def test_the_table_is_on_the_page(corpus, training_run, tmp_path):
    words = plain(write(corpus, training_run, tmp_path))
    assert "documents and bytes in = out + dropped, for every rule and source: holds" in words
    assert "The edit repeated cut 14 bytes (8.14 %)" in words
    assert "web not_json 1,234" in words
    assert "Of 8 documents (0.000 MB), 4 stayed with 57.69 % of the text after 4 rules and edits" in words
    assert "Most went with contaminated: 18.27 % of the bytes" in words
    assert "1.500 2.000 1.750 -25.0 %" in words
    assert "Planted evaluation items: 1 of 2 found" in words
    assert (
        "sources installed_text 1.5 s 0.8 s 5 ingest ingest 2.5 s 0.8 s 2.00 5" in words
    )  # no rate where none means anything
    assert "Answers of 7 items, given their questions: 3.125 bits per byte" in words
    assert "Given the same questions, zstd -19 needs 7.500 on average over items and 7.250 weighted by bytes" in words
    assert "Without questions it needs 3.500 for all answers in one frame" in words


def test_what_was_cut_most_often_is_on_the_page(corpus, tmp_path):
    page = write(corpus, None, tmp_path)
    words = plain(page)
    assert "Licensed under the terms of Licensed under the terms of 4,000 3,999 3.200 w4 of web, " in words
    assert "documents/web/part-00000.parquet, row 4" in words
    assert "<script>" not in page and "U+202E" in page[page.index('id="repeats"') : page.index('id="planted"')]
    many = [{**REPEATS[0], "times": number} for number in range(50, 0, -1)]
    Path(corpus.path("repeats.json")).write_text(json.dumps({"format": "dolma-py-repeats", "passages": many}))
    assert "30 more" in plain(write(corpus, None, tmp_path))
    Path(corpus.path("repeats.json")).write_text('{"format": "dolma-py-repeats", "passages": []}')
    assert "no text of the length that counts stands twice" in plain(write(corpus, None, tmp_path))
    Path(corpus.path("repeats.json")).unlink()
    assert 'id="repeats"' not in write(corpus, None, tmp_path)


def test_a_file_of_another_kind_is_refused(corpus):
    Path(corpus.path("repeats.json")).write_text('{"format": "other"}')
    with pytest.raises(DataError, match="expected format dolma-py-repeats, got other"):
        collect(corpus)


def test_no_section_on_planted_items_where_they_were_not_ingested(corpus, tmp_path):
    """A build over one's own files: the step wrote items into files that the corpus has no documents of."""
    assert 'id="planted"' in write(corpus, None, tmp_path)
    path = Path(corpus.path("documents/notes/part-00000.parquet"))
    rows = [{"id": name, "text": text, "source": "notes", "metadata": "{}"} for name, text, _, _ in NOTES]
    write_table(str(path), rows, DOCUMENT_SCHEMA, [3])
    page = write(corpus, None, tmp_path)
    assert "planted" not in page.lower()


class Walker(html.parser.HTMLParser):
    """Tags, and attributes by name, of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")


def walk(page: str) -> Walker:
    walker = Walker()
    walker.feed(page)
    return walker


def test_documents_are_escaped(corpus, training_run, tmp_path):
    page = write(corpus, training_run, tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page
    assert "\u202e" not in page
    assert '<span class="control">U+202E</span>evil<span class="control">U+202C</span>' in page
    assert "&lt;b&gt;Once&lt;/b&gt;" in page
    assert not {"b"} & walk(page.split("Text the model wrote")[1].split("<h2")[0]).tags


def test_the_page_loads_nothing(corpus, training_run, tmp_path):
    walker = walk(write(corpus, training_run, tmp_path))
    assert not walker.tags & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "image",
        "foreignobject",
    }
    assert not [
        name for name in walker.attributes if name.startswith("on") or name in ("src", "srcset", "action", "data")
    ]
    links = walker.attributes["href"] | walker.attributes.get("xlink:href", set())
    assert links
    assert all(link.startswith("#") for link in links)
    assert "default-src 'none'; style-src 'unsafe-inline'" in walker.attributes["content"]


def test_hostile_names_are_escaped_everywhere(corpus, tmp_path):
    """Sources, rules, items and ids come from files too. A picture shows a source's name as it is, with no formula."""
    evil = "$\\frac{1}{0}$ <img src=x onerror=alert(1)> \u202e"
    escaped = json.dumps(evil)[1:-1]
    for path in [*Path(corpus.path("runs")).rglob("manifest.json"), *Path(corpus.path("views")).glob("*.yaml")]:
        text = path.read_text()
        for word in ('"notes"', '"natural"', '"not_json"'):
            text = text.replace(word, f'"{escaped}"')
        path.write_text(text.replace("q3", escaped))
    documents = [{"id": evil, "text": text, "source": evil, "metadata": json.dumps(more)} for _, text, _, more in NOTES]
    write_table(corpus.path("documents/notes/part-00000.parquet"), documents, DOCUMENT_SCHEMA, [3])
    cells = [dict(zip(CELL_SCHEMA.names, (evil, *cell[1:]), strict=True)) for cell in CELLS]
    write_table(corpus.path("cells.parquet"), cells, CELL_SCHEMA, [len(cells)])
    page = write(corpus, None, tmp_path)
    assert page.count("&lt;img src=x onerror") == 10
    assert ">$\\frac{1}{0}$ &lt;img" in page.split("<svg")[1].split("</svg>")[0]
    assert "img" not in walk(page).tags
    assert "onerror" not in walk(page).attributes
    assert "\u202e" not in page


@given(texts())
def test_visible_text_hides_nothing_and_steers_nothing(text):
    shown = str(pages.make_visible(text))
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]", shown
    )
    assert walk(shown).tags <= {"span"}
    back = re.sub(r'<span class="control">U\+([0-9A-F]+)</span>', lambda match: chr(int(match[1], 16)), shown)
    assert html.unescape(back) == text.replace("\r\n", "\n")


@pytest.mark.parametrize("num_steps", range(1, len(STEPS) + 1))
def test_a_recipe_stopped_anywhere_has_a_report(corpus, tmp_path, num_steps):
    for number in range(num_steps, len(STEPS)):
        (Path(corpus.path("runs/made")) / f"{number:02d}-{STEPS[number]}" / "manifest.json").unlink()
    words = plain(write(corpus, None, tmp_path))
    stopped = [f"Stopped before step {num_steps:02d}"] if num_steps < len(STEPS) else []
    assert re.findall(r"Stopped before step \d\d", words) == stopped
    assert ("No funnel" in words) == (num_steps < 2)
    assert ("No rule yet" in words) == (num_steps == 2)
    assert ("No plan" in words) == (num_steps < 7)
    assert ("No shards yet" in words) == (7 <= num_steps < 9)
    assert "does not hold" not in words


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("metrics.jsonl", "The run has no log yet."),
        ("manifest.json", "Not finished: 3 of 3 steps are done."),
        ("eval.json", "Not evaluated yet"),
        ("run.json", "3 steps, 300 tokens"),
        ("config.json", "3 steps, 300 tokens"),
        ("tokens.json", "3 steps, 300 tokens"),
        ("sample.txt", "3 steps, 300 tokens"),
    ],
)
def test_a_run_without_one_of_its_files(corpus, training_run, tmp_path, missing, expected):
    (training_run / missing).unlink()
    assert expected in plain(write(corpus, training_run, tmp_path))


def test_without_a_run(corpus, tmp_path):
    words = plain(write(corpus, None, tmp_path))
    assert "No training run was named" in words
    assert "Not evaluated yet" in words


def test_an_empty_run_folder_is_named(corpus, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "nothing holds neither metrics.jsonl nor eval.json" in plain(write(corpus, tmp_path / "nothing", tmp_path))


def test_a_loss_that_is_not_finite_is_counted(corpus, training_run, tmp_path):
    log = training_run / "metrics.jsonl"
    log.write_text(log.read_text().replace('"loss": 5.0', '"loss": NaN'))
    training = collect(corpus, training_run).training
    assert (training.num_not_finite, len(training.points)) == (1, 2)
    assert "1 logged steps have a loss or rate that is not finite" in plain(write(corpus, training_run, tmp_path))


def test_the_same_inputs_give_the_same_page(corpus, training_run, tmp_path):
    assert write(corpus, training_run, tmp_path) == write(corpus, training_run, tmp_path)


def test_the_message_names_file_and_size(corpus, tmp_path):
    output = tmp_path / "deep" / "page.html"
    message = report.write_report(corpus=corpus.root, run=None, output=str(output), recipe=None)
    assert message == f"wrote {output} ({output.stat().st_size / 1000:,.0f} kB)"


def test_a_page_far_from_any_folder_is_a_slip(corpus, tmp_path):
    output = tmp_path / "no" / "such" / "page.html"
    with pytest.raises(ConfigError, match=r"^--output: expected a file in a folder that is there"):
        report.write_report(corpus=corpus.root, run=None, output=str(output), recipe=None)
    assert not (tmp_path / "no").exists()


def test_what_each_rule_drops_alone_stands_in_the_funnel(corpus, tmp_path):
    (path,) = [file for file in Path(corpus.root).glob("runs/*/*/manifest.json") if '"too_short"' in file.read_text()]
    made = json.loads(path.read_text())
    assert "of 1,234" not in plain(write(corpus, None, tmp_path))
    made["funnel"]["steps"][0]["alone"] = {
        "web": {"documents": 1200, "dropped": 300},
        "notes": {"documents": 34, "dropped": 8},
    }
    path.write_text(json.dumps(made))
    assert "24.96 % of 1,234" in plain(write(corpus, None, tmp_path))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0.000"), (825, "0.001"), (99_999_999, "100.000"), (1_234_567_890, "1,234.6")],
)
def test_megabytes(value, expected):
    assert report.format_mb(value) == expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(1, 3, "33.33\u00a0%"), (0, 3, "0.00\u00a0%"), (1, 10**6, "< 0.01\u00a0%"), (5, 0, "-"), (3, 3, "100.00\u00a0%")],
)
def test_shares(part, whole, expected):
    assert report.format_share(part, whole) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.04, "0.0 s"), (99.9, "99.9 s"), (150, "2 min"), (7260, "2 h 01 min")]
)
def test_durations(seconds, expected):
    assert report.format_duration(seconds) == expected
