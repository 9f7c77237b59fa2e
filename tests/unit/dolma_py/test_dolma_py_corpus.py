"""What a task reads of a corpus and what it writes back: kept rows, edited texts, addresses, aligned attributes."""

from __future__ import annotations

import functools
import gzip
import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py import corpus, parquet_files, storage, views
from dolma_py.corpus import AttributePiece, Corpus, read_view, restore_span_columns, spread_rows, stitch_pieces
from dolma_py.documents import DOCUMENT_SCHEMA, SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.formats import FieldMap, Limits
from dolma_py.formats.in_place import describe_reading
from dolma_py.listing import Listing, Shard, append_shards, plan_splits, unpack_address
from dolma_py.spans import Spans, build_spans
from dolma_py.views import SIZES, Step
from tests import strategies, tiny_corpus
from tests.reference import rules as rules_twin
from tests.reference import spans as spans_twin
from tests.strict_tables import assert_same_table

EDIT = Step(name="cut", attributes="a-v1", edit="spans")
FLAG = Step(name="flag", attributes="a-v1", keep="flag")


def span(start: int, end: int, score: float = 1.0) -> dict:
    return {"start": start, "end": end, "score": score}


def list_spans(found: Spans) -> list[list[tuple[int, int]]]:
    pairs = list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    return [pairs[start:end] for start, end in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


# ---- reading


@given(case=tiny_corpus.cases(), split_bytes=st.sampled_from([1, 8, 1000]))
def test_read_view_matches_the_twin(tmp_path_factory, case, split_bytes):
    """Whatever the splits: the kept rows in corpus order, texts cut as the twin cuts them, each at its own address."""
    made, view = case.write(str(tmp_path_factory.mktemp("corpus")))
    batches = [
        batch for split in plan_splits(made.read_listing(), split_bytes) for batch in read_view(made, view, split)
    ]
    found, expected = [], []
    for batch in batches:
        columns = (batch.documents.column(name).to_pylist() for name in ("id", "source", "text"))
        found += list(zip(batch.addresses.tolist(), *columns, list_spans(batch.removed), strict=True))
        assert batch.documents.schema.equals(DOCUMENT_SCHEMA) and batch.documents.validate(full=True) is None
    for shard, groups in enumerate(case.documents):
        places = [(group, place) for group, rows in enumerate(groups) for place in range(len(rows))]
        for row, (group, place) in enumerate(places):
            document = groups[group][place]
            sets = {name: shards[shard][group][place] for name, shards in case.attributes.items()}
            failed, _, removed = rules_twin.judge(case.steps, document["source"], len(document["text"].encode()), sets)
            text = spans_twin.cut(document["text"].encode(), removed).decode()
            expected += [((shard << 40) + row, f"{shard}-{group}-{place}", document["source"], text, removed)] * (
                failed < 0
            )
    assert found == expected
    assert [(batch.shard.number, batch.group) for batch in batches] == [
        (shard, group) for shard, groups in enumerate(case.documents) for group in range(len(groups))
    ]


def make_corpus(root, groups: list[list[str]], rows: list[list[dict]] | None = None) -> Corpus:
    made = tiny_corpus.write_corpus(str(root), [[[{"text": text} for text in texts] for texts in groups]])
    if rows is not None:
        tiny_corpus.write_attributes(made, "a-v1", [rows])
    return made


def read_all(made: Corpus, *steps: Step, columns=None, split_bytes=1 << 20) -> list[corpus.ViewBatch]:
    view = made.load_view(None).extend("v", list(steps))
    return [
        batch
        for split in plan_splits(made.read_listing(), split_bytes)
        for batch in read_view(made, view, split, columns)
    ]


def test_addresses_across_row_groups_and_splits(tmp_path):
    """By hand: 2 + 0 + 3 rows; row 1 and row 3 leave. The same whether a split is one row group or all."""
    rows = [[{"flag": True}, {"flag": False}], [], [{"flag": True}, {"flag": False}, {"flag": True}]]
    made = make_corpus(tmp_path, [["a", "b"], [], ["c", "d", "e"]], rows)
    for split_bytes in (1, 100):
        batches = read_all(made, FLAG, split_bytes=split_bytes)
        assert [batch.addresses.tolist() for batch in batches] == [[0], [], [2, 4]]
        assert [batch.rows.tolist() for batch in batches] == [[0], [], [0, 2]]
        assert [(batch.group, batch.group_rows) for batch in batches] == [(0, 2), (1, 0), (2, 3)]
        assert [batch.documents.num_rows for batch in batches] == [1, 0, 2]
    numbers, places = unpack_address(batches[2].addresses)
    assert (numbers.tolist(), places.tolist()) == ([0, 0], [2, 4])


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (None, DOCUMENT_SCHEMA.names),
        ([], ["id", "source"]),
        (["text"], ["id", "text", "source"]),
        (["metadata"], ["id", "source", "metadata"]),
    ],
)
def test_only_the_columns_asked_for_are_read(tmp_path, columns, names):
    (batch,) = read_all(make_corpus(tmp_path, [["abc"]], [[{"spans": [span(0, 1)]}]]), EDIT, columns=columns)
    assert batch.documents.schema.names == names and list_spans(batch.removed) == [[(0, 1)]]


