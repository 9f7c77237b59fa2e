"""Pairs on disk and as rows: whole pairs, labels, the last turn, truncation, files that do not fit."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.errors import DataError
from tests.made_pairs import make_pairs, write_pairs
from train_bridge.pair_dataset import PairDataset
from train_bridge.pair_files import copy_pairs, open_pairs, read_pair_manifest
from train_bridge.preference_loss import PreferenceConfig


def open_dataset(folder, *, sequence_tokens=64, **preference):
    manifest = read_pair_manifest(str(folder))
    copy_pairs(str(folder), manifest, folder / "copy")
    arrays = open_pairs(str(folder), manifest, folder / "copy")
    settings = PreferenceConfig(**{"max_tokens": 32, **preference})
    return PairDataset(str(folder), manifest, arrays, sequence_tokens=sequence_tokens, preference=settings)


@pytest.fixture(scope="module")
def rows():
    return make_pairs(20)


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs") / "made", rows)


def conversations(read):
    """(pair, side) -> ids, mask, as they stand in the rows; a token is in one conversation or padding."""
    found = {}
    for place, (number, row) in enumerate(zip(read.pairs.numbers, read.pairs.rows, strict=True)):
        k = place - int(np.searchsorted(read.pairs.rows, row))
        for side in (0, 1):
            own = read.documents[row] == 2 * k + side
            found[int(number), side] = (read.ids[row, own].tolist(), read.is_trained[row, own].tolist())
    return found


@given(indices=st.lists(st.integers(0, 19), min_size=1, max_size=20, unique=True))
def test_rows_hold_whole_pairs_and_nothing_else(folder, rows, indices):
    read = open_dataset(folder).read(indices)
    found = conversations(read)
    assert set(found) == {(i, side) for i in indices for side in (0, 1)}
    for (i, side), (ids, mask) in found.items():
        name = ("chosen", "rejected")[side]
        assert (ids, mask) == (rows[i][f"{name}_ids"], rows[i][f"{name}_mask"])
    tokens = sum(len(ids) for ids, _ in found.values())
    assert np.diff(read.documents).min() >= 0
    is_padding = np.ones(read.ids.shape, bool)
    for place, row in enumerate(read.pairs.rows):
        k = place - int(np.searchsorted(read.pairs.rows, row))
        is_padding[row] &= (read.documents[row] != 2 * k) & (read.documents[row] != 2 * k + 1)
    assert is_padding.sum() == read.ids.size - tokens
    assert not read.is_trained[is_padding].any() and (read.ids[is_padding] == 0).all()


def test_labels_are_of_all_turns_or_of_the_last(folder, rows):
    every, last = open_dataset(folder), open_dataset(folder, turns="last")
    for i, row in enumerate(rows):
        for side, name in enumerate(("chosen", "rejected")):
            mask, first = row[f"{name}_mask"], row[f"{name}_last"]
            assert every.num_labels[i, side] == sum(mask)
            assert last.num_labels[i, side] == sum(mask[first:]) < sum(mask)
            assert last.read_conversation(i, side)[1].tolist() == [False] * first + mask[first:]


def test_the_first_token_is_no_label(tmp_path):
    row = make_pairs(1)[0]
    row["chosen_mask"][0] = True
    dataset = open_dataset(write_pairs(tmp_path / "p", [row]))
    assert dataset.num_labels[0, 0] == sum(row["chosen_mask"]) - 1


def test_long_conversations_are_cut_and_counted_and_pairs_without_labels_left_out(tmp_path):
    rows = make_pairs(9)
    # a prompt that fills the limit leaves no label
    rows[4]["rejected_ids"] = [5] * 40 + rows[4]["rejected_ids"]
    rows[4]["rejected_mask"] = [False] * 40 + rows[4]["rejected_mask"]
    rows[6]["chosen_ids"] = rows[6]["chosen_ids"] + [9] * 40
    rows[6]["chosen_mask"] = rows[6]["chosen_mask"] + [True] * 40
    dataset = open_dataset(write_pairs(tmp_path / "p", rows))
    assert (dataset.num_truncated, dataset.num_untrained, dataset.num_instances) == (2, 1, 8)
    assert dataset.pair_names(0, 8) == [f"pair-{i}" for i in range(9) if i != 4]
    ids, mask = dataset.read_conversation(5, 0)
    assert (ids.tolist(), mask.tolist()) == (rows[6]["chosen_ids"][:32], rows[6]["chosen_mask"][:32])
    assert dataset.num_labels[5, 0] == sum(rows[6]["chosen_mask"][:32])


def test_tokens_are_counted_without_padding(folder, rows):
    sizes = [len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows]
    assert open_dataset(folder).count_tokens(np.array([3, 11])) == sizes[3] + sizes[11]


def test_the_copy_is_made_once_and_anew_for_other_files(folder, rows, tmp_path):
    manifest = read_pair_manifest(str(folder))
    copy_pairs(str(folder), manifest, tmp_path / "copy")
    before = (tmp_path / "copy" / "chosen.ids").stat().st_mtime_ns
    copy_pairs(str(folder), manifest, tmp_path / "copy")
    assert (tmp_path / "copy" / "chosen.ids").stat().st_mtime_ns == before
    other = write_pairs(tmp_path / "other", rows[::-1])
    copy_pairs(str(other), read_pair_manifest(str(other)), tmp_path / "copy")
    ids = np.fromfile(tmp_path / "copy" / "chosen.ids", "<u4")
    assert ids.tolist() == [token for row in rows[::-1] for token in row["chosen_ids"]]


def change_file(folder, change):
    path = folder / "pairs_part_0000.parquet"
    table = pq.read_table(path)
    pq.write_table(change(table), path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda row: row.update(chosen_mask=row["chosen_mask"][:-1]),
            "0000.parquet:2: chosen: expected two ids or more, as many mask values",
        ),
        (
            lambda row: row.update(rejected_ids=[7], rejected_mask=[True], rejected_last=0),
            "rejected: expected two ids or more.* got 1 ids",
        ),
        (lambda row: row.update(rejected_last=99), "a last turn among them, got .* at 99"),
        (lambda row: row["chosen_ids"].__setitem__(1, 257), "chosen_ids: id 257 is not below vocab_size 257"),
        (lambda row: row.update(chosen_last=None), "column chosen_last: a value is missing"),
        (lambda row: row["chosen_mask"].__setitem__(1, None), "column chosen_mask: a value is missing"),
    ],
)
def test_rows_that_are_no_pairs_are_named(tmp_path, change, message):
    rows = make_pairs(3)
    change(rows[1])
    folder = write_pairs(tmp_path / "p", rows)
    with pytest.raises(DataError, match=message):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns("chosen_mask"), "column chosen_mask: expected list.* got no such column"),
        (lambda table: table.set_column(0, "id", table.column("chosen_last")), "column id: expected string, got int32"),
        (lambda table: table.slice(1), "expected 3 pairs as the manifest says, got 2"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, change, message):
    folder = write_pairs(tmp_path / "p", make_pairs(3))
    change_file(folder, change)
    with pytest.raises(DataError, match=message):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "dolma-py-shards"}, "format: Input should be 'dolma-py-pairs'"),
        ({"documents": 4}, "documents: expected the files' sum 3, got 4"),
        ({"files": [{"path": "../x.parquet", "documents": 3, "checksum": "0"}]}, "leaves the folder of pairs"),
        ({"template": None}, "template: Input should be"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(tmp_path, change, message):
    folder = write_pairs(tmp_path / "p", make_pairs(3))
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        read_pair_manifest(str(folder))


def test_no_pairs_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="none of its 0 pairs has a label on both sides"):
        open_dataset(write_pairs(tmp_path / "p", []))
    with pytest.raises(DataError, match="cannot be read"):
        read_pair_manifest(str(tmp_path / "nothing"))


def test_files_do_not_change_what_is_read(rows, tmp_path):
    one, many = (open_dataset(write_pairs(tmp_path / str(size), rows, rows_of_a_file=size)) for size in (20, 3))
    left, right = one.read(range(20)), many.read(range(20))
    assert all(np.array_equal(a, b) for a, b in zip(left[:3], right[:3], strict=True))
    assert one.fingerprint != many.fingerprint  # the files are others


def test_pairs_whose_last_answer_is_cut_away_are_left_out(tmp_path):
    """With labels of all assistant turns the earlier ones would be left, which both sides share."""
    rows = make_pairs(9)
    row = rows[4]
    for side in ("chosen", "rejected"):
        row[f"{side}_mask"] = [False, True] + [False] * 40 + row[f"{side}_mask"]
        row[f"{side}_ids"] = [5] * 42 + row[f"{side}_ids"]
        row[f"{side}_last"] += 42
    dataset = open_dataset(write_pairs(tmp_path / "p", rows))
    assert (dataset.num_untrained, dataset.num_instances) == (1, 8)
    assert "pair-4" not in dataset.pair_names(0, 8)
