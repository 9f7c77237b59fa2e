"""Ingest of dumps and archives as a job: documents, what was passed over in the manifest, settings of a source."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma_py.corpus import Corpus
from tests.jobs.test_ingest import ingest, read_listing, read_rejected, read_rows
from tests.made_archives import make_tar
from tests.made_dumps import make_multistream, make_page
from tests.made_hub import open_hub

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


def test_datasets_of_the_hub(tmp_path, _spark_of_this_run):
    """Parquet and JSONL read off the Hub by the workers, by a revision, the same as from a folder with the set's own layout."""
    root = tmp_path / "hub" / "allenai" / "Dolci-Instruct-SFT" / "main" / "data"
    root.mkdir(parents=True)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [{"id": f"m{n}", "messages": messages, "source_dataset": "s", "domain": "chat"} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), root / "train-00000-of-00001.parquet", row_group_size=2)
    (root.parent / "README.md").write_text("card")
    (tmp_path / "remote").mkdir()
    (tmp_path / "local").mkdir()
    command = [
        sys.executable, "-m", "dolma_py", "ingest", "--corpus", str(tmp_path / "remote" / "corpus"), "--source", "sft",
        "--input", "hf://datasets/allenai/Dolci-Instruct-SFT/data/*.parquet", "--set", "sources=[{fields: dolci-sft}]",
    ]  # fmt: skip
    with open_hub(tmp_path / "hub"):  # a command of its own: workers that run already know nothing of this server
        answer = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr[-3000:]
    ingest(tmp_path / "local", [{"name": "sft", "inputs": [f"{root}/*.parquet"], "fields": "dolci-sft"}])
    assert [(row["id"], row["text"]) for row in read_rows(tmp_path / "remote")] == [
        (f"m{n}", "Hi\n\nHello") for n in range(4)
    ]
    assert read_rows(tmp_path / "remote") == read_rows(tmp_path / "local")
    assert read_listing(tmp_path / "remote") == read_listing(tmp_path / "local")


def test_repositories(tmp_path, _spark_of_this_run):
    """Archives and a folder of source files, each as its own source; settings reach the workers."""
    pytest.importorskip("enry")
    pytest.importorskip("askalono")
    files = {
        "p/a.py": b"x = 1",
        "p/vendor/b.py": b"y = 1",
        "p/logo.png": b"\0",
        "p/package.json": b'{"license": "MIT"}',
        "p/__init__.py": b"w = 1",
        "p/_sub/__main__.py": b"v = 1",
    }
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "p.tar").write_bytes(make_tar(files | {"../c.py": b"z = 1"}))
    for name, data in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / "folder" / "p" / ".env").write_text("secret")
    sources = [
        {
            "name": "tars",
            "kind": "repository",
            "inputs": [str(tmp_path / "tars")],
            "repository": {"skip_vendored": True},
        },
        {"name": "files", "kind": "repository", "inputs": [str(tmp_path / "folder")], "repository": {"depth": 1}},
    ]
    facts = ingest(tmp_path, sources)["facts"]
    assert facts["skipped"] == {"tars": {"binary": 1, "vendored": 1}, "files": {"binary": 1}}
    assert facts["rejected"] == {"tars": {"bad_path": 1}}
    assert facts["left_out"] == ["p/.env"]
    found = [(row["source"], json.loads(row["metadata"])) for row in read_rows(tmp_path)]
    assert [(source, item["repo"], item["path"], item["language"], item["license"]) for source, item in found] == [
        ("files", "p", "__init__.py", "Python", "MIT"), ("files", "p", "_sub/__main__.py", "Python", "MIT"),
        ("files", "p", "a.py", "Python", "MIT"), ("files", "p", "package.json", "JSON", "MIT"), ("files", "p", "vendor/b.py", "Python", "MIT"),
        ("tars", "p", "a.py", "Python", "MIT"), ("tars", "p", "package.json", "JSON", "MIT"),
        ("tars", "p", "__init__.py", "Python", "MIT"), ("tars", "p", "_sub/__main__.py", "Python", "MIT"),
    ]  # fmt: skip


def test_papers(tmp_path, _spark_of_this_run):
    """A bulk file of arXiv, known by its name, with the source's settings."""
    papers = {
        "2301/2301.00001.gz": gzip.compress(
            b"\\documentclass{a}\\begin{document}\\section{A} one \\appendix more\\end{document}"
        ),
        "2301/2301.00002.pdf": b"%PDF-1.5",
        "2301/2301.00003.gz": b"\x1f\x8b\x08 damaged",
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "arXiv_src_2301_001.tar").write_bytes(make_tar(papers))
    facts = ingest(tmp_path, [{"name": "arxiv", "inputs": [str(tmp_path / "in")], "arxiv": {"appendix": True}}])[
        "facts"
    ]
    assert (facts["skipped"], facts["rejected"]) == ({"arxiv": {"pdf": 1}}, {"arxiv": {"corrupt": 1}})
    assert [(row["id"], row["text"]) for row in read_rows(tmp_path)] == [
        ("2301.00001", "\\section{A} one \\appendix more")
    ]
