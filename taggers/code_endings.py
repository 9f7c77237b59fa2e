"""StarCoder's thresholds by file ending as columns: which files are taken at all, how long their lines may be, how much of them is letters.

Eighteen people looked at files of 86 languages of The Stack and set for each ending whether it is taken, the longest line (1,000 characters for
most, and then 100 on average), and the least share of letters and digits (0.25 for most) or of letters (0.25 for some, 0.5 for JSON and YAML).
A column of a rule that an ending is not asked has a value that the rule keeps, so one rule serves all endings.

An ending is looked up for the file's language; without a language in the metadata, or with one that the table lacks, by itself.

Where we leave the source: it drops endings that the table lacks, and so do we (`is_listed` is 0), but the case of an ending never counts here, and
lines are those of line feeds, not of str.splitlines. Rows whose "include" cell is empty (Racket's `rkt`, Stata's help) are not taken, as the
program reads them.

Source: Li et al. 2023 (StarCoder), section 3.1; bigcode-dataset preprocessing, filter basic_per_extension and visual_inspection.csv (1bf72fa).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.errors import SchemaError
from dolma_py.metadata import read_fields
from taggers.code_languages import ending_of
from taggers.code_rules import count_code
from taggers.code_rules_kernels import ALNUM_CHARS, ALPHA_CHARS, CHARS, LINE_CHARS, LINES, MAX_LINE_CHARS
from taggers.gopher import Rule

# language -> endings that are taken; "" is a file without an ending
_TAKEN = {
    "ada": "ada adb ads", "agda": "agda", "alloy": "als", "antlr": "g4", "applescript": "applescript scpt", "assembly": "a51 asm nasm",
    "augeas": "aug", "awk": "auk awk gawk mawk nawk", "batchfile": "bat cmd", "bluespec": "bsv", "c": "c h", "c-sharp": "cake cs cshtml",
    "c++": "c++ cc cp cpp cxx h++ hh hpp hxx inl ipp tcc tpp", "clojure": "boot clj cljc cljs cljx", "cmake": "cmake",
    "coffeescript": "_coffee cjsx coffee cson iced", "common-lisp": "asd lisp lsp ny", "css": "css", "cuda": "cu cuh", "dart": "dart",
    "dockerfile": "1 3 dockerfile mustache", "elixir": "ex exs", "elm": "elm", "emacs-lisp": "el emacs", "erlang": "erl escript hrl yrl",
    "f-sharp": "fs fsi fsx", "fortran": "f f03 f08 f90 f95 for fpp",
    "glsl": "fp frag fsh fshader geom glsl glslv shader vert vsh vshader", "go": "go", "groovy": "groovy gtpl gvy", "haskell": "hs hsc",
    "html": "htm html xht xhtml", "idris": "idr lidr", "isabelle": "thy", "java": "java", "java-server-pages": "jsp",
    "javascript": "es6 js jsm pac sjs xsjslib", "julia": "jl", "kotlin": "kt kts", "lean": "hlean lean", "literate-agda": "lagda",
    "literate-coffeescript": "litcoffee", "literate-haskell": "lhs", "lua": "lua nse wlua", "makefile": "cmake mak mk txt", "maple": "mpl",
    "markdown": "markdown md mkd mkdn ron", "mathematica": "ma mathematica mt nb wl", "matlab": "matlab",
    "ocaml": "eliom eliomi ml ml4 mli mll mly", "pascal": "dfm lpr pas", "perl": "perl pl pm psgi t", "php": "ctp php phpt",
    "powershell": "ps1 psd1 psm1", "prolog": "prolog yap", "protocol-buffer": "proto", "python": "bzl gyp py pyde pyw", "r": "r rd rsx",
    "racket": "scrbl", "restructuredtext": "rst", "rmarkdown": "rmd",
    "ruby": "builder gemspec jbuilder podspec rabl rake rb rbw ru ruby thor", "rust": "rs", "sas": "sas", "scala": "sbt scala",
    "scheme": "scm sld sps", "shell": "bash bats command ksh sh tmux tool zsh", "smalltalk": "st", "solidity": "sol", "sparql": "rq sparql",
    "sql": "cql db2 ddl pkb pks plb plsql prc sql udf", "stan": "stan", "standard-ml": "fun sml", "stata": "ado do doh mata matah",
    "systemverilog": "sv svh vh", "tcl": "adp tcl tm", "tcsh": "csh tcsh", "tex": "bbx bib cbx dtx ins lbx mkii mkiv mkvi sty tex",
    "thrift": "thrift", "typescript": "ts tsx", "verilog": "veo", "vhdl": "vhd vhdl vhi vho vhw", "visual-basic": "bas frm vb vba vbhtml vbs",
    "xslt": "xsl xslt", "yacc": "y yacc", "zig": "zig", "json": "json", "yaml": "yaml yml",
}  # fmt: skip
# language -> endings whose lines may be of any length
_LONG_LINES = {
    "assembly": "asm", "bluespec": "bsv", "cmake": "cmake", "json": "json", "markdown": "markdown md mkd mkdn ron", "mathematica": "ma nb",
    "matlab": "matlab", "r": "r", "restructuredtext": "rst", "rmarkdown": "rmd", "sql": "sql", "stata": "ado do",
    "tex": "bbx bib cbx dtx ins lbx mkii mkiv mkvi sty tex", "visual-basic": "frm",
}  # fmt: skip
_HALF_LINES = {"glsl": "fsh"}  # at most 500 characters
_ANY_SIGNS = {"mathematica": "ma nb", "sas": "sas", "visual-basic": "frm"}  # no least share of letters and digits
_LETTERS = {  # a quarter is letters
    "ada": "ads", "augeas": "aug", "glsl": "fp", "maple": "mpl", "mathematica": "ma nb wl", "matlab": "matlab", "scheme": "scm sld sps",
    "sql": "prc", "systemverilog": "sv", "vhdl": "vhd", "visual-basic": "bas", "yacc": "y",
}  # fmt: skip
_HALF_LETTERS = {"json": "json", "yaml": "yaml yml"}  # a half is letters
# languages some of whose files have no ending, or one that says nothing by itself
_NAMED_FILES = ("dockerfile", "makefile")
_LANGUAGES = {"c#": "c-sharp", "f#": "f-sharp", "cpp": "c++"}


class Limits(NamedTuple):
    """What an ending is asked."""

    line_chars: int  # 0 for no limit, neither of the longest nor of the mean line
    alphanumeric: bool
    letters: float  # least share, 0 for none


def _read_table() -> dict[tuple[str, str], Limits]:
    """(language, ending) -> limits of all that are taken."""
    table = {}
    for language, endings in _TAKEN.items():
        for ending in [*endings.split(), *([""] if language in _NAMED_FILES else [])]:
            long, half, signs, letters, more = (
                ending in some.get(language, "").split()
                for some in (_LONG_LINES, _HALF_LINES, _ANY_SIGNS, _LETTERS, _HALF_LETTERS)
            )
            table[language, ending] = Limits(
                0 if long else 500 if half else 1000, not signs, 0.5 if more else 0.25 if letters else 0.0
            )
    return table


ENDINGS = _read_table()
# ending -> limits where the language is not known: those of the first language that is no maker of odd names
_ALONE = {
    ending: limits for (language, ending), limits in reversed(ENDINGS.items()) if language not in _NAMED_FILES
} | {"dockerfile": ENDINGS["dockerfile", "dockerfile"], "mk": ENDINGS["makefile", "mk"], "mak": ENDINGS["makefile", "mak"]}  # fmt: skip


def limits_of(name: str, language: str = "") -> Limits | None:
    """What a file of this name, path or ending is asked; None where its ending is not taken.

    >>> limits_of("a/b.FSH").line_chars, limits_of("x.cmake", "Makefile").line_chars, limits_of("x.exe")
    (500, 1000, None)
    """
    ending, known = ending_of(name), language.lower().replace(" ", "-")
    known = _LANGUAGES.get(known, known)
    if known not in _TAKEN:
        return _ALONE.get(ending)
    # a name without an ending is one word: "Makefile"
    return ENDINGS.get((known, "" if ending == known else ending), ENDINGS.get((known, ending)))


_SOURCE = "StarCoder, section 3.1; bigcode-dataset preprocessing, filter basic_per_extension"
ENDING_RULES: tuple[Rule, ...] = (
    Rule("listed_ending", "is_listed", ">=", 1, _SOURCE),
    Rule("max_line", "limited_line_chars", "<=", 1000, _SOURCE),
    Rule("max_shader_line", "shader_line_chars", "<=", 500, _SOURCE),
    Rule("mean_line", "limited_mean_line_chars", "<=", 100, _SOURCE),
    Rule("alphanumeric", "limited_alphanumeric_char_frac", ">=", 0.25, _SOURCE),
    Rule("letters", "limited_alphabetic_char_frac", ">=", 0.25, _SOURCE),
    Rule("data_letters", "data_alphabetic_char_frac", ">=", 0.5, _SOURCE),
)


class CodeEndingsTaggerConfig(Config):
    """Where a document's file name and language are."""

    name_keys: list[str] = Field(
        ["ext", "extension", "path", "file_path", "max_stars_repo_path"],
        min_length=1,
        description="metadata fields with the file's ending, name or path; the first that has one counts",
    )
    language_keys: list[str] = Field(
        ["lang", "language", "programming_language"],
        description="metadata fields with the programming language; the first that has one counts",
    )


