"""Plain files as people have them: odd schemas, odd lines, a saved data set, with copies planted in known places."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import random
from decimal import Decimal
from pathlib import Path

import made_recipe
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

FEATURES = {"text": {"dtype": "string", "_type": "Value"}, "label": {"dtype": "int64", "_type": "Value"}}


def make_texts(num_texts: int, seed: int) -> list[str]:
    """Texts of 30 sentences, no two alike."""
    rng = random.Random(seed)
    return [made_recipe.make_text(rng, 30) for _ in range(num_texts)]


def change(text: str) -> str:
    """A near copy."""
    return text.replace("The ", "A ", 1).replace("winter", "autumn", 1)


def make_table(texts: list[str | None]) -> pa.Table:
    """A table with every kind of column that people keep beside a text."""
    rows = range(len(texts))
    meta = [
        None if row % 5 == 4 else {"url": f"http://x/{row}", "tags": ["a"] * (row % 3), "deep": {"n": row}}
        for row in rows
    ]
    columns = {
        "nothing": pa.nulls(len(texts)),
        "when": pa.array([dt.datetime(2020, 1, 1, 0, 0, row % 60, tzinfo=dt.UTC) for row in rows], pa.timestamp("ns", "Europe/Paris")),
        "meta": pa.array(meta),
        "text": pa.array(texts, pa.large_string()),
        "kind": pa.array([["web", "book"][row % 2] for row in rows]).dictionary_encode(),
        "raw": pa.array([bytes([row % 256, 255]) for row in rows], pa.large_binary()),
        "seen": pa.array([f"seen {row} " * (row % 4) for row in rows], pa.string()).cast(pa.string_view()),
        "price": pa.array([Decimal(row) for row in rows], pa.decimal128(10, 2)),
        "key": pa.array(list(rows), pa.int64()),
        "pairs": pa.array([[("k", row)] for row in rows], pa.map_(pa.string(), pa.int32())),
        "half": pa.array([row / 2 for row in rows], pa.float32()),
    }  # fmt: skip
    fields = [
        pa.field(name, column.type, metadata={"note": name} if name == "key" else None)
        for name, column in columns.items()
    ]
    return pa.table(
        columns,
        schema=pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": {}}}), "mine": "kept"}),
    )


def write_parquet(folder: Path, name: str, table: pa.Table) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7, compression="snappy")
    return path


def write_lines(path: Path, lines: list[bytes], end: bytes = b"\n") -> Path:
    """Lines joined by newlines, compressed as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"\n".join(lines) + end
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)
    path.write_bytes(pack(content))
    return path


def read_lines(path: Path) -> bytes:
    unpack = {
        ".gz": gzip.decompress, ".zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    }.get(path.suffix, bytes)  # fmt: skip
    return unpack(path.read_bytes())


def save_dataset(folder: Path, splits: dict[str, list[pa.Table]]) -> None:
    """What `datasets.DatasetDict.save_to_disk` leaves: IPC streams, state and info of each split."""
    folder.mkdir(parents=True)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    for split, tables in splits.items():
        (folder / split).mkdir()
        names = [f"data-{number:05d}-of-{len(tables):05d}.arrow" for number in range(len(tables))]
        for name, table in zip(names, tables, strict=True):
            schema = table.schema.with_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
            with pa.OSFile(str(folder / split / name), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                writer.write_table(table.cast(schema), max_chunksize=4)
        state = {
            "_data_files": [{"filename": name} for name in names], "_fingerprint": "0123456789abcdef", "_format_columns": None,
            "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": split,
        }  # fmt: skip
        (folder / split / "state.json").write_text(json.dumps(state))
        info = {"citation": "", "description": "", "features": FEATURES, "homepage": "", "license": ""}
        (folder / split / "dataset_info.json").write_text(json.dumps(info))
        (folder / split / "cache-1.arrow").write_bytes(b"not to be read")


def list_bytes(folder: Path) -> dict[str, bytes]:
    """Every file that a user sees but run.json."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".dolma-py" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.name != "run.json"}
