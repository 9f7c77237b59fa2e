"""Whole deduplication jobs over corpora that no lab has and every lab meets: one huge text, a million tiny ones, all equal, all empty.

Each job runs as a user's would, in a process and session of its own; counts are those that the corpus was made with, and the peak of
a worker's memory is a multiple of what one row group holds, never of the corpus.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from dolma_py import corpus, parquet_files, storage
from dolma_py.corpus import Corpus
from dolma_py.documents import DOCUMENT_SCHEMA
from dolma_py.listing import Listing, Shard, append_shards
from dolma_py.views import SIZES, attribute_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ALLOWED = {"alarms": {"max_source_removed_frac": 1.0}}
LARGE_BYTES = 200_000_000


def write_shards(root: Path, shards: list[list[pa.Array]]) -> None:
    """A corpus of these texts (large_string), one array per row group."""
    made, listed = Corpus(str(root)), []
    for number, groups in enumerate(shards):
        path, counts = f"documents/web/part-{number:05d}.parquet", []
        shard = Shard(number, path, "parquet", "web", 0, 0, 1, "", ())
        with (
            storage.write_file(made.path(path)) as texts, parquet_files.open_writer(texts, DOCUMENT_SCHEMA) as text_writer,
            storage.write_file(made.path(attribute_path(SIZES, shard))) as sizes,
            parquet_files.open_writer(sizes, corpus.SIZES_SCHEMA) as size_writer,
        ):  # fmt: skip
            for group, text in enumerate(groups):
                rows, lengths = len(text), pc.binary_length(text).cast(pa.int64())
                columns: dict[str, pa.Array] = {field.name: pa.nulls(rows, field.type) for field in DOCUMENT_SCHEMA}
                columns |= {
                    "id": pa.array([f"{number}-{group}-{row}" for row in range(rows)]), "text": text,
                    "source": pa.array(["web"] * rows),
                }  # fmt: skip
                table = pa.table([columns[name].cast(DOCUMENT_SCHEMA.field(name).type) for name in DOCUMENT_SCHEMA.names],
                                 schema=DOCUMENT_SCHEMA)  # fmt: skip
                parquet_files.write_row_group(text_writer, table)
                names = corpus.SIZES_SCHEMA.names
                filled = [
                    lengths if name == "text_bytes" else pa.nulls(rows, corpus.SIZES_SCHEMA.field(name).type)
                    for name in names
                ]
                parquet_files.write_row_group(size_writer, pa.table(filled, schema=corpus.SIZES_SCHEMA))
                counts.append((rows, int(np.sum(lengths.to_numpy()))))
        rows, text_bytes = (sum(values) for values in zip(*counts, strict=True))
        checksum = storage.checksum_file(made.path(path))
        listed.append(shard._replace(rows=rows, text_bytes=text_bytes, checksum=checksum, row_groups=tuple(counts)))
    append_shards(made.listing_path, Listing(()), listed)


def run(root: Path, kind: str, step: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """(facts, peak bytes of a worker) of the job by its file in pipelines/."""
    path = root.parent / f"{kind}.yaml"
    path.write_text(yaml.safe_dump({"corpus": str(root), "name": "job", "step": step}))
    command = [sys.executable, "-m", f"pipelines.{kind}", "--config", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    folder = root / "runs" / "job" / "00-job"
    facts: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["facts"]
    return facts, json.loads((folder / "run.json").read_text())["peak_worker_bytes"]


def make_large(changed: int) -> pa.Array:
    """A text of 200 MB in lines of ten words, no two lines alike; every `changed`-th line is another one."""
    lines = np.arange(LARGE_BYTES // 100, dtype=np.int64)
    if changed:
        lines[::changed] += 10_000_000
    words = b"abcdefghi jklmnopqr stuvwxyza bcdefghij klmnopqrs tuvwxyzab cdefghijk lmnopqrst uvwxyzabc"
    rows = np.empty((len(lines), 100), np.uint8)
    rows[:, : len(words)] = np.frombuffer(words, np.uint8)
    rows[:, len(words) :] = ord(" ")
    for place in range(8):  # the line's number, in the last word
        rows[:, 98 - place] = ord("0") + lines // 10**place % 10
    rows[:, 99] = ord("\n")
    text = rows.tobytes()
    return pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(text)], np.int64)), pa.py_buffer(text))


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A text of 200 MB, the same again, one with 1% of its lines changed, a short one."""
    root = tmp_path_factory.mktemp("large") / "corpus"
    first, other = make_large(0), make_large(100)
    write_shards(root, [[first], [first, other, pa.array(["a short text of a few words"], pa.large_string())]])
    return root


