"""Files that were to be read in place and are copied, for more of their text than a task may hold cannot be split."""

from __future__ import annotations

import gc
import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dolma_py.corpus import Corpus, read_view
from dolma_py.errors import ConfigError, DolmaError, TooManyRejectedError
from dolma_py.listing import plan_splits
from dolma_py.views import SIZES, read_attributes
from pipelines import ingest_documents
from pipelines.build_recipe import BuildOptions, build
from pipelines.ingest_tasks import ingest_unit
from pipelines.recipe import Recipe

LIMIT = "pipelines.ingest_inputs.MAX_IN_PLACE_BYTES"
MAX_TEXT_BYTES = 5_000
COMPRESS = {"gz": lambda text: gzip.compress(text, mtime=0), "zst": zstandard.compress}


def ingest(corpus, *sources, **settings):
    """The facts of an ingest; records are rejected long before the text is too much."""
    step = {"kind": "ingest", "max_rejected_frac": 1.0, "sources": list(sources)}
    step |= {"row_group_text_bytes": 2000, "limits": {"batch_rows": 10}} | settings
    recipe = Recipe(recipe="in", seed=1, steps=[step])
    return build(recipe, str(corpus), BuildOptions(show_progress=False))[0].manifest["facts"]


def name_source(folder, **settings):
    return {"name": "web", "inputs": [str(folder)], "in_place": True} | settings


def read_listing(corpus):
    return [json.loads(line) for line in (corpus / "listing.jsonl").read_text().splitlines()]


