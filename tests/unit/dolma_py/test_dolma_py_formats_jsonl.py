"""JSON Lines: round trips against the standard library, and every kind of bad line and torn file."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from datetime import UTC, datetime

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.documents import DOCUMENT_SCHEMA, make_document_id
from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.decompress import read_whole
from dolma_py.formats.jsonl import LineRange, count_newlines, cut_bytes, iterate_range, read_documents

NO_ORIGIN = FieldMap(keep_origin=False)
COMPRESSORS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(level=3).compress}


class Trickle(io.BytesIO):
    """A stream that gives at most `step` bytes a read, as a network does."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self.step = step

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, self.step) if size and size > 0 else self.step)


def read(
    data: bytes, suffix: str = "", *, fields: FieldMap = NO_ORIGIN, limits: Limits | None = None, step: int = 1 << 30
):
    """(rows, rejections, batches) of one file."""
    events = list(
        read_documents(
            f"/in/sub/a.jsonl{suffix}",
            source="web",
            limits=limits or Limits(),
            fields=fields,
            added=datetime(2025, 1, 2, tzinfo=UTC),
            open_stream=lambda path: Trickle(data, step),
            root="/in",
        )
    )
    batches = [event for event in events if isinstance(event, pa.RecordBatch)]
    rows = [row for batch in batches for row in batch.to_pylist()]
    return rows, [event for event in events if isinstance(event, Rejection)], batches


def lines_of(records: list[object]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def reasons(rejections: list[Rejection]) -> list[tuple[int, str]]:
    return [(rejection.line, rejection.reason) for rejection in rejections]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(min_size=1), "text": st.text(), "metadata": st.dictionaries(st.text(), JSON_VALUES)}
    ),
    max_size=8,
)


@given(RECORDS, st.sampled_from(sorted(COMPRESSORS)), st.integers(1, 64), st.booleans())
def test_round_trip_any_records(records, suffix, step, escape_all) -> None:
    data = "".join(json.dumps(record, ensure_ascii=escape_all) + "\n" for record in records).encode()
    rows, rejections, _ = read(COMPRESSORS[suffix](data), suffix, step=step)
    assert rejections == []
    assert [(row["id"], row["text"]) for row in rows] == [(record["id"], record["text"]) for record in records]
    assert [json.loads(row["metadata"] or "{}") for row in rows] == [record["metadata"] for record in records]
    assert {row["source"] for row in rows} <= {"web"}


@given(RECORDS, st.integers(1, 40))
def test_batches_do_not_depend_on_reads(records, step) -> None:
    limits = Limits(batch_text_bytes=200)
    data = lines_of([*records, "no object", *records])
    assert read(data, limits=limits, step=step) == read(data, limits=limits)


def test_batches_have_schema_and_bounded_bytes() -> None:
    data = lines_of([{"id": str(number), "text": "x" * 1000} for number in range(100)])
    rows, _, batches = read(data, limits=Limits(batch_text_bytes=10_000))
    assert [row["id"] for row in rows] == [str(number) for number in range(100)]
    assert all(batch.schema == DOCUMENT_SCHEMA for batch in batches)
    assert len(batches) == 12
    assert max(batch.num_rows for batch in batches) == 9


def test_dolma_fields_become_columns() -> None:
    record = {
        "id": "a", "text": "t", "source": "other", "added": "2019-04-12T10:12:00.000Z", "created": "2019-04-12T10:12:00+02:00",
        "metadata": {"k": [1]}, "version": "v1", "k": 2,
    }  # fmt: skip
    (row,), _, _ = read(lines_of([record]))
    assert row["added"] == datetime(2019, 4, 12, 10, 12, tzinfo=UTC)
    assert row["created"] == datetime(2019, 4, 12, 8, 12, tzinfo=UTC)
    assert row["source"] == "web"
    assert json.loads(row["metadata"]) == {"k": [1], "source": "other", "version": "v1", "top_level_k": 2}


def test_added_comes_from_argument_when_record_has_none() -> None:
    (row,), _, _ = read(lines_of([{"text": "t"}]))
    assert row["added"] == datetime(2025, 1, 2, tzinfo=UTC)
    assert row["metadata"] is None


