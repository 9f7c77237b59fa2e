"""Parquet files byte by byte, so that they may lie: pages that say other sizes than they have, footers that say other rows.

Source: apache/parquet-format, parquet.thrift and Thrift's compact protocol.
"""

from __future__ import annotations

from typing import Any, NamedTuple

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
PLAIN, RLE, DELTA_BYTE_ARRAY, RLE_DICTIONARY = 0, 3, 7, 8
DATA_PAGE, DICTIONARY_PAGE = 0, 2
UNCOMPRESSED, ZSTD = 0, 6
REQUIRED, OPTIONAL, REPEATED = 0, 1, 2
BYTE_ARRAY, INT32 = 6, 1
Field = tuple[int, int, Any]  # id, type, value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def write_value(kind: int, value: Any) -> bytes:
    if kind in (I32, I64):
        return varint((value << 1) ^ (value >> 63))
    if kind == BINARY:
        return varint(len(value)) + value
    if kind == STRUCT:
        return write_struct(value)
    item, values = value
    head = bytes([len(values) << 4 | item]) if len(values) < 15 else bytes([0xF0 | item]) + varint(len(values))
    return head + b"".join(write_value(item, one) for one in values)


def write_struct(fields: list[Field]) -> bytes:
    out, last = b"", 0
    for number, kind, value in fields:
        out += bytes([(number - last) << 4 | kind]) + write_value(kind, value)
        last = number
    return out + b"\0"


class Page(NamedTuple):
    """A page's body as it stands in the file, and what its header says of it."""

    body: bytes
    num_values: int
    kind: int = DATA_PAGE
    encoding: int = PLAIN
    plain_bytes: int = -1  # -1: as many as the body has


def write_page(page: Page) -> bytes:
    plain_bytes = len(page.body) if page.plain_bytes < 0 else page.plain_bytes
    head: list[Field] = [(1, I32, page.kind), (2, I32, plain_bytes), (3, I32, len(page.body))]
    own: list[Field] = [(1, I32, page.num_values), (2, I32, page.encoding)]
    if page.kind == DATA_PAGE:
        head.append((5, STRUCT, [*own, (3, I32, RLE), (4, I32, RLE)]))
    else:
        head.append((7, STRUCT, own))
    return write_struct(head) + page.body


def make_parquet(
    pages: list[Page], num_rows: int, *, codec: int = UNCOMPRESSED, num_values: int = -1, name: str = "text", schema: list[list[Field]] | None = None,
    physical: int = BYTE_ARRAY,
) -> bytes:  # fmt: skip
    """A file of one row group with one column of required strings, or with the `schema` given and the one column that is its leaf."""
    written = [write_page(page) for page in pages]
    data = b"".join(written)
    has_dictionary = pages[0].kind == DICTIONARY_PAGE
    if schema is None:
        schema = [
            [(4, BINARY, b"schema"), (5, I32, 1)],
            [(1, I32, physical), (3, I32, REQUIRED), (4, BINARY, name.encode()), *([(6, I32, 0)] if physical == BYTE_ARRAY else [])],
        ]  # fmt: skip
    path = [field[2] for fields in schema[1:] for field in fields if field[0] == 4]
    values = sum(page.num_values for page in pages if page.kind == DATA_PAGE) if num_values < 0 else num_values
    column: list[Field] = [
        (1, I32, physical), (2, LIST, (I32, [PLAIN, RLE, RLE_DICTIONARY])), (3, LIST, (BINARY, path)), (4, I32, codec), (5, I64, values),
        (6, I64, len(data)), (7, I64, len(data)), (9, I64, 4 + (len(written[0]) if has_dictionary else 0)),
        *([(11, I64, 4)] if has_dictionary else []),
    ]  # fmt: skip
    group: list[Field] = [
        (1, LIST, (STRUCT, [[(2, I64, 4), (3, STRUCT, column)]])), (2, I64, len(data)), (3, I64, num_rows),
    ]  # fmt: skip
    footer = write_struct([(1, I32, 1), (2, LIST, (STRUCT, schema)), (3, I64, num_rows), (4, LIST, (STRUCT, [group]))])
    return b"PAR1" + data + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def plain_texts(*texts: bytes) -> bytes:
    """Strings in the encoding PLAIN."""
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def repeat_index(count: int) -> bytes:
    """The first word of a dictionary `count` times: a width of one bit, and one run."""
    return b"\1" + varint(count << 1) + b"\0"


def pack_deltas(values: list[int]) -> bytes:
    """Numbers in the encoding DELTA_BINARY_PACKED: blocks of four times 32, each of them of no bits or of 32."""
    out = varint(128) + varint(4) + varint(len(values)) + write_value(I64, values[0])
    deltas = [after - before for before, after in zip(values, values[1:], strict=False)]
    for start in range(0, len(deltas), 128):
        block = deltas[start : start + 128]
        least = min(block)
        quarters = [[delta - least for delta in block[at : at + 32]] for at in range(0, 128, 32)]
        out += write_value(I64, least) + bytes(32 if any(quarter) else 0 for quarter in quarters)
        for quarter in quarters:
            if any(quarter):
                out += b"".join(delta.to_bytes(4, "little") for delta in [*quarter, *[0] * (32 - len(quarter))])
    return out


def nest(depth: int) -> list[list[Field]]:
    """A schema of groups in groups with one string at the bottom."""
    groups: list[list[Field]] = [[(3, I32, OPTIONAL), (4, BINARY, b"g"), (5, I32, 1)] for _ in range(depth)]
    return [
        [(4, BINARY, b"schema"), (5, I32, 1)],
        *groups,
        [(1, I32, BYTE_ARRAY), (3, I32, OPTIONAL), (4, BINARY, b"text"), (6, I32, 0)],
    ]
