"""The ways that make no Python object of a text give the documents and rejections of the way that takes anybody's records."""

from __future__ import annotations

import datetime as dt
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.formats import FieldMap, Limits, jsonl, parquet
from dolma_py.formats.document_columns import Reader, take_documents
from dolma_py.formats.document_columns_kernels import MAX_MOVES
from dolma_py.formats.json_lines import PADDING, LineBuilder, find_roles
from dolma_py.formats.utf8 import is_utf8
from tests.reference import document_columns as column_reference
from tests.reference import json_lines as reference

WORDS = st.sampled_from(["", "a", "\U0001f600 \xe9\n", "web", "x" * 70, "0", "\x00", "\u2028"])
TIMES = st.sampled_from(["2020-01-01T00:00:00Z", "2020-01-01", "never", "", "9999-12-31T23:59:59-12:00", 1554000000])
VALUES = st.one_of(WORDS, st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.none(), st.booleans())
OWN = ["origin", "source", "k", "top_level_source", "top_level_origin"]
METADATA = st.one_of(VALUES, st.dictionaries(st.sampled_from(OWN), VALUES))
RECORDS = st.dictionaries(st.sampled_from(["id", "text", "source", "metadata", "extra"]), st.one_of(VALUES, METADATA))
MAPS = [
    FieldMap(), FieldMap(source="source"), FieldMap(keep_rest=False), FieldMap(keep_origin=False), FieldMap(text="extra"),
    FieldMap(created="metadata.date"), FieldMap(rename={"k": "extra"}), FieldMap(id="text", text="id"),
]  # fmt: skip


def read_table(table, fields, limits=None):
    """All events, with the batches as they were cut."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    events = parquet.read_documents(
        "/in/a.parquet", source="web", limits=limits or Limits(max_record_bytes=60), fields=fields, added=ADDED,
        open_stream=lambda path: io.BytesIO(sink.getvalue()), root="/in",
    )  # fmt: skip
    made = list(events)
    for batch in made:
        if isinstance(batch, pa.RecordBatch):
            batch.validate(full=True)
    return made


def read_batches(data, fields, limits, name="a.jsonl", step=1 << 20):
    """All events, with the batches as they were cut."""

    class Trickle(io.BytesIO):
        def read(self, size=-1):
            return super().read(step)

    events = jsonl.read_documents(
        f"/in/{name}",
        source="web",
        limits=limits,
        fields=fields,
        added=ADDED,
        open_stream=lambda path: Trickle(data),
        root="/in",
    )
    made = list(events)
    for batch in made:
        if isinstance(batch, pa.RecordBatch):
            batch.validate(full=True)
    return made


def read_slowly(*args, **options):
    """The same with orjson and split_record for every line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "find_roles", lambda fields: None)
        return read_batches(*args, **options)


ADDED = dt.datetime(2025, 1, 2, 3, 4, 5, 678_901, tzinfo=dt.UTC)
LINE_MAPS = [
    *MAPS, FieldMap(drop=["extra", "k"]), FieldMap(text="k", metadata="text"), FieldMap(created="date", keep_rest=False),
]  # fmt: skip
TEXTS = st.one_of(WORDS, st.text(max_size=90), st.text('"\\/\b\x00\x1f\x7f\u20ac\U0001f600a', max_size=90))


@given(
    records=st.lists(st.one_of(RECORDS, st.fixed_dictionaries({"text": TEXTS}, optional={
        "id": st.one_of(WORDS, st.integers(-(2**70), 2**70)), "source": WORDS, "added": TIMES, "created": TIMES, "metadata": METADATA,
        "extra": VALUES})), max_size=5),
    fields=st.sampled_from(LINE_MAPS), breaks=st.sampled_from([b"", b"\xff", b'"\\ud800"', b"]", b"NaN"]),
    spaced=st.booleans(), ascii=st.booleans(), rows=st.sampled_from([1, 2, 100]),
)  # fmt: skip
def test_lines_by_kernel_are_those_of_any_record(records, fields, breaks, spaced, ascii, rows):
    separators = (" ,  ", ":\t") if spaced else (",", ":")
    lines = [json.dumps(record, separators=separators, ensure_ascii=ascii).encode() for record in records]
    lines = [line.replace(b'"web"', breaks) if breaks else line for line in lines]
    data, limits = b"\n" + b"\n".join(lines) + b"\n", Limits(max_record_bytes=300, batch_rows=rows)
    assert read_batches(data, fields, limits) == read_slowly(data, fields, limits)