def read_files(folder):
    """Path below the folder -> bytes, without times and what a run measured."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in files.items() if not name.endswith("run.json")}


def read_rejected(corpus):
    """All records below rejected/, with the path of their file."""
    found = []
    for path in sorted((corpus / "rejected").rglob("*.gz")):
        found += [(path.name, json.loads(line)) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return found


def read_rows(corpus, *sets):
    """All documents as jobs read them, beside the rows of attribute sets."""
    made = Corpus(str(corpus))
    listing = made.read_listing()
    documents, attributes = [], []
    for split in plan_splits(listing, 1):
        for batch in read_view(made, made.load_view(None), split):
            documents += batch.documents.to_pylist()
    for shard in listing.shards:
        tables = [read_attributes(made.root, name, shard, list(range(len(shard.row_groups)))) for name in sets]
        attributes += zip(*(table.to_pylist() for table in tables), strict=True)
    assert len(attributes) == len(documents)
    return list(zip(documents, attributes, strict=True))


def make_lines(num_rows, name="d"):
    """Records of 100 bytes of text, blank lines, and unreadable ones before and behind the limit."""
    texts = [f"{row} \u00e9 ".ljust(99, "x") for row in range(num_rows)]
    lines = [json.dumps({"id": f"{name}-{row}", "text": text, "n": row}) for row, text in enumerate(texts)]
    return ["", "{broken", *lines[: num_rows // 2], '{"id": "none"}', " ", *lines[num_rows // 2 :], "[]"]


def write_inputs(folder, suffix):
    """A file of much text whose bytes are few, between two small ones; it repeats an id of the first."""
    folder.mkdir()
    for name, num_rows in (("a", 3), ("b", 200), ("c", 3)):
        lines = "\n".join(make_lines(num_rows, name)).replace('"b-150"', '"a-1"').encode()
        (folder / f"{name}.jsonl.{suffix}").write_bytes(COMPRESS[suffix](lines))
    assert (folder / f"b.jsonl.{suffix}").stat().st_size < MAX_TEXT_BYTES < 200 * 100


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_much_text_in_a_small_file_is_copied(tmp_path, suffix, monkeypatch, caplog, _spark_of_this_run):
    """Rows, ids, sizes and rejected records are those of a copy that was asked for, and each is there once."""
    write_inputs(tmp_path / "inputs", suffix)
    asked = ingest(tmp_path / "asked", name_source(tmp_path / "inputs", in_place=False))
    monkeypatch.setattr(LIMIT, MAX_TEXT_BYTES)
    facts = ingest(tmp_path / "own", name_source(tmp_path / "inputs"))
    (said,) = [line for line in caplog.messages if "in spite of in_place" in line]
    assert said.startswith("inputs: 1 files copied") and said.endswith(f"b.jsonl.{suffix}")
    for key in ("documents", "text_bytes", "input_bytes", "rejected", "repeated_ids"):
        assert facts[key] == asked[key]
    assert facts["rejected"] == {"web": {"invalid_json": 3, "missing_text": 3, "not_object": 3}}
    shards = read_listing(tmp_path / "own")
    assert [(shard["path"].removeprefix(str(tmp_path)), shard["format"], shard["renamed"]) for shard in shards] == [
        (f"/inputs/a.jsonl.{suffix}", "jsonl", 0), ("documents/web/in-place-00001.parquet", "parquet", 1), (f"/inputs/c.jsonl.{suffix}", "jsonl", 0),
    ]  # fmt: skip
    assert shards[1]["reading"] is None and len(shards[1]["row_groups"]) == 10 and len(shards[1]["inputs"]) == 1
    assert read_rows(tmp_path / "own", SIZES) == read_rows(tmp_path / "asked", SIZES)
    rejected = read_rejected(tmp_path / "own")
    assert [record for _, record in rejected] == [record for _, record in read_rejected(tmp_path / "asked")]
    assert [name for name, _ in rejected] == [f"in-place-{shard:05d}.jsonl.gz" for shard in (0, 1, 2) for _ in range(3)]


def test_a_copied_file_is_known_when_it_is_met_again(tmp_path, monkeypatch, caplog, _spark_of_this_run):
    """And gives the same bytes when a run stopped before it was listed, whatever of it was published."""
    write_inputs(tmp_path / "inputs", "gz")
    monkeypatch.setattr(LIMIT, MAX_TEXT_BYTES)
    first = ingest(tmp_path / "whole", name_source(tmp_path / "inputs"))
    for function in ("rename_repeated_ids", "append_shards"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(ingest_documents, function, raise_interrupt)
            ingest(tmp_path / "torn", name_source(tmp_path / "inputs"))
        assert (tmp_path / "torn" / "documents" / "web" / "in-place-00001.parquet").exists()
        assert not (tmp_path / "torn" / "listing.jsonl").exists()
    assert ingest(tmp_path / "torn", name_source(tmp_path / "inputs")) == first
    whole = read_files(tmp_path / "whole")
    assert read_files(tmp_path / "torn") == whole
    caplog.clear()
    (tmp_path / "inputs" / "d.jsonl").write_text('{"text": "more"}\n')
    grown = ingest(tmp_path / "whole", name_source(tmp_path / "inputs"))
    assert grown["documents"] == first["documents"] + 1 and grown["rejected"] == first["rejected"]
    assert any("3 of 4 files not read again" in line for line in caplog.messages)
    assert not any("in spite of in_place" in line for line in caplog.messages)
    kept = {name: content for name, content in whole.items() if name.startswith(("documents", "rejected"))}
    assert {name: read_files(tmp_path / "whole")[name] for name in kept} == kept


def raise_interrupt(*_):
    raise KeyboardInterrupt


def test_a_copy_that_a_stopped_run_left_is_removed(tmp_path, monkeypatch, _spark_of_this_run):
    """Too much was rejected; the mended file is small and stays where it is."""
    write_inputs(tmp_path / "inputs", "gz")
    monkeypatch.setattr(LIMIT, MAX_TEXT_BYTES)
    with pytest.raises(TooManyRejectedError, match="9 of 215 records were rejected"):
        ingest(tmp_path / "corpus", name_source(tmp_path / "inputs"), max_rejected_frac=0.0)
    assert (tmp_path / "corpus" / "documents" / "web" / "in-place-00001.parquet").exists()
    for name in "abc":
        (tmp_path / "inputs" / f"{name}.jsonl.gz").write_bytes(
            gzip.compress(b'{"text": "mended %s"}\n' % name.encode(), mtime=0)
        )
    ingest(tmp_path / "corpus", name_source(tmp_path / "inputs"), max_rejected_frac=0.0)
    assert not list((tmp_path / "corpus" / "documents").rglob("*.parquet")) and not read_rejected(tmp_path / "corpus")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_the_task_leaves_what_it_tells_and_no_more(tmp_path):
    """The attempt files of the count are gone when the copy is there."""
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(make_lines(60)).encode(), mtime=0))
    piece = {"kind": "jsonl", "path": str(path), "name": path.name, "root": str(tmp_path), "part": None, "fields": {}}
    params = {"pieces": [piece], "source": "a", "part": "a/in-place-00000", "root": str(tmp_path / "corpus"), "limits": {"batch_rows": 10},
              "added": None, "row_group_text_bytes": 1000, "in_place": True, "max_text_bytes": 60 * 100 - 1}  # fmt: skip
    files, facts = ingest_unit(params, "attempts")
    gc.collect()  # a writer that was left open would now complain that its file is closed
    assert [file.path for file in files] == [
        "documents/a/in-place-00000.parquet", f"attributes/{SIZES}/a/in-place-00000.parquet", "rejected/a/in-place-00000.jsonl.gz"]  # fmt: skip
    assert sorted(file.attempt for file in files) == sorted(map(str, (tmp_path / "corpus").rglob("*-*.*")))
    assert facts["copied"] and facts["rows"] == 60 and sum(facts["rejected"].values()) == 3
    files, facts = ingest_unit(params | {"max_text_bytes": 60 * 100}, "attempts")
    assert "copied" not in facts and [file.path.split("/")[0] for file in files] == ["attributes", "rejected"]


def test_attributes_of_a_tree_meet_the_rows_of_a_copied_file(tmp_path, monkeypatch, _spark_of_this_run):
    """Rejected records and blank lines of the documents are stepped over as they are in place."""
    for name, num_rows in (("a", 4), ("b", 120)):
        lines = make_lines(num_rows, name)
        rows = []
        for line in filter(str.strip, lines):
            given = json.loads(line) if line.startswith('{"') else {}
            span = [0, len(given.get("text", "")), len(rows) / 8]
            rows.append(json.dumps({"id": given.get("id"), "attributes": {"e__t__a": [span]}}))
        for kind, content in (("documents", lines), ("attributes/e", rows)):
            path = tmp_path / "tree" / kind / "web" / f"{name}.jsonl.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress("\n".join(content).encode(), mtime=0))
    source = name_source(tmp_path / "tree")
    place = ingest(tmp_path / "place", source)
    monkeypatch.setattr(LIMIT, MAX_TEXT_BYTES)
    copied = ingest(tmp_path / "copied", source)
    assert copied["attributes"] == place["attributes"] and copied["rejected"] == place["rejected"]
    shards = read_listing(tmp_path / "copied")
    assert [(shard["format"], len(shard["row_groups"])) for shard in shards] == [("jsonl", 1), ("parquet", 6)]
    rows = read_rows(tmp_path / "copied", SIZES, "dolma-e-v1")
    assert rows == read_rows(tmp_path / "place", SIZES, "dolma-e-v1")
    assert len({row["t__a__score"] for _, (_, row) in rows}) > 100
    for document, (_, row) in rows:
        assert [span["end"] for span in row["t__a"]] == [len(document["text"].encode())]


def write_documents(path, texts, **options):
    """A Parquet file with our columns, each row with a source of its own."""
    rows = range(len(texts))
    table = pa.table({
        "id": [f"{path.name}-{row}" for row in rows], "text": pa.array(texts, pa.large_string()), "source": [f"own-{row % 3}" for row in rows],
    })  # fmt: skip
    pq.write_table(table, path, **options)


def test_parquet_with_a_large_row_group_is_copied(tmp_path, monkeypatch, caplog, _spark_of_this_run):
    """The footer tells it, or, where a dictionary hides the text, the task; ids, texts and sources are those in place."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    texts = [f"{row} ".ljust(100, "x") for row in range(200)]
    write_documents(folder / "a.parquet", texts, row_group_size=100, use_dictionary=False)
    write_documents(folder / "b.parquet", ["a text of many rows"] * 400)
    write_documents(folder / "c.parquet", texts[:20])
    sources = [name_source(folder / f"{name}.parquet", name=name) for name in "abc"]
    ingest(tmp_path / "place", *sources)
    monkeypatch.setattr(LIMIT, MAX_TEXT_BYTES)
    ingest(tmp_path / "copied", *sources, unit_bytes=1000)
    (said,) = [line for line in caplog.messages if "in spite of in_place" in line]
    assert said.startswith("inputs: 2 files copied") and said.endswith("a.parquet")
    shards = [(shard["source"], shard["path"].split("/")[-1]) for shard in read_listing(tmp_path / "copied")]
    assert shards == [
        ("a", "part-00000.parquet"), ("a", "part-00001.parquet"), ("b", "in-place-00002.parquet"), ("c", "c.parquet")]  # fmt: skip
    columns = ("id", "text", "source")
    made = [
        [[row[name] for name in columns] for row, _ in read_rows(tmp_path / name, SIZES)]
        for name in ("place", "copied")
    ]
    assert made[0] == made[1] and len(made[0]) == 620 and {row[2] for row in made[0]} == {"own-0", "own-1", "own-2"}


