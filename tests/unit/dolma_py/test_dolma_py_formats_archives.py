"""Tar and zip archives: the entries that Python's own modules write, and archives that lie, climb out or never end."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import zipfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.formats import archives
from dolma_py.formats.archives import clean_name, is_archive, iterate_archive, strip_archive
from dolma_py.formats.decompress import Break
from dolma_py.formats.limits import Limits
from dolma_py.formats.tar_framing import iterate_tar
from tests.made_archives import make_tar, make_zip

FILES = {"a.txt": b"one", "d/b.txt": b"", "d/e/" + "long" * 60 + ".py": b"x" * 1500, "\u00fc/\u4e2d.c": b"int x;"}


def read(data: bytes, path: str = "a.tar", limits: Limits | None = None, max_file_bytes: int = 1 << 20):
    return list(iterate_archive(io.BytesIO(data), path, limits or Limits(), max_file_bytes))


def contents(entries) -> dict[str, bytes]:
    assert [entry.reason for entry in entries if entry.reason] == []
    return {entry.name: entry.data for entry in entries if entry.kind == "file"}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".tar", bytes),
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tar.zst", zstandard.compress),
    ],
)
def test_tar_of_every_form(form, suffix, pack) -> None:
    files = dict(FILES)
    if form == tarfile.USTAR_FORMAT:
        files = {
            name if len(name) < 99 else f"{'p' * 90}/{'q' * 60}/{'n' * 80}.py": data for name, data in files.items()
        }
    assert contents(read(pack(make_tar(files, form=form)), "a" + suffix)) == files
    assert is_archive("x" + suffix) and strip_archive("s3://b/x" + suffix) == "x"


def test_zip() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        assert contents(read(make_zip(FILES, method=method), "a.zip")) == FILES
    assert not is_archive("a.tar.xz") and not is_archive("a.gz")


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "C:/x", "..\\a", "\\\\host\\x", "a/.."])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_climb_out(name, kind) -> None:
    make = make_tar if kind == "tar" else make_zip
    entries = read(make({"good.py": b"1", name: b"evil", "also.py": b"2"}), f"a.{kind}")
    assert [(entry.name, entry.reason) for entry in entries] == [("good.py", ""), (name, "bad_path"), ("also.py", "")]


def test_names_are_made_plain() -> None:
    assert [clean_name(name) for name in ("./a/./b", "a//b/", ".", "", "a\0b", "...")] == [
        "a/b",
        "a/b",
        "",
        "",
        None,
        "...",
    ]


def test_links_and_devices_are_told_and_not_followed() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, kind in (
            ("s", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("c", tarfile.CHRTYPE),
            ("p", tarfile.FIFOTYPE),
            ("d", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(_named("f", 2), io.BytesIO(b"ok"))
    kinds = [(entry.name, entry.kind, entry.data) for entry in read(sink.getvalue())]
    assert kinds == [
        ("s", "link", b""),
        ("h", "link", b""),
        ("c", "special", b""),
        ("p", "special", b""),
        ("d", "folder", b""),
        ("f", "file", b"ok"),
    ]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        info = zipfile.ZipInfo("s")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert [(entry.kind, entry.data) for entry in read(sink.getvalue(), "a.zip")] == [("link", b"")]


def _named(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def test_files_that_are_too_long_are_stepped_over() -> None:
    files = {"a": b"1" * 5000, "b": b"2"}
    for data, path in ((make_tar(files), "a.tar"), (make_zip(files), "a.zip")):
        entries = read(data, path, max_file_bytes=1000)
        assert [(entry.name, entry.is_long, entry.data) for entry in entries] == [("a", True, b""), ("b", False, b"2")]


def test_headers_that_lie_about_size() -> None:
    """Too small: the content is searched for the next header. Too large: the archive ends too early. Both cost what they cover."""
    good = make_tar({"a": b"x" * 2000, "b": b"2"})
    for size, expected in ((100, [("a", ""), ("", "bad_header"), ("b", "")]), (1 << 40, [("a", "truncated")])):
        info = tarfile.TarInfo("a")
        info.size = size
        header = info.tobuf(tarfile.GNU_FORMAT)
        entries = read(header + good[512:])
        assert [(entry.name, entry.reason) for entry in entries] == expected


def test_truncated_damaged_and_foreign_archives() -> None:
    whole = make_tar({"a": b"x" * 2000, "b": b"y" * 2000})
    assert [entry.reason for entry in read(whole[:3500])] == ["", "truncated"]
    assert [entry.reason for entry in read(gzip.compress(whole)[:-20], "a.tar.gz")][-1] == "truncated"
    broken = bytearray(whole)
    broken[0:512] = os.urandom(512)
    assert [(entry.name, entry.reason) for entry in read(bytes(broken))] == [("", "bad_header"), ("b", "")]
    assert [entry.reason for entry in read(b"no archive " * 500)][0] == "bad_header"
    assert [entry.reason for entry in read(b"", "a.tar.gz")] == ["truncated"]
    assert [entry.reason for entry in read(b"no zip" * 100, "a.zip")] == ["corrupt"]
    assert [entry.reason for entry in read(b"", "a.zip")] == ["corrupt"]
    zipped = bytearray(make_zip({"a": b"x" * 2000, "b": b"ok"}, method=zipfile.ZIP_STORED))
    zipped[100] ^= 255
    assert [(entry.name, entry.reason) for entry in read(bytes(zipped), "a.zip")] == [("a", "corrupt"), ("b", "")]


def test_bombs() -> None:
    data = make_tar({"zeros": bytes(100 << 20), "b": b"2"})
    limits = Limits(ratio_floor_bytes=1 << 20)
    assert [entry.reason for entry in read(gzip.compress(data), "a.tar.gz", limits)] == ["bomb"]
    assert [entry.reason for entry in read(bz2.compress(data), "a.tar.bz2", limits)] == ["bomb"]
    zipped = make_zip({f"z{n}": bytes(1 << 20) for n in range(40)})
    entries = read(zipped, "a.zip", limits, max_file_bytes=2 << 20)
    assert entries[-1].reason == "bomb" and len(entries) < 40


def test_zip_that_lies_about_sizes() -> None:
    """The directory says 10 bytes, and a megabyte comes out: no more is held than a file may have."""
    data = bytearray(make_zip({"a": bytes(1 << 20)}))
    real = (1 << 20).to_bytes(4, "little")
    for _ in range(2):
        at = data.find(real)
        data[at : at + 4] = (10).to_bytes(4, "little")
    (entry,) = read(bytes(data), "a.zip", max_file_bytes=1000)
    assert entry.reason == "corrupt" and len(entry.data) <= 200


def test_what_zip_cannot_read() -> None:
    data = bytearray(make_zip({"a": b"x"}, method=zipfile.ZIP_LZMA))
    assert [entry.reason for entry in read(bytes(data), "a.zip")] == ["unsupported"]
    data = bytearray(make_zip({"a": b"x"}))
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    data[6] |= 1
    assert [entry.reason for entry in read(bytes(data), "a.zip")] == ["encrypted"]


def test_too_many_entries(monkeypatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    files = {f"f{n}": b"x" for n in range(6)}
    for data, path in ((make_tar(files), "a.tar"), (make_zip(files), "a.zip")):
        assert [entry.reason for entry in read(data, path)] == ["", "", "", "too_many_files"]
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 100)
    assert [entry.reason for entry in read(make_zip(files), "a.zip")] == ["too_many_files"]


def test_long_headers_are_bounded() -> None:
    """A pax header of 30 MB and a name of 30 MB: stepped over and told."""
    for flag in (b"x", b"L"):
        info = tarfile.TarInfo("long")
        info.size, info.type = 30 << 20, flag
        entries = read(info.tobuf(tarfile.GNU_FORMAT) + b"a" * (30 << 20) + make_tar({"b": b"2"}))
        assert [(entry.name, entry.reason) for entry in entries] == [("", "bad_header"), ("b", "")]


@given(st.binary(max_size=2000), st.integers(1, 700))
def test_any_bytes(data, step) -> None:
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    assert list(iterate_tar(iter([*pieces, Break("")]), 1000)) == list(iterate_tar(iter([data, Break("")]), 1000))
    list(iterate_archive(io.BytesIO(data), "a.zip", Limits(), 1000))


@given(st.lists(st.tuples(st.integers(0, 2500), st.binary(min_size=1, max_size=3)), max_size=6))
def test_any_damage(changes) -> None:
    for data, path in ((make_tar(FILES), "a.tar"), (make_zip(FILES), "a.zip")):
        broken = bytearray(data)
        for at, noise in changes:
            broken[at % len(data) : at % len(data) + len(noise)] = noise
        for entry in read(bytes(broken), path, max_file_bytes=5000):
            assert len(entry.data) <= 5000