KEYS = [
    b'"id"', b'"text"', b'"text"', b'"text"', b'"te\\u0078t"', b'"source"', b'"added"', b'"created"', b'"metadata"', b'"metadata"',
    b'"extra"', b'"k"', b'"origin"', b'"a.b"', b'""', b'"\xc3\xa9"', b'"\\u00e9"', b"text", b'"q\\"', b'"top_level_k"',
]  # fmt: skip
RAW = [
    b'""', b'"web"', b'"s"', b'"\xe2\x82\xac\\u20AC\\ud83d\\ude00"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\u0041"', b'"\\/\\"\\\\"',
    b'"\\u0000\\u001f\\b\\u0008\\f\\n\\r\\t\\u007f\\u0022\\u005c"', b'"\x01"', b'"\xff"', b'"\xed\xa0\x80"', b'"\\x"', b'"\\u12g4"', b'"open',
    b"1", b"0", b"-1", b"-0", b"-0.0", b"1.0", b"1.50", b"0.0001", b"0.00001", b"0.00012", b"1e5", b"1E400", b"1.5e-7", b"01", b"1.", b"-", b".5",
    b"999999999999999999", b"18446744073709551616", b"123456789012345.5", b"0.12345678901234567", b"-12.25", b"1" * 70, b"9007199254740993.0",
    b"null", b"true", b"false", b"tru", b"nul", b"NaN", b"Infinity", b"{}", b"[]", b"[ ]", b"{ }", b"[1 , [2,{}],\t{\"a\" : [ ]}]",
    b'{"a":1,"a":2}', b'{"a":{"k":1},"k":{"a":[1,{"a":1}]}}', b'{"\\u0061":1,"a":2}', b'{"k":1, "origin" :"o"}', b'{"source":"s","k":0.5}',
    b'{"url":"http://u","n":0.30000000000000004}', b'{"path":"p","big":[123456789012345678901]}', b'{"a":1,}', b"[1,]", b"[1 2]", b'{"a" 1}',
    b"[" * 20 + b"]" * 20,
    b"[" * 16 + b"]" * 16, b'{"a":' * 17 + b"1" + b"}" * 17, b'"2020-01-01"', b'"2020-02-30"', b'"2020-01-01T00:00:00Z"',
    b'"2020-01-01 10:11:12.123456789+05:30"',
    b'"0001-01-01T00:00:00+01:00"', b'"9999-12-31T23:59:59-00:01"', b'"2020-01-01T24:00:00"', b'"2020-01-01T00:00:60"', b'"20200101"',
    b'"2020-01-01T00:00Z"',
]  # fmt: skip
FIELD = st.tuples(st.sampled_from(KEYS), st.sampled_from(RAW)).map(b" : ".join)
BLANKS = st.sampled_from([b"", b"", b" ", b"\r", b"\t \r", b"\x0b"])
LINE = st.one_of(
    FIELD.map(lambda field: b'{"text":"t",' + field + b"}"),
    st.tuples(BLANKS, st.lists(st.one_of(FIELD, FIELD, st.just(b'"text":"t"')), max_size=6).map(b", ".join), BLANKS).map(
        lambda parts: parts[0] + b"{" + parts[1] + b"}" + parts[2]
    ),
    st.sampled_from([b"", b" \r", b"\x0b\x0c", b"[]", b"{", b"}", b'{"text":"a"}}', b'{"text":"a"} x', b"\xef\xbb\xbf", b'\xef\xbb\xbf{"text":"b"}']),
)  # fmt: skip


