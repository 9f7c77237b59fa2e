import gzip
import hashlib
import http.server
import json
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import TextView
from dolma_py.errors import ConfigError, SchemaError
from taggers import url_lists_kernels as kernels
from taggers.base import tag_checked
from taggers.registry import build_tagger
from taggers.url_list_files import fetch_list, read_entries
from taggers.url_lists import (
    LISTS,
    URL_RULES,
    UrlListsTagger,
    UrlListsTaggerConfig,
    build_automaton,
    build_table,
    bytes_that_count,
    count_hits,
)
from tests.reference import url_lists as reference

PARTS = (
    "http://", "https://", "//", "www.", "WWW.", "a.org", "b.a.org", "A.ORG", "co.uk", "me@", "x:y@", ":80", ":", ".",
    "..", "/", "//", "?", "#", "\\", "-", "_",
    "bad", "BAD", "ba-d", "b.ad", "badly", "ab", "ba", "a", "worse", "1", "\u00e9", "%20", " ",
)  # fmt: skip
URLS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
ENTRIES = st.lists(
    st.sampled_from(["bad", "ba", "ab", "a", "worse", "bad-ba", "b.a", "1", "dly"]), min_size=1, max_size=5
)
KEYS = ("a.org", "b.a.org", "org", "co.uk", "a.org/bad", "bad", "a.org:80/1", "..", "a.org?a")
MODES = {"substrings": kernels.SUBSTRINGS, "words": kernels.WORDS, "distinct words": kernels.DISTINCT_WORDS}


def view(texts):
    data = [text.encode() if isinstance(text, str) else text for text in texts]
    return TextView(np.frombuffer(b"".join(data), np.uint8), np.cumsum([0, *map(len, data)]))


@given(st.one_of(URLS, st.text(max_size=30)))
def test_url_parts_match_reference(url):
    data = url.encode()
    start, host_end, url_end = kernels.url_parts_kernel(np.frombuffer(data, np.uint8), 0, len(data))
    assert (reference.lower(data[start:host_end]), reference.lower(data[start:url_end])) == reference.url_parts(data)


@given(st.lists(URLS, max_size=4), st.sets(st.sampled_from(KEYS), min_size=1))
def test_hosts_and_urls_match_reference(urls, keys):
    table = build_table(view(sorted(keys)))
    known = {key.encode() for key in keys}
    found = np.empty(len(urls), bool)
    for with_parents in (False, True):
        kernels.find_hosts_kernel(*view(urls), table, with_parents, found)
        assert found.tolist() == [reference.find_hosts(url.encode(), known, with_parents) for url in urls]
    kernels.find_urls_kernel(*view(urls), table, found)
    assert found.tolist() == [reference.find_urls(url.encode(), known) for url in urls]


@given(
    st.lists(URLS, max_size=4),
    st.lists(ENTRIES, min_size=1, max_size=3),
    st.sampled_from(["all", "no dots", "words"]),
    st.data(),
)
def test_hits_match_reference(urls, lists, reading, data):
    names = ["substrings"] if reading != "all" else list(MODES)
    modes = [data.draw(st.sampled_from(names)) for _ in lists]
    keep = bytes_that_count(reading)
    patterns = [read_bytes("\n".join(entries).encode(), keep) for entries in lists]
    counts = count_hits(*view(urls), build_automaton(patterns, keep), [MODES[mode] for mode in modes])
    plain = [
        (mode, reference.read_entries("\n".join(entries).encode(), keep, False))
        for mode, entries in zip(modes, lists, strict=True)
    ]
    assert counts.tolist() == [reference.count_hits(url.encode(), plain, keep) for url in urls]


def read_bytes(content, keep, is_url=False):
    data = np.frombuffer(content, np.uint8)
    out_data, out_offsets = np.empty(len(data), np.uint8), np.zeros(content.count(b"\n") + 2, np.int64)
    num_entries = kernels.read_entries_kernel(data, keep, is_url, out_data, out_offsets)
    return TextView(out_data[: out_offsets[num_entries]], out_offsets[: num_entries + 1])


