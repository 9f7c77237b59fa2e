"""Every rule of every preset at its threshold: a document below, one at it, one above. Rules are listed from the code (tests/rule_documents.py)."""

import json

import numpy as np
import pyarrow as pa
import pytest

from dolma_py.rules import evaluate_rule, parse_rule
from taggers.base import tag_checked
from taggers.gopher import Rule
from taggers.registry import build_tagger
from tests.rule_documents import FAMILIES, LISTS, fill_options, find_rules, list_rules

RULES = list_rules()
KEPT = {">=": (0, 1), ">": (1,), "<=": (-1, 0), "<": (-1,)}
# columns of which one side cannot be: counts below 0, a flag above 1
SIDES = {(True, True, True): [-1, 0, 1], (False, True, True): [0, 1], (True, True, False): [-1, 0]}


def find_missing(rules, families):
    """Rules without documents, and documents without a rule."""
    have = {(family, name) for family, some in families.items() for name in some.documents}
    return {(family, rule.name) for family, some in rules.items() for rule in some} ^ have


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    for name, entries in LISTS.items():
        (folder / name).write_text(entries)
    return str(folder)


def test_every_rule_of_the_code_has_its_documents():
    assert find_missing(RULES, FAMILIES) == set()
    assert len(RULES) == len(FAMILIES) and sum(map(len, RULES.values())) > 200


def test_a_rule_without_documents_is_found():
    planted = Rule("planted", "num_words", ">", 3, "nobody")
    assert dict(find_rules("x.RULES", {"a": (planted,)})) == {"x.RULES[a]": (planted,)}
    assert find_missing(RULES | {"x.RULES[a]": (planted,)}, FAMILIES) == {("x.RULES[a]", "planted")}
    family = "pdf_text.PDF_RULES"
    assert find_missing(RULES | {family: RULES[family][:1]}, FAMILIES) == {(family, "pdf_tables")}


@pytest.mark.parametrize("family", RULES)
def test_documents_below_at_and_above_each_threshold(family, lists):
    tagger = build_tagger(FAMILIES[family].tagger, fill_options(FAMILIES[family].options, lists))
    for rule in RULES[family]:
        documents = FAMILIES[family].documents[rule.name]
        there = [document for document in documents if document is not None]
        expected = SIDES[tuple(document is not None for document in documents)]
        assert len(there) == 3 or (rule.value, rule.op) in ((0, "<="), (1, ">=")), rule.name
        batch = pa.record_batch(
            {
                "text": pa.array([text for text, _ in there], pa.large_string()),
                "metadata": pa.array([json.dumps(metadata) for _, metadata in there], pa.string()),
            }
        )
        table = pa.Table.from_batches([tag_checked(tagger, batch)])
        values = table.column(rule.column).to_numpy()
        assert np.sign(values - rule.value).astype(int).tolist() == expected, (rule.name, values)
        kept = [side in KEPT[rule.op] for side in expected]
        assert rule.holds(values).tolist() == kept, rule.name
        assert evaluate_rule(parse_rule(rule.expression), table)[0].tolist() == kept, rule.name


def test_a_strict_rule_drops_what_stands_at_its_threshold():
    for op, kept in KEPT.items():
        rule = Rule("x", "x", op, 0.1, "nobody")
        assert rule.holds([0.05, 0.1, 0.15]).tolist() == [side in kept for side in (-1, 0, 1)]
        table = pa.table({"x": [0.05, 0.1, 0.15]})
        assert evaluate_rule(parse_rule(rule.expression), table)[0].tolist() == [side in kept for side in (-1, 0, 1)]
