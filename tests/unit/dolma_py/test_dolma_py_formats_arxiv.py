"""Papers from arXiv's sources: the cleaned text, ids and months, and sources that are none, lie or grow without end."""

from __future__ import annotations

import gzip
import io
import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_py.formats import FieldMap, Limits, Rejection, Skipped, detect_format
from dolma_py.formats.arxiv import ArxivConfig, find_id, read_documents
from dolma_py.formats.latex import TooLargeError, clean_paper, find_title, strip_comments
from tests.made_archives import make_tar

MAIN = r"""\documentclass[12pt]{article}
\usepackage{amsmath} % packages
\newcommand{\R}{\mathbb{R}}
\newcommand\be{\begin{equation}}
\def\Rn{\R^n}
\DeclareMathOperator*{\argmax}{arg\,max}
\newcommand{\norm}[1]{\|#1\|}
\title[short]{On \emph{spaces}\thanks{me} of\\ points}
\begin{document}
\maketitle
\begin{abstract}We show it.\end{abstract}
% nothing here
\section{Intro} We have 5\% of $\Rn$, so\footnote{a % b
} \be x \end{equation}
\input{parts/two}
\begin{verbatim}
a % stays
\end{verbatim}
\begin{thebibliography}{9}\bibitem{a} A\end{thebibliography}
\appendix
\section{More} Proof with $\argmax$.
\end{document}
ignored
"""
TWO = "%\n\\subsection{Two} Here \\norm{x} and \\includegraphics{a}.\n\\include{three}\\input{none}\n"
FILES = {"main.tex": MAIN, "parts/two.tex": TWO, "three.tex": "Third.\n\\input{main}", "notes.tex": "unused \\R"}
CLEAN = r"""\section{Intro} We have 5\% of $\mathbb{R}^n$, so\footnote{a
} \begin{equation} x \end{equation}
\subsection{Two} Here \norm{x} and \includegraphics{a}.
Third.

\begin{verbatim}
a % stays
\end{verbatim}"""


def pack(files: dict[str, str]) -> bytes:
    return gzip.compress(make_tar({name: text.encode() for name, text in files.items()}), mtime=0)


def read(path: str, data: bytes, config: ArxivConfig | None = None, limits: Limits | None = None):
    rows, rejections, skipped = [], [], {}
    for event in read_documents(
        path, source="arxiv", limits=limits or Limits(), fields=FieldMap(), added=None, open_stream=lambda path: io.BytesIO(data), root="/in",
        settings=config,
    ):  # fmt: skip
        if isinstance(event, Rejection):
            rejections.append((event.reason, event.line))
        elif isinstance(event, Skipped):
            skipped[event.reason] = event.records
        else:
            rows.extend(row | {"metadata": json.loads(row["metadata"])} for row in event.to_pylist())
    return rows, rejections, skipped


def test_a_paper() -> None:
    (row,), rejections, skipped = read("/in/2301.00012v2.tar.gz", pack(FILES))
    assert (rejections, skipped) == ([], {})
    assert row["text"].replace(" \n", "\n") == CLEAN
    assert (row["id"], row["created"]) == ("2301.00012", datetime(2023, 1, 1, tzinfo=UTC))
    assert row["metadata"] == {
        "path": "2301.00012v2.tar.gz", "arxiv_id": "2301.00012", "version": "v2", "url": "https://arxiv.org/abs/2301.00012",
        "title": r"On \emph{spaces} of points", "main": ["main.tex"],
    }  # fmt: skip


def test_settings_keep_more() -> None:
    (row,), _, _ = read("/in/2301.00012", pack(FILES), ArxivConfig(appendix=True, abstract=True))
    assert row["text"].startswith("We show it.\n\n\\section{Intro}")
    assert row["text"].endswith("\\section{More} Proof with $\\operatorname*{arg\\,max}$.")
    assert "bibitem" not in row["text"]


