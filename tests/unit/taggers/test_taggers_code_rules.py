import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from taggers import code_rules_kernels as kernels
from taggers.base import tag_checked
from taggers.characters import character_table
from taggers.code_rules import CODE_RULES, CodeRulesTagger, CodeRulesTaggerConfig, count_code
from tests.reference import word_stats as reference

TEXTS = st.one_of(
    st.text(max_size=50), st.lists(st.sampled_from(["\n", "x = 1", "\u00e9", "\U0001f600", " "])).map("".join)
)


@given(st.lists(TEXTS, max_size=4))
def test_code_counts_match_reference(texts):
    counts = count_code(*view_text(pa.array(texts, pa.large_string())))
    assert [tuple(row) for row in counts.tolist()] == [reference.count_code(text) for text in texts]


def test_kernel_example():
    counts = np.zeros((1, kernels.NUM_COUNTS), np.int64)
    kernels.count_code_kernel(np.frombuffer(b"x = 1\n\nab", np.uint8), np.array([0, 9]), character_table(), counts)
    assert counts.tolist() == [[9, 3, 5, 7, 4, 3]]


@pytest.mark.parametrize(
    ("name", "at_threshold", "beyond"),
    [
        ("max_line", "x" * 1000, "x" * 1001),
        ("mean_line", "x" * 150 + "\n" + "x" * 50, "x" * 150 + "\n" + "x" * 51),
        ("alphanumeric", "x---" * 5, "x---" * 5 + "-"),
    ],
)
def test_rules_at_their_thresholds(name, at_threshold, beyond):
    batch = pa.record_batch({"text": pa.array([at_threshold, beyond], pa.large_string())})
    table = tag_checked(CodeRulesTagger(CodeRulesTaggerConfig()), batch)
    (rule,) = [rule for rule in CODE_RULES if rule.name == name]
    values = table.column(rule.column).to_pylist()
    assert rule.holds(values).tolist() == [True, False]
