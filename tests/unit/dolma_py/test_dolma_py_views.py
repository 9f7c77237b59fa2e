"""Views: the verdict is the twin's, steps act in their order, files say what they are for, mistakes are named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from dolma_py import storage, views
from dolma_py.corpus import Corpus
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Listing, Shard
from dolma_py.views import Step, View, applies, check_listing, evaluate_view, load_view, save_view
from tests import tiny_corpus
from tests.reference import rules as reference

EDIT = Step(name="cut", attributes="a-v1", edit="spans")
SHORT = Step(name="short", min_text_bytes=4)
FLAG = Step(name="flag", attributes="a-v1", keep="flag")


def span(start: int, end: int) -> dict:
    return {"start": start, "end": end, "score": 1.0}


def make_corpus(root, texts: list[str], rows: list[dict], **more: list[dict]) -> Corpus:
    """One shard of one row group; attributes a-v1, and others by keyword (b makes b-v1)."""
    made = tiny_corpus.write_corpus(str(root), [[[{"text": text} for text in texts]]])
    for name, values in {"a": rows, **more}.items():
        tiny_corpus.write_attributes(made, f"{name}-v1", [[values]])
    return made


def judge(made: Corpus, *steps: Step, row_groups=(0,)) -> views.Evaluation:
    """The verdict on one shard, all documents from the web."""
    view = made.load_view(None).extend("v", list(steps))
    (shard,) = made.read_listing().shards
    num_rows = sum(shard.row_groups[group][0] for group in row_groups)
    return evaluate_view(view, made.root, shard, list(row_groups), pa.array(["web"] * num_rows, pa.string()))


def list_removed(verdict: views.Evaluation) -> list[list[tuple[int, int]]]:
    offsets, pairs = (
        verdict.removed.offsets,
        list(zip(verdict.removed.starts.tolist(), verdict.removed.ends.tolist(), strict=True)),
    )
    return [pairs[start:end] for start, end in zip(offsets[:-1], offsets[1:], strict=True)]


# ---- the verdict


@given(case=tiny_corpus.cases())
def test_verdicts_match_the_twin(tmp_path_factory, case):
    """Every row of every shard: who drops it, its bytes before each step, what is cut from it."""
    made, view = case.write(str(tmp_path_factory.mktemp("corpus")))
    for shard, groups in zip(made.read_listing().shards, case.documents, strict=True):
        rows = [row for group in groups for row in group]
        sets = {
            name: [row for group in shards[shard.number] for row in group] for name, shards in case.attributes.items()
        }
        sources = pa.array([row["source"] for row in rows], pa.string())
        verdict = evaluate_view(view, made.root, shard, list(range(len(groups))), sources)
        expected = [
            reference.judge(
                case.steps,
                row["source"],
                len(row["text"].encode()),
                {name: values[place] for name, values in sets.items()},
            )
            for place, row in enumerate(rows)
        ]
        assert verdict.failed.tolist() == [failed for failed, _, _ in expected]
        assert verdict.bytes_before.T.tolist() == [before for _, before, _ in expected]
        assert list_removed(verdict) == [removed for _, _, removed in expected]


def test_a_row_leaves_at_the_first_step_it_breaks(tmp_path):
    made = make_corpus(tmp_path, ["long enough", "abc", "abc"], [{"flag": False}, {"flag": False}, {"flag": True}])
    assert judge(made, FLAG, SHORT).failed.tolist() == [0, 0, 1]
    assert judge(made, SHORT, FLAG).failed.tolist() == [1, 0, 0]


def test_the_least_size_counts_what_the_edits_before_it_left(tmp_path):
    made = make_corpus(tmp_path, ["abcdef"], [{"spans": [span(0, 3)]}])
    after, before = judge(made, EDIT, SHORT), judge(made, SHORT, EDIT)
    assert (after.failed.tolist(), after.bytes_before.T.tolist()) == ([1], [[6, 3, 3]])
    assert (before.failed.tolist(), before.bytes_before.T.tolist()) == ([-1], [[6, 6, 3]])


def test_an_edit_leaves_rows_alone_that_left_before(tmp_path):
    rows = [{"flag": False, "spans": [span(0, 3)]}, {"flag": True, "spans": [span(0, 3)]}]
    verdict = judge(make_corpus(tmp_path, ["abcdef"] * 2, rows), FLAG, EDIT)
    assert verdict.bytes_before.T.tolist() == [[6, 6, 6], [6, 6, 3]] and list_removed(verdict) == [[], [(0, 3)]]


def test_edits_that_overlap_count_once(tmp_path):
    """[1, 4) and [3, 6) of 8 bytes leave 3."""
    made = make_corpus(tmp_path, ["abcdefgh"], [{"spans": [span(1, 4)]}], b=[{"spans": [span(3, 6)]}])
    verdict = judge(made, EDIT, Step(name="cut more", attributes="b-v1", edit="spans"))
    assert list_removed(verdict) == [[(1, 6)]] and verdict.bytes_before.T.tolist() == [[8, 5, 3]]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("chunked", [False, True])
def test_sources(kind, chunked):
    """Names are compared whole: a NUL at the end makes another name."""
    names = ["web", "code", "web\0", "", "we"]
    sources = pa.array(["x", *names], kind).slice(1)
    sources = pa.chunked_array([sources.slice(0, 2), sources.slice(2)]) if chunked else sources
    assert applies(Step(name="s"), sources).tolist() == [True] * 5
    assert applies(Step(name="s", sources=["web", "none"]), sources).tolist() == [True, False, False, False, False]
    assert applies(Step(name="s", sources=[]), sources).tolist() == [False] * 5
    assert applies(Step(name="s", except_sources=["web", ""]), sources).tolist() == [False, True, True, False, True]
    assert applies(Step(name="s", except_sources=[]), sources).tolist() == [True] * 5
    assert applies(Step(name="s", sources=["web", "code"], except_sources=["code"]), sources).tolist() == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert applies(Step(name="s", sources=["web"]), sources.slice(0, 0)).tolist() == []


def test_many_row_groups_are_judged_in_their_order(tmp_path):
    groups = [[{"text": "a" * size} for size in sizes] for sizes in ([1, 2], [], [3], [4, 5])]
    made = tiny_corpus.write_corpus(str(tmp_path), [groups])
    assert judge(made, SHORT, row_groups=(0, 1, 2, 3)).bytes_before[0].tolist() == [1, 2, 3, 4, 5]
    assert judge(made, SHORT, row_groups=(2, 3)).failed.tolist() == [0, -1, -1]
    assert judge(made, SHORT, row_groups=(1,)).failed.tolist() == []


# ---- what must not be silent


def test_a_row_without_attributes_in_the_view_is_named(tmp_path):
    """The second row group's second row, row 3 of the shard, was outside the view when the set was made."""
    made = tiny_corpus.write_corpus(str(tmp_path), [[[{"text": "a"}] * 2, [{"text": "b"}] * 3]])
    tiny_corpus.write_attributes(
        made,
        "a-v1",
        [[[{"flag": True, "spans": []}] * 2, [{"flag": True, "spans": []}, {}, {"flag": True, "spans": []}]]],
    )
    for row_groups in ((1,), (0, 1)):
        for step in (FLAG, EDIT):
            with pytest.raises(DataError, match=f"a-v1 for step {step.name}") as caught:
                judge(made, step, row_groups=row_groups)
            assert caught.value.row == 3
    assert judge(made, FLAG, row_groups=(0,)).failed.tolist() == [-1, -1]