def test_a_row_group_of_which_nothing_is_kept_keeps_its_schema(tmp_path):
    (batch,) = read_all(make_corpus(tmp_path, [["abc", "d"]], [[{"flag": False}] * 2]), FLAG)
    assert batch.documents.num_rows == len(batch.addresses) == 0 and batch.documents.schema.equals(DOCUMENT_SCHEMA)


def test_a_span_that_cuts_a_character_is_refused(tmp_path):
    """Half a character would make the text invalid for everybody after us."""
    made = make_corpus(tmp_path, [["\u4e2d"]], [[{"spans": [span(0, 1)]}]])
    with pytest.raises(DataError, match="cuts a UTF-8 character") as caught:
        read_all(made, EDIT)
    assert "row group 0" in caught.value.path


def test_sizes_that_are_not_the_texts_are_refused(tmp_path):
    """The attributes say 9 bytes, the text has 3."""
    made = make_corpus(tmp_path, [["abc"]], [[{"spans": [span(0, 9)]}]])
    tiny_corpus.write_attributes(made, SIZES, [[[{"text_bytes": 9}]]], corpus.SIZES_SCHEMA)
    with pytest.raises(DataError, match="span"):
        read_all(made, EDIT)


def test_a_shard_added_later_is_not_in_the_view(tmp_path):
    made = make_corpus(tmp_path, [["a"]])
    view, (split,) = made.load_view(None), plan_splits(made.read_listing(), 1)
    shard = made.read_listing().shards[0]
    append_shards(made.listing_path, made.read_listing(), [shard._replace(number=1, path="documents/web/more.parquet")])
    assert [batch.documents.num_rows for batch in read_view(made, view, split)] == [1]
    with pytest.raises(ConfigError):
        list(read_view(made, view.model_copy(update={"shards": 2}), split))


def test_evaluate_group_reads_no_text(tmp_path):
    made = make_corpus(tmp_path, [["abc", "d"], ["e"]], [[{"flag": True}, {"flag": False}], [{"flag": True}]])
    view = made.load_view(None).extend("v", [FLAG])
    verdict, keys = corpus.evaluate_group(made, view, made.read_listing().shards[0], 0)
    assert verdict.failed.tolist() == [-1, 0] and keys.to_pydict() == {
        "id": ["0-0-0", "0-0-1"],
        "source": ["web", "web"],
    }


# ---- shards that are read where they lie


def write_in_place(root, name: str, lines: list[str], groups, reading=None) -> Corpus:
    """A corpus whose one shard is a JSONL file somewhere else."""
    path = root / "elsewhere" / name
    path.parent.mkdir()
    content = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    made = Corpus(str(root / "corpus"))
    totals = (sum(rows for rows, _ in groups), sum(size for _, size in groups))
    shard = Shard(0, str(path), "jsonl", "mine", *totals, path.stat().st_size, "c", tuple(groups), reading=reading)
    append_shards(made.listing_path, Listing(()), [shard])
    sizes = [[{"text_bytes": size}] * rows for rows, size in groups]
    tiny_corpus.write_groups(made.path(views.attribute_path(SIZES, shard)), sizes, corpus.SIZES_SCHEMA)
    return made