@given(st.lists(st.one_of(URLS, st.sampled_from(["# note", "  a.org\r", "", "-.-"]))).map("\n".join), st.booleans())
def test_entries_match_reference(text, is_url):
    keep = bytes_that_count("all" if is_url else "no dots")
    entries = read_bytes(text.encode(), keep, is_url)
    got = [entries.data[low:high].tobytes() for low, high in zip(entries.offsets, entries.offsets[1:], strict=False)]
    assert got == reference.read_entries(text.encode(), keep, is_url)


def test_many_keys_are_all_found_and_no_others():
    hosts = [f"h{i}.example{i % 7}.net" for i in range(20_000)]
    table = build_table(view(hosts[::2]))
    found = np.empty(len(hosts), bool)
    kernels.find_hosts_kernel(*view(hosts), table, False, found)
    assert found.tolist() == [True, False] * 10_000
    assert kernels.fill_table_kernel(table._replace(slots=np.full(len(table.slots), -1, np.int32))) == 10_000


def tag(tmp_path, lists, metadata, **options):
    files = {}
    for name, entries in lists.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(["# made here", *entries]))
        files[name] = [str(tmp_path / f"{name}.txt")]
    batch = pa.record_batch(
        {"text": pa.array([""] * len(metadata), pa.large_string()), "metadata": pa.array(metadata, pa.string())}
    )
    return tag_checked(build_tagger("url-lists", files | options), batch).to_pylist()


# (rule, list, entries, URL that the rule keeps, URL that it drops)
EDGES = [
    ("refinedweb-dclm", "url_domains", "exact_domains", ["www.Bad.org"], "http://a.bad.org/", "https://BAD.org:443/x"),
    (
        "refinedweb-dclm",
        "url_strict_words",
        "substrings",
        ["badword"],
        "http://a.org/bad/word",
        "http://a.org/xB-A.Dword1",
    ),
    ("refinedweb-dclm", "url_hard_words", "hard_words", ["bad"], "http://badly.org/1bad", "http://a.org/x-BAD.html"),
    ("refinedweb-dclm", "url_soft_words", "soft_words", ["bad", "cam"], "http://bad.org/camera", "http://bad.org/bad"),
    ("fineweb", "url_domains", "domains", ["bad.co.uk"], "http://notbad.co.uk/", "http://a.b.bad.co.uk/x"),
    ("fineweb", "url_urls", "urls", ["bad.org/page"], "http://bad.org/page/2", "https://www.bad.org/page/"),
    ("fineweb", "url_words", "hard_words", ["bad"], "http://a.org/badly", "http://a.org/bad"),
    ("fineweb", "url_soft_words", "distinct_soft_words", ["bad", "cam"], "http://bad.org/bad", "http://bad.org/cam"),
    ("fineweb", "url_subwords", "subwords", ["badword"], "http://a.org/badswords", "http://a.org/b_a/d-wo.rd"),
]


@pytest.mark.parametrize(("preset", "rule", "name", "entries", "kept", "dropped"), EDGES)
def test_rules_at_their_thresholds(tmp_path, preset, rule, name, entries, kept, dropped):
    (chosen,) = [known for known in URL_RULES[preset] if known.name == rule]
    rows = tag(tmp_path, {name: entries}, [json.dumps({"url": url}) for url in (kept, dropped)])
    assert chosen.column == f"num_{name}" and chosen.op == "<="
    assert [row[chosen.column] <= chosen.value for row in rows] == [True, False]


def test_every_rule_has_its_edge():
    assert {(preset, rule.name) for preset, rules in URL_RULES.items() for rule in rules} == {
        edge[:2] for edge in EDGES
    }


def test_url_is_the_first_key_that_has_one(tmp_path):
    metadata = [
        '{"url": "http://a.org", "WARC-Target-URI": "http://bad.org"}',
        '{"warc_url": "http://bad.org", "url": 3}',
        '{"title": "x"}',
        None,
    ]
    rows = tag(tmp_path, {"domains": ["bad.org"]}, metadata)
    assert [(row["has_url"], row["num_domains"]) for row in rows] == [(True, 1), (True, 1), (False, 0), (False, 0)]
    rows = tag(tmp_path, {"domains": ["bad.org"]}, metadata, url_keys=["url"])
    assert [(row["has_url"], row["num_domains"]) for row in rows] == [(True, 0), (False, 0), (False, 0), (False, 0)]


