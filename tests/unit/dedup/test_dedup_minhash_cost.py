"""The cost of MinHash from a sample: the S-curve, bytes that the formulas give, edges, and a measured rate."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.minhash import MinHashConfig
from dedup.minhash_cost import (
    CorpusSize,
    SampleEdges,
    SampleStats,
    count_edges,
    describe_sample,
    expect_least,
    expect_most,
    measure_sample,
)
from dedup.minhash_presets import get_preset
from dolma_py.arrow_buffers import TextView

STATS = SampleStats(
    num_docs=100, text_bytes=1_000_000, num_valid=90, num_shingles=140_000, id_bytes=3600,
    found=SampleEdges(4, 60, 7), thread_sec=0.01,
)  # fmt: skip
SIZE = CorpusSize(num_docs=10_000, text_bytes=100_000_000, cores=2)


def to_view(texts):
    return TextView(np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)]).astype(np.int64))


def test_the_formulas():
    found = describe_sample(STATS, SIZE, config=get_preset("olmo3-web"))
    curve = found["chance to be candidates at Jaccard"]
    assert curve["0.50"] == pytest.approx(0.013, abs=5e-4) and curve["0.80"] == pytest.approx(0.903, abs=5e-4)
    assert curve["1.00"] == 1.0
    assert found["documents with keys"] == 9000
    assert found["shingles"] == 14_000_000
    assert found["band_file_bytes"] == 9000 * (26 * 8 + 8)
    assert found["shuffle_bytes"] == 9000 * 26 * 16
    # 4 edges among a hundredth of the documents, and 3 that a sample of it may have missed
    assert (found["candidate edges, low"], found["candidate edges, high"]) == (400, (4 + 3 * 0.99) * 10_000)
    assert found["edges on disk, high_bytes"] == 16 * (26 * 9000 + (4 + 3 * 0.99) * 10_000)
    assert found["sets of candidates, low_bytes"] == round(1.4e8 * 700 / 9000) + 700 * (16 + 36)
    assert found["sets of candidates, high_bytes"] == 1.4e8 + 9000 * (16 + 36)
    assert found["decisions, high_bytes"] == 9000 * 3 * (28 + 36)
    assert found["attributes_bytes"] == 9000 * (18 + 36)
    assert found["signatures_mb_per_core_sec"] == 100.0
    assert found["signatures_sec"] == 0.5


def test_of_a_sample_that_is_everything_nothing_is_guessed():
    size = CorpusSize(STATS.num_docs, STATS.text_bytes, 2)
    assert expect_least(STATS, size) == expect_most(STATS, size, num_bands=26) == (90, 1_000_000, 4, 60, 7, 36)


def test_a_small_sample_without_copies_promises_none():
    none = STATS._replace(found=SampleEdges(0, 0, 0))
    assert expect_least(none, SIZE)[2:5] == (0, 0, 0)
    assert min(expect_most(none, SIZE, num_bands=26)[2:5]) > 0


def test_edges_never_exceed_one_per_document_and_band():
    found = expect_most(STATS._replace(found=SampleEdges(90, 90, 90)), SIZE, num_bands=14)
    assert (found.num_edges, found.num_band_edges, found.num_members) == (9000 * 14, 9000 * 14, 9000)


def test_an_empty_sample_still_has_its_curve():
    found = describe_sample(measure_sample([], config=MinHashConfig()), SIZE, config=MinHashConfig())
    assert found["sampled_docs"] == 0 and "signatures_sec" not in found
    assert found["chance to be candidates at Jaccard"]["0.90"] > 0.99


def test_a_sample_is_measured():
    copy = b"one and the same text of more than five words stands here"
    views = [to_view([copy, b"quite another one of more than five words", b""]), to_view([copy + b"!", b"..."])]
    stats = measure_sample(views, config=MinHashConfig())
    assert stats[:4] == (5, sum(len(view.data) for view in views), 3, 8 + 4 + 8)
    assert stats.found == (1, 32, 2)  # in each of 32 bands
    assert stats.thread_sec > 0


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), max_size=8))
def test_count_edges_is_one_per_member_and_bucket(rows):
    keys = np.array(rows, np.uint64).reshape(-1, 2) + np.array([[0, 100]], np.uint64)
    expected, num_band_edges = set(), 0
    for band in range(2):
        for value in range(4):
            members = [number for number, row in enumerate(rows) if row[band] == value]
            expected |= {(members[0], other) for other in members[1:]}
            num_band_edges += len(members[1:])
    assert expected <= set(combinations(range(len(rows)), 2))
    assert count_edges(keys) == (len(expected), num_band_edges, len({end for edge in expected for end in edge}))
