"""Python sources: programs and others, what is found in them, and source that would bring its reader down."""

from __future__ import annotations

import pytest

from dolma_py.python_sources import Checked, PythonSources, SourceLimits
from dolma_py.python_sources_worker import WEIGHTS, check_source

CLEAN = '''"""Sums."""

import math
from functools import reduce as fold


class Total:
    """A sum."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, numbers):
        for number in numbers:
            if number is not None:
                self.value += number
        return math.sqrt(fold(max, numbers))


def main() -> None:
    total = Total()
    print([key for key, value in {"a": 1}.items() if value], total.add([1, 2]), __name__)
    match total:
        case Total(value=amount):
            print(amount)
    try:
        print((lambda other: other)(1))
    except (OSError, ValueError) as error:
        print(error)
'''


@pytest.fixture(scope="module")
def sources():
    with PythonSources() as opened:
        yield opened


def test_a_clean_program_has_no_findings(sources):
    checked = sources.check(CLEAN)
    assert checked.problem == "" and checked.findings == {} and checked.score == 10.0 and checked.statements > 15


@pytest.mark.parametrize(
    ("source", "findings"),
    [
        ("import os\nx = 1\n", {"unused_import": 1}),
        ("import os.path as p\n__all__ = ['p']\n", {}),
        ("from __future__ import annotations\nx = 1\n", {}),
        ("from os import *\nprint(getcwd())\n", {"wildcard_import": 1}),
        ("print(helper(1))\n", {"undefined_name": 1}),
        ("print(eval('helper'), helper)\n", {"eval_used": 1}),
        ("def f():\n    global x\n    x = 1\nprint(x, f)\n", {}),
        ("try:\n    x = 1\nexcept:\n    x = 2\n", {"bare_except": 1}),
        ("def f(a=[], *, b={}):\n    return a, b\n", {"mutable_default": 1}),
        ("def f():\n    return 1\n    x = 2\n", {"unreachable": 1}),
        ("def f():\n    return 1\ndef f():\n    return 2\n", {"redefined": 1}),
        ("@property\ndef f():\n    return 1\n@f.setter\ndef f():\n    return 2\n", {}),
        ("x = 1\nprint(x == None, None != x, 1 == x)\n", {"compared_with_none": 1}),
        (f"x = '{'a' * 100}'\n", {"long_line": 1}),
        ("def f():\n" + "    print(1)\n" * 100, {"long_function": 1}),
        ("def badName():\n    return 1\nclass bad_class:\n    x = 1\n", {"bad_name": 2}),
        ("x = 1\n" + "".join("    " * depth + "if x:\n" for depth in range(6)) + "    " * 6 + "x = 2\n", {"deep_nesting": 1}),
        ("x = 1\n" + "".join(f"{'el' if n else ''}if x == {n}:\n    x = 2\n" for n in range(9)), {}),
    ],
)  # fmt: skip
def test_each_rule_finds_what_it_is_for(sources, source, findings):
    assert sources.check(source).findings == findings


def test_every_rule_is_tested_here():
    marks = [mark for mark in test_each_rule_finds_what_it_is_for.pytestmark if mark.name == "parametrize"]
    assert {name for _, findings in marks[0].args[1] for name in findings} == set(WEIGHTS)


def test_the_score_is_that_of_weighted_findings():
    assert Checked("", 0, 10, {"undefined_name": 1, "long_line": 1}).score == 4.0
    assert Checked("", 0, 1, {"undefined_name": 3}).score == 0.0
    assert Checked("", 0, 0).score == 0.0 and Checked("syntax").score == 0.0


def test_comments_are_counted(sources):
    assert sources.check("# a\n\n  # b\nx = '''\n# c'''\ny = 2\n").comment_frac == 3 / 5


@pytest.mark.parametrize(
    ("source", "problem", "line"),
    [
        ("", "", 0),
        ("# nothing\n", "", 0),
        ("print 'a'\n", "syntax", 1),
        ("x = 1\n  y = 2\n", "syntax", 2),
        ("return 1\n", "syntax", 1),
        ("x = 1\ny = 'a\0b'\n", "null_byte", 2),
        ("x = \ud800\n", "syntax", 0),
        ("```python\nx = 1\n```\n", "syntax", 1),
    ],
)
def test_what_is_no_program(sources, source, problem, line):
    checked = sources.check(source)
    assert (checked.problem, checked.line if problem != "syntax" or line else 0) == (problem, line)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 100_000,
        "[" * 90 + "]" * 90 + "+" * 100_000,
        "x = " + "-" * 100_000 + "1\n",
        "x = " + "1 + " * 30_000 + "1\n",
        "x = " + "not " * 60_000 + "1\n",
        "a" + ".a" * 100_000 + "\n",
        "\n".join(" " * depth + "if x:" for depth in range(150)),
        "x = 9" + "9" * 200_000 + "\n",
        "x = '" + "a" * 200_000,
        "x = (" + "'a' " * 60_000 + ") * 10**9\n",
        "lambda: " * 30_000 + "1\n",
        "# coding: utf-16\nx = 1\n",
        "f'" + "{" * 500 + "}" * 500 + "'\n",
    ],
)
def test_hostile_source_costs_one_process_at_most(sources, source):
    before = sources.num_started
    assert sources.check(source).problem in ("", "syntax", "nested", "crash")
    assert sources.check("x = 1\n") == Checked("", 0, 1, {}, 0.0)
    assert sources.num_started <= before + 1


def test_a_process_that_hangs_is_ended():
    with PythonSources(SourceLimits(max_seconds=0.3)) as opened:
        opened.check("x = 1\n")
        opened._process.send_signal(19)  # it is stopped, and does not answer
        assert opened.check("x = 1\n").problem == "timeout" and opened._process is None


def test_a_process_that_dies_is_replaced():
    with PythonSources() as opened:
        opened.check("x = 1\n")
        opened._process.kill()
        opened._process.wait()
        assert opened.check("x = 1\n").problem == "crash"
        assert opened.check("x = 1\n").problem == "" and opened.num_started == 2


def test_the_memory_of_a_source_is_bounded():
    with PythonSources(SourceLimits(max_bytes=64 << 20, max_memory_bytes=200 << 20)) as opened:
        assert opened.check("x = [" + "1, " * 8_000_000 + "]\n").problem in ("nested", "crash")
        assert opened.check("x = 1\n").problem == ""


def test_too_much_source_is_not_read(sources):
    assert sources.check("x = 1\n" * 50_000).problem == "too_long"


def test_the_worker_alone_says_the_same():
    found = {"problem": "", "line": 0, "statements": 1, "findings": {"unused_import": 1}, "comment_frac": 0.0}
    assert check_source("import os\n") == found