def test_a_row_outside_the_view_needs_no_attributes(tmp_path):
    made = make_corpus(tmp_path, ["abc", "long enough"], [{}, {"flag": True, "spans": [span(0, 1)]}])
    assert judge(made, SHORT, FLAG, EDIT).failed.tolist() == [0, -1]
    only = [step.model_copy(update={"sources": ["code"]}) for step in (FLAG, EDIT)]
    assert judge(made, *only).failed.tolist() == [-1, -1]


def test_one_null_among_values_breaks_the_rule(tmp_path):
    made = make_corpus(tmp_path, ["abc", "abc"], [{"flag": None, "n": 1}, {"flag": True, "n": None}])
    assert judge(made, FLAG).failed.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("found", "text"),
    [([(0, 4)], "abc"), ([(2, 1)], "abc"), ([(-1, 1)], "abc"), ([(0, 2), (1, 3)], "abc"), ([(1, 2), (0, 1)], "abc")],
)
def test_a_span_outside_its_text_is_refused_before_any_text_is_read(tmp_path, found, text):
    made = make_corpus(tmp_path, ["x", text], [{"spans": []}, {"spans": [span(*pair) for pair in found]}])
    with pytest.raises(DataError, match="span") as caught:
        judge(made, EDIT)
    assert "a-v1" in caught.value.path and caught.value.row == 1


