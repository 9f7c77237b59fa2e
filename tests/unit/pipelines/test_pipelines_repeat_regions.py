"""Where the regions of a bucket lie: the index by number of split, and their files read with one open each."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa
import pytest

from dolma_py import parquet_files, storage
from dolma_py.corpus import Corpus
from pipelines import repeat_regions


def write_groups(path, schema, groups):
    with storage.write_file(path) as stream, parquet_files.open_writer(stream, schema) as writer:
        for rows in groups:
            parquet_files.write_row_group(writer, pa.Table.from_pylist(rows, schema))


@pytest.fixture
def corpus(tmp_path):
    """Splits 3 and 12, with row groups of one region each, named by split and group."""
    corpus = Corpus(str(tmp_path))
    for split in (3, 12):
        groups = [[{"address": split, "start": group, "text": f"{split}.{group}".encode()}] for group in range(4)]
        write_groups(corpus.path(repeat_regions.name_regions("work", split)), repeat_regions.REGION_SCHEMA, groups)
    return corpus


def test_a_file_of_regions_is_opened_once(corpus, monkeypatch):
    opened = []

    def open_parquet(path):
        opened.append(path)
        return plain(path)

    plain = parquet_files.open_parquet
    monkeypatch.setattr(parquet_files, "open_parquet", open_parquet)
    places = pa.table(
        {"split": pa.array([3, 3, 12, 12, 12], pa.int32()), "group": pa.array([1, 3, 0, 1, 2], pa.int32())}
    )
    read = pa.concat_tables(repeat_regions.read_places(corpus, "work", places))
    assert read.column("text").to_pylist() == [b"3.1", b"3.3", b"12.0", b"12.1", b"12.2"]
    assert len(opened) == 2


def test_the_index_has_the_row_groups_of_each_bucket_in_corpus_order(corpus):
    places = {3: [(5, 0, 40), (7, 1, 30), (7, 2, 30)], 12: [(2, 0, 9), (7, 1, 20), (7, 2, 50)]}
    lines = {}
    for split, rows in places.items():
        path = f"work/{split}-places.parquet"
        named = [dict(zip(("bucket", "group", "bytes"), row, strict=True)) for row in rows]
        write_groups(corpus.path(path), repeat_regions.PLACE_SCHEMA, [named])
        lines[split] = {"files": [{}, {"path": path}]}
    context = SimpleNamespace(corpus=corpus, work="work")
    relative, sizes = repeat_regions.write_region_index(context, lines, 100)
    assert sizes == {2: [9], 5: [40], 7: [30, 50, 50]}
    index = parquet_files.read_row_groups(corpus.path(relative), None, None)
    assert index.schema.equals(repeat_regions.INDEX_SCHEMA)
    assert [tuple(row.values()) for row in index.to_pylist()] == [
        (2, 0, 9, 12, 0), (5, 0, 40, 3, 0), (7, 1, 30, 3, 0), (7, 2, 30, 3, 1), (7, 1, 20, 12, 1), (7, 2, 50, 12, 2),
    ]  # fmt: skip


def test_no_regions_are_an_empty_index(corpus):
    context = SimpleNamespace(corpus=corpus, work="work")
    relative, sizes = repeat_regions.write_region_index(context, {}, 100)
    assert sizes == {}
    assert parquet_files.read_row_groups(corpus.path(relative), None, None).num_rows == 0
