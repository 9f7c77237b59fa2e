"""Shards to batches: forms of files, dropped rests, order, ranks, resume, refusals."""

import json

import numpy as np
import pytest

from dolma_py.errors import ConfigError, DataError, ResumeMismatchError
from train_bridge.dataset import InstanceDataset
from train_bridge.loader import BatchLoader, epoch_order, rank_share
from train_bridge.manifest import read_manifest


def open_dataset(folder, sequence_tokens=16):
    return InstanceDataset(folder, read_manifest(folder), sequence_tokens=sequence_tokens)


def change_manifest(folder, change):
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_headerless_and_npy_files_read_the_same(make_shards, dtype):
    plain = open_dataset(make_shards(dtype=dtype))
    headed = open_dataset(make_shards(dtype=dtype, header=True, name="headed"))
    everything = np.arange(plain.num_instances)
    np.testing.assert_array_equal(plain.read(everything).ids, headed.read(everything).ids)
    assert plain.fingerprint == headed.fingerprint


def test_each_file_is_cut_alone_and_its_rest_dropped(make_shards):
    folder = make_shards(file_tokens=(50, 10, 0, 33))
    dataset = open_dataset(folder)
    assert dataset.num_instances == 3 + 0 + 0 + 2
    assert dataset.num_dropped_tokens == 2 + 10 + 0 + 1
    first = np.fromfile(folder / "part-00000.npy", dtype="<u2")
    last = np.fromfile(folder / "part-00003.npy", dtype="<u2")
    expected = np.concatenate((first[:48], last[:32])).reshape(5, 16)
    np.testing.assert_array_equal(dataset.read(np.arange(5)).ids, expected)
    np.testing.assert_array_equal(dataset.read(np.array([4, 0])).ids, expected[[4, 0]])


def test_an_id_outside_the_vocabulary_is_named(make_shards):
    folder = make_shards()
    tokens = np.fromfile(folder / "part-00001.npy", dtype="<u2")
    tokens[37] = 50
    tokens.tofile(folder / "part-00001.npy")
    dataset = open_dataset(folder)
    with pytest.raises(DataError, match="id 50 at token 37 is not below vocab_size 50") as caught:
        dataset.read(np.arange(dataset.num_instances))
    assert caught.value.path.endswith("part-00001.npy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values["files"][0].update(tokens=999), "tokens: expected the files' sum 1699, got 1700"),
        (lambda values: values.update(dtype="int16"), "dtype"),
        (lambda values: values.update(dtype="uint32"), "expected 4000 bytes"),
        (lambda values: values["files"][0].update(path="../part-00000.npy"), "leaves the shards folder"),
        (lambda values: values.update(version=2), "version"),
        (lambda values: values.update(files=[]), "files"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(make_shards, change, words):
    folder = make_shards()
    change_manifest(folder, change)
    with pytest.raises(DataError, match=words):
        open_dataset(folder)


def test_a_header_of_another_type_is_refused(make_shards):
    folder = make_shards(header=True)
    change_manifest(folder, lambda values: values.update(dtype="uint32"))
    with pytest.raises(DataError, match="uint16"):
        open_dataset(folder)


def test_missing_or_cut_files_are_refused(make_shards, tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path)
    folder = make_shards()
    data = (folder / "part-00000.npy").read_bytes()
    (folder / "part-00000.npy").write_bytes(data[:-1])
    with pytest.raises(DataError, match="expected 2000 bytes"):
        open_dataset(folder)
    (folder / "part-00000.npy").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(folder)


def test_too_little_data_is_refused(make_shards):
    with pytest.raises(DataError, match="no file holds one instance of 2000 tokens"):
        open_dataset(make_shards(), sequence_tokens=2000)
    with pytest.raises(DataError, match="do not fill one batch of 500"):
        BatchLoader(open_dataset(make_shards(name="again")), batch_instances=500, seed=1)


def test_order_is_a_permutation_fixed_by_seed_and_epoch():
    orders = [epoch_order(1000, seed=seed, epoch=epoch) for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0), (0, 1))]
    assert np.array_equal(orders[0], orders[1])
    for order in orders:
        assert order.dtype == np.uint32
        assert np.array_equal(np.sort(order), np.arange(1000))
    assert len({order.tobytes() for order in orders}) == 4


