"""Remote shards: the same rows as local ones, checked, bounded, downloaded once, never half."""

import json
import os
import threading
import time
from pathlib import Path

import boto3
import numpy as np
import pytest

from dolma_py import storage
from dolma_py.errors import ConfigError, DataError
from tests.made_shards import write_byte_tokenizer, write_shards
from tests.remote_places import open_google_bucket, open_s3_bucket
from train_bridge import shard_cache
from train_bridge.checkpoint import list_checkpoints
from train_bridge.manifest import read_manifest
from train_bridge.run_evaluation import evaluate
from train_bridge.run_training import open_dataset, train
from train_bridge.shard_cache import ShardCache, ShardCacheConfig, join_shards
from train_bridge.train_config import DataConfig


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Shards whose manifest has true checksums: files of 2,000, 1,400 and 1,000 bytes with sidecars and masks."""
    folder = write_shards(
        tmp_path_factory.mktemp("local") / "shards",
        file_tokens=(1000, 700, 500),
        document_tokens=[[400, 600], [700], [250, 250]],
        labels_mask=True,
    )
    values = json.loads((folder / "manifest.json").read_text())
    for entry in values["files"]:
        for part in (entry, entry["sidecar"], entry["labels_mask"]):
            part["checksum"] = storage.checksum_file(str(folder / part["path"]))
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder


def upload(folder, url):
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        storage.copy_file(str(path), f"{url}/{path.relative_to(folder).as_posix()}")
    return url


@pytest.fixture(scope="module")
def remote(local):
    with open_s3_bucket("shards") as bucket:
        yield upload(local, f"{bucket}/tokens/web")


def data_config(tmp_path, instances="fixed", **cache):
    cache = {"folder": str(tmp_path / "cache"), **cache}
    return DataConfig(
        sequence_tokens=16, batch_instances=4, micro_batch_instances=4, seed=1, instances=instances, cache=cache
    )


def read_all(shards, config):
    dataset = open_dataset(str(shards), read_manifest(shards), config)
    return dataset, dataset.read(np.arange(dataset.num_instances))


def kept_files(folder):
    return sorted(path.name for path in Path(folder).iterdir() if not path.name.endswith(".lock"))


def part_of(shards, place):
    entry = read_manifest(shards).files[place]
    return f"{shards}/{entry.path}", entry.checksum


@pytest.mark.parametrize("instances", ["fixed", "packed"])
def test_rows_and_fingerprint_are_those_of_local_shards(remote, local, tmp_path, instances):
    config = data_config(tmp_path, instances)
    expected, got = read_all(local, config), read_all(remote, config)
    for left, right in zip(expected[1], got[1], strict=True):
        np.testing.assert_array_equal(left, right)
    assert expected[0].fingerprint == got[0].fingerprint
    # copies are named by what they hold
    for name in kept_files(tmp_path / "cache"):
        assert storage.checksum_file(str(tmp_path / "cache" / name)) == name.partition("-")[0]


def test_google_shards_read_too(local, tmp_path):
    with open_google_bucket("shards") as bucket:
        url = upload(local, f"{bucket}/tokens")
        np.testing.assert_array_equal(
            read_all(url, data_config(tmp_path))[1].ids, read_all(local, data_config(tmp_path))[1].ids
        )


def test_a_copy_is_downloaded_once_by_many_at_a_time(remote, tmp_path, monkeypatch):
    """Six readers, each with a cache object of its own on one folder, as six processes of a machine have."""
    opened = []

    def slow(url):
        opened.append(url)
        time.sleep(0.1)
        return open_read(url)

    open_read = storage.open_read
    monkeypatch.setattr(storage, "open_read", slow)
    url, checksum = part_of(remote, 0)
    sizes = []

    def read():
        with ShardCache(ShardCacheConfig(folder=str(tmp_path))).hold(url, checksum=checksum) as path:
            sizes.append(path.stat().st_size)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [2000] * 6
    assert opened.count(url) == 1


def test_a_download_that_ends_early_is_never_taken(remote, tmp_path, monkeypatch):
    """A kill in the middle leaves a partial file at most, and the next process downloads the whole."""
    url, checksum = part_of(remote, 0)
    cache = ShardCache(ShardCacheConfig(folder=str(tmp_path)))

    def die(url, partial):
        partial.write_bytes(b"half")
        os._exit(9)

    monkeypatch.setattr(shard_cache, "_copy", die)
    child = os.fork()
    if not child:
        with cache.hold(url, checksum=checksum):
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()
    (left,) = kept_files(tmp_path)
    assert left.endswith(".partial")
    with cache.hold(url, checksum=checksum) as path:
        assert storage.checksum_file(str(path)) == checksum
    assert kept_files(tmp_path) == [path.name]


def test_a_network_that_breaks_is_tried_again(remote, tmp_path, monkeypatch):
    url, checksum = part_of(remote, 1)
    copy, failures = shard_cache._copy, [OSError("reset by peer"), OSError("reset by peer")]

    def break_twice(url, partial):
        if failures:
            partial.write_bytes(b"half")
            raise failures.pop()
        return copy(url, partial)

    monkeypatch.setattr(shard_cache, "_copy", break_twice)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with ShardCache(ShardCacheConfig(folder=str(tmp_path))).hold(url, checksum=checksum) as path:
        assert path.stat().st_size == 1400


def test_other_bytes_than_the_manifest_says_are_refused(remote, tmp_path):
    url, _ = part_of(remote, 0)
    other = "0" * 32
    with (
        pytest.raises(DataError, match=f"its bytes have checksum {part_of(remote, 0)[1]}, the manifest says {other}"),
        ShardCache(ShardCacheConfig(folder=str(tmp_path))).hold(url, checksum=other),
    ):
        pass
    assert kept_files(tmp_path) == []


def test_the_least_recently_used_goes_and_what_is_held_stays(remote, tmp_path):
    """Room for 3,500 bytes: the files have 2,000, 1,400 and 1,000."""
    cache = ShardCache(ShardCacheConfig(folder=str(tmp_path), max_gb=3500e-9))
    first, second, third = (part_of(remote, place) for place in range(3))

    def touch(part, age):
        with cache.hold(part[0], checksum=part[1]) as path:
            os.utime(path, (time.time() - age,) * 2)
        return path

    old, young = touch(first, 100), touch(second, 50)
    newest = touch(third, 0)
    assert [path.exists() for path in (old, young, newest)] == [False, True, True]
    with cache.hold(second[0], checksum=second[1]):  # the oldest now is the third
        os.utime(young, (1, 1))  # even if it were older
        touch(first, 0)
        assert [path.exists() for path in (old, young, newest)] == [True, True, False]


def test_a_bound_below_one_file_is_told(remote, tmp_path):
    cache = ShardCache(ShardCacheConfig(folder=str(tmp_path), max_gb=1500e-9))
    url, checksum = part_of(remote, 0)
    with (
        pytest.raises(
            ConfigError, match=r"data.cache.max_gb: expected at least 0.000, the size of s3://.*part-00000.npy"
        ),
        cache.hold(url, checksum=checksum),
    ):
        pass


def test_a_missing_file_is_told_before_the_first_step(remote, local, tmp_path):
    bucket, _, prefix = remote.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    client.delete_object(Bucket=bucket, Key=f"{prefix}/part-00001.npy")
    try:
        with pytest.raises(DataError, match=r"part-00001.npy: is missing"):
            read_all(remote, data_config(tmp_path))
    finally:
        storage.copy_file(str(local / "part-00001.npy"), f"{remote}/part-00001.npy")
    with pytest.raises(DataError, match=r"s3://shards/none/manifest.json: cannot be read"):
        read_manifest("s3://shards/none")


def test_a_run_on_remote_shards_has_the_weights_of_a_local_one(remote, local, train_config_file, tmp_path):
    """With a cache that holds one file at a time, and a mixture whose second source lies beside the first."""
    upload(local, remote.replace("/web", "/code"))
    (local.parent / "code").symlink_to(local)
    sources = "data.sources={web: {path: ., target_ratio: 2}, code: {path: ../code, target_ratio: 1}}"
    cache = f"data.cache={{folder: {tmp_path / 'cache'}, max_gb: 2.2e-6}}"
    for shards, name in ((local, "local"), (remote, "remote")):
        overrides = [sources, cache, "run.steps=4"]
        train(
            config=str(train_config_file), shards=str(shards), output=str(tmp_path / name), overrides=overrides,
            dry_run=False,
        )  # fmt: skip
    weights = [
        (list_checkpoints(tmp_path / name)[-1] / "model_and_optim/__0_0.distcp").read_bytes()
        for name in ("local", "remote")
    ]
    assert weights[0] == weights[1]
    assert sum((tmp_path / "cache" / name).stat().st_size for name in kept_files(tmp_path / "cache")) <= 2200


def test_validation_and_evaluation_read_remote_documents(train_config_file, tmp_path):
    pytest.importorskip("tokenizers")
    local = write_shards(tmp_path / "shards", vocab_size=257, heldout={"web": ["Some text.", "More text."]})
    write_byte_tokenizer(local)
    told = []
    with open_s3_bucket("heldout") as bucket:
        values = json.loads((local / "manifest.json").read_text())
        for entry in values["files"]:
            entry["checksum"] = storage.checksum_file(str(local / entry["path"]))
        (local / "manifest.json").write_text(json.dumps(values))
        url = upload(local, f"{bucket}/tokens")
        for shards, name in ((str(local), "local"), (url, "remote")):
            overrides = ["validation.every_steps=2", "run.steps=3", f"data.cache.folder={tmp_path / 'cache'}"]
            output = str(tmp_path / name)
            train(config=str(train_config_file), shards=shards, output=output, overrides=overrides, dry_run=False)
            result = evaluate(run=output, shards=shards, items=None, output=None, max_docs_per_source=None)
            told.append(((tmp_path / name / "validation.jsonl").read_text(), result["all_documents"]))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("shards", "path", "joined"),
    [
        ("s3://b/tokens/web", "../code", "s3://b/tokens/code"),
        ("s3://b/tokens/web", ".", "s3://b/tokens/web"),
        ("s3://b/tokens/web", "gs://c/other", "gs://c/other"),
        ("here/web", "s3://b/code", "s3://b/code"),
        ("here/web", "../code", "here/web/../code"),
        ("s3://b/web", "/there/code", "/there/code"),
    ],
)
def test_paths_are_joined(shards, path, joined):
    assert join_shards(shards, path) == joined