def test_attributes_of_other_rows_are_refused(tmp_path):
    made = make_corpus(tmp_path, ["a", "b"], [{"flag": True}])
    with pytest.raises(DataError, match="2 documents but 1 rows of attributes a-v1"):
        judge(made, FLAG)
    tiny_corpus.write_attributes(made, "sizes-v1", [[[{"text_bytes": 1}]]], pa.schema([("text_bytes", pa.int64())]))
    with pytest.raises(DataError, match="2 documents but 1 rows of attributes sizes-v1"):
        judge(made, SHORT)


def test_missing_attributes_are_named(tmp_path):
    made = make_corpus(tmp_path, ["a"], [{"flag": True}])
    with pytest.raises(DataError, match="no such attributes") as caught:
        judge(made, Step(name="x", attributes="z-v9", keep="flag"))
    assert "attributes/z-v9/web/part-00000.parquet" in caught.value.path


@pytest.mark.parametrize("column", ["none", "n"])
def test_an_edit_by_another_column_is_refused(tmp_path, column):
    made = make_corpus(tmp_path, ["a"], [{"n": 1}])
    with pytest.raises(ConfigError, match=r"one of \['spans'\]") as caught:
        judge(made, Step(name="x", attributes="a-v1", edit=column))
    assert (caught.value.key, caught.value.got) == ("views.x.edit", column)


# ---- the file


def make_view(**values) -> View:
    return View(**({"name": "v", "listing": "f00", "shards": 2, "steps": [FLAG, EDIT, SHORT]} | values))


def test_a_view_comes_back_from_its_file(tmp_path):
    steps = [
        FLAG,
        Step(
            name="\u00fc: #1",
            attributes="b-v2",
            fingerprint="0" * 32,
            keep='w in ["a and b", "no"]',
            except_sources=["1", "no"],
        ),
        EDIT,
        SHORT,
    ]
    view = make_view(steps=steps)
    save_view(view, str(tmp_path / "views" / "v.yaml"))
    again = load_view(str(tmp_path / "views" / "v.yaml"))
    assert again == view and again.fingerprint == view.fingerprint


def test_the_name_does_not_decide():
    assert make_view(name="other").fingerprint == make_view().fingerprint


@pytest.mark.parametrize(
    "values",
    [
        {"listing": "f01"}, {"shards": 3}, {"steps": [FLAG, EDIT]}, {"steps": [EDIT, FLAG, SHORT]},
        {"steps": [FLAG.model_copy(update={"fingerprint": "x"}), EDIT, SHORT]}, {"steps": [FLAG.model_copy(update={"sources": []}), EDIT, SHORT]},
        {"steps": [FLAG, EDIT, SHORT.model_copy(update={"min_text_bytes": 5})]},
    ],
)  # fmt: skip
def test_all_that_decides_is_in_the_fingerprint(values):
    assert make_view(**values).fingerprint != make_view().fingerprint


