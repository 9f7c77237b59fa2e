"""`{preset: NAME}` among the rules of a tag step: one entry that stands for the preset's rules, over the set that its tagger writes there.

Entries are replaced when the settings are read, so that views, manifests and the funnel know rules alone, whoever wrote them down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import Field

from dolma_py import config
from dolma_py.config import Config, OptionError
from dolma_py.errors import ConfigError, name_known
from pipelines.steps import Rule
from taggers.preset_rules import PRESET_RULES, PresetRule, list_preset_rules, tagger_options
from taggers.registry import TAGGERS, find_tagger


class PresetEntry(Config):
    """In place of a rule: the rules of a preset, each under its own name; a rule of that name among the others takes the place of the preset's."""

    preset: str = Field(description="dolma-py settings NAME shows its rules")
    attributes: str | None = Field(
        default=None, description="attribute set with its columns; null: the one that its tagger writes in this step"
    )
    prefix: str = Field(
        default="", description="before the name of each rule, where two presets have rules of one name"
    )
    only: list[str] = Field(default_factory=list, description="names of the rules that are meant; empty: all")
    without: list[str] = Field(default_factory=list, description="names of rules that are left out")
    keep: dict[str, str] = Field(
        default_factory=dict, description="name of a rule -> what it keeps in place of the preset's own threshold"
    )
    sources: list[str] | None = Field(default=None, description="only for these sources")
    except_sources: list[str] | None = Field(default=None, description="not for these sources")


class _Place(NamedTuple):
    """Where a rule finds its columns."""

    attributes: str
    prefix: str = ""  # of the columns' names there


def is_entry(value: Any) -> bool:
    """Whether an item of `rules` is an entry and no rule."""
    return isinstance(value, dict) and "preset" in value


def expand_entries(values: Sequence[Any], given: Sequence[Rule], taggers: Sequence[Any]) -> list[Rule]:
    """The rules of a step, entries replaced.

    values: as the user wrote them; given: the rules made of them, anything where an entry stands; taggers: the step's TaggerChoice.
    Raises OptionError, whose option begins with the number of the entry.
    """
    own = [rule for value, rule in zip(values, given, strict=True) if not is_entry(value)]
    by_name = {rule.name: rule for rule in own}
    found: list[Rule] = []
    replaced: set[str] = set()
    for number, (value, rule) in enumerate(zip(values, given, strict=True)):
        if not is_entry(value):
            found.append(rule)
            continue
        try:
            entry = config.build_config(PresetEntry, value)
            for preset_rule in _choose_rules(entry, taggers):
                made = _make_rule(entry, preset_rule, taggers)
                if made.name in replaced:
                    raise ConfigError(
                        "prefix", entry.prefix, f"a preset before has a rule {made.name} too", "Give a prefix."
                    )
                replaced.add(made.name)
                found.append(_put_in_place(by_name[made.name], made) if made.name in by_name else made)
        except ConfigError as error:
            raise OptionError(f"{number}.{error.key}", error.got, error.rule, error.hint) from error
    own_again = {id(rule) for rule in own if rule.name in replaced}
    return [rule for rule in found if id(rule) not in own_again]


def _put_in_place(own: Rule, made: Rule) -> Rule:
    """The user's rule where the preset's stood; over the same set, if it names none."""
    is_open = own.attributes is None and own.min_text_bytes is None
    return own.model_copy(update={"attributes": made.attributes} if is_open else {})


def _choose_rules(entry: PresetEntry, taggers: Sequence[Any]) -> list[PresetRule]:
    if entry.preset not in PRESET_RULES:
        raise ConfigError("preset", entry.preset, "no such preset", name_known(entry.preset, PRESET_RULES))
    rules = list_preset_rules(entry.preset)
    names = [rule.name for rule in rules]
    for key, given in (("only", entry.only), ("without", entry.without), ("keep", entry.keep)):
        for name in given:
            if name not in names:
                raise ConfigError(key, name, f"no such rule of {entry.preset}", name_known(name, names))
    edits = [rule.name for rule in rules if rule.edit and rule.name in entry.keep]
    if edits:
        raise ConfigError("keep", edits[0], "it cuts and compares nothing", "Leave it out with `without`.")
    chosen = [rule for rule in rules if (not entry.only or rule.name in entry.only) and rule.name not in entry.without]
    return [rule for rule in chosen if not rule.needs or rule.name in entry.only or _is_told(entry, rule, taggers)]


