"""Datasets of the Hub through the one storage layer: globs, ranges, errors with a number, and nothing is ever written."""

from __future__ import annotations

import errno
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dolma_py import storage
from dolma_py.errors import ConfigError
from dolma_py.formats import FieldMap, Limits, Rejection, read_any
from dolma_py.hub_files import BLOCK_BYTES
from dolma_py.input_files import find_files
from tests.made_hub import open_hub

NAME = "hf://datasets/org/name"


@pytest.fixture
def hub(tmp_path):
    root = tmp_path / "hub" / "org" / "name"
    web = root / "main" / "data" / "common_crawl-games-0019"
    web.mkdir(parents=True)
    lines = [json.dumps({"id": f"a{n}", "text": f"text {n}"}) for n in range(3)]
    (web / "shard_00000000.jsonl.zst").write_bytes(zstandard.compress("\n".join(lines).encode()))
    (root / "main" / "README.md").write_text("card")
    (root / "main" / ".gitattributes").write_text("x")
    (root / "v2").mkdir()
    (root / "v2" / "a b.jsonl").write_text('{"id": "old", "text": "other"}\n')
    with open_hub(tmp_path / "hub") as server:
        yield server


def read(path):
    events = list(read_any(
        path, source="s", limits=Limits(), fields=FieldMap(), added=None, open_stream=storage.open_read, root=NAME
    ))  # fmt: skip
    assert not any(isinstance(event, Rejection) for event in events)
    return [row for batch in events for row in batch.to_pylist()]


def test_globs_and_revisions(hub) -> None:
    found = find_files(f"{NAME}/data/*/*.jsonl.zst")
    assert [info.path for info in found.files] == [f"{NAME}/data/common_crawl-games-0019/shard_00000000.jsonl.zst"]
    assert [row["id"] for row in read(found.files[0].path)] == ["a0", "a1", "a2"]
    whole = find_files(NAME)
    assert [info.path.removeprefix(NAME) for info in whole.files] == [
        "/README.md", "/data/common_crawl-games-0019/shard_00000000.jsonl.zst",
    ]  # fmt: skip
    assert whole.left_out == [f"{NAME}/.gitattributes"]
    old = find_files(f"{NAME}@v2")
    assert [info.path for info in old.files] == [f"{NAME}@v2/a b.jsonl"]
    assert [row["id"] for row in read(old.files[0].path)] == ["old"]
    assert storage.file_bytes(f"{NAME}@v2/a b.jsonl") == 31
    assert len(storage.fingerprint_input(f"{NAME}@v2/a b.jsonl", 31)) == 32


def test_what_is_not_there(hub) -> None:
    for path in (f"{NAME}/none.jsonl", f"{NAME}@none/x", "hf://datasets/org/none/x"):
        assert not storage.path_exists(path)
        assert find_files(path).files == []
        with pytest.raises(FileNotFoundError):
            storage.open_read(path)
    for path in ("hf://datasets", "hf://datasets/org", "hf://org/model/x"):
        with pytest.raises(ConfigError, match="hf://datasets/ORG"):
            storage.path_exists(path)


def test_large_files_are_read_in_ranges(hub, tmp_path) -> None:
    """Of a Parquet file of which one row group is wanted, the rest is not asked for."""
    table = pa.table({"text": [f"{n}" * 50_000 for n in range(1000, 1400)]})
    path = tmp_path / "hub" / "org" / "name" / "main" / "big.parquet"
    pq.write_table(table, path, row_group_size=20, compression="none", use_dictionary=False)
    assert path.stat().st_size > 8 * BLOCK_BYTES
    with storage.open_read(f"{NAME}/big.parquet") as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        assert file.read_row_group(3).num_rows == 20
    assert hub.sent_bytes < path.stat().st_size / 2
    with storage.open_read(f"{NAME}/big.parquet") as stream:
        stream.seek(-4, 2)
        assert stream.read() == b"PAR1"
    assert all(asked for _, name, asked in hub.requests if name.endswith("big.parquet") and "/resolve/" in name)


def test_errors_have_a_number(hub) -> None:
    """One without would be taken for a damaged file, rejected and counted."""
    stream = storage.open_read(f"{NAME}@v2/a b.jsonl")
    hub.fails = True
    with pytest.raises(OSError) as caught:
        stream.read()
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError) as caught:
        list(read_any(
            f"{NAME}@v2/a b.jsonl", source="s", limits=Limits(), fields=FieldMap(), added=None, open_stream=storage.open_read,
            kind="parquet",
        ))  # fmt: skip
    assert caught.value.errno == errno.EIO


def test_no_server_is_an_error_not_a_missing_file(monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(OSError) as caught:
        storage.path_exists(NAME)
    assert caught.value.errno == errno.EIO


def test_tokens_are_sent(hub, monkeypatch) -> None:
    hub.token = "secret"
    with pytest.raises(OSError):
        storage.open_read(f"{NAME}@v2/a b.jsonl").read()
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert [row["id"] for row in read(f"{NAME}@v2/a b.jsonl")] == ["old"]


def test_nothing_is_written(hub) -> None:
    before = len(hub.requests)
    for change in (storage.remove_tree, storage.remove_file):
        with pytest.raises(ConfigError, match="read only"):
            change(
                f"{NAME}/data/common_crawl-games-0019" + "/shard_00000000.jsonl.zst" * (change is storage.remove_file)
            )
    storage.remove_leftovers(NAME)
    with pytest.raises(ConfigError, match="read only"), storage.write_file(f"{NAME}/x") as stream:
        stream.write(b"x")
    with pytest.raises(ConfigError, match="read only"):
        storage.publish_file(f"{NAME}@v2/a b.jsonl", f"{NAME}/x")
    assert {method for method, _, _ in hub.requests[before:]} <= {"GET", "HEAD"}