@pytest.mark.parametrize("value", ["yesterday", 1554000000, "0001-01-01T00:00:00+14:00", [], "2019-13-01"])
def test_bad_time_is_null_and_kept(value) -> None:
    (row,), _, _ = read(lines_of([{"text": "t", "created": value}]))
    assert row["created"] is None
    assert json.loads(row["metadata"]) == {"invalid_created": value}


def test_field_map_with_dotted_paths() -> None:
    fields = FieldMap(
        id="doc.key", text="doc.body.text", source="doc.origin", metadata="extra", rename={"url": "doc.link"}, keep_rest=False,
        keep_origin=False,
    )  # fmt: skip
    record = {
        "doc": {"key": 7, "body": {"text": "hello"}, "origin": "wiki", "link": "http://x"},
        "extra": {"a": 1},
        "b": 2,
    }
    (row,), _, _ = read(lines_of([record]), fields=fields)
    assert (row["id"], row["text"], row["source"]) == ("7", "hello", "wiki")
    assert json.loads(row["metadata"]) == {"a": 1, "url": "http://x"}


def test_key_with_dots_in_its_name_comes_before_path() -> None:
    (row,), _, _ = read(
        lines_of([{"a.b": "literal", "a": {"b": "nested"}}]), fields=FieldMap(text="a.b", keep_origin=False)
    )
    assert row["text"] == "literal"


def test_missing_id_is_made_from_url_or_path() -> None:
    rows, _, _ = read(lines_of([{"text": "t", "metadata": {"url": "http://u"}}, {"text": "t"}]))
    assert rows[0]["id"] == make_document_id("web", "http://u", b"t")
    assert rows[1]["id"] == make_document_id("web", "sub/a.jsonl", b"t")


def test_id_beyond_64_bits_keeps_every_digit() -> None:
    big = 2**127 + 1
    rows, _, _ = read(lines_of([{"id": big, "text": "t"}, {"id": 12, "text": "t"}]))
    assert [row["id"] for row in rows] == [str(big), "12"]


def test_origin_names_relative_path_and_line() -> None:
    rows, _, _ = read(b'\n{"text": "a"}\n\n{"text": "b"}\n', fields=FieldMap())
    assert [json.loads(row["metadata"])["origin"] for row in rows] == ["sub/a.jsonl:2", "sub/a.jsonl:4"]


