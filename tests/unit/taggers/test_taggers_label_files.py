import bz2
import csv
import gzip
from collections import Counter

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import ConfigError, DataError
from taggers.label_files import find_form, parse_line, read_label_file
from taggers.labelled_texts import ExampleSource, draw_examples


def read(path, content, **options):
    """((text, label) pairs, counts) of a file with these bytes."""
    path.write_bytes(content)
    counts = Counter()
    options = {"source": "s", "text": "text", "needed": ("label",), **options}
    found = read_label_file(str(path), find_form(str(path)), counts=counts, **options)
    return [(text, record.get("label")) for record, text, _ in found], dict(counts)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.csv", b"", "csv"),
        ("A.CSV.gz", gzip.compress(b"x"), "csv"),
        ("a.tsv.zst", zstandard.compress(b"x"), "tsv"),
        ("a.txt", b"__label__x y", "fasttext"),
        ("a.train", b"\xef\xbb\xbf__label__x y", "fasttext"),
        ("a.txt.bz2", bz2.compress(b"__label__x y"), "fasttext"),
        ("a.txt", b"words __label__x", ""),
        ("a.txt", b"", ""),
        ("a.jsonl", b"__label__x y", ""),
    ],
)
def test_the_form_is_told_by_name_and_first_line(tmp_path, name, content, form):
    (tmp_path / name).write_bytes(content)
    assert find_form(str(tmp_path / name)) == form


CSV = (
    b'\xef\xbb\xbfid,text,label\r\nd1,one,hq\r\nd2,"two, ""quoted""\nand a line",cc\r\n\r\nd3,three\r\nd4,four,hq,more\r\n'
    b'd5,\xff\xfe,hq\r\nd6,,hq\r\nd7,seven,\r\nd8,5" pipe,cc'
)


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
def test_odd_rows_of_a_csv_are_counted(tmp_path, ending, pack):
    rows, counts = read(tmp_path / f"a.csv{ending}", pack(CSV))
    assert rows == [
        ("one", "hq"), ('two, "quoted"\nand a line', "cc"), ("", "hq"), ("seven", None), ('5" pipe', "cc"),
    ]  # fmt: skip
    assert counts == {"unreadable:wrong_columns": 2, "unreadable:not_utf8": 1}
    found = read_label_file(str(tmp_path / f"a.csv{ending}"), "csv", source="s", text="text", counts=Counter())
    assert [name for _, _, name in found] == ["d1", "d2", "d6", "d7", "d8"]


def test_cells_of_a_tsv_stand_as_they_are_or_in_quotes_as_a_whole(tmp_path):
    content = b'"label"\ttext\nx\t"he said ""no"""\nx\t"so" he said\ny\t"open\nz\tdown\nz\ta\tb\n'
    rows, counts = read(tmp_path / "a.tsv", content)
    assert rows == [('he said "no"', "x"), ('"so" he said', "x"), ('"open', "y"), ("down", "z")]
    assert counts == {"unreadable:wrong_columns": 1}


def test_fasttexts_own_lines(tmp_path):
    content = (
        b"__label__hq a good  text\r\n\n__label__cc bad\nno label\n__label__a __label__b two\n__label__x see __label__y\n"
        b"__label__ empty\n__label__hq \xff\n__label__hq\n  __label__cc\tlast"
    )
    rows, counts = read(tmp_path / "ft.txt", content)
    assert rows == [("a good  text", "hq"), ("bad", "cc"), ("", "hq"), ("last", "cc")]
    assert counts == {
        "left_out:blank_line": 1, "unreadable:missing_label": 2, "left_out:several_labels": 2, "unreadable:not_utf8": 1,
    }  # fmt: skip


