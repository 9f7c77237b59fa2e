"""`{preset: NAME}` among the rules of a step: what it becomes, what it leaves to rules by hand, and what is told of mistakes in it."""

import re

import pytest

from dolma_py.config import parse_yaml
from dolma_py.errors import ConfigError
from pipelines import commands
from pipelines.done_steps import list_rules
from pipelines.recipe import build_step, build_steps, check_steps, load_recipe
from taggers.preset_rules import PRESET_RULES, list_preset_rules, tagger_options
from taggers.registry import build_tagger
from tests.conftest import REPOSITORY

DCLM = {"tagger": "gopher-dclm"}


def make(taggers, rules, **settings):
    """A step that has passed all that is looked at before a run."""
    step = build_step(0, {"kind": "tag", "name": "s", "taggers": taggers, "rules": rules, **settings})
    check_steps([step])
    return step


def spell(name, attributes):
    """A preset's rules as a user would write them."""
    rules = list_preset_rules(name)
    chosen = [rule for rule in rules if not rule.needs]
    return [
        {"name": rule.name, "attributes": attributes} | ({"keep": rule.keep} if rule.keep else {"edit": rule.edit})
        for rule in chosen
    ]


@pytest.mark.parametrize("name", [name for name, parts in PRESET_RULES.items() if len(parts) == 1])
def test_an_entry_is_its_rules_over_the_set_of_its_tagger(name, tmp_path):
    (tmp_path / "hosts").write_text("a.org\n")
    options = tagger_options(name) | ({"domains": [str(tmp_path / "hosts")]} if name.startswith("url-") else {})
    choice = {"tagger": PRESET_RULES[name][0].tagger, "options": options}
    tagger = build_tagger(choice["tagger"], options)
    written = f"{tagger.name}-v{tagger.version}"
    by_name = make([choice], [{"preset": name}])
    assert by_name.rules == make([choice], spell(name, written)).rules
    assert make([choice | {"name": "mine"}], [{"preset": name}]).rules[0].attributes == f"mine-v{tagger.version}"


@pytest.mark.parametrize("name", [name for name, parts in PRESET_RULES.items() if len(parts) > 1])
def test_an_entry_may_be_over_two_sets(name):
    first, second = (part.tagger for part in PRESET_RULES[name])
    assert (first, second) == ("code-endings" if name == "code-starcoder" else "code-rules", "code-content")
    rules = make([{"tagger": first}, {"tagger": second}], [{"preset": name}]).rules
    assert {rule.attributes.rpartition("-v")[0] for rule in rules} == {first, second}
    with pytest.raises(ConfigError, match=rf"rules\.0\.attributes: {name} reads more than one set"):
        make([{"tagger": first}], [{"preset": name, "attributes": "code-v1"}])
    with pytest.raises(ConfigError, match=r"rules\.0\.preset: expected its tagger .* code-content"):
        make([{"tagger": first}], [{"preset": name}])


def test_a_rule_by_hand_takes_the_place_of_the_presets():
    """Before or behind the entry; where the preset's stood, and over the same set, for short_circuit wants an order."""
    own = {"name": "max_words", "keep": "num_words <= 9"}
    other = {"name": "mine", "attributes": "gopher-dclm-v1", "keep": "num_words >= 1"}
    taggers = [{"tagger": "lengths"}, DCLM]
    plain = [(rule.name, rule.keep) for rule in make(taggers, [{"preset": "gopher-dclm"}]).rules]
    plain[1] = ("max_words", "num_words <= 9")
    for rules in ([own, {"preset": "gopher-dclm"}, other], [{"preset": "gopher-dclm"}, own, other]):
        made = make(taggers, rules, short_circuit=True).rules
        assert [(rule.name, rule.keep) for rule in made] == [*plain, ("mine", "num_words >= 1")]
        assert {rule.attributes for rule in made} == {"gopher-dclm-v1"}


def test_what_an_entry_chooses():
    entry = {"preset": "gopher-dclm", "only": ["min_words", "max_words"], "keep": {"min_words": "num_words >= 20"},
             "prefix": "g_", "sources": ["web"]}  # fmt: skip
    made = make([DCLM], [entry]).rules
    assert [(rule.name, rule.keep, rule.sources) for rule in made] == [
        ("g_min_words", "num_words >= 20", ["web"]), ("g_max_words", "num_words <= 100000", ["web"]),
    ]  # fmt: skip
    names = [rule.name for rule in make([DCLM], [{"preset": "gopher-dclm", "without": ["min_words"]}]).rules]
    assert "min_words" not in names and len(names) == len(list_preset_rules("gopher-dclm")) - 1


def test_bad_words_are_asked_where_a_list_is_given(tmp_path):
    (tmp_path / "words").write_text("bad\n")
    listed = {"tagger": "c4-paper", "options": {"bad_words_path": str(tmp_path / "words")}}
    assert make([listed], [{"preset": "c4-paper"}]).rules[-1].name == "bad_words"
    assert "bad_words" not in [rule.name for rule in make([{"tagger": "c4-paper"}], [{"preset": "c4-paper"}]).rules]


