"""Records of every format come out the same; what cannot be read is told with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dolma_py.errors import ConfigError, DataError
from taggers.evaluation_files import find_snapshot, find_split, list_paths, read_records

ROWS = [{"q": f"Question {number}, with a comma?", "a": str(number)} for number in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = b"q,a\n" + b"".join(f'"{row["q"]}",{row["a"]}\n'.encode() for row in ROWS)


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def write_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("name", "write", "first"),
    [
        ("a.jsonl", lambda path: path.write_bytes(LINES), 1),
        ("a.JSONL.gz", lambda path: path.write_bytes(gzip.compress(LINES)), 1),
        ("a.jsonl.zst", lambda path: path.write_bytes(zstandard.compress(LINES)), 1),
        ("a.json", lambda path: path.write_bytes(LINES), 1),  # JSON Lines under the other name
        ("a.json", lambda path: path.write_text(json.dumps(ROWS, indent=1)), 1),
        ("a.json.gz", lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())), 1),
        ("a.csv", lambda path: path.write_bytes(b"\xef\xbb\xbf" + CSV), 2),
        ("a.tsv", lambda path: path.write_bytes(CSV.replace(b'",', b'"\t').replace(b"q,a", b"q\ta")), 2),
        ("a.parquet", write_parquet, 1),
        ("a.arrow", write_arrow, 1),
    ],
)
def test_every_format_gives_the_same_records(tmp_path, name, write, first):
    write(tmp_path / name)
    assert list(read_records(str(tmp_path / name))) == list(enumerate(ROWS, first))


def test_a_list_inside_a_document_and_a_table_without_a_header(tmp_path):
    inner, bare = tmp_path / "a.json", tmp_path / "b.csv"
    inner.write_text(json.dumps({"canary": "x", "data": {"examples": ROWS}}))
    bare.write_bytes(CSV.split(b"\n", 1)[1])
    assert list(read_records(str(inner), records="data.examples")) == list(enumerate(ROWS, 1))
    assert list(read_records(str(bare), columns=("q", "a"))) == list(enumerate(ROWS, 1))


def test_blank_lines_count_as_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n" + LINES.replace(b"\n", b"\r\n") + b"  \n")
    assert list(read_records(str(path))) == list(enumerate(ROWS, 2))


@pytest.mark.parametrize(
    ("name", "data", "options", "row"),
    [
        ("a.jsonl", b'{"q": 1}\n\n{"q"', {}, 3),
        ("a.jsonl", b'{"q": 1}\n[1]\n', {}, 2),
        ("a.json", b'[{"q": 1}, 2]', {}, 2),
        ("a.json", b'{"q": [1]}', {"records": "examples"}, None),
        ("a.jsonl.gz", gzip.compress(LINES)[:-9], {}, None),
        ("a.csv", b"q,a\n1,2,3\n", {}, 2),
        ("a.csv", b"q,a\n1\n", {}, 2),
        ("a.csv", b'q,a\n"1,2\n', {}, 2),
        ("a.csv", b"q,a\n\xff,2\n", {}, None),
        ("a.parquet", b"PAR1", {}, None),
    ],
)
def test_what_cannot_be_read_names_file_and_line(tmp_path, name, data, options, row):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        list(read_records(str(path), **options))
    assert (error.value.path, error.value.row) == (str(path), row)


def test_a_folder_gives_its_data_and_no_descriptions(tmp_path):
    for name in ("test.jsonl", "README.md", "dataset_info.json", "sub/dev.csv", ".hidden.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [path.removeprefix(f"{tmp_path}/") for path in list_paths((str(tmp_path),), "k")]
    assert names == ["sub/dev.csv", "test.jsonl"]
    assert list_paths((f"{tmp_path}/*.jsonl", f"{tmp_path}/test.jsonl"), "k") == [f"{tmp_path}/test.jsonl"]
    for pattern in ("*.txt", "*.md", "README.md", "nothing"):
        with pytest.raises(ConfigError) as error:
            list_paths((f"{tmp_path}/{pattern}",), "set.paths")
        assert error.value.key == "set.paths" and pattern.lstrip("*") in str(error.value.got)


@pytest.mark.parametrize(
    ("path", "split"),
    [("x/test.jsonl", "test"), ("x/mmlu_dev-1.jsonl.gz", "dev"), ("test/x.csv", "test"), ("test/a/x.csv", None),
     ("x/Validation-00000-of-00002.parquet", "validation"), ("x/latest.csv", None), ("train/test.csv", "test"), ("my_test/x.csv", None)],
)  # fmt: skip
def test_the_split_is_read_off_the_name(path, split):
    assert find_split(path) == split


def write_snapshot(cache: Path, name: str, files: dict[str, bytes]) -> Path:
    """A data set as huggingface_hub keeps it after a download."""
    root = cache / "hub" / f"datasets--{name.replace('/', '--')}"
    folder = root / "snapshots" / ("a" * 40)
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("a" * 40)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_a_set_of_the_hub_is_its_snapshot_on_this_disk(tmp_path, monkeypatch):
    import huggingface_hub.constants

    folder = write_snapshot(tmp_path, "owner/quiz", {"main/test.jsonl": LINES})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_snapshot("owner/quiz", None, "k") == str(folder)
    with pytest.raises(ConfigError) as error:
        find_snapshot("owner/other", None, "evaluation_sets.other.hub")
    assert (error.value.key, error.value.got) == ("evaluation_sets.other.hub", "owner/other")
    assert "paths" in error.value.hint
