"""mixers.shard_manifest: a whole small mix from texts to a folder of shards and back, by our reader and by the twin's."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from dolma_py.errors import DataError
from dolma_py.hashing import hash_ids, mix_keys
from mixers import percentiles, plan, sampling, shard_manifest, shards, tokenization
from mixers.prefix_search import Ordered
from tests.reference import shards as reference

SEED = 11
RNG = np.random.default_rng(2)
WORDS = ["alpha", "beta", "gamma", "delta", "<|endoftext|>", "\r\n", "\t", "\U0001f600", "1234", "   "]
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(1, 60)).tolist()) for _ in range(400)]
SOURCES = ["code" if i % 3 == 0 else "web" for i in range(400)]
IDS = [f"id,{i}" for i in range(400)]


@pytest.fixture(scope="module")
def tokenizer():
    return tokenization.build_tokenizer(tokenization.train_bpe(TEXTS, tokenization.BpeConfig(vocab_size=300)))


@pytest.fixture(scope="module")
def mix(tokenizer):
    """(copies, planned by cell, written by cell, held out) of the texts under a plan with a curve."""
    ids, offsets = tokenization.encode_batch(tokenizer, TEXTS)
    tokens, id_hash = np.diff(offsets), hash_ids(IDS, seed=SEED, name="mix")
    group = np.array([0 if source == "code" else 1 for source in SOURCES], np.int32)
    heldout = sampling.select_heldout(group, id_hash=id_hash, seed=SEED, config=sampling.HeldoutConfig(heldout_docs=10))
    bucket = percentiles.assign_buckets(
        RNG.random(400, np.float32), group=group, tokens=tokens, id_hash=id_hash, num_buckets=5
    )
    cell = np.where(heldout, -1, group * 5 + bucket).astype(np.int32)
    num_bytes = np.array([len(text.encode()) for text in TEXTS], np.int64)
    cells = percentiles.count_cells(
        [("code", ""), ("web", "")], cell=cell, tokens=tokens, num_bytes=num_bytes, num_buckets=5
    )
    config = plan.PlanConfig(token_budget=int(tokens.sum() * 1.4), sources={"web": plan.SourceConfig(curve=True)})
    made = plan.make_plan(cells, config)
    planned = made.cells["planned_tokens"].to_numpy()
    docs = Ordered(cell, mix_keys(id_hash, seed=SEED), id_hash, np.arange(len(cell)), tokens)
    names = [f"cell {number}" for number in range(len(planned))]
    whole, rest = sampling.split_budget(planned, available=made.cells["tokens"].to_numpy(), names=names)
    copies, _ = sampling.sample_copies(docs, whole=whole, rest=rest, chain=np.arange(10, dtype=np.int32) // 5)
    return {"copies": copies, "planned": planned, "cell": cell, "heldout": heldout, "ids": ids, "offsets": offsets}


def write_mix(folder, tokenizer, mix, *, num_buckets, piece_rows):
    """Both passes; returns the manifest. Rows reach the pieces in blocks of piece_rows."""
    copies = mix["copies"]
    row_of = np.repeat(np.arange(len(copies)), copies)
    copy = np.concatenate([np.arange(c) for c in copies]).astype(np.int32)
    id_hash = hash_ids(IDS, seed=SEED, name="mix")[row_of]
    keys = shards.order_hash(id_hash, copy=copy, copies=copies[row_of], seed=SEED)
    buckets = shards.bucket_of(keys, num_buckets)
    pieces = [[] for _ in range(num_buckets)]
    for start in range(0, len(row_of), piece_rows):
        for b in range(num_buckets):
            chosen = np.arange(start, min(start + piece_rows, len(row_of)))
            chosen = chosen[buckets[chosen] == b]
            rows = row_of[chosen]
            spans = [mix["ids"][mix["offsets"][r] : mix["offsets"][r + 1]] for r in rows]
            offsets = np.concatenate([[0], np.cumsum([len(s) for s in spans])]).astype(np.int64)
            columns = [
                pa.array(keys[chosen]),
                pa.array([IDS[r] for r in rows], pa.string()),
                pa.array(copy[chosen]),
                pa.array([SOURCES[r] for r in rows], pa.string()),
                pa.array([f"{SOURCES[r]}.jsonl" for r in rows], pa.string()),
                pa.array(rows + 1),
                pa.array(np.zeros(len(rows), np.int32)),
                pa.array(rows),
                pa.array([len(TEXTS[r].encode()) for r in rows], pa.int64()),
                *shards.without_fim(len(rows)),
                shards.build_tokens(np.concatenate([np.empty(0, np.uint32), *spans]), offsets),
            ]
            pieces[b].append(pa.Table.from_arrays(columns, schema=shards.PIECE_SCHEMA))
    folder.mkdir()
    parts = []
    for b in range(num_buckets):
        with open(folder / f"part-{b:05d}.npy", "wb") as tokens, open(folder / f"part-{b:05d}.csv.gz", "wb") as sidecar:
            parts.append(
                shards.write_part(
                    pieces[b],
                    part=b,
                    dtype=tokenizer.dtype,
                    eos_token_id=tokenizer.eos_token_id,
                    token_sink=tokens,
                    sidecar_sink=sidecar,
                )
            )
    checksums = {"tokenizer.json": "t", "lineage.parquet": "l"}
    manifest = shard_manifest.build_manifest(
        parts, tokenizer=tokenizer, seed=SEED, fingerprint="f" * 32, heldout={}, checksums=checksums
    )
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return manifest


def test_written_tokens_are_planned_tokens_within_one_document(mix):
    tokens, cell = np.diff(mix["offsets"]), mix["cell"]
    for c in range(10):
        written = int((tokens * mix["copies"])[cell == c].sum())
        assert abs(written - int(mix["planned"][c])) <= int(tokens[cell == c].max())
    assert (mix["copies"][mix["heldout"]] == 0).all() and mix["heldout"].sum() == 20


def test_every_document_comes_back_through_the_sidecar(tokenizer, mix, tmp_path):
    manifest = write_mix(tmp_path / "mix", tokenizer, mix, num_buckets=4, piece_rows=100)
    ours = list(shard_manifest.read_documents(str(tmp_path / "mix")))
    twin = reference.read_documents(tmp_path / "mix")
    assert [(*document[:-1], document[-1].tolist()) for document in ours] == twin
    seen = dict.fromkeys(IDS, 0)
    for _, start, end, name, path, line, ids in twin:
        assert tokenization.decode_ids(tokenizer, np.array(ids)) == TEXTS[line - 1]
        assert (IDS[line - 1], f"{SOURCES[line - 1]}.jsonl", end - start) == (name, path, len(ids))
        seen[name] += 1
    assert list(seen.values()) == mix["copies"].tolist()
    assert manifest["documents"] == len(twin) == mix["copies"].sum()
    assert manifest["tokens"] == sum(len(document[-1]) for document in twin)
    for source in ("code", "web"):
        rows = [d for d in twin if d[4] == f"{source}.jsonl"]
        num_bytes = sum(len(TEXTS[d[5] - 1].encode()) for d in rows)
        tokens = sum(len(d[-1]) for d in rows)
        assert manifest["sources"][source] == {"tokens": tokens, "documents": len(rows), "bytes": num_bytes}


def test_bytes_do_not_depend_on_pieces_and_order_not_on_buckets(tokenizer, mix, tmp_path):
    first = write_mix(tmp_path / "a", tokenizer, mix, num_buckets=3, piece_rows=1000)
    again = write_mix(tmp_path / "b", tokenizer, mix, num_buckets=3, piece_rows=7)
    assert first == again
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    write_mix(tmp_path / "c", tokenizer, mix, num_buckets=1, piece_rows=50)
    joined = b"".join((tmp_path / "a" / f"part-{b:05d}.npy").read_bytes() for b in range(3))
    assert joined == (tmp_path / "c" / "part-00000.npy").read_bytes()


def test_manifest_has_the_agreed_fields(tokenizer, mix, tmp_path):
    manifest = write_mix(tmp_path / "mix", tokenizer, mix, num_buckets=2, piece_rows=100)
    assert list(manifest) == [
        "format", "version", "dtype", "vocab_size", "eos_token_id", "tokenizer", "lineage", "lossless", "mix", "fim", "tokens",
        "documents", "seed", "fingerprint", "files", "sources", "heldout",
    ]  # fmt: skip
    assert (manifest["format"], manifest["version"], manifest["dtype"]) == ("dolma-py-shards", 1, "uint16")
    assert list(manifest["files"][0]) == ["path", "tokens", "documents", "bytes", "checksum", "sidecar"]
    assert manifest["tokenizer"] == {"path": "tokenizer.json", "fingerprint": tokenizer.fingerprint, "checksum": "t"}
    assert manifest["lineage"] == {"path": "lineage.parquet", "checksum": "l"} and manifest["mix"] is None


def test_damage_is_seen(tokenizer, mix, tmp_path):
    write_mix(tmp_path / "mix", tokenizer, mix, num_buckets=2, piece_rows=100)
    part = tmp_path / "mix" / "part-00001.npy"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(shard_manifest.read_documents(str(tmp_path / "mix")))
    assert caught.value.path.endswith("part-00001.npy")


@pytest.mark.parametrize("change", [lambda rows: rows[1:], lambda rows: rows[:-1], lambda rows: [rows[1], *rows[1:]]])
def test_a_sidecar_that_does_not_tile_its_part_is_seen(tokenizer, mix, tmp_path, change):
    import gzip

    import xxhash

    manifest = write_mix(tmp_path / "mix", tokenizer, mix, num_buckets=1, piece_rows=100)
    sidecar = tmp_path / "mix" / "part-00000.csv.gz"
    rows = gzip.decompress(sidecar.read_bytes()).splitlines(keepends=True)
    sidecar.write_bytes(gzip.compress(b"".join(change(rows))))
    manifest["files"][0]["sidecar"]["checksum"] = xxhash.xxh3_128_hexdigest(sidecar.read_bytes())
    (tmp_path / "mix" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError):
        list(shard_manifest.read_documents(str(tmp_path / "mix")))
