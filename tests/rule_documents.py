"""Golden documents of every rule: one below its threshold, one at it, one above, as (text, metadata).

RULES lists the rules from the code: every rule at the top of a module of taggers/, in whatever it stands (a tuple, a dictionary, a preset). FAMILIES
names the tagger that writes what a set of rules reads, and its documents. A count that cannot be below 0, or a flag, has None there.
"""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from taggers.gopher import Rule
from tests.peers import made_filter_texts as made
from tests.peers.made_filter_texts import copies, grams, repeated, single_signs

TAGGERS = Path(__file__).parents[1] / "taggers"
Document = tuple[str, dict[str, str]]


class Family(NamedTuple):
    """A set of rules' tagger, and what it says of documents."""

    tagger: str
    documents: dict[str, tuple[Document | None, Document | None, Document | None]]
    options: dict[str, Any] = {}  # {folder} stands for that of LISTS


def list_rules() -> dict[str, tuple[Rule, ...]]:
    """`module.VARIABLE[key]` -> rules, of all modules of taggers/ that have some."""
    found: dict[str, tuple[Rule, ...]] = {}
    for path in sorted(TAGGERS.glob("*.py")):
        text = path.read_text()
        if "Rule" in text:
            module = importlib.import_module(f"taggers.{path.stem}")
            for name in own_names(text):
                found |= dict(find_rules(f"{path.stem}.{name}", getattr(module, name)))
    return found


def own_names(text: str) -> Iterator[str]:
    """Public names that a module itself gives at its top."""
    for node in ast.parse(text).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from (target.id for target in targets if isinstance(target, ast.Name) and not target.id.startswith("_"))


def find_rules(name: str, value: Any) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    """The rules in a value: itself, those of a tuple, of a preset, of each value of a dictionary."""
    if isinstance(value, Rule):
        yield name, (value,)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_rules(f"{name}[{key}]", item)
    elif hasattr(value, "rules"):
        yield from find_rules(name, value.rules)
    elif isinstance(value, tuple) and value and all(isinstance(item, Rule) for item in value):
        yield name, value


# ---- Gopher in DCLM's reading, and the web filters


def numbered(count: int, start: int = 0) -> str:
    """Numbered words of five letters and digits, so that nothing repeats."""
    return " ".join(f"w{start + number:04d}" for number in range(count))


def eights(count: int, same: int, gap: str = "\n") -> str:
    """`count` lines of eight characters, `same` of them the same."""
    return gap.join([f"line {number:03d}" for number in range(count - same)] + ["line xyz"] * same)


def twice(length: int, total: int) -> str:
    """`total` words, of which a run of `length` stands twice: 2 length / total of the characters."""
    return f"{numbered(length, 900)} {numbered(20)} {numbered(length, 900)} {numbered(total - 20 - 2 * length, 100)}"


def sentences(count: int, listed: int = 0) -> str:
    """`count` sentences, `listed` of them of twelve capitalised words."""
    plain = "It was a plain and simple day at sea. "
    return plain * (count - listed) + ("Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu. " * listed)


