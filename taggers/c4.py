"""C4's cleaning as edit spans and page statistics, in three readings: `c4-paper`, `c4-code`, `c4-fineweb`.

| preset | words of a line | ends | sentences of a page | whose |
|---|---|---|---|---|
| c4-paper | >= 3 | . ? ! " ' | >= 5 | datatrove's defaults, after the paper's numbers |
| c4-code | >= 5, counted without citation marks | . ? ! " | >= 3 | tensorflow_datasets' c4_utils, which DCLM follows |
| c4-fineweb | as c4-paper | any | >= 5 | FineWeb's setting of datatrove |

`removed` are the spans to cut: with them a view leaves what the tool leaves. The page rules (C4_RULES) are columns and a view
decides, for the cuts do not drop pages. Sentences are spaCy's Sentencizer's, as in datatrove.
Deviations: tensorflow_datasets parts sentences with NLTK's trained Punkt model, for which `c4-code` has the Sentencizer. Kept lines
are joined by the line feed between them; where the text ends lines with another sign (U+2028, a lone carriage return) that sign
stays, since spans never write. Language (langdetect >= 0.99) and duplicated lines are other taggers' and dedup's work.
Source: Raffel et al. 2020, section 2.2; tensorflow_datasets text/c4_utils (0560e68); datatrove 0.10.1 c4_filters.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError
from dolma_py.spans import Spans, build_spans
from taggers import c4_kernels as kernels
from taggers.bad_words import BadWords, count_bad_words, make_bad_words, read_bad_words
from taggers.gopher import Rule
from taggers.lengths import count_lengths
from taggers.spacy_words import allocate_chunks, allocate_words, word_tables

PresetName = Literal["c4-paper", "c4-code", "c4-fineweb"]
PHRASES = (
    ("lorem ipsum", 0), ("javascript", 1), ("terms of use", 2), ("privacy policy", 2), ("cookie policy", 2),
    ("uses cookies", 2), ("use of cookies", 2), ("use cookies", 2),
)  # fmt: skip
_MARKS = ("edit", "citation needed")
_SPARE = 64

_DATATROVE = "datatrove 0.10.1 C4QualityFilter"
_CODE = "tensorflow_datasets c4_utils.clean_page; DCLM c4.yaml"


def _page_rules(min_sentences: int, source: str) -> tuple[Rule, ...]:
    return (
        Rule("sentences", "num_sentences", ">=", min_sentences, source),
        Rule("lorem_ipsum", "num_lorem_ipsum_lines", "<=", 0, source),
        Rule("curly_bracket", "num_curly_bracket_lines", "<=", 0, source),
    )


C4_RULES: dict[str, tuple[Rule, ...]] = {
    "c4-paper": _page_rules(5, _DATATROVE),
    "c4-code": _page_rules(3, _CODE),
    "c4-fineweb": _page_rules(5, f"{_DATATROVE}, without the rule of line ends (examples/fineweb.py)"),
}
# for whoever gives a list of bad words: a document with any is dropped
C4_BAD_WORDS = Rule("bad_words", "num_bad_words", "<=", 0, "Raffel et al. 2020, section 2.2")
MAX_CODE_CHARS = Rule("max_chars", "num_chars", "<=", 190_000, "tensorflow_datasets c4_utils.is_valid_length")

_COUNTS = {
    "num_lines": kernels.LINES,
    "num_kept_lines": kernels.KEPT_LINES,
    "num_long_word_lines": kernels.LONG_WORD_LINES,
    "num_no_end_lines": kernels.NO_END_LINES,
    "num_short_lines": kernels.SHORT_LINES,
    "num_javascript_lines": kernels.JAVASCRIPT_LINES,
    "num_policy_lines": kernels.POLICY_LINES,
    "num_lorem_ipsum_lines": kernels.LOREM_IPSUM_LINES,
    "num_curly_bracket_lines": kernels.CURLY_LINES,
    "num_sentences": kernels.SENTENCES,
}


class Cleaned(NamedTuple):
    """What C4's line rules do to N documents."""

    counts: npt.NDArray[np.int64]  # int64 (N, 11), columns of c4_kernels
    spans: npt.NDArray[np.int32]  # int32 (S, 2), bytes to cut, ascending in each document
    bounds: npt.NDArray[np.int64]  # int64 (N + 1,), spans of document i are spans[bounds[i]:bounds[i + 1]]


def line_rules(preset: PresetName, bad_words: BadWords | None = None) -> kernels.LineRules:
    """The settings of a preset as the kernels want them; only `c4-code` looks for bad words in lines."""
    phrases = np.zeros((len(PHRASES), kernels.MAX_PHRASE_BYTES), np.uint8)
    for number, (phrase, _) in enumerate(PHRASES):
        phrases[number, : len(phrase)] = list(phrase.encode())
    marks = np.zeros((len(_MARKS), kernels.MAX_PHRASE_BYTES), np.uint8)
    for number, mark in enumerate(_MARKS):
        marks[number, : len(mark)] = list(mark.encode())
    is_code = preset == "c4-code"
    return kernels.LineRules(
        max_word_chars=1000,
        min_words=5 if is_code else 3,
        words_after_cuts=is_code,
        needs_end=preset != "c4-fineweb",
        apostrophe_ends=not is_code,
        phrases=phrases,
        phrase_kinds=np.array([kind for _, kind in PHRASES], np.int32),
        marks=marks,
        bad_words=bad_words if bad_words is not None and is_code else make_bad_words([]),
    )


