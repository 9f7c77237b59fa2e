"""URL spellings: each rule by example, and what must hold for any text."""

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dedup.urls import UrlConfig, UrlRules, digest_urls, normalise_url
from tests.strategies import texts

BARE = UrlRules(http_is_https=False, trailing_slash=False, tracking_parameters=())
RULES = st.builds(
    UrlRules, http_is_https=st.booleans(), strip_www=st.booleans(), trailing_slash=st.booleans(), sort_query=st.booleans(),
    tracking_parameters=st.sampled_from([(), ("utm_*", "ref"), ("*",)]),
)  # fmt: skip
PARTS = st.sampled_from([
    "http", "HTTPS", "://", "//", "www.", "Example.org", "b\u00fccher.de", "[::1]", ":80", ":443", ":x", "/", ".", "..", "/a", "%7e", "%2f",
    "%", "%zz", "?", "&", "=", "k=1", "utm_a=b", "#", "@", "user:pw@", " ", "\u4e2d", "\u0130", "xn--", "\x00", "\\",
])  # fmt: skip
AFTER_HOST = st.lists(PARTS, max_size=10).map(lambda parts: "http://a.org/" + "".join(parts))
URLS = st.one_of(st.lists(PARTS, max_size=12).map("".join), AFTER_HOST, texts(max_size=6))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://EXAMPLE.org/Path", "http://example.org/Path"),
        ("http://a.org", "http://a.org/"),
        ("http://a.org.:80/", "http://a.org/"),
        ("https://a.org:443/x", "https://a.org/x"),
        ("https://a.org:80/x", "https://a.org:80/x"),
        ("http://me:secret@a.org/x#part", "http://a.org/x"),
        ("http://a.org/%7euser/%c3%a9/%2F", "http://a.org/~user/%C3%A9/%2F"),
        ("http://a.org/\u00e9 b", "http://a.org/%C3%A9%20b"),
        ("http://b\u00fccher.de/", "http://xn--bcher-kva.de/"),
        ("http://a.org/a/./b/../c/.", "http://a.org/a/c/"),
        ("http://a.org/../..", "http://a.org/"),
        ("http://a.org/%2e%2e/x", "http://a.org/x"),
        ("http://a.org/?", "http://a.org/"),
        ("http://a.org/?b=2&a=%7e1&", "http://a.org/?b=2&a=~1"),
        ("http://[2001:DB8::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("  http://a.org/\n", "http://a.org/"),
        ("a.org/page", None),
        ("/page", None),
        ("http://", None),
        ("http://a.org:port/", None),
        ("http://[::1/", None),
        ("mailto:a@b.org", None),
        ("", None),
    ],
)
def test_what_the_standard_says(url, expected):
    assert normalise_url(url, BARE) == expected


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        ({"http_is_https": True}, "http://a.org/x", "https://a.org/x"),
        ({"http_is_https": True}, "http://a.org:80/x", "https://a.org:443/x"),
        ({"strip_www": True}, "http://www.a.org/x", "http://a.org/x"),
        ({"trailing_slash": True}, "http://a.org/x/", "http://a.org/x"),
        ({"sort_query": True}, "http://a.org/?b=1&a=2", "http://a.org/?a=2&b=1"),
        ({"tracking_parameters": ("utm_*", "gclid")}, "http://a.org/?UTM_Source=n&gclid=3&k=1", "http://a.org/?k=1"),
        ({"tracking_parameters": ("gclid",)}, "http://a.org/?%67clid=3", "http://a.org/"),
    ],
)
def test_each_rule_joins_only_when_it_is_on(rule, one, other):
    assert normalise_url(one, BARE) != normalise_url(other, BARE)
    on = BARE.model_copy(update=rule)
    assert normalise_url(one, on) == normalise_url(other, on) is not None


def test_www_alone_is_a_host_and_a_name_is_matched_whole():
    assert normalise_url("http://www.org/", UrlRules(strip_www=True)) == "https://www.org/"
    assert normalise_url("http://a.org/?gclid2=x", UrlRules()) == "https://a.org/?gclid2=x"


@given(URLS, RULES)
def test_normalising_twice_changes_nothing_and_is_ascii(url, rules):
    once = normalise_url(url, rules)
    assert once is None or (once.isascii() and normalise_url(once, rules) == once)


def test_keys_are_digests_of_the_first_field_that_is_there():
    values = [["http://A.org", None, " ", "no url", None], [None, "http://a.org/", "http://b.org/", "http://c.org/", 7]]
    keys = digest_urls(values, UrlRules())
    assert keys.digests.is_valid.tolist() == [True, True, True, False, False]
    assert (keys.without_url, keys.invalid_urls) == (1, 1)
    expected = [xxhash.xxh3_128_intdigest(url) for url in (b"https://a.org/", b"https://a.org/", b"https://b.org/")]
    numbers = [(int(high) << 64) | int(low) for high, low in zip(keys.digests.high, keys.digests.low, strict=True)]
    assert numbers[:3] == expected
    assert digest_urls([[], []], UrlRules()).digests.high.dtype == np.uint64


def test_a_field_may_be_one_name_with_its_prefix():
    assert UrlConfig(fields="metadata.warc_url").fields == ("warc_url",)
