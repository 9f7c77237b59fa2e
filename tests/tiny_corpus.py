"""Corpora of a few rows on disk, and random ones with a view over them, for tests of what reads corpora."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa
from hypothesis import strategies as st

from dolma_py import corpus, parquet_files, storage
from dolma_py.corpus import Corpus
from dolma_py.documents import DOCUMENT_SCHEMA, SPANS
from dolma_py.listing import Listing, Shard, append_shards
from dolma_py.views import SIZES, Step, View, attribute_path

Row = dict[str, Any]
Groups = list[list[Row]]  # row groups of a shard
ATTRIBUTE_SCHEMA = pa.schema(
    [("n", pa.int64()), ("flag", pa.bool_()), ("word", pa.string()), ("spans", SPANS), ("made", pa.bool_())]
)


def write_groups(path: str, groups: Groups, schema: pa.Schema) -> None:
    """One row group for each list of rows."""
    with storage.write_file(path) as stream, parquet_files.open_writer(stream, schema) as writer:
        for rows in groups:
            parquet_files.write_row_group(writer, pa.Table.from_pylist([dict(row) for row in rows], schema))


def write_corpus(root: str, shards: list[Groups]) -> Corpus:
    """Documents, their sizes and the listing. A row needs a text; id and source are made where it has none."""
    made = Corpus(root)
    listed = []
    for number, groups in enumerate(shards):
        groups = [
            [{"id": f"{number}-{group}-{row}", "source": "web"} | dict(values) for row, values in enumerate(rows)]
            for group, rows in enumerate(groups)
        ]
        sizes = [[{"text_bytes": len(row["text"].encode())} for row in rows] for rows in groups]
        counts = tuple((len(rows), sum(row["text_bytes"] for row in rows)) for rows in sizes)
        totals = (sum(rows for rows, _ in counts), sum(text_bytes for _, text_bytes in counts))
        path = f"documents/web/part-{number:05d}.parquet"
        write_groups(made.path(path), groups, DOCUMENT_SCHEMA)
        shard = Shard(number, path, "parquet", "web", *totals, 1, storage.checksum_file(made.path(path)), counts)
        write_groups(made.path(attribute_path(SIZES, shard)), sizes, corpus.SIZES_SCHEMA)
        listed.append(shard)
    append_shards(made.listing_path, Listing(()), listed)
    return made


def write_attributes(made: Corpus, name: str, shards: list[Groups], schema: pa.Schema = ATTRIBUTE_SCHEMA) -> None:
    """Attributes row-aligned with the documents; `made` is true in every row that has any value."""
    for shard, groups in zip(made.read_listing().shards, shards, strict=True):
        filled = [[row | {"made": True} if row and "made" in schema.names else row for row in rows] for rows in groups]
        write_groups(made.path(attribute_path(name, shard)), filled, schema)


class Case(NamedTuple):
    """A random corpus and a view over it."""

    documents: list[Groups]
    attributes: dict[str, list[Groups]]
    steps: list[Row]  # as tests.reference.rules.judge takes them

    def write(self, root: str) -> tuple[Corpus, View]:
        made = write_corpus(root, self.documents)
        for name, shards in self.attributes.items():
            write_attributes(made, name, shards)
        steps = [Step(name=f"step {index}", **step) for index, step in enumerate(self.steps)]
        return made, made.load_view(None).extend("view", steps)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to 2 shards of up to 3 row groups of up to 3 rows, some empty; two attribute sets; up to 5 steps."""
    document = st.fixed_dictionaries(
        {
            "text": st.text("ab \n\u00e9\u4e2d\U0001f600", max_size=8),
            "source": st.sampled_from(["web", "code", "b\u00fccher"]),
        }
    )
    documents = draw(st.lists(st.lists(st.lists(document, max_size=3), max_size=3), min_size=1, max_size=2))
    names = ("a-v1", "b-v1")
    attributes = {
        name: [[[draw(attribute_rows(row["text"])) for row in rows] for rows in groups] for groups in documents] for name in names
    }  # fmt: skip
    return Case(documents, attributes, draw(st.lists(view_steps(names), max_size=5)))


def attribute_rows(text: str) -> st.SearchStrategy[Row]:
    """Values for one document, each of them null at times; spans are sorted, disjoint and of whole characters."""
    bounds = [len(text[:place].encode()) for place in range(len(text) + 1)]
    places = st.lists(st.sampled_from(bounds), max_size=6).map(sorted)
    pairs = places.map(lambda found: list(zip(found[::2], found[1::2], strict=False)))
    spans = pairs.map(lambda found: [{"start": start, "end": end, "score": 0.5} for start, end in found])
    values = {
        "n": st.integers(-2, 2),
        "flag": st.booleans(),
        "word": st.sampled_from(["x", "x and y", ""]),
        "spans": spans,
    }
    return st.fixed_dictionaries(
        {name: st.one_of(st.none(), value) if name != "spans" else value for name, value in values.items()}
    )


def view_steps(names: tuple[str, ...]) -> st.SearchStrategy[Row]:
    """A rule, an edit or a least size, for all sources or some."""
    rules = ["n >= 0", "n > -2 and flag", "not flag", 'word in ["x", "x and y"]', 'word != "x and y" and n < 2', "flag"]
    sources = st.lists(st.sampled_from(["web", "code", "none"]), max_size=2)
    kinds = st.one_of(
        st.fixed_dictionaries({"attributes": st.sampled_from(names), "keep": st.sampled_from(rules)}),
        st.fixed_dictionaries({"attributes": st.sampled_from(names), "edit": st.just("spans")}),
        st.fixed_dictionaries({"min_text_bytes": st.integers(0, 12)}),
    )
    for_some = st.fixed_dictionaries({}, optional={"sources": sources, "except_sources": sources})
    return st.tuples(kinds, for_some).map(lambda pair: pair[0] | pair[1])
