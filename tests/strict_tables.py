"""Comparison of Arrow tables that forgives nothing: names, order, types, nullability, number of rows, every value."""

from __future__ import annotations

import pyarrow as pa


def assert_same_table(actual: pa.Table, expected: pa.Table, *, sort_by: list[str] | None = None) -> None:
    """Raise AssertionError at the first difference, with the row and both values.

    Rows are compared in order, or after sorting both by the columns `sort_by`, which must tell all rows apart. NaN equals
    NaN and nothing else; null equals null and nothing else; 0.0 and -0.0 differ; metadata of the schema is not compared.
    """
    for name, left, right in zip(("actual", "expected"), (actual, expected), (expected, actual), strict=True):
        extra = [column for column in left.column_names if column not in right.column_names]
        assert not extra, f"columns only in {name}: {extra}"
    assert actual.column_names == expected.column_names, (
        f"column order {actual.column_names} != {expected.column_names}"
    )
    for got, want in zip(actual.schema, expected.schema, strict=True):
        assert got.type == want.type, f"column {got.name}: type {got.type} != {want.type}"
        assert got.nullable == want.nullable, f"column {got.name}: nullable {got.nullable} != {want.nullable}"
    assert actual.num_rows == expected.num_rows, f"{actual.num_rows} rows != {expected.num_rows}"
    if sort_by:
        actual, expected = (_sorted_strictly(table, sort_by) for table in (actual, expected))
    for name in expected.column_names:
        rows = zip(actual[name].to_pylist(), expected[name].to_pylist(), strict=True)
        for row, (got, want) in enumerate(rows):
            assert _key(got) == _key(want), f"column {name}, row {row}: {got!r} != {want!r}"


def _sorted_strictly(table: pa.Table, sort_by: list[str]) -> pa.Table:
    keys = table.select(sort_by)
    assert keys.group_by(sort_by).aggregate([]).num_rows == table.num_rows, f"{sort_by} does not tell all rows apart"
    return table.sort_by([(name, "ascending") for name in sort_by])


def _key(value: object) -> object:
    """A stand-in that is equal exactly when the values are the same, at any depth: 1 is not 1.0 and not True."""
    if isinstance(value, float):
        return ("float", "nan" if value != value else value.hex())
    if isinstance(value, dict):
        return ("dict", [(name, _key(item)) for name, item in value.items()])
    if isinstance(value, list | tuple):
        return ("list", [_key(item) for item in value])
    return (type(value).__name__, value)
