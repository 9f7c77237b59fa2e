"""Field maps of released data sets: rows in the sets' own columns become documents, and nothing of them is lost."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError

from dolma_py.formats import FieldMap, Limits, Rejection, read_any
from dolma_py.formats.fields import PRESETS, join_messages, split_record


def read(path: str, data: bytes, preset: str, limits: Limits | None = None):
    rows, rejections = [], []
    for event in read_any(
        path, source="given", limits=limits or Limits(), fields=FieldMap.model_validate(preset), added=None,
        open_stream=lambda path: io.BytesIO(data),
    ):  # fmt: skip
        rows.extend([] if isinstance(event, Rejection) else event.to_pylist())
        rejections.extend([event] if isinstance(event, Rejection) else [])
    return [row | {"metadata": json.loads(row["metadata"])} for row in rows], rejections


def write_parquet(rows: list[dict]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


CHAT = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
WRONG = [CHAT[0], {"role": "assistant", "content": "5"}]


def test_dolma3_rows() -> None:
    """The columns of the mixes' card; `metadata` and `attributes` come as objects, or as strings where the viewer made them so."""
    rows = [
        {
            "id": "u1", "text": "page", "source": "common_crawl", "version": "v1", "created": "2024-01-02T03:04:05.000Z",
            "added": "2024-02-03T00:00:00Z", "doc": None, "attributes": {"a": 1}, "metadata": {"url": "http://a", "weborganizer_max": "games"},
        },
        {"id": "u2", "text": "page", "source": None, "metadata": '{"url": "http://b"}', "attributes": "x"},
    ]  # fmt: skip
    data = zstandard.compress("\n".join(map(json.dumps, rows)).encode())
    (first, second), rejections = read("shard_00000000.jsonl.zst", data, "dolma3")
    assert rejections == []
    assert (first["id"], first["source"], first["text"]) == ("u1", "common_crawl", "page")
    assert first["created"] == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert first["metadata"] == {
        "url": "http://a", "weborganizer_max": "games", "version": "v1", "attributes": {"a": 1}, "origin": "shard_00000000.jsonl.zst:1",
    }  # fmt: skip
    assert (second["source"], second["metadata"]["url"], second["metadata"]["attributes"]) == ("given", "http://b", "x")


def test_flat_datatrove_rows() -> None:
    """The bytes that JsonlWriter(expand_metadata=True) of datatrove 0.10.1 wrote, and the same columns as Parquet."""
    line = b'{"text":"hello","id":"x1","url":"http://a","date":"2023-12-31T23:59:59Z","dump":"d"}\n'
    for path, data in (
        ("00000.jsonl.gz", gzip.compress(line)),
        ("000_00000.parquet", write_parquet([json.loads(line)])),
    ):
        (row,), rejections = read(path, data, "datatrove-flat")
        assert rejections == []
        assert (row["id"], row["text"], row["created"]) == (
            "x1",
            "hello",
            datetime(2023, 12, 31, 23, 59, 59, tzinfo=UTC),
        )
        assert row["metadata"] == {"url": "http://a", "dump": "d", "origin": f"{path}:1"}


def test_dolci_sft_rows() -> None:
    calls = [*CHAT, {"role": "assistant", "content": None, "function_calls": "f(1)", "functions": None}]
    rows = [
        {"id": "s1", "messages": calls, "source_dataset": "tulu", "domain": "math"},
        {"id": "s2", "messages": [], "source_dataset": "tulu", "domain": "math"},
    ]
    (row,), rejections = read("train-00000.parquet", write_parquet(rows), "dolci-sft")
    assert [(item.reason, item.line) for item in rejections] == [("missing_text", 2)]
    assert (row["id"], row["text"]) == ("s1", "2 + 2?\n\n4")
    assert [message["role"] for message in row["metadata"]["messages"]] == ["user", "assistant", "assistant"]
    assert row["metadata"]["messages"][2]["function_calls"] == "f(1)"
    assert row["metadata"]["source_dataset"] == "tulu"


@pytest.mark.parametrize(("preset", "key"), [("dolci-dpo", "prompt_id"), ("dolci-think-dpo", "id")])
def test_dolci_preference_rows(preset, key) -> None:
    """The text is the chosen conversation; the rejected one and both models stay in metadata."""
    rows = [{key: "p1", "chosen": CHAT, "rejected": WRONG, "chosen_model": "big", "rejected_model": "small"}]
    for path, data in (("a.parquet", write_parquet(rows)), ("a.jsonl", json.dumps(rows[0]).encode())):
        (row,), rejections = read(path, data, preset)
        assert rejections == []
        assert (row["id"], row["text"]) == ("p1", "2 + 2?\n\n4")
        assert (row["metadata"]["chosen"], row["metadata"]["rejected"]) == (CHAT, WRONG)
        assert row["metadata"]["rejected_model"] == "small"


