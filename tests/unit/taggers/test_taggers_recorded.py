import json

from tests.golden import make_rule_outputs

RECORD = json.loads(make_rule_outputs.RECORD.read_text())


def test_rule_taggers_say_what_is_recorded(tmp_path):
    """Other values mean that attributes made before stand beside other ones: see tests/golden/make_rule_outputs.py."""
    assert make_rule_outputs.describe(tmp_path) == RECORD


def test_other_values_under_an_old_version_are_not_recorded():
    changed = {"pii": RECORD["pii"] | {"xxh3_128": "0" * 32}}
    assert make_rule_outputs.find_unannounced(RECORD, changed) == ["pii"]
    assert make_rule_outputs.find_unannounced(RECORD, {"pii": changed["pii"] | {"version": 99}}) == []
    assert make_rule_outputs.find_unannounced(RECORD, RECORD) == []
