"""MediaWiki dumps: which pages are documents, what they say, and each way in which a dump can be torn, damaged or hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from collections import Counter
from datetime import UTC, datetime

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.formats import FieldMap, Limits, Rejection, Skipped, detect_format
from dolma_py.formats.decompress import BZIP2_PIECE_BYTES, Break, iterate_members
from dolma_py.formats.mediawiki_dump import iterate_pages, parse_page
from dolma_py.formats.wikipedia import WikipediaConfig, make_url, read_documents
from tests.made_dumps import END, HEADER, make_dump, make_multistream, make_page


class SmallReads(io.RawIOBase):
    """Gives a few bytes at a time, as networks do."""

    def __init__(self, data: bytes, step: int) -> None:
        self.stream, self.step = io.BytesIO(data), step

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(self.step)

    def readable(self) -> bool:
        return True


def read(data, suffix: str = "", limits: Limits | None = None, settings: WikipediaConfig | None = None, step: int = 0):
    rows, rejections, skipped = [], [], Counter()
    for event in read_documents(
        f"/in/a-pages-articles.xml{suffix}", source="wiki", limits=limits or Limits(), fields=FieldMap(), added=None,
        open_stream=lambda path: SmallReads(data, step) if step else io.BytesIO(data), root="/in", settings=settings,
    ):  # fmt: skip
        if isinstance(event, Rejection):
            rejections.append(event)
        elif isinstance(event, Skipped):
            skipped[event.reason] += event.records
        else:
            rows.extend(event.to_pylist())
    return rows, rejections, dict(skipped)


PAGES = [
    make_page(1, "Rom & mehr", "'''Rom''' liegt in [[Italien]].[[Datei:Rom.jpg|mini|Bild]]\n[[Kategorie:Stadt]]"),
    make_page(2, "Roma", "#REDIRECT [[Rom]]", redirect="Rom"),
    make_page(3, "Rom (Begriff)", "'''Rom''' ist:\n* [[Rom]]\n{{Begriffskl\u00e4rung}}"),
    make_page(4, "Diskussion:Rom", "Hallo", namespace=1),
    make_page(5, "Stil.css", "a {color: red}", model="css"),
    make_page(6, "Nur Vorlage", "{{Infobox|a=b}}"),
    make_page(7, "\u00d6sterreich", "Ein Land. " * 3),
]
SKIPPED = {"redirect": 1, "disambiguation": 1, "namespace": 1, "model": 1, "empty": 1}


def test_fields_of_a_page() -> None:
    rows, rejections, skipped = read(make_dump(PAGES))
    assert rejections == []
    assert skipped == SKIPPED
    assert [row["id"] for row in rows] == ["1", "7"]
    assert rows[0]["text"] == "Rom & mehr\n\nRom liegt in Italien."
    assert rows[0]["created"] == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert json.loads(rows[0]["metadata"]) == {
        "title": "Rom & mehr", "url": "https://de.wikipedia.org/wiki/Rom_%26_mehr", "namespace": 0, "revision_id": "9001", "wiki": "dewiki",
    }  # fmt: skip
    assert json.loads(rows[1]["metadata"])["url"] == "https://de.wikipedia.org/wiki/%C3%96sterreich"


def test_settings_choose_pages() -> None:
    settings = WikipediaConfig(namespaces=[0, 1], skip_redirects=False, skip_disambiguations=False)
    rows, _, skipped = read(make_dump(PAGES), settings=settings)
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "7"]
    assert skipped == {"model": 1, "empty": 1}


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".bz2", bz2.compress), (".gz", gzip.compress), (".zst", zstandard.compress), ("", bytes)],
)
def test_compressed_dumps_and_small_reads_give_the_same(suffix, pack) -> None:
    whole = read(make_dump(PAGES))
    packed = pack(make_dump(PAGES))
    assert read(packed, suffix) == whole
    for step in (1, 7, 1000):
        assert read(packed, suffix, step=step) == whole


def test_multistream_and_names() -> None:
    assert read(b"".join(make_multistream(PAGES, 2)), ".bz2") == read(make_dump(PAGES))
    assert detect_format("s3://b/enwiki-20240501-pages-articles-multistream1.xml-p1p41242.bz2") == "wikipedia"
    assert detect_format("dewikibooks-latest-pages-articles.xml.bz2") == "wikipedia"
    assert detect_format("sitemap.xml") == "text"


def test_damaged_stream_costs_its_pages_alone() -> None:
    streams = make_multistream(PAGES[:1] + [make_page(n, f"T{n}", "Text.") for n in range(11, 17)], 2)
    streams[2] = streams[2][:30] + bytes(20) + streams[2][50:]
    rows, rejections, _ = read(b"".join(streams), ".bz2")
    assert [row["id"] for row in rows] == ["1", "11", "14", "15", "16"]
    assert [(item.reason, item.line) for item in rejections] == [("corrupt", 3)]


def test_truncated_dumps() -> None:
    whole = make_dump(PAGES)
    for data, suffix in ((whole[:-500], ""), (bz2.compress(whole)[:-40], ".bz2"), (gzip.compress(whole)[:-200], ".gz")):
        rows, rejections, _ = read(data, suffix)
        assert [item.reason for item in rejections] == ["truncated"], suffix
        assert len(rows) <= 1
    rows, rejections, _ = read((HEADER + PAGES[0]).encode())  # all pages are whole, but the end is missing
    assert len(rows) == 1
    assert [(item.reason, item.line) for item in rejections] == [("truncated", 2)]
    assert [item.reason for item in read(b"")[1]] == ["truncated"]
    assert [item.reason for item in read(b"", ".bz2")[1]] == ["truncated"]
    assert [item.reason for item in read(b"no dump at all" * 200_000)[1]] == ["truncated"]


def test_page_without_end_is_bounded() -> None:
    data = (
        (HEADER + PAGES[0]).encode()
        + b"<page><title>big</title><text>"
        + b"x" * (20 << 20)
        + b"</text></page>"
        + (PAGES[6] + END).encode()
    )
    rows, rejections, _ = read(data, limits=Limits(max_record_bytes=1 << 20))
    assert [row["id"] for row in rows] == ["1", "7"]
    assert [(item.reason, item.line) for item in rejections] == [("too_long", 2)]
    assert rejections[0].excerpt.startswith("<page><title>big")


def test_cutter_holds_one_page() -> None:
    held = 0

    def pieces():
        nonlocal held
        for _ in range(200):
            yield b"<page>" + b"y" * (1 << 16)
        yield Break("")

    from dolma_py.formats import mediawiki_dump

    cutter = mediawiki_dump._PageCutter(1 << 17)
    for piece in pieces():
        if isinstance(piece, bytes):
            list(cutter.cut(piece))
            held = max(held, len(cutter.buffer))
    assert held <= (1 << 17) + (1 << 17)


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def test_entities_mean_nothing() -> None:
    data = BOMB.encode() + (HEADER + make_page(1, "T", "@") + PAGES[6] + END).replace("@", "&b;").encode()
    rows, rejections, _ = read(data)
    assert [row["id"] for row in rows] == ["7"]
    assert [item.reason for item in rejections] == ["bad_xml"]
    inside = (HEADER + PAGES[6].replace("<title>", BOMB + "<title>") + END).encode()
    assert [item.reason for item in read(inside)[1]] == ["bad_xml"]


def test_pages_that_are_no_xml() -> None:
    bad = [
        "<page><title>a</title>",  # its end is the next one's
        "  <page><title>a<b></title></page>\n",
        "  <page>\n<title>\u00e9</title></page>".encode("latin-1").decode("utf-8", "surrogateescape"),
        "<page>" + "<a>" * 100_000 + "</a>" * 100_000 + "</page>",
        "<page><title></title><id>1</id></page>",
    ]
    for text in bad:
        data = (HEADER + text + PAGES[0] + PAGES[6] + END).encode("utf-8", "surrogateescape")
        rows, rejections, _ = read(data)
        assert [item.reason for item in rejections] == ["bad_xml"], text[:50]
        assert [row["id"] for row in rows] == ["1", "7"], text[:50]


def test_bzip2_bomb_is_stopped() -> None:
    bomb = bz2.compress(bytes(600 << 20))
    assert len(bomb) < 1000
    sizes = []
    for event in iterate_members(io.BytesIO(bomb), "bz2", limits=Limits()):
        if isinstance(event, Break):
            assert event.reason == "bomb"
        else:
            sizes.append(len(event))
    assert max(sizes) <= BZIP2_PIECE_BYTES
    assert sum(sizes) < 70 << 20
    rows, rejections, _ = read(bomb, ".bz2")
    assert (rows, [item.reason for item in rejections]) == ([], ["bomb"])


def test_last_revision_wins_and_bad_times_are_kept() -> None:
    page = make_page(1, "T", "second", time="yesterday").replace(
        "    <revision>", "    <revision><id>1</id><text>first</text></revision>\n    <revision>"
    )
    ((row,), _, _) = read(make_dump([page]))
    assert row["text"] == "T\n\nsecond"
    assert row["created"] is None
    assert json.loads(row["metadata"])["invalid_created"] == "yesterday"


def test_no_header_no_url() -> None:
    ((row,), rejections, _) = read((PAGES[6] + END).encode())
    assert rejections == []
    assert "url" not in json.loads(row["metadata"])
    assert make_url("https://a.b/w/index.php", "C D") == "https://a.b/w/C_D"
    assert make_url("javascript:alert(1)/wiki/x", "C") == ""


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_told(data, step) -> None:
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    small = list(iterate_pages(iter([*pieces, Break("")]), 1000))
    assert small == list(iterate_pages(iter([data, Break("")]), 1000))
    for page in small:
        parse_page(page.data)


@given(
    st.lists(st.sampled_from([b"<page>", b"</page>", b"</mediawiki>", b"<pa", b"ge>", b"x" * 40, b"<title>a</title>"])),
    st.integers(1, 30),
)
def test_cuts_do_not_matter(parts, step) -> None:
    data = b"".join(parts)
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    assert list(iterate_pages(iter([*pieces, Break("")]), 100)) == list(iterate_pages(iter([data, Break("")]), 100))
