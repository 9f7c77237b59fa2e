"""Whether the shards of a mix hold what its view says: every copy of every document decoded and compared with the edited text.

    python -m pipelines.shard_texts CORPUS MIX [--view NAME]

For checks: memory is the lineage, a row group of documents, and, on an object store, all token files; locally these are mapped.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_py import parquet_files, storage, views
from dolma_py.corpus import Corpus, ViewBatch, read_view
from dolma_py.errors import ConservationError, DataError
from dolma_py.listing import plan_splits
from dolma_py.views import View
from mixers.fim import MODE_NAMES, FimTokens, undo_fim
from mixers.shards import LINEAGE_SCHEMA
from mixers.tokenization import LoadedTokenizer, build_tokenizer, decode_ids

ROW_BITS = (1 << 40) - 1


def compare_texts(corpus: Corpus, view: View, mix: str) -> int:
    """Decode every row of the lineage and compare it with the view's text; returns the number of copies.

    Raises
    ------
    DataError           a copy whose tokens give other bytes, another id or other cuts than its document and its row of the lineage
    ConservationError   copies of documents that the view has not, or fewer in the lineage than in the manifest
    """
    folder = corpus.path("tokens", mix)
    made = json.loads(storage.read_bytes(storage.join_path(folder, "manifest.json")))
    tokenizer = _load_tokenizer(storage.join_path(folder, "tokenizer.json"), made["eos_token_id"])
    fim = made["fim"] and FimTokens(*(made["fim"][f"{name}_token_id"] for name in FimTokens._fields))
    parts = [_open_part(storage.join_path(folder, entry["path"]), made["dtype"]) for entry in made["files"]]
    with parquet_files.open_parquet(storage.join_path(folder, "lineage.parquet")) as file:
        lineage = file.read(columns=LINEAGE_SCHEMA.names)
    compared = 0
    listing = views.check_listing(view, corpus.read_listing())
    for split in plan_splits(listing, 1):  # a row group each
        of_shard = lineage.filter(pc.equal(lineage["shard"], split.shard))
        for batch in read_view(corpus, view, split, ["text"]):
            compared += _compare_batch(batch, of_shard, parts, tokenizer, fim, folder)
    if not compared == lineage.num_rows == made["documents"]:
        raise ConservationError(
            "tokens", {"compared": compared, "lineage": lineage.num_rows, "manifest": made["documents"]}
        )
    return compared


def _load_tokenizer(path: str, eos_token_id: int) -> LoadedTokenizer:
    content = storage.read_bytes(path)
    tokens = {token["id"]: token["content"] for token in json.loads(content)["added_tokens"]}
    return build_tokenizer(content, eos_token=tokens.get(eos_token_id), where=path)


def _open_part(path: str, dtype: str) -> npt.NDArray[np.unsignedinteger]:
    kind = np.dtype(dtype).newbyteorder("<")
    if storage.is_remote(path) or not storage.file_bytes(path):
        return np.frombuffer(storage.read_bytes(path), kind)
    return np.memmap(path, kind, mode="r")


def _compare_batch(
    batch: ViewBatch, lineage: pa.Table, parts: list[npt.NDArray[np.unsignedinteger]], tokenizer: LoadedTokenizer,
    fim: FimTokens | None, folder: str,
) -> int:  # fmt: skip
    """Compare the copies of one row group's documents."""
    rows = (batch.addresses & np.int64(ROW_BITS)).tolist()
    documents = dict(zip(rows, batch.documents.select(["id", "text"]).to_pylist(), strict=True))
    copies = lineage.filter(pc.is_in(lineage["row"], pa.array(rows, pa.int64()))).to_pylist()
    for copy in copies:
        document = documents[copy["row"]]
        ids = parts[copy["part"]][copy["start"] : copy["end"]]
        name, cuts, text = document["id"], (None, None, None), None
        if fim is not None and copy["fim_mode"] is not None:
            name = f"{name}#fim-{copy['copy']}"
            undone = undo_fim(tokenizer, ids, fim)
            text, cuts = undone.text, (MODE_NAMES[undone.mode], undone.start, undone.end)
        elif len(ids) and ids[-1] == tokenizer.eos_token_id:
            text = decode_ids(tokenizer, ids)
        if (name, text, *cuts) != (copy["id"], document["text"], copy["fim_mode"], copy["fim_start"], copy["fim_end"]):
            where = f"tokens {copy['start']} to {copy['end']} of part {copy['part']}"
            raise DataError(
                folder, f"{where} are not the text of document {document['id']}", copy["row"], "Run the step again."
            )
    return len(copies)


def main(argv: list[str] | None = None) -> int:
    """Compare one mix of a corpus."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("mix")
    parser.add_argument("--view", help="the view that the mix was drawn from; all documents by default")
    given = parser.parse_args(argv)
    corpus = Corpus(given.corpus)
    copies = compare_texts(corpus, corpus.load_view(given.view), given.mix)
    sys.stdout.write(f"{copies} copies in {corpus.path('tokens', given.mix)} give the bytes of their documents\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
