"""Filters as tasks ask them: mapped and not loaded, all of them held open, read and checked once for all workers of an executor."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import numpy as np
import pytest

from dedup import bloom
from dolma_py import storage
from dolma_py.errors import DataError
from pipelines import mapped_filters
from tests.remote_places import open_hadoop
from tests.unit.dedup.test_dedup_bloom import KIND, made_keys

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _new_worker():
    """Other tests open other filters under the same names."""
    mapped_filters.open_filter.cache_clear()


@pytest.fixture
def local_folder(tmp_path, monkeypatch):
    """Where Spark's workers put temporary files."""
    folder = tmp_path / "spark local"
    folder.mkdir()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"{tmp_path}/missing,{folder}")
    return folder


def save(path, first, count, share=1e-3):
    """(path, checksum) of a filter of the numbers first, first + 1, ..."""
    made = bloom.make_filter(count, share, KIND)
    bloom.insert_keys(made, *made_keys(first, count))
    bloom.save_filter(str(path), made)
    return str(path), bloom.read_header(str(path))["checksum"]


def find(saved, first, count):
    paths, checksums = zip(*saved, strict=True)
    return mapped_filters.find_seen(paths, checksums, *made_keys(first, count))


def test_a_key_is_seen_by_any_of_the_filters_and_all_stay_open(tmp_path):
    """A filter that had to be opened again for the second batch would be missing."""
    saved = [save(tmp_path / f"{day}.bloom", 1000 * day, 100) for day in range(7)]
    asked = [find(saved, 1000 * day, 100) for day in range(7)]
    for path, _ in saved:
        os.unlink(path)
    assert all(found.all() for found in asked)
    assert all(find(saved, 1000 * day, 100).all() for day in range(7))
    assert find(saved, 500_000, 1000).sum() < 30  # 7 in 1000 expected


def test_the_memory_of_a_filter_is_not_the_workers_own(tmp_path):
    """The bits of a 64 MiB filter are pages of its file, which all processes that map it share."""
    find([save(tmp_path / "small.bloom", 0, 10)], 0, 10)  # kernels are compiled
    made = bloom.BloomFilter(np.zeros((MIB, 8), np.uint64), 9, 200_000, KIND)
    bloom.insert_keys(made, *made_keys(0, 200_000))
    bloom.save_filter(str(tmp_path / "large.bloom"), made)
    checksum = bloom.read_header(str(tmp_path / "large.bloom"))["checksum"]
    del made
    before = read_status("RssAnon"), read_status("RssFile")
    assert find([(str(tmp_path / "large.bloom"), checksum)], 0, 200_000).all()
    assert read_status("RssAnon") - before[0] < 12 * MIB  # digests of the keys
    assert read_status("RssFile") - before[1] > 48 * MIB


def read_status(name):
    with open("/proc/self/status") as lines:
        (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) << 10


def test_a_filter_is_checked_once_for_all_workers(tmp_path, local_folder):
    path, checksum = save(tmp_path / "a.bloom", 0, 100)
    mapped_filters.open_filter(path, checksum)
    assert [name for name in os.listdir(local_folder) if name.endswith(".checked")]
    mapped_filters.open_filter.cache_clear()  # as in another worker
    stamp = os.stat(path)
    with open(path, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x55")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    mapped_filters.open_filter(path, checksum)  # not read again: a change that leaves no trace is not seen
    mapped_filters.open_filter.cache_clear()
    os.utime(path)
    with pytest.raises(DataError, match="a.bloom: .* not the .* written"):
        mapped_filters.open_filter(path, checksum)


@pytest.mark.parametrize("has_folder", [True, False])
def test_another_filter_of_the_same_path_is_refused(tmp_path, local_folder, monkeypatch, has_folder):
    if not has_folder:
        monkeypatch.delenv("SPARK_LOCAL_DIRS")
    path, checksum = save(tmp_path / "a.bloom", 0, 100)
    save(path, 5, 100)
    with pytest.raises(DataError, match="another filter than when the job began"):
        mapped_filters.open_filter(path, checksum)


def test_a_remote_filter_is_copied_once(tmp_path, local_folder):
    with open_hadoop(tmp_path / "hdfs") as root:
        path, checksum = save(storage.join_path(root, "seen/a.bloom"), 0, 100)
        assert find([(path, checksum)], 0, 100).all()
        (copy,) = local_folder.glob("filter-*[0-9a-f]")
        assert copy.read_bytes() == storage.read_bytes(path)
        storage.remove_file(path)
        mapped_filters.open_filter.cache_clear()
        assert find([(path, checksum)], 0, 100).all()


def test_a_damaged_copy_of_a_remote_filter_is_told_by_its_own_name(tmp_path, local_folder):
    with open_hadoop(tmp_path / "hdfs") as root:
        path, checksum = save(storage.join_path(root, "seen/a.bloom"), 0, 100)
        (tmp_path / "hdfs" / "seen" / "a.bloom").write_bytes(storage.read_bytes(path)[:-1])
        with pytest.raises(DataError, match="^hdfs://cluster:9000/seen/a.bloom: its copy"):
            mapped_filters.open_filter(path, checksum)
        assert [path.suffix for path in local_folder.glob("filter-*")] == [".lock"]


def test_others_wait_for_the_one_that_makes_a_file(tmp_path):
    """And take over when it is killed on the way."""
    code = (
        "import sys, time; from pipelines.mapped_filters import make_once\n"
        "def make(target): print('begun', flush=True); time.sleep(60 * (sys.argv[2] == 'first'))\n"
        "print('here', flush=True); make_once(sys.argv[1], 'file', make)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen([*command, "first"], stdout=subprocess.PIPE, bufsize=0) as first:
        assert [first.stdout.readline(), first.stdout.readline()] == [b"here\n", b"begun\n"]
        with subprocess.Popen([*command, "second"], stdout=subprocess.PIPE, bufsize=0) as second:
            assert second.stdout.readline() == b"here\n"
            has_begun = bool(select.select([second.stdout], [], [], 0.5)[0])
            first.kill()
            assert not has_begun
            assert second.stdout.readline() == b"begun\n"
