"""Deduplication of plain files: what comes back is what went in, without the copies."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import made_plain_files as made

from dolma_py.errors import ConfigError, DolmaError, TooManyRejectedError
from pipelines import dedup_exact
from pipelines.build_recipe import BuildOptions
from pipelines.plain_commands import PlainOptions, run_plain
from tests.strict_tables import assert_same_table
from tests.tiny_corpus import write_corpus

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")


def run(kind, inputs, output, *, settings=None, partitions=None, **options):
    values = {"text_column": "text", "id_column": None, "mark": False} | options
    plain = PlainOptions(inputs=[str(path) for path in inputs], output=str(output), **values)
    name = {"name": kind.replace("_", "-"), "seed": 0}
    return run_plain(kind, settings or {}, name, plain, BuildOptions(partitions=partitions, show_progress=False))


def evidence(output):
    return pq.read_table(output / "duplicates.parquet").to_pylist()


def counts(output):
    return json.loads((output / "manifest.json").read_text())["counts"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Two Parquet files: rows 3 and 20 of b repeat rows 5 and 6 of a, row 9 of a is nearly its row 8."""
    folder = tmp_path_factory.mktemp("plain tables")
    first, second = made.make_texts(25, 1), made.make_texts(22, 2)
    second[3], second[20], first[9] = first[5], first[6], made.change(first[8])
    second[4], second[5] = "", ""
    texts = {"a": first, "b": second}
    for name, own in texts.items():
        made.write_parquet(folder, f"{name}.parquet", made.make_table(own))
    return folder


