"""Hostile JSON Lines, Parquet, WARC, HTML and text for benchmarks/hostile_formats.py, and a good file of each kind."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.hostile_streams import MIB, NOISE, Case, repeat, zip_up, zstd_up
from tests import made_parquet
from tests.made_parquet import Page, make_parquet, plain_texts, repeat_index

LINE = b'{"text": "a fine document"}\n'
WORDS = "Caf\u00e9, d\u00e9j\u00e0 vu, \u201cna\u00efve\u201d \u2013 \u00e0 c\u00f4t\u00e9 de l\u2019\u00e9glise; "
RUSSIAN = "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430 \u0441\u0435\u0433\u043e\u0434\u043d\u044f? "
MANY = WORDS * 2000


def _bytes(data: bytes | Callable[[int], bytes]) -> Callable[[int], io.BytesIO]:
    return lambda n: io.BytesIO(data(n) if callable(data) else data)


def _lines(*lines: bytes) -> Callable[[int], io.BytesIO]:
    """A good line, those, and a good line."""
    return _bytes(LINE + b"".join(line + b"\n" for line in lines) + LINE)


def _write(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def make_record(body: bytes, *, head: bytes = b"", length: int = -1, media: bytes = b"text/html") -> bytes:
    """A WARC record of a response; `length` is what it says of its length."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: " + media + b"\r\n" + head + b"\r\n" + body
    length = len(http) if length < 0 else length
    return (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\nContent-Type: application/http; msgtype=response\r\n"
        b"Content-Length: %d\r\n\r\n" % length + http + b"\r\n\r\n"
    )


def make_page(text: bytes, head: bytes = b"") -> bytes:
    return b"<html><head><title>t</title>" + head + b"</head><body><main><p>" + text + b"</p></main></body></html>"


