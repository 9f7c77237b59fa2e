"""`dolma-py trace document ID`: every copy of a document in every mix, or why a mix has none: which step of its view dropped it, by what.

A document with copies is found by the lineage, which is sorted by id; one without by the ids of the corpus, read row group by row group.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow.compute as pc

from dolma_py import parquet_files, storage, views
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from dolma_py.formats.in_place import check_unchanged, read_shard
from dolma_py.listing import Shard
from dolma_py.report_examples import locate
from dolma_py.trace_mix import Copy, Mix, Origin, find_copies, find_heldout, find_mixes, find_origin, may_hold
from dolma_py.trace_text import TracedText, read_text
from dolma_py.trace_token import check_document, describe_copy
from dolma_py.views import View

_CUT_NAME = re.compile(r"(.+)#fim-\d+", re.DOTALL)


def trace_document(
    corpus: Corpus, name: str, *, mix: str | None, view: str | None, with_attributes: bool
) -> dict[str, Any]:
    """What became of a document, as JSON values.

    Parameters
    ----------
    name : str              id of a document, or of a copy that fill-in-the-middle cut (ID#fim-N), which stands for its document
    mix : str               one mix; all by default
    view : str              another view than those that the mixes were drawn from. Where the corpus has no mix, its views are walked
    with_attributes : bool  add every step of each view, and the values of its attribute sets

    Returns
    -------
    found : dict            `document`, and `fates`: one for each mix, or for each view where there is no mix

    Raises
    ------
    ConfigError             no such document, mix or view
    DataError               files that do not belong together
    """
    mixes = find_mixes(corpus, mix)
    document, copies, address = find_address(corpus, mixes, name)
    fates: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    for of_mix in mixes:
        fate, values = judge_mix(corpus, of_mix, copies[of_mix.name], address, view)
        told = values or told
        fates.append(fate if with_attributes else shorten(fate))
    for loaded in [] if mixes else find_views(corpus, view):
        text = read_under(corpus, loaded, address)
        fate = {"view": loaded.name, **judge_view(text)}
        told = text.describe() if text is not None else told
        fates.append(fate if with_attributes else shorten(fate))
    told = told or read_text(corpus, corpus.load_view(None), *address).describe()
    told.pop("edited_bytes", None)  # of one view, and there may be several
    return {"document": told | {"id": document}, "fates": fates}


def find_address(corpus: Corpus, mixes: list[Mix], name: str) -> tuple[str, dict[str, list[Copy]], tuple[int, int]]:
    """(id of the document, its copies by mix, its shard and row); ConfigError when the corpus has no such document."""
    cut = _CUT_NAME.fullmatch(name)
    names = [name] + ([cut[1]] if cut else [])
    none: dict[str, list[Copy]] = {mix.name: [] for mix in mixes}
    for document in names:  # the lineages first: they are sorted, the corpus is not
        copies = {mix.name: find_copies(mix, document) for mix in mixes}
        first = next((copy for found in copies.values() for copy in found if name in (document, copy.id)), None)
        if first is not None:
            return document, copies, (first.shard, first.row)
    for document in names:
        address = find_document(corpus, document)
        if address is not None:
            return document, none, address
    rule = f"expected the id of a document of {corpus.root}"
    raise ConfigError("ID", name, rule, "Records that could not be read have no id: they stand under rejected/.")


def find_document(corpus: Corpus, name: str) -> tuple[int, int] | None:
    """(shard, row) of a document by its id, None when there is none. Reads the ids of row groups that may hold it."""
    for shard in corpus.read_listing().shards:
        row = _find_row(corpus, shard, name) if shard.rows else None
        if row is not None:
            return shard.number, row
    return None


def _find_row(corpus: Corpus, shard: Shard, name: str) -> int | None:
    path = corpus.shard_path(shard)
    if shard.format != "parquet":
        found = pc.index(read_shard(path, shard).column("id"), name).as_py()
        return found if found >= 0 else None
    if not shard.path.startswith("documents/"):
        check_unchanged(path, shard)
    firsts = np.cumsum([0, *(rows for rows, _ in shard.row_groups)]).tolist()
    with parquet_files.open_parquet(path) as file:
        for group in may_hold(file, name, name):
            found = pc.index(file.read_row_group(group, columns=["id"], use_threads=False).column("id"), name).as_py()
            if found >= 0:
                return int(firsts[group] + found)
    return None


def find_views(corpus: Corpus, name: str | None) -> list[View]:
    """The named view, or all that the corpus keeps; all documents where it keeps none."""
    if name is not None:
        return [corpus.load_view(name)]
    files = [entry.name for entry in storage.list_folder(corpus.path("views")) if entry.name.endswith(".yaml")]
    return [corpus.load_view(file.removesuffix(".yaml")) for file in files] or [corpus.load_view(None)]


def read_under(corpus: Corpus, view: View, address: tuple[int, int]) -> TracedText | None:
    """The document under a view; None where its shard came after the view was made."""
    return read_text(corpus, view, *address) if address[0] < view.shards else None


def judge_mix(
    corpus: Corpus, mix: Mix, copies: list[Copy], address: tuple[int, int], view: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what became of a document in a mix, the document's own values)."""
    origin = find_origin(corpus, mix, view)
    text = read_under(corpus, origin.view, address)
    for copy in copies:
        if text is not None:
            check_document(text, copy)
    fate: dict[str, Any] = {
        "mix": mix.name, "view": origin.view.name, "copies": [describe_copy(mix, copy) for copy in copies],
    }  # fmt: skip
    told = judge_view(text)
    if told["verdict"] == "kept" and text is not None:
        told |= judge_sample(corpus, mix, origin, text, len(copies))
    return fate | told, text.describe() if text is not None else {}


def judge_view(text: TracedText | None) -> dict[str, Any]:
    """verdict: kept, dropped or not covered; `why` in one sentence; the steps and the values of the attribute sets."""
    if text is None:
        return {
            "verdict": "not covered",
            "why": "its file was ingested after the view was made",
            "steps": [],
            "values": {},
        }
    told = {"verdict": "kept", "why": "every rule of the view keeps it", "steps": text.steps, "values": text.attributes}
    for step in text.steps:
        if step["outcome"] == "dropped":
            why = f"dropped by step {step['step']}"
            kept = step["evidence"].get("kept_id")
            told |= {"verdict": "dropped", "why": why + (f"; {kept} stays for it" if kept else "")}
    return told


def judge_sample(corpus: Corpus, mix: Mix, origin: Origin, text: TracedText, num_copies: int) -> dict[str, Any]:
    """What the sample of a mix made of a document that its view keeps: written, held out, or drawn zero times."""
    if num_copies:
        return {"verdict": "written", "why": f"written {num_copies} times" if num_copies > 1 else "written once"}
    if origin.sample is None:
        return {
            "verdict": "not written",
            "why": "the view keeps it, and no run of the corpus says what was drawn of the view",
        }
    drawn = read_drawn(corpus, origin.sample, text)
    if drawn.get("is_heldout"):
        place = find_heldout(mix, text.source, text.id)
        where = (
            f"line {place[1]} of tokens/{mix.name}/{place[0]}"
            if place
            else "not among those of its source that were written"
        )
        return {"verdict": "held out", "why": f"held out for validation, {where}", "sample": drawn}
    if drawn.get("copies") is None:
        why = f"the view keeps it, and {origin.sample} has no value for it: it was drawn from another view"
        return {"verdict": "not written", "why": why, "sample": drawn}
    if drawn["copies"] == 0:
        return {"verdict": "sampled zero times", "why": f"{origin.sample} drew no copy of it", "sample": drawn}
    why = f"{origin.sample} now draws {drawn['copies']} copies of it: it was drawn again after the mix was written"
    return {"verdict": "not written", "why": why, "sample": drawn}


def read_drawn(corpus: Corpus, sample: str, text: TracedText) -> dict[str, Any]:
    """The document's row of the sample: copies, is_heldout, bucket."""
    group, inside = locate(text.shard, text.row)
    values: dict[str, Any] = (
        views.read_attributes(corpus.root, sample, text.shard, [group]).slice(inside, 1).to_pylist()[0]
    )
    return values


def shorten(fate: dict[str, Any]) -> dict[str, Any]:
    """A fate with the steps alone that dropped or cut the document."""
    told = {name: value for name, value in fate.items() if name != "values"}
    told["steps"] = [step for step in fate["steps"] if step["outcome"] in ("dropped", "cut")]
    return told
