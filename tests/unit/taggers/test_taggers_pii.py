import ipaddress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from dolma_py.spans import read_spans
from taggers import pii_address_kernels as addresses
from taggers import pii_bytes
from taggers.base import tag_checked
from taggers.pii import KINDS, PiiTagger, PiiTaggerConfig, find_pii
from taggers.pii_kernels import find_pii_kernel
from taggers.registry import build_tagger
from tests import strategies
from tests.reference import pii as reference

NAMES = {value: name for name, value in KINDS.items()}
TABLES = reference.Tables(
    {
        word.encode()[-7:]: kind
        for words, kind in (
            (pii_bytes.PHONE_WORDS, reference.PHONE_WORD),
            (pii_bytes.VERSION_WORDS, reference.VERSION_WORD),
            (pii_bytes.NUMBER_WORDS, reference.NUMBER_WORD),
        )
        for word in words.split()
    },
    pii_bytes.IBAN_LENGTHS,
    pii_bytes.CALLING_CODES,
    [word[-7:] for word in pii_bytes.NO_DOMAINS.split()],
)
PIECES = (
    "anna.b+c", "@", "<", "Message-ID: <", "host.org", "example.com", "mail.co.uk", "git", "..", ".", "-", "_", "//", "icon@2x.png",
    "1.2.3.4", "93.184.216.34", "10.0.0.1", "256.1.1.1", "2001:db8::1", "2a00:1450:4001:81b::200e", "::1", "::ffff:9.9.9.200", "9.99.9.9",
    "fe80::", ":", "::", "f", "12", "12:30:45", "DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB82", "4111111111111111",
    "4111 1111 1111 1111", "3782 822463 10005", "378282246310005", "6212345678901232", "(202) 555-0143", "202-555-0143", "202 555 0143",
    "1-202-555-0143", "+1 202 555 0143", "+49 (0)30 1234567", "+", "(", ")", "(030) 1234567", "030/12345678", "2020-01-15", "1234567890",
    "3.1415926535", "1.234.567", "2020", "1990-2020", "0", "7", " ", "\n", "#", "=", "==", "/", "tel ", "version ", "order ",
    "phone number of it: ", "t\u00e9l. ", "20200115", "\u0442\u0435\u043b ", "a", "Z", "\u00a0", "\u2013", "\u00e9", "\U0001f600",
)  # fmt: skip
MADE = st.lists(st.sampled_from(PIECES), max_size=9).map(lambda parts: "".join(parts).encode())


def find(text):
    """(kind, start, end) of a text of bytes."""
    found = find_pii(np.frombuffer(text, np.uint8), np.array([0, len(text)]))
    return [
        (NAMES[kind], start, end)
        for kind, start, end in zip(found.kinds, found.spans.starts, found.spans.ends, strict=True)
    ]


def find_texts(text):
    return [(kind, text.encode()[start:end].decode()) for kind, start, end in find(text.encode())]


@settings(max_examples=600)
@given(st.one_of(MADE, MADE, strategies.any_bytes(), st.text("0123456789.-+() :@ab", max_size=40).map(str.encode)))
def test_finds_match_reference(text):
    assert find(text) == reference.find_pii(text, TABLES)


@given(st.lists(MADE, max_size=5))
def test_finds_do_not_depend_on_the_batch(texts):
    sizes = np.cumsum([0, *map(len, texts)])
    data = np.frombuffer(b"".join(texts), np.uint8)
    found = find_pii(data, sizes)
    kinds = [NAMES[kind] for kind in found.kinds]
    rows = np.repeat(np.arange(len(texts)), np.diff(found.spans.offsets))
    together = list(zip(rows.tolist(), kinds, found.spans.starts.tolist(), found.spans.ends.tolist(), strict=True))
    assert together == [(row, *hit) for row, text in enumerate(texts) for hit in find(text)]


def test_a_text_of_many_finds_and_a_long_line():
    many = b"a@b.co " * 5000
    assert len(find(many)) == 5000
    assert find(b"7" * 1_000_000) == [] and find(b"@" * 1_000_000) == [] and find(b"a" * 1_000_000 + b"@b.co") == []


