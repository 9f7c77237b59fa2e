"""Looking at duplicates and rules: the right documents, side by side, and hostile text that stays text."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dolma_py import done, manifest, storage
from dolma_py.documents import DUPLICATE_SCHEMA
from dolma_py.errors import ConfigError
from dolma_py.inspect_documents import InspectOptions, collect_pairs, collect_rule, run_inspect
from dolma_py.inspect_names import find_nearest
from dolma_py.inspect_terminal import print_sections
from dolma_py.report_repeats import FORMAT
from dolma_py.views import Step, save_view
from tests.tiny_corpus import write_attributes, write_corpus

HOSTILE = "stone \x1b[31mred\x1b[0m \x1b]0;title\x07 [bold]markup[/bold] \u202eturned <script>alert(1)</script> \x9b2J \x00 end"
TEXTS = ["river one two three", HOSTILE, "river one two four", "more " + HOSTILE, "alone", "river one six three"]
OPTIONS = InspectOptions(
    corpus=None, output=None, set=None, view=None, rule=None, source=None, id=None, sample=9, seed=0, html=None
)


@pytest.fixture
def corpus(tmp_path):
    """Documents 2 and 5 repeat 0, 3 repeats 1; two row groups and two shards."""
    rows = [{"text": text, "id": f"d{number}", "source": "ab"[number % 2]} for number, text in enumerate(TEXTS)]
    made = write_corpus(str(tmp_path / "corpus"), [[rows[:2], rows[2:4]], [rows[4:]]])
    clusters = {
        0: (0, 3, "d0", 1.0),
        1: (1, 2, "d1", 1.0),
        2: (0, 3, "d0", 0.5),
        3: (1, 2, "d1", 0.9),
        5: (0, 3, "d0", 0.25),
    }
    found = []
    for number in range(6):
        cluster, size, kept, similarity = clusters.get(number, (1 << 40, 1, "d4", 1.0))
        found.append(
            {
                "is_duplicate": kept != f"d{number}", "cluster_id": cluster, "cluster_size": size, "kept_id": kept,
                "similarity": similarity,
            }
        )  # fmt: skip
    write_attributes(made, "minhash-v1", [[found[:2], found[2:4]], [found[4:]]], DUPLICATE_SCHEMA)
    files = [
        {"path": f"attributes/minhash-v1/web/part-0000{number}.parquet", "bytes": 1, "rows": 1, "checksum": ""}
        for number in (0, 1)
    ]
    line = {"unit": "minhash-v1", "fingerprint": "f", "files": files, "facts": {}}
    storage.write_bytes(made.path("attributes/minhash-v1/_done.jsonl"), done.render_line(line))
    steps = [
        Step(name="near_copy", attributes="minhash-v1", keep="not is_duplicate"),
        Step(name="long_enough", min_text_bytes=10),
    ]
    storage.make_folder(made.path("views"))
    save_view(made.load_view(None).extend("after", steps), made.path("views/after.yaml"))
    return made


def pairs(corpus, **options):
    """(removed, kept) ids of the examples."""
    (section,) = collect_pairs(corpus, OPTIONS._replace(corpus=corpus.root, **options))
    return [(example.id, example.other and example.other.id) for example in section.examples]


def draw(sections, width=100):
    stream = io.StringIO()
    print_sections(sections, Console(file=stream, width=width, force_terminal=False))
    return stream.getvalue()


def test_every_duplicate_stands_beside_the_one_that_stays(corpus):
    assert pairs(corpus) == [("d2", "d0"), ("d3", "d1"), ("d5", "d0")]
    (section,) = collect_pairs(corpus, OPTIONS._replace(corpus=corpus.root))
    assert section.title == "minhash-v1: 3 of 3 duplicates"
    assert section.examples[0].reasons == ("similarity 0.500", "one of 3 in its cluster", "cluster 0")
    changed = [part.text for part in section.examples[0].parts if part.mark == "differs"]
    assert changed == ["four"]


def test_a_sample_is_the_same_every_time_and_another_with_another_seed(corpus):
    found = [pairs(corpus, sample=1, seed=seed) for seed in range(8)]
    assert found == [pairs(corpus, sample=1, seed=seed) for seed in range(8)]
    assert {pair for (pair,) in found} == {("d2", "d0"), ("d3", "d1"), ("d5", "d0")}


@pytest.mark.parametrize(
    ("kept_id", "reason"),
    [
        ("day 1: 7", "seen before in an index, as day 1: 7: that text is not in this corpus"),
        ("d4", "seen before in an index, as d4: that text is not in this corpus"),  # a document here has that id too
        (None, "seen before by a filter: what it repeats is not in this corpus, and a filter takes a few new keys for seen"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by_rule", [False, True])
def test_what_earlier_data_had_is_not_said_to_stand_here(tmp_path, kept_id, reason, by_rule):
    """d0 and d1 are copies that were seen before, d3 repeats d4."""
    rows = [{"text": text, "id": f"d{number}"} for number, text in enumerate("aabcc")]
    made = write_corpus(str(tmp_path / "corpus"), [[rows]])
    seen = {"is_duplicate": True, "cluster_id": 0, "cluster_size": 2, "kept_id": kept_id}
    pair = {"cluster_id": 3, "cluster_size": 2, "kept_id": "d4", "similarity": 1.0}
    alone = {"is_duplicate": False, "cluster_id": 2, "cluster_size": 1, "kept_id": "d2", "similarity": 1.0}
    seen["similarity"] = None if kept_id is None else 1.0
    found = [seen, seen, alone, {"is_duplicate": True, **pair}, {"is_duplicate": False, **pair}]
    write_attributes(made, "exact-v1", [[found]], DUPLICATE_SCHEMA)
    storage.make_folder(made.path("views"))
    steps = [Step(name="exact_copy", attributes="exact-v1", keep="not is_duplicate")]
    save_view(made.load_view(None).extend("after", steps), made.path("views/after.yaml"))
    options = OPTIONS._replace(corpus=made.root, set="exact-v1", view="after", rule="exact_copy")
    examples = (collect_rule(made, options) if by_rule else collect_pairs(made, options))[0].examples
    assert [(example.id, example.reasons[0], example.other and example.other.id) for example in examples] == [
        ("d0", reason, None), ("d1", reason, None), ("d3", "the same text", "d4"),
    ]  # fmt: skip
    assert {example.reasons[1] for example in examples} == {"one of 2 in its cluster"}


def test_source_and_id_choose(corpus):
    assert pairs(corpus, source="b") == [("d3", "d1"), ("d5", "d0")]
    assert pairs(corpus, id="d5") == [("d5", "d0")]
    assert pairs(corpus, id="d0") == [("d2", "d0"), ("d5", "d0")]
    assert pairs(corpus, id="d4") == []


def test_a_view_without_a_rule_asks_for_one(corpus, tmp_path):
    with pytest.raises(
        ConfigError, match=r"^--rule: expected a rule of view after with --view, one of \[.*'long_enough'"
    ):
        run_inspect(**OPTIONS._replace(corpus=corpus.root, view="after")._asdict())
    page = str(tmp_path / "no" / "such" / "page.html")
    with pytest.raises(ConfigError, match=r"^--html: expected a file in a folder that is there"):
        run_inspect(**OPTIONS._replace(corpus=corpus.root, html=page)._asdict())


def test_a_rule_shows_what_it_dropped_and_what_it_kept(corpus):
    options = OPTIONS._replace(corpus=corpus.root, view="after", rule="long_enough")
    dropped, kept = collect_rule(corpus, options)
    assert [(example.id, example.reasons) for example in dropped.examples] == [("d4", ("5 bytes of text are left",))]
    assert [example.id for example in kept.examples] == [
        "d0",
        "d1",
    ]  # those that an earlier rule dropped did not reach it
    dropped, kept = collect_rule(corpus, options._replace(rule="near_copy", source="a"))
    assert [(example.id, example.other.id) for example in dropped.examples] == [("d2", "d0")]
    assert [example.id for example in kept.examples] == ["d0", "d4"]


@pytest.mark.parametrize("width", [40, 100])
def test_no_sign_of_a_text_steers_the_terminal(corpus, width):
    shown = draw(collect_pairs(corpus, OPTIONS._replace(corpus=corpus.root, id="d3")), width)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    joined = re.sub(r"[\s\u2500-\u257f]+", "", shown)
    assert (
        "<U+001B>[31mred" in joined
        and "[bold]markup[/bold]" in joined
        and "<U+202E>" in joined
        and "<U+009B>2J" in joined
    )


def test_a_page_holds_no_live_markup_of_a_text(corpus, tmp_path):
    page = tmp_path / "page.html"
    last = run_inspect(**(OPTIONS._replace(corpus=corpus.root, html=str(page))._asdict()))
    text = page.read_text()
    assert last == f"wrote {page} with 3 documents"
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text and "U+001B" in text and "\x1b" not in text
    assert "default-src 'none'" in text and text.count('class="pair"') == 3


def test_the_output_folder_is_called_as_the_user_calls_it(corpus, tmp_path):
    output, page = tmp_path / "out", tmp_path / "page.html"
    output.mkdir()
    Path(corpus.root).rename(output / ".dolma-py")
    options = OPTIONS._replace(output=str(output), id="d5")
    assert run_inspect(**options._asdict()) == f"1 document of {output}"
    assert run_inspect(**options._replace(id=None)._asdict()) == f"3 documents of {output}"
    assert run_inspect(**options._replace(html=str(page))._asdict()) == f"wrote {page} with 1 document"
    assert f"<h1>{output}</h1>" in page.read_text()


def test_an_output_folder_that_no_command_has_written_to_is_told(tmp_path):
    options = OPTIONS._replace(output=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError) as caught:
        run_inspect(**options._asdict())
    assert (caught.value.key, caught.value.got) == ("--output", options.output)
    assert "command over plain files has written" in str(caught.value)
    assert "--input FILES --output DIR" in str(caught.value) and "corpus" not in str(caught.value)
    (tmp_path / "nowhere" / ".dolma-py").mkdir(parents=True)
    with pytest.raises(ConfigError, match="the command has read none"):
        run_inspect(**options._asdict())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"corpus": None}, "--corpus, --output: expected one of the two"),
        ({"rule": "x"}, "expected --view with it"),
        ({"rule": "x", "view": "after"}, "one of .'near_copy', 'long_enough'"),
        ({"id": "d44"}, "--id: expected the id of a document .*, got 'd44'. The nearest is d4.$"),
        ({"id": "d44", "view": "after", "rule": "near_copy"}, "got 'd44'. The nearest is d4.$"),
        ({"source": "bb"}, "--source: expected a source of the corpus, got 'bb'. Did you mean b[?] Known: a, b.$"),
        ({"set": "exact-v1"}, "expected an attribute set of .* with duplicates or evaluation items, got 'exact-v1'"),
    ],
)
def test_wrong_options_are_named(corpus, options, words):
    with pytest.raises(ConfigError, match=words):
        run_inspect(**(OPTIONS._replace(**({"corpus": corpus.root} | options))._asdict()))


def test_an_id_that_the_corpus_has_and_the_set_does_not_flag_is_no_mistake(corpus, capsys):
    assert run_inspect(**OPTIONS._replace(corpus=corpus.root, id="d4")._asdict()).startswith("0 documents")
    assert "no duplicates with id d4" in capsys.readouterr().out


@given(st.lists(st.text("ab", max_size=4), max_size=9), st.text("ab", max_size=4))
def test_the_nearest_name_is_itself_where_it_is_known(known, name):
    near = find_nearest(name, sorted(known))
    assert near == name if name in known else (near in known if known else near is None)


@pytest.fixture
def cut_corpus(corpus):
    """The same with a step that cut two texts."""
    line = {"unit": "substring-v1", "fingerprint": "g", "files": [], "facts": {}}
    storage.write_bytes(corpus.path("attributes/substring-v1/_done.jsonl"), done.render_line(line))
    place = {"source": "a", "file": "documents/web/part-00000.parquet", "row": 3}
    passages = [
        {"times": 1200, "documents": 1100, "bytes": 99000, "text": HOSTILE, "examples": [place | {"id": "d3"}, place | {"id": "d5"}]},
        {"times": 2, "documents": 2, "bytes": 90, "text": "river", "examples": [place | {"id": "d4"}]},
    ]  # fmt: skip
    storage.write_bytes(corpus.path("repeats.json"), json.dumps({"format": FORMAT, "passages": passages}).encode())
    made = {"attributes": {"substring-v1": "g"}, "artifacts": {"repeats": "repeats.json"}}
    manifest.write_manifest(corpus.path("runs/r/00-substring"), made)
    return corpus


def inspect(corpus, **options):
    return run_inspect(**OPTIONS._replace(corpus=corpus.root, set="substring-v1", **options)._asdict())


def test_the_texts_that_were_cut_most_often(cut_corpus, capsys):
    assert inspect(cut_corpus).startswith("2 documents of ")
    shown = capsys.readouterr().out
    assert "the 2 texts that were cut most often" in shown and "d3 of a" in shown and "river" in shown
    assert "cut 1,200 times in 1,100 documents, 99,000 bytes in all" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert inspect(cut_corpus, sample=1).startswith("1 document of ")
    with pytest.raises(ConfigError, match="--source"):
        inspect(cut_corpus, source="a")


def test_texts_of_a_set_that_another_run_has_made_since_are_not_shown(cut_corpus):
    line = {"unit": "substring-v1", "fingerprint": "h", "files": [], "facts": {}}
    storage.write_bytes(cut_corpus.path("attributes/substring-v1/_done.jsonl"), done.render_line(line))
    with pytest.raises(ConfigError, match="expected an attribute set"):
        inspect(cut_corpus)
