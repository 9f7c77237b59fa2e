"""Wikitext to plain text in one pass over its markup: a subset of MediaWiki's grammar, in time linear in the page.

Why no library: the parsers on the index expand nothing either, take seconds to minutes for hostile pages, and a limit
of time would make the text depend on the machine. Here every byte is looked at a bounded number of times, whatever it is.

Kept: running text, headings that have text below them, list items, labels of links, formulas as `$...$`, code as it is.
Dropped: templates, but for those that stand for text in a sentence (WORDS below), references, tables (or rows, when asked for),
files and their captions, galleries, categories, links to other languages, comments, HTML tags.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import NamedTuple

MAX_DEPTH = 40  # open templates, links and tables, one in another; MediaWiki stops at 40 as well
DROPPED = "\x01"  # stands where a template was; XML text has no control characters
HELD = "\x02"  # around the number of a text that no rule of lines may touch

# tags of extensions: what they hold is no wikitext; True: it is kept as it is
VERBATIM = {
    "nowiki": True, "pre": True, "syntaxhighlight": True, "source": True, "math": True, "chem": True, "ce": True,
    "ref": False, "gallery": False, "timeline": False, "score": False, "graph": False, "mapframe": False, "maplink": False,
    "imagemap": False, "templatedata": False, "templatestyles": False, "inputbox": False, "hiero": False, "categorytree": False,
    "includeonly": False, "references": False, "section": False, "indicator": False, "dynamicpagelist": False, "style": False,
}  # fmt: skip
BREAKS = {
    "br", "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "blockquote", "hr", "tr", "table", "center", "poem", "h1", "h2", "h3", "h4",
}  # fmt: skip
INLINE = {
    "b", "i", "u", "s", "em", "strong", "small", "big", "sub", "sup", "span", "font", "code", "tt", "kbd", "samp", "var", "abbr", "cite",
    "del", "ins", "q", "bdi", "bdo", "dfn", "mark", "ruby", "rb", "rp", "rt", "rtc", "strike", "wbr", "time", "data", "td", "th", "caption",
    "onlyinclude", "noinclude", "translate", "tvar", "languages", "noeditsection", "h5", "h6", "figure", "img", "a",
}  # fmt: skip

TOKEN = re.compile(
    r"""(?P<comment><!--)
    |<(?P<slash>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9]{0,19})(?P<rest>(?:[ \t\n/][^<>]{0,2000})?)>
    |(?P<open>\{{2,})|(?P<close>\}{2,})
    |(?P<link>\[\[)|(?P<unlink>\]\])
    |(?P<web>\[(?:https?://|ftp://|//|mailto:)[^\s\[\]<>"]{0,4000}[ \t]{0,20})|(?P<unweb>\])
    |^[ \t:]{0,9}(?P<table>\{\|)[^\n]*|^[ \t]{0,9}(?P<untable>\|\})
    |(?P<newline>\n)
    |(?P<quotes>'{2,9})
    |(?P<magic>__[A-Z]{3,30}__)""",
    re.VERBOSE | re.MULTILINE,
)
INTERWIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,8}){0,2}:(?! )|simple:")
# a comma that stood before a template, where another sign comes next
COMMA_GAP = re.compile(rf"[,;] ?(?:{DROPPED} ?)+(?=[,;.)])")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WORD_GAP = re.compile(rf"\([ ,;:]*{DROPPED}[ ,;:{DROPPED}]*")


class WikiNames(NamedTuple):
    """Lower-case names of namespaces whose links are no text: files and categories, in the wiki's language and in English."""

    files: frozenset[str] = frozenset({"file", "image", "media"})
    categories: frozenset[str] = frozenset({"category"})


class _Frame(NamedTuple):
    kind: str  # template, link, web, table
    start: int  # of what it holds, in the list of pieces
    opener: str  # the markup that opened it: what stands there when nothing closes it
    braces: int = 0


def render_text(source: str, names: WikiNames | None = None, *, table_rows: bool = False) -> str:
    """The plain text of one page; "" when nothing of it is text.

    table_rows: keep tables, a row a line with ` | ` between its cells.

    >>> render_text("'''Rome''' is a [[city]] in [[Italy (country)|Italy]].<ref>Book</ref>")
    'Rome is a city in Italy.'
    """
    page = _Page(source, names or WikiNames(), table_rows)
    page.run()
    return _finish("".join(page.pieces), page.held)


class _Page:
    def __init__(self, source: str, names: WikiNames, table_rows: bool) -> None:
        self.source, self.names, self.table_rows = source, names, table_rows
        self.pieces: list[str] = []
        self.frames: list[_Frame] = []
        self.held: list[str] = []  # code, formulas: no rule of lines applies to them
        self.unclosed: set[str] = set()  # tags of extensions that nothing closes from here on

    def run(self) -> None:
        source, position = self.source, 0
        while True:
            match = TOKEN.search(source, position)
            if match is None:
                break
            if match.start() > position:
                self.pieces.append(source[position : match.start()])
            position = self.take(match)
        self.pieces.append(source[position:])
        while self.frames:
            self.abandon()

    def take(self, match: re.Match[str]) -> int:
        """Act on one piece of markup; returns where to go on."""
        kind, end = str(match.lastgroup), match.end()
        if kind == "comment":
            found = self.source.find("-->", end)
            return len(self.source) if found < 0 else found + 3
        if kind in ("tag", "rest", "slash"):
            return self.take_tag(match)
        if kind == "open":
            self.push("template", match.group(), len(match.group()))
        elif kind == "close":
            self.close_braces(len(match.group()))
        elif kind in ("link", "web", "table"):
            self.push(kind, match.group())
        elif kind == "unlink":
            self.close_link()
        elif kind == "unweb":
            if self.frames and self.frames[-1].kind == "web":
                self.pieces.append(self.pop().strip())
            else:
                self.pieces.append("]")
        elif kind == "untable":
            self.close_table(match.group())
        elif kind == "newline":
            if self.frames and self.frames[-1].kind == "web":
                self.abandon()
            self.pieces.append("\n")
        return end

    def push(self, kind: str, opener: str, braces: int = 0) -> None:
        if len(self.frames) >= MAX_DEPTH:
            self.pieces.append(opener)
        else:
            self.frames.append(_Frame(kind, len(self.pieces), opener, braces))

    def pop(self) -> str:
        """What the innermost frame holds; the frame is gone."""
        start = self.frames.pop().start
        content = "".join(self.pieces[start:])
        del self.pieces[start:]
        return content

    def abandon(self) -> None:
        """Nothing closes the innermost frame: its opener is text, but for a table, which MediaWiki closes at the end."""
        frame = self.frames[-1]
        if frame.kind == "table":
            rows = _render_rows(self.pop())
            self.pieces.append(rows)
        else:
            self.frames.pop()
            opener = frame.opener if frame.kind != "template" else "{" * frame.braces
            self.pieces.insert(frame.start, opener)

    def find_frame(self, kind: str, barriers: tuple[str, ...] = ()) -> bool:
        """Whether a frame of this kind is open above any barrier; what is open above it is abandoned."""
        for index in range(len(self.frames) - 1, -1, -1):
            if self.frames[index].kind == kind:
                while len(self.frames) > index + 1:
                    self.abandon()
                return True
            if self.frames[index].kind in barriers:
                return False
        return False

    def take_tag(self, match: re.Match[str]) -> int:
        name, end = match["tag"].lower(), match.end()
        if name in VERBATIM:
            if match["slash"] or match["rest"].endswith("/"):
                return end
            found = -1 if name in self.unclosed else self.find_close(name, end)
            if found < 0:
                self.unclosed.add(name)
                return end
            if VERBATIM[name]:
                self.hold(name, self.source[end:found])
            return self.source.find(">", found) + 1
        if name in BREAKS:
            self.pieces.append("\n")
        elif name not in INLINE:
            self.pieces.append(match.group())
        return end

    def find_close(self, name: str, start: int) -> int:
        found = re.compile(rf"</{name}\s{{0,20}}>", re.IGNORECASE).search(self.source, start)
        return -1 if found is None else found.start()

    def hold(self, name: str, content: str) -> None:
        """Keep text out of the rules for lines."""
        if name in ("math", "chem", "ce"):
            content = f"${' '.join(content.split())}$" if content.strip() else ""
        elif name in ("pre", "syntaxhighlight", "source"):
            content = content.strip("\n")
        self.pieces.append(f"{HELD}{len(self.held)}{HELD}")
        self.held.append(html.unescape(content) if name in ("nowiki", "pre") else content)

    def close_braces(self, count: int) -> None:
        while count >= 2 and self.find_frame("template", ("table",) if self.top_is("table") else ()):
            frame = self.frames[-1]
            matched = min(3, count, frame.braces)
            content = self.pop()
            count -= matched
            left = frame.braces - matched
            text = _render_template(content) if matched == 2 else DROPPED
            if left >= 2:
                self.frames.append(_Frame("template", len(self.pieces), "", left))
            elif left == 1:
                self.pieces.append("{")
            self.pieces.append(text)
        if count:
            self.pieces.append("}" * count)

    def top_is(self, kind: str) -> bool:
        return bool(self.frames) and self.frames[-1].kind == kind

    def close_link(self) -> None:
        if not self.find_frame("link", ("template", "table")):
            self.pieces.append("]]")
            return
        target, bar, label = self.pop().partition("|")
        self.pieces.append(self.render_link(target.strip(), label.strip() if bar else None))

    def render_link(self, target: str, label: str | None) -> str:
        is_escaped = target.startswith(":")
        target = target.lstrip(":")
        space = target.partition(":")[0].strip().replace("_", " ").lower() if ":" in target else ""
        if not is_escaped and (space in self.names.files or space in self.names.categories):
            return ""
        if label is None:
            return "" if not is_escaped and INTERWIKI.match(target) else target.replace("_", " ")
        return label

    def close_table(self, text: str) -> None:
        if not self.find_frame("table", ("template", "link")):
            self.pieces.append(text)
            return
        content = self.pop()
        self.pieces.append(_render_rows(content) if self.table_rows else "\n")


def _render_rows(content: str) -> str:
    """Rows of a table, one a line."""
    rows: list[list[str]] = [[]]
    for line in content.split("\n"):
        mark = line.lstrip()[:1]
        line = line.strip()
        if line.startswith(("|-", "|+")):
            rows.append([])
            if line.startswith("|+"):
                rows[-1].append(line[2:].strip())
                rows.append([])
        elif mark in ("|", "!"):
            cells = re.split(r"\|\||!!", line[1:]) if mark == "!" else line[1:].split("||")
            rows[-1] += [_strip_attributes(cell) for cell in cells]
        elif line and rows[-1]:
            rows[-1][-1] = f"{rows[-1][-1]} {line}".strip()
        elif line:
            rows[-1].append(line)
    lines = [" | ".join(cells) for cells in rows if any(cells)]
    return "\n" + "".join(line + "\n" for line in lines)


def _strip_attributes(cell: str) -> str:
    attributes, bar, text = cell.partition("|")
    return (text if bar and ("=" in attributes or not attributes.strip()) else cell).strip()


def _number(values: list[str]) -> str:
    """The measure that a conversion starts from: `{{convert|5|to|7|km|mi}}` says 5 to 7 km."""
    if len(values) > 3 and values[1] in ("to", "and", "or", "by", "x", "-", "\u2013", "to(-)", "+/-"):
        return f"{values[0]} {values[1].replace('(-)', '')} {values[2]} {values[3]}"
    return " ".join(values[:2])


def _date(values: list[str]) -> str:
    """`{{as of|2024|4|5}}`: year, month and day, the month by number or name."""
    year, month, day = (*values, "", "", "")[:3]
    if month.isascii() and month.isdigit() and len(month) <= 2 and 1 <= int(month) <= 12:
        month = MONTHS[int(month) - 1]
    return "As of " + " ".join(part for part in (day, month, year) if part)


def _value(values: list[str], named: dict[str, str]) -> str:
    """`{{val|5.3|0.2|e=6|u=m}}`: a number with its uncertainty, power of ten and unit."""
    number, uncertainty = (*values, "", "")[:2]
    if not number:
        return DROPPED
    power = f"\u00d710^{named['e']}" if named.get("e") else ""
    unit = named.get("u") or named.get("ul") or ""
    return number + (f"\u00b1{uncertainty}" if uncertainty else "") + power + (f" {unit}" if unit else "")


def _first(values: list[str]) -> str:
    return values[0] if values else DROPPED


def _second(values: list[str]) -> str:
    return values[1] if len(values) > 1 else _first(values)


def _prefixed(prefix: str) -> Callable[[list[str]], str]:
    return lambda values: prefix + " ".join(values)


def _constant(text: str) -> Callable[[list[str]], str]:
    return lambda values: text


# templates of the English wikis (most of them in other wikis too) without which a sentence lacks a word
WORDS: dict[str, Callable[[list[str]], str]] = dict.fromkeys(
    (
        "nowrap", "nobr", "nobreak", "nwr", "small", "smaller", "big", "larger", "em", "strong", "sc", "smallcaps", "abbr", "abbrlink",
        "tooltip", "code", "kbd", "samp", "mono", "var", "mvar", "math", "sup", "sub", "not a typo", "as written", "sic", "visible anchor",
        "vanchor", "anchor text", "ill", "interlanguage link", "proper name", "quote", "blockquote", "quotation", "cquote", "nihongo",
        "gaps", "nts", "formatnum", "linktext", "resize", "center", "poem quote", "poemquote", "em dash", "title case", "lj", "bold",
        "italic", "font", "keypress", "underline",
    ),
    _first,
) | {
    "lang": _second, "langx": _second, "transl": _second, "transliteration": _second, "translit": _second, "color": _second,
    "colored text": _second, "convert": _number, "cvt": _number, "circa": _prefixed("c. "), "c.": _prefixed("c. "),
    "floruit": _prefixed("fl. "), "fl.": _prefixed("fl. "), "as of": _date, "spaced ndash": _constant(" \u2013 "),
    "snd": _constant(" \u2013 "), "spnd": _constant(" \u2013 "), "ndash": _constant("\u2013"), "mdash": _constant("\u2014"),
    "spaced mdash": _constant(" \u2014 "), "nbsp": _constant(" "), "spaces": _constant(" "), "!": _constant("|"), "=": _constant("="),
    "'": _constant("'"), "'s": _constant("'s"), "\"": _constant("\""), "frac": lambda values: "/".join(values),
    "sfrac": lambda values: "/".join(values), "okina": _constant("\u02bb"),
}  # fmt: skip


def _render_template(content: str) -> str:
    if len(content) > 4000 and "|" not in content[:100]:
        return DROPPED
    name, *arguments = content.split("|") if len(content) <= 20_000 else [content.partition("|")[0]]
    name = name.strip().replace("_", " ").lower()
    if name.startswith("formatnum:"):
        return name.removeprefix("formatnum:").strip()
    render = _first if name.startswith("lang-") and len(name) < 12 else WORDS.get(name)
    if render is None and name != "val":
        return DROPPED
    values, named = [], {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not re.fullmatch(r"[\w -]{1,30}", key):
            values.append(argument.strip())
        elif key.strip() in ("1", "2", "text", "quote"):
            values.append(value.strip())
        else:
            named[key.strip()] = value.strip()
    return (_value(values, named) if render is None else render(values)) or DROPPED


LIST_ITEM = re.compile(r"^([*#:;]{1,20})[ \t]*(.*)$", re.DOTALL)
HEADING = re.compile(r"^(={1,6})(.+?)\1[ \t]*$")


def _finish(text: str, held: list[str]) -> str:
    """Rules for lines, once the markup inside them is gone; then entities."""
    lines: list[str] = []
    levels: list[int] = []  # of each line that is a heading, else 0
    counters: list[int] = []
    for line in text.split("\n"):
        line = _tidy(line)
        if line.startswith("----"):  # a rule across the page; text may follow it
            line = line.lstrip("-").strip()
        heading = HEADING.match(line) if line.startswith("=") and len(line) < 1000 else None
        if heading:
            line, level = heading[2].strip(" =\t"), len(heading[1])
            while levels and (levels[-1] >= level or not (levels[-1] or lines[-1])):  # nothing stands below that one
                lines.pop()
                levels.pop()
            if line:
                lines += ["", line]
                levels += [0, level]
            counters = []
            continue
        item = LIST_ITEM.match(line)
        line = _render_item(item[1], item[2], counters) if item else line
        if item is None or not item[1].startswith("#"):
            counters = []
        if line or (lines and lines[-1]):
            lines.append(line)
            levels.append(0)
    while levels and (levels[-1] or not lines[-1]):
        lines.pop()
        levels.pop()
    joined = html.unescape("\n".join(lines)).strip()
    return re.sub(rf"{HELD}(\d+){HELD}", lambda match: held[int(match[1])], joined)


def _tidy(line: str) -> str:
    line = line.replace("&nbsp;", " ").replace("\xa0", " ")
    if DROPPED in line:
        line = (
            COMMA_GAP.sub("", WORD_GAP.sub("(", line)).replace("()", "").replace(" " + DROPPED, "").replace(DROPPED, "")
        )
        if not line.strip("*#:;, ."):
            return ""
    return re.sub(r"[ \t]{2,}", " ", line).strip()


def _render_item(marks: str, text: str, counters: list[int]) -> str:
    if not text:
        return ""
    indent = "  " * (len(marks) - 1)
    if marks[-1] == "*":
        return f"{indent}- {text}"
    if marks[-1] == "#":
        del counters[len(marks) :]
        counters += [0] * (len(marks) - len(counters))
        counters[-1] += 1
        return f"{indent}{counters[-1]}. {text}"
    return text