def test_columns_of_the_tagger_of_several_presets_have_longer_names():
    shared = {"tagger": "rule-presets", "options": {"presets": ["fineweb", "gopher-dolma"]}}
    rules = [{"preset": "fineweb"}, {"preset": "gopher-dolma", "prefix": "dolma_"}]
    made = make([shared], rules).rules
    assert made[0].attributes == "rule-presets-v1" and made[0].keep == "fineweb__num_lines >= 1"
    assert made[-1].name == "dolma_dup_10gram" and made[-1].keep.startswith("gopher_dolma__dup_10gram_char_frac")
    with pytest.raises(ConfigError, match=r"rules\.0\.preset: expected its tagger"):
        make([shared], [{"preset": "gopher-paper"}])
    with pytest.raises(ConfigError, match=r"rules\.0\.attributes: expected one of \['fineweb-v1', 'rule-presets-v1'\]"):
        make([{"tagger": "fineweb"}, shared], [{"preset": "fineweb"}])
    (first, *_) = make([{"tagger": "fineweb"}, shared], [{"preset": "fineweb", "attributes": "rule-presets-v1"}]).rules
    assert first.keep.startswith("fineweb__")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"preset": "gopher-dlcm"}], r"rules\.0\.preset: no such preset, got 'gopher-dlcm'\. Did you mean gopher-dclm\?"),
        ([{"preset": "fineweb"}], r"rules\.0\.preset: expected its tagger among the step's taggers, fineweb.*\{tagger: fineweb\}"),
        ([{"preset": "olmo3-web"}], r"rules\.0\.preset: .*\{tagger: web-filter, options: \{preset: olmo3-web\}\}"),
        ([{"preset": "gopher-dclm", "withot": []}], r"rules\.0\.withot: no such key.*Did you mean without\?"),
        ([{"preset": "gopher-dclm", "only": ["min_word"]}], r"rules\.0\.only: no such rule of gopher-dclm.*mean min_words\?"),
        ([{"preset": "gopher-dclm", "keep": {"x": "a > 1"}}], r"rules\.0\.keep: no such rule"),
        ([{"preset": "gopher-dclm"}] * 2, r"rules\.1\.prefix: a preset before has a rule min_words too"),
        ([{"preset": "gopher-dclm"}, {"name": "a", "kep": 1}], r"rules\.1\.kep: no such key"),
        ([{"name": "a", "keep": "num_words > 1"}, {"preset": "x"}], r"rules\.1\.preset: no such preset"),
    ],
)  # fmt: skip
def test_mistakes_are_named_by_the_number_of_the_entry(rules, said):
    with pytest.raises(ConfigError, match=rf"^steps\.s\.{said}"):
        make([DCLM], rules)


def test_an_edit_keeps_nothing():
    entry = {"preset": "c4-paper", "keep": {"lines": "num_lines > 1"}}
    with pytest.raises(ConfigError, match=r"rules\.0\.keep: it cuts"):
        make([{"tagger": "c4-paper"}], [entry])


@pytest.mark.parametrize("short_circuit", [False, True])
def test_manifests_and_fingerprints_know_rules_alone(short_circuit):
    by_name = make([DCLM], [{"preset": "gopher-dclm"}], short_circuit=short_circuit)
    by_hand = make([DCLM], spell("gopher-dclm", "gopher-dclm-v1"), short_circuit=short_circuit)
    other = make([DCLM], [{"preset": "gopher-dclm", "without": ["symbols"]}], short_circuit=short_circuit)
    assert list_rules(by_name) == list_rules(by_hand) != list_rules(other)
    assert by_name.identity() == by_hand.identity()
    # without short_circuit other rules are other counts, with it other attributes
    assert (by_name.identity() == other.identity()) is not short_circuit


def test_set_reaches_an_entry_by_its_preset():
    keep = "steps.filter.rules.madlad400.keep={min_sentences: num_sentences >= 3}"
    rules = build_steps(load_recipe("madlad400", [keep]))[-1].rules
    assert [rule.keep for rule in rules] == ["num_sentences >= 3", "questionable_sentence_frac <= 0.2"]


@pytest.mark.parametrize("name", ["olmo3-web", "olmo3-web-released", "refinedweb-dclm", "madlad400"])
def test_a_recipe_of_the_web_filter_asks_its_preset_whole(name):
    """Each packaged preset has a recipe, which asks every rule of it once; the one whose rules are spelled out, the same."""
    steps = build_steps(load_recipe(name, []))
    check_steps(steps)
    rules = [rule for step in steps for rule in step.rules if rule.attributes == f"{name}-v1"]
    assert [rule.keep or rule.edit for rule in rules] == [rule.keep or rule.edit for rule in list_preset_rules(name)]
    text = (REPOSITORY / "pipelines" / "recipes" / f"{name}.yaml").read_text()
    assert f"--recipe {name} " in text


@pytest.mark.parametrize("name", ["fineweb", "fineweb-paper", "olmo3-web-released", "code-starcoder2", "ngram-loops"])
def test_settings_print_a_presets_rules_as_a_step(name, capsys):
    commands.run_settings(name=name)
    printed = capsys.readouterr().out
    if name in ("fineweb", "ngram-loops"):  # taggers too: below their options, as a comment
        printed = "\n".join(line.removeprefix("# ") for line in printed.partition("\n# \n")[2].splitlines())
        printed = printed.partition("\n\n")[0]
    step = parse_yaml(printed, "here")
    made = make(step["taggers"], step["rules"]).rules
    spelled = parse_yaml("\n".join(line[1:] for line in printed.splitlines() if line.startswith("#   - ")), "here")
    assert spelled == [
        {"name": rule.name} | ({"keep": rule.keep} if rule.keep else {"edit": rule.edit}) for rule in made
    ]


def test_settings_of_tag_tell_of_presets(capsys):
    for command in ("tag", "decontaminate"):
        commands.run_settings(name=command)
        shown = capsys.readouterr().out
        assert all(name in shown for name in PRESET_RULES) and re.search(r"#   without: ", shown)
    with pytest.raises(ConfigError, match="fineweb-paper"):
        commands.run_settings(name="finewebb")