def test_order_has_the_recorded_values():
    """Written down once: another numpy must not shuffle another way unnoticed."""
    assert epoch_order(10, seed=34521, epoch=0).tolist() == [0, 3, 8, 7, 2, 1, 6, 9, 4, 5]


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_batches_do_not_depend_on_world_size(make_shards, world_size):
    dataset = open_dataset(make_shards())
    alone = BatchLoader(dataset, batch_instances=6, seed=9)
    ranks = [BatchLoader(dataset, batch_instances=6, seed=9, rank=r, world_size=world_size) for r in range(world_size)]
    for _ in range(2 * alone.batches_per_epoch + 3):  # into the third epoch
        whole, parts = alone.next_batch().ids, [rank.next_batch().ids for rank in ranks]
        woven = np.stack(parts, axis=1).reshape(whole.shape)
        np.testing.assert_array_equal(woven, whole)
    assert {rank.num_tokens for rank in ranks} == {alone.num_tokens}


def test_shares_of_ranks_make_up_the_batch():
    batch = np.arange(12)
    shares = [rank_share(batch, rank=rank, world_size=3) for rank in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == batch.tolist()


def test_an_epoch_visits_every_instance_once(make_shards):
    dataset = open_dataset(make_shards())
    loader = BatchLoader(dataset, batch_instances=8, seed=9)
    rows = np.concatenate([loader.next_batch().ids for _ in range(loader.batches_per_epoch)])
    order = epoch_order(loader.dataset.num_instances, seed=loader.seed, epoch=0)[: len(rows)]
    np.testing.assert_array_equal(rows, dataset.read(order).ids)
    assert len(set(order.tolist())) == len(rows) == dataset.num_instances // 8 * 8


@pytest.mark.parametrize("steps", [0, 5, 13, 14])  # 13 batches make an epoch
def test_resume_goes_on_with_the_same_ids(make_shards, steps):
    dataset = open_dataset(make_shards())
    straight = BatchLoader(dataset, batch_instances=8, seed=9)
    for _ in range(steps):
        straight.next_batch()
    resumed = [BatchLoader(dataset, batch_instances=8, seed=9, rank=rank, world_size=2) for rank in range(2)]
    for loader in resumed:
        loader.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    for _ in range(20):
        whole, parts = straight.next_batch().ids, [r.next_batch().ids for r in resumed]
        np.testing.assert_array_equal(np.stack(parts, axis=1).reshape(whole.shape), whole)
    assert resumed[0].state_dict() == straight.state_dict()


def test_state_of_other_data_is_refused_by_name(make_shards):
    loader = BatchLoader(open_dataset(make_shards()), batch_instances=8, seed=9)
    loader.next_batch()
    other = make_shards(file_tokens=(1000, 800), name="other")
    changed = make_shards(name="changed")
    change_manifest(changed, lambda values: values["files"][0].update(checksum="ff"))
    cases = (
        ("dataset.files.part-00001.npy.tokens", BatchLoader(open_dataset(other), batch_instances=8, seed=9)),
        ("dataset.sequence_tokens", BatchLoader(open_dataset(make_shards(name="same"), 8), batch_instances=8, seed=9)),
        ("dataset.files.part-00000.npy.checksum", BatchLoader(open_dataset(changed), batch_instances=8, seed=9)),
        ("seed", BatchLoader(loader.dataset, batch_instances=8, seed=10)),
        ("instances_in_epoch", BatchLoader(loader.dataset, batch_instances=5, seed=9)),
    )
    for field, current in cases:
        with pytest.raises(ResumeMismatchError) as caught:
            current.load_state_dict(loader.state_dict())
        assert caught.value.field == field


def test_batch_must_split_over_ranks(make_shards):
    with pytest.raises(ConfigError, match="multiple of the 3 ranks"):
        BatchLoader(open_dataset(make_shards()), batch_instances=8, seed=9, world_size=3)