_DCLM = {
    "min_words": (numbered(49), numbered(50), numbered(51)),
    "max_words": (numbered(99_999), numbered(100_000), numbered(100_001)),
    "min_mean_word_chars": ("abc " * 9 + "ab", "abc " * 10, "abc " * 9 + "abcd"),
    "max_mean_word_chars": ("aaaaaaaaaa bbbbbbbbb", "aaaaaaaaaa bbbbbbbbbb", "aaaaaaaaaa bbbbbbbbbbb"),
    "symbols": ("# " + "word " * 10, "# " + "word " * 9, "## " + "word " * 9),
    "bullet_lines": ("- a\n" * 8 + "b\nb", "- a\n" * 9 + "b", "- a\n" * 10 + "b"),
    "ellipsis_lines": ("a...\n" * 2 + "b\n" * 8, "a...\n" * 3 + "b\n" * 7, "a...\n" * 4 + "b\n" * 6),
    "alphabetic_words": ("word " * 4 + "12 13", "word " * 4 + "12", "word " * 5 + "12"),
    "stop_words": ("the cat a dog", "the cat the dog", "the cat and the dog"),
    "dup_lines": (eights(10, 2), eights(10, 3), eights(10, 4)),
    "dup_paragraphs": (eights(10, 2, "\n\n"), eights(10, 3, "\n\n"), eights(10, 4, "\n\n")),
    "dup_line_chars": (eights(11, 2), eights(10, 2), eights(9, 2)),
    "dup_paragraph_chars": (eights(11, 2, "\n\n"), eights(10, 2, "\n\n"), eights(9, 2, "\n\n")),
    "top_2gram": tuple(f"{numbered(2, 900)} {numbered(8)} {numbered(2, 900)} {numbered(rest, 100)}" for rest in (9, 8, 7)),
    "top_3gram": tuple(
        f"{numbered(3, 900)} {numbered(20)} {numbered(3, 900)} {numbered(20, 100)} {numbered(3, 900)} {numbered(rest, 200)}" for rest in (2, 1, 0)
    ),
    "top_4gram": (twice(4, 51), twice(4, 50), twice(4, 49)),
    "dup_5gram": (twice(5, 67), f"{twice(15, 100)} {numbered(100, 300)}", twice(5, 66)),
    "dup_6gram": (twice(6, 86), f"{twice(7, 100)}", twice(6, 85)),
    "dup_7gram": (twice(7, 108), f"{twice(13, 100)} {numbered(100, 300)}", twice(7, 107)),
    "dup_8gram": (twice(8, 134), f"{twice(12, 100)} {numbered(100, 300)}", twice(8, 133)),
    "dup_9gram": (twice(9, 164), f"{twice(11, 100)} {numbered(100, 300)}", twice(9, 163)),
    "dup_10gram": (twice(10, 201), twice(10, 200), twice(10, 199)),
}  # fmt: skip
_REMOVED = {"removed_words": (f"{numbered(20)}\nX", f"{numbered(19)}\nX", f"{numbered(18)}\nX")}
_SENTENCES = {
    "min_sentences": (sentences(4), sentences(5), sentences(6)),
    "questionable_sentences": (sentences(6, 1), sentences(5, 1), sentences(6, 2)),
}
_OLMO3 = {"min_chars": ("x" * 149, "x" * 150, "x" * 151), **_DCLM, **_REMOVED, **_SENTENCES}

# ---- datatrove, dolma, the paper, FineWeb: beside the pairs that the tools were asked about, one inside the threshold

