"""The cost of MinHash from a sample: the S-curve, bytes that the formulas give, edges, and a measured rate."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.minhash import MinHashConfig
from dedup.minhash_cost import CorpusSize, SampleStats, count_edges, estimate_cost, measure_sample
from dedup.minhash_presets import get_preset
from dolma_py.arrow_buffers import TextView

STATS = SampleStats(
    num_docs=100, text_bytes=1_000_000, num_valid=90, num_shingles=140_000, num_edges=4, thread_sec=0.01
)
SIZE = CorpusSize(num_docs=10_000, text_bytes=100_000_000, cores=2)


def to_view(texts):
    return TextView(np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)]).astype(np.int64))


def test_the_formulas():
    found = estimate_cost(STATS, SIZE, config=get_preset("olmo3-web"))
    curve = found["chance to be candidates at Jaccard"]
    assert curve["0.50"] == pytest.approx(0.013, abs=5e-4) and curve["0.80"] == pytest.approx(0.903, abs=5e-4)
    assert curve["1.00"] == 1.0
    assert found["documents with keys"] == 9000
    assert found["shingles"] == 14_000_000
    assert found["band_file_bytes"] == 9000 * (26 * 8 + 8)
    assert found["shuffle_bytes"] == 9000 * 26 * 16
    assert (found["candidate edges, low"], found["candidate edges, high"]) == (400, 40_000)
    assert found["driver_edges_bytes"] == 6_000_000
    assert found["signatures_mb_per_core_sec"] == 100.0
    assert found["signatures_sec"] == 0.5


def test_edges_never_exceed_one_per_document_and_band():
    found = estimate_cost(STATS._replace(num_edges=90), SIZE, config=get_preset("fineweb"))
    assert found["candidate edges, high"] == 9000 * 14


def test_an_empty_sample_still_has_its_curve():
    found = estimate_cost(measure_sample([], config=MinHashConfig()), SIZE, config=MinHashConfig())
    assert found["sampled_docs"] == 0 and "signatures_sec" not in found
    assert found["chance to be candidates at Jaccard"]["0.90"] > 0.99


def test_a_sample_is_measured():
    copy = b"one and the same text of more than five words stands here"
    views = [to_view([copy, b"quite another one of more than five words", b""]), to_view([copy + b"!", b"..."])]
    stats = measure_sample(views, config=MinHashConfig())
    assert stats[:5] == (5, sum(len(view.data) for view in views), 3, 8 + 4 + 8, 1)
    assert stats.thread_sec > 0


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), max_size=8))
def test_count_edges_is_one_per_member_and_bucket(rows):
    keys = np.array(rows, np.uint64).reshape(-1, 2) + np.array([[0, 100]], np.uint64)
    expected = set()
    for band in range(2):
        for value in range(4):
            members = [number for number, row in enumerate(rows) if row[band] == value]
            expected |= {(members[0], other) for other in members[1:]}
    assert expected <= set(combinations(range(len(rows)), 2))
    assert count_edges(keys) == len(expected)
