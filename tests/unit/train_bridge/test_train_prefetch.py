"""Reading ahead: same batches, bounded, errors with their cause, state of what was given out."""

import itertools
import threading
import time

import numpy as np
import pytest

from dolma_py.errors import DataError
from train_bridge.dataset import InstanceDataset
from train_bridge.loader import BatchLoader
from train_bridge.manifest import read_manifest
from train_bridge.prefetch import Prefetcher


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_come_in_order_and_end():
    assert list(Prefetcher(iter(range(20)), depth=3)) == list(range(20))


def test_no_more_is_made_than_the_queue_holds():
    made = []
    items = Prefetcher((made.append(number) or number for number in itertools.count(1)), depth=2)
    assert next(items) == 1
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [1, 2, 3, 4]  # given out, two in the queue, one waiting for a place
    items.close()
    assert not prefetch_threads()


def test_an_error_comes_as_itself_when_its_turn_comes():
    def source():
        yield 1
        raise DataError("part.npy", "is gone")

    items = Prefetcher(source(), depth=4)
    assert next(items) == 1
    for _ in range(2):
        with pytest.raises(DataError, match="part.npy: is gone") as caught:
            next(items)
        assert any(entry.name == "source" for entry in caught.traceback)


@pytest.fixture
def make_loader(make_shards):
    folder = make_shards()
    dataset = InstanceDataset(folder, read_manifest(folder), sequence_tokens=16)
    return lambda depth: BatchLoader(dataset, batch_instances=8, seed=9, prefetch_batches=depth)


def test_batches_and_states_are_those_without_reading_ahead(make_loader):
    plain, ahead = make_loader(0), make_loader(3)
    for _ in range(30):  # 13 make an epoch
        np.testing.assert_array_equal(plain.next_batch().ids, ahead.next_batch().ids)
        assert plain.state_dict() == ahead.state_dict()
    ahead.close()


def test_resume_goes_on_after_the_last_batch_that_was_given_out(make_loader):
    straight, parted, resumed = make_loader(0), make_loader(4), make_loader(2)
    for _ in range(14):
        straight.next_batch()
        parted.next_batch()
    time.sleep(0.05)  # four more are read by now
    resumed.next_batch()  # has read ahead elsewhere
    resumed.load_state_dict(parted.state_dict())
    for loader in (parted, resumed):
        loader.close()  # what was read ahead is read again
    for _ in range(3):
        expected = straight.next_batch().ids
        np.testing.assert_array_equal(parted.next_batch().ids, expected)
        np.testing.assert_array_equal(resumed.next_batch().ids, expected)
    for loader in (parted, resumed):
        loader.close()
    assert not prefetch_threads()


def test_a_damaged_id_is_named_from_the_thread(make_shards):
    folder = make_shards()
    tokens = np.fromfile(folder / "part-00000.npy", dtype="<u2")
    tokens[:] = 50
    tokens.tofile(folder / "part-00000.npy")
    dataset = InstanceDataset(folder, read_manifest(folder), sequence_tokens=16)
    loader = BatchLoader(dataset, batch_instances=8, seed=9, prefetch_batches=2)
    with pytest.raises(DataError, match="id 50 at token .* is not below vocab_size 50"):
        for _ in range(loader.batches_per_epoch):
            loader.next_batch()
    loader.close()


def test_waiting_is_measured(make_loader, monkeypatch):
    loader = make_loader(0)
    read = loader.dataset.read
    monkeypatch.setattr(loader.dataset, "read", lambda indices: time.sleep(0.05) or read(indices))
    loader.next_batch()
    assert 0.05 <= loader.wait_sec < 5
