"""Every preset that a rule may name: its rules are the constants of its tagger, and the tagger writes what they read."""

import json

import pyarrow as pa
import pytest

from dolma_py.documents import SPANS
from dolma_py.rules import parse_rule
from taggers.c4 import C4_RULES
from taggers.code_content import CONTENT_RULES
from taggers.code_endings import ENDING_RULES
from taggers.code_rules import CODE_RULES
from taggers.gopher import GOPHER_RULES
from taggers.ngram_loops import LOOP_RULES
from taggers.pdf_text import PDF_RULES
from taggers.preset_rules import PRESET_RULES, find_presets, list_preset_rules, tagger_options
from taggers.registry import TAGGERS, build_tagger
from taggers.rule_presets import FINEWEB_PAPER_RULES, GOPHER_DOLMA_RELEASED_RULES
from taggers.rule_presets import PRESETS as TABLE_PRESETS
from taggers.url_lists import URL_RULES
from taggers.web_filter import PRESETS as WEB_PRESETS

# preset -> the constants that hold its thresholds
EXPECTED = {
    "gopher-dclm": GOPHER_RULES,
    **{name: preset.rules for name, preset in TABLE_PRESETS.items()},
    "gopher-dolma-released": GOPHER_DOLMA_RELEASED_RULES,
    "fineweb-paper": FINEWEB_PAPER_RULES,
    "code-rules": CODE_RULES,
    **{f"code-{name}": (*CODE_RULES, *CONTENT_RULES[name]) for name in ("santacoder", "codeparrot", "redpajama")},
    "code-starcoder": (*ENDING_RULES, *CONTENT_RULES["starcoder"]),
    "ngram-loops": LOOP_RULES,
    "olmo3-pdf": PDF_RULES,
    **{f"url-{name}": rules for name, rules in URL_RULES.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_the_rules_are_the_constants_of_the_tagger(name):
    assert [(rule.name, rule.keep) for rule in list_preset_rules(name)] == [
        (rule.name, rule.expression) for rule in EXPECTED[name]
    ]


@pytest.mark.parametrize("name", WEB_PRESETS)
def test_the_rules_of_the_web_filter_stand_around_its_edits(name):
    rules = list_preset_rules(name)
    assert [rule.keep for rule in rules if rule.keep] == [rule.expression for rule in WEB_PRESETS[name].rules]
    edits = [number for number, rule in enumerate(rules) if rule.edit]
    if WEB_PRESETS[name].has_edits:
        (at,) = edits
        assert rules[at].edit == "edits" and rules[at + 1].name == "removed_words"
    else:
        assert edits == []


@pytest.mark.parametrize("name", C4_RULES)
def test_c4_cuts_lines_first_and_asks_for_bad_words_where_there_is_a_list(name):
    rules = list_preset_rules(name)
    assert (rules[0].name, rules[0].edit, rules[0].keep) == ("lines", "removed", None)
    assert [rule.keep for rule in rules[1:-1]] == [rule.expression for rule in C4_RULES[name]]
    assert (rules[-1].name, rules[-1].keep, rules[-1].needs) == ("bad_words", "num_bad_words <= 0", "bad_words_path")


def test_starcoder2_has_its_own_limits_of_lines():
    keeps = [rule.keep for rule in list_preset_rules("code-starcoder2")]
    assert keeps[0] == "alphabetic_char_frac >= 0.25"
    assert keeps[1:] == [rule.expression for rule in CONTENT_RULES["starcoder2"]]


def test_starcoder_asks_each_ending_what_its_table_says():
    """A file of Markdown may have lines of any length, one of C may not; JSON is half letters; what is not listed is not kept."""
    lines = "word " * 300 + "\n"
    files = {"a.md": lines, "a.c": lines, "b.c": "int x;\n" * 20, "a.json": '{"a": 1234567890123456789012345678901234567890123456789}\n',
             "b.json": '{"word": "a word and another word, all of them letters"}\n', "a.exe": "int x;\n" * 20}  # fmt: skip
    batch = pa.record_batch(
        {
            "text": pa.array(files.values(), pa.large_string()),
            "metadata": [json.dumps({"path": name}) for name in files],
        }
    )
    columns: dict[str, dict[str, list]] = {}
    failed: dict[str, list[str]] = {name: [] for name in files}
    for rule in list_preset_rules("code-starcoder"):
        found = columns.setdefault(rule.tagger, build_tagger(rule.tagger, {}).tag(batch).to_pydict())
        for clause in parse_rule(rule.keep):
            for name, value in zip(files, found[clause.column], strict=True):
                if not {"<=": value <= clause.value, ">=": value >= clause.value}[clause.op]:
                    failed[name].append(rule.name)
    assert failed == {"a.md": [], "a.c": ["max_line", "mean_line"], "b.c": [], "a.json": ["data_letters"], "b.json": [],
                      "a.exe": ["listed_ending"]}  # fmt: skip


def test_every_preset_is_tested():
    assert set(PRESET_RULES) == {*EXPECTED, *WEB_PRESETS, *C4_RULES, "code-starcoder2"}


@pytest.mark.parametrize("name", PRESET_RULES)
def test_the_tagger_writes_what_the_rules_read(name, tmp_path):
    (tmp_path / "hosts").write_text("a.org\n")
    lists = {"domains": [str(tmp_path / "hosts")]} if name.startswith("url-") else {}
    rules = list_preset_rules(name)
    assert len({rule.name for rule in rules}) == len(rules)
    for tagger_name in {rule.tagger for rule in rules}:
        assert tagger_name in TAGGERS and name in find_presets(tagger_name)
        schema = build_tagger(tagger_name, tagger_options(name) | lists).schema
        for rule in (rule for rule in rules if rule.tagger == tagger_name):
            assert (rule.keep is None) != (rule.edit is None) and rule.source
            if rule.edit:
                assert schema.field(rule.edit).type == SPANS
            for clause in parse_rule(rule.keep) if rule.keep else ():
                assert clause.column in schema.names