def test_a_copy_of_parquet_rejects_rows_and_other_columns_stay_an_error(tmp_path, monkeypatch, _spark_of_this_run):
    monkeypatch.setattr(LIMIT, MAX_TEXT_BYTES)
    write_documents(tmp_path / "x.parquet", ["x" * 4000, None, "y" * 4000], use_dictionary=False)
    facts = ingest(tmp_path / "corpus", name_source(tmp_path / "x.parquet"))
    assert facts["documents"] == 2 and facts["rejected"] == {"web": {"missing_text": 1}}
    write_documents(tmp_path / "y.parquet", ["x", None])
    with pytest.raises(DolmaError, match=r"y\.parquet:2: a null in column text"):
        ingest(tmp_path / "other", name_source(tmp_path / "y.parquet"))
    (tmp_path / "z.jsonl").write_text('{"body": "text"}\n')
    with pytest.raises(ConfigError, match="expected Dolma's own field names"):
        ingest(tmp_path / "other", name_source(tmp_path / "z.jsonl", fields={"text": "body"}))


@pytest.mark.slow  # about 40 s on two cores
def test_300_mb_of_text_in_a_small_file_need_no_memory(tmp_path, _spark_of_this_run):
    """The true limit: every later job would have held the file; the task that copies it holds a row group."""
    rng, path = random.Random(1), tmp_path / "x.jsonl.gz"
    words = " ".join(rng.randbytes(3).hex() for _ in range(60))  # a kB in 20: more would be a bomb
    num_rows, text = 10_000, words.ljust(30_000, ".")
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for row in range(num_rows):
            stream.write(b'{"id": "%d", "text": "%d %s"}\n' % (row, row, text.encode()))
    assert path.stat().st_size < 10 << 20
    facts = ingest(tmp_path / "corpus", name_source(path), row_group_text_bytes=16 << 20, limits={})
    assert facts["documents"] == num_rows and facts["text_bytes"] > 300_000_000
    (shard,) = read_listing(tmp_path / "corpus")
    assert shard["path"] == "documents/web/in-place-00000.parquet" and len(shard["row_groups"]) == 18
    (run,) = (tmp_path / "corpus" / "runs" / "in").glob("*/run.json")
    peak = json.loads(run.read_text())["peak_worker_bytes"]
    print(peak >> 20, "MiB")
    assert 0 < peak < 500 << 20