class CodeEndingsTagger:
    """Writes under attributes/code-endings-v1, what ENDING_RULES read:

    is_listed                       int64     1 for an ending that StarCoder takes
    limited_line_chars              int64     longest line; 0 where lines may be of any length
    shader_line_chars               int64     longest line of .fsh; 0 for others
    limited_mean_line_chars         float64   mean line; 0 where lines may be of any length
    limited_alphanumeric_char_frac  float64   letters and digits of all characters; 1 where none are asked
    limited_alphabetic_char_frac    float64   letters; 1 where no quarter is asked
    data_alphabetic_char_frac       float64   letters of JSON and YAML; 1 for others

    An ending that is not listed is asked nothing else.
    """

    config_model = CodeEndingsTaggerConfig
    name = "code-endings"
    version = 1
    schema = pa.schema(
        [
            ("is_listed", pa.int64()),
            ("limited_line_chars", pa.int64()),
            ("shader_line_chars", pa.int64()),
            ("limited_mean_line_chars", pa.float64()),
            ("limited_alphanumeric_char_frac", pa.float64()),
            ("limited_alphabetic_char_frac", pa.float64()),
            ("data_alphabetic_char_frac", pa.float64()),
        ]
    )

    def __init__(self, config: CodeEndingsTaggerConfig) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics per document."""
        found = self._find_limits(batch)
        counts = count_code(*view_text(batch.column("text")))
        chars, lines = np.maximum(counts[:, CHARS], 1), np.maximum(counts[:, LINES], 1)
        longest, mean = counts[:, MAX_LINE_CHARS], counts[:, LINE_CHARS] / lines
        listed = np.array([limits is not None for limits in found], bool)
        line_chars, letters = (
            np.array([0 if limits is None else limits[i] for limits in found], np.float64) for i in (0, 2)
        )
        signs = np.array([limits is not None and limits.alphanumeric for limits in found], bool)
        alphabetic = counts[:, ALPHA_CHARS] / chars
        columns: list[npt.NDArray[Any]] = [
            listed.astype(np.int64),
            np.where(line_chars > 0, longest, 0),
            np.where(line_chars == 500, longest, 0),
            np.where(line_chars > 0, mean, 0),
            np.where(signs, counts[:, ALNUM_CHARS] / chars, 1),
            np.where(letters == 0.25, alphabetic, 1),
            np.where(letters == 0.5, alphabetic, 1),
        ]
        return pa.RecordBatch.from_arrays(
            [pa.array(np.ascontiguousarray(column)) for column in columns], schema=self.schema
        )

    def _find_limits(self, batch: pa.RecordBatch) -> list[Limits | None]:
        if "metadata" not in batch.schema.names:
            raise SchemaError("metadata", "a column with the file's name", f"columns {batch.schema.names}")
        config = self.config
        fields = read_fields(batch.column("metadata"), [*config.name_keys, *config.language_keys])
        chosen = [
            [
                next((value for value in values if isinstance(value, str) and value), "")
                for values in zip(*(fields[key] for key in keys), strict=True)
            ]
            if keys
            else [""] * batch.num_rows
            for keys in (config.name_keys, config.language_keys)
        ]
        return [limits_of(name, language) for name, language in zip(*chosen, strict=True)]
