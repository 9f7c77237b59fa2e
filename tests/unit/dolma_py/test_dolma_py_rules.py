"""Rules: read as the twin reads them, compared as numbers compare, refused with the value named."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dolma_py.errors import ConfigError
from dolma_py.rules import Clause, evaluate_rule, parse_rule
from tests.reference import rules as reference

# where floats and integers part: 2^53, the ends of the integer types, halves, the smallest and largest floats
EDGES = (
    0, 1, -1, 50, 127, 128, 255, 2**31, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**53) - 1, -(2**63), 10**30,
)  # fmt: skip
FRACTIONS = (0.1, 0.5, -0.5, 1.5, -0.0, 5e-324, -1e-300, 2.0**53, 2.0**63, -(2.0**63), 1.7e308, 65504.0)
NUMBERS = (*EDGES, *FRACTIONS)
INTEGER_TYPES = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
FLOAT_TYPES = (pa.float16(), pa.float32(), pa.float64())
WORDS = ("", "en", "de", "x and y", 'a "b" and c', "\\", "and", "b\u00fccher", "\U0001f600", "[1, 2]", "not x")
OPS = ("<", "<=", ">", ">=", "==", "!=")


def fits(value: int | float, kind: pa.DataType) -> bool:
    try:
        pa.scalar(value, kind)
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True


def make_column(kind: pa.DataType, values: tuple) -> pa.Array:
    return pa.array([*(value for value in values if fits(value, kind)), None], kind)


def check(rule: str, table: pa.Table) -> None:
    """The same rows as the twin's, and no row where a column of the rule has no value."""
    clauses = parse_rule(rule)
    holds, is_null = evaluate_rule(clauses, table)
    rows = table.to_pylist()
    assert holds.tolist() == [reference.holds(rule, row) for row in rows]
    assert is_null.tolist() == [any(row[clause.column] is None for clause in clauses) for row in rows]
    assert holds.dtype == is_null.dtype == bool


@pytest.mark.parametrize(
    ("rule", "clauses"),
    [
        ("word_count >= 50 and word_count <= 1e5", (Clause("word_count", ">=", 50), Clause("word_count", "<=", 1e5))),
        ("is_duplicate", (Clause("is_duplicate", "is", None),)),
        ("not is_duplicate and x", (Clause("is_duplicate", "not", None), Clause("x", "is", None))),
        ('lang == "en"', (Clause("lang", "==", "en"),)),
        ('lang in ["en", "de"]', (Clause("lang", "in", ["en", "de"]),)),
        ('lang in["en"]', (Clause("lang", "in", ["en"]),)),
        ("a<1and b>-2", None),
        ("  a<1 and\n b>-2.5e0 ", (Clause("a", "<", 1), Clause("b", ">", -2.5))),
        ('a != "x and y" and b == "\\" and"', (Clause("a", "!=", "x and y"), Clause("b", "==", '" and'))),
        ('a == "and" and b in ["p and q", "and"]', (Clause("a", "==", "and"), Clause("b", "in", ["p and q", "and"]))),
        ('a == "c" and b == "a\\" b"', (Clause("a", "==", "c"), Clause("b", "==", 'a" b'))),
        (
            "band and andy and not_x",
            (Clause("band", "is", None), Clause("andy", "is", None), Clause("not_x", "is", None)),
        ),
        ("inside == 1 and in_x >= 2", (Clause("inside", "==", 1), Clause("in_x", ">=", 2))),
        ("a == true and b != false", (Clause("a", "==", True), Clause("b", "!=", False))),
        ("a == 9007199254740993", (Clause("a", "==", 2**53 + 1),)),
    ],
)
def test_parse_rule(rule, clauses):
    assert read(rule) == clauses


