"""Packed instances, document masks from sidecars, label masks, padding: against what the files say, read plainly."""

import csv
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import packing_waste
from dolma_py.errors import DataError
from tests.made_shards import write_shards
from tests.reference import packing as reference
from train_bridge.dataset import InstanceDataset
from train_bridge.loader import BatchLoader
from train_bridge.manifest import read_manifest
from train_bridge.packed_dataset import PackedDataset, cut_documents
from train_bridge.token_files import read_sidecar

LENGTHS = [[5, 16, 1, 40, 3], [2, 2, 30], [7]]


def packed(folder, **values):
    return PackedDataset(folder, read_manifest(folder), **{"sequence_tokens": 16, **values})


def pieces_of(folder, *, size, split, masked):
    """(ids, is trained) of every piece of every document, by files."""
    manifest, files = read_manifest(folder), []
    for entry in manifest.files:
        ids = np.fromfile(folder / entry.path, dtype="<u2").tolist()
        mask = np.fromfile(folder / entry.labels_mask.path, dtype=bool).tolist() if masked else [True] * len(ids)
        found = []
        with gzip.open(folder / entry.sidecar.path, "rt", newline="") as file:
            for row in csv.reader(file):
                start, end = int(row[0]), int(row[1])
                for first in range(start, end, size):
                    stop = min(first + size, end)
                    found.append((ids[first:stop], mask[first:stop]))
                    if not split:
                        break
        files.append(found)
    return files


@pytest.mark.parametrize("long_documents", ["truncate", "split"])
@pytest.mark.parametrize("group_files", [1, 2, 8])
@pytest.mark.parametrize("labels_mask", [False, True])
def test_rows_match_reference(make_shards, long_documents, group_files, labels_mask):
    sizes = tuple(map(sum, LENGTHS))
    folder = make_shards(file_tokens=sizes, document_tokens=LENGTHS, labels_mask=labels_mask)
    dataset = packed(folder, long_documents=long_documents, group_files=group_files)
    files = pieces_of(folder, size=16, split=long_documents == "split", masked=labels_mask)
    expected = []
    for first in range(0, len(files), group_files):
        pieces = [piece for file in files[first : first + group_files] for piece in file]
        instances, count = reference.pack_best_fit([len(ids) for ids, _ in pieces], 16)
        numbered = [(instance, *piece) for instance, piece in zip(instances, pieces, strict=True)]
        expected += reference.rows_of_pieces(numbered, count, 16, 0)
    rows = dataset.read(np.arange(dataset.num_instances))
    for got, want in zip(rows[:3], zip(*expected, strict=True), strict=True):
        np.testing.assert_array_equal(got, list(want))
    kept = sum(len(ids) for file in files for ids, _ in file)
    assert dataset.num_dropped_tokens == sum(sizes) - kept
    assert dataset.num_padding_tokens == dataset.num_instances * 16 - kept


@given(lengths=st.lists(st.integers(0, 50), min_size=1, max_size=30), size=st.integers(2, 20))
def test_every_token_is_packed_once_when_documents_are_split(tmp_path_factory, lengths, size):
    if not sum(lengths):
        return
    folder = write_shards(
        tmp_path_factory.mktemp("packed") / "shards", file_tokens=(sum(lengths),), document_tokens=[lengths],
        dtype="uint32", vocab_size=10**6,
    )  # fmt: skip
    dataset = packed(folder, sequence_tokens=size, long_documents="split")
    ids, _, is_trained, _ = dataset.read(range(dataset.num_instances))
    assert sorted(ids[is_trained].tolist()) == sorted(np.fromfile(folder / "part-00000.npy", dtype="<u4").tolist())
    assert dataset.num_dropped_tokens == 0


def test_a_document_mask_follows_the_sidecar_and_not_the_ids(make_shards):
    """The made tokens hold id 0 (end of text) at other places than the sidecar's borders."""
    folder = make_shards(file_tokens=(64, 20), document_tokens=[[3, 30, 31], [20]], labels_mask=True)
    tokens = np.fromfile(folder / "part-00000.npy", dtype="<u2")
    assert (np.flatnonzero(tokens == 0) + 1).tolist() != [3, 33, 64]
    dataset = InstanceDataset(folder, read_manifest(folder), sequence_tokens=16, document_mask=True)
    ids, documents, is_trained, _ = dataset.read([0, 1, 2, 3, 4])
    expected = [[0] * 3 + [1] * 13, [0] * 16, [0] + [1] * 15, [0] * 16, [0] * 16]
    assert documents.tolist() == expected
    np.testing.assert_array_equal(is_trained[:4].ravel(), np.arange(64) % 3 > 0)
    assert InstanceDataset(folder, read_manifest(folder), sequence_tokens=16).read([0]).documents is None


def test_without_a_sidecar_documents_end_with_the_end_of_text_id(make_shards):
    folder = make_shards(file_tokens=(160, 40), document_tokens=())
    dataset = InstanceDataset(folder, read_manifest(folder), sequence_tokens=16, document_mask=True)
    ids, documents, _, _ = dataset.read(range(10))
    ends = (ids == 0).cumsum(axis=1) - (ids == 0)
    np.testing.assert_array_equal(documents, ends - ends[:, :1])
    assert documents.max() > 0
    everything = packed(folder, long_documents="split")
    assert everything.num_dropped_tokens == 0