@given(st.text(max_size=80))
def test_a_line_is_a_record_or_one_count(line):
    found = parse_line("__label__x " + line)
    assert isinstance(found, str) == ("__label__" in " ".join(word[:9] for word in line.split()))
    if isinstance(found, dict):
        assert found == {"label": "x", "text": line.strip()}


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=30)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=8))
@settings(deadline=None)
def test_what_the_standard_library_writes_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    found, counts = read(path, path.read_bytes())
    assert found == [(text, label or None) for text, label in rows] and counts == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'label,text\nx,one\ny,"two\nz,three\nz,four\n', "a quote begins that does not end"),
        (b'text,label\none,x\n"two,y\nthree,z\n', "a quote begins that does not end"),
        (b"text,label,text\na,b,c\n", "two columns are called 'text'"),
        (b'text,label\n"' + b"a" * (40 << 20) + b'",x\n', "a row of more than 16 MiB"),
    ],
    ids=["last column", "first column", "two columns", "long row"],
)
def test_what_is_no_table_is_an_error(tmp_path, content, problem):
    with pytest.raises(DataError, match=problem):
        read(tmp_path / "a.csv", content)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"body,quality\none,x\n")
    with pytest.raises(ConfigError, match=r"expected one of the columns \['body', 'quality'\].*got 'text'"):
        draw_examples(ExampleSource(name="s", inputs=[str(tmp_path / "a.csv")], label_field="quality"), seed=1)
    with pytest.raises(ConfigError, match=r"got 'label'"):
        draw_examples(
            ExampleSource(name="s", inputs=[str(tmp_path / "a.csv")], text="body", label_field="label"), seed=1
        )


def test_a_torn_file_gives_what_stands_before(tmp_path):
    whole = gzip.compress(b"text,label\n" + b"".join(b"words %d,x\n" % (n * n) for n in range(50_000)))
    rows, counts = read(tmp_path / "a.csv.gz", whole[: len(whole) // 2])
    assert 1000 < len(rows) < 50_000 and rows[0] == ("words 0", "x")
    assert counts.pop("unreadable:truncated") == 1 and set(counts) <= {"unreadable:wrong_columns"}


@pytest.mark.parametrize("content", [b"", b"text,label\n", b"text,label"])
def test_a_table_without_rows_has_no_records(tmp_path, content):
    assert read(tmp_path / "a.csv", content) == ([], {})


def test_all_forms_of_one_set_are_one_set(tmp_path):
    rows = [(f"text {n}", "hq" if n % 2 else "cc", n % 3) for n in range(40)]
    (tmp_path / "a.csv").write_text("text,label,fold\n" + "".join(f'"{t}",{la},{n}\n' for t, la, n in rows))
    (tmp_path / "a.tsv").write_text("fold\tlabel\ttext\n" + "".join(f"{n}\t{la}\t{t}\n" for t, la, n in rows))
    (tmp_path / "ft.txt").write_text("".join(f"__label__{la} {t}\n" for t, la, _ in rows))
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{t}", "label": "{la}"}}\n' for t, la, _ in rows))
    drawn = {
        name: draw_examples(ExampleSource(name="s", inputs=[str(tmp_path / name)], label_field="label"), seed=1)
        for name in ("a.csv", "a.tsv", "ft.txt", "a.jsonl")
    }
    assert len({part.fingerprint for part in drawn.values()}) == 1 and len(drawn["a.csv"].examples) == 40
    source = ExampleSource(name="s", inputs=[str(tmp_path / "a.csv")], label_field="label", where={"fold": 1})
    assert draw_examples(source, seed=1).counts == {"read": 40, "drawn": 13, "left_out:where": 27}


def test_blank_texts_teach_nothing(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\n,hq\n  ,hq\nwords,hq\n")
    source = ExampleSource(name="s", inputs=[str(tmp_path / "a.csv")], label_field="label")
    assert draw_examples(source, seed=1).counts == {"read": 3, "drawn": 1, "left_out:no_text": 2}


def test_a_plain_text_is_told_what_labels_are_read_from(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hq\tsome words\n")
    source = ExampleSource(name="s", inputs=[str(tmp_path / "a.txt")], label_field="label")
    with pytest.raises(DataError, match=r"JSON Lines, Parquet, CSV, TSV, or lines that begin with __label__"):
        draw_examples(source, seed=1)
