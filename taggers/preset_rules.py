"""Which rules a named preset stands for, and which tagger writes their columns: `{preset: NAME}` among the rules of a tag step.

The thresholds are the constants of the taggers' own modules, which tell their sources; here they only get a name. A module is imported when
its preset is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from taggers.gopher import Rule


class PresetRule(NamedTuple):
    """A rule of a preset: a comparison, or an edit."""

    tagger: str  # registered name of the one that writes the column
    name: str
    keep: str | None
    edit: str | None = None
    source: str = ""
    needs: str = ""  # option of the tagger without which the column has no values


class _Part(NamedTuple):
    """Rules of one tagger."""

    tagger: str
    rules: str  # module:NAME, and .KEY of a mapping
    prefix: str = ""


_CODE = _Part("code-rules", "taggers.code_rules:CODE_RULES")
_WEB = ("olmo3-web", "olmo3-web-released", "refinedweb-dclm", "madlad400")
_C4 = ("c4-paper", "c4-code", "c4-fineweb")
PRESET_RULES: dict[str, tuple[_Part, ...]] = {
    "gopher-paper": (_Part("gopher-paper", "taggers.rule_presets:GOPHER_PAPER_RULES"),),
    "gopher-dclm": (_Part("gopher-dclm", "taggers.gopher:GOPHER_RULES"),),
    "gopher-datatrove": (_Part("gopher-datatrove", "taggers.rule_presets:GOPHER_DATATROVE_RULES"),),
    "gopher-dolma": (_Part("gopher-dolma", "taggers.rule_presets:GOPHER_DOLMA_RULES"),),
    "gopher-dolma-released": (_Part("gopher-dolma", "taggers.rule_presets:GOPHER_DOLMA_RELEASED_RULES"),),
    "fineweb": (_Part("fineweb", "taggers.rule_presets:FINEWEB_RULES"),),
    "fineweb-paper": (_Part("fineweb", "taggers.rule_presets:FINEWEB_PAPER_RULES"),),
    **{name: (_Part(name, f"taggers.c4:C4_RULES.{name}"),) for name in _C4},
    "code-rules": (_CODE,),
    "code-santacoder": (_CODE, _Part("code-content", "taggers.code_content:CONTENT_RULES.santacoder")),
    # limits by file ending in place of those for all
    "code-starcoder": (
        _Part("code-endings", "taggers.code_endings:ENDING_RULES"),
        _Part("code-content", "taggers.code_content:CONTENT_RULES.starcoder"),
    ),
    # it has limits of lines by language in place of those for all, and letters in place of letters and digits
    "code-starcoder2": (
        _Part("code-rules", "taggers.preset_rules:_STARCODER2_LETTERS"),
        _Part("code-content", "taggers.code_content:CONTENT_RULES.starcoder2"),
    ),
    "code-codeparrot": (_CODE, _Part("code-content", "taggers.code_content:CONTENT_RULES.codeparrot")),
    "code-redpajama": (_CODE, _Part("code-content", "taggers.code_content:CONTENT_RULES.redpajama")),
    "ngram-loops": (_Part("ngram-loops", "taggers.ngram_loops:LOOP_RULES"),),
    "url-refinedweb-dclm": (_Part("url-lists", "taggers.url_lists:URL_RULES.refinedweb-dclm"),),
    "url-fineweb": (_Part("url-lists", "taggers.url_lists:URL_RULES.fineweb"),),
    "olmo3-pdf": (_Part("pdf-text", "taggers.pdf_text:PDF_RULES"),),
    **{name: (_Part("web-filter", f"taggers.web_filter:PRESETS.{name}"),) for name in _WEB},
}
_STARCODER2_LETTERS = (Rule("letters", "alphabetic_char_frac", ">=", 0.25, "StarCoder2, basic filters"),)


def list_preset_rules(name: str) -> list[PresetRule]:
    """The rules of a preset, in the order in which they are asked: edits before what is asked of the edited text.

    >>> [rule.keep for rule in list_preset_rules("fineweb")][:2]
    ['num_lines >= 1', 'terminal_line_frac >= 0.12']
    """
    found: list[PresetRule] = []
    for part in PRESET_RULES[name]:
        rules = _load(part.rules)
        if part.tagger == "web-filter":
            found += _list_web_rules(rules)
        elif part.tagger in _C4:
            found += _list_c4_rules(part.tagger, rules)
        else:
            found += _make(part.tagger, rules)
    return found


def tagger_options(preset: str) -> dict[str, Any]:
    """What the preset's tagger must be told so that it writes what the preset reads."""
    return {"preset": preset} if preset in _WEB else {}


def find_presets(tagger: str) -> list[str]:
    """The presets whose columns a tagger writes, alone or beside others."""
    return [name for name, parts in PRESET_RULES.items() if tagger in [part.tagger for part in parts]]


def _make(tagger: str, rules: Iterable[Rule]) -> list[PresetRule]:
    return [PresetRule(tagger, rule.name, rule.expression, source=rule.source) for rule in rules]


def _list_c4_rules(tagger: str, rules: Iterable[Rule]) -> list[PresetRule]:
    """Lines leave first. Bad words are asked of whoever gave a list of them."""
    bad_words = _load("taggers.c4:C4_BAD_WORDS")
    lines = PresetRule(tagger, "lines", None, "removed", bad_words.source)
    last = PresetRule(tagger, bad_words.name, bad_words.expression, source=bad_words.source, needs="bad_words_path")
    return [lines, *_make(tagger, rules), last]


def _list_web_rules(preset: Any) -> list[PresetRule]:
    """The edits stand where the chain makes them: before the share of words that they remove."""
    from taggers.web_filter import EDITS

    found = _make("web-filter", preset.rules)
    if preset.has_edits:
        at = [rule.name for rule in found].index("removed_words")
        found.insert(at, PresetRule("web-filter", EDITS, None, EDITS, found[at].source))
    return found


def _load(path: str) -> Any:
    module_name, _, names = path.partition(":")
    name, _, key = names.partition(".")
    value = getattr(importlib.import_module(module_name), name)
    return value[key] if key else value