@pytest.mark.parametrize("fields", [*LINE_MAPS[:4], LINE_MAPS[-1]])
def test_every_value_in_every_place(fields):
    lines = [b'{"text":"t",' + key + b":" + value + b"}" for key in KEYS for value in RAW]
    lines += [
        b'{"metadata":{"k":' + value + b',"l":[' + value + b']},"text":' + value + b',"k":null,"k":' + value + b"}"
        for value in RAW
    ]
    lines += [
        b'{"metadata":{"k":' + value + b',"l":{"m":' + value + b'}},"text":"t","a":null,"b":' + value + b"}"
        for value in RAW
    ]
    data = b"\n".join(lines)
    limits = Limits(batch_rows=100)
    assert read_batches(data, fields, limits) == read_slowly(data, fields, limits)


@settings(max_examples=300)
@given(
    lines=st.lists(LINE, max_size=8), fields=st.sampled_from(LINE_MAPS), rows=st.sampled_from([1, 3, 100]), ending=st.sampled_from([b"", b"\n"]),
    step=st.sampled_from([1, 10, 1 << 20]), max_record_bytes=st.sampled_from([20, 400]),
)  # fmt: skip
def test_odd_lines_by_kernel_are_those_of_any_record(lines, fields, rows, ending, step, max_record_bytes):
    """Broken strings, numbers, objects and times, names twice and in other writing, blanks, bytes that are no UTF-8."""
    data = b"\n".join(lines) + ending
    limits = Limits(max_record_bytes=max_record_bytes, batch_rows=rows, batch_text_bytes=700)
    assert read_batches(data, fields, limits, step=step) == read_slowly(data, fields, limits, step=step)


@given(
    time=st.datetimes(), east=st.integers(-1439, 1439), spec=st.sampled_from(["auto", "seconds", "milliseconds", "minutes"]),
    separator=st.sampled_from("T t"), odd=st.text("0123456789-+:.,TZz ", max_size=2), at=st.integers(0, 32),
    zoned=st.sampled_from([0, 1, 2]),
)  # fmt: skip
def test_times_by_kernel_are_those_of_the_standard_library(time, east, spec, separator, odd, at, zoned):
    zone = dt.timezone(dt.timedelta(minutes=east))
    text = (time.replace(tzinfo=zone) if zoned == 1 else time).isoformat(separator, spec) + "Z" * (zoned == 2)
    lines = [
        {"text": "t", "added": text, "created": text[:at] + odd + text[at:]},
        {"text": "t", "created": text[:10] + odd},
    ]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert read_batches(data, FieldMap(), Limits()) == read_slowly(data, FieldMap(), Limits())


OBJECTS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(st.one_of(TEXTS, st.integers(-(10**18) + 1, 10**18 - 1), st.booleans(), st.none(),
                           st.floats(0.01, 1e9).map(lambda number: round(number, 4))),
                 lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3), max_leaves=5),
    max_size=4,
)  # fmt: skip


