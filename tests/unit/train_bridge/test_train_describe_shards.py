"""Folders of token files without a manifest get one that trains to the same rows."""

import json

import numpy as np
import pytest

from train_bridge.dataset import InstanceDataset
from train_bridge.describe_shards import main
from train_bridge.manifest import read_manifest
from train_bridge.packed_dataset import PackedDataset

ARGUMENTS = ["--dtype", "uint16", "--vocab-size", "50", "--eos", "0"]


def test_rows_are_those_of_the_lost_manifest(make_shards, capsys):
    folder = make_shards(file_tokens=(64, 20), document_tokens=[[3, 30, 31], [20]])
    expected = PackedDataset(folder, read_manifest(folder), sequence_tokens=16).read(range(4))
    (folder / "manifest.json").unlink()
    assert main([str(folder), *ARGUMENTS]) == 0
    assert capsys.readouterr().out == f"{folder}/manifest.json: 2 files, 84 tokens, 4 documents\n"
    got = PackedDataset(folder, read_manifest(folder), sequence_tokens=16).read(range(4))
    for left, right in zip(got, expected, strict=True):
        np.testing.assert_array_equal(left, right)
    assert main([str(folder), *ARGUMENTS]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("header", [False, True])
def test_sft_parts_have_their_label_masks(tmp_path, header):
    for number in range(2):
        ids, mask = np.arange(32, dtype="<u2") + number, np.arange(32) % (number + 2) == 0
        for name, values in (("token_ids", ids), ("labels_mask", mask)):
            path = tmp_path / f"{name}_part_{number:04d}.npy"
            np.save(path, values) if header else path.write_bytes(values.tobytes())
    assert main([str(tmp_path), *ARGUMENTS]) == 0
    rows = InstanceDataset(tmp_path, read_manifest(tmp_path), sequence_tokens=32).read([0, 1])
    np.testing.assert_array_equal(rows.ids, np.arange(32) + np.array([[0], [1]]))
    np.testing.assert_array_equal(rows.is_trained, [np.arange(32) % 2 == 0, np.arange(32) % 3 == 0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dtype", "uint32", "--vocab-size", "50", "--eos", "0"], "no whole number of uint32"),
        (["--dtype", "uint16", "--vocab-size", "49", "--eos", "0"], "is not below vocab_size 49"),
        (["--dtype", "uint16", "--vocab-size", "50", "--eos", "50"], "expected an id below --vocab-size 50"),
    ],
)
def test_what_does_not_fit_is_told_and_leaves_nothing(make_shards, capsys, arguments, words):
    folder = make_shards(file_tokens=(501,))
    (folder / "manifest.json").unlink()
    before = sorted(path.name for path in folder.iterdir())
    assert main([str(folder), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_empty_folder_is_told(tmp_path, capsys):
    assert main([str(tmp_path), *ARGUMENTS]) == 2
    assert "holds no .npy file" in capsys.readouterr().err


def test_another_file_gives_another_fingerprint(make_shards):
    prints = []
    for name, tokens in (("a", 64), ("b", 65)):
        folder = make_shards(name=name, file_tokens=(tokens,))
        (folder / "manifest.json").unlink()
        main([str(folder), *ARGUMENTS])
        prints.append(json.loads((folder / "manifest.json").read_text())["fingerprint"])
    assert prints[0] != prints[1]
