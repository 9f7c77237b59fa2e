"""Places of the records that stay, whatever the batches are; the whole file is tested in tests/jobs/test_plain_files.py."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.plain_evidence import EVIDENCE_SCHEMA, PIECE_SCHEMA, name_places

# per cluster: whether its first record stays (else it repeats earlier data), and how many records it has
CLUSTERS = st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=8)


def make_rows(clusters):
    rows = []
    for number, (stays, size) in enumerate(clusters):
        for member in range(size):
            is_first = stays and member == 0
            kept = f"f{number % 3}:{number}" if stays else "earlier"
            rows.append({
                "file": f"f{(number + member) % 3}", "row": number + member, "id": None if member % 2 else f"id {number}.{member}",
                "is_duplicate": not is_first, "cluster_id": 7 * number, "cluster_size": size, "kept_id": kept, "similarity": 1.0,
            })  # fmt: skip
    return rows


def name_places_slowly(rows):
    """The first record of each cluster for all of it, unless it is a duplicate itself."""
    named = []
    for row in rows:
        first = next(other for other in rows if other["cluster_id"] == row["cluster_id"])
        place = {"kept_file": None, "kept_row": None}
        if not first["is_duplicate"]:
            place = {"kept_file": first["file"], "kept_row": first["row"], "kept_id": first["id"]}
        named.append(row | place)
    return named


@given(clusters=CLUSTERS, batch_rows=st.integers(1, 30), leads_empty=st.booleans())
def test_each_record_is_told_who_stays_for_it(clusters, batch_rows, leads_empty):
    rows = make_rows(clusters)
    table = pa.Table.from_pylist(rows, schema=PIECE_SCHEMA)
    batches = table.to_batches(max_chunksize=batch_rows)
    empty = table.slice(0, 0).to_batches() or [pa.RecordBatch.from_pylist([], schema=PIECE_SCHEMA)]
    found = list(name_places(empty * leads_empty + batches))
    assert all(batch.schema.names == EVIDENCE_SCHEMA.names for batch in found)
    assert [row for batch in found for row in batch.to_pylist()] == name_places_slowly(rows)