_QUALITY = {
    "min_words": made.words(51),
    "max_words": made.words(99_999),
    "min_mean_word_chars": made.words(59, "abc") + " abcd",
    "max_mean_word_chars": made.words(59, "abcdefghij") + " abcdefghi",
    "alphabetic_words": made.words(49) + " " + made.words(11, "7"),
}
_SYMBOLS = {
    name: f"{made.words(55)} {made.words(5, sign)}" for name, sign in (("hash_signs", "#"), ("ellipses", "\u2026"))
}
_LINES = {"bullet_lines": made.lines(10, 8, "- "), "ellipsis_lines": made.lines(10, 2, "\u2026", at_end=True)}
INSIDE: dict[str, dict[str, str]] = {
    "gopher-datatrove": {
        **_QUALITY, **_SYMBOLS, **_LINES,
        "stop_words": "the word of and", "empty": "xx",
        "dup_lines": copies(10, 3), "dup_paragraphs": copies(10, 3, "\n\n"),
        "dup_line_chars": repeated("a" * 20, 2, "\n", 101), "dup_paragraph_chars": repeated("a" * 20, 2, "\n\n", 101),
        "top_2gram": grams([2, 2], 2, 51), "top_3gram": grams([2, 3, 2], 2, 101), "top_4gram": grams([1, 1, 2, 1], 2, 101),
        "dup_5gram": grams([3] * 5, 2, 101), "dup_6gram": grams([3, 3, 2, 2, 2, 2], 2, 101), "dup_7gram": grams([2] * 6 + [1], 2, 101),
        "dup_8gram": grams([2] * 4 + [1] * 4, 2, 101), "dup_9gram": grams([2] * 2 + [1] * 7, 2, 101), "dup_10gram": grams([1] * 10, 2, 101),
    },
    "gopher-dolma": {
        "min_words": _QUALITY["min_words"], "max_words": _QUALITY["max_words"], "alphabetic_words": _QUALITY["alphabetic_words"], **_LINES,
        "min_median_word_chars": "abcd", "max_median_word_chars": "abcdefghi",
        "symbol_words": made.words(55) + " " + made.words(5, "a#b"), "stop_words": "the word the of",
        "dup_lines": copies(10, 2), "dup_line_chars": repeated("a" * 5, 3, "\n", 54),
        "top_2gram": "aa bbb xx aa bbb " + "z" * 39, "top_3gram": "aaa bbb ccc xx aaa bbb ccc " + "z" * 81,
        "top_4gram": "aa bb cc dd xx aa bb cc dd " + "z" * 83,
        **{
            f"dup_{n}gram": single_signs(n, extra, count + 1)
            for n, extra, count in ((5, 3, 40), (6, 7, 100), (7, 13, 200), (8, 3, 50), (9, 11, 200), (10, 1, 20))
        },
    },
    "gopher-paper": {
        **_QUALITY, **_SYMBOLS, **_LINES,
        "stop_words": "The word of and", "dup_lines": copies(10, 2), "dup_paragraphs": copies(10, 2, "\n\n"),
        "dup_line_chars": repeated("a" * 10, 2, "\n", 101), "dup_paragraph_chars": repeated("a" * 10, 2, "\n\n", 101),
        "top_2gram": grams([2, 2], 2, 51), "top_3gram": grams([2, 3, 2], 2, 101), "top_4gram": grams([1, 1, 2, 1], 2, 101),
        "dup_5gram": grams([1] * 5, 2, 121), "dup_6gram": grams([2] * 3 + [1] * 3, 2, 201), "dup_7gram": grams([1] * 7, 2, 201),
        "dup_8gram": grams([1] * 8, 2, 251), "dup_9gram": grams([2] * 5 + [1] * 4, 2, 401), "dup_10gram": grams([2] + [1] * 9, 2, 401),
    },
    "fineweb": {
        "empty": "x\ny", "terminal_lines": made.lines(25, 4, ".", at_end=True),
        "short_lines": "\n".join(["x" * 30] * 66 + ["y" * 31] * 34), "dup_line_chars": "x\nx\n" + "z" * 99,
        "dup_line_chars_paper": "x" * 10 + "\n" + "x" * 10 + "\n" + "z" * 81,
        "newlines": "\n".join(made.words(count) for count in (5, 3, 2, 1)),
    },
}  # fmt: skip


def _made(preset: str, rules: tuple[str, ...]) -> dict[str, tuple[str, str, str]]:
    """below, at, above: what is inside of a least number stands above it."""
    found = {}
    for rule in rules:
        (at, beyond), inside = made.GOLDEN[preset][rule], INSIDE[preset][rule]
        is_least = rule.startswith("min_") or rule in ("alphabetic_words", "stop_words", "empty", "terminal_lines")
        found[rule] = (beyond, at, inside) if is_least else (inside, at, beyond)
    return found


def _all_but(preset: str, *names: str) -> dict[str, tuple[str, str, str]]:
    return _made(preset, tuple(rule for rule in made.GOLDEN[preset] if rule not in names))


# ---- C4

_SENTENCE = "Here is one more sentence."


def _c4(least: int) -> dict[str, tuple[str | None, str, str]]:
    return {
        "sentences": tuple(" ".join([_SENTENCE] * count) for count in (least - 1, least, least + 1)),
        "lorem_ipsum": (None, f"{_SENTENCE} Lorem.", f"{_SENTENCE}\nNo lorem ipsum stands in here."),
        "curly_bracket": (None, f"{_SENTENCE} [x].", _SENTENCE + "\nWhat is this { doing in here."),
    }  # type: ignore[return-value]


# ---- code and PDFs: (text, ending)

