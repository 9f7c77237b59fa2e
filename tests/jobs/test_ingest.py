"""Ingest as a job: files cut and packed into shards, what could not be read, files in place, and the plan before it."""

from __future__ import annotations

import gzip
import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.corpus import Corpus, read_view
from dolma_py.errors import ConfigError, DolmaError, TooManyRejectedError
from dolma_py.listing import plan_splits
from pipelines.build_recipe import BuildOptions, build
from pipelines.costs import estimate_text_bytes
from pipelines.ingest_inputs import IngestConfig, describe_inputs
from pipelines.recipe import Recipe, build_steps
from tests.chat_server import ChatServer
from tests.made_pdfs import make_encrypted, make_lines, make_pdf


def ingest(folder, sources, **settings):
    """The manifest of an ingest into folder/corpus."""
    steps = [{"kind": "ingest", "max_rejected_frac": 1.0, "sources": sources} | settings]
    recipe = Recipe(recipe="in", seed=1, steps=steps)
    return build(recipe, str(folder / "corpus"), BuildOptions(show_progress=False))[0].manifest


def read_listing(folder):
    return [json.loads(line) for line in (folder / "corpus" / "listing.jsonl").read_text().splitlines()]


def read_rows(folder):
    """All documents in listing order."""
    tables = [pq.read_table(folder / "corpus" / shard["path"]) for shard in read_listing(folder)]
    return pa.concat_tables(tables).to_pylist()


def read_rejected(folder):
    """path below rejected/ -> its records."""
    root = folder / "corpus" / "rejected"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        for path in files
    }