def test_extending_appends_and_checks():
    longer = make_view(steps=[FLAG]).extend("w", [EDIT, SHORT])
    assert (longer.name, longer.steps) == ("w", [FLAG, EDIT, SHORT]) and longer.fingerprint == make_view().fingerprint
    with pytest.raises(ConfigError):
        longer.extend("w", [Step(name="empty")])


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({}, "views.x"), ({"attributes": "a-v1"}, "views.x"),
        ({"keep": "a"}, "views.x.attributes"), ({"edit": "a", "attributes": ""}, "views.x.attributes"),
        ({"keep": "a", "edit": "b", "attributes": "a-v1"}, "views.x"), ({"keep": "a", "min_text_bytes": 0, "attributes": "a-v1"}, "views.x"),
        ({"keep": "a <", "attributes": "a-v1"}, "keep"),
    ],
)  # fmt: skip
def test_a_step_is_one_thing(values, key, tmp_path):
    step = Step(name="x", **values)
    with pytest.raises(ConfigError) as caught:
        step.check()
    assert caught.value.key == key
    save_view(make_view(steps=[step]), str(tmp_path / "v.yaml"))
    with pytest.raises(ConfigError):
        load_view(str(tmp_path / "v.yaml"))


def test_an_unknown_key_of_a_file_is_named(tmp_path):
    storage.write_bytes(str(tmp_path / "v.yaml"), b"name: v\nlisting: f\nshards: 1\nsteps: [{name: a, keeep: b}]\n")
    with pytest.raises(ConfigError, match="keep"):
        load_view(str(tmp_path / "v.yaml"))


def test_a_file_that_is_no_text_is_named(tmp_path):
    storage.write_bytes(str(tmp_path / "v.yaml"), b"\xff\xfe")
    with pytest.raises(ConfigError, match="v.yaml"):
        load_view(str(tmp_path / "v.yaml"))


# ---- the listing it is for


def make_shard(number: int, checksum: str = "c") -> Shard:
    return Shard(number, f"documents/web/part-{number}.parquet", "parquet", "web", 1, 1, 1, checksum, ((1, 1),))


def test_a_view_covers_the_head_of_the_listing():
    """Shards that were added later are not in it; a changed one is another listing."""
    listing = Listing((make_shard(0), make_shard(1)))
    view = make_view(listing=listing.fingerprint)
    assert check_listing(view, Listing((*listing.shards, make_shard(2)))) == listing
    for other in (Listing(listing.shards[:1]), Listing((make_shard(0, "d"), make_shard(1))), Listing(())):
        with pytest.raises(ConfigError) as caught:
            check_listing(view, other)
        assert caught.value.got == other.fingerprint


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("documents/web/part-00000.parquet", "attributes/a-v1/web/part-00000.parquet"),
        ("/data/x.jsonl", "attributes/a-v1/web/in-place-00007.parquet"), ("s3://b/x.jsonl", "attributes/a-v1/web/in-place-00007.parquet"),
    ],
)  # fmt: skip
def test_attribute_paths_stay_in_the_corpus(path, expected):
    assert views.attribute_path("a-v1", make_shard(7)._replace(path=path)) == expected


def test_the_tables_that_were_read_are_handed_on(tmp_path):
    """A job that needs a value beside the verdict does not read the file again."""
    verdict = judge(make_corpus(tmp_path, ["abc"], [{"flag": True, "n": 5}]), FLAG)
    assert sorted(verdict.tables) == ["a-v1", "sizes-v1"] and verdict.tables["a-v1"].column("n").to_pylist() == [5]
    assert verdict.failed.dtype == np.int16 and verdict.bytes_before.dtype == np.int64
    assert DOCUMENT_SCHEMA.field("source").type == pa.string()


@pytest.mark.parametrize("of", [{"sources": ["code"]}, {"except_sources": ["web"]}])
def test_a_set_is_not_asked_of_sources_that_a_step_is_not_for(tmp_path, of):
    """Documents that came later need no attributes of a rule that is not theirs; of one that is, they do."""
    made = make_corpus(tmp_path, ["abc", "de"], [{"flag": True}, {"flag": True}])
    later = Step(name="later", attributes="never-made-v1", keep="flag", **of)
    verdict = judge(made, later, FLAG, SHORT)
    assert verdict.failed.tolist() == [2, 2] and "never-made-v1" not in verdict.tables
    assert verdict.bytes_before.T.tolist() == [[3, 3, 3, 3], [2, 2, 2, 2]]
    with pytest.raises(DataError, match="no such attributes"):
        judge(made, Step(name="theirs", attributes="never-made-v1", keep="flag", sources=["web"]))
