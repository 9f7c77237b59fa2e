import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.partition_rows import _number_pairs

PAIRS = st.lists(
    st.tuples(st.sampled_from(["web", "", "pdf", "\u00e9"]), st.sampled_from(["", "law", "art"])), max_size=30
)


@given(PAIRS, st.integers(0, 30))
def test_pairs_are_numbered_as_sorting_python_tuples_does(pairs, cut):
    """Columns of a table come in chunks, and may be encoded already."""
    sources, topics = (pa.array([pair[side] for pair in pairs], pa.string()) for side in (0, 1))
    chunked = pa.chunked_array([sources[:cut], sources[cut:]], pa.string())
    names = sorted(set(pairs))
    for column in (sources, chunked, chunked.dictionary_encode(), sources.cast(pa.large_string())):
        found, of_row = _number_pairs(column, topics)
        assert found == names and of_row.dtype == np.int32
        assert [found[number] for number in of_row.tolist()] == pairs
