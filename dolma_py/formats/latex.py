"""LaTeX sources of a paper to one cleaned text, by the route of RedPajama's arXiv cleaner, in time linear in the sources.

Comments go, what stands before the first section, the bibliography and the appendix, and macros without arguments are replaced by what
they stand for. Beyond that route: files that \\input names are put in their places instead of all files one after the other, braces
are matched instead of lines, and a paper without sections begins after its title.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import NamedTuple

MAX_INCLUDE_DEPTH = 12
MAX_MACRO_CHARS = 1000  # of what a macro stands for, once the macros in it are replaced
MAX_MACROS = 5000  # definitions that are looked at
MACRO_ROUNDS = 4  # macros inside macros
MAX_GROWTH = 2  # of a text by its macros, in times its length, beyond 64 KiB

VERBATIM = re.compile(r"\\begin\{(verbatim\*?|Verbatim|lstlisting|minted|comment)\}")
COMMENT_LINE = re.compile(r"^[ \t]{0,80}%.*\n?", re.MULTILINE)
# what holds percent signs and backslashes of its own, on one line
LITERAL = r"\\verb\*?([^a-zA-Z\s*])[^\n]{0,500}?\2|\\(?:url|path|nolinkurl|href)[ \t]{0,9}\{[^{}\n]{0,2000}\}"
COMMENT = re.compile(rf"(?<!\\)((?:\\\\)*)(?:{LITERAL}|(%).*)")
SECTION = re.compile(r"\\(?:part|chapter|section|subsection|subsubsection|paragraph|subparagraph)\*?[ \t]{0,9}[\[{]")
TITLE_END = re.compile(r"\\begin\{document\}|\\maketitle|\\end\{abstract\}|\\end\{titlepage\}")
BIBLIOGRAPHY = re.compile(
    r"\\begin\{(?:thebibliography|references|REFERENCES)\}|\\bibliography[ \t]{0,9}\{|\\printbibliography"
)
APPENDIX = re.compile(r"\\appendix(?![a-zA-Z])|\\begin\{appendi(?:x|ces)\}")
INCLUDE = re.compile(r"\\(?:input|include|subfile)[ \t]{0,9}(?:\{([^{}\n]{1,300})\}|(?<=input )([^\s{}\\%]{1,300}))")
DEFINITION = re.compile(
    r"\\(?:(?:re|provide)?(?:new)?command\*?[ \t]{0,9}(?:\{[ \t]{0,9}\\([a-zA-Z]{1,60})[ \t]{0,9}\}|\\([a-zA-Z]{1,60}))"
    r"|def[ \t]{0,9}\\([a-zA-Z]{1,60})"
    r"|(DeclareMathOperator)(\*?)[ \t]{0,9}\{\\([a-zA-Z]{1,60})\})[ \t]{0,9}(?=\{)"
)
DEFINED = r"\\(?:(?:re|provide)?(?:new)?command\*?|def|DeclareMathOperator\*?)[ \t]{0,9}\{?[ \t]{0,9}\\[a-zA-Z]{1,60}"
CONTROL_WORD = re.compile(r"\\([a-zA-Z]{1,60})(?![a-zA-Z])(\{\})?")
# what stays, or is a macro: a literal, the head of a definition, a control word (name, braces that end it)
EXPANDED = re.compile(rf"()(?:{LITERAL})|({DEFINED})|{CONTROL_WORD.pattern}")
ENDS_IN_WORD = re.compile(r"\\[a-zA-Z]{1,60}\Z")
ABSTRACT = re.compile(r"\\begin\{abstract\}")


class TooLargeError(Exception):
    """The sources say more than a paper may: they include each other, or macros grow."""


class Paper(NamedTuple):
    """A cleaned paper."""

    text: str
    title: str
    main: tuple[str, ...]  # names of the files that the text begins with


def clean_paper(files: dict[str, str], max_chars: int, *, appendix: bool = False, abstract: bool = False) -> Paper:
    """The text of a paper from its .tex files by name; "" when there is none.

    max_chars: of the text with all its files in their places. appendix, abstract: keep them.

    Raises TooLargeError.
    """
    plain = {name: strip_comments(text) for name, text in files.items()}
    main = find_main(plain)
    macros = collect_macros(plain[name] for name in sorted(plain))
    texts, title = [], ""
    for name in main:
        whole = _Includer(plain, max_chars).include(name)
        title = title or find_title(whole)
        text = cut_text(whole, appendix=appendix, abstract=abstract)
        if text.strip():
            texts.append(expand_macros(text, macros))
    joined = re.sub(r"[ \t]+$", "", "\n\n".join(texts), flags=re.MULTILINE)
    return Paper(re.sub(r"\n{3,}", "\n\n", joined).strip(), expand_macros(title, macros), tuple(main))


def find_main(files: dict[str, str]) -> list[str]:
    """The files that are documents of their own, in order of their names; all files where none is.

    >>> find_main({"b.tex": "body", "a.tex": "\\\\documentclass{x} \\\\begin{document}"})
    ['a.tex']
    """
    names = sorted(files)
    whole = [name for name in names if re.search(r"\\document(class|style)[ \t]{0,9}[\[{]", files[name])]
    begun = [name for name in whole if "\\begin{document}" in files[name]]
    return begun or whole or names


def strip_comments(text: str) -> str:
    """The text without comments; verbatim listings keep their percent signs, comment environments go.

    >>> strip_comments("a 5\\\\% b % c")
    'a 5\\\\% b '
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parts = []
    position = 0
    unclosed: set[str] = set()
    for match in VERBATIM.finditer(text):
        if match.start() < position or match[1] in unclosed or _is_commented(text, match.start()):
            continue
        closing = f"\\end{{{match[1]}}}"
        end = text.find(closing, match.end())
        if end < 0:
            unclosed.add(match[1])
            continue
        end += len(closing)
        parts.append(_strip_plain(text[position : match.start()], goes_on=position > 0))
        if match[1] != "comment":
            parts.append(text[match.start() : end])
        position = end
    return "".join(parts) + _strip_plain(text[position:], goes_on=position > 0)