LINES = [
    '{"id": "a", "text": "one"}',
    "broken",
    '{"text": "two", "metadata": {"k": 1}}',
    '{"id": "c", "text": "six", "added": "2020-01-02"}',
]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz"])
@pytest.mark.parametrize("groups", [[(3, 9)], [(2, 6), (1, 3)]])
def test_jsonl_is_read_in_place(tmp_path, name, groups):
    """Rejected lines take no row; row groups of the listing are honoured though the file has none."""
    batches = read_all(write_in_place(tmp_path, name, LINES, groups), split_bytes=1)
    assert [batch.documents.num_rows for batch in batches] == [rows for rows, _ in groups]
    assert [address for batch in batches for address in batch.addresses.tolist()] == [0, 1, 2]
    documents = pa.Table.from_batches([batch.documents for batch in batches])
    assert documents.schema.equals(DOCUMENT_SCHEMA)
    assert documents.column("text").to_pylist() == ["one", "two", "six"] and set(
        documents.column("source").to_pylist()
    ) == {"mine"}
    assert (
        documents.column("id").to_pylist()[::2] == ["a", "c"]
        and json.loads(documents.column("metadata")[1].as_py())["k"] == 1
    )


def test_a_file_in_place_that_changed_is_refused(tmp_path):
    """One record more than when it was listed: every later row would have another address."""
    made = write_in_place(tmp_path, "x.jsonl", [*LINES, '{"id": "d", "text": "ten"}'], [(3, 9)])
    with pytest.raises(DataError, match="4 documents, 3 when it was listed"):
        read_all(made)


def test_a_file_in_place_of_another_size_is_refused(tmp_path):
    """The same number of documents is not enough."""
    made = write_in_place(tmp_path, "x.jsonl", LINES, [(3, 9)])
    (tmp_path / "elsewhere" / "x.jsonl").write_text("\n".join([*LINES, ""]).replace("one", "other"))
    with pytest.raises(DataError, match="bytes, .* when it was listed"):
        read_all(made)