def test_all_lists_in_one_pass_and_files_add_up(tmp_path):
    with gzip.open(tmp_path / "more.txt.gz", "wb") as file:
        file.write(b"worse.org\n")
    (tmp_path / "domains.txt").write_text("bad.org")
    options = {"domains": [str(tmp_path / "domains.txt"), str(tmp_path / "more.txt.gz")]}
    rows = tag(
        tmp_path,
        {name: ["bad"] for name in LISTS if name != "domains"},
        ['{"url": "http://x.worse.org/bad/bad"}'],
        **options,
    )
    counts = {name: rows[0][f"num_{name}"] for name in LISTS}
    expected = {
        "exact_domains": 0,
        "domains": 1,
        "urls": 0,
        "substrings": 2,
        "subwords": 2,
        "hard_words": 2,
        "soft_words": 2,
        "distinct_soft_words": 1,
    }
    assert counts == expected


def test_wrong_options_are_told(tmp_path):
    with pytest.raises(ConfigError, match="at least one of exact_domains"):
        build_tagger("url-lists", {})
    with pytest.raises(ConfigError, match="no such file") as error:
        build_tagger("url-lists", {"urls": [str(tmp_path / "none")]})
    assert error.value.key == "url-lists.urls"
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ConfigError, match="at least one entry"):
        build_tagger("url-lists", {"urls": [str(tmp_path / "empty.txt")]})
    (tmp_path / "torn.gz").write_bytes(gzip.compress(b"a.org\n" * 100)[:-9])
    with pytest.raises(ConfigError, match="gzip"):
        build_tagger("url-lists", {"urls": [str(tmp_path / "torn.gz")]})
    (tmp_path / "one.txt").write_text("a.org")
    tagger = UrlListsTagger(UrlListsTaggerConfig(urls=[str(tmp_path / "one.txt")]))
    with pytest.raises(SchemaError, match="metadata"):
        tagger.tag(pa.record_batch({"text": pa.array(["a"])}))


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "list.txt").write_bytes(b"bad.org\n")
    handler = lambda *args: http.server.SimpleHTTPRequestHandler(*args, directory=str(folder))  # noqa: E731
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}/list.txt"
    httpd.shutdown()
    httpd.server_close()


def test_a_list_is_fetched_once_and_checked(server, tmp_path):
    path, checksum = str(tmp_path / "kept.txt"), hashlib.sha256(b"bad.org\n").hexdigest()
    with pytest.raises(ConfigError, match=checksum):
        fetch_list(server, "0" * 64, path)
    assert not (tmp_path / "kept.txt").exists()
    assert fetch_list(server, checksum, path) == path
    assert fetch_list("http://127.0.0.1:9/gone", checksum, path) == path  # it is there, nobody is asked
    assert read_entries([path], key="urls", is_url=True).data.tobytes() == b"bad.org"
    with pytest.raises(ConfigError, match="cannot be read"):
        fetch_list(server + ".gone", "0" * 64, path)
    with pytest.raises(ConfigError, match="https://"):
        fetch_list("ftp://a.org/x", checksum, path)


def test_a_gzip_file_of_several_members_is_read_to_its_end(tmp_path):
    path = tmp_path / "hosts.gz"
    path.write_bytes(gzip.compress(b"a.org\n") + gzip.compress(b"b.org\n") + b"\0" * 9)
    entries = read_entries([str(path)], key="domains", keep=None, is_url=True)
    assert entries.data.tobytes() == b"a.orgb.org"
    path.write_bytes(gzip.compress(b"a.org\n") + gzip.compress(b"b.org\n")[:-3])
    with pytest.raises(ConfigError, match="torn"):
        read_entries([str(path)], key="domains", keep=None, is_url=True)


def test_words_and_substrings_are_looked_for_in_the_whole_address(tmp_path):
    (tmp_path / "words").write_text("www\n")
    (tmp_path / "hosts").write_text("www.a.org\n")
    tagger = build_tagger("url-lists", {"domains": [str(tmp_path / "hosts")], "hard_words": [str(tmp_path / "words")]})
    batch = pa.record_batch(
        {"text": ["t"] * 2, "metadata": ['{"url": "http://www.a.org/"}', '{"url": "http://A.org/"}']}
    )
    found = tag_checked(tagger, batch).to_pylist()
    assert [row["num_domains"] for row in found] == [1, 1] and [row["num_hard_words"] for row in found] == [1, 0]
