"""Documents and tokens against datatrove: its recorded output everywhere, datatrove itself where make peers has installed it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

from dolma_py.config import build_config
from dolma_py.errors import ConfigError
from dolma_py.formats import FieldMap, Limits, Rejection, read_any
from dolma_py.storage import open_read
from mixers.tokenization import encode_batch, load_tokenizer
from pipelines.ingest_inputs import SourceConfig
from tests.peers import made_tree, our_side

RECORDED = our_side.RECORDED / "datatrove"
needs_datatrove = pytest.mark.skipif(
    not (our_side.ENVIRONMENTS / "datatrove" / ".installed").exists(), reason="datatrove is not there: run make peers"
)
DOCUMENTS = [document for source in sorted(made_tree.TEXTS) for document in made_tree.make_documents(source)]
WITH_TEXT = [document for document in DOCUMENTS if document["text"]]  # its readers leave out the others


@pytest.mark.parametrize("name", ["jsonl.jsonl", "parquet.jsonl"])
def test_datatrove_reads_our_documents(name):
    """JsonlReader over an export, ParquetReader over a corpus: ids and texts as made, metadata kept."""
    found = made_tree.read_lines(RECORDED / "read" / name)
    digests = {row["id"]: row["text_sha256"] for row in found}
    assert digests == {row["id"]: hashlib.sha256(row["text"].encode()).hexdigest() for row in WITH_TEXT}
    for row, document in zip(found, WITH_TEXT, strict=True):
        assert row["metadata"].items() >= document.get("metadata", {}).items()


@pytest.mark.parametrize("name", ["00000.jsonl", "00000.parquet"])
def test_we_read_what_datatrove_wrote(name):
    """With the field map `datatrove`. Its JSON writer leaves an empty text out of the record, which is then rejected as one without."""
    fields = SourceConfig(inputs=["x"], fields="datatrove").fields
    events = list(
        read_any(
            str(RECORDED / "write" / name),
            source="peer",
            limits=Limits(),
            fields=fields,
            added=None,
            open_stream=open_read,
        )
    )
    rejected = [event.reason for event in events if isinstance(event, Rejection)]
    rows = pa.Table.from_batches([event for event in events if not isinstance(event, Rejection)]).to_pylist()
    assert rejected == ["missing_text"] and len(rows) == len(WITH_TEXT)
    for number, (row, document) in enumerate(zip(rows, WITH_TEXT, strict=True)):
        assert (row["id"], row["text"], row["source"]) == (document["id"], document["text"], "peer")
        assert row["created"] == dt.datetime(2023, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
        metadata = json.loads(row["metadata"])
        assert metadata.pop("origin").startswith(f"{name}:"), number
        assert metadata == {"url": f"https://example.org/{document['id']}", "dump": "made"}


def test_a_preset_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="'trove'"):
        build_config(SourceConfig, {"inputs": ["x"], "fields": "trove"})
    assert FieldMap.model_validate("dolma") == FieldMap()


def test_token_ids_are_datatroves(token_tree):
    """DocumentTokenizer without a shuffle: flat ids with an end token after each document, and where each ends."""
    tokenizer = load_tokenizer(str(our_side.RECORDED / "tokenizer.json"))
    ids, offsets = encode_batch(tokenizer, [document["text"] for document in WITH_TEXT])
    assert np.array_equal(np.fromfile(RECORDED / "tokens" / "unshuffled.ds", "<u2"), ids)
    assert np.array_equal(np.fromfile(RECORDED / "tokens" / "unshuffled.ds.index", "<u8"), offsets[1:])
    assert (token_tree / "tokenizer.json").read_bytes() == (our_side.RECORDED / "tokenizer.json").read_bytes()


def list_files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".parquet"}


@needs_datatrove
def test_datatrove_still_reads_our_documents_as_recorded(ours, tmp_path):
    our_side.run_datatrove(ours / "documents-of-both", tmp_path, "read")
    assert list_files(tmp_path / "read") == list_files(RECORDED / "read")


@needs_datatrove
def test_datatrove_still_writes_as_recorded(token_tree, tmp_path):
    our_side.run_datatrove(token_tree, tmp_path, "write", "tokens")
    assert list_files(tmp_path / "write") == list_files(RECORDED / "write")
    assert list_files(tmp_path / "tokens") == list_files(RECORDED / "tokens")