@given(
    records=st.lists(st.fixed_dictionaries({"text": TEXTS}, optional={
        "id": st.one_of(st.text(min_size=1), st.integers(-(10**18) + 1, 10**18 - 1)), "source": TEXTS, "created": st.datetimes().map(str),
        "added": st.just("2020-01-01T00:00:00.000Z"), "metadata": OBJECTS, "extra1": TEXTS, "extra2": OBJECTS}), max_size=6),
    ascii=st.booleans(), has_source=st.booleans(), keeps_others=st.booleans(),
)  # fmt: skip
def test_kernel_equals_reference(records, ascii, has_source, keeps_others):
    """What is plain is taken by the kernel, all of it: the caller gets no line."""
    records = [record for record in records if not {"source", "extra1", "extra2"} & set(record.get("metadata", {}))]
    data = b"".join(json.dumps(record, ensure_ascii=ascii).encode() + b"\n\n" for record in records)
    fields = FieldMap(source="source" if has_source else None, keep_rest=keeps_others)
    builder = LineBuilder("a.jsonl", source="web", added=None, limits=Limits(), fields=fields, roles=find_roles(fields))
    given_back = list(builder.take_block(data + PADDING, len(data), 1))
    assert given_back == ([(len(data), len(data), 2 * len(records) + 1)] if data else [])
    names = {name: name for name in ("id", "text", "added", "created", "metadata", *(["source"] if has_source else []))}
    expected = reference.take_lines(data, names, "a.jsonl", "web", keeps_others=keeps_others)
    rows = [row for event in builder.drain() for row in event.to_pylist()]
    micros = [
        [
            None if time is None else (time - EPOCH) // dt.timedelta(microseconds=1)
            for time in (row["added"], row["created"])
        ]
        for row in rows
    ]
    found = [
        (row["id"] if row_id else "", row["text"], row["source"], *times, json.loads(row["metadata"]))
        for row, times, (row_id, *_) in zip(rows, micros, expected, strict=True)
    ]
    assert found == expected


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_long_lines_make_room_and_batches_stand_alone():
    """Texts of up to 2 MB, of escapes alone too; a batch's columns do not change while the next one is made."""
    texts = [
        "x" * 70_000,
        '\n"' * 40_000,
        "\U0001f600" * 200_000,
        "",
        "y" * 2_000_000,
        *("z" * 999 for _ in range(3_000)),
    ]
    metadata = {"k": "\x01" * 30_000, "l": list(range(9_000))}
    lines = [
        {"id": f"{number}" * 50, "text": text, "metadata": metadata, "rest": text}
        for number, text in enumerate(texts[:5])
    ]
    lines += [{"id": number, "text": text} for number, text in enumerate(texts)]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    limits = Limits(batch_text_bytes=1 << 20)
    assert read_batches(data, FieldMap(), limits) == read_slowly(data, FieldMap(), limits)


def test_every_file_of_the_pool_reads_alike(data_dir):
    """Real records, those of every third file; every fourth line is broken in some way."""
    paths = sorted((data_dir / "pool").rglob("*.jsonl.zst"))[::3]
    for path in paths:
        lines = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).split(b"\n")[:800]
        for number in range(0, len(lines), 4):
            place = number * 7919 % (len(lines[number]) + 1)
            lines[number] = lines[number][:place] + b'\xff\x00"}'[number % 3 : number % 3 + 1] + lines[number][place:]
        data = b"\n".join(lines)
        assert read_batches(data, FieldMap(), Limits()) == read_slowly(data, FieldMap(), Limits())
    assert len(paths) > 5


def test_maps_that_no_kernel_serves():
    for fields in (
        FieldMap(text="a.b"),
        FieldMap(rename={"a": "b"}),
        FieldMap(messages="m"),
        FieldMap(response="r"),
        FieldMap(id="text"),
        FieldMap(text='"'),
    ):
        assert find_roles(fields) is None
    assert find_roles(FieldMap(text="content")).names[0] == b"content"


# what an object says under names that a reader writes to: the same as it or one another, or not
OWNED = st.dictionaries(
    st.sampled_from([*OWN, *(f"{'top_level_' * depth}{name}" for depth in range(2, 7) for name in ("source", "origin"))]),
    st.sampled_from(["a", "web", "\xe9\n", "", "x" * 70, "a.parquet:1", "a.parquet:2", None, 1, 1.0, True, [1], {"a": "b"}, 1.50e-7]),
    max_size=7,
).map(lambda values: json.dumps(values, ensure_ascii=len(values) % 2 == 0))  # fmt: skip


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 6))

    def column(values, kinds):
        kind = draw(st.sampled_from(kinds))
        if kind == pa.null():
            return pa.nulls(rows)
        return pa.array(draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows)), kind)

    texts = [pa.string(), pa.large_string()]
    times = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)).map(lambda time: time.replace(microsecond=0))
    plain = st.sampled_from(['{"k":1}', '{ "k": [1.50] }', '{"source":"s","origin":"o"}'])
    objects = st.one_of(plain, OWNED) if draw(st.booleans()) else st.one_of(WORDS, plain, OWNED, st.just("[1]"))
    clocks = [pa.timestamp("us", "UTC"), pa.timestamp("ms"), pa.timestamp("s", "Asia/Tokyo"), pa.null()]
    made = {
        "id": column(WORDS, [*texts, pa.null()]), "text": column(WORDS, texts), "source": column(WORDS, [*texts, pa.null()]),
        "added": column(times, clocks), "created": column(times, [*clocks, pa.timestamp("ns")]),
        "metadata": column(objects, texts),
    }  # fmt: skip
    if draw(st.booleans()):
        made["extra"] = pa.array(np.arange(rows))
    for name in draw(st.sets(st.sampled_from(["id", "source", "added", "created", "metadata"]))):
        del made[name]
    return pa.table(made)


