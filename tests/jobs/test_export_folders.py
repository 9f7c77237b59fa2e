"""A partition written out by cell: every document in the folder of its label, the same bytes for any partitions, and on after a stop."""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from dolma_py.corpus import read_view
from dolma_py.errors import ConfigError, DataError
from dolma_py.listing import Split
from pipelines import export_folders
from pipelines.build_recipe import BuildOptions
from pipelines.export_folders import read_folders
from pipelines.job_main import run_step_file
from tests.dedup_jobs import flat_rows, read_set
from tests.tiny_corpus import write_attributes, write_corpus

SCORES = pa.schema([("score", pa.float32()), ("topic", pa.string()), ("tokens", pa.int64())])
LABELS = pa.schema([("label", pa.string()), ("number", pa.int64())])


def run(kind, root, partitions=None, **settings):
    values = {"corpus": str(root), "name": kind.replace("_", "-"), "step": settings}
    return run_step_file(kind, values, BuildOptions(partitions=partitions, show_progress=False))[0]


def export(root, tree, partitions=None, **settings):
    settings = {"folders": "partition-v1.label", "attributes": ["scores-v1"], "file_bytes": 200, **settings}
    return run("export_dolma", root, partitions, output=str(tree), **settings)


def list_tree(tree: Path) -> dict[str, bytes]:
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


def read_lines(blob: bytes, name: str) -> list[bytes]:
    text = (
        gzip.decompress(blob) if name.endswith(".gz") else zstandard.ZstdDecompressor().decompressobj().decompress(blob)
    )
    return text.splitlines(keepends=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory, _spark_of_this_run):
    """(corpus with a partition, its documents in order, the tree that one Spark partition writes)."""
    folder = tmp_path_factory.mktemp("folders")
    root, chosen = folder / "corpus", random.Random(3)
    documents = [[[{"text": f"text \u00e9 {chosen.random()}"} for _ in range(40)] for _ in range(2)] for _ in range(3)]
    values = [
        [
            [
                {"score": chosen.random(), "topic": chosen.choice(["art", "law"]), "tokens": chosen.choice([1, 5])}
                for _ in rows
            ]
            for rows in shard
        ]
        for shard in documents
    ]
    write_attributes(write_corpus(str(root), documents), "scores-v1", values, SCORES)
    run("partition", root, score="scores-v1.score", topic="scores-v1.topic", tokens="scores-v1.tokens")
    export(root, folder / "tree", 1)
    return root, flat_rows(documents), list_tree(folder / "tree")


def test_every_document_is_in_the_folder_of_its_label(made):
    root, rows, tree = made
    expected = defaultdict(list)
    for row, cell in zip(rows, read_set(root, "partition-v1"), strict=True):
        expected[cell["label"]].append((row["id"], row["text"]))
    found, sizes = defaultdict(list), defaultdict(list)
    for name in sorted(name for name in tree if name.startswith("documents/")):
        lines = read_lines(tree[name], name)
        folder = name.removeprefix("documents/").rpartition("/")[0]
        found[folder] += [(json.loads(line)["id"], json.loads(line)["text"]) for line in lines]
        sizes[folder].append(sum(map(len, lines)))
    assert found == expected and "law/vigintile_0020" in found and "art/vigintile_0001" in found
    # a file is closed once it has so many bytes, so all but the last have them
    assert all(size >= 200 for folder in sizes.values() for size in folder[:-1]) and max(map(len, sizes.values())) > 1


def test_attributes_are_row_aligned(made):
    root, rows, tree = made
    scores = {row["id"]: values["score"] for row, values in zip(rows, read_set(root, "scores-v1"), strict=True)}
    names = [name for name in tree if name.startswith("documents/")]
    assert len(tree) == 2 * len(names)
    for name in names:
        documents = [json.loads(line)["id"] for line in read_lines(tree[name], name)]
        beside = name.replace("documents/", "attributes/scores_v1/", 1)
        attributes = [json.loads(line) for line in read_lines(tree[beside], beside)]
        assert [line["id"] for line in attributes] == documents
        for line in attributes:
            assert line["attributes"]["scores_v1__scores_v1__score"][0][2] == pytest.approx(scores[line["id"]])


@pytest.mark.parametrize("partitions", [2, 7])
def test_bytes_do_not_depend_on_partitions(made, tmp_path, partitions):
    export(made[0], tmp_path / "tree", partitions)
    assert list_tree(tmp_path / "tree") == made[2]


def test_a_stopped_export_goes_on_and_zstd_has_the_same_lines(made, tmp_path, monkeypatch):
    """It stops at a file that is not its own, when the pieces are written; they are not written again."""
    root, _, expected = made
    foreign = tmp_path / "tree" / "documents" / "art" / "mine.jsonl.zst"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="expected an empty folder or an earlier export"):
        export(root, tmp_path / "tree", codec="zst")
    assert len(list((tmp_path / "tree" / "_export").rglob("*.frames"))) == 3 and foreign.read_bytes() == b"mine"
    foreign.unlink()
    monkeypatch.setattr(export_folders, "write_piece", lambda params, attempts: 1 / 0)
    export(root, tmp_path / "tree", codec="zst")
    tree = list_tree(tmp_path / "tree")
    assert {name.removesuffix(".zst"): read_lines(blob, name) for name, blob in tree.items()} == {
        name.removesuffix(".gz"): read_lines(blob, name) for name, blob in expected.items()
    }


def test_values_that_are_no_folders(tmp_path):
    corpus = write_corpus(str(tmp_path), [[[{"text": "a"}, {"text": "b"}]]])
    (batch,) = read_view(corpus, corpus.load_view(None), Split(0, 0, 0, 0, 2, 2))

    def read(*labels, column="label"):
        write_attributes(corpus, "x-v1", [[[{"label": label, "number": 1} for label in labels]]], LABELS)
        return read_folders(corpus, f"x-v1.{column}", batch)

    assert read("art/vigintile_0001", "S&P.5_\u00e9-") == ["art/vigintile_0001", "S&P.5_\u00e9-"]
    for wrong in ("", "/a", "a/", "a//b", "../a", "a/..", ".a", "a b", "a\\b", "a\n", "a/" * 120 + "a"):
        with pytest.raises(ConfigError, match="with / between folders"):
            read("a", wrong)
    with pytest.raises(DataError, match="1 documents of the view have no value of x-v1.label"):
        read("a", None)
    with pytest.raises(ConfigError, match="expected a column of text, it is int64"):
        read("a", "b", column="number")
    with pytest.raises(ConfigError, match="expected a column of x-v1"):
        read("a", "b", column="nothing")
