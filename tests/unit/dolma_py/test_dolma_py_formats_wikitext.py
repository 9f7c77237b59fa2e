"""Wikitext to text: what stays and what goes, markup that is broken, and pages made to take for ever."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.formats.wikitext import MAX_DEPTH, WikiNames, render_text

NAMES = WikiNames(frozenset({"file", "image", "media", "datei"}), frozenset({"category", "kategorie"}))

CASES = {
    "plain": ("One.\n\nTwo.", "One.\n\nTwo."),
    "emphasis": ("'''''Both''''' and ''one''", "Both and one"),
    "links": (
        "[[City]]s of [[Rome (town)|Rome]], [[:Category:X|all]] and [[:de:Rom]]",
        "Citys of Rome, all and de:Rom",
    ),
    "link in label": ("[[A|b [[C|c]] d]]", "b c d"),
    "files and categories": ("a[[File:x.jpg|thumb|a [[b]] c]]b [[Datei:x|y]][[Kategorie:Z]]c", "ab c"),
    "languages": ("Text.\n[[de:Rom]]\n[[zh-min-nan:Rom]]", "Text."),
    "web links": (
        "see [http://a.b/c?d the ''site''], [https://x.y] or http://z.z",
        "see the site,  or http://z.z".replace("  ", " "),
    ),
    "references": ('a<ref name="x">{{cite|b}}</ref>b<ref name=x />c<REF>d</Ref>e', "abce"),
    "comments": ("a<!-- [[b]] {{ -->c<!-- never closed", "ac"),
    "templates": ("a {{b|c={{d|[[e]]}}|f}} g", "a g"),
    "argument": ("a {{{b|c}}} d {{e|{{{1|}}}}}", "a d"),
    "words": (
        "{{convert|5|to|7|km|mi}}, {{lang|fr|oui}}, {{nowrap|a b}}{{snd}}{{circa|1900}}",
        "5 to 7 km, oui, a b \u2013 c. 1900",
    ),
    "words by number": ("{{abbr|1=St.|2=Saint}} {{lang-de|Rom}}", "St. Rom"),
    "gap": ("Rome ({{lang-x|}}; born {{birth date|1900}}) is ({{IPA|x}}) big {{fact}}.", "Rome (born) is big."),
    "dates": (
        "{{As of|2024|4}}, {{as of|2024|04|5}}, {{as of|2024|May}}, {{as of|2024}}, {{as of|2024|13}}, {{as of|2024|0129}}",
        "As of April 2024, As of 5 April 2024, As of May 2024, As of 2024, As of 13 2024, As of 0129 2024",
    ),
    "values": (
        "{{val|5.3|u=m}}, {{val|5.3|0.2|e=6|ul=km}}, {{val|7}}, {{val|u=m}}.",
        "5.3 m, 5.3\u00b10.2\u00d710^6 km, 7.",
    ),
    "commas": ("{{circa|1900}}, {{IPAc-en|a}}, {{convert|3|km}}; {{x}}{{y}}. (a, {{z}}), b", "c. 1900, 3 km. (a), b"),
    "rules": ("a\n----\nb\n-----c\n--- d\n<pre>\n----\n</pre>", "a\n\nb\nc\n--- d\n----"),
    "entities": ("a&nbsp;b &amp; &lt;c&gt; &#233;", "a b & <c> \u00e9"),
    "nowiki": ("<nowiki>[[a]] {{b}}</nowiki> &amp;", "[[a]] {{b}} &"),
    "tags": ("a<br/>b<sub>2</sub> <div class='x'>c</div> x < y <unknown>", "a\nb2\nc\nx < y <unknown>"),
    "math": ("Let <math>\n\\frac{a}{b}\n</math> be, <chem>H2O</chem>", "Let $\\frac{a}{b}$ be, $H2O$"),
    "code": ("<syntaxhighlight lang=c>\n#include <a.h>\n  * b\n</syntaxhighlight>\nEnd", "#include <a.h>\n  * b\nEnd"),
    "headings": ("== A ==\n=== B ===\ntext\n== C ==\n{{reflist}}\n== D ==\n", "A\n\nB\ntext"),
    "lists": ("* a\n** b\n# c\n# d\n## e\n# f\n; g\n: h\n*\n", "- a\n  - b\n1. c\n2. d\n  1. e\n3. f\ng\nh"),
    "galleries": ("a\n<gallery>\nFile:a.jpg|b\n</gallery>\nc", "a\n\nc"),
    "magic": ("__NOTOC__a__b__", "a__b__"),
    "includes": ("a<includeonly>b</includeonly><noinclude>c</noinclude>", "ac"),
    "table": ('a\n{| class="x"\n|-\n! A !! B\n|-\n| style="b" | 1 || 2\n{|\n| deep\n|}\n|}\nb', "a\n\nb"),
    "bare braces": ("f(x) = {a} and }} and {{ open", "f(x) = {a} and }} and {{ open"),
    "unclosed link": ("a [[b c\nd", "a [[b c\nd"),
    "unclosed web link": ("a [http://b c\nd]", "a [http://b c\nd]"),
    "unclosed ref": ("a<ref>b", "ab"),
    "unclosed table": ("a\n{|\n| b\nc", "a\n\nb c"),
    "template over link": ("{{a|[[b}} c]]", "c]]"),
    "empty": ("{{a}}\n[[Category:b]]\n== c ==\n", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name) -> None:
    source, expected = CASES[name]
    assert render_text(source, NAMES) == expected


def test_rows_of_tables() -> None:
    source = 'a\n{| class="x"\n|+ Title\n|-\n! A !! B\n|-\n| style="b" | 1 || [[x|2]]\n|-\n|\n* 3\n|}\nb'
    assert render_text(source, NAMES, table_rows=True) == "a\n\nTitle\nA | B\n1 | 2\n- 3\n\nb"


def test_depth_is_bounded() -> None:
    deep = "{{a|" * (MAX_DEPTH + 5) + "x" + "}}" * (MAX_DEPTH + 5) + " end"
    assert render_text(deep).endswith("end")
    assert render_text("{{nowrap|" * MAX_DEPTH + "x" + "}}" * MAX_DEPTH) == "x"


MARKS = [
    "{{", "}}", "{{{", "}}}", "{", "[[", "]]", "[http://a ", "]", "{|\n", "|-\n", "|", "|}\n", "!", "!!", "''", "'''", "<ref>", "</ref>", "<!--",
    "-->", "<nowiki>", "</nowiki>", "<math>", "</math>", "<br>", "<a", "<", ">", "&", "&amp;", "==", "\n", "\n*", "\n#", " ", "(", "\x01",
    "\x02", "text", "\U0001f600", "__TOC__", "nowrap|", "convert|", "File:", "Category:",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(MARKS), max_size=60))
def test_any_markup_gives_a_text(parts) -> None:
    text = render_text("".join(parts).replace("\x02", ""), NAMES, table_rows=len(parts) % 2 == 0)
    assert text == text.strip()


@given(
    st.text(
        alphabet=st.characters(
            blacklist_characters="\x01\x02[]{}<>'&=_*#:;|! \n\t\r\x0b\x0c\x1c\x1d\x1e\x85\xa0\u2028\u2029"
        ),
        max_size=50,
    )
)
def test_text_without_markup_stays(text) -> None:
    assert render_text(text) == text.strip()


HOSTILE = {
    "templates": "{{",
    "arguments": "{{{a|", "braces": "{{{{{{{{{a}}}}}}}}}", "opens": "{", "closes": "}",
     "links": "[[", "closed": "[[a]]", "ends": "}}", "web": "[http://a ",
    "tables": "{|\n|", "quotes": "''a'''b", "refs": "<ref>", "tags": "<div>x", "half tags": "<a ", "lines": "\n", "spaces": " ", "marks": "*",
    "heads": "==a==\n", "rows": "|-\n|a\n", "gaps": "(\x01", "entities": "&#x41;", "comments": "<!--", "both": "[[{{", "held": "<nowiki>*</nowiki>",
    "more": "&", "equals": "=", "nested": "{{nowrap|", "items": "\n*#:;*#:; a",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_page_alone(name) -> None:
    """Four times the page takes about four times as long; a quadratic rule would take sixteen."""
    times = []
    for size in (50_000, 200_000):
        source = HOSTILE[name] * (size // len(HOSTILE[name]))
        runs = []
        for _ in range(3):
            start = time.process_time()
            render_text(source, table_rows=True)
            runs.append(time.process_time() - start)
        times.append(min(runs))
    assert times[1] < 0.3 + 9 * times[0], times
    assert times[1] < 5