@settings(max_examples=250)
@given(
    table=tables(),
    fields=st.sampled_from(MAPS),
    rows=st.sampled_from([1, 3, 100]),
    num_bytes=st.sampled_from([200, 1 << 20]),
)
def test_columns_are_taken_over_as_rows_would_be(table, fields, rows, num_bytes):
    limits = Limits(max_record_bytes=60, batch_rows=rows, batch_text_bytes=num_bytes)
    fast = read_table(table, fields, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_read_others", lambda *args: None)
        assert fast == read_table(table, fields, limits)
        patch.setattr(parquet, "take_documents", lambda *args: None)
        assert fast == read_table(table, fields, limits)
        patch.setattr(parquet, "take_columns", lambda batch, fields: None)
        assert fast == read_table(table, fields, limits)
        patch.setattr(parquet, "_arrow_texts", lambda *args: None)
        assert fast == read_table(table, fields, limits)


def make_many(rows=2500, **changed):
    """Documents of several row groups and batches, one in seven without an id, some with an origin of their own."""
    columns = {
        "id": [f"d{n}" if n % 7 else None for n in range(rows)], "text": [f"{n} \xe9" * (n % 90 + 1) for n in range(rows)],
        "source": ["web", "s"] * (rows // 2),
        "metadata": [json.dumps({"k": n} | ({"origin": f"o{n}"} if n % 3 else {})) for n in range(rows)],
    }  # fmt: skip
    return pa.table(columns | changed)


def write_many(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=900, **options)
    return sink.getvalue()


def read_bytes(data, limits=None, part=None):
    events = parquet.read_documents(
        "/a.parquet", source="web", limits=limits or Limits(batch_rows=300), fields=FieldMap(), added=ADDED,
        open_stream=lambda path: io.BytesIO(data), part=part,
    )  # fmt: skip
    return list(events)


@pytest.mark.parametrize(
    "options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"compression": "gzip"}]
)
def test_texts_read_apart_from_the_other_columns_give_the_same(options, monkeypatch):
    texts = [None if n % 500 == 77 else "x" * 999 if n % 800 == 5 else f"{n} words" for n in range(2500)]
    files = [
        write_many(table, **options) for table in (make_many(), make_many(text=texts), make_many().drop_columns(["id"]))
    ]
    limits = Limits(batch_rows=300, max_record_bytes=900)
    taken = []
    take = parquet.take_others
    monkeypatch.setattr(parquet, "take_others", lambda *args: taken.append(args) or take(*args))
    apart = [(read_bytes(data, limits), read_bytes(data, part=parquet.GroupRange(1, 3, 900))) for data in files]
    assert len(taken) == 5 * len(files)
    monkeypatch.setattr(parquet, "_read_others", lambda *args: None)
    together = [(read_bytes(data, limits), read_bytes(data, part=parquet.GroupRange(1, 3, 900))) for data in files]
    assert apart == together and len(taken) == 5 * len(files)
    assert sum(not isinstance(event, pa.RecordBatch) for event in apart[1][0]) == 5 + 4  # without a text, and too long


@pytest.mark.parametrize("name", ["id", "text", "metadata"])
def test_a_broken_page_of_any_column_costs_what_it_did(name, monkeypatch):
    data = bytearray(write_many(make_many(), compression="zstd", use_dictionary=False))
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    column = metadata.row_group(1).column(["id", "text", "source", "metadata"].index(name))
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle : middle + 20] = bytes(20)
    apart = read_bytes(bytes(data))
    monkeypatch.setattr(parquet, "_read_others", lambda *args: None)
    assert apart == read_bytes(bytes(data))
    assert sum(isinstance(event, pa.RecordBatch) and event.num_rows for event in apart) >= 1600
    assert any(not isinstance(event, pa.RecordBatch) and event.reason == "bad_parquet" for event in apart)


def test_wide_metadata_are_read_with_the_texts(monkeypatch):
    """The other columns of a row group are held whole, so they must be small by their pages, and no nested ones."""
    taken = []
    take = parquet.take_others
    monkeypatch.setattr(parquet, "take_others", lambda *args: taken.append(args) or take(*args))
    read_bytes(write_many(make_many()), Limits(batch_text_bytes=1000))
    read_bytes(
        write_many(make_many(metadata=[json.dumps({"k": "x" * 100_000}), "{}"] * 1250)),
        Limits(batch_text_bytes=1 << 20),
    )
    read_bytes(write_many(make_many().append_column("l", [[[1]] * 2500])))
    assert taken == []


@pytest.mark.parametrize("source", [None, "", "web", "s", '"\x01'])
@pytest.mark.parametrize(
    "fields", [FieldMap(), FieldMap(source="source"), FieldMap(keep_rest=False, keep_origin=False)]
)
def test_every_object_in_a_column(source, fields):
    """Each in a file of its own: one that is not plain sends its whole batch the long way."""
    values = [value.decode() for value in RAW if is_utf8(value, 0, len(value))]
    objects = [
        *values,
        *(f'{{"k" :{value} }}' for value in values),
        "",
        " ",
        "{}",
        "{} ",
        "{}x",
        '{"a":"',
        "{",
        '{"source":"s"}',
        None,
    ]
    for value in objects:
        table = pa.table({"text": ["t"], "metadata": [value], "source": pa.array([source], pa.string())})
        fast = read_table(table, fields)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parquet, "_read_others", lambda *args: None)
            patch.setattr(parquet, "take_documents", lambda *args: None)
            assert fast == read_table(table, fields), value


