"""Which plain files a command reads, and what it refuses."""

from __future__ import annotations

import pytest

from dolma_py.errors import ConfigError
from pipelines.plain_inputs import list_plain_inputs


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
