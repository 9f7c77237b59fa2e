"""Which plain files a command reads, and what it refuses."""

from __future__ import annotations

import pytest

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines.plain_inputs import list_plain_inputs
from pipelines.read_plain_files import ReadPlainConfig, fingerprint_inputs


def test_inputs_of_two_places_are_refused(tmp_path):
    (tmp_path / "y.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match="of one place.* of s3://b and this machine"):
        list_plain_inputs(["s3://b/x.parquet", str(tmp_path / "y.jsonl")], str(tmp_path / "out"))


def test_inputs_of_one_place_are_named_below_their_common_folder(tmp_path):
    for name in ("a/x.jsonl", "b/x.jsonl"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("{}")
    found = list_plain_inputs([str(tmp_path / "a"), f"file://{tmp_path}/b"], str(tmp_path / "out"))
    assert [file.name for file in found.files] == ["a/x.jsonl", "b/x.jsonl"]


@pytest.mark.parametrize("pattern", ["all", "al*", "all/*.json", "all/list.json"])
def test_a_pattern_of_json_documents_alone_is_told_so(tmp_path, pattern):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "list.json").write_text('[{"text": "a"}]')
    (tmp_path / "b.jsonl").write_text("{}")
    with pytest.raises(ConfigError, match=r"expected JSON Lines, this is one JSON document.*all/list\.json"):
        list_plain_inputs([str(tmp_path / "b.jsonl"), str(tmp_path / pattern)], str(tmp_path / "out"))


def test_a_json_document_that_arrives_changes_the_fingerprint(tmp_path):
    """So that the step runs and tells it."""
    corpus, settings = Corpus(str(tmp_path / "out" / ".dolma-py")), ReadPlainConfig(inputs=[str(tmp_path / "in")])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("{}")
    before = fingerprint_inputs(corpus, settings)
    (tmp_path / "in" / "README.md").write_text("not told")
    assert fingerprint_inputs(corpus, settings) == before
    (tmp_path / "in" / "list.json").write_text("[]")
    assert fingerprint_inputs(corpus, settings) != before