def test_parquet_in_place_of_another_size_is_refused(tmp_path):
    """Rows per group may be the same and the texts others: attributes would speak of the wrong ones."""
    path = tmp_path / "x.parquet"
    rows = [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    shard = Shard(0, str(path), "parquet", "mine", 2, 6, path.stat().st_size, "c", ((2, 6),))
    made = Corpus(str(tmp_path / "corpus"))
    assert corpus.read_group(made, shard, 0, ["text"]).column("text").to_pylist() == ["one", "two"]
    pq.write_table(pa.Table.from_pylist([{"id": "a", "text": "one"}, {"id": "b", "text": "another"}]), path)
    with pytest.raises(DataError, match="bytes, .* when it was listed"):
        corpus.read_group(made, shard, 0, ["text"])


def test_a_file_in_place_is_read_under_the_limits_of_its_listing(tmp_path):
    """A line that was too long when rows were counted takes no row, whatever the defaults are; one that was not, does."""
    lines = [*LINES, json.dumps({"id": "d", "text": "x" * 100})]
    tight = describe_reading(Limits(max_record_bytes=90), FieldMap(keep_origin=False), datetime(2024, 5, 6, tzinfo=UTC))
    (tmp_path / "tight").mkdir()
    (batch,) = read_all(write_in_place(tmp_path / "tight", "x.jsonl", lines, [(3, 9)], tight))
    assert batch.documents.column("id").to_pylist()[::2] == ["a", "c"]
    assert batch.documents.column("metadata").to_pylist() == [None, '{"k":1}', None]
    assert [time.year for time in batch.documents.column("added").to_pylist()] == [2024, 2024, 2020]
    wide = describe_reading(Limits(max_record_bytes=1 << 30), FieldMap(), None)
    (tmp_path / "wide").mkdir()
    (batch,) = read_all(write_in_place(tmp_path / "wide", "x.jsonl", lines, [(4, 109)], wide))
    assert batch.documents.column("id").to_pylist()[3] == "d"


def test_how_a_file_in_place_is_read_belongs_to_the_listing(tmp_path):
    reading = describe_reading(Limits(), FieldMap(), None)
    made = write_in_place(tmp_path, "x.jsonl", LINES, [(3, 9)], reading)
    (shard,) = made.read_listing().shards
    assert shard.reading == reading
    other = describe_reading(Limits(max_record_bytes=1), FieldMap(), None)
    marks = {Listing((shard._replace(reading=value),)).fingerprint for value in (None, reading, other)}
    assert len(marks) == 3


def test_an_empty_file_in_place(tmp_path):
    made = write_in_place(tmp_path, "x.jsonl", [], [(0, 0)])
    (batch,) = read_all(made)
    assert batch.documents.num_rows == 0 and batch.documents.schema.equals(DOCUMENT_SCHEMA)


# ---- names and views


def test_views_are_found_by_name_file_or_not_at_all(tmp_path):
    made = make_corpus(tmp_path, [["a"]])
    view = made.load_view(None)
    assert (view.name, view.shards, view.steps, view.listing) == ("all", 1, [], made.read_listing().fingerprint)
    other = view.extend("short", [Step(name="s", min_text_bytes=1)])
    views.save_view(other, made.path("views", "short.yaml"))
    assert made.load_view("short") == made.load_view(made.path("views", "short.yaml")) == other
    with pytest.raises(ConfigError, match=r"one of \['short'\]") as caught:
        made.load_view("long")
    assert caught.value.got == "long"


def test_an_empty_corpus_says_what_to_do(tmp_path):
    empty = Corpus(str(tmp_path / "none"))
    assert empty.read_listing() == Listing(())
    for ask in (empty.need_listing, lambda: empty.load_view(None)):
        with pytest.raises(ConfigError, match="dolma-py ingest") as caught:
            ask()
        assert caught.value.got == str(tmp_path / "none")


@pytest.mark.parametrize(
    ("path", "expected"), [("documents/a", "{root}/documents/a"), ("/data/a", "/data/a"), ("s3://b/a", "s3://b/a")]
)
def test_shard_paths(tmp_path, path, expected):
    made = Corpus(str(tmp_path))
    shard = Shard(0, path, "parquet", "s", 0, 0, 0, "", ())
    assert made.shard_path(shard) == expected.format(root=tmp_path)


# ---- writing attributes


@given(kept=st.lists(st.booleans(), max_size=9), data=st.data())
def test_spread_rows_puts_values_back_in_their_rows(kept, data):
    schema = pa.schema([pa.field("n", pa.int32(), nullable=False), pa.field("w", pa.string()), ("spans", SPANS)])
    rows = np.flatnonzero(kept)
    value = st.fixed_dictionaries(
        {"n": st.integers(0, 9), "w": st.sampled_from([None, "x"]), "spans": st.sampled_from([None, [], [span(1, 2)]])}
    )
    values = [data.draw(value) for _ in rows]
    batch = pa.RecordBatch.from_pylist(values, schema)
    spread = spread_rows(batch, rows, len(kept), schema)
    left = iter(values)
    outside = dict.fromkeys(schema.names)
    expected = pa.Table.from_pylist(
        [next(left) if is_kept else outside for is_kept in kept],
        pa.schema([field.with_nullable(True) for field in schema]),
    )
    assert_same_table(spread, expected)


@given(rows=st.lists(strategies.texts_with_spans(), max_size=5), data=st.data())
def test_spans_of_edited_texts_come_back_to_the_originals(rows, data):
    """Columns that are no spans, nulls and scores pass through; places are the twin's."""
    removed = [spans_twin.merge(gone, []) for _, gone in rows]
    sizes = [len(text.encode()) for text, _ in rows]
    found = [
        data.draw(strategies.spans(size - len(spans_twin.covered(gone)), max_size=3))
        for size, gone in zip(sizes, removed, strict=True)
    ]
    lists = [[span(*pair, score=place / 4) for place, pair in enumerate(pairs)] for pairs in found]
    lists = [None if data.draw(st.booleans()) and not values else values for values in lists]
    batch = pa.RecordBatch.from_pydict({"n": pa.array(range(len(rows)), pa.int64()), "s": pa.array(lists, SPANS)})
    pairs = [pair for row in removed for pair in row]
    arrays = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    restored = restore_span_columns(batch, Spans(np.cumsum([0, *map(len, removed)]).astype(np.int64), *arrays))
    assert restored.schema == batch.schema and restored.column("n").equals(batch.column("n"))
    for values, pairs, gone, size, got in zip(
        lists, found, removed, sizes, restored.column("s").to_pylist(), strict=True
    ):
        places = spans_twin.restore(pairs, gone, size)
        expected = [span(*pair, score=old["score"]) for pair, old in zip(places, values or [], strict=True)]
        assert got == (None if values is None else expected)


def test_nothing_removed_changes_nothing():
    batch = pa.RecordBatch.from_pydict({"s": pa.array([[span(0, 1, None)], None], SPANS)})
    assert (
        restore_span_columns(batch, Spans(np.zeros(3, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))) is batch
    )
    removed = Spans(np.array([0, 1, 1]), np.array([5]), np.array([6]))
    assert restore_span_columns(batch, removed).equals(batch)


SCHEMA = pa.schema(
    [pa.field("n", pa.int64(), nullable=False), ("word", pa.string()), ("lang", pa.string()), ("spans", SPANS)]
)


@functools.cache
def make_rows() -> pa.Table:
    rows = [
        {"n": row, "word": f"w{row}" if row % 3 else None, "lang": "de", "spans": [span(row, row + 1)] * (row % 3)}
        for row in range(8000)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def make_groups(sizes) -> list[pa.Table]:
    bounds = np.cumsum([0, *sizes]).tolist()
    return [make_rows().slice(start, end - start) for start, end in zip(bounds[:-1], bounds[1:], strict=True)]


def write_piece(root: str, path: str, groups: list[pa.Table]) -> storage.WrittenFile:
    def write(sink: storage.HashingWriter) -> int:
        with AttributePiece(sink, SCHEMA) as piece:
            for group in groups:
                piece.add(group)
        return piece.rows

    return storage.write_attempt(root, "attempts", path, write)


@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 7, 1500]), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 5), max_size=3),
)
def test_stitched_pieces_are_the_bytes_of_one_task(tmp_path_factory, sizes, cuts):
    """However the row groups were dealt to tasks, pieces without row groups included."""
    root = str(tmp_path_factory.mktemp("corpus"))
    groups = make_groups(sizes)
    whole = write_piece(root, "whole.parquet", groups)
    bounds = sorted({0, len(groups), *(min(cut, len(groups)) for cut in cuts)})
    parts = [groups[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True)]
    pieces = [
        write_piece(root, f"piece-{number}.parquet", part).attempt.removeprefix(root + "/")
        for number, part in enumerate([*parts, []])
    ]
    stitched = stitch_pieces(root, pieces, "attributes/a/web/x.parquet", "attempts")
    assert storage.read_bytes(stitched.attempt) == storage.read_bytes(whole.attempt)
    assert stitched[1:] == ("attributes/a/web/x.parquet", whole.num_bytes, whole.checksum, sum(sizes))
    assert corpus.count_rows(stitched.attempt) == sum(sizes)