@pytest.fixture(scope="module")
def deduplicated(tables, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "minhash"
    run("dedup_minhash", [f"{tables}/*.parquet"], output, id_column="key")
    return output


def test_tables_keep_columns_types_metadata_and_order(tables, deduplicated):
    for name, dropped in (("a", [9]), ("b", [3, 20])):
        before = pq.read_table(tables / f"{name}.parquet")
        after = pq.ParquetFile(deduplicated / "data" / f"{name}.parquet")
        kept = [row for row in range(before.num_rows) if row not in dropped]
        assert_same_table(after.read(), pa.concat_tables([before.slice(row, 1) for row in kept]))
        assert after.schema_arrow.equals(pq.ParquetFile(tables / f"{name}.parquet").schema_arrow, check_metadata=True)
        assert after.schema_arrow.field("key").metadata[b"note"] == b"key"
        assert after.metadata.row_group(0).column(0).compression == "SNAPPY"


def test_the_evidence_names_file_row_and_id(deduplicated):
    found = [
        (row["file"], row["row"], row["id"], row["kept_file"], row["kept_row"], row["kept_id"])
        for row in evidence(deduplicated)
    ]
    assert found == [
        ("a.parquet", 5, "5", "a.parquet", 5, "5"), ("b.parquet", 3, "3", "a.parquet", 5, "5"),
        ("a.parquet", 6, "6", "a.parquet", 6, "6"), ("b.parquet", 20, "20", "a.parquet", 6, "6"),
        ("a.parquet", 8, "8", "a.parquet", 8, "8"), ("a.parquet", 9, "9", "a.parquet", 8, "8"),
    ]  # fmt: skip
    assert [row["is_duplicate"] for row in evidence(deduplicated)] == [False, True] * 3
    assert {row["cluster_size"] for row in evidence(deduplicated)} == {2}
    assert [row["similarity"] == 1 for row in evidence(deduplicated)] == [True] * 5 + [False]


@pytest.mark.parametrize("kind", ["index", "bloom"])
def test_the_evidence_of_earlier_data_names_no_record_here(tmp_path, kind):
    """The index calls yesterday's record as today's file calls another: day.jsonl:0."""
    texts = {"day 1": ["seen", "gone"], "day 2": ["new", "seen", "seen", "gone", "twice", "twice"]}
    for day, rows in texts.items():
        (tmp_path / day).mkdir()
        lines = [json.dumps({"text": text, "key": f"{day} {row}"}) for row, text in enumerate(rows)]
        (tmp_path / day / "day.jsonl").write_text("".join(f"{line}\n" for line in lines))
    saved = str(tmp_path / "saved")
    options = {"id_column": "key"}
    run("dedup_exact", [tmp_path / "day 1"], tmp_path / "out 1", settings={kind: {"save": saved}}, **options)
    run("dedup_exact", [tmp_path / "day 2"], tmp_path / "out 2", settings={kind: {"against": saved}}, **options)
    names = {"index": ("day.jsonl:0", "day.jsonl:1", 1.0), "bloom": (None, None, None)}[kind]
    found = [
        (
            row["row"],
            row["is_duplicate"],
            row["cluster_size"],
            row["kept_file"],
            row["kept_row"],
            row["kept_id"],
            row["similarity"],
        )
        for row in evidence(tmp_path / "out 2")
    ]
    assert found == [
        (1, True, 2, None, None, names[0], names[2]), (2, True, 2, None, None, names[0], names[2]),
        (3, True, 1, None, None, names[1], names[2]),
        (4, False, 2, "day.jsonl", 4, "day 2 4", 1.0), (5, True, 2, "day.jsonl", 4, "day 2 4", 1.0),
    ]  # fmt: skip
    kept = [json.loads(line)["text"] for line in (tmp_path / "out 2" / "data" / "day.jsonl").read_text().splitlines()]
    assert kept == ["new", "twice"]


def test_rows_are_conserved(deduplicated):
    assert counts(deduplicated) == {"rows_in": 47, "kept": 44, "dropped": 3, "edited": 0, "rejected": 0}
    run = json.loads((deduplicated / "run.json").read_text())
    steps = [json.loads(path.read_text()) for path in deduplicated.rglob("runs/*/*/run.json")]
    assert run["seconds"] > 0 and len(steps) == 3
    assert run["peak_driver_bytes"] == max(step["peak_driver_bytes"] for step in steps)


@pytest.mark.parametrize("partitions", [1, 7])
def test_bytes_do_not_depend_on_partitions(tables, deduplicated, tmp_path, partitions):
    run("dedup_minhash", [f"{tables}/*.parquet"], tmp_path / "out", id_column="key", partitions=partitions)
    assert made.list_bytes(tmp_path / "out") == made.list_bytes(deduplicated)


def test_the_same_command_again_does_nothing_and_another_setting_redoes(tables, tmp_path):
    output = tmp_path / "out"
    run("dedup_exact", [f"{tables}/*.parquet"], output)
    before = made.list_bytes(output)
    assert [outcome.skipped for outcome in run("dedup_exact", [f"{tables}/*.parquet"], output)] == [True] * 3
    (output / "data" / "b.parquet").unlink()
    assert [outcome.skipped for outcome in run("dedup_exact", [f"{tables}/*.parquet"], output)] == [True, True, False]
    assert made.list_bytes(output) == before
    outcomes = run("dedup_exact", [f"{tables}/*.parquet"], output, settings={"rules": []})
    assert [outcome.skipped for outcome in outcomes] == [True, False, False]
    assert sorted(made.list_bytes(output)) == [
        "duplicates.parquet",
        "manifest.json",
    ]  # no rule drops: nothing to write again


def test_other_inputs_need_another_output(tables, tmp_path):
    run("dedup_exact", [tables / "a.parquet"], tmp_path / "out")
    with pytest.raises(ConfigError, match="made from other files or columns"):
        run("dedup_exact", [tables / "b.parquet"], tmp_path / "out")
    with pytest.raises(ConfigError, match="made from other files or columns"):
        run("dedup_exact", [tables / "a.parquet"], tmp_path / "out", id_column="key")


def test_an_output_folder_with_something_else_in_it_is_refused(tables, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="new or empty folder"):
        run("dedup_exact", [tables], tmp_path)
    with pytest.raises(ConfigError, match="outside of the inputs"):
        made.write_parquet(tmp_path, "out/.dolma-py/x.parquet", made.make_table(["x"]))
        run("dedup_exact", [tmp_path / "out" / ".dolma-py"], tmp_path / "out")


def test_marks_are_columns(tables, tmp_path):
    run("dedup_exact", [tables / "a.parquet", tables / "b.parquet"], tmp_path / "out", mark=True)
    table = pq.read_table(tmp_path / "out" / "data" / "b.parquet")
    assert_same_table(table.select(pq.read_schema(tables / "b.parquet").names), pq.read_table(tables / "b.parquet"))
    assert [row for row, flag in enumerate(table.column("dolma_py_is_duplicate").to_pylist()) if flag] == [
        3,
        5,
        20,
    ]  # 5: no text, as 4
    assert table.column("dolma_py_kept_id")[3].as_py() == "a.parquet:5"


def test_text_and_id_may_be_nested_or_dictionaries(tmp_path):
    texts = made.make_texts(4, 3)
    values = [{"body": text, "n": number} for number, text in enumerate([*texts, texts[1]])]
    table = pa.table({"page": pa.array(values), "label": pa.array(list("abcde")).dictionary_encode()})
    made.write_parquet(tmp_path, "in.parquet", table)
    run("dedup_exact", [tmp_path / "in.parquet"], tmp_path / "out", text_column="page.body", id_column="label")
    assert_same_table(
        pq.read_table(tmp_path / "out" / "data" / "in.parquet"), pq.read_table(tmp_path / "in.parquet").slice(0, 4)
    )
    assert [row["id"] for row in evidence(tmp_path / "out")] == ["b", "e"]


def test_rows_without_text_are_counted_and_kept_aside(tmp_path):
    texts = [*made.make_texts(3, 4), None, b"\xff".decode("latin-1")]
    made.write_parquet(tmp_path, "in.parquet", pa.table({"text": pa.array(texts), "n": pa.array(range(5))}))
    with pytest.raises(TooManyRejectedError):
        run("dedup_exact", [tmp_path / "in.parquet"], tmp_path / "out")
    run("dedup_exact", [tmp_path / "in.parquet"], tmp_path / "out2", settings={"plain": {"max_rejected_frac": 0.5}})
    assert pq.read_table(tmp_path / "out2" / "data" / "in.parquet").column("n").to_pylist() == [0, 1, 2, 4]
    assert counts(tmp_path / "out2")["rejected"] == 1
    rejected = gzip.decompress((tmp_path / "out2" / "rejected" / "in.parquet.jsonl.gz").read_bytes())
    assert [(line["line"], line["reason"]) for line in map(json.loads, rejected.splitlines())] == [(4, "missing_text")]


def test_what_cannot_be_read_is_one_clear_error(tables, tmp_path):
    with pytest.raises(DolmaError, match=r"column body: expected a column of text.*no such column.*a\.parquet"):
        run("dedup_exact", [tables / "a.parquet"], tmp_path / "o1", text_column="body")
    (tmp_path / "page.html").write_text("<p>")
    with pytest.raises(ConfigError, match="expected a file ending in"):
        run("dedup_exact", [tmp_path / "page.html"], tmp_path / "o4")


def test_a_wrong_text_column_is_told_with_the_keys_that_are_there(tmp_path):
    lines = [json.dumps({"id": number, "body": "some words", "more": {}}) for number in range(30)]
    (tmp_path / "in.jsonl").write_text("\n".join(["", "no json", *lines]))
    said = r"^--text-column: .* 30 of 31 records have none under it, got 'txt' .*in\.jsonl\)\. The first record has: id, body, more\.$"
    with pytest.raises(ConfigError, match=said):
        run("dedup_exact", [tmp_path / "in.jsonl"], tmp_path / "out", text_column="txt")
    (tmp_path / "in.jsonl").write_text("\n".join(lines).replace('"body"', '"txt": 1, "body"'))
    with pytest.raises(TooManyRejectedError, match=r"missing_text; .* raise plain\.max_rejected_frac"):
        run("dedup_exact", [tmp_path / "in.jsonl"], tmp_path / "other", text_column="txt")


def make_odd_lines(seed):
    """Lines whose bytes no JSON writer would give back, with copies of the first text at 5 and 8; (lines, bad, copies)."""
    texts = made.make_texts(5, seed)
    plain = [json.dumps(text).encode() for text in texts]
    lines = [
        b'\xef\xbb\xbf{"text": ' + plain[0] + b', "n": 1e300, "n": 2}\r',
        b'{"meta":{"x":[1,{"text":"inner"}]},"id":18446744073709551617,  "text":' + plain[1] + b"}",
        b"",
        b'{"text": "\\u00e9\\ud83d\\ude00 \xf0\x9f\x98\x80 short", "text": ' + plain[3] + b"}",
        b"not json",
        b' {"b": 1.50, "text": ' + plain[0] + b' , "a": null} ',
        b'{"text": 5}',
        b'{"text":' + plain[2] + b',"big":123456789012345678901234567890}',
        b'{"text":' + plain[0] + b',"id":"last"}',
        b'{"text": ' + plain[4] + b"}",
    ]
    return lines, [4, 6], [5, 8]


def test_kept_lines_keep_their_bytes(tmp_path):
    ends = {"in.jsonl": b"\n", "deep/er/in.jsonl.gz": b"", "in.json.zst": b"\n"}
    expected = {}
    for seed, (name, end) in enumerate(ends.items(), 20):
        lines, bad, copies = make_odd_lines(seed)
        made.write_lines(tmp_path / "in" / name, lines, end)
        expected[name] = b"\n".join(line for row, line in enumerate(lines) if row not in (2, *bad, *copies)) + end
    run("dedup_exact", [tmp_path / "in"], tmp_path / "out", settings={"plain": {"max_rejected_frac": 0.5}})
    assert {name: made.read_lines(tmp_path / "out" / "data" / name) for name in ends} == expected
    assert counts(tmp_path / "out") == {"rows_in": 21, "kept": 15, "dropped": 6, "edited": 0, "rejected": 6}
    assert [(row["row"], row["id"]) for row in evidence(tmp_path / "out")] == [(0, None), (5, None), (8, "last")] * 3
    assert {row["kept_row"] for row in evidence(tmp_path / "out")} == {0}


def test_marks_are_fields_at_the_end_of_a_line(tmp_path):
    made.write_lines(tmp_path / "in.jsonl", [b'{"text": "same", "n": 1.0}\r', b'{"text": "same"} '])
    run("dedup_exact", [tmp_path / "in.jsonl"], tmp_path / "out", mark=True)
    first, second = made.read_lines(tmp_path / "out" / "data" / "in.jsonl").splitlines(keepends=True)
    assert first.startswith(b'{"text": "same", "n": 1.0,"dolma_py_is_duplicate":false,') and first.endswith(b"}\r\n")
    assert json.loads(second)["dolma_py_kept_id"] == "in.jsonl:0"


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl.gz"])
def test_edits_replace_the_text_alone(tmp_path, name):
    passage = " ".join(made.make_texts(1, 6)[0].split()[:120])
    texts = [
        f"{one}\n\n{passage}\n\n{other}"
        for one, other in zip(made.make_texts(3, 7), made.make_texts(3, 8), strict=True)
    ]
    texts.append(made.make_texts(1, 9)[0])
    if name.endswith("parquet"):
        table = made.make_table(texts)
        index = table.schema.get_field_index("text")
        made.write_parquet(
            tmp_path, name, table.set_column(index, "text", table.column("text").combine_chunks().dictionary_encode())
        )
    else:
        made.write_lines(
            tmp_path / name, [b'{"n": 1.00, "text" : ' + json.dumps(text).encode() + b', "z": [] }' for text in texts]
        )
    settings = {"rules": [{"name": "repeated_spans", "edit": "spans"}]}
    run("dedup_substring", [tmp_path / name], tmp_path / "out", settings=settings)
    expected = [texts[0], *(text.replace(passage, "") for text in texts[1:])]
    if name.endswith("parquet"):
        before, after = pq.read_table(tmp_path / name), pq.read_table(tmp_path / "out" / "data" / name)
        assert after.schema.equals(before.schema)
        assert_same_table(after.drop_columns("text"), before.drop_columns("text"))
        found = after.column("text").to_pylist()
    else:
        lines = made.read_lines(tmp_path / "out" / "data" / name).splitlines()
        assert all(line.startswith(b'{"n": 1.00, "text" : ') and line.endswith(b', "z": [] }') for line in lines)
        found = [json.loads(line)["text"] for line in lines]
    assert [found[0], found[3]] == [expected[0], expected[3]]
    assert all(len(passage) - 100 < len(texts[i]) - len(found[i]) < len(passage) + 100 for i in (1, 2))
    assert counts(tmp_path / "out")["edited"] == 2
    spans = pq.read_table(tmp_path / "out" / "attributes" / "substring-v1" / f"{name.removesuffix('.parquet')}.parquet")
    assert spans.num_rows == 4


def test_tags_lie_beside_row_by_row(tmp_path):
    lines, bad, _ = make_odd_lines(5)
    made.write_lines(tmp_path / "in.jsonl", lines)
    settings = {"taggers": [{"tagger": "lengths"}], "plain": {"max_rejected_frac": 0.5}}
    run("tag", [tmp_path / "in.jsonl"], tmp_path / "out", settings=settings)
    (path,) = (tmp_path / "out" / "attributes").rglob("*.parquet")
    assert path.name == "in.jsonl.parquet" and not (tmp_path / "out" / "data").exists()
    table = pq.read_table(path)
    assert [row for row, value in enumerate(table.column(0).to_pylist()) if value is None] == sorted([2, *bad])
    assert table.num_rows == len(lines)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved data set: row 2 of the second file repeats row 0 of the first, row 1 of test row 3 of the first."""
    folder = tmp_path_factory.mktemp("hf") / "set"
    texts = made.make_texts(20, 11)
    texts[12], texts[16] = texts[0], texts[3]
    rows = pa.table({"text": pa.array(texts), "label": pa.array(range(20))})
    made.save_dataset(folder, {"train": [rows.slice(0, 10), rows.slice(10, 5)], "test": [rows.slice(15)]})
    return folder


def test_a_saved_data_set_can_be_loaded_again(saved, tmp_path):
    run("dedup_exact", [saved], tmp_path / "out")
    folder = tmp_path / "out" / "data"
    names = sorted(
        path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file() and "cache" not in path.name
    )
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == names
    labels = {}
    for path in sorted(folder.rglob("*.arrow")):
        with pa.OSFile(str(path)) as stream, pa.ipc.open_stream(stream) as reader:
            assert json.loads(reader.schema.metadata[b"huggingface"])["info"]["features"] == made.FEATURES
            labels[path.relative_to(folder).as_posix()] = reader.read_all().column("label").to_pylist()
    assert labels == {  # test comes first: its row stays and the copy in train leaves
        "test/data-00000-of-00001.arrow": [15, 16, 17, 18, 19], "train/data-00000-of-00002.arrow": [0, 1, 2, 4, 5, 6, 7, 8, 9],
        "train/data-00001-of-00002.arrow": [10, 11, 13, 14],
    }  # fmt: skip
    before, after = (json.loads((root / "train" / "state.json").read_text()) for root in (saved, folder))
    assert after.pop("_fingerprint") != before.pop("_fingerprint") and after == before
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["left_out"] == [
        "test/cache-1.arrow",
        "train/cache-1.arrow",
    ]


def test_a_hub_folder_keeps_its_layout(tables, tmp_path):
    for split in ("train", "test"):
        made.write_parquet(
            tmp_path / "in", f"data/{split}-00000-of-00001.parquet", made.make_table(made.make_texts(4, 12))
        )
    (tmp_path / "in" / "README.md").write_text("# a card")
    run("dedup_exact", [tmp_path / "in"], tmp_path / "out")
    files = sorted((tmp_path / "out" / "data").rglob("*.parquet"))
    assert [path.name for path in files] == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    assert [pq.read_table(path).num_rows for path in files] == [4, 0]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["left_out"] == ["README.md"]


def test_a_file_without_rows_stays_a_file(tables, tmp_path):
    made.write_parquet(tmp_path, "in/empty.parquet", made.make_table([]))
    made.write_parquet(tmp_path, "in/full.parquet", made.make_table(made.make_texts(2, 13)))
    run("dedup_minhash", [tmp_path / "in"], tmp_path / "out")
    assert_same_table(pq.read_table(tmp_path / "out/data/empty.parquet"), pq.read_table(tmp_path / "in/empty.parquet"))


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("nested", [False, True])
def test_urls_and_dates_are_columns_or_metadata(tmp_path, kind, nested):
    """Rows 0, 2 and 3 have one URL; the newest is 2. Row 4 has none."""
    urls = ["http://a.org/x", "https://a.org/y", "https://a.org/x/", "https://a.org/x?utm_source=m", None]
    dates = ["2024-01-01", "2024-01-02", "2025-05-05", "2024-09-09", "2020-01-01"]
    fields = [{"url": url, "date": date} for url, date in zip(urls, dates, strict=True)]
    rows = [{"text": f"text {n}", "n": n} | ({"metadata": own} if nested else own) for n, own in enumerate(fields)]
    if kind == "parquet":
        made.write_parquet(tmp_path, "in.parquet", pa.Table.from_pylist(rows))
    else:
        made.write_lines(tmp_path / "in.jsonl", [json.dumps(row).encode() for row in rows])
    settings = {"keep": {"attributes": [{"name": "metadata.date", "order": "descending"}]}}
    outcomes = run("dedup_urls", [tmp_path / f"in.{kind}"], tmp_path / "out", settings=settings)
    found = [(row["row"], row["is_duplicate"], row["kept_row"]) for row in evidence(tmp_path / "out")]
    assert found == [(2, False, 2), (0, True, 2), (3, True, 2)]
    assert outcomes[1].manifest["facts"]["without_url"] == 1
    written = tmp_path / "out" / "data" / f"in.{kind}"
    left = pq.read_table(written).to_pylist() if kind == "parquet" else [json.loads(line) for line in written.open()]
    assert [row["n"] for row in left] == [1, 2, 4]


def test_a_table_without_urls_is_refused(tables, tmp_path):
    with pytest.raises(DolmaError, match=r"column url or warc_url: expected a column of that name"):
        run("dedup_urls", [tables / "a.parquet"], tmp_path / "out")


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_repeated_paragraphs_leave_the_text(tmp_path, name):
    one, two, three = ("\n".join([text] * 1) for text in made.make_texts(3, 31))
    texts = [f"{one}\n\n{two}", f"{three}\n\n{two}", three]
    if name.endswith("parquet"):
        made.write_parquet(tmp_path, name, made.make_table(texts))
    else:
        made.write_lines(tmp_path / name, [json.dumps({"text": text}).encode() for text in texts])
    run("dedup_paragraphs", [tmp_path / name], tmp_path / "out")
    path = tmp_path / "out" / "data" / name
    left = pq.read_table(path).column("text").to_pylist() if name.endswith("parquet") else [
        json.loads(line)["text"] for line in path.open()
    ]  # fmt: skip
    assert left == [texts[0], f"{three}\n\n"]


def test_contaminated_rows_leave_unless_rules_say_otherwise(tmp_path, _spark_of_this_run):
    """What the command does beyond a run of the tagger: the rows that it names are not written."""
    from pipelines.commands import run_decontaminate

    question = "A lantern maker sells 17 lanterns on Monday and 25 more on Tuesday. How many lanterns were sold by Tuesday evening?"
    item = {"id": "q", "question": question, "answer": None, "passage": None}
    (tmp_path / "items.jsonl").write_text(json.dumps(item) + "\n")
    texts = [*made.make_texts(3, 7), f"{made.make_texts(1, 8)[0]} {question}"]
    lines = [json.dumps({"text": text}).encode() for text in texts]
    made.write_lines(tmp_path / "in.jsonl", lines)
    taggers = f"taggers=[{{tagger: contamination, options: {{items_paths: ['{tmp_path}/items.jsonl']}}}}]"
    for name, rules, expected in (("out", [], lines[:3]), ("marked", ["rules=[]"], lines)):
        run_decontaminate(
            kind="tag", corpus=None, view=None, config=None, overrides=[taggers, *rules], run={"name": "decontaminate", "seed": 0},
            plain={"inputs": [str(tmp_path / "in.jsonl")], "output": str(tmp_path / name), "text_column": "text", "id_column": None,
                   "mark": name == "marked"},
            dry_run=False, spark={"master": None, "partitions": None, "bundle": None},
        )  # fmt: skip
        written = (tmp_path / name / "data" / "in.jsonl").read_bytes().splitlines()
        assert [json.loads(line)["text"] for line in written] == [json.loads(line)["text"] for line in expected]


def test_json_documents_are_left_out_of_a_folder_and_told(tmp_path, caplog):
    """And refused where they are named themselves."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "lines.json").write_text('{"text": "one"}\n{"text": "one"}\n')
    (folder / "list.json").write_text(json.dumps([{"text": "three"}], indent=1))
    run("dedup_exact", [folder], tmp_path / "out")
    assert counts(tmp_path / "out")["kept"] == 1 and "1 left out: list.json (each one JSON document" in caplog.text
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["left_out"] == ["list.json"]
    with pytest.raises(ConfigError, match=r"expected JSON Lines, this is one JSON document.*list\.json"):
        run("dedup_exact", [folder / "list.json"], tmp_path / "out2")


def run_main(capsys, folder, **values):
    """What the job's own main, which spark-submit starts, prints and returns."""
    path = folder / "job.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    status = dedup_exact.main(["--config", str(path)])
    return status, capsys.readouterr().out.splitlines()


def test_a_job_by_its_own_main_says_what_it_wrote_where(tables, tmp_path, capsys):
    status, shown = run_main(capsys, tmp_path, inputs=[str(tables)], output=str(tmp_path / "out"))
    assert status == 0
    assert shown[-1].startswith(f"44 of 47 rows kept, 3 dropped. In {tmp_path}/out: 2 files in data/")
    corpus = tmp_path / "corpus"
    write_corpus(str(corpus), [[[{"text": "one"}, {"text": "two"}], [{"text": "one"}]]])
    status, shown = run_main(capsys, tmp_path, corpus=str(corpus))
    assert status == 0
    assert shown[0].startswith("dedup-exact ") and "2 documents, 0.0 MB in the view" in shown[0]
    assert shown[1:] == [f"in {corpus}: view dedup-exact"]
