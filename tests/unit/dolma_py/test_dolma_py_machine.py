"""The peak of a process is its own, and can begin anew."""

import subprocess
import sys

import numpy as np
import pytest

from dolma_py.machine import read_peak_bytes, reset_peak

MANY = 300 << 20
CHILD = "from dolma_py.machine import read_peak_bytes; print(read_peak_bytes())"


@pytest.fixture
def high_peak():
    """This process has held MANY bytes, and let them go."""
    held = np.ones(MANY, np.uint8)
    assert held.any()
    return read_peak_bytes()


def test_a_child_does_not_begin_with_the_peak_of_its_parent(high_peak):
    assert high_peak > MANY
    child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(child.stdout) < MANY // 2


@pytest.mark.skipif(not reset_peak(), reason="no process may reset its peak here")
def test_a_peak_begins_anew(high_peak):
    assert reset_peak()
    assert read_peak_bytes() < high_peak - MANY // 2