def write_inputs(folder):
    """A large plain file with bad lines, small ones around it, a gzip file and a Parquet file of many row groups."""
    folder.mkdir()
    lines = [json.dumps({"text": f"document {n} " * (n % 7)}) for n in range(300)]
    lines[50] = lines[250] = "{broken"
    lines[100] = ""
    (folder / "a.jsonl").write_text('{"text": "before"}\n')
    (folder / "b.jsonl").write_bytes("\r\n".join(lines).encode())
    (folder / "c.jsonl").write_text('{"text": "after"}\n')
    (folder / "d.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    table = pa.table({"text": [f"row {n} " * (n % 5) for n in range(200)]})
    pq.write_table(table, folder / "e.parquet", row_group_size=10)


def test_cut_files_give_the_documents_of_whole_ones(tmp_path, _spark_of_this_run):
    """Rows, ids, line numbers and rejected records are the same in the same order; only the shards are smaller."""
    write_inputs(tmp_path / "inputs")
    sources = [{"name": "web", "inputs": [str(tmp_path / "inputs")]}]
    (tmp_path / "whole").mkdir()
    whole = ingest(tmp_path / "whole", sources)
    (tmp_path / "cut").mkdir()
    cut = ingest(tmp_path / "cut", sources, unit_bytes=3000)
    names = [[name for name, _, _ in shard["inputs"]] for shard in read_listing(tmp_path / "cut")]
    assert len(read_listing(tmp_path / "whole")) == 1
    assert names.count(["b.jsonl"]) > 3 and names.count(["c.jsonl", "d.jsonl.gz"]) == 1
    assert names.count(["e.parquet"]) > 1
    assert read_rows(tmp_path / "cut") == read_rows(tmp_path / "whole")
    rejected = [sum(read_rejected(tmp_path / name).values(), []) for name in ("cut", "whole")]
    assert rejected[0] == rejected[1]
    assert [(line["path"], line["line"]) for line in rejected[0]] == [
        ("b.jsonl", 51), ("b.jsonl", 251), ("d.jsonl.gz", 51), ("d.jsonl.gz", 251)]  # fmt: skip
    for key in ("documents", "text_bytes", "input_bytes", "rejected", "repeated_ids"):
        assert cut["facts"][key] == whole["facts"][key]
    assert cut["facts"]["input_bytes"] == sum(path.stat().st_size for path in (tmp_path / "inputs").iterdir())


def test_a_cut_file_is_known_when_it_is_met_again(tmp_path, _spark_of_this_run):
    """Another unit_bytes later: nothing is read twice."""
    write_inputs(tmp_path / "inputs")
    sources = [{"name": "web", "inputs": [str(tmp_path / "inputs" / "b.jsonl")]}]
    first = ingest(tmp_path, sources, unit_bytes=5000)
    second = ingest(tmp_path, sources, unit_bytes=7000)
    assert second["facts"] == first["facts"]


def test_rejected_holds_the_last_run_that_stopped_and_nothing_older(tmp_path, _spark_of_this_run):
    """Stopped by too many; mended in part and stopped again; mended: each time rejected/ says what that run saw."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("{broken\n" * 3 + '{"text": "fine"}\n')
    sources = [{"name": name, "inputs": [str(tmp_path / f"{name}.jsonl")]} for name in ("a", "b")]
    with pytest.raises(
        TooManyRejectedError,
        match=r"6 of 8 records were rejected, 3 of them in .*/a\.jsonl: invalid_json; .*/corpus/rejected, .* raise steps\.ingest\.max",
    ):
        ingest(tmp_path, sources, max_rejected_frac=0.1)
    assert {name: len(lines) for name, lines in read_rejected(tmp_path).items()} == {
        "a/part-00000.jsonl.gz": 3, "b/part-00000.jsonl.gz": 3}  # fmt: skip
    with pytest.raises(TooManyRejectedError):
        ingest(tmp_path, sources, max_rejected_frac=0.1)
    assert len(read_rejected(tmp_path)) == 2  # the same command again: still there to be looked at
    (tmp_path / "a.jsonl").write_text('{"text": "mended"}\n')
    with pytest.raises(TooManyRejectedError, match="3 of 5"):
        ingest(tmp_path, sources, max_rejected_frac=0.1)
    assert list(read_rejected(tmp_path)) == ["b/part-00000.jsonl.gz"]
    made = ingest(tmp_path, sources[:1], max_rejected_frac=0.1)
    assert made["facts"]["rejected"] == {} and read_rejected(tmp_path) == {}
    assert not (tmp_path / "corpus" / "documents" / "b" / "part-00000.parquet").exists()


def test_the_worst_input_is_named_itself_in_a_pack_and_summed_over_its_ranges(tmp_path, _spark_of_this_run):
    """Small files share a shard and a large one is cut: what is named is the file, with all that was rejected of it."""
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n')
    (tmp_path / "b.jsonl").write_text("{broken\n" * 5)
    (tmp_path / "c.jsonl").write_text("{broken\n" + '{"text": "fine"}\n')
    sources = [{"name": "web", "inputs": [str(tmp_path / "*.jsonl")]}]
    with pytest.raises(
        TooManyRejectedError, match=r"6 of 8 records were rejected, 5 of them in [^ ]*/b\.jsonl: invalid_json;"
    ):
        ingest(tmp_path, sources, max_rejected_frac=0.1)
    (tmp_path / "c.jsonl").write_text("{broken, and longer than the other lines are\n" * 200)
    with pytest.raises(TooManyRejectedError, match=r"205 of 206 .* 200 of them in [^ ]*/c\.jsonl: invalid_json;"):
        ingest(tmp_path, sources, unit_bytes=2000, max_rejected_frac=0.1)


def test_rejected_records_of_listed_shards_stay(tmp_path, _spark_of_this_run):
    """A later run, good or stopped, leaves alone what belongs to shards of the listing."""
    (tmp_path / "a.jsonl").write_text('{broken\n{"text": "fine"}\n')
    ingest(tmp_path, [{"name": "a", "inputs": [str(tmp_path / "a.jsonl")]}])
    before = read_rejected(tmp_path)
    (tmp_path / "b.jsonl").write_text("{broken\n")
    sources = [
        {"name": "a", "inputs": [str(tmp_path / "a.jsonl")]},
        {"name": "b", "inputs": [str(tmp_path / "b.jsonl")]},
    ]
    with pytest.raises(TooManyRejectedError):
        ingest(tmp_path, sources, max_rejected_frac=0.5)
    assert read_rejected(tmp_path) == before | {
        "b/part-00000.jsonl.gz": read_rejected(tmp_path)["b/part-00000.jsonl.gz"]
    }
    ingest(tmp_path, sources[:1])
    assert read_rejected(tmp_path) == before and len(before["a/part-00000.jsonl.gz"]) == 1


def test_nothing_of_the_users_own_is_removed(tmp_path, _spark_of_this_run):
    """documents/ may be somebody's Dolma tree, read in place."""
    tree = tmp_path / "corpus" / "documents" / "web"
    tree.mkdir(parents=True)
    (tree / "x.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a", "text": "one"}\n{broken\n', mtime=0))
    (tree / "part-00007.parquet").write_bytes(b"not ours")
    sources = [{"name": "web", "inputs": ["{corpus}/documents/web/x.jsonl.gz"], "in_place": True}]
    ingest(tmp_path, sources)
    ingest(tmp_path, sources, unit_bytes=7)
    assert sorted(path.name for path in tree.iterdir()) == ["part-00007.parquet", "x.jsonl.gz"]
    assert {name: len(lines) for name, lines in read_rejected(tmp_path).items()} == {"web/in-place-00000.jsonl.gz": 1}


def test_rows_in_place_stay_under_the_limits_of_their_ingest(tmp_path, _spark_of_this_run):
    """Limits other than the defaults decide which lines have rows; readers follow the listing, not the settings of the day."""
    lines = [json.dumps({"id": str(n), "text": "x" * n}) for n in (1, 100, 2)]
    (tmp_path / "notes.txt").write_text("\n".join(lines))
    sources = [{"name": "web", "inputs": [str(tmp_path / "notes.txt")], "in_place": True, "kind": "jsonl"}]
    ingest(tmp_path, sources, limits={"max_record_bytes": 60}, added="2024-01-02T00:00:00")
    corpus = Corpus(str(tmp_path / "corpus"))
    (split,) = plan_splits(corpus.read_listing(), 1 << 20)
    (batch,) = read_view(corpus, corpus.load_view(None), split)
    assert batch.documents.column("id").to_pylist() == ["1", "2"]
    assert {json.loads(value)["origin"] for value in batch.documents.column("metadata").to_pylist()} == {
        "notes.txt:1", "notes.txt:3"}  # fmt: skip
    assert {time.year for time in batch.documents.column("added").to_pylist()} == {2024}


def write_documents(path, texts, **options):
    """A Parquet file with our columns; None and bytes stand as they are."""
    raw = pa.array([text.encode() if isinstance(text, str) else text for text in texts], pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), len(raw), raw.buffers(), raw.null_count)
    ids = pa.array([f"id-{n}" for n in options.pop("ids", range(len(texts)))])
    table = pa.table({"id": ids, "text": text, "source": pa.array(["web"] * len(texts))})
    pq.write_table(table, path, **options)


def test_parquet_in_place_with_odd_rows_is_refused_and_then_copied(tmp_path, _spark_of_this_run):
    """File and row are named, nothing is listed; the copy rejects the row."""
    path = tmp_path / "x.parquet"
    for texts, ids, words in (
        (["a", "b", None], range(3), r"x\.parquet:3: a null in column text"),
        (["a", b"\xff", "c"], range(3), r"x\.parquet:2: bytes in column text"),
        (["a", "b", "c"], [1, 2, 1], r"x\.parquet:3: an id that another document has.*'id-1#2'"),
    ):
        write_documents(path, texts, ids=ids, row_group_size=2)
        with pytest.raises(DolmaError, match=words):
            ingest(tmp_path, [{"name": "web", "inputs": [str(path)], "in_place": True}])
        assert not (tmp_path / "corpus" / "listing.jsonl").exists()
    write_documents(path, ["a", b"\xff", None])
    made = ingest(tmp_path, [{"name": "web", "inputs": [str(path)]}])
    assert made["facts"]["documents"] == 1 and sum(made["facts"]["rejected"]["web"].values()) == 2


def test_a_plan_counts_text_and_what_is_new(tmp_path, _spark_of_this_run):
    """Parquet by its footer, compressed lines by the common ratio; a corpus that has documents is no reason to forget new ones."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    write_documents(inputs / "a.parquet", [f"{n} " * 2000 for n in range(50)], compression="zstd", use_dictionary=False)
    (inputs / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "plain words"}\n' * 100))
    sources = [{"name": "web", "inputs": [str(inputs)]}]
    corpus, sizes = Corpus(str(tmp_path / "corpus")), {path.name: path.stat().st_size for path in inputs.iterdir()}
    text_bytes = sum(len(f"{n} " * 2000) for n in range(50))
    new = describe_inputs(corpus, IngestConfig(sources=sources))
    assert new.text_bytes - 4 * sizes["b.jsonl.gz"] == pytest.approx(text_bytes, rel=0.1)
    assert sizes["a.parquet"] < text_bytes / 10
    steps = build_steps(Recipe(recipe="in", seed=1, steps=[{"kind": "ingest", "sources": sources}]))
    assert estimate_text_bytes(steps, corpus) == (new.text_bytes, new.text_bytes)
    ingest(tmp_path, sources)
    assert describe_inputs(corpus, IngestConfig(sources=sources)) == (0, [], [], [])
    (inputs / "c.jsonl").write_text('{"text": "more"}\n')
    assert estimate_text_bytes(steps, corpus) == (corpus.read_listing().text_bytes + 17, 17)


def test_dry_run_shows_what_would_be_read_and_does_nothing(tmp_path):
    """Inputs per source, shards, memory, disk and time; no folder, no Spark."""
    write_inputs(tmp_path / "inputs")
    (tmp_path / "inputs" / "list.json").write_text("[]")
    command = ["ingest", "--corpus", str(tmp_path / "corpus"), "--input", str(tmp_path / "inputs"), "--source", "web"]
    answer = CliRunner().invoke(app, [*command, "--set", "unit_bytes=500", "--dry-run"])
    assert answer.exit_code == 0, answer.output
    assert not (tmp_path / "corpus").exists()
    words = answer.output.split()
    row = next(line for line in answer.output.splitlines() if " web " in line).replace("\u2502", " ").split()
    assert row[:2] == ["web", "5"] and int(row[2]) > 25
    assert "1 left out: list.json (each one JSON document" in answer.output
    assert "Nothing" in words and "memory" in answer.output and "disk" in answer.output
    own = ["--input", str(tmp_path / "inputs"), "--corpus", str(tmp_path / "c")]
    command = ["build", "mix", "--recipe", "quickstart", *own]
    built = CliRunner().invoke(app, [*command, "--until", "ingest", "--dry-run"]).output
    assert "1 left out: list.json (each one JSON document" in built and not (tmp_path / "c").exists()
    rows = [line.replace("\u2502", " ").split() for line in built.splitlines() if " inputs " in line]
    assert [row[:2] for row in rows] == [["inputs", "5"]]


def test_json_documents_are_left_out_of_a_folder_and_told(tmp_path, _spark_of_this_run, caplog):
    """And refused where they are named themselves, or where nothing else is there."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "lines.json").write_text('{"text": "one"}\n{"text": "two"}\n')
    (folder / "list.json").write_text(json.dumps([{"text": "three"}], indent=1))
    made = ingest(tmp_path, [{"name": "web", "inputs": [str(folder)]}])
    assert (
        made["facts"]["left_out_documents"] == ["list.json"]
        and "1 left out: list.json (each one JSON document" in caplog.text
    )
    assert [row["text"] for row in read_rows(tmp_path)] == ["one", "two"] and read_rejected(tmp_path) == {}
    for inputs in (folder / "list.json", folder / "li*t.json"):
        with pytest.raises(ConfigError, match=r"expected JSON Lines, this is one JSON document.*list\.json"):
            ingest(tmp_path / "other", [{"name": "web", "inputs": [str(inputs)]}])


def test_pdfs_are_read_by_the_settings_of_their_source(tmp_path):
    """Text of the file, rejections counted, and a model that reads: its answers are kept in the corpus and asked for once."""
    folder = tmp_path / "papers"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.pdf").write_bytes(make_pdf([make_lines([f"paper {number}", "its second line"])]))
    (folder / "copy.pdf").write_bytes((folder / "0.pdf").read_bytes())
    (folder / "locked.pdf").write_bytes(make_encrypted())
    manifest = ingest(tmp_path, [{"name": "pdf", "inputs": [str(folder)]}])
    assert manifest["facts"]["rejected"] == {"pdf": {"encrypted": 1}}
    rows = read_rows(tmp_path)
    assert sorted(row["text"] for row in rows) == sorted(f"paper {n}\nits second line" for n in (0, 0, 1, 2))
    digests = [hashlib.sha1((folder / f"{n}.pdf").read_bytes()).hexdigest() for n in range(3)]
    assert {row["id"] for row in rows} == {*digests, f"{digests[0]}#2"}
    with ChatServer(lambda body: "what the model saw") as server:
        endpoint = {"base_url": server.url, "model": "eyes", "cache": "{corpus}/answers"}
        source = {
            "name": "seen",
            "inputs": [str(folder / "[0-2].pdf")],
            "pdf": {"route": "vision", "endpoint": endpoint},
        }
        (tmp_path / "two").mkdir()
        ingest(tmp_path / "two", [source])
        assert [row["text"] for row in read_rows(tmp_path / "two")] == ["what the model saw"] * 3
        assert len(server.bodies) == 3
        assert (tmp_path / "two" / "corpus" / "answers" / "answers.txt").read_text().count("what the model saw") == 3
