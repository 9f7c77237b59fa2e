"""URL deduplication as a job: the newest crawl stays, documents without a URL are alone and counted."""

import pytest

from tests.dedup_jobs import flat_rows, list_output, metadata, read_set, run_job

pytestmark = pytest.mark.usefixtures("_spark_of_this_run")

PAGES = [
    {"url": "http://a.org/x", "date": "2020"},
    {"url": "https://A.org:443/x/?utm_source=mail#top", "date": "2024"},
    {"url": "https://a.org/y", "date": "2024"},
    {"warc_url": "https://a.org/x", "date": "2022"},
    {"url": "not a url", "date": "2020"},
    {"date": "2020"},
    {"url": "not a url", "date": "2021"},
]
SHARDS = [
    [[{"text": f"text {n}", "metadata": metadata(**page)} for n, page in enumerate(PAGES[:3])], []],
    [[{"text": "more", "metadata": metadata(**page)} for page in PAGES[3:]], [{"text": "no metadata at all"}]],
]
NEWEST = {"keep": {"attributes": [{"name": "metadata.date", "order": "descending"}]}}


def test_one_document_per_url_stays(tmp_path):
    outcome = run_job("dedup_urls", tmp_path / "corpus", SHARDS, NEWEST)
    rows = {
        row["id"]: found for row, found in zip(flat_rows(SHARDS), read_set(tmp_path / "corpus", "urls-v1"), strict=True)
    }
    assert {name: row["kept_id"] for name, row in rows.items() if row["is_duplicate"]} == {
        "0-0-0": "0-0-1",
        "1-0-0": "0-0-1",
    }
    assert [rows[name]["cluster_size"] for name in ("0-0-0", "0-0-1", "0-0-2", "1-0-1")] == [3, 3, 1, 1]
    assert rows["1-0-0"]["cluster_id"] == 0
    facts = outcome.manifest["facts"]
    assert (facts["documents"], facts["duplicates"], facts["without_key"]) == (8, 2, 4)
    assert (facts["without_url"], facts["invalid_urls"]) == (2, 2)
    kept = outcome.manifest["funnel"]["kept"]["sources"]
    assert sum(counts["documents"] for counts in kept.values()) == 8 - 2


def test_bytes_do_not_depend_on_partitions(tmp_path):
    run_job("dedup_urls", tmp_path / "one", SHARDS, NEWEST, 1)
    run_job("dedup_urls", tmp_path / "other", SHARDS, NEWEST, 7)
    assert list_output(tmp_path / "other") == list_output(tmp_path / "one")