def _is_commented(text: str, position: int) -> bool:
    start = max(text.rfind("\n", 0, position) + 1, position - 500)
    return any(match[3] for match in COMMENT.finditer(text, start, position))


def _strip_plain(text: str, *, goes_on: bool) -> str:
    """goes_on: the text begins inside a line."""
    first = text.find("\n") + 1 or len(text) if goes_on else 0
    text = text[:first] + COMMENT_LINE.sub("", text[first:])
    return COMMENT.sub(lambda match: match[1] if match[3] else match[0], text)


class _Includer:
    """Puts files in the places that name them."""

    def __init__(self, files: dict[str, str], max_chars: int) -> None:
        self.files, self.left = files, max_chars
        self.open: list[str] = []

    def include(self, name: str) -> str:
        text = self.files[name]
        self.left -= len(text)
        if self.left < 0:
            raise TooLargeError
        self.open.append(name)
        folder = posixpath.dirname(self.open[0])

        def replace(match: re.Match[str]) -> str:
            found = self.find(folder, (match[1] or match[2]).strip().strip('"'))
            if found is None or found in self.open or len(self.open) > MAX_INCLUDE_DEPTH:
                return ""
            return self.include(found)

        whole = INCLUDE.sub(replace, text)
        self.open.pop()
        return whole

    def find(self, folder: str, name: str) -> str | None:
        for base in (folder, ""):
            path = posixpath.normpath(posixpath.join(base, name))
            for candidate in (path, path + ".tex"):
                if candidate in self.files:
                    return candidate
        return None


def cut_text(text: str, *, appendix: bool, abstract: bool) -> str:
    """From the first section to the bibliography or appendix."""
    begin = text.find("\\begin{document}")
    body = text[max(0, begin) :]
    end = body.find("\\end{document}")
    body = body if end < 0 else body[:end]
    found = ABSTRACT.search(body)
    summary = ""
    if abstract and found:
        close = body.find("\\end{abstract}", found.end())
        summary = body[found.end() : close].strip() + "\n\n" if close > 0 else ""
    section = SECTION.search(body)
    if section:
        body = body[section.start() :]
    else:
        start = max((match.end() for match in TITLE_END.finditer(body)), default=0)
        body = body[start:]
    if appendix:
        body = _drop_bibliography(body)
    else:
        ends = [match.start() for match in (BIBLIOGRAPHY.search(body), APPENDIX.search(body)) if match]
        body = body[: min(ends, default=len(body))]
    return summary + body


