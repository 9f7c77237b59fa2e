"""Edits of rule taggers through a recipe: personal data and references cut, tables rewritten, in one corpus."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe

PAGES = {
    "a": "Mail anna@host.org, see [our page](http://host.org/a).\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\nEnd.",
    "b": "Nothing to cut here, version 93.184.216.34.",
    "c": "Call 202-555-0143. \u00e9 93.184.216.34",
    "d": "bad",
}
URLS = {"d": "http://sub.bad.org/x"}


@pytest.fixture
def texts_after(tmp_path, _spark_of_this_run):
    """texts_after(name, settings of materialize) -> texts by id of the new corpus."""
    lines = [
        json.dumps({"id": name, "text": text, "metadata": {"url": URLS.get(name, "http://a.org")}})
        for name, text in PAGES.items()
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "domains.txt").write_text("bad.org\n")

    lists = {"domains": [str(tmp_path / "domains.txt")]}

    def run(name, **settings):
        steps = [
            {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]},
            {"kind": "tag", "taggers": [{"tagger": "pii"}, {"tagger": "pdf-text"}, {"tagger": "url-lists", "options": lists}],
             "rules": [
                 {"name": "url", "attributes": "url-lists-v1", "keep": "num_domains <= 0"},
                 {"name": "pii", "attributes": "pii-v1", "edit": "spans"},
                 {"name": "references", "attributes": "pdf-text-v1", "edit": "url_reference_spans"},
             ]},
            {"kind": "materialize", "output": str(tmp_path / name), **settings},
        ]  # fmt: skip
        build(Recipe(recipe=name, seed=1, steps=steps), str(tmp_path / "corpus"), BuildOptions(show_progress=False))
        (path,) = (tmp_path / name / "documents").rglob("*.parquet")
        table = pq.read_table(path)
        return dict(zip(table.column("id").to_pylist(), table.column("text").to_pylist(), strict=True))

    return run


def test_spans_are_cut_and_tables_become_html(texts_after):
    html = "<table>\n<tr><th>x</th><th>y</th></tr>\n<tr><td>1</td><td>2</td></tr>\n</table>"
    expected = {
        "a": f"Mail , see our page.\n\n{html}\n\nEnd.",
        "b": "Nothing to cut here, version 93.184.216.34.",
        "c": "Call . \u00e9 ",
    }
    assert texts_after("html", markdown_tables="html") == expected
    kept = texts_after("kept")
    assert kept == expected | {"a": expected["a"].replace(html, "| x | y |\n|---|---|\n| 1 | 2 |")}
