"""Ingest of dumps and archives as a job: documents, what was passed over in the manifest, settings of a source."""

from __future__ import annotations

import json

from dolma_py.corpus import Corpus
from tests.jobs.test_ingest import ingest, read_listing, read_rejected, read_rows
from tests.made_dumps import make_multistream, make_page

PAGES = [
    make_page(1, "Rom", "'''Rom''' liegt in [[Italien]]."),
    make_page(2, "Roma", "#REDIRECT [[Rom]]", redirect="Rom"),
    make_page(3, "Rom (Begriff)", "* [[Rom]]\n{{disambig}}"),
    make_page(4, "Diskussion:Rom", "Hallo", namespace=1),
    "<page><title>broken</page>\n",
]


def test_wikipedia_dump(tmp_path, _spark_of_this_run):
    """Redirects are no share of what could not be read, and the listing keeps their number."""
    path = tmp_path / "in" / "dewiki-20240501-pages-articles-multistream.xml.bz2"
    path.parent.mkdir()
    path.write_bytes(b"".join(make_multistream(PAGES, 2)))
    sources = [{"name": "wiki", "inputs": [str(path.parent)], "wikipedia": {"skip_disambiguations": False}}]
    manifest = ingest(tmp_path, sources, max_rejected_frac=0.4)
    assert manifest["facts"]["skipped"] == {"wiki": {"namespace": 1, "redirect": 1}}
    assert manifest["facts"]["rejected"] == {"wiki": {"bad_xml": 1}}
    assert [row["text"] for row in read_rows(tmp_path)] == ["Rom\n\nRom liegt in Italien.", "Rom (Begriff)\n\n- Rom"]
    assert json.loads(read_rows(tmp_path)[0]["metadata"])["url"] == "https://de.wikipedia.org/wiki/Rom"
    assert [item["reason"] for item in read_rejected(tmp_path)["wiki/part-00000.jsonl.gz"]] == ["bad_xml"]
    assert read_listing(tmp_path)[0]["skipped"] == [["namespace", 1], ["redirect", 1]]
    assert Corpus(str(tmp_path / "corpus")).read_listing().shards[0].skipped == (("namespace", 1), ("redirect", 1))
    again = ingest(tmp_path, sources, max_rejected_frac=0.4)
    assert again == manifest