def test_kernel_example():
    offsets, kinds, starts, ends = (
        np.zeros(2, np.int64),
        np.zeros(4, np.int8),
        np.zeros(4, np.int64),
        np.zeros(4, np.int64),
    )
    assert (
        find_pii_kernel(np.frombuffer(b"to a@b.co", np.uint8), np.array([0, 9]), 0, offsets, kinds, starts, ends) == 1
    )
    assert (offsets[1], kinds[0], starts[0], ends[0]) == (1, addresses.EMAIL, 3, 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail Jane.Doe+x@mail.site.co.uk.", [("email", "Jane.Doe+x@mail.site.co.uk")]),
        ("x..b@c.de", [("email", "b@c.de")]),
        ("a" * 64 + "@b.co", [("email", "a" * 64 + "@b.co")]),
        ("a" * 65 + "@b.co", []),
        ("a@" + "b" * 63 + ".co", [("email", "a@" + "b" * 63 + ".co")]),
        ("a@" + "b" * 64 + ".co", []),
        ("a@b.c", []),
        ("@anna@host.org and lodash@4.17.21 and git@github.com:a/b", []),
        ("ftp://me:secret@host.org/x", []),
        ("Message-ID: <1.a@b.co>, In-Reply-To: <2@b.co>, to: <c@b.co>", [("email", "c@b.co")]),
        ("icon@2x.png, anna@example.com, a@dev.example.org, a@my-example.com", [("email", "a@my-example.com")]),
        ("from 93.184.216.34:80 and http://93.184.216.34/a", [("ip", "93.184.216.34")] * 2),
        ("93.184.216.255 93.184.216.256 93.184.216.034 93.184.216.34.5", [("ip", "93.184.216.255")]),
        ("version 93.184.216.34, v93.184.216.34, pkg==93.184.216.34, pkg-93.184.216.34.tar", []),
        ("31.31.31.31, 31.31.31.32, 9.9.9.99, 9.9.10.99", [("ip", "31.31.31.32"), ("ip", "9.9.10.99")]),
        ("93.184.216.30-93.184.216.34", [("ip", "93.184.216.30"), ("ip", "93.184.216.34")]),
        ("192.168.0.1 172.15.0.1 172.31.9.9", [("private_ip", "192.168.0.1"), ("ip", "172.15.0.1"), ("private_ip", "172.31.9.9")]),
        ("[2a00:1450:4001:81b::200e]", [("ip", "2a00:1450:4001:81b::200e")]),
        ("2001:db8::1 fe80::1%eth0 ::1", [("private_ip", "2001:db8::1"), ("private_ip", "fe80::1"), ("private_ip", "::1")]),
        ("std::cab a::b 12:30:45 00:1A:2B:3C:4D:5E", []),
        ("DE89370400440532013000, DE89 3704 0044 0532 0130 00", [("iban", "DE89370400440532013000"), ("iban", "DE89 3704 0044 0532 0130 00")]),
        ("DE88370400440532013000 DE8937040044053201300 DE893704004405320130000", []),
        ("XX89370400440532013000 de89370400440532013000", []),
        ("4111 1111 1111 1111 123", [("card", "4111 1111 1111 1111")]),
        ("4111-1111-1111-1112 4111 1111-1111 1111 9111111111111111", []),
        ("378282246310005 3782 822463 10005", [("card", "378282246310005"), ("card", "3782 822463 10005")]),
        ("5555555555554444, 6212345678901232", [("card", "5555555555554444"), ("card", "6212345678901232")]),
        ("2720990000000007 2721000000000004 5600000000000003 36700102000000", [("card", "2720990000000007"), ("card", "36700102000000")]),
        ("order 4111111111111111", []),
        ("+49 (0)30 1234567, +1 (202) 555-0143", [("phone", "+49 (0)30 1234567"), ("phone", "+1 (202) 555-0143")]),
        ("+49 30 123456, +49 30 1234, +1 102 555 0143, +210 30 1234567", [("phone", "+49 30 123456")]),
        ("(202) 555-0143 202.555.0143 211-555-0143 202-111-0143", [("phone", "(202) 555-0143"), ("phone", "202.555.0143")]),
        ("Phone: 202 555 0143", [("phone", "202 555 0143")]),
        ("12 202 555 0143 and 202 555 0143 9", []),
        ("Tel. 030/123456", [("phone", "030/123456")]),
        ("+49 301 2345 or +49 301 234 or +493012345 or +4930123456", [("phone", "+49 301 2345"), ("phone", "+4930123456")]),
        ("Tel. 030/123", []),
        ("t\u00e9l. 0351 123456, \u0422\u0435\u043b\u0435\u0444\u043e\u043d: 0351 123457", [("phone", "0351 123456"), ("phone", "0351 123457")]),
        ("call 20200115, call 20201315", [("phone", "20201315")]),
        ("Telefon: 0351\u00a0123\u2013456", [("phone", "0351\u00a0123\u2013456")]),
        ("call on 2020-01-15, call 15.01.2020, phone 3.1415926535, fax 1.234.567, call 1990-2020", []),
        ("ISBN 978-3-16-148410-0, isbn 316-148-4100, 2020-01-15 10:30:00, 1609459200, 550e8400-e29b-41d4-a716-446655440000", []),
    ],
)  # fmt: skip
def test_what_counts_and_what_does_not(text, expected):
    assert find_texts(text) == expected


@pytest.mark.parametrize(
    "address",
    ["8.8.40.200", "100.63.0.40", "100.64.0.1", "198.17.255.255", "198.19.0.1", "223.255.255.255", "169.254.0.1"],
)
def test_private_is_what_python_says(address):
    expected = "ip" if ipaddress.ip_address(address).is_global else "private_ip"
    assert find_texts(f"at {address}") == [(expected, address)]


