import json

import pyarrow as pa
import pytest

from dolma_py.errors import SchemaError
from dolma_py.rules import parse_rule
from taggers.base import tag_checked
from taggers.code_endings import _TAKEN, ENDING_RULES, ENDINGS, CodeEndingsTagger, Limits, limits_of
from taggers.registry import build_tagger


def tag(texts, metadata, **options):
    rows = [json.dumps(item) for item in metadata]
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string()), "metadata": pa.array(rows, pa.string())})
    return tag_checked(build_tagger("code-endings", options), batch).to_pylist()


@pytest.mark.parametrize(
    ("name", "language", "limits"),
    [
        ("py", "", Limits(1000, True, 0.0)),
        ("src/a.PY", "Python", Limits(1000, True, 0.0)),
        ("a.cs", "C#", Limits(1000, True, 0.0)),
        ("fsh", "GLSL", Limits(500, True, 0.0)),
        ("x.cmake", "CMake", Limits(0, True, 0.0)),
        ("x.cmake", "Makefile", Limits(1000, True, 0.0)),
        ("x.cmake", "", Limits(0, True, 0.0)),
        ("Makefile", "Makefile", Limits(1000, True, 0.0)),
        ("", "Dockerfile", Limits(1000, True, 0.0)),
        ("Dockerfile", "", Limits(1000, True, 0.0)),
        ("notes.txt", "", None),
        ("notes.txt", "Makefile", Limits(1000, True, 0.0)),
        ("", "", None),
        ("rkt", "Racket", None),
        ("f77", "", None),
        ("sas", "SAS", Limits(1000, False, 0.0)),
        ("nb", "Mathematica", Limits(0, False, 0.25)),
        ("x.yml", "YAML", Limits(1000, True, 0.5)),
        ("x.lsp", "Common Lisp", Limits(1000, True, 0.0)),
        ("x.py", "a language of its own", Limits(1000, True, 0.0)),
        ("x.py", "Go", None),
    ],
)
def test_limits_of_an_ending(name, language, limits):
    assert limits_of(name, language) == limits


def test_the_table_names_each_ending_once():
    assert len(ENDINGS) == sum(len(set(endings.split())) for endings in _TAKEN.values()) + 2
    assert sum(len(endings.split()) for endings in _TAKEN.values()) == len(ENDINGS) - 2
    assert len(_TAKEN) == 88 and sum(limits.line_chars == 0 for limits in ENDINGS.values()) == 30


def test_what_is_not_asked_is_kept():
    long = "x" * 2000 + "\n" + "#" * 9000
    rows = tag([long, long, long, "x"], [{"ext": "nb"}, {"ext": "md"}, {"ext": "exe"}, {"ext": "py"}])
    broken = [[rule.name for rule in ENDING_RULES if not rule.holds(row[rule.column])] for row in rows]
    assert broken == [["letters"], ["alphanumeric"], ["listed_ending"], []]


def test_the_first_field_that_has_one_counts():
    rows = tag(
        ["x" * 600] * 3,
        [
            {"ext": "", "path": "a/b.fsh"},
            {"lang": "GLSL", "ext": "fsh", "path": "x.py"},
            {"kind": "GLSL", "path": "c.vert"},
        ],
        language_keys=["kind"],
    )
    assert [row["shader_line_chars"] for row in rows] == [600, 600, 0]
    assert [row["limited_line_chars"] for row in rows] == [600] * 3


def test_rules_read_columns_and_metadata_is_asked():
    assert {rule.column for rule in ENDING_RULES} == set(CodeEndingsTagger.schema.names)
    for rule in ENDING_RULES:
        assert rule.source and parse_rule(rule.expression)
    with pytest.raises(SchemaError, match="metadata"):
        build_tagger("code-endings").tag(pa.record_batch({"text": pa.array(["x"], pa.large_string())}))
    assert tag([], []) == [] and tag([""], [{"ext": "py"}], language_keys=[])[0]["is_listed"] == 1
