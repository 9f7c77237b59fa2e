"""A pattern names the same files in a folder, in buckets and by HDFS's rules, and what it leaves out is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dolma_py import storage
from dolma_py.errors import ConfigError
from dolma_py.input_files import describe_left_out, find_files, find_root, take_underscored
from tests.remote_places import open_google_bucket, open_hadoop, open_s3_bucket

NAMES = (
    "a/x.jsonl",
    "a/deep/er/y.jsonl",
    "a/.git/config",
    "a/deep/_SUCCESS",
    "b/x.jsonl",
    "b/notes.txt",
    ".hid/x.jsonl",
    "_z.jsonl",
    "top.jsonl",
)


@pytest.fixture(scope="module")
def bucket():
    """s3://inputs."""
    with open_s3_bucket("inputs") as place:
        yield place


@pytest.fixture(scope="module")
def google_bucket():
    """gs://inputs."""
    with open_google_bucket("inputs") as place:
        yield place


@pytest.fixture
def hadoop(tmp_path):
    """hdfs://cluster:9000, no real cluster."""
    with open_hadoop(tmp_path.parent / f"{tmp_path.name}-hdfs") as place:
        yield place


@pytest.fixture(params=["folder", "bucket", "google_bucket", "hadoop"])
def root(request, tmp_path) -> str:
    """NAMES in a folder, or in one below a bucket or a cluster."""
    folder = str(tmp_path)
    if request.param != "folder":
        folder = f"{request.getfixturevalue(request.param)}/{tmp_path.name}"
    for name in NAMES:
        storage.write_bytes(f"{folder}/{name}", name.encode())
    return folder


def names_of(root, paths):
    return [path.removeprefix(f"{root}/") for path in paths]


@pytest.mark.parametrize(
    ("pattern", "files", "left_out"),
    [
        ("", ["a/deep/er/y.jsonl", "a/x.jsonl", "b/notes.txt", "b/x.jsonl", "top.jsonl"], [".hid", "_z.jsonl", "a/.git", "a/deep/_SUCCESS"]),
        ("*", ["a/deep/er/y.jsonl", "a/x.jsonl", "b/notes.txt", "b/x.jsonl", "top.jsonl"], [".hid", "_z.jsonl", "a/.git", "a/deep/_SUCCESS"]),
        ("[a]", ["a/deep/er/y.jsonl", "a/x.jsonl"], ["a/.git", "a/deep/_SUCCESS"]),
        ("*.jsonl", ["top.jsonl"], ["_z.jsonl"]),
        ("*/x.jsonl", ["a/x.jsonl", "b/x.jsonl"], [".hid"]),
        ("**/*.jsonl", ["a/deep/er/y.jsonl", "a/x.jsonl", "b/x.jsonl", "top.jsonl"], [".hid", "_z.jsonl", "a/.git"]),
        ("a/**", ["a/deep/er/y.jsonl", "a/x.jsonl"], ["a/.git", "a/deep/_SUCCESS"]),
        ("**/er", ["a/deep/er/y.jsonl"], [".hid", "a/.git"]),
        ("**/deep/**/y.*", ["a/deep/er/y.jsonl"], [".hid", "a/.git"]),
        (".h*/*", [".hid/x.jsonl"], []),
        ("_?.jsonl", ["_z.jsonl"], []),
        ("a/.git", ["a/.git/config"], []),
        ("_z.jsonl", ["_z.jsonl"], []),
        ("?/notes.txt", ["b/notes.txt"], []),
        ("*/nothing", [], [".hid"]),
        ("nothing", [], []),
        ("no/*.jsonl", [], []),
    ],
)  # fmt: skip
def test_a_pattern_names_files(root, pattern, files, left_out):
    found = find_files(storage.join_path(root, pattern) if pattern else root)
    assert names_of(root, [info.path for info in found.files]) == files
    assert names_of(root, found.left_out) == left_out
    assert [info.num_bytes for info in found.files] == [len(name) for name in files]


@pytest.mark.parametrize("pattern", ["", "*", "**/*.jsonl", "a/**"])
def test_the_first_file_is_enough_for_who_asks_for_one(root, pattern):
    path = storage.join_path(root, pattern) if pattern else root
    (first,) = find_files(path, first_only=True).files
    assert first in find_files(path).files
    assert find_files(f"{root}/*/nothing", first_only=True) == find_files(f"{root}/*/nothing")


