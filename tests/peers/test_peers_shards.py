"""Shards read by the rules of OLMo-core's reader (tests.peers.olmo_core_reader), and compared with those that dolma wrote."""

from __future__ import annotations

import csv
import gzip
import io
import json

import numpy as np
import pyarrow as pa
import pytest

from mixers import shards
from mixers.shard_manifest import build_manifest
from mixers.tokenization import BpeConfig, build_tokenizer, encode_batch, load_tokenizer, train_bpe
from tests.peers import made_tree, olmo_core_reader, our_side

TEXTS = [
    "The first document.",
    "",
    "A second one, with <|endoftext|> spelled out.",
    "Third: \U0001f600 and\r\nlines.\n",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    tokenizer = build_tokenizer(train_bpe(TEXTS * 20, BpeConfig(vocab_size=300)))
    ids, offsets = encode_batch(tokenizer, TEXTS)
    names = [f"doc-{number}" for number in range(len(TEXTS))]
    columns = [
        pa.array(np.arange(len(TEXTS), dtype=np.uint64) << np.uint64(60)), pa.array(names), pa.array(np.zeros(len(TEXTS), np.int32)),
        pa.array(["web"] * len(TEXTS)), pa.array(["a.jsonl"] * len(TEXTS)), pa.array(np.arange(1, len(TEXTS) + 1)),
        pa.array(np.zeros(len(TEXTS), np.int32)), pa.array(np.arange(len(TEXTS))),
        pa.array([len(text.encode()) for text in TEXTS]), *shards.without_fim(len(TEXTS)), shards.build_tokens(ids, offsets),
    ]  # fmt: skip
    table = pa.Table.from_arrays(columns, schema=shards.PIECE_SCHEMA)
    with open(path / "part-00000.npy", "wb") as tokens, open(path / "part-00000.csv.gz", "wb") as sidecar:
        part = shards.write_part(
            [table],
            part=0,
            dtype=tokenizer.dtype,
            eos_token_id=tokenizer.eos_token_id,
            token_sink=tokens,
            sidecar_sink=sidecar,
        )
    made = build_manifest(
        [part],
        tokenizer=tokenizer,
        seed=0,
        fingerprint="0",
        heldout={},
        checksums={"tokenizer.json": "t", "lineage.parquet": "l"},
    )
    (path / "manifest.json").write_text(json.dumps(made))
    return path, tokenizer, made


def test_shards_read_as_olmo_core_does(folder):
    """Its documents by the end token and by the sidecar are the texts; instances follow each other without a gap."""
    path, tokenizer, made = folder
    size, eos = tokenizer.vocab_size, made["eos_token_id"]
    found = olmo_core_reader.check_folder(path, vocab_size=size, eos=eos)
    assert np.dtype(made["dtype"]) == olmo_core_reader.choose_type(max(size, 512))
    assert [tokenizer.backend.decode(ids[:-1]) for ids in found["part-00000.npy"]] == TEXTS
    flat = [token for ids in found["part-00000.npy"] for token in ids]
    instances = olmo_core_reader.cut_instances(path, vocab_size=size, length=4)
    assert [token for instance in instances for token in instance] == flat[: len(flat) // 4 * 4]


@pytest.mark.parametrize("fault", ["header", "odd", "id", "end", "row"])
def test_the_reader_sees_faults(folder, tmp_path, fault):
    path, tokenizer, made = folder
    tokens = np.fromfile(path / "part-00000.npy", "<u2")
    rows = gzip.decompress((path / "part-00000.csv.gz").read_bytes())
    changed = {"id": np.where(np.arange(len(tokens)) == 1, 400, tokens), "end": tokens[:-1]}.get(fault, tokens).astype(
        "<u2"
    )
    before, after = (b"\x93NUMPY" if fault == "header" else b""), (b"x" if fault == "odd" else b"")
    (tmp_path / "part-00000.npy").write_bytes(before + changed.tobytes() + after)
    (tmp_path / "part-00000.csv.gz").write_bytes(gzip.compress(rows.split(b"\n", 1)[1] if fault == "row" else rows))
    with pytest.raises(ValueError, match=r"part-00000|end token"):
        olmo_core_reader.check_folder(tmp_path, vocab_size=tokenizer.vocab_size, eos=made["eos_token_id"])


def test_the_sidecar_reads_as_dolmas_does(folder):
    """csv.gz without a header: start, end, id, source path, line; end exclusive, lines from 1, rows tile the file."""
    path, _, made = folder
    rows = list(csv.reader(io.StringIO(gzip.decompress((path / "part-00000.csv.gz").read_bytes()).decode())))
    assert [len(row) for row in rows] == [5] * len(TEXTS)
    bounds = [(int(row[0]), int(row[1])) for row in rows]
    assert bounds[0][0] == 0 and bounds[-1][1] == made["tokens"]
    assert all(before[1] == after[0] for before, after in zip(bounds, bounds[1:], strict=False))
    assert [row[2:] for row in rows] == [[f"doc-{number}", "a.jsonl", str(number + 1)] for number in range(len(TEXTS))]


def test_gzip_carries_neither_name_nor_time(folder):
    header = (folder[0] / "part-00000.csv.gz").read_bytes()[:10]
    assert header[3] == 0 and header[4:8] == b"\0\0\0\0"


def recorded_rows():
    """(start, end, id, path, line) of the sidecar that dolma tokens wrote."""
    text = (our_side.RECORDED / "dolma" / "tokens" / "part-0-00000.csv").read_text()
    return [(int(start), int(end), *rest, int(line)) for start, end, *rest, line in csv.reader(io.StringIO(text))]


def made_documents():
    """id -> (text, line) of the made documents."""
    found = {}
    for source in made_tree.TEXTS:
        for line, document in enumerate(made_tree.make_documents(source), 1):
            found[document["id"]] = (document["text"], line)
    return found


def test_a_shard_is_the_one_dolma_tokens_wrote(tmp_path):
    """Byte for byte, and the sidecar row for row, for the same documents in the same order; dolma strips each text first."""
    made = made_documents()
    rows = recorded_rows()
    assert {name for _, _, name, _, _ in rows} == {name for name, (text, _) in made.items() if text.strip()}
    texts = [made[name][0].strip() for _, _, name, _, _ in rows]
    tokenizer = load_tokenizer(str(our_side.RECORDED / "tokenizer.json"))
    ids, offsets = encode_batch(tokenizer, texts)
    columns = [
        pa.array(np.arange(len(rows), dtype=np.uint64) << np.uint64(59)), pa.array([row[2] for row in rows]),
        pa.array(np.zeros(len(rows), np.int32)), pa.array([row[2].split("-")[0] for row in rows]), pa.array([row[3] for row in rows]),
        pa.array([made[row[2]][1] for row in rows]), pa.array(np.zeros(len(rows), np.int32)), pa.array(np.arange(len(rows))),
        pa.array([len(text.encode()) for text in texts]), *shards.without_fim(len(rows)), shards.build_tokens(ids, offsets),
    ]  # fmt: skip
    typed = [column.cast(field.type) for column, field in zip(columns, shards.PIECE_SCHEMA, strict=True)]
    table = pa.Table.from_arrays(typed, schema=shards.PIECE_SCHEMA)
    tokens, sidecar = io.BytesIO(), io.BytesIO()
    shards.write_part(
        [table],
        part=0,
        dtype=tokenizer.dtype,
        eos_token_id=tokenizer.eos_token_id,
        token_sink=tokens,
        sidecar_sink=sidecar,
    )
    assert tokens.getvalue() == (our_side.RECORDED / "dolma" / "tokens" / "part-0-00000.npy").read_bytes()
    ours = list(csv.reader(io.StringIO(gzip.decompress(sidecar.getvalue()).decode())))
    assert [[int(a), int(b), name, path, int(line)] for a, b, name, path, line in ours] == [list(row) for row in rows]


@pytest.mark.skipif(
    not (our_side.ENVIRONMENTS / "dolma" / ".installed").exists(), reason="dolma is not there: run make peers"
)
def test_dolma_tokens_still_writes_as_recorded(token_tree, tmp_path):
    """Which of two files comes first follows from their paths, and from nothing that one may set."""
    our_side.record_dolma_of(token_tree, tmp_path, "tokens")
    made, recorded = tmp_path / "tokens", our_side.RECORDED / "dolma" / "tokens"
    assert (made / "recorded.json").read_bytes() == (recorded / "recorded.json").read_bytes()
    assert read_documents(made) == read_documents(recorded)


def read_documents(folder):
    """(id, path, line) -> tokens of what dolma wrote."""
    tokens = np.frombuffer((folder / "part-0-00000.npy").read_bytes(), np.uint16)
    rows = list(csv.reader(io.StringIO((folder / "part-0-00000.csv").read_text())))
    assert [int(row[0]) for row in rows] == [0, *(int(row[1]) for row in rows[:-1])] and int(rows[-1][1]) == len(tokens)
    return {tuple(row[2:]): tokens[int(row[0]) : int(row[1])].tolist() for row in rows}
