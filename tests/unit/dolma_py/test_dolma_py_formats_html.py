"""HTML pages: extraction, encodings, and shapes that would take minutes."""

from __future__ import annotations

import gzip
import io
import json
import time

import pytest

from dolma_py.formats import FieldMap, Limits, Rejection
from dolma_py.formats.html import extract_page, read_documents
from dolma_py.formats.html_shape import find_hazard

PAGE = """<!DOCTYPE html><html><head><title> A  title </title><script>var x = "<div><div>";</script></head><body>
<nav><a href="/">Home</a></nav><main><h1>Heading</h1><p>First paragraph with <a href="http://secret">a link</a> and
<img src="x.png" alt="a picture"> text.</p><form><input value="typed"></form><p>Second caf\u00e9 paragraph.</p></main></body></html>"""


def read(data: bytes, name: str = "/in/p/a.html", limits: Limits | None = None):
    (event,) = read_documents(
        name, source="web", limits=limits or Limits(), fields=FieldMap(), added=None,
        open_stream=lambda path: io.BytesIO(data), root="/in",
    )  # fmt: skip
    return event if isinstance(event, Rejection) else event.to_pylist()[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_main_text_and_title(encoding) -> None:
    row = read(PAGE.encode(encoding))
    assert "First paragraph with a link and text." in row["text"]
    assert "caf\u00e9" in row["text"]
    assert not any(word in row["text"] for word in ("secret", "picture", "typed", "var x", "Home"))
    metadata = json.loads(row["metadata"])
    assert (metadata["path"], metadata["title"]) == ("p/a.html", "A title")


def test_gzip() -> None:
    assert "First" in read(gzip.compress(PAGE.encode()), "/in/a.html.gz")["text"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no_text"),
        (b"<html><body><script>x</script></body></html>", "no_text"),
        (b"<p>" + b"\0" * 100 + b"</p>", "binary"),
        (b"<div>" * 100_000 + b"deep" + b"</div>" * 100_000, "too_deep"),
        (b"<div>" * 100_000 + b"deep", "too_deep"),
        (b"<nobr><b>x</nobr>" * 20_000, "too_deep"),
        (b"".join(b"<nobr><b class=%d>x</nobr>" % n for n in range(5_000)), "too_deep"),
        (b"".join(b"<div><b class=%d>x</div>" % n for n in range(5_000)), "too_deep"),
        (b"<div " + b" ".join(b"a%d=1" % n for n in range(5_000)) + b">x</div>", "too_many_attributes"),
        (b"<div " + b"".join(b"a%d='<>' " % n for n in range(5_000)) + b">x</div>", "too_many_attributes"),
        (b"<div q=b' " + b" ".join(b"a%d" % n for n in range(30_000)) + b">it's</div>", "too_many_attributes"),
        (b"<p>" + b"x" * (9 << 20) + b"</p>", "too_long"),
        (b"<p>" * 1_000_001 + b"x", "too_many_elements"),
    ],
)
def test_bad_pages_are_rejected_at_once(data, reason) -> None:
    start_sec = time.monotonic()
    rejection = read(data)
    assert rejection.reason == reason
    assert time.monotonic() - start_sec < 5


@pytest.mark.parametrize(
    "data",
    [
        b"<p>unclosed" * 5_000,
        b"text<br>" * 5_000,
        b"<div>" * 500 + b"x",
        b"<div><span>x</div>" * 5_000,
        b"<div><b>x</div>" * 5_000,
        b"<ul>" + b"<li>x" * 5_000 + b"</ul>",
        b"<script>" + b'"<div>"' * 5_000 + b"</script><p>x</p>",
        b"<script>" + b"if (i<a.b) c(); " * 5_000 + b"</script><p>x</p>",
        b"<!--" + b"<div>" * 5_000 + b"--><p>x</p>",
        b'<img src="data:' + b"A/+ " * 5_000 + b'"><p>x</p>',
        b"",
        b"<",
        b"<div " + b"x" * 20_000,
    ],
)
def test_ordinary_shapes_pass(data) -> None:
    assert find_hazard(data, 512) == ""


@pytest.mark.parametrize(("depth", "hazard"), [(512, ""), (513, "too_deep")])
def test_depth_is_exact(depth, hazard) -> None:
    assert find_hazard(b"<div>" * depth + b"x" + b"</div>" * depth, 512) == hazard