@pytest.mark.parametrize(("kind", "step", "duplicates"), [
    ("dedup_exact", {}, 1), ("dedup_exact", {"text": "normalised"}, 1), ("dedup_minhash", {}, 2)])  # fmt: skip
def test_documents_of_200_mb(large, kind, step, duplicates):
    facts, peak = run(large, kind, step | ALLOWED)
    assert (facts["documents"] if kind == "dedup_exact" else 4, facts["duplicates"]) == (4, duplicates)
    assert peak < 12 * LARGE_BYTES


def test_lines_of_documents_of_200_mb(large):
    """All lines of the second text, 99 of 100 of the third."""
    facts, peak = run(large, "dedup_paragraphs", {"unit": "line", "min_words": 0} | ALLOWED)
    lines = LARGE_BYTES // 100
    assert facts["repeated_units"] == lines + lines - lines // 100
    assert peak < 12 * LARGE_BYTES


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A million texts of two words, each there twice, far apart."""
    root = tmp_path_factory.mktemp("tiny") / "corpus"
    texts = pa.array([f"tiny w{number}" for number in range(500_000)], pa.large_string())
    write_shards(root, [[texts.slice(start, 125_000) for start in range(0, 500_000, 125_000)]] * 2)
    return root


@pytest.mark.parametrize(("kind", "step", "count"), [
    ("dedup_exact", {}, "duplicates"), ("dedup_paragraphs", {"unit": "line", "min_words": 0, "min_left_bytes": 0}, "repeated_units"),
    ("dedup_minhash", {}, "duplicates")])  # fmt: skip
def test_a_million_tiny_documents(tiny, kind, step, count):
    facts, peak = run(tiny, kind, step | ALLOWED)
    assert facts[count] == 500_000
    assert peak < 1_500_000_000


@pytest.fixture(scope="module")
def identical(tmp_path_factory) -> Path:
    """100,000 copies of one text of 400 bytes."""
    root = tmp_path_factory.mktemp("identical") / "corpus"
    text = " ".join(f"word{number}" for number in range(60))
    texts = pa.array([text] * 25_000, pa.large_string())
    write_shards(root, [[texts, texts], [texts, texts]])
    return root


@pytest.mark.parametrize(("kind", "step"), [
    ("dedup_exact", {}), ("dedup_minhash", {}), ("dedup_minhash", {"components": "spark", "verification": {"rule": "pairs"}})])  # fmt: skip
def test_all_identical(identical, kind, step):
    facts, peak = run(identical, kind, step | ALLOWED)
    assert (facts["duplicates"], facts["clusters"]) == (99_999, 1)
    assert facts.get("candidate_edges", 0) <= 2 * 26 * 100_000
    assert peak < 1_500_000_000


@pytest.mark.parametrize(("kind", "step", "expected"), [
    ("dedup_exact", {}, {"documents": 20_000, "duplicates": 19_999}),
    ("dedup_paragraphs", {"unit": "line"}, {"documents": 20_000, "repeated_units": 0}),
    ("dedup_minhash", {}, {"duplicates": 0, "candidates": 0}), ("dedup_substring", {}, {"documents": 20_000, "repeated_bytes": 0})])  # fmt: skip
def test_all_empty(tmp_path, kind, step, expected):
    """Empty texts are equal to each other, and hold nothing that could be near or repeated."""
    write_shards(tmp_path / "corpus", [[pa.array([""] * 10_000, pa.large_string())]] * 2)
    facts, _ = run(tmp_path / "corpus", kind, step | ({} if kind == "dedup_substring" else ALLOWED))
    assert {name: facts[name] for name in expected} == expected