def _is_told(entry: PresetEntry, rule: PresetRule, taggers: Sequence[Any]) -> bool:
    """Whether a tagger of the step has the option that a rule needs."""
    return any(choice.options.get(rule.needs) for choice in _find_choices(entry.preset, rule.tagger, taggers))


def _make_rule(entry: PresetEntry, rule: PresetRule, taggers: Sequence[Any]) -> Rule:
    place = _find_place(entry, rule, taggers)
    keep = entry.keep.get(rule.name) or (None if rule.keep is None else place.prefix + rule.keep)
    edit = None if rule.edit is None else place.prefix + rule.edit
    return Rule(
        name=entry.prefix + rule.name, attributes=place.attributes, keep=keep, edit=edit,
        sources=entry.sources, except_sources=entry.except_sources,
    )  # fmt: skip


def _find_choices(preset: str, tagger: str, taggers: Sequence[Any]) -> list[Any]:
    """Those of the step that write the preset's columns under their own names."""
    wanted = tagger_options(preset).get("preset")
    ours = [choice for choice in taggers if TAGGERS.get(choice.tagger, choice.tagger) == TAGGERS[tagger]]
    if wanted is None:
        return ours
    default = find_tagger(tagger).config_model.model_fields["preset"].default
    return [choice for choice in ours if choice.options.get("preset", default) == wanted]


def _find_place(entry: PresetEntry, rule: PresetRule, taggers: Sequence[Any]) -> _Place:
    """The set that the rule is over. ConfigError where the step's taggers write none, or several."""
    found = [
        _Place(f"{choice.name or tagger_options(entry.preset).get('preset', rule.tagger)}-v{find_tagger(choice.tagger).version}")
        for choice in _find_choices(entry.preset, rule.tagger, taggers)
    ]  # fmt: skip
    found += _find_shared(rule.tagger, taggers)
    if entry.attributes is not None:
        named = [place for place in found if place.attributes == entry.attributes]
        if not named and len(PRESET_RULES[entry.preset]) > 1:
            writers = sorted({part.tagger for part in PRESET_RULES[entry.preset]})
            hint = f"Leave it out, and put {' and '.join(writers)} among the taggers."
            raise ConfigError("attributes", entry.attributes, f"{entry.preset} reads more than one set", hint)
        return named[0] if named else _Place(entry.attributes)
    if not found:
        choice = {"tagger": rule.tagger} | ({"options": options} if (options := tagger_options(entry.preset)) else {})
        hint = f"Add {config.render_flow(choice)}; or name the set of an earlier step: attributes."
        raise ConfigError("preset", entry.preset, f"expected its tagger among the step's taggers, {rule.tagger}", hint)
    if len(found) > 1:
        raise ConfigError("attributes", None, f"expected one of {[place.attributes for place in found]}")
    return found[0]


def _find_shared(tagger: str, taggers: Sequence[Any]) -> list[_Place]:
    """Sets of `rule-presets`, which writes the columns of several presets under longer names."""
    shared = find_tagger("rule-presets")
    own = [choice for choice in taggers if TAGGERS.get(choice.tagger, choice.tagger) == TAGGERS["rule-presets"]]
    default = shared.config_model.model_fields["presets"].default if own else ()
    return [
        _Place(f"{choice.name or shared.name}-v{shared.version}", f"{tagger.replace('-', '_')}__")
        for choice in own
        if tagger in choice.options.get("presets", default)
    ]


def render_preset(name: str) -> list[str]:
    """Lines of YAML: a preset's rules, each with its source, and the settings of a tag step that asks them."""
    rules = list_preset_rules(name)
    writers = list(dict.fromkeys(rule.tagger for rule in rules))
    options = tagger_options(name)
    taggers = [{"tagger": tagger} | ({"options": options} if options else {}) for tagger in writers]
    lines = [f"taggers: {config.render_flow(taggers)}", f"rules: [{{preset: {name}}}]", "# which stands for:"]
    for rule in rules:
        what = {"keep": rule.keep} if rule.edit is None else {"edit": rule.edit}
        needs = f"with {rule.needs} alone; " if rule.needs else ""
        lines.append(f"#   - {config.render_flow({'name': rule.name, **what}):<70}  # {needs}{rule.source}")
    return lines