def read(rule: str) -> tuple[Clause, ...] | None:
    try:
        return parse_rule(rule)
    except ConfigError:
        return None


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("", ""), ("  ", ""), ("a <", "a <"), ("a < 1 and", ""), ("and a", ""), ("a < 1 and and b", ""), ("a = 1", "a = 1"),
        ("1 < a", "1 < a"), ("1 <= a <= 5", "1 <= a <= 5"), ("a < b", "b"), ("a < 1 or b", "1 or b"), ("a == 'en'", "'en'"),
        ("a == en", "en"), ("a == null", "null"), ("a < NaN", "NaN"), ("a < Infinity", "Infinity"), ("a < 1e999", "1e999"),
        ("a == {}", "{}"), ("a in []", "[]"), ("a in [null]", "[null]"), ("a in [[1]]", "[[1]]"), ("a in 5", "5"),
        ("a == [1]", "[1]"), ('begin ["a"]', 'begin ["a"]'), ("a < 01", "01"), ('a == "x', '"x'), ("not not a", "not not a"),
        ("a < __import__('os')", "__import__('os')"), ("a.b < 1", "a.b < 1"), ("a < 1" + "0" * 400, "1" + "0" * 400),
        ("a == " + "[" * 9999, "[" * 9999), ("a == 1; b", "1; b"), ("a\x00 == 1", "a\x00 == 1"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named(rule, value):
    with pytest.raises(ConfigError) as caught:
        parse_rule(rule)
    assert (caught.value.key, caught.value.got) == ("keep", value)


@given(
    parts=st.lists(st.tuples(st.sampled_from(["a", "band", "in_x"]), st.sampled_from([*OPS, "in"]), st.text(max_size=8)), min_size=1, max_size=4),
    flags=st.lists(st.sampled_from(["a", "not b"]), max_size=2),
)  # fmt: skip
@example(parts=[("a", "==", '" and b == "')], flags=[])
def test_quoted_words_come_back_whole(parts, flags):
    """Whatever stands in a quoted word, `and`, quotes and backslashes included, is the value."""
    texts = [
        f"{column} {op} {json.dumps([word] if op == 'in' else word, ensure_ascii=False)}" for column, op, word in parts
    ]
    clauses = parse_rule(" and ".join([*texts, *flags]))
    found = [(clause.column, clause.op, clause.value) for clause in clauses[: len(parts)]]
    assert found == [(column, op, [word] if op == "in" else word) for column, op, word in parts]
    assert [clause.op for clause in clauses[len(parts) :]] == [{"a": "is"}.get(flag, "not") for flag in flags]


def test_a_long_rule_is_read_in_linear_time():
    rule = " and ".join(['a == "x and y"'] * 20_000)
    assert len(parse_rule(rule)) == 20_000


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("kind", [*INTEGER_TYPES, *FLOAT_TYPES], ids=str)
def test_numbers_compare_exactly(kind, op):
    """Every edge against every edge: int64 above 2^53 with an integer and with a float, -1 with uint64, 0.1 with a 32-bit 0.1."""
    special = (math.nan, math.inf, -math.inf) * pa.types.is_floating(kind)
    usable = EDGES if pa.types.is_integer(kind) else NUMBERS
    table = pa.table({"a": pa.concat_arrays([make_column(kind, usable), pa.array(special, kind)])})
    for value in NUMBERS:
        check(f"a {op} {json.dumps(value)}", table)


def test_above_2_to_the_53_by_hand():
    table = pa.table({"a": pa.array([2**53, 2**53 + 1, None], pa.int64())})
    assert evaluate_rule(parse_rule("a > 9007199254740992.0"), table)[0].tolist() == [False, True, False]
    assert evaluate_rule(parse_rule("a == 9007199254740993"), table)[0].tolist() == [False, True, False]
    assert evaluate_rule(parse_rule("a <= 9007199254740992.5"), table)[0].tolist() == [True, False, False]
    floats = pa.table({"a": [2.0**53, 2.0**53 + 2]})
    assert evaluate_rule(parse_rule("a < 9007199254740993"), floats)[0].tolist() == [True, False]
    assert evaluate_rule(parse_rule("a != 9007199254740993"), floats)[0].tolist() == [True, True]


@given(
    value=st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False)),
    op=st.sampled_from(OPS),
    data=st.data(),
)
def test_any_number_compares_exactly(value, op, data):
    around = st.integers(-3, 3).map(lambda step: math.floor(value) + step)
    integers = data.draw(st.lists(around.filter(lambda number: -(2**63) <= number < 2**63), max_size=4))
    floats = data.draw(st.lists(st.one_of(st.floats(), st.just(float(value))), max_size=4))
    check(f"a {op} {json.dumps(value)}", pa.table({"a": pa.array([*integers, None], pa.int64())}))
    check(f"a {op} {json.dumps(value)}", pa.table({"a": pa.array([*floats, None], pa.float64())}))


def test_nan_holds_in_no_comparison():
    table = pa.table({"a": pa.array([math.nan], pa.float32())})
    rules = [*(f"a {op} 1" for op in OPS), "a in [1]", f"a >= {json.dumps(-1.7e308)}"]
    assert [evaluate_rule(parse_rule(rule), table)[0].tolist() for rule in rules] == [[False]] * len(rules)
    assert evaluate_rule(parse_rule("a < 1"), table)[1].tolist() == [False]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("op", [*OPS, "in"])
def test_words_compare_by_code_point(kind, op):
    table = pa.table({"a": pa.array([*WORDS, None], kind)})
    for word in WORDS:
        check(f"a {op} {json.dumps([word, 'en'] if op == 'in' else word)}", table)