BAD_LINES = [
    (b"{", "invalid_json"),
    (b'{"text": "a"} x', "invalid_json"),
    (b'{"text": NaN}', "invalid_json"),
    (b"[" * 100_000, "invalid_json"),
    (b"\0" * 10, "invalid_json"),
    (b'["text"]', "not_object"),
    (b"3", "not_object"),
    (b'{"id": "a"}', "missing_text"),
    (b'{"text": null}', "missing_text"),
    (b'{"text": 3}', "missing_text"),
    (b'{"text": "\xff"}', "not_utf8"),
    (b'{"text": "\xed\xa0\x80"}', "not_utf8"),
    (b'{"text": "\\ud800"}', "lone_surrogate"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_bad_line_costs_one_rejection(line, reason) -> None:
    good = b'{"id": "g", "text": "good"}'
    rows, rejections, _ = read(b"\n".join([good, line, good, b""]))
    assert [row["text"] for row in rows] == ["good", "good"]
    assert reasons(rejections) == [(2, reason)]
    assert rejections[0].offset_bytes == len(good) + 1
    assert rejections[0].path == "sub/a.jsonl"
    assert rejections[0].excerpt == line[:200].decode("latin-1").encode("unicode_escape").decode()


@pytest.mark.parametrize("data", [b"", b"\n\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_nothing_but_blank(data) -> None:
    assert read(data) == ([], [], [])


def test_mark_carriage_returns_and_missing_last_newline() -> None:
    rows, rejections, _ = read(b'\xef\xbb\xbf{"text": "a\\r"}\r\n{"text": "b"}\r\n{"text": "c"}')
    assert [row["text"] for row in rows] == ["a\r", "b", "c"]
    assert rejections == []


def test_empty_text_is_a_document() -> None:
    rows, rejections, _ = read(b'{"text": ""}\n')
    assert [row["text"] for row in rows] == [""]
    assert rejections == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_several_members_and_frames(suffix) -> None:
    compress = COMPRESSORS[suffix]
    data = b"".join(compress(lines_of([{"text": str(number)}])[:-1] + b"\n") for number in range(5)) + compress(b"")
    rows, rejections, _ = read(data, suffix, step=7)
    assert [row["text"] for row in rows] == list("01234")
    assert rejections == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_torn_file_gives_what_was_good(suffix, share) -> None:
    texts = [f"{number * 7919 % 1000003}" * 20 for number in range(20_000)]
    whole = COMPRESSORS[suffix](lines_of([{"text": text} for text in texts]))
    rows, rejections, _ = read(whole[: int(len(whole) * share)], suffix)
    assert 0 < len(rows) < len(texts)
    assert [row["text"] for row in rows] == texts[: len(rows)]
    assert reasons(rejections) == [(len(rows) + 1, "truncated")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_flipped_byte_gives_what_was_good(suffix) -> None:
    texts = [f"{number * 7919 % 1000003}" * 20 for number in range(20_000)]
    compress = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(level=3, write_checksum=True).compress}[suffix]
    whole = bytearray(compress(lines_of([{"text": text} for text in texts])))
    whole[len(whole) // 2] ^= 0xFF
    _, rejections, _ = read(bytes(whole), suffix)
    assert rejections[-1].reason == "corrupt"


def test_complete_record_at_the_tear_is_kept() -> None:
    whole = gzip.compress(b'{"text": "a"}\n{"text": "b"}')
    rows, rejections, _ = read(whole[:-4], ".gz")
    assert [row["text"] for row in rows] == ["a", "b"]
    assert reasons(rejections) == [(3, "truncated")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_empty_compressed_file_is_truncated(suffix) -> None:
    assert reasons(read(b"", suffix)[1]) == [(1, "truncated")]


def test_garbage_and_padding_after_gzip() -> None:
    member = gzip.compress(b'{"text": "a"}\n')
    assert reasons(read(member + b"\0" * 512, ".gz")[1]) == []
    rows, rejections, _ = read(member + b"garbage", ".gz")
    assert len(rows) == 1
    assert reasons(rejections) == [(2, "trailing_garbage")]


def test_not_compressed_at_all() -> None:
    assert reasons(read(b'{"text": "a"}\n', ".gz")[1]) == [(1, "corrupt")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_bomb_is_bounded(suffix) -> None:
    """256 MiB of zeros as gzip, 1 GiB (32 KiB) as zstd: neither the memory nor the time of what they expand to is spent."""
    zeros = b"\0" * (1 << 20)
    head = b'{"text": "before"}\n'
    packed = io.BytesIO()
    if suffix == ".gz":
        with gzip.open(packed, "wb", 1) as stream:
            stream.write(head)
            for _ in range(256):
                stream.write(zeros)
    else:
        with zstandard.ZstdCompressor().stream_writer(packed, closefd=False) as stream:
            stream.write(head)
            for _ in range(1024):
                stream.write(zeros)
    limits = Limits(max_record_bytes=4 << 20, ratio_floor_bytes=16 << 20, max_ratio=100)
    tracemalloc.start()
    rows, rejections, _ = read(packed.getvalue(), suffix, limits=limits)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["text"] for row in rows] == ["before"]
    assert reasons(rejections) == [(2, "bomb")]
    assert peak_bytes < 120 << 20


@pytest.mark.parametrize(("share", "reason"), [(0.9, "bomb"), (1.1, "")])
def test_where_a_bomb_begins(share, reason) -> None:
    """One member of fewer bytes than are fed at once: its ratio is known at its end alone."""
    plain = b"a" * 1_000_000
    packed = gzip.compress(plain)
    limits = Limits(ratio_floor_bytes=0, max_ratio=share * len(plain) / len(packed))
    data, told = read_whole(io.BytesIO(packed), "gz", limits=limits)
    assert (data, told) == (plain, reason)
    assert (
        read_whole(io.BytesIO(packed), "gz", limits=limits.model_copy(update={"ratio_floor_bytes": len(plain)}))[1]
        == ""
    )


def test_zstd_window_that_is_too_large() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24, compression_level=1)
    packed = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(packed, closefd=False) as stream:
        stream.write(b'{"text": "a"}\n')
    limits = Limits(max_window_bytes=1 << 20)
    assert reasons(read(packed.getvalue(), ".zst", limits=limits)[1]) == [(1, "window_too_large")]


def test_long_line_is_skipped_in_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        """50 MB of one line, made while it is read."""

        pieces = [b'{"text": "a"}\n{"text": "', *[b"x" * (1 << 20)] * 50, b'"}\n{"text": "b"}\n']

        def __init__(self) -> None:
            self.number = 0

        def read(self, size: int = -1) -> bytes:
            self.number += 1
            return self.pieces[self.number - 1] if self.number <= len(self.pieces) else b""

    tracemalloc.start()
    events = list(
        read_documents(
            "a.jsonl", source="s", limits=Limits(max_record_bytes=2 << 20), fields=NO_ORIGIN, added=None,
            open_stream=lambda path: Endless(),
        )
    )  # fmt: skip
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["text"] for row in events[0].to_pylist()] == ["a", "b"]
    assert [tuple(event)[1:4] for event in events[1:]] == [(2, 14, "too_long")]
    assert peak_bytes < 12 << 20


def test_long_line_within_the_limit_is_a_document() -> None:
    rows, rejections, _ = read(lines_of([{"text": "x" * 50_000_000}]))
    assert len(rows[0]["text"]) == 50_000_000
    assert rejections == []


@pytest.mark.parametrize("position", [0, 1, 2])
def test_line_over_the_limit_inside_a_block(position) -> None:
    lines = [b'{"text": "a"}', b'{"text": "b"}']
    lines.insert(position, b'{"text": "' + b"x" * 100 + b'"}')
    for step in (1, 5, 1000):
        rows, rejections, _ = read(b"\n".join(lines), limits=Limits(max_record_bytes=64), step=step)
        assert [row["text"] for row in rows] == ["a", "b"]
        assert reasons(rejections) == [(position + 1, "too_long")]


def test_rejections_stay_bounded_and_in_order() -> None:
    rows, rejections, _ = read(b"x\n" * 5_000 + b'{"text": "a"}\n')
    assert [rejection.line for rejection in rejections] == list(range(1, 5_001))
    assert len(rows) == 1


def test_errors_of_the_stream_raise() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "disk")

    with pytest.raises(OSError, match="disk"):
        list(
            read_documents(
                "a.jsonl", source="s", limits=Limits(), fields=NO_ORIGIN, added=None, open_stream=lambda path: Failing()
            )
        )


def test_pool_reads_whole(data_dir) -> None:
    path = data_dir / "pool" / "web" / "web_c4_sample-00000.jsonl.zst"
    with path.open("rb") as raw:
        plain = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    expected = [json.loads(line) for line in plain.splitlines()]
    rows, rejections, _ = read(path.read_bytes(), ".zst")
    assert rejections == []
    assert [(row["id"], row["text"]) for row in rows] == [(record["id"], record["text"]) for record in expected]


# ---- ranges of a plain file


def read_ranges(data: bytes, bounds: list[int], step: int, limits: Limits):
    """(rows, rejections) of all ranges between neighbouring bounds, in order."""
    events = []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        part = LineRange(start, end, count_newlines(io.BytesIO(data), 0, start))
        events += read_documents(
            "/in/a.jsonl", source="web", limits=limits, fields=FieldMap(), added=None,
            open_stream=lambda path: Trickle(data, step), root="/in", part=part,
        )  # fmt: skip
    rows = [row for event in events if isinstance(event, pa.RecordBatch) for row in event.to_pylist()]
    return rows, [event for event in events if isinstance(event, Rejection)]


ODD = b"".join([
    b'\xef\xbb\xbf{"text": "bom"}\r\n', b"\n", b"\r\n", b'{"text": "\xc3\xa9"}\n', b'{"text": "\xff"}\n', b"broken\n", b"   \n",
    b'{"text": "' + b"long " * 9 + b'"}\n', b'{"text": "too ' + b"long " * 30 + b'"}\n', b'{"id": "last", "text": "z"}',
])  # fmt: skip


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\n\n"])
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_file_cut_at_any_byte_gives_the_same_documents(ending, step) -> None:
    """Rows, line numbers, offsets and rejections of two ranges are those of the whole file, wherever the cut is."""
    data, limits = ODD + ending, Limits(max_record_bytes=100)
    whole = read_ranges(data, [0, len(data)], step, limits)
    assert len(whole[0]) == 4 and reasons(whole[1]) == [(5, "not_utf8"), (6, "invalid_json"), (9, "too_long")]
    for cut in range(1, len(data)):
        assert read_ranges(data, [0, cut, len(data)], step, limits) == whole


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b'{"text": "a"}', b'{"text": "b"}\n', b"\xff", b" " * 5]), max_size=12),
    st.integers(1, 40),
    st.integers(1, 9),
)
def test_ranges_of_any_size_give_what_the_whole_file_gives(pieces, unit_bytes, step) -> None:
    """Ranges shorter than a line, ranges without a line, ranges of one byte. The oracle is the reader without ranges."""
    data = b"".join(pieces)
    bounds = [0, *(end for _, end in cut_bytes(len(data), unit_bytes))]
    assert bounds[-1] == len(data)
    rows, rejections, _ = read(data, fields=FieldMap(), step=step)
    times = [row.pop("added") for row in rows]
    assert len(times) == len(rows)
    found, found_rejections = read_ranges(data, bounds, step, Limits())
    origins = [json.loads(row["metadata"])["origin"].removeprefix("a.jsonl:") for row in found]
    assert [json.loads(row["metadata"])["origin"].removeprefix("sub/a.jsonl:") for row in rows] == origins
    assert [row["text"] for row in rows] == [row["text"] for row in found]
    assert [rejection[1:] for rejection in rejections] == [rejection[1:] for rejection in found_rejections]


