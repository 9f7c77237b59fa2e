"""Preference pairs on disk: the folder that `posttrain prepare` writes, and a flat copy of it that is read in any order.

PAIRS/manifest.json and PAIRS/pairs_part_NNNN.parquet, a row a pair: id; ids and label mask of the chosen and of the rejected conversation;
the first trained token of the last assistant turn of both. Rows of a Parquet file cannot be read alone, so ids and masks are copied once
into files that are mapped into memory, 5 bytes a token.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from dolma_py.config import Config
from dolma_py.errors import DataError
from train_bridge.checkpoint import write_json
from train_bridge.manifest import MANIFEST_NAME, TokenizerEntry

SIDES = ("chosen", "rejected")
ROWS_AT_A_TIME = 256
_COPY_VERSION = 1


class _Entry(Config):
    # a later writer may add facts; the ones named here are those that reading depends on
    model_config = ConfigDict(frozen=True, extra="ignore")


class PairFileEntry(_Entry):
    path: str = Field(description="Parquet file, relative to the manifest.")
    documents: int = Field(ge=0, description="Pairs in the file, a row each.")
    checksum: str = Field(description="xxh3-128 of the file, hex.")


class TemplateEntry(_Entry):
    name: str = Field(description="Chat template that the conversations were rendered with.")
    fingerprint: str = Field(description="Of the template's text, hex.")


class PairManifest(_Entry):
    """What the reader needs of manifest.json."""

    format: Literal["dolma-py-pairs"] = Field(description="Name of the format.")
    version: Literal[1] = Field(description="Version of the format.")
    vocab_size: int = Field(ge=1, description="Entries of the tokenizer; every id is below it.")
    eos_token_id: int = Field(ge=0, description="Id that ends each conversation.")
    tokenizer: TokenizerEntry = Field(description="The tokenizer.")
    template: TemplateEntry = Field(description="The chat template.")
    documents: int = Field(ge=0, description="Pairs in all files.")
    fingerprint: str = Field(description="Of the content, hex.")
    files: tuple[PairFileEntry, ...] = Field(min_length=1, description="Files in order.")


def read_pair_manifest(folder: str) -> PairManifest:
    """The manifest of a folder of pairs; DataError says what is wrong with it."""
    path = Path(folder) / MANIFEST_NAME
    try:
        manifest = PairManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            str(path), f"cannot be read ({error.strerror})", hint="Run: dolma-py posttrain prepare"
        ) from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(str(path), f"{key or 'content'}: {first['msg']}, got {first.get('input')!r:.80}") from error
    total = sum(entry.documents for entry in manifest.files)
    if total != manifest.documents:
        raise DataError(str(path), f"documents: expected the files' sum {total}, got {manifest.documents}")
    for entry in (*manifest.files, manifest.tokenizer):
        if Path(entry.path).is_absolute() or ".." in Path(entry.path).parts:
            raise DataError(str(path), f"path {entry.path!r} leaves the folder of pairs")
    return manifest


PAIR_SCHEMA = pa.schema(
    [("id", pa.string())]
    + [
        (f"{side}_{name}", pa.list_(kind))
        for side in SIDES
        for name, kind in (("ids", pa.uint32()), ("mask", pa.bool_()))
    ]
    + [(f"{side}_last", pa.int32()) for side in SIDES]
)


class PairArrays(NamedTuple):
    """All pairs. `ids` and `masks`: one flat array a side, int64 ends (N,) of each side's conversations in `ends` (N, 2)."""

    names: pa.ChunkedArray  # ids of pairs, string (N,)
    ids: tuple[NDArray[np.uint32], ...]
    masks: tuple[NDArray[np.uint8], ...]
    ends: NDArray[np.int64]  # (N, 2)
    lasts: NDArray[np.int32]  # (N, 2)

    def span(self, pair: int, side: int) -> tuple[int, int]:
        """First token and end of a conversation in its side's arrays."""
        return (int(self.ends[pair - 1, side]) if pair else 0), int(self.ends[pair, side])