def test_a_bulk_file() -> None:
    entries = {
        "2301/2301.00001.gz": pack(FILES),
        "2301/2301.00002.pdf": b"%PDF-1.5 ...",
        "2301/2301.00003.gz": gzip.compress(b"\\documentstyle{x}\\begin{document}\\section{A} single\\end{document}"),
        "2301/2301.00004.gz": gzip.compress(b"%auto-ignore\nThis paper has been withdrawn by the author.\n"),
        "2301/2301.00005.gz": gzip.compress(b"%!PS-Adobe-2.0"),
        "2301/2301.00006.gz": gzip.compress(make_tar({"a.html": b"<html>"})),
        "2301/2301.00007.gz": gzip.compress(make_tar({"a.tex": b"% all of it\n"})),
        "2301/2301.00008.gz": pack(FILES)[:-30],
        "2301/2301.00009.gz": gzip.compress(b"\\section{a}\0\0"),
        "2301/2301.00010.gz": gzip.compress(b"no markup at all"),
        "0001/cond-mat0001001.gz": gzip.compress("\\section{\u00dc} \u00fcber".encode("latin-1")),
    }
    rows, rejections, skipped = read("/in/arXiv_src_2301_001.tar", make_tar(entries))
    assert [(row["id"], row["created"].year) for row in rows] == [
        ("2301.00001", 2023),
        ("2301.00003", 2023),
        ("cond-mat/0001001", 2000),
    ]
    assert rows[1]["text"] == "\\section{A} single"
    assert rows[2]["text"] == "\\section{\u00dc} \u00fcber"
    assert rejections == [("truncated", 8), ("binary", 9)]
    assert skipped == {"pdf": 1, "withdrawn": 1, "postscript": 1, "no_tex": 2, "empty": 1}
    assert detect_format("s3://arxiv/src/arXiv_src_2301_001.tar") == "arxiv"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2301.00001", ("2301.00001", "", 2023)), ("0704.0001v3.gz", ("0704.0001", "v3", 2007)), ("9912.12345.tar.gz", ("9912.12345", "", 1999)),
        ("hep-th9901001.gz", ("hep-th/9901001", "", 1999)), ("math.AG0601001v1.gz", ("math.AG/0601001", "v1", 2006)),
        ("2313.00001", None), ("main.tex", None), ("2301.1", None), ("", None),
    ],
)  # fmt: skip
def test_ids(name, expected) -> None:
    found = find_id(name)
    assert (found and (found.text, found.version, found.month.year)) == expected


def test_paper_without_sections_and_without_main() -> None:
    letter = "\\documentclass{revtex}\\title{T}\\begin{document}\\maketitle Dear all, words.\\bibliography{a} rest\\end{document}"
    assert clean_paper({"a.tex": letter}, 10_000).text == "Dear all, words."
    assert (
        clean_paper({"b.tex": "\\section{B} two", "a.tex": "\\section{A} one"}, 10_000).text
        == "\\section{A} one\n\n\\section{B} two"
    )
    assert clean_paper({}, 100).text == ""


def test_macros_that_do_not_end() -> None:
    loop = "\\documentclass{a}\\def\\a{\\b}\\def\\b{\\a}\\def\\c{x\\c}\\def\\al{\\alpha}\\begin{document}\\section{S}\\a\\b\\c\\al\\end{document}"
    assert clean_paper({"m.tex": loop}, 10_000).text == "\\section{S}\\a\\b\\c\\alpha"
    double = (
        "".join(f"\\def\\m{chr(97 + n)}{{\\m{chr(98 + n)}\\m{chr(98 + n)}}}" for n in range(25)) + "\\section{S}\\ma"
    )
    assert len(clean_paper({"m.tex": double}, 10_000).text) < 10_000
    with pytest.raises(TooLargeError):
        clean_paper({"m.tex": "\\def\\a{" + "x" * 900 + "}\\section{S}" + "\\a{}" * 100_000}, 1 << 20)


def expand(body: str, preamble: str = "") -> str:
    """The body of a paper of one section."""
    text = clean_paper(
        {"m.tex": f"\\documentclass{{a}}{preamble}\\begin{{document}}\\section{{S}}\n{body}\\end{{document}}"}, 10_000
    ).text
    return text.removeprefix("\\section{S}").strip()


EPS = "\\newcommand{\\eps}{\\epsilon}\\newcommand{\\ie}{i.e.}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("\\eps{}a", "\\epsilon{}a"), ("\\eps{} a \\eps{}1 \\eps a", "\\epsilon a \\epsilon1 \\epsilon a"), ("\\ie{}x", "i.e.x"),
        ("a\n\\newcommand{\\ie}{i.e.}\nb \\ie", "a\nb i.e."), ("\\def\\x{\\ie}\\x c", "i.e. c"),
        ("\\newcommand{\\y}[1]{\\ie #1} \\y{2}", "\\newcommand{\\y}[1]{i.e. #1} \\y{2}"),  # has an argument: stays, and so does its name
        ("\\renewcommand{\\ie}[1]{#1}", "\\renewcommand{\\ie}[1]{#1}"), ("\\verb|\\eps| \\url{a\\eps}", "\\verb|\\eps| \\url{a\\eps}"),
    ],
)  # fmt: skip
def test_macros_in_a_text(body, expected) -> None:
    assert expand(body, EPS) == expected


def test_a_macro_in_a_macro_keeps_its_braces() -> None:
    assert expand("\\ea", EPS + "\\newcommand{\\ea}{\\eps{}a}") == "\\epsilon{}a"