def _drop_bibliography(body: str) -> str:
    """The body without its lists of references, whatever comes after them kept."""
    parts = []
    position = 0
    while match := BIBLIOGRAPHY.search(body, position):
        parts.append(body[position : match.start()])
        name = match[0].partition("{")[2].rstrip("}")
        if match[0].startswith("\\begin"):
            end = body.find(f"\\end{{{name}}}", match.end())
            position = len(body) if end < 0 else end + len(name) + 6
        else:
            end = body.find("}", match.end()) if match[0].endswith("{") else match.end() - 1
            position = len(body) if end < 0 else end + 1
    return "".join(parts) + body[position:]


def find_title(text: str) -> str:
    """What \\title says, on one line."""
    found = re.search(r"\\title[ \t]{0,9}(?:\[[^\]\n]{0,300}\][ \t]{0,9})?(?=\{)", text)
    title = read_group(text, found.end(), 1000) if found else None
    return " ".join(re.sub(r"\\\\|\\thanks\{[^{}]*\}", " ", title or "").split())


def read_group(text: str, start: int, max_chars: int) -> str | None:
    """What stands between the brace at `start` and the one that closes it; None when none does within max_chars."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start, start + max_chars + 2):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if not depth:
                return text[start + 1 : match.start()]
    return None


def collect_macros(texts: Iterable[str]) -> dict[str, str]:
    """Macros without arguments by name -> what they stand for, the macros in it replaced."""
    found: dict[str, str] = {}
    num_seen = 0
    for text in texts:
        for match in DEFINITION.finditer(text):
            num_seen += 1
            if num_seen > MAX_MACROS:
                break
            name = _find_name(match)
            body = read_group(text, match.end(), MAX_MACRO_CHARS)
            if body is None or "#" in body:
                continue
            found[name] = f"\\operatorname{match[5]}{{{body}}}" if match[4] else body.strip()
    for _ in range(MACRO_ROUNDS):
        before = dict(found)
        for name, body in before.items():
            if "\\" in body:
                replaced = _replace_words(body, before)
                if len(replaced) <= MAX_MACRO_CHARS:
                    found[name] = replaced
        if found == before:
            break
    return {
        name: body for name, body in found.items() if name not in {match[1] for match in CONTROL_WORD.finditer(body)}
    }


def _find_name(definition: re.Match[str]) -> str:
    return definition[1] or definition[2] or definition[3] or definition[6]


def _replace_words(body: str, macros: dict[str, str]) -> str:
    return CONTROL_WORD.sub(
        lambda match: match[0] if match[1] not in macros else _end_word(macros[match[1]], match, bool(match[2])), body
    )


def _end_word(body: str, match: re.Match[str], has_braces: bool) -> str:
    """What a macro stands for, with the braces behind the macro where a control word would run into a letter without them."""
    is_open = has_braces and match.string[match.end() : match.end() + 1].isalpha() and ENDS_IN_WORD.search(body)
    return body + "{}" if is_open else body


def expand_macros(text: str, macros: dict[str, str]) -> str:
    """The text with macros replaced and without their definitions; \\verb and addresses stay as they are.

    Raises TooLargeError where that makes it much longer.

    >>> expand_macros("\\\\newcommand{\\\\eps}{\\\\epsilon}\\\\eps{}a \\\\verb|\\\\eps|", {"eps": "\\\\epsilon"})
    '\\\\epsilon{}a \\\\verb|\\\\eps|'
    """
    if not macros:
        return text
    left = MAX_GROWTH * len(text) + (1 << 16)
    parts = []
    position = num_seen = 0
    for match in EXPANDED.finditer(text):
        start = match.start()
        if start < position or match[1] is not None:
            continue
        if match[3]:
            num_seen += 1
            if num_seen > MAX_MACROS:
                continue
            end = _end_definition(text, start, macros)
            if end:
                parts.append(text[position:start])
                position = end
            continue
        body = macros.get(match[4])
        if body is None:
            continue
        left -= len(body)
        if left < 0:
            raise TooLargeError
        parts += text[position:start], _end_word(body, match, bool(match[5]))
        position = match.end()
    return "".join(parts) + text[position:]


def _end_definition(text: str, start: int, macros: dict[str, str]) -> int:
    """Where the definition at `start` of one of the macros ends, with the line where it fills one; 0 where it is none of them."""
    definition = DEFINITION.match(text, start)
    if definition is None or _find_name(definition) not in macros:
        return 0
    body = read_group(text, definition.end(), MAX_MACRO_CHARS)
    if body is None:
        return 0
    end = definition.end() + len(body) + 2
    fills_line = text[end : end + 1] == "\n" and text[max(0, start - 1) : start] in ("", "\n")
    return end + fills_line
