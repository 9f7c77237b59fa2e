"""Batches are bounded by what they hold, not by what a footer says, and what is read does not depend on how they are cut."""

from __future__ import annotations

import io
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.parquet import read_documents
from dolma_py.formats.parquet_batches import FIRST_ROWS, GROWTH, iter_bounded_batches

MIB = 1 << 20
BOMB_ROWS = 10_000


def open_rows(texts: list[str], **options) -> pq.ParquetFile:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), sink, **options)
    return pq.ParquetFile(sink, pre_buffer=False)


@pytest.mark.parametrize("group_rows", [1, 17, 100, 5000])
@pytest.mark.parametrize("max_bytes", [1, 900, MIB])
def test_all_rows_in_order(group_rows, max_bytes):
    texts = [f"{n} " * (n % 50) for n in range(1500)]
    file = open_rows(texts, row_group_size=group_rows)
    batches = list(iter_bounded_batches(file, max_bytes=max_bytes, max_rows=300))
    assert [text for batch in batches for text in batch.column("text").to_pylist()] == texts
    assert max(batch.num_rows for batch in batches) <= 300


def test_rows_follow_the_bytes_that_were_seen():
    """Small rows let batches grow to the limit of rows, large ones make them shrink to the limit of bytes."""
    file = open_rows(["a"] * 4000 + ["b" * 50_000] * 2000)
    sizes = [batch.num_rows for batch in iter_bounded_batches(file, max_bytes=MIB, max_rows=512)]
    assert sizes[:4] == [FIRST_ROWS, GROWTH * FIRST_ROWS, GROWTH**2 * FIRST_ROWS, 512]
    assert sizes[-2] in (19, 20, 21) and sum(sizes) == 6000


def test_a_dictionary_larger_than_a_batch_counts_by_what_its_rows_take():
    words = pa.array(["x" * MIB, *map(str, range(1, 50))])
    column = pa.DictionaryArray.from_arrays(pa.array([n % 49 + 1 for n in range(3000)] + [0] * 20, pa.int32()), words)
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": column}), sink, dictionary_pagesize_limit=4 * MIB)
    batches = list(iter_bounded_batches(pq.ParquetFile(sink), max_bytes=MIB, max_rows=512))
    assert pa.types.is_dictionary(batches[0].column("text").type)
    assert [batch.num_rows for batch in batches][:5] == [16, 64, 256, 512, 512]
    assert [text for batch in batches for text in batch.column("text").to_pylist()] == column.to_pylist()


@pytest.mark.parametrize("max_bytes", [1, 1000, 16 * MIB])
@pytest.mark.parametrize("kind", ["nested", "dictionary", "plain"])
def test_which_text_is_too_long_does_not_depend_on_batches(kind, max_bytes):
    texts = pa.array(["x" * (n % 41) for n in range(500)])
    column = {
        "plain": texts,
        "dictionary": texts.dictionary_encode(),
        "nested": pa.StructArray.from_arrays([texts], ["b"]),
    }[kind]
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": column}), sink)
    limits = Limits(batch_text_bytes=max_bytes, max_record_bytes=20)
    fields = FieldMap(text="a.b" if kind == "nested" else "a")
    events = read_documents(
        "/a.parquet", source="s", limits=limits, fields=fields, added=None, open_stream=lambda _: sink
    )
    refused = [event.line for event in events if isinstance(event, Rejection) and event.reason == "too_long"]
    assert refused == [n + 1 for n in range(500) if n % 41 > 20]


@pytest.fixture(scope="module")
def bomb(tmp_path_factory) -> str:
    """A file of some kB: one text of 1 MB in a dictionary, which 10,000 rows repeat."""
    path = str(tmp_path_factory.mktemp("bomb") / "bomb.parquet")
    schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("id", "source")])
    words = pa.DictionaryArray.from_arrays(pa.array([0] * BOMB_ROWS, pa.int32()), pa.array(["word " * (MIB // 5)]))
    narrow = pa.table([[f"d{n}" for n in range(BOMB_ROWS)], ["web"] * BOMB_ROWS], schema=schema)
    table = narrow.append_column("text", words)
    pq.write_table(
        table, path, compression="zstd", row_group_size=BOMB_ROWS, store_schema=False, dictionary_pagesize_limit=2 * MIB
    )
    return path


_MEASURE = """
import sys
from dolma_py.errors import DataError
from dolma_py.formats import FieldMap, Limits
from dolma_py.formats.in_place import read_text_lengths
from dolma_py.formats.parquet import read_documents
from dolma_py.machine import read_peak_bytes
from dolma_py.plain_rows import Narrow
from dolma_py.plain_tables import read_narrow_table

path, way = sys.argv[1:]
if way == "documents":
    batches = read_documents(path, source="web", limits=Limits(max_ratio=1e9), fields=FieldMap(), added=None,
                             open_stream=lambda p: open(p, "rb"))
elif way == "plain":
    batches = read_narrow_table(path, "bomb", "parquet", Narrow("text", None, Limits()))
else:
    batches = read_text_lengths(path, 1_500 << 20)
rows, enough = 0, 200 if way == "documents" else 1_500  # each text of a document costs a hash and a copy
try:
    for batch in batches:
        rows += len(batch)
        if rows >= enough:
            break
except DataError as error:
    assert "more than 1572864000 bytes of text" in str(error), error
    rows = enough
print(rows, read_peak_bytes() >> 20)
"""


@pytest.mark.parametrize("way", ["documents", "in place", "plain"])
def test_a_text_that_a_dictionary_repeats_is_not_held_many_times(bomb, way):
    """10 GB of text in a file of some kB; a batch of 1,024 rows would be 1 GB."""
    answer = subprocess.run(
        [sys.executable, "-c", _MEASURE, bomb, way], capture_output=True, text=True, check=True, timeout=300
    )
    rows, peak_mib = map(int, answer.stdout.split())
    assert rows >= 200
    assert peak_mib < 700, peak_mib