def test_a_range_inside_a_long_line_is_left_at_its_end() -> None:
    """A task must not read on through another task's line."""
    data = b'{"text": "' + b"x" * 1000 + b'"}\n'
    stream = Trickle(data, 10)
    assert list(iterate_range(stream, LineRange(100, 200, 0))) == []
    assert stream.tell() < 220


@pytest.mark.parametrize("place", [b'"metadata": {"x": %s}', b'"x": %s'])
def test_metadata_that_no_writer_takes_is_rejected(place) -> None:
    """What is read may be 1,024 deep, what is written 254."""
    data = b"".join(
        b'{"id": "%d", "text": "a", %s}\n' % (depth, place % (b"[" * depth + b"]" * depth))
        for depth in (100, 300, 1000, 2000, 100)
    )
    rows, rejections, _ = read(data)
    assert [row["id"] for row in rows] == ["100", "100"]
    assert reasons(rejections) == [(2, "too_deep"), (3, "too_deep"), (4, "invalid_json")]


def test_lines_of_objects_without_end_are_rejected_unread(monkeypatch) -> None:
    monkeypatch.setattr("dolma_py.formats.limits.MAX_OBJECTS", 100)
    deep = b"[" * 20 + b",".join([b"{}"] * 99) + b"]" * 20  # deeper than what is read without Python objects
    data = (
        lines_of([{"text": "[" * 99}])
        + b'{"text": "a", "x": '
        + deep
        + b"}\n"
        + lines_of([{"text": "{" * 98 + "x" * 1000}])
    )
    rows, rejections, _ = read(data)
    assert [len(row["text"]) for row in rows] == [99, 1098]
    assert reasons(rejections) == [(2, "too_large")]


def test_short_lines_of_a_small_file_take_little_memory() -> None:
    """A step of zstd may give 32 MiB at once: as lines they would take ten times that."""
    data = COMPRESSORS[".zst"](b"ab\n" * (16 << 20))
    limits = Limits(ratio_floor_bytes=1 << 30)
    events = read_documents(
        "a.jsonl.zst",
        source="s",
        limits=limits,
        fields=NO_ORIGIN,
        added=None,
        open_stream=lambda path: io.BytesIO(data),
    )
    tracemalloc.start()
    try:
        found = sum(1 for _, _ in zip(range(300_000), events, strict=False))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == 300_000
    assert peak < 150 << 20
