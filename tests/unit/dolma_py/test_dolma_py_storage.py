"""Files appear whole or not at all, here and elsewhere: the same tests run on a folder, on buckets and by HDFS's rules.

The buckets are servers of our own, reached over HTTP as real ones would be (tests/remote_places.py).
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from dolma_py import parquet_files, storage
from dolma_py.corpus import Corpus, read_view
from dolma_py.done import DoneFile, read_done_lines
from dolma_py.errors import DataError
from dolma_py.listing import Listing, Shard, append_shards, plan_splits
from dolma_py.storage import FileInfo, HashingWriter, WrittenFile
from dolma_py.views import Step
from tests.remote_places import open_google_bucket, open_hadoop, open_s3_bucket, send_google

MIB = 1 << 20


@pytest.fixture(scope="module")
def bucket():
    """s3://corpus."""
    with open_s3_bucket("corpus") as place:
        yield place


@pytest.fixture(scope="module")
def google_bucket():
    """gs://corpus."""
    with open_google_bucket("corpus") as place:
        yield place


@pytest.fixture
def hadoop(tmp_path):
    """hdfs://cluster:9000, no real cluster."""
    with open_hadoop(tmp_path / "hdfs") as place:
        yield place


@pytest.fixture(params=["folder", "bucket", "google_bucket", "hadoop"])
def root(request, tmp_path) -> str:
    """An empty place: a folder with a blank in its name, or one below a bucket or a cluster."""
    if request.param == "folder":
        return str(tmp_path / "a folder")
    return f"{request.getfixturevalue(request.param)}/{tmp_path.name}"


def names(root: str) -> list[str]:
    """Everything below root, relative to it."""
    return [info.path.removeprefix(root + "/") for info in storage.list_files(root)]


class WriterFailedError(Exception):
    """What stops a writer in these tests."""


# ---- whole or not at all


def test_a_written_file_reads_back(root):
    path = storage.join_path(root, "sub", "a.bin")
    with storage.write_file(path) as stream:
        stream.write(b"one ")
        stream.write(b"two")
    assert storage.read_bytes(path) == b"one two"
    assert (storage.file_bytes(path), storage.path_exists(path), names(root)) == (7, True, ["sub/a.bin"])
    storage.write_bytes(path, b"")
    assert (storage.read_bytes(path), storage.file_bytes(path), names(root)) == (b"", 0, ["sub/a.bin"])


@pytest.mark.parametrize(
    ("written", "error"), [(b"", WriterFailedError), (b"half", WriterFailedError), (b"half", KeyboardInterrupt)]
)
def test_a_writer_that_fails_leaves_nothing(root, written, error):
    path = storage.join_path(root, "a.bin")
    with pytest.raises(error), storage.write_file(path) as stream:
        stream.write(written)
        raise error
    del stream
    gc.collect()  # a stream that closes itself on collection must not finish the upload
    assert names(root) == [] and storage.file_bytes(path) is None


def test_a_writer_that_fails_leaves_what_was_there(root):
    path = storage.join_path(root, "a.bin")
    storage.write_bytes(path, b"before")
    with pytest.raises(WriterFailedError), storage.write_file(path) as stream:
        stream.write(b"after")
        raise WriterFailedError
    assert storage.read_bytes(path) == b"before" and names(root) == ["a.bin"]


def test_nothing_is_seen_while_writing(root):
    path = storage.join_path(root, "a.bin")
    with storage.write_file(path) as stream:
        stream.write(b"x")
        assert storage.file_bytes(path) is None


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pyarrow's writer tries to close itself late
def test_a_parquet_writer_that_fails_leaves_nothing(root):
    """The footer is written on close, and pyarrow closes what it collects: neither may make the file look finished."""

    def write(sink: HashingWriter) -> int:
        writer = parquet_files.open_writer(sink, pa.schema([("a", pa.int64())]))
        parquet_files.write_row_group(writer, pa.table({"a": [1]}))
        raise WriterFailedError

    with pytest.raises(WriterFailedError):
        storage.write_attempt(root, "attempts", "a.parquet", write)
    gc.collect()
    assert names(root) == []