@settings(max_examples=250)
@given(
    objects=st.lists(st.one_of(st.just(""), OBJECTS.map(json.dumps), OWNED), min_size=1, max_size=6), data=st.data(),
    first_row=st.sampled_from([1, 2, 10**9]),
)  # fmt: skip
def test_written_objects_equal_reference(objects, data, first_row):
    """All that is plain is taken by the kernel."""
    objects = [text for text in objects if reference_takes(text)] or [""]
    rows = len(objects)
    sources = data.draw(st.lists(st.sampled_from([None, "web", "s", "\xe9\n"]), min_size=rows, max_size=rows))
    ids = data.draw(st.lists(st.sampled_from(["1", "2"]), min_size=rows, max_size=rows))
    texts = pa.array(["t"] * rows, pa.large_string())
    batch = pa.record_batch({"id": ids, "text": texts, "source": pa.array(sources, pa.string()), "metadata": objects})
    made = take_documents(batch, texts, FieldMap(), Reader("a.parquet", "web", None), first_row)
    added = [None if source == "web" else source for source in sources]
    expected = column_reference.write_objects(objects, added, "a.parquet", first_row)
    pairs = [
        [list(json.loads(text).items()) for text in column]
        for column in (made.column("metadata").to_pylist(), expected)
    ]
    assert pairs[0] == pairs[1]
    assert made.column("id").to_pylist() == ids


def reference_takes(text):
    """Without numbers with exponents, without two values that may be equal though they are no strings, and without long chains of names."""
    values = json.loads(text) if text else {}
    under = [value for name, value in values.items() if name.endswith(("source", "origin"))]
    is_deep = any(name.count("top_level_") >= MAX_MOVES for name in values)
    return "e-" not in text and not is_deep and all(isinstance(value, str) for value in under)