def copy_pairs(folder: str, manifest: PairManifest, copy: Path) -> None:
    """Write the flat copy, unless `copy` holds that of these files. One process does it. DataError names file and row of what is wrong."""
    wanted = {"version": _COPY_VERSION, "files": [entry.model_dump() for entry in manifest.files]}
    told = copy / "copied.json"
    if told.is_file() and json.loads(told.read_text()) == wanted:
        return
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    ends, lasts, totals = [], [], np.zeros(2, dtype=np.int64)
    with (copy / "chosen.ids").open("wb") as ids_0, (copy / "rejected.ids").open("wb") as ids_1, \
         (copy / "chosen.mask").open("wb") as mask_0, (copy / "rejected.mask").open("wb") as mask_1:  # fmt: skip
        for entry in manifest.files:
            row = 0
            for batch in _read_batches(Path(folder) / entry.path, entry.documents):
                lengths = _check_batch(batch, Path(folder) / entry.path, row, vocab_size=manifest.vocab_size)
                for side, ids, mask in ((0, ids_0, mask_0), (1, ids_1, mask_1)):
                    ids.write(_flat(batch, f"{SIDES[side]}_ids").to_numpy().astype("<u4").tobytes())
                    mask.write(
                        _flat(batch, f"{SIDES[side]}_mask").to_numpy(zero_copy_only=False).astype(np.uint8).tobytes()
                    )
                ends.append(totals + np.cumsum(lengths, axis=0))
                totals = totals + lengths.sum(axis=0)
                lasts.append(np.stack([batch.column(f"{side}_last").to_numpy() for side in SIDES], axis=1))
                row += len(batch)
    np.save(copy / "ends.npy", np.concatenate(ends) if ends else np.empty((0, 2), dtype=np.int64))
    np.save(copy / "lasts.npy", np.concatenate(lasts) if lasts else np.empty((0, 2), dtype=np.int32))
    write_json(told, wanted)


def open_pairs(folder: str, manifest: PairManifest, copy: Path) -> PairArrays:
    """The flat copy, mapped into memory."""
    names = [
        pq.read_table(Path(folder) / entry.path, columns=["id"]).column("id").cast(pa.string())
        for entry in manifest.files
    ]
    flat: dict[str, list[Any]] = {"ids": [], "mask": []}
    for side in SIDES:
        for kind, dtype in (("ids", "<u4"), ("mask", np.uint8)):
            path = copy / f"{side}.{kind}"
            # an empty file cannot be mapped
            flat[kind].append(np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype))
    return PairArrays(
        pa.chunked_array([chunk for column in names for chunk in column.chunks], type=pa.string()),
        tuple(flat["ids"]),
        tuple(flat["mask"]),
        np.load(copy / "ends.npy"),
        np.load(copy / "lasts.npy"),
    )


def _read_batches(path: Path, num_pairs: int) -> Any:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(str(path), f"cannot be read as Parquet ({error})") from error
    with file:
        schema = file.schema_arrow
        for field in PAIR_SCHEMA:
            if field.name not in schema.names or not _is_alike(schema.field(field.name).type, field.type):
                found = schema.field(field.name).type if field.name in schema.names else "no such column"
                raise DataError(str(path), f"column {field.name}: expected {field.type}, got {found}")
        if file.metadata.num_rows != num_pairs:
            raise DataError(str(path), f"expected {num_pairs} pairs as the manifest says, got {file.metadata.num_rows}")
        yield from file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=PAIR_SCHEMA.names)


def _is_alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """The same but for the name of a list's items."""
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return found.value_type == wanted.value_type
    return found == wanted


def _flat(batch: pa.RecordBatch, name: str) -> pa.Array:
    """All items of a list column, one list after another; `values` would give those outside of a slice too."""
    return batch.column(name).flatten()


def _check_batch(batch: pa.RecordBatch, path: Path, first_row: int, *, vocab_size: int) -> NDArray[np.int64]:
    """Tokens of both conversations, int64 (rows, 2); DataError for the first row that is no pair."""
    lengths = np.empty((len(batch), 2), dtype=np.int64)
    for name in PAIR_SCHEMA.names:
        column = batch.column(name)
        if column.null_count or (pa.types.is_list(column.type) and column.flatten().null_count):
            raise DataError(
                str(path), f"column {name}: a value is missing in rows {first_row + 1} to {first_row + len(batch)}"
            )
    for number, side in enumerate(SIDES):
        ids, mask, last = (batch.column(f"{side}_{name}") for name in ("ids", "mask", "last"))
        sizes, mask_sizes = (np.diff(np.asarray(column.offsets)) for column in (ids, mask))
        last = last.to_numpy()
        wrong = (sizes != mask_sizes) | (sizes < 2) | (last < 0) | (last >= sizes)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            got = f"{sizes[row]} ids, {mask_sizes[row]} mask values, last turn at {last[row]}"
            rule = f"{side}: expected two ids or more, as many mask values, and a last turn among them, got {got}"
            raise DataError(str(path), rule, row=first_row + row + 1)
        values = ids.flatten().to_numpy()
        if len(values) and int(values.max()) >= vocab_size:
            raise DataError(str(path), f"{side}_ids: id {values.max()} is not below vocab_size {vocab_size} in rows {first_row + 1} "
                            f"to {first_row + len(batch)}")  # fmt: skip
        lengths[:, number] = sizes
    return lengths