@pytest.mark.parametrize(("preset", "key"), [("dolci-rl", "id"), ("dolci-think-rl", "custom_id")])
def test_dolci_rl_rows(preset, key) -> None:
    rows = [
        {
            key: "r1",
            "prompt": "2 + 2?",
            "ground_truth": ["4"],
            "dataset": ["math"],
            "input_ids_prompt": [1, 2],
            "solution": None,
        }
    ]
    (row,), rejections = read("a.parquet", write_parquet(rows), preset)
    assert rejections == []
    assert (row["id"], row["text"]) == ("r1", "2 + 2?")
    assert row["metadata"] == {"ground_truth": ["4"], "dataset": ["math"], "origin": "a.parquet:1"}


def test_conversations() -> None:
    assert (
        join_messages([{"content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"]}, {"content": "c"}])
        == "a\nb\n\nc"
    )
    for value in (
        None,
        "text",
        [],
        ["a"],
        [{"role": "user"}],
        {"content": "a"},
        [{"content": 3}],
        [{"content": [None]}],
    ):
        assert join_messages(value) is None


def test_long_conversation_is_too_long() -> None:
    rows = [{"id": "a", "messages": [{"role": "user", "content": "x" * 2000}]}, {"id": "b", "messages": CHAT}]
    (row,), rejections = read("a.parquet", write_parquet(rows), "dolci-sft", Limits(max_record_bytes=1500))
    assert (row["id"], [item.reason for item in rejections]) == ("b", ["too_long"])


def test_presets_are_maps_and_others_are_told() -> None:
    for name in PRESETS:
        FieldMap.model_validate(name)
    with pytest.raises(ValidationError, match="dolci-sft"):
        FieldMap.model_validate("dolci")


@pytest.mark.parametrize(
    ("record", "fields", "metadata"),
    [
        ({"Body": {"content": "a"}, "n": 1}, {"text": "Body.content"}, {"n": 1}),
        ({"Body": {"content": "a", "more": {}}}, {"text": "Body.content"}, {"Body": {"more": {}}}),
        ({"a": {"b": {"text": "a"}}, "c": {}}, {"text": "a.b.text"}, {"c": {}}),
        ({"text": "a", "x": {"y": 1}}, {"rename": {"z": "x.y"}}, {"z": 1}),
        ({"text": "a", "x": {"y": 1}}, {"drop": ["x.y"]}, {}),
        ({"text": "a", "x": {"y": 1}}, {"drop": ["x.none"]}, {"x": {"y": 1}}),
    ],
)
def test_what_a_field_map_empties_leaves_no_husk(record, fields, metadata):
    assert split_record(record, FieldMap(**fields), "web").metadata == metadata


def test_a_response_follows_its_text_after_a_blank_line() -> None:
    fields = FieldMap(text="prompt", response="meta.answer")
    record = split_record({"prompt": "What?\n", "meta": {"answer": "\nThat.", "kind": "x"}}, fields, "s")
    assert record.text == "What?\n\nThat." and record.metadata == {"meta": {"kind": "x"}}
    for values in ({"prompt": "What?"}, {"meta": {"answer": "That."}}, {"prompt": "What?", "meta": {"answer": 3}}):
        assert split_record(values, fields, "s") is None
    with pytest.raises(ValidationError, match="messages or response"):
        FieldMap(response="a", messages="b")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_prompts_and_responses_are_read_from_files(kind) -> None:
    """The readers that take whole columns leave such a map to the one that takes records."""
    values = [{"prompt": f"Question {n}\n", "response": f"Answer {n} \u00e9"} for n in range(5)] + [
        {"prompt": "none", "response": None}
    ]
    data = write_parquet(values) if kind == "parquet" else "".join(json.dumps(row) + "\n" for row in values).encode()
    rows, rejections = read(f"pairs.{kind}", data, {"text": "prompt", "response": "response"})
    assert [row["text"] for row in rows] == [f"Question {n}\n\nAnswer {n} \u00e9" for n in range(5)]
    assert [rejection.reason for rejection in rejections] == ["missing_text"]
    assert not any({"prompt", "response"} & set(row["metadata"]) for row in rows)
