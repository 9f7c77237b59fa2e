"""What only HDFS and servers that are gone can do; what all places have in common is in test_dolma_py_storage.py."""

from __future__ import annotations

import pytest

from dolma_py import remote_files, storage
from dolma_py.errors import ConfigError
from tests.remote_places import HadoopRules, open_hadoop


@pytest.fixture
def hadoop(tmp_path):
    """hdfs://cluster:9000, no real cluster."""
    with open_hadoop(tmp_path / "hdfs") as place:
        yield place


class RequestFailedError(OSError):
    """What the stand-in for HDFS answers once its requests are used up."""


@pytest.mark.parametrize("is_repeated", [True, False])
@pytest.mark.parametrize("num_requests", range(10))
def test_a_file_that_is_being_replaced_is_the_old_or_the_new_one(hadoop, monkeypatch, num_requests, is_repeated):
    """Whichever request to HDFS is the last one of a publisher: readers see one of the two, and a second try ends it."""
    attempt, path = f"{hadoop}/attempts/1", f"{hadoop}/out/listing.jsonl"
    left = num_requests

    def stop_at(method):
        def call(*arguments, **named):
            nonlocal left
            left -= 1
            if left < 0:
                raise RequestFailedError
            return method(*arguments, **named)

        return call

    storage.write_bytes(path, b"old")
    storage.write_bytes(attempt, b"newer")
    with monkeypatch.context() as patch:
        for name in ("get_file_info", "create_dir", "move", "delete_file"):
            patch.setattr(HadoopRules, name, stop_at(getattr(HadoopRules, name)))
        is_done = True
        try:
            storage.publish_file(attempt, path)
        except RequestFailedError:
            is_done = False
    content = storage.read_bytes(path)
    stamp = storage.stamp_file(path)
    assert content in (b"old", b"newer") and storage.path_exists(path)
    assert storage.file_bytes(path) == stamp.num_bytes == len(content)
    if content == b"old" and is_repeated:
        storage.publish_file(attempt, path)
        content = b"newer"
    storage.remove_leftovers(hadoop)
    assert storage.read_bytes(path) == content and [info.path for info in storage.list_files(f"{hadoop}/out")] == [path]
    assert is_done == (num_requests >= 8) and (not is_done or content == b"newer")


def test_a_removed_file_does_not_come_back(hadoop):
    """Nor does the one that it was replacing when the writer died."""
    path = f"{hadoop}/out/a"
    for names_left in (["a"], [".a.dolma-py-replaced"], ["a", ".a.dolma-py-replaced"]):
        for name in names_left:
            storage.write_bytes(f"{hadoop}/out/{name}", b"x")
        assert storage.path_exists(path)
        storage.remove_file(path)
        assert not storage.path_exists(path) and storage.list_files(hadoop) == []


def test_what_cannot_be_looked_at_is_not_missing(hadoop):
    """pyarrow says missing of both: whoever believed it would write a new listing without the old shards."""
    path, fresh = f"{hadoop}/out/listing.jsonl", f"{hadoop}/out/new"
    storage.write_bytes(path, b"old")
    storage.write_bytes(fresh, b"newer")
    storage.write_bytes(f"{hadoop}/out/.listing.jsonl.dolma-py-replaced", b"older")
    rules = remote_files.find_filesystem(path)[0].handler
    rules.blind.add("listing.jsonl")
    for ask in (
        storage.file_bytes, storage.path_exists, storage.stamp_file, storage.read_bytes,
        lambda path: storage.publish_file(fresh, path), lambda path: storage.remove_leftovers(hadoop), storage.remove_file,
    ):  # fmt: skip
        with pytest.raises(OSError, match="safe mode"):
            ask(path)
    rules.blind = {"out"}
    for ask in (storage.list_files, storage.list_folder):
        with pytest.raises(OSError):
            ask(f"{hadoop}/out")
    rules.blind = set()
    assert storage.read_bytes(path) == b"old" and storage.read_bytes(fresh) == b"newer"


def test_a_file_does_not_go_into_a_folder_of_its_name(hadoop):
    storage.write_bytes(f"{hadoop}/out/name/inside", b"x")
    with pytest.raises(IsADirectoryError, match="out/name is a folder"):
        storage.write_bytes(f"{hadoop}/out/name", b"y")
    assert [info.path for info in storage.list_files(hadoop)] == [f"{hadoop}/out/name/inside"]


def test_a_reader_finds_a_file_that_is_replaced_under_its_hands(hadoop, monkeypatch):
    path = f"{hadoop}/out/a"
    storage.write_bytes(path, b"old")
    rules = remote_files.find_filesystem(path)[0].handler
    open_file, left = HadoopRules.open_input_file, 1

    def open_later(self, name):
        nonlocal left
        if left:
            left -= 1
            rules.move("/out/a", "/out/.a.dolma-py-replaced")
        return open_file(self, name)

    monkeypatch.setattr(HadoopRules, "open_input_file", open_later)
    assert storage.read_bytes(path) == b"old" and not left


def test_places_of_other_kinds_are_refused():
    with pytest.raises(ConfigError, match="s3://, gs://, hdfs:// or hf://, got .abfs://store"):
        storage.list_files("abfs://store/a")


@pytest.mark.timeout(120)
def test_a_server_that_is_gone_is_an_error(monkeypatch):
    """Not a wait of 15 minutes."""
    monkeypatch.setattr(remote_files, "GIVE_UP_SECONDS", 1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9")
    with pytest.raises(OSError):
        storage.write_bytes("gs://nobody/gone", b"x")


def test_without_hadoop_the_error_tells_what_it_needs(monkeypatch, tmp_path):
    for name in ("JAVA_HOME", "HADOOP_HOME", "ARROW_LIBHDFS_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(ConfigError, match="hdfs://cluster.*CLASSPATH"):
        storage.read_bytes("hdfs://cluster/a")
