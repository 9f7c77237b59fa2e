"""What decisions of a shard amount to."""

import pyarrow as pa

from pipelines.dedup_decisions import DECISION_SCHEMA, LARGEST, count_decisions


def make_rows(sizes):
    """Clusters of these sizes one after the other; the first of each stays."""
    rows, address = [], 0
    for size in sizes:
        for place in range(size):
            rows.append(
                {"address": address + place, "is_duplicate": place > 0, "cluster_id": address, "cluster_size": size,
                 "kept_id": f"k{address}", "similarity": 1.0}
            )  # fmt: skip
        address += size
    return pa.Table.from_pylist(rows, DECISION_SCHEMA)


def test_the_largest_clusters_are_named_and_of_equals_the_first():
    sizes = [*range(2, LARGEST + 4), 2]
    found = count_decisions(make_rows(sizes))
    assert (found["clusters"], found["members"], found["duplicates"]) == (13, sum(sizes), sum(sizes) - 13)
    assert [size for size, _, _ in found["largest"]] == sorted(sizes, reverse=True)[:LARGEST]
    assert all(kept_id == f"k{cluster}" for _, cluster, kept_id in found["largest"])
    assert count_decisions(make_rows([2, 3, 3]))["largest"] == [[3, 2, "k2"], [3, 5, "k5"], [2, 0, "k0"]]


def test_no_decisions_are_counted_too():
    found = count_decisions(DECISION_SCHEMA.empty_table())
    assert found == {"clusters": 0, "members": 0, "duplicates": 0, "largest": []}
