"""What `dedup substring` cut most often, as its step wrote it: repeats.json, for the report and for `inspect`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from dolma_py import manifest
from dolma_py.corpus import Corpus
from dolma_py.done import read_done_lines
from dolma_py.errors import DataError
from dolma_py.report_training import read_json

FORMAT = "dolma-py-repeats"
ARTIFACT = "repeats"


class Place(NamedTuple):
    """A document in which a text was cut."""

    id: str
    source: str
    file: str  # of the corpus
    row: int


class Repeated(NamedTuple):
    """One text that was cut."""

    times: int
    documents: int
    num_bytes: int  # in all
    text: str  # what its examples have in common, of a long one a part
    examples: tuple[Place, ...]  # the first documents, of different ones each


def read_repeats(corpus: Corpus, made: dict[str, Any]) -> tuple[Repeated, ...] | None:
    """Those of a step, by its manifest, most often cut first; None where the step left no such file, or it is gone."""
    path = made["artifacts"].get(ARTIFACT)
    content = None if path is None else read_json(corpus.path(path))
    if content is None:
        return None
    if content.get("format") != FORMAT:
        raise DataError(corpus.path(path), f"expected format {FORMAT}, got {content.get('format')}")
    return tuple(
        Repeated(
            line["times"],
            line["documents"],
            line["bytes"],
            line["text"],
            tuple(Place(**place) for place in line["examples"]),
        )
        for line in content["passages"]
    )


def find_repeats(corpus: Corpus, name: str) -> tuple[Repeated, ...] | None:
    """Those of the step that made an attribute set; None where it left none, or another has made the set since."""
    lines = read_done_lines(corpus.path("attributes", name, "_done.jsonl"))
    found = None
    with suppress(DataError):  # a damaged manifest of another run is that run's business
        for made in manifest.iterate_manifests(corpus.path("runs")) if lines else ():
            if made["attributes"].get(name) == lines[0]["fingerprint"] and ARTIFACT in made["artifacts"]:
                found = made
    return None if found is None else read_repeats(corpus, found)