def clean_lines(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    preset: PresetName,
    bad_words: BadWords | None = None,
) -> Cleaned:
    """What the line rules of a preset cut and count.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing

    Guarantees                  same spans and counts for any batch split
    Cost                        O(B) time; about 70 bytes of scratch per byte of the longest text, 130 if it is dense in words
    """
    num_rows = len(offsets) - 1
    counts = np.zeros((num_rows, kernels.NUM_COUNTS), np.int64)
    bounds = np.zeros(num_rows + 1, np.int64)
    longest_bytes = int(np.diff(offsets).max(initial=0))
    capacity = longest_bytes // 2 + _SPARE
    spans = np.empty((int(offsets[-1] - offsets[0]) // 32 + _SPARE, 2), np.int32)
    rules = line_rules(preset, bad_words)
    row = 0
    while row < num_rows:
        line = kernels.LineScratch(
            np.empty(longest_bytes + _SPARE, np.uint8), np.empty(longest_bytes + _SPARE, np.int64)
        )
        scratch = allocate_words(capacity), allocate_chunks(capacity), line
        row = int(kernels.clean_lines_kernel(data, offsets, word_tables(), rules, row, *scratch, spans, bounds, counts))
        if row < num_rows:
            # too small for this row: either of them
            capacity = longest_bytes + _SPARE
            spans = np.concatenate([spans, np.empty((len(spans) + longest_bytes, 2), np.int32)])
    return Cleaned(counts, spans[: bounds[-1]], bounds)


class _C4Config(Config):
    """The list of bad words."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("bad_words_path",)
    bad_words_path: str = Field(
        "",
        description="file with one bad word or phrase a line, such as LDNOOBW's `en`; without it num_bad_words is null",
    )
    bad_words_fingerprint: str = Field("", description="xxh3-128 of that file; checked when given, else filled in")


class _C4Tagger:
    """Writes `removed` and the columns of one preset.

    removed         SPANS     bytes to cut, each with score 1
    num_...         int64     lines by what became of them, sentences of the lines that stay, characters of the text
    num_bad_words   int64     places with a word of the list; null without a list
    """

    version = 1
    name: PresetName
    schema = pa.schema(
        [("removed", SPANS), *((column, pa.int64()) for column in (*_COUNTS, "num_chars", "num_bad_words"))]
    )

    def __init__(self, config: _C4Config) -> None:
        self.config = config
        self.bad_words: BadWords | None = None
        if config.bad_words_path:
            self.bad_words, fingerprint = read_bad_words(config.bad_words_path)
            if config.bad_words_fingerprint not in ("", fingerprint):
                rule = f"expected the fingerprint of {config.bad_words_path}, which is {fingerprint}"
                raise ConfigError(f"{self.name}.bad_words_fingerprint", config.bad_words_fingerprint, rule)
            self.config = config.model_copy(update={"bad_words_fingerprint": fingerprint})

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row per document."""
        view = view_text(batch.column("text"))
        cleaned = clean_lines(*view, self.name, self.bad_words)
        columns = [build_spans(Spans(cleaned.bounds, cleaned.spans[:, 0], cleaned.spans[:, 1]))]
        columns += [pa.array(np.ascontiguousarray(cleaned.counts[:, column])) for column in _COUNTS.values()]
        columns.append(pa.array(count_lengths(*view).num_chars))
        if self.bad_words is None:
            columns.append(pa.nulls(batch.num_rows, pa.int64()))
        elif self.name == "c4-code":
            columns.append(pa.array(np.ascontiguousarray(cleaned.counts[:, kernels.BAD_WORDS])))
        else:
            columns.append(pa.array(count_bad_words(*view, self.bad_words)))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class C4PaperTaggerConfig(_C4Config):
    """The list of bad words."""


class C4PaperTagger(_C4Tagger):
    """datatrove's defaults, under attributes/c4-paper-v1."""

    config_model = C4PaperTaggerConfig
    name = "c4-paper"


class C4CodeTaggerConfig(_C4Config):
    """The list of bad words."""


class C4CodeTagger(_C4Tagger):
    """tensorflow_datasets and DCLM, under attributes/c4-code-v1."""

    config_model = C4CodeTaggerConfig
    name = "c4-code"


class C4FinewebTaggerConfig(_C4Config):
    """The list of bad words."""


class C4FinewebTagger(_C4Tagger):
    """datatrove without the rule of line ends, as FineWeb was made, under attributes/c4-fineweb-v1."""

    config_model = C4FinewebTaggerConfig
    name = "c4-fineweb"