def test_no_pieces_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(DataError, match="no pieces"):
        stitch_pieces(str(tmp_path), [], "a.parquet", "attempts")
    assert storage.list_files(str(tmp_path)) == []


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pyarrow's writer tries to close itself late
def test_a_piece_casts_to_its_schema_and_refuses_what_does_not_fit(tmp_path):
    """Columns become nullable: a row outside the view has no value. Row groups stay as they were added, empty ones too."""
    groups = [
        group.cast(pa.schema([field.with_nullable(True) for field in SCHEMA])) for group in make_groups([2, 0, 1])
    ]
    file = write_piece(str(tmp_path), "a.parquet", groups)
    with parquet_files.open_parquet(file.attempt) as parquet:
        assert parquet.num_row_groups == 3 and all(field.nullable for field in parquet.schema_arrow)
        assert_same_table(parquet.read(), pa.concat_tables(groups))
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        write_piece(str(tmp_path), "b.parquet", [pa.table({"other": [1]})])


def test_scores_pass_through_restoring_of_a_slice():
    """Arrays of a slice do not begin where their parent's do."""
    whole = pa.array([[span(9, 9, 9.0)], [span(0, 1, 0.5)], None, [span(1, 2, 0.25)]], SPANS)
    batch = pa.RecordBatch.from_arrays([whole.slice(1)], ["s"])
    removed = Spans(np.array([0, 1, 1, 2]), np.array([0, 1]), np.array([2, 2]))
    assert restore_span_columns(batch, removed).column("s").to_pylist() == [[span(2, 3, 0.5)], None, [span(2, 3, 0.25)]]
    assert build_spans(Spans(np.array([0, 1]), np.array([2]), np.array([3]))).type == SPANS