@pytest.mark.parametrize(
    ("num_copies", "num_more", "hazard"), [(5, 3, ""), (5, 4, "too_deep"), (2, 4, ""), (2, 5, "too_deep")]
)
def test_three_alike_open_again(num_copies, num_more, hazard) -> None:
    """Of the elements that </div> closes three alike stay open, so the depth is 3 (or 2) and what follows."""
    data = b"<div>" + b"<b>" * num_copies + b"</div>" + b"".join(b"<u a=%d>" % n for n in range(num_more))
    assert find_hazard(data, 6) == hazard


@pytest.mark.parametrize(("num_attributes", "hazard"), [(1_023, ""), (1_024, "too_many_attributes")])
def test_attributes_of_one_tag_are_bounded(num_attributes, hazard) -> None:
    """With the tag's name these are MAX_ATTRIBUTES words."""
    assert find_hazard(b"<div " + b" ".join(b"a%d=1" % n for n in range(num_attributes)) + b">x</div>", 512) == hazard


@pytest.mark.parametrize(("cycles", "hazard"), [(6, ""), (40, "too_deep")])
def test_elements_that_open_again_and_again_are_bounded(cycles, hazard) -> None:
    """Never deeper than 500, but each cycle opens 250 elements again 250 times."""
    cycle = b"<div>" * 250 + b"".join(b"<b c=%d>" % n for n in range(250)) + b"</div>" * 250 + b"</b>" * 250
    assert find_hazard(b"<p>" * 600 + cycle * cycles, 512) == hazard


def test_made_up_charset_falls_back() -> None:
    page = extract_page(b"<html><body><main><p>Some words stand here.</p></main></body></html>", Limits(), "klingon-7")
    assert page.text == "Some words stand here."


WORDS = (
    "<p>Le caf\u00e9 \u00e9tait tr\u00e8s \u00e0 c\u00f4t\u00e9 de l\u2019\u00e9glise, et l\u2019on y chantait No\u00ebl.</p>"
    * 20
)


@pytest.mark.parametrize("says", ["utf-8", "utf-16", "klingon-7", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16-le", "utf-16-be", "utf-16"])
def test_a_page_that_lies_about_its_charset_is_read_as_what_it_is(encoding, says) -> None:
    row = read(f"<html><head><meta charset='{says}'></head><body><main>{WORDS}</main></body></html>".encode(encoding))
    assert "Le caf\u00e9 \u00e9tait tr\u00e8s \u00e0 c\u00f4t\u00e9 de l\u2019\u00e9glise" in row["text"]
    assert "replaced_chars" not in json.loads(row["metadata"])


def test_one_broken_byte_costs_one_character_and_not_the_page() -> None:
    data = f"<html><body><main>{WORDS}</main></body></html>".encode().replace(b"et l", b"\xff l", 1)
    row = read(data)
    assert row["text"].count("caf\u00e9") == 20 and row["text"].count("\ufffd") == 1
    assert json.loads(row["metadata"])["replaced_chars"] == 1


def test_pages_of_two_encodings_are_refused() -> None:
    page = f"<html><body><main>{WORDS}".encode() + f"{WORDS}</main></body></html>".encode("cp1252")
    assert read(page).reason == "bad_encoding"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_depth_is_seen_in_every_encoding(encoding) -> None:
    assert read(("<div>" * 100_000 + "deep").encode(encoding)).reason == "too_deep"


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("<meta charset=koi8-r>", "koi8-r"), ('<META http-equiv="Content-Type" content="text/html; charset=windows-1250">', "cp1250"),
        ('<?xml version="1.0" encoding="iso-8859-2"?>', "iso8859-2"), ("<meta name='x' content='y'><meta charset = \"big5\">", "big5hkscs"),
    ],
)  # fmt: skip
def test_a_page_names_its_encoding(head, encoding) -> None:
    texts = {
        "koi8-r": "\u043f\u0440\u0438\u0432\u0435\u0442",
        "cp1250": "g\u0119\u015bl\u0105",
        "iso8859-2": "g\u0119\u015bl\u0105",
        "big5hkscs": "\u4eca\u5929\u5929\u6c23",
    }
    row = read(f"{head}<body><p>{texts[encoding]}</p></body>".encode(encoding))
    assert (row["text"], json.loads(row["metadata"])["encoding"]) == (texts[encoding], encoding)


def test_real_pages(data_dir) -> None:
    paths = sorted((data_dir / "html").rglob("*.html.gz"))
    assert len(paths) == 80
    rows = [read(path.read_bytes(), str(path)) for path in paths]
    assert [row.reason for row in rows if isinstance(row, Rejection)] == []
    assert sum(len(row["text"]) for row in rows) > 300_000