def test_files_that_include_each_other() -> None:
    bomb = {f"f{n}.tex": f"\\input{{f{n + 1}}}" * 10 + "x" for n in range(12)} | {
        "a.tex": "\\documentclass{a}\\section{S}\\input{f0}"
    }
    with pytest.raises(TooLargeError):
        clean_paper(bomb, 1 << 20)
    assert read("/in/2301.00001.gz", pack(bomb))[1] == [("too_large", 1)]
    outside = {"a.tex": "\\documentclass{a}\\section{S} \\input{../../../etc/passwd}\\input{/etc/passwd}end"}
    assert clean_paper(outside, 1000).text == "\\section{S} end"


def test_hostile_papers() -> None:
    limits = Limits(ratio_floor_bytes=1 << 20)
    bomb = gzip.compress(b"\\section{a}" + bytes(50 << 20))
    assert read("/in/2301.00001.gz", bomb, ArxivConfig(max_source_bytes=1 << 30), limits)[1] == [("bomb", 1)]
    assert read("/in/2301.00001.gz", bomb, ArxivConfig(max_source_bytes=2 << 20), limits)[1] == [("too_long", 1)]
    assert read("/in/2301.00001.gz", pack(FILES), ArxivConfig(max_paper_bytes=100))[1] == [("too_long", 1)]
    assert read("/in/2301.00001.gz", b"")[2] == {"empty": 1}
    rows, rejections, _ = read("/in/all.tar", make_tar({"../2301.00001.gz": pack(FILES), "2301.00002.gz": pack(FILES)}))
    assert ([row["id"] for row in rows], rejections) == (["2301.00002"], [("bad_path", 1)])
    climbing = gzip.compress(make_tar({"../../x.tex": b"\\section{X} y"}))
    assert read("/in/2301.00001.gz", climbing)[0][0]["text"] == "\\section{X} y"  # a name, no file


def test_comments() -> None:
    assert strip_comments("a\\\\% b\nc\\%d %e\n  % f\n%\ng") == "a\\\\\nc\\%d \ng"
    assert strip_comments("a\\begin{comment}x\\end{comment}b% \\begin{verbatim}\nc % d") == "ab\nc "
    assert (
        strip_comments("\\begin{lstlisting}% x\\end{lstlisting} % y\r\n\\begin{minted} % z")
        == "\\begin{lstlisting}% x\\end{lstlisting} \n\\begin{minted} "
    )
    assert strip_comments("\\verb|100% sure| B % c") == "\\verb|100% sure| B "
    assert strip_comments("\\verb*+5%+ and \\verb+a% b\nc+") == "\\verb*+5%+ and \\verb+a\nc+"
    assert strip_comments("\\\\verb|5% x|") == "\\\\verb|5"  # a line's end and a word
    assert (
        strip_comments("\\url{http://a/%20b} \\href{b%20c}{5% d}\n\\path{a%b}%c")
        == "\\url{http://a/%20b} \\href{b%20c}{5\n\\path{a%b}"
    )
    assert strip_comments("% \\url{a\nb %\\verb|x\n") == "b \n"
    assert find_title("\\title{A {b} c}") == "A {b} c"
    assert find_title("\\title{never closed") == ""


MARKS = [
    "\\documentclass{a}", "\\begin{document}", "\\end{document}", "\\section{", "}", "{", "%", "\n", "\\", "\\newcommand{\\x}{", "\\x",
    "\\def\\y{\\x}", "\\y", "\\input{a}", "\\input{b}", "\\begin{verbatim}", "\\end{verbatim}", "\\begin{thebibliography}", "\\appendix",
    "text", "\\maketitle", "\u00e9",
    "\\verb|", "|", "\\url{", "\\x{}", "a%b",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(MARKS), max_size=40), st.lists(st.sampled_from(MARKS), max_size=10), st.booleans())
def test_any_sources(first, second, keep) -> None:
    try:
        text = clean_paper(
            {"a.tex": "".join(first), "b.tex": "".join(second)}, 100_000, appendix=keep, abstract=keep
        ).text
    except TooLargeError:
        return
    assert text == text.strip()


HOSTILE = {
    "comments": "%", "backslashes": "\\", "macros": "\\newcommand{\\a}{", "titles": "\\title{",
    "braces": "{", "sections": "\\section{a}", "inputs": "\\input{b}",
    "verbatim": "\\begin{verbatim}", "lists": "\\begin{thebibliography}", "lines": "\n", "blanks": " ", "words": "\\alpha",
    "defs": "\\def\\a{b}", "listing": "\\begin{verbatim}\\end{verbatim}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_sources_alone(name) -> None:
    times = []
    for size in (50_000, 200_000):
        source = HOSTILE[name] * (size // len(HOSTILE[name]))
        runs = []
        for _ in range(3):
            start = time.process_time()
            clean_paper({"a.tex": source, "b.tex": ""}, 1 << 22, appendix=True)
            runs.append(time.process_time() - start)
        times.append(min(runs))
    assert times[1] < 0.3 + 9 * times[0], times
    assert times[1] < 5
