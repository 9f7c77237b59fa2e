"""Traps of the tools under us, shown once: what bites, and that our way around it holds. Kernel files are searched for them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from dolma_py.config import parse_yaml
from dolma_py.numba_options import KERNEL, KERNEL_PARALLEL

LIBRARY = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge")
BIG = [0, 1, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]
ONE = np.uint64(1)
SEVEN = np.uint64(7)
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@njit(**KERNEL)
def mix_kernel(values, out_sums, out_products, out_rests):
    for at in range(len(values)):
        out_sums[at] = values[at] + ONE
        out_products[at] = (values[at] ^ (values[at] >> np.uint64(29))) * MULTIPLIER
        out_rests[at] = values[at] % SEVEN


def test_unsigned_arithmetic_above_two_to_the_63():
    """With constants of the same type the words wrap around as Python's integers modulo 2**64 do."""
    values = np.array(BIG, np.uint64)
    sums, products, rests = (np.empty(len(BIG), np.uint64) for _ in range(3))
    mix_kernel(values, sums, products, rests)
    assert sums.tolist() == [(value + 1) % 2**64 for value in BIG]
    assert products.tolist() == [(value ^ value >> 29) * 0x9E3779B97F4A7C15 % 2**64 for value in BIG]
    assert rests.tolist() == [value % 7 for value in BIG]


@njit(**KERNEL)
def rest_with_a_literal_kernel(value):
    return (value + 1) % 7


def test_a_bare_literal_makes_it_signed():
    """The trap itself. When this fails, numba has changed and the rule can be looked at again."""
    assert rest_with_a_literal_kernel(np.uint64(2**63)) != (2**63 + 1) % 7


@njit(**KERNEL)
def count_nan_kernel(values):
    count = 0
    for at in range(len(values)):
        if np.isnan(values[at]):
            count += 1
    return count


def test_nan_is_seen_and_division_by_zero_is_no_error():
    values = np.array([1.0, np.nan, np.inf, np.nan])
    assert count_nan_kernel(values) == 2
    assert "fastmath" not in KERNEL and "fastmath" not in KERNEL_PARALLEL


def test_numbers_of_yaml():
    assert parse_yaml("lr: 1e-3", "x") == {"lr": 0.001}


_FORBIDDEN = {
    r"fastmath\s*=": "fastmath drops NaN checks and reorders sums",
    r"locals\s*=": "locals= truncates silently",
    r"float32\(.*\bids?\b": "an id in float32 is wrong from 16,777,217 on",
    r"@(?:numba\.)?(?:n?jit|vectorize|guvectorize)\b(?!.*\*\*(?:numba_options\.)?KERNEL)": "options come from numba_options",
    r"@(?:numba\.)?(?:n?jit)\('": "a fixed signature refuses read-only arrays",
}


def find_traps(source: str) -> list[str]:
    """Lines of a kernel file that walk into one of the traps, strings and comments left out."""
    found = []
    for number, line in enumerate(_without_words(source).splitlines(), 1):
        found += [f"{number}: {why}" for pattern, why in _FORBIDDEN.items() if re.search(pattern, line)]
    return found


def _without_words(source: str) -> str:
    """The source as the parser prints it, docstrings gone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def kernel_files(root: Path) -> list[Path]:
    return [path for folder in LIBRARY for path in sorted((root / folder).rglob("*_kernels.py"))]


def test_no_kernel_file_walks_into_them(repository):
    found = {path.name: find_traps(path.read_text()) for path in kernel_files(repository)}
    assert len(found) >= 5
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "@njit(**KERNEL, fastmath=True)\ndef f(x): return x",
        "@njit(**KERNEL, locals={'i': uint16})\ndef f(x): return x",
        "@njit\ndef f(x): return x",
        "@numba.njit(cache=True)\ndef f(x): return x",
        "@njit('int64(int64[::1])', **KERNEL)\ndef f(x): return x",
        "@njit(**KERNEL)\ndef f(ids): return np.float32(ids[0])",
    ],
)
def test_a_planted_trap_is_found(source):
    assert find_traps(source)


def test_a_word_in_a_docstring_is_no_trap():
    source = '@njit(**KERNEL)\ndef f(x):\n    """No fastmath=True here."""\n    return x  # locals={}\n'
    assert find_traps(source) == []