def test_columns_are_spans_and_counts_of_each_kind():
    texts = ["to a@b.co, 10.0.0.1", "", "caf\u00e9 202-555-0143 x@y.org"]
    table = tag_checked(PiiTagger(PiiTaggerConfig()), pa.record_batch({"text": pa.array(texts, pa.large_string())}))
    rows = table.to_pylist()
    assert [row["num_pii"] for row in rows] == [1, 0, 2]
    assert [row["num_private_ips"] for row in rows] == [1, 0, 0]
    assert [row["pii_byte_frac"] for row in rows] == [6 / 19, 0, (12 + 7) / 26]
    assert [[(span["start"], span["end"]) for span in row["spans"]] for row in rows] == [
        [(3, 9)],
        [],
        [(6, 18), (19, 26)],
    ]
    assert [[(span["start"], span["end"]) for span in row["phone_spans"]] for row in rows] == [[], [], [(6, 18)]]
    assert read_spans(table.column("email_spans")).starts.tolist() == [3, 19]


@pytest.mark.parametrize(
    ("text", "ips", "private_ips"),
    [
        ("Version 1.2.3.4 released; 10.0.0.1 local; server 8.8.8.8", 0, 0), ("the host 10.0.0.1 and 8.8.4.4", 0, 1),
        ("Version 1.2.3.4 was made long ago and then came 10.0.0.1", 0, 1), ("server 93.184.216.34", 1, 0),
    ],
)  # fmt: skip
def test_addresses_that_read_like_versions(text, ips, private_ips):
    """As docs/pii.md says of small octets, and of how far a word before reaches."""
    batch = pa.record_batch({"text": pa.array([text], pa.large_string())})
    (row,) = tag_checked(PiiTagger(PiiTaggerConfig()), batch).to_pylist()
    assert (row["num_ips"], row["num_private_ips"]) == (ips, private_ips)


def test_chosen_kinds_alone_are_cut():
    tagger = build_tagger("pii", {"kinds": ["private_ip"]})
    (row,) = tag_checked(
        tagger, pa.record_batch({"text": pa.array(["a@b.co, 10.0.0.1"], pa.large_string())})
    ).to_pylist()
    assert (row["num_pii"], row["num_emails"], row["spans"][0]["start"]) == (1, 1, 8)
    with pytest.raises(ConfigError, match="kinds"):
        build_tagger("pii", {"kinds": ["name"]})


RANGES = [  # first and last prefix of each range of issuers, and its lengths
    ("4", "4", (16, 19)), ("51", "55", (16,)), ("2221", "2720", (16,)), ("6011", "6011", (16,)), ("644", "649", (16,)), ("65", "65", (16,)),
    ("62", "62", (16, 19)), ("3528", "3589", (16,)), ("5018", "5018", (16,)), ("5020", "5020", (16,)), ("5038", "5038", (16,)),
    ("6304", "6304", (16,)), ("6759", "6763", (16,)), ("34", "34", (15,)), ("37", "37", (15,)), ("300", "305", (14,)), ("36", "36", (14,)),
    ("38", "39", (14,)),
]  # fmt: skip


def make_card(prefix, length):
    """Digits of `length` that begin with `prefix`, the last of them the check digit."""
    body = (prefix + "1234567890123456789")[: length - 1]
    return next(body + str(last) for last in range(10) if reference.luhn(body + str(last)))


@pytest.mark.parametrize(("first", "last", "lengths"), RANGES)
def test_a_range_of_cards_ends_where_it_ends(first, last, lengths):
    for length in (14, 15, 16, 19):
        for prefix in (first, last):
            if length in lengths:
                assert find(make_card(prefix, length).encode()) == [("card", 0, length)], (prefix, length)
        for outside in (str(int(first) - 1), str(int(last) + 1)):
            issued = any(
                low <= outside[: len(low)] <= high and length in sizes
                for low, high, sizes in RANGES
                if len(low) <= len(outside)
            )
            wider = any(
                low[: len(outside)] <= outside <= high[: len(outside)]
                for low, high, _ in RANGES
                if len(low) > len(outside)
            )
            if not issued and not wider:
                assert ("card", 0, length) not in find(make_card(outside, length).encode()), (outside, length)


@pytest.mark.parametrize(("gap", "kind"), [(32 - 5, "none"), (33 - 5, "card")])
def test_the_word_before_a_number_is_looked_for_in_32_bytes(gap, kind):
    """ "order" speaks for the number as long as all of it lies within the 32 bytes before; its last letters alone are another word."""
    card = make_card("4", 16)
    text = "order" + "." * (gap - 1) + " " + card
    assert [found[0] for found in find(text.encode())] == ([] if kind == "none" else [kind])
