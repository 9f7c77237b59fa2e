"""Which copy stays: one total order over documents, the same for every method of deduplication.

Legend: N documents, G clusters.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dedup.candidates import Addresses
from dolma_py.config import Config
from dolma_py.errors import SchemaError

SOURCE_PRIORITY = "source_priority"


class AttributeOrder(Config):
    """One thing that members of a cluster are compared by."""

    name: str = Field(
        description="`length` (bytes of text in the view), `created`, `added`, `metadata.FIELD` such as metadata.warc_date, "
        "SET.COLUMN of an attribute set, `source_priority` (its place among the others; it is first where it is not named), or `id`"
    )
    order: Literal["ascending", "descending"] = Field(
        description="which value is kept: ascending keeps the smallest (oldest), descending the largest (newest); no value comes last"
    )
    values: Literal["number", "text"] | None = Field(
        None,
        description="how values are compared; null: metadata and id as text (code points, right for ISO dates), the rest as numbers",
    )

    @property
    def column(self) -> str:
        """Its column in the table of documents. Spark reads a dot in a column's name as a field of a struct."""
        return self.name.replace(".", "/")

    @property
    def kind(self) -> str:
        """ "number" or "text"."""
        is_text = self.name == "id" or self.name.startswith("metadata.")
        return self.values or ("text" if is_text else "number")


class KeepPolicy(Config):
    """A total order: source priority, then attributes, then corpus order. Empty: the first in corpus order is kept.

    The last tiebreak is the address, that is corpus order: shards as the listing has them, rows as they stand in a shard. No two
    documents have one address, so no tie is left, whatever the attributes say.
    """

    source_priority: tuple[str, ...] = Field(
        (), description="sources from most to least wanted; sources not named follow, as equals"
    )
    attributes: tuple[AttributeOrder, ...] = Field((), description="compared in this order when the sources are equal")

    @property
    def columns(self) -> tuple[AttributeOrder, ...]:
        """The attributes that are columns of their own."""
        return tuple(attribute for attribute in self.attributes if attribute.name != SOURCE_PRIORITY)


class Kept(NamedTuple):
    """The decision for each of N documents and its evidence."""

    is_duplicate: npt.NDArray[np.bool_]  # bool (N,)   False for the kept member
    cluster_id: Addresses  # int64 (N,)  smallest address of the cluster
    cluster_size: npt.NDArray[np.int32]  # int32 (N,)  1 for a document alone
    kept_address: Addresses  # int64 (N,)  who stays in this one's place; itself when kept


def keep_order(
    documents: pa.Table | pa.RecordBatch, *, policy: KeepPolicy, address: str = "address"
) -> npt.NDArray[np.int64]:
    """The place of each document in the order of the policy, int64 (N,): 0 is kept before 1; no two are equal.

    Parameters
    ----------
    documents : N rows          columns: `address` int64 without repeats; `source` string when source_priority is set; each
                                attribute of the policy (numbers, strings, dates; null and NaN come last in both directions)

    Raises
    ------
    SchemaError                 a column is missing, or an address stands twice (the order would not be total)
    """
    table = pa.Table.from_batches([documents]) if isinstance(documents, pa.RecordBatch) else documents
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    sort_keys: list[tuple[str, str]] = []

    def add_key(column: pa.ChunkedArray | pa.Array, order: str) -> None:
        columns[f"k{len(columns)}"] = column
        sort_keys.append((f"k{len(columns) - 1}", order))

    def add_sources(order: str) -> None:
        source = _column(table, "source")
        found = pc.index_in(source, value_set=pa.array(policy.source_priority, source.type))
        add_key(pc.fill_null(found, len(policy.source_priority)), order)

    if policy.source_priority and SOURCE_PRIORITY not in [attribute.name for attribute in policy.attributes]:
        add_sources("ascending")
    for attribute in policy.attributes:
        if attribute.name == SOURCE_PRIORITY:
            add_sources(attribute.order)
            continue
        column = _column(table, attribute.column)
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        add_key(column, attribute.order)
    add_key(_column(table, address), "ascending")
    if len(pc.unique(_column(table, address))) != table.num_rows:
        raise SchemaError(address, "each address once", "a repeated address")
    order = pc.sort_indices(pa.table(columns), sort_keys=sort_keys).to_numpy().astype(np.int64)  # nulls come last
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order), dtype=np.int64)
    return place


def choose_kept(
    group: npt.NDArray[np.generic], address: Addresses, *, place: npt.NDArray[np.int64] | None = None
) -> Kept:
    """In each group of equal values keep the document with the smallest place.

    Parameters
    ----------
    group : (N,) any dtype that sorts   equal value: same cluster; structured arrays hold several columns
    address : int64 (N,)                no repeats
    place : int64 (N,) or None          from keep_order; None: corpus order, that is the address itself

    Raises
    ------
    SchemaError                         lengths differ
    """
    place = address if place is None else place
    if not len(group) == len(address) == len(place):
        raise SchemaError("group, address, place", "one length", f"{len(group)}, {len(address)}, {len(place)}")
    _, number = np.unique(group, return_inverse=True)
    number = number.reshape(-1)
    size = np.bincount(number)
    order = np.lexsort((place, number))
    starts = np.concatenate([[0], np.cumsum(size)])[:-1].astype(np.int64)
    kept = address[order[starts]] if len(order) else address
    smallest = np.minimum.reduceat(address[order], starts) if len(order) else address
    return Kept(address != kept[number], smallest[number], size[number].astype(np.int32), kept[number])


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise SchemaError(name, "a column of the keep policy", f"columns {table.column_names}")
    return table.column(name)