def test_what_was_named_and_what_lies_in_a_folder(root):
    found = find_files(f"{root}/*")
    assert names_of(root, sorted(found.named)) == ["top.jsonl"]
    assert names_of(root, found.folders) == ["a", "b"]
    assert find_files(f"{root}/nothing").folders == []
    roots = [find_root(f"{root}/{pattern}") for pattern in ("a", "top.jsonl", "a/*/y", "*", "gone")]
    assert names_of(root, roots) == ["a", root, "a", root, "gone"]


def test_a_name_with_wildcards_that_exists_is_taken_as_it_is(root):
    storage.write_bytes(f"{root}/odd[1]/x*.txt", b"1")
    storage.write_bytes(f"{root}/odd1/xy.txt", b"2")
    for pattern in ("odd[1]", "odd[1]/x*.txt"):
        assert names_of(root, [info.path for info in find_files(f"{root}/{pattern}").files]) == ["odd[1]/x*.txt"]
    assert find_root(f"{root}/odd[1]") == find_root(f"{root}/odd[1]/x*.txt") == f"{root}/odd[1]"


def test_links(tmp_path):
    """To files they are read; to folders they are left out, in folders and globs alike, but not where they are spelled out."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("1")
    inputs = tmp_path / "inputs"
    (inputs / "sub").mkdir(parents=True)
    (inputs / "file").symlink_to(tmp_path / "real" / "x")
    (inputs / "linked").symlink_to(tmp_path / "real")
    (inputs / "sub" / "loop").symlink_to(inputs)
    (inputs / "broken").symlink_to(tmp_path / "gone")
    os.mkfifo(inputs / "sub" / "pipe")
    for pattern in (inputs, inputs / "*", inputs / "**"):
        found = find_files(str(pattern))
        assert names_of(inputs, [info.path for info in found.files]) == ["file"]
        assert names_of(inputs, found.left_out) == ["broken", "linked", "sub/loop", "sub/pipe"]
    assert [Path(info.path).name for info in find_files(str(inputs / "linked")).files] == ["x"]
    assert names_of(inputs, [info.path for info in find_files(str(inputs / "link*" / "x")).files]) == []
    assert names_of(inputs, [info.path for info in find_files(str(inputs / "**" / "linked")).files]) == ["linked/x"]


def test_a_wildcard_for_a_bucket_is_refused(bucket):
    with pytest.raises(ConfigError, match="without wildcards"):
        find_files("s3://in*/a.jsonl")


def test_the_line_about_what_was_left_out_is_short():
    assert describe_left_out(list("abcde")).startswith("5 left out: a, b, c and 2 more (")


def test_names_with_underscores_can_be_taken(tmp_path):
    """In folders of any depth; what begins with a dot, and links to folders, stay left out."""
    for name in ("a.py", "__init__.py", "_p/_q/c.py", "_p/.hid/d.py", ".git/_e.py", "p/_f.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "_link").symlink_to(tmp_path / "p", target_is_directory=True)
    found = take_underscored(find_files(str(tmp_path)))
    assert [info.path.removeprefix(f"{tmp_path}/") for info in found.files] == [
        "__init__.py",
        "_p/_q/c.py",
        "a.py",
        "p/_f.py",
    ]
    assert [path.removeprefix(f"{tmp_path}/") for path in found.left_out] == [".git", "_link", "_p/.hid"]


def test_a_link_to_itself_is_left_out(tmp_path):
    (tmp_path / "x").write_text("1")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    found = find_files(str(tmp_path))
    assert names_of(tmp_path, [info.path for info in found.files]) == ["x"]
    assert names_of(tmp_path, found.left_out) == ["round"]


def test_names_that_are_not_utf8(tmp_path):
    """Left out, they can be printed; a file to be read is refused by name, however it was named."""
    (tmp_path / "x").write_text("1")
    (tmp_path / os.fsdecode(b"._caf\xe9")).write_text("1")
    found = find_files(str(tmp_path))
    assert names_of(tmp_path, found.left_out) == ["._caf\\xe9"]
    describe_left_out(found.left_out).encode()
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.write_text("1")
    for path in (tmp_path, tmp_path / "*", odd):
        with pytest.raises(ConfigError, match="UTF-8") as caught:
            find_files(str(path))
        assert "xe9" in str(caught.value)
        str(caught.value).encode()


def test_a_glob_at_the_root_finds_files(tmp_path):
    (tmp_path / "x").write_text("1")
    top, *rest = tmp_path.parts[1:]
    pattern = "/".join(["", top[:-1] + "[" + top[-1] + "]", *rest, "x"])
    assert find_root(pattern) == "/"
    assert [info.path for info in find_files(pattern).files] == [str(tmp_path / "x")]