_HTML = [("<p>" + "v" * 100 + "</p><" + "a" * count + ">", "html") for count in (392, 391, 390)]
_HEAD = "x" * 100
CODE_LINES = {
    "max_line": tuple(("x" * count, "py") for count in (999, 1000, 1001)),
    "mean_line": tuple(("x" * 150 + "\n" + "x" * count, "py") for count in (49, 50, 51)),
    "alphanumeric": (("x---" * 5 + "-", "py"), ("x---" * 5, "py"), ("x---" * 5 + "x", "py")),
}
CONTENT: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "santacoder": {
        "min_comments": (("#" + "\nx = 12.55" * 11, "py"), ("#" + "\nx = 12.5" * 11, "py"), ("##" + "\nx = 12.5" * 11, "py")),
        "max_comments": tuple(("//" + "x" * count + "\n" + "y" * (97 - count), "java") for count in (77, 78, 79)),
    },
    "starcoder": {
        "xml": (None, ("x" * 87 + "<?xml version='1'", "xml"), ("x" * 86 + "<?xml version='1'", "xml")),
        "html_text": tuple(_HTML),
        "min_data_chars": tuple(("x" * count, "json") for count in (49, 50, 51)),
        "max_data_chars": tuple(("x" * count, "yaml") for count in (4999, 5000, 5001)),
    },
    "starcoder2": {
        "lines": tuple(("\n" * count, "py") for count in (99_999, 100_000, 100_001)),
        "max_line": CODE_LINES["max_line"],
        "mean_line": CODE_LINES["mean_line"],
        "max_long_line": tuple(("x" * count, "html") for count in (99_999, 100_000, 100_001)),
        "generated": (None, ("\n" * 5 + "# auto-generated", "py"), ("\n" * 4 + "# AUTO-generated", "py")),
        "encoded_match": tuple(("A" * count + " ", "py") for count in (1023, 1024, 1025)),
        "encoded": tuple(("A" * 64 + " " * count, "py") for count in (65, 64, 63)),
        "data_lines": tuple(("x\n" * count, "json") for count in (511, 512, 513)),
        "html_text": tuple(_HTML),
    },
    "codeparrot": {
        "generated": (None, ("generated", "py"), ("generated automatically", "py")),
        "config_or_test": (None, ("unit", "py"), ("unit tests", "py")),
        "config_words": tuple(("Config\n" + "\n" * count, "py") for count in (20, 19, 18)),
        "test_words": tuple(("test\n" + "\n" * count, "py") for count in (20, 19, 18)),
    },
    "redpajama": {"letters_per_token": (("ab (", "py"), ("abc (", "py"), ("abcd (", "py"))},
}  # fmt: skip
ENDINGS = {
    "listed_ending": (("x", "exe"), ("x", "py"), None),
    **{name: documents for name, documents in CODE_LINES.items() if name != "letters"},
    "max_shader_line": tuple(("x" * count, "fsh") for count in (499, 500, 501)),
    "letters": (("x---" * 5 + "-", "sv"), ("x---" * 5, "sv"), ("x---" * 5 + "x", "sv")),
    "data_letters": (("x-" * 5 + "-", "json"), ("x-" * 5, "json"), ("x-" * 5 + "x", "json")),
}
LOOPS = {"ngram_loops": tuple("go " * count + "on" for count in (31, 32, 33))}
PDF = {
    "pdf_numbers": ("abcd1\nabcde 1", "abcd1\nab cd1", "abc1"),
    "pdf_tables": ("| a\n" * 2 + "b\n" * 8, "| a\n" * 3 + "b\n" * 7, "| a\n" * 4 + "b\n" * 6),
}

# ---- URLs

LISTS = {
    "exact_domains": "www.Bad.org", "substrings": "badword", "hard_words": "hard", "soft_words": "soft\nmild\ntame",
    "domains": "bad.co.uk", "urls": "bad.org/page", "distinct_soft_words": "soft\nmild\ntame", "subwords": "subbad", "bad_words": "damn",
}  # fmt: skip
URLS: dict[str, dict[str, tuple[str | None, str, str]]] = {
    "refinedweb-dclm": {
        "url_domains": (None, "http://a.bad.org/", "https://BAD.org:443/x"),
        "url_strict_words": (None, "http://a.org/bad/word", "http://a.org/xB-A.Dword1"),
        "url_hard_words": (None, "http://hardly.org/1hard", "http://a.org/x-HARD.html"),
        "url_soft_words": ("http://soft.org/mildly", "http://soft.org/soft", "http://soft.org/soft/mild"),
    },
    "fineweb": {
        "url_domains": (None, "http://notbad.co.uk/", "http://a.b.bad.co.uk/x"),
        "url_urls": (None, "http://bad.org/page/2", "https://www.bad.org/page/"),
        "url_words": (None, "http://a.org/hardly", "http://a.org/hard"),
        "url_soft_words": ("http://soft.org/soft", "http://soft.org/mild", "http://soft.org/mild/tame"),
        "url_subwords": (None, "http://a.org/subsbad", "http://a.org/s_u/b-ba.d"),
    },
}