@pytest.mark.parametrize("header", [False, True])
def test_label_masks_read_the_same_with_and_without_header(make_shards, header):
    folder = make_shards(file_tokens=(48,), labels_mask=True, header=header)
    dataset = InstanceDataset(folder, read_manifest(folder), sequence_tokens=16)
    np.testing.assert_array_equal(dataset.read([0, 1, 2]).is_trained.ravel(), np.arange(48) % 3 > 0)


@pytest.mark.parametrize(
    ("text", "words", "row"),
    [
        ("0,5,a\n5,4,b\n", "document .5, 4. is out of order", 2),
        ("0,5,a\n4,10,b\n", "is out of order", 2),
        ("-1,5,a\n", "is out of order", 1),
        ("0,11,a\n", "outside the file's 10 tokens", 1),
        ("x,5,a\n", "is no sidecar", None),
        ("0\n", "is no sidecar", None),
        ("0,,a\n", "is no sidecar", None),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused(tmp_path, text, words, row):
    path = tmp_path / "part.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match=words) as caught:
        read_sidecar(path, num_tokens=10)
    assert (caught.value.path, caught.value.row) == (str(path), row)


def test_odd_but_right_sidecars_are_read(tmp_path):
    path = tmp_path / "part.csv.gz"
    path.write_bytes(gzip.compress(b'0,3,"a\n,b",x,1\n3,3,c,x,2\n5,9,d,x,3\n'))
    assert read_sidecar(path, num_tokens=10).tolist() == [[0, 3], [3, 3], [5, 9]]
    path.write_bytes(gzip.compress(b""))
    assert read_sidecar(path, num_tokens=10).shape == (0, 2)
    path.write_bytes(gzip.compress(b"".join(b"%d,%d,x\n" % (i, i + 1) for i in range(9)))[:-9])
    with pytest.raises(DataError, match="cannot be read|is no sidecar"):
        read_sidecar(path, num_tokens=10)
    with pytest.raises(DataError, match="cannot be read"):
        read_sidecar(tmp_path / "none.csv.gz", num_tokens=10)


def test_cut_documents_in_order():
    spans = np.array([[0, 0], [0, 16], [16, 49], [50, 51]])
    assert [x.tolist() for x in cut_documents(spans, sequence_tokens=16, long_documents="truncate")] == [
        [0, 16, 50],
        [16, 32, 51],
    ]
    assert [x.tolist() for x in cut_documents(spans, sequence_tokens=16, long_documents="split")] == [
        [0, 16, 32, 48, 50],
        [16, 32, 48, 49, 51],
    ]


def test_a_missing_label_mask_and_an_id_outside_are_named(make_shards):
    folder = make_shards(file_tokens=(40, 40), labels_mask=True)
    manifest = read_manifest(folder)
    files = (manifest.files[0], manifest.files[1].model_copy(update={"labels_mask": None}))
    with pytest.raises(DataError, match="for every file of the manifest or for none"):
        PackedDataset(folder, manifest.model_copy(update={"files": files}), sequence_tokens=16)
    tokens = np.fromfile(folder / "part-00001.npy", dtype="<u2")
    tokens[9] = 50
    tokens.tofile(folder / "part-00001.npy")
    dataset = packed(folder)
    with pytest.raises(DataError, match="id 50 at token 9 is not below vocab_size 50"):
        dataset.read(range(dataset.num_instances))


@pytest.mark.parametrize("world_size", [1, 2])
def test_packed_batches_do_not_depend_on_world_size_and_resume(make_shards, world_size):
    folder = make_shards(file_tokens=tuple(map(sum, LENGTHS)), document_tokens=LENGTHS)
    alone = BatchLoader(packed(folder, group_files=1), batch_instances=2, seed=3)
    alone.next_batch()
    ranks = [
        BatchLoader(packed(folder, group_files=1), batch_instances=2, seed=3, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    for rank in ranks:
        rank.load_state_dict(alone.state_dict())
    for _ in range(7):
        whole, parts = alone.next_batch(), [rank.next_batch() for rank in ranks]
        for name in ("ids", "documents", "is_trained"):
            woven = np.stack([getattr(part, name) for part in parts], axis=1)
            np.testing.assert_array_equal(woven.reshape(2, 16), getattr(whole, name))


def test_the_benchmark_of_waste_counts_by_hand(make_shards):
    """Instances of 16: 5 + 11, 9 + 7, the 20 cut to 16 (or to 16 and 4 + 3), 3; and the same file cut every 16 tokens."""
    lengths = [[5, 11, 9, 7, 20, 3]]
    folder = make_shards(file_tokens=(55,), document_tokens=lengths)
    truncated, split, fixed = packing_waste.measure(str(folder), 16, 8)
    assert truncated == {
        "way": "best fit, longer documents truncate", "instances": 4, "padding": pytest.approx(13 / 64), "dropped": pytest.approx(4 / 55),
        "cut": pytest.approx(1 / 6),
    }  # fmt: skip
    assert (split["instances"], split["padding"], split["dropped"]) == (4, pytest.approx(9 / 64), 0.0)
    # documents begin at 0, 5, 16, 25, 32, 52: the one of 20 alone crosses a border
    assert fixed == {
        "way": "concatenated",
        "instances": 3,
        "padding": 0.0,
        "dropped": pytest.approx(7 / 55),
        "cut": pytest.approx(1 / 6),
    }