def test_in_compares_numbers_and_flags_exactly():
    table = pa.table(
        {
            "n": pa.array([1, 2**53 + 1, None, 3], pa.int64()),
            "f": [0.1, 2.0, math.nan, None],
            "b": [True, False, None, True],
        }
    )
    for rule in (
        "n in [1, 3.0, 1.5]",
        "n in [9007199254740992.0]",
        "n in [9007199254740993, 7]",
        "f in [0.1, 2]",
        "b in [true]",
        "b in [false, true]",
    ):
        check(rule, table)


def test_flags_hold_or_not():
    table = pa.table({"a": [True, False, None], "b": [True, True, True]})
    for rule in ("a", "not a", "a and b", "not a and b", "a == true", "a != true", "a == false"):
        check(rule, table)


@given(data=st.data(), size=st.integers(0, 6))
def test_rules_match_the_twin(data, size):
    """Random tables in random chunks, random rules of up to four parts."""
    columns = {
        "n": (pa.int64(), st.integers(-3, 3)), "u": (pa.uint8(), st.integers(0, 3)), "f": (pa.float32(), st.floats(width=32)),
        "w": (pa.string(), st.sampled_from(WORDS)), "b": (pa.bool_(), st.booleans()),
    }  # fmt: skip
    values = {
        name: data.draw(st.lists(st.one_of(st.none(), item), min_size=size, max_size=size))
        for name, (_, item) in columns.items()
    }
    table = pa.table({name: pa.array(values[name], kind) for name, (kind, _) in columns.items()})
    cut = data.draw(st.integers(0, size))
    table = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    check(" and ".join(data.draw(st.lists(some_part(), min_size=1, max_size=4))), table)


def some_part():
    number = st.sampled_from([-2, 0, 1, 2, 0.5, 1.0, -0.0]).map(json.dumps)
    numbers = st.lists(st.sampled_from([0, 1, 1.0, 0.5]), min_size=1, max_size=3).map(json.dumps)
    words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(json.dumps)
    return st.one_of(
        st.tuples(st.sampled_from("nuf"), st.sampled_from(OPS), number).map(" ".join),
        st.tuples(st.sampled_from("nuf"), st.just("in"), numbers).map(" ".join),
        st.tuples(st.just("w"), st.sampled_from(OPS), st.sampled_from(WORDS).map(json.dumps)).map(" ".join),
        st.tuples(st.just("w"), st.just("in"), words).map(" ".join),
        st.sampled_from(["b", "not b", "b == true", "b != false"]),
    )


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ("missing > 1", "missing"), ("n", "n"), ("not w", "w"), ("n == true", "n"), ("b < true", "b"), ("b == 1", "b"), ('n == "x"', "n"),
        ("w > 1", "w"), ("s > 1", "s"), ("d == 1", "d"), ('n in ["x"]', "n"), ("w in [1]", "w"), ('w in ["x", 1]', "w"), ("b in [1]", "b"),
    ],
)  # fmt: skip
def test_a_column_of_another_kind_is_refused_by_name(rule, column):
    table = pa.table({"n": [1], "w": ["x"], "b": [True], "s": [[1]], "d": pa.array([1], pa.timestamp("us"))})
    with pytest.raises(ConfigError) as caught:
        evaluate_rule(parse_rule(rule), table)
    assert (caught.value.key, caught.value.got) == ("keep", column)


def test_an_unknown_column_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"one of \['num_words', 'num_lines'\]"):
        evaluate_rule(parse_rule("num_word > 1"), pa.table({"num_words": [1], "num_lines": [1]}))


def test_a_column_of_nulls_holds_nothing():
    table = pa.table({"a": pa.nulls(2)})
    for rule in ("a", "not a", "a < 1", 'a == "x"', "a in [1]", "a != 1"):
        check(rule, table)


def test_no_rows_and_no_clauses():
    holds, is_null = evaluate_rule(parse_rule("a > 1"), pa.table({"a": pa.array([], pa.int64())}))
    assert len(holds) == len(is_null) == 0
    assert evaluate_rule((), pa.table({"a": [1, None]}))[0].tolist() == [True, True]


def test_the_twin_reads_a_rule_by_hand():
    assert reference.split_rule('a > 1 and b == "x and \\" y" and not c') == ["a > 1", 'b == "x and \\" y"', "not c"]
    assert reference.holds('a > 1 and b in ["x", "y"]', {"a": 2, "b": "y"})
    assert not reference.holds("not c", {"c": None}) and not reference.holds("a != 1", {"a": math.nan})
    assert reference.holds("a >= 1 and not c", {"a": np.inf, "c": False})