def _texts(documents: Mapping[str, tuple[str | None, ...]]) -> dict[str, Any]:
    return {name: tuple(text if text is None else (text, {}) for text in some) for name, some in documents.items()}


def _files(documents: Mapping[str, tuple[tuple[str, str] | None, ...]]) -> dict[str, Any]:
    """(text, ending) with the ending in the metadata."""
    return {
        name: tuple(item if item is None else (item[0], {"ext": item[1]}) for item in some)
        for name, some in documents.items()
    }


def _pages(documents: Mapping[str, tuple[str | None, ...]]) -> dict[str, Any]:
    return {name: tuple(url if url is None else ("", {"url": url}) for url in some) for name, some in documents.items()}


_URL_FILES = {name: ["{folder}/" + name] for name in LISTS if name != "bad_words"}
_WEB = {"olmo3-web": _OLMO3, "olmo3-web-released": _OLMO3, "refinedweb-dclm": _DCLM | _REMOVED, "madlad400": _SENTENCES}
FAMILIES: dict[str, Family] = {
    "gopher.GOPHER_RULES": Family("gopher-dclm", _texts(_DCLM)),
    **{f"web_filter.PRESETS[{name}]": Family("web-filter", _texts(some), {"preset": name}) for name, some in _WEB.items()},
    "rule_presets.GOPHER_PAPER_RULES": Family("gopher-paper", _texts(_all_but("gopher-paper"))),
    "rule_presets.GOPHER_DATATROVE_RULES": Family("gopher-datatrove", _texts(_all_but("gopher-datatrove"))),
    "rule_presets.GOPHER_DOLMA_RULES": Family("gopher-dolma", _texts(_all_but("gopher-dolma"))),
    "rule_presets.GOPHER_DOLMA_RELEASED_RULES": Family(
        "gopher-dolma", _texts(_all_but("gopher-dolma", "top_2gram", "top_3gram", "top_4gram"))
    ),
    "rule_presets.FINEWEB_RULES": Family("fineweb", _texts(_all_but("fineweb", "dup_line_chars_paper"))),
    "rule_presets.FINEWEB_PAPER_RULES": Family("fineweb", _texts(_all_but("fineweb", "dup_line_chars"))),
    **{f"rule_presets.PRESETS[{name}]": Family(name, _texts(_all_but(name, "dup_line_chars_paper"))) for name in made.GOLDEN},
    **{f"c4.C4_RULES[{name}]": Family(name, _texts(_c4(least))) for name, least in (("c4-paper", 5), ("c4-code", 3), ("c4-fineweb", 5))},
    "c4.C4_BAD_WORDS": Family(
        "c4-paper", _texts({"bad_words": (None, "A dam.", "A damn.")}), {"bad_words_path": "{folder}/bad_words"}
    ),
    "c4.MAX_CODE_CHARS": Family("c4-code", _texts({"max_chars": tuple("x" * count for count in (189_999, 190_000, 190_001))})),
    "code_rules.CODE_RULES": Family("code-rules", _files(CODE_LINES)),
    **{f"code_content.CONTENT_RULES[{name}]": Family("code-content", _files(some)) for name, some in CONTENT.items()},
    "code_endings.ENDING_RULES": Family("code-endings", _files(ENDINGS)),
    "ngram_loops.LOOP_RULES": Family("ngram-loops", _texts(LOOPS)),
    "pdf_text.PDF_RULES": Family("pdf-text", _texts(PDF)),
    **{f"url_lists.URL_RULES[{name}]": Family("url-lists", _pages(some), _URL_FILES) for name, some in URLS.items()},
}  # fmt: skip


def fill_options(options: dict[str, Any], folder: str) -> dict[str, Any]:
    """Options with the folder of the lists in the place of {folder}."""
    filled: dict[str, Any] = json.loads(json.dumps(options).replace("{folder}", folder))
    return filled