KILLED = """
import contextlib, os, pathlib, signal, sys
from dolma_py import storage
from tests.remote_places import open_hadoop
with open_hadoop(pathlib.Path(sys.argv[1])), contextlib.ExitStack() as stack:
    for path in sys.argv[2:]:
        stream = stack.enter_context(storage.write_file(path))
        stream.write(b"x" * (1 << 20)); stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path, bucket, google_bucket, hadoop, repository):
    """One process, four writers, kill -9 in the middle."""
    folders = [str(tmp_path / "out"), f"{bucket}/killed", f"{google_bucket}/killed", f"{hadoop}/killed"]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "hdfs"), *(f"{folder}/a.bin" for folder in folders)]
    result = subprocess.run(command, env=environment, timeout=100, check=False)
    assert result.returncode == -signal.SIGKILL
    left = [names(folder) for folder in folders]
    assert [len(found) for found in left] == [1, 0, 0, 1]
    assert left[0][0].startswith(".a.bin.") and left[3][0].startswith(".a.bin.")
    for folder in folders:
        storage.remove_leftovers(folder)
        assert names(folder) == []


def test_only_our_leftovers_are_removed(tmp_path, google_bucket, hadoop):
    ours = ".a.parquet." + "0123456789abcdef" * 2 + ".tmp"
    others = [
        ".notes.tmp",
        "a.tmp",
        ".a." + "0" * 31 + ".tmp",
        ".a." + "0" * 32 + ".tmp.txt",
        "." + "0" * 32 + ".tmp",
        "b/.c.tmp",
    ]
    for place in (str(tmp_path / "here"), f"{google_bucket}/left", f"{hadoop}/left"):
        for name in (ours, f"b/{ours}", *others):
            storage.write_bytes(f"{place}/{name}", b"x")
        storage.remove_leftovers(place)
        assert names(place) == sorted(others)
    storage.remove_leftovers("s3://nobody/asks")


# ---- publishing, listing, removing


def test_publishing_replaces_and_works_once(root):
    attempt, path = storage.join_path(root, "attempts", "1"), storage.join_path(root, "deep", "er", "a.bin")
    storage.write_bytes(path, b"old and longer")
    storage.write_bytes(attempt, b"new")
    storage.publish_file(attempt, path)
    assert storage.read_bytes(path) == b"new" and names(root) == ["deep/er/a.bin"]
    with pytest.raises(OSError):
        storage.publish_file(attempt, path)
    assert storage.read_bytes(path) == b"new"
    storage.publish_file(path, storage.join_path(root, "new", "folder", "b.bin"))
    assert names(root) == ["new/folder/b.bin"]


def test_list_files_is_sorted_and_deep(root):
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.txt", "a b/%20 #?.txt"):
        storage.write_bytes(storage.join_path(root, name), name.encode())
    found = storage.list_files(root)
    expected = ["a b/%20 #?.txt", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt"]
    assert found == [FileInfo(storage.join_path(root, name), len(name)) for name in expected]
    assert [storage.read_bytes(info.path).decode() for info in found] == expected
    assert names(storage.join_path(root, "a")) == ["b/c.txt", "z.txt"]


def test_what_is_missing(root):
    missing = storage.join_path(root, "none")
    assert (
        storage.list_files(missing) == [] and storage.file_bytes(missing) is None and not storage.path_exists(missing)
    )
    storage.remove_file(missing)
    storage.remove_tree(missing)
    with pytest.raises(OSError):
        storage.read_bytes(missing)


def test_a_folder_is_no_file(root):
    storage.write_bytes(storage.join_path(root, "a", "b"), b"x")
    folder = storage.join_path(root, "a")
    assert storage.file_bytes(folder) is None and storage.path_exists(folder)
    assert storage.list_files(storage.join_path(folder, "b")) == []


def test_removing(root):
    for name in ("keep", "a/one", "a/b/two"):
        storage.write_bytes(storage.join_path(root, name), b"x")
    storage.remove_file(storage.join_path(root, "a", "one"))
    assert names(root) == ["a/b/two", "keep"]
    storage.remove_tree(storage.join_path(root, "a"))
    assert names(root) == ["keep"]


def test_markers_of_folders_are_no_files(bucket, google_bucket):
    """Consoles and Hadoop write empty objects that stand for folders; they go with their folder."""
    import boto3

    address = os.environ["STORAGE_EMULATOR_HOST"].removeprefix("http://")
    for key in ("marked/", "marked/sub/", "marked/file"):
        boto3.client("s3").put_object(Bucket="corpus", Key=key, Body=b"")
        send_google(address, f"b/corpus/o?uploadType=media&name={key}", b"", "upload/storage/v1")
    for place in (bucket, google_bucket):
        assert names(f"{place}/marked") == ["file"]
        assert [entry.name for entry in storage.list_folder(f"{place}/marked")] == ["file", "sub"]
        storage.remove_tree(f"{place}/marked")
        assert not storage.path_exists(f"{place}/marked") and names(f"{place}/marked") == []


def test_links_to_folders_are_not_followed(tmp_path):
    storage.write_bytes(str(tmp_path / "real" / "a"), b"x")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "link").symlink_to(tmp_path / "real" / "a")
    assert names(str(tmp_path)) == ["real/a", "real/link"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(PermissionError):
        storage.list_files(str(tmp_path))


def test_make_folder(tmp_path, hadoop):
    storage.make_folder(str(tmp_path / "a" / "b"))
    storage.make_folder(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    storage.make_folder(f"{hadoop}/a/b")
    assert storage.path_exists(f"{hadoop}/a/b") and storage.list_files(hadoop) == []
    storage.make_folder("s3://nobody/asks")
    storage.make_folder("gs://nobody/asks")


# ---- names


@pytest.mark.parametrize(
    ("path", "remote", "resolved"),
    [
        ("s3://bucket/a/", True, "s3://bucket/a"), ("hdfs://host:9000/a", True, "hdfs://host:9000/a"),
        ("file:///data/a/", False, "/data/a"), ("/data/../a//b/", False, "/a/b"),
    ],
)  # fmt: skip
def test_resolve_path(path, remote, resolved):
    assert (storage.is_remote(path), storage.resolve_path(path)) == (remote, resolved)


def test_paths_are_resolved_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert storage.resolve_path("a") == str(tmp_path / "a")
    assert storage.resolve_path("~/a") == "/home/somebody/a"
    storage.write_bytes("bare", b"x")
    assert Path("bare").read_bytes() == b"x"


def test_join_path():
    assert storage.join_path("s3://bucket/a", "b", "c.txt") == "s3://bucket/a/b/c.txt"
    assert storage.join_path("/a", "b") == "/a/b"


# ---- checksums


@pytest.mark.parametrize("num_bytes", [0, 1, 5 * MIB])
def test_checksum_file(root, num_bytes):
    content = (bytes(range(251)) * (num_bytes // 251 + 1))[:num_bytes]
    storage.write_bytes(storage.join_path(root, "a"), content)
    assert storage.checksum_file(storage.join_path(root, "a")) == xxhash.xxh3_128_hexdigest(content)


@pytest.mark.parametrize("num_bytes", [0, 1, 3 * MIB])
def test_fingerprint_of_a_small_input_sees_every_byte(tmp_path, num_bytes):
    path = tmp_path / "a"
    path.write_bytes(b"a" * num_bytes)
    marks = {storage.fingerprint_input(str(path), num_bytes)}
    places = [place for place in (0, MIB, num_bytes // 2, num_bytes - 1) if 0 <= place < num_bytes]
    for place in places:
        path.write_bytes(b"a" * place + b"b" + b"a" * (num_bytes - place - 1))
        marks.add(storage.fingerprint_input(str(path), num_bytes))
    assert len(marks) == 1 + len(set(places))


def test_a_fingerprint_is_the_same_anywhere(tmp_path, bucket, google_bucket, hadoop):
    """3 MiB and a bit: the large kind, read by seeking."""
    content = np.arange(800_000, dtype=np.uint32).tobytes()
    paths = [str(tmp_path / "a"), *(f"{place}/fingerprint/a" for place in (bucket, google_bucket, hadoop))]
    for path in paths:
        storage.write_bytes(path, content)
    assert len({storage.fingerprint_input(path, len(content)) for path in paths}) == 1


def test_fingerprint_of_a_large_input_sees_size_head_middle_and_tail(tmp_path):
    """It is blind elsewhere, as its docstring says."""
    num_bytes = 4 * MIB + 3
    path = str(tmp_path / "a")

    def mark(place: int | None, size: int = num_bytes) -> str:
        content = bytearray(size)
        content[place if place is not None else 0] = 0 if place is None else 1
        storage.write_bytes(path, bytes(content))
        return storage.fingerprint_input(path, size)

    plain = mark(None)
    seen = [0, MIB - 1, num_bytes // 2, num_bytes // 2 + MIB - 1, num_bytes - MIB, num_bytes - 1]
    assert len({plain, *map(mark, seen)}) == 7
    assert mark(MIB) == plain and mark(None, num_bytes + 1) != plain


def test_hashing_writer_passes_counts_and_hashes(tmp_path):
    """Whatever the buffer: bytes, an array of any shape, an empty one, a view."""
    chunks = [
        b"ab",
        bytearray(b"c"),
        np.arange(6, dtype=np.uint16).reshape(2, 3),
        np.empty(0, np.uint16),
        memoryview(b"xyz")[1:],
        pa.py_buffer(b"q"),
    ]
    content = b"".join(np.asarray(memoryview(chunk)).tobytes() for chunk in chunks)
    with storage.write_file(str(tmp_path / "a")) as stream:
        sink = HashingWriter(stream)
        lengths = [sink.write(chunk) for chunk in chunks]
        sink.flush()
    assert lengths == [2, 1, 12, 0, 2, 1] and sink.num_bytes == sink.tell() == 18
    assert (tmp_path / "a").read_bytes() == content
    assert sink.checksum == xxhash.xxh3_128_hexdigest(content)
    assert sink.writable() and not sink.readable() and not sink.seekable()
    sink.close()
    assert sink.closed


def test_write_attempt_tells_what_it_wrote(root):
    def write(sink: HashingWriter) -> int:
        sink.write(b"abc")
        return 2

    first, second = (storage.write_attempt(root, "work/attempts", "deep/a.bin", write) for _ in range(2))
    assert first.attempt != second.attempt and storage.read_bytes(first.attempt) == b"abc"
    assert first[1:] == ("deep/a.bin", 3, xxhash.xxh3_128_hexdigest(b"abc"), 2)
    assert all(name.startswith("work/attempts/") for name in names(root))


# ---- what stands on these functions, on a bucket too


def test_parquet_reads_from_anywhere(root):
    path = storage.join_path(root, "a b%20#.parquet")
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    with storage.write_file(path) as stream, parquet_files.open_writer(stream, table.schema) as writer:
        parquet_files.write_row_group(writer, table.slice(0, 2))
        parquet_files.write_row_group(writer, table.slice(2))
    assert parquet_files.read_row_groups(path, [1], ["b"]).to_pydict() == {"b": ["z"]}
    assert parquet_files.read_row_groups(path, None, None).equals(table)
    storage.write_bytes(path, b"PAR1 not one")
    with pytest.raises(DataError, match="not a Parquet file"):
        parquet_files.open_parquet(path)
    with pytest.raises(FileNotFoundError):
        parquet_files.open_parquet(path + "2")


def test_done_file_grows_anywhere(root):
    done = DoneFile(root, "work", "f")
    for unit in ("b", "a"):
        storage.write_bytes(storage.join_path(root, "attempts", unit), unit.encode())
        done.publish(unit, [WrittenFile(storage.join_path(root, "attempts", unit), f"out/{unit}", 1, "", 1)], {"n": 1})
        assert sorted(DoneFile(root, "work", "f").units) == sorted(done.units)
    done.finish()
    assert [line["unit"] for line in read_done_lines(done.path)] == ["a", "b"]
    storage.remove_file(storage.join_path(root, "out", "a"))
    assert sorted(DoneFile(root, "work", "f").units) == ["b"]


def test_a_done_file_in_a_bucket_is_written_in_proportion(bucket, tmp_path, monkeypatch):
    """200 units: far fewer than 200 uploads of the whole file, few units unsaved at any time, none after save."""
    root = f"{bucket}/{tmp_path.name}"
    done = DoneFile(root, "work", "f")
    written = []
    write = storage.write_bytes
    monkeypatch.setattr(
        storage, "write_bytes", lambda path, content: (written.append(len(content)), write(path, content))
    )
    for number in range(200):
        done.publish(f"{number:03d}", [], {})
        assert done.num_unsaved <= number // 16 + 1
    done.save()
    assert len(written) < 80 and sum(written) < 20 * written[-1]
    assert len(DoneFile(root, "work", "f").units) == 200
    before = len(written)
    done.save()
    assert len(written) == before


def test_a_corpus_lives_anywhere(root):
    """Documents, sizes, attributes, listing and view on a bucket read as they do in a folder."""
    corpus = Corpus(root)
    texts = ["keep me", "drop me"]
    tables = {
        "documents/web/part-00000.parquet": pa.table(
            {"id": ["1", "2"], "text": pa.array(texts, pa.large_string()), "source": ["web"] * 2}
        ),
        "attributes/sizes-v1/web/part-00000.parquet": pa.table({"text_bytes": [7, 7]}),
        "attributes/good-v1/web/part-00000.parquet": pa.table({"good": [True, False]}),
    }
    for name, table in tables.items():
        with storage.write_file(corpus.path(name)) as stream, parquet_files.open_writer(stream, table.schema) as writer:
            parquet_files.write_row_group(writer, table)
    shard = Shard(0, "documents/web/part-00000.parquet", "parquet", "web", 2, 14, 1, "c", ((2, 14),))
    append_shards(corpus.listing_path, Listing(()), [shard])
    view = corpus.load_view(None).extend("good", [Step(name="good", attributes="good-v1", keep="good")])
    (split,) = plan_splits(corpus.read_listing(), 1)
    (batch,) = read_view(corpus, view, split)
    assert batch.documents.column("text").to_pylist() == ["keep me"]


def test_libraries_that_open_files_themselves_get_local_ones(root, tmp_path):
    """A remote file's copy has its bytes and its suffix and goes with the block; a local file is given as it is."""
    (tmp_path / "model.bin").write_bytes(b"x" * 9_000_000)
    path = storage.join_path(root, "runs", "model.bin")
    storage.copy_file(str(tmp_path / "model.bin"), path)
    assert storage.file_bytes(path) == 9_000_000
    with storage.local_copy(path) as copy:
        assert Path(copy).read_bytes() == b"x" * 9_000_000 and copy.endswith("model.bin")
    assert Path(copy).exists() == (not storage.is_remote(path))