SENTENCE = b"It was a fine day at the sea and all of them were there to see it. " * 3
RECORD = make_record(make_page(SENTENCE))
CHUNKED = b"Transfer-Encoding: chunked\r\n"
PACKED = gzip.compress(LINE * 1000)
MEMBER = gzip.compress(RECORD)
PARQUET = _write(pa.table({"text": ["a fine document"] * 1000, "n": list(range(1000))}))
WIDE_WORD = plain_texts(b"a fine document " * (60 * MIB // 16))


def _unpack_page(num_bytes: int) -> bytes:
    """A page of `num_bytes` that takes a few kB: one string of zeros."""
    packer = zstandard.ZstdCompressor().compressobj()
    body = packer.compress((num_bytes - 4).to_bytes(4, "little"))
    for at in range(4, num_bytes, MIB):
        body += packer.compress(bytes(min(MIB, num_bytes - at)))
    return make_parquet([Page(body + packer.flush(), 1, plain_bytes=num_bytes)], 1, codec=made_parquet.ZSTD)


def _repeat_word(count: int) -> bytes:
    words = Page(zstandard.compress(WIDE_WORD), 1, made_parquet.DICTIONARY_PAGE, plain_bytes=len(WIDE_WORD))
    index = zstandard.compress(repeat_index(count))
    pages = [words, Page(index, count, encoding=made_parquet.RLE_DICTIONARY, plain_bytes=len(repeat_index(count)))]
    return make_parquet(pages, count, codec=made_parquet.ZSTD)


def _stretch_delta(count: int) -> bytes:
    """Strings that each begin as the one before, in all its 60 MiB, and add nothing."""
    word = WIDE_WORD[4:]
    lengths = made_parquet.pack_deltas([0] + [len(word)] * (count - 1)) + made_parquet.pack_deltas(
        [len(word)] + [0] * (count - 1)
    )
    body = lengths + word
    page = Page(zstandard.compress(body), count, encoding=made_parquet.DELTA_BYTE_ARRAY, plain_bytes=len(body))
    return make_parquet([page], count, codec=made_parquet.ZSTD)


GOOD = {
    "jsonl": Case("jsonl", "a.jsonl", "", 0, _bytes(LINE)),
    "parquet": Case("parquet", "a.parquet", "", 0, _bytes(PARQUET)),
    "warc": Case("warc", "a.warc", "", 0, _bytes(RECORD)),
    "html": Case("html", "a.html", "", 0, _bytes(make_page(SENTENCE))),
    "text": Case("text", "a.txt", "", 0, _bytes(b"a fine document\n")),
}
JSONL = (
    ("a.jsonl", "a line of 2 GB", 2048, lambda n: repeat(LINE + b'{"text": "', b"x" * MIB, n, b'"}\n' + LINE)),
    (
        "a.jsonl.zst",
        "a line of 2 GB in 64 kB of zstd",
        2048,
        lambda n: zstd_up(LINE + b'{"text": "', b"0" * MIB, n, b'"}\n' + LINE),
    ),
    (
        "a.jsonl.zst",
        "the same with noise, packed to a 200th",
        2048,
        lambda n: zstd_up(LINE + b'{"text": "', b"0" * MIB, n, b'"}\n' + LINE, 8192),
    ),
    (
        "a.jsonl.gz",
        "gzip bomb of good lines",
        1024,
        lambda n: zip_up(LINE, (LINE[:-3].ljust(100_000) + LINE[-3:]) * 10, n),
    ),
    ("a.jsonl.gz", "gzip without its last 20 bytes", 0, _bytes(PACKED[:-20])),
    ("a.jsonl.zst", "zstd without its last 20 bytes", 0, _bytes(zstandard.compress(LINE * 1000)[:-20])),
    (
        "a.jsonl.gz",
        "a broken member between two good ones",
        0,
        _bytes(PACKED + PACKED[:40] + bytes(20) + PACKED[60:] + PACKED),
    ),
    ("a.jsonl.gz", "plain text that is called .gz", 0, _bytes(LINE * 1000)),
    ("a.jsonl", "binary", 8, lambda n: repeat(LINE, NOISE, n)),
    (
        "a.jsonl",
        "an object of 60 MB of empty objects",
        60,
        lambda n: repeat(b'{"text": "a", "x": [{}', b",{}" * 100_000, n, b"]}\n" + LINE),
    ),
    (
        "a.jsonl",
        "100,000 brackets in each other",
        0,
        _lines(b'{"text": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ),
    ("a.jsonl", "300 brackets in each other", 0, _lines(b'{"text": "a", "x": ' + b"[" * 300 + b"]" * 300 + b"}")),
    (
        "a.jsonl",
        "a number of 10 MB as id",
        10,
        lambda n: repeat(b'{"text": "a", "id": 1', b"1" * 1000, n, b"}\n" + LINE),
    ),
    ("a.jsonl", "an id of 400 digits", 0, _lines(b'{"text": "a", "id": ' + b"1" * 400 + b"}")),
    ("a.jsonl", "lone surrogates", 0, _lines(b'{"text": "\\ud800"}', b'{"text": "a", "x": "\\udfff"}')),
    ("a.jsonl", "NUL as byte, and as escape", 0, _lines(b'{"text": "a\0b"}', b'{"text": "a\\u0000b"}')),
    ("a.jsonl", "UTF-16", 0, _bytes((LINE * 100).decode().encode("utf-16"))),
    (
        "a.jsonl",
        "windows-1252",
        0,
        _lines('{"text": "caf\u00e9"}'.encode("cp1252"), '{"text": "\u201ca\u201d"}'.encode("cp1252")),
    ),
    (
        "a.jsonl",
        "UTF-8 and latin-1 in turn",
        0,
        _lines(*['{"text": "caf\u00e9"}'.encode(name) for name in ("utf-8", "latin-1") * 50]),
    ),
    ("a.jsonl", "no records: numbers, lists, null", 0, _lines(b"1", b"[]", b"null", b'"a"', b"{}", b'{"text": 1}')),
)
PARQUETS = (
    ("a.parquet", "first half of a file", 0, _bytes(PARQUET[: len(PARQUET) // 2])),
    ("a.parquet", "a footer that says 2 GB", 0, _bytes(PARQUET[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1")),
    (
        "a.parquet",
        "noise between the magic words",
        1,
        _bytes(b"PAR1" + NOISE[:MIB] + (1000).to_bytes(4, "little") + b"PAR1"),
    ),
    (
        "a.parquet",
        "a page that is not what its codec wants",
        0,
        _bytes(make_parquet([Page(b"no zstd", 3, plain_bytes=30)], 3, codec=made_parquet.ZSTD)),
    ),
    ("a.parquet", "a page of 2 GB in 64 kB of zstd", 2047, _bytes(_unpack_page)),
    (
        "a.parquet",
        "a page that says 2 GB of its 20 bytes",
        0,
        _bytes(
            make_parquet([Page(plain_texts(b"a fine document"), 1, plain_bytes=2**31 - 1)], 1, codec=made_parquet.ZSTD)
        ),
    ),
    (
        "a.parquet",
        "a string that says 2 GB of its 3 bytes",
        0,
        _bytes(make_parquet([Page((2**31 - 1).to_bytes(4, "little") + b"abc", 1)], 1)),
    ),
    ("a.parquet", "a text of 60 MB, 10,000 times by a dictionary", 0, _bytes(_repeat_word(10_000))),
    ("a.parquet", "a text of 60 MB, 10,000 times by DELTA_BYTE_ARRAY", 0, _bytes(_stretch_delta(10_000))),
    (
        "a.parquet",
        "10^9 rows in 40 bytes",
        0,
        _bytes(
            make_parquet(
                [
                    Page(plain_texts(b"a"), 1, made_parquet.DICTIONARY_PAGE),
                    Page(repeat_index(10**9), 10**9, encoding=made_parquet.RLE_DICTIONARY),
                ],
                10**9,
            )
        ),
    ),
    (
        "a.parquet",
        "a footer of more rows than there are",
        0,
        _bytes(make_parquet([Page(plain_texts(b"one", b"two"), 2)], 5)),
    ),
    (
        "a.parquet",
        "a footer of fewer rows than there are",
        0,
        _bytes(make_parquet([Page(plain_texts(b"one", b"two"), 2)], 1, num_values=1)),
    ),
    (
        "a.parquet",
        "100,000 groups in each other",
        2,
        _bytes(make_parquet([Page(plain_texts(b"a"), 1)], 1, schema=made_parquet.nest(100_000))),
    ),
    (
        "a.parquet",
        "two columns of one name",
        0,
        _bytes(_write(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]))),
    ),
    ("a.parquet", "numbers, lists, bytes as text", 0, _bytes(_write(pa.table({"text": pa.array([1, 2])})))),
    ("a.parquet", "bytes that are no UTF-8", 0, _bytes(make_parquet([Page(plain_texts(b"caf\xe9", b"fine"), 2)], 2))),
    (
        "a.parquet",
        "times beyond the year 9999",
        0,
        _bytes(
            _write(
                pa.table(
                    {
                        "text": ["a", "b"],
                        "created": pa.array([1 << 62, 0], pa.timestamp("us")),
                        "day": pa.array([(1 << 31) - 1, 0], pa.date32()),
                    }
                )
            )
        ),
    ),
)
WARCS = (
    (
        "a.warc",
        "a length that takes in the next record",
        0,
        _bytes(RECORD + make_record(make_page(SENTENCE), length=900) + RECORD + RECORD),
    ),
    ("a.warc", "a length that is too short", 0, _bytes(RECORD + make_record(make_page(SENTENCE), length=100) + RECORD)),
    (
        "a.warc",
        "a length of 10^15, and one of -1",
        0,
        _bytes(make_record(SENTENCE, length=10**15) + make_record(b"").replace(b"Length: ", b"Length: -") + RECORD),
    ),
    (
        "a.warc",
        "a record of 2 GB",
        2048,
        lambda n: repeat(make_record(b"", length=n // MIB * MIB + 46), b"x" * MIB, n, b"\r\n\r\n" + RECORD),
    ),
    (
        "a.warc",
        "a header of 100 MB without line ends",
        100,
        lambda n: repeat(b"WARC/1.0\r\nWARC-Type: ", b"x" * MIB, n, b"\r\n\r\n\r\n\r\n" + RECORD),
    ),
    (
        "a.warc",
        "100 MB of header lines",
        100,
        lambda n: repeat(b"WARC/1.0\r\n", b"A: b\r\n" * 100_000, n, b"\r\n\r\n\r\n" + RECORD),
    ),
    ("a.warc", "binary", 64, lambda n: repeat(RECORD, NOISE, n, b"\n" + RECORD)),
    ("a.warc.gz", "a member without its end, between good ones", 0, _bytes(MEMBER + MEMBER[:-30] + MEMBER)),
    ("a.warc.gz", "a member of 1 GB of zeros", 1024, lambda n: zip_up(b"", bytes(MIB), n, first=MEMBER)),
    (
        "a.warc",
        "a body that its gzip makes 1 GB",
        1024,
        lambda n: _bytes(
            make_record(zip_up(b"<p>", bytes(MIB), n).read(1 << 30), head=b"Content-Encoding: gzip\r\n") + RECORD
        )(n),
    ),
    (
        "a.warc",
        "chunks that are none, and that are cut off",
        0,
        _bytes(
            make_record(make_page(SENTENCE), head=CHUNKED)
            + make_record(b"50\r\n" + make_page(SENTENCE), head=CHUNKED)
            + make_record(b"ffffffffffffffff\r\n" + make_page(SENTENCE), head=CHUNKED)
            + RECORD
        ),
    ),
    (
        "a.warc",
        "gzip and brotli that are none",
        0,
        _bytes(
            make_record(make_page(SENTENCE), head=b"Content-Encoding: gzip\r\n")
            + make_record(make_page(SENTENCE), head=b"Content-Encoding: br\r\n")
            + RECORD
        ),
    ),
)
DEEP = b"<html><body>" + b"<div>" * 100_000 + b"text"
HTMLS = (
    ("a.html", "a page of 100 MB", 100, lambda n: repeat(b"<html><body><p>", b"a word " * 10_000, n)),
    ("a.html.gz", "gzip bomb", 1024, lambda n: zip_up(b"<p>", b"a word " * 100_000, n)),
    ("a.html", "100,000 nested tags", 0, _bytes(DEEP)),
    ("a.html", "the same in UTF-16", 1, _bytes(DEEP.decode().encode("utf-16"))),
    ("a.html", "an attribute of 50 MB", 50, lambda n: repeat(b"<p title='", b"x" * MIB, n, b"'>" + SENTENCE)),
    ("a.html", "an attribute of 7 MB", 7, lambda n: repeat(b"<p title='", b"x" * MIB, n, b"'>" + SENTENCE)),
    (
        "a.html",
        "200,000 attributes",
        2,
        _bytes(b"<p " + b"".join(b"a%d=b " % number for number in range(200_000)) + b">" + SENTENCE),
    ),
    ("a.html", "2.7 million paragraphs", 8, lambda n: repeat(b"<body>", b"<p>" * 1000, n - 4000, b"text")),
    ("a.html", "7 MB of '<'", 7, lambda n: repeat(b"<p>text", b"<" * MIB, n)),
    ("a.html", "a comment that never ends", 7, lambda n: repeat(make_page(SENTENCE) + b"<!--", b"<p>x" * 1000, n)),
    ("a.html", "says UTF-8, is windows-1252", 0, _bytes(make_page(MANY.encode("cp1252"), b"<meta charset=utf-8>"))),
    (
        "a.html",
        "says ISO-8859-1, is windows-1251",
        0,
        _bytes(make_page((RUSSIAN * 50).encode("cp1251"), b"<meta charset=iso-8859-1>")),
    ),
    ("a.html", "says UTF-16, is windows-1252", 0, _bytes(make_page(MANY.encode("cp1252"), b"<meta charset=utf-16>"))),
    ("a.html", "UTF-16 without a mark", 0, _bytes(make_page(MANY.encode()).decode().encode("utf-16-le"))),
    (
        "a.html",
        "UTF-8 with one byte in a thousand broken",
        0,
        _bytes(make_page(b"".join((WORDS * 40).encode() + b"\xff " for _ in range(20)))),
    ),
    ("a.html", "half UTF-8, half windows-1252", 0, _bytes(make_page(MANY.encode() + MANY.encode("cp1252")))),
    ("a.html", "binary", 1, _bytes(NOISE[:MIB])),
)
TEXTS = (
    ("a.txt", "a file of 2 GB", 2048, lambda n: repeat(b"", b"a word " * 100_000, n)),
    ("a.txt.zst", "zstd bomb", 2048, lambda n: zstd_up(b"", b"a" * MIB, n)),
    ("a.txt.gz", "gzip without its last 20 bytes", 0, _bytes(PACKED[:-20])),
    ("a.txt", "binary", 8, lambda n: repeat(b"", NOISE, n)),
    ("a.txt", "60 MB of bytes beyond ASCII", 60, lambda n: repeat(b"", bytes(range(128, 256)) * 4096, n)),
    ("a.txt", "windows-1252", 0, _bytes(MANY.encode("cp1252"))),
    ("a.txt", "KOI8-R", 0, _bytes((RUSSIAN * 50).encode("koi8-r"))),
    ("a.txt", "UTF-16 without a mark", 0, _bytes(MANY.encode("utf-16-be"))),
    ("a.txt", "UTF-32", 0, _bytes(MANY.encode("utf-32"))),
    ("a.txt", "UTF-8 that is cut in a character", 0, _bytes(MANY.encode()[:-3].rstrip(b"\x80"))),
    ("a.txt", "half UTF-8, half windows-1252", 0, _bytes(MANY.encode() + MANY.encode("cp1252"))),
)
CASES = tuple(
    Case(kind, *case)
    for kind, cases in (("jsonl", JSONL), ("parquet", PARQUETS), ("warc", WARCS), ("html", HTMLS), ("text", TEXTS))
    for case in cases
)
