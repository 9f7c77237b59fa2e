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

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError
from dolma_py.spans import Spans, build_spans
from taggers import c4_kernels as kernels
from taggers.bad_words import BadWords, count_bad_words, make_bad_words, read_bad_words
from taggers.gopher import Rule
from taggers.lengths import count_lengths
from taggers.spacy_words import allocate_chunks, allocate_words, word_tables
from taggers.spacy_words_kernels import ChunkScratch, WordScratch

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


def line_rules(presets: Sequence[PresetName], bad_words: BadWords | None = None) -> kernels.LineRules:
    """The settings of presets as the kernels want them; only `c4-code` looks for bad words in lines."""
    phrases = np.zeros((len(PHRASES), kernels.MAX_PHRASE_BYTES), np.uint8)
    for number, (phrase, _) in enumerate(PHRASES):
        phrases[number, : len(phrase)] = list(phrase.encode())
    heads = np.zeros(256, np.bool_)
    heads[[ord(sign) for phrase, _ in PHRASES for sign in (phrase[0], phrase[0].upper())] + [ord("{")]] = True
    marks = np.zeros((len(_MARKS), kernels.MAX_PHRASE_BYTES), np.uint8)
    for number, mark in enumerate(_MARKS):
        marks[number, : len(mark)] = list(mark.encode())
    settings = np.zeros((len(presets), 6), np.int64)
    for number, preset in enumerate(presets):
        is_code = preset == "c4-code"
        settings[number, kernels.MAX_WORD_CHARS] = 1000
        settings[number, kernels.MIN_WORDS] = 5 if is_code else 3
        settings[number, kernels.WORDS_AFTER_CUTS] = is_code
        settings[number, kernels.NEEDS_END] = preset != "c4-fineweb"
        settings[number, kernels.APOSTROPHE_ENDS] = not is_code
        settings[number, kernels.LINE_BAD_WORDS] = is_code
    return kernels.LineRules(
        settings=settings,
        phrases=phrases,
        phrase_kinds=np.array([kind for _, kind in PHRASES], np.int32),
        heads=heads,
        marks=marks,
        bad_words=bad_words or make_bad_words([]),
    )


def allocate_cleaning(
    num_presets: int, num_rows: int, num_bytes: int, capacity: int, longest_bytes: int
) -> kernels.Cleaning:
    """Room for N documents of num_bytes together, whose lines have up to `capacity` words; none of it where there is no preset."""
    if num_presets == 0:
        num_rows = num_bytes = capacity = longest_bytes = 0
    return kernels.Cleaning(
        *_allocate_lines(capacity, longest_bytes),
        spans=np.empty((num_presets, num_bytes // 32 + _SPARE, 2), np.int32),
        bounds=np.zeros((num_presets, num_rows + 1), np.int64),
        counts=np.zeros((num_presets, num_rows, kernels.NUM_COUNTS), np.int64),
    )


def enlarge_cleaning(cleaning: kernels.Cleaning, longest_bytes: int) -> kernels.Cleaning:
    """The same with room for the next row, whichever it lacked: words or spans."""
    if len(cleaning.spans) == 0:
        return cleaning
    more = np.empty((len(cleaning.spans), cleaning.spans.shape[1] + longest_bytes, 2), np.int32)
    words, chunks, line = _allocate_lines(longest_bytes + _SPARE, longest_bytes)
    return cleaning._replace(
        words=words, chunks=chunks, line=line, spans=np.concatenate([cleaning.spans, more], axis=1)
    )


def _allocate_lines(capacity: int, longest_bytes: int) -> tuple[WordScratch, ChunkScratch, kernels.LineScratch]:
    line = kernels.LineScratch(np.empty(longest_bytes + _SPARE, np.uint8), np.empty(longest_bytes + _SPARE, np.int64))
    return allocate_words(capacity), allocate_chunks(capacity), line


def split_cleaning(cleaning: kernels.Cleaning) -> list[Cleaned]:
    """What each preset found."""
    return [
        Cleaned(counts, spans[: bounds[-1]], bounds)
        for counts, spans, bounds in zip(cleaning.counts, cleaning.spans, cleaning.bounds, strict=True)
    ]


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
    num_rows, num_bytes = len(offsets) - 1, int(offsets[-1] - offsets[0])
    longest_bytes = int(np.diff(offsets).max(initial=0))
    cleaning = allocate_cleaning(1, num_rows, num_bytes, longest_bytes // 2 + _SPARE, longest_bytes)
    rules = line_rules([preset], bad_words)
    row = 0
    while row < num_rows:
        row = int(kernels.clean_lines_kernel(data, offsets, word_tables(), rules, row, cleaning))
        if row < num_rows:
            cleaning = enlarge_cleaning(cleaning, longest_bytes)
    return split_cleaning(cleaning)[0]


class C4TaggerConfig(Config):
    """The list of bad words."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("bad_words_path",)
    bad_words_path: str = Field(
        "",
        description="file with one bad word or phrase a line, such as LDNOOBW's `en`; without it num_bad_words is null",
    )
    bad_words_fingerprint: str = Field("", description="xxh3-128 of that file; checked when given, else filled in")


C4_SCHEMA = pa.schema(
    [("removed", SPANS), *((column, pa.int64()) for column in (*_COUNTS, "num_chars", "num_bad_words"))]
)


def open_bad_words(config: C4TaggerConfig, name: str) -> tuple[BadWords | None, str]:
    """The list that the options name and its fingerprint; None and "" where they name none.

    Raises ConfigError for another fingerprint than the one given.
    """
    if not config.bad_words_path:
        return None, config.bad_words_fingerprint
    bad_words, fingerprint = read_bad_words(config.bad_words_path)
    if config.bad_words_fingerprint not in ("", fingerprint):
        rule = f"expected the fingerprint of {config.bad_words_path}, which is {fingerprint}"
        raise ConfigError(f"{name}.bad_words_fingerprint", config.bad_words_fingerprint, rule)
    return bad_words, fingerprint


def make_columns(cleaned: Cleaned, view: TextView, preset: PresetName, bad_words: BadWords | None) -> list[pa.Array]:
    """The columns of C4_SCHEMA, from what clean_lines found in the texts of `view`."""
    columns = [build_spans(Spans(cleaned.bounds, cleaned.spans[:, 0], cleaned.spans[:, 1]))]
    columns += [pa.array(np.ascontiguousarray(cleaned.counts[:, column])) for column in _COUNTS.values()]
    columns.append(pa.array(count_lengths(*view).num_chars))
    if bad_words is None:
        columns.append(pa.nulls(len(cleaned.counts), pa.int64()))
    elif preset == "c4-code":
        columns.append(pa.array(np.ascontiguousarray(cleaned.counts[:, kernels.BAD_WORDS])))
    else:
        columns.append(pa.array(count_bad_words(*view, bad_words)))
    return columns


class _C4Tagger:
    """Writes `removed` and the columns of one preset.

    removed         SPANS     bytes to cut, each with score 1
    num_...         int64     lines by what became of them, sentences of the lines that stay, characters of the text
    num_bad_words   int64     places with a word of the list; null without a list
    """

    config_model = C4TaggerConfig
    version = 1
    name: PresetName
    schema = C4_SCHEMA

    def __init__(self, config: C4TaggerConfig) -> None:
        self.bad_words, fingerprint = open_bad_words(config, self.name)
        self.config = config.model_copy(update={"bad_words_fingerprint": fingerprint})

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row per document."""
        view = view_text(batch.column("text"))
        columns = make_columns(clean_lines(*view, self.name, self.bad_words), view, self.name, self.bad_words)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class C4PaperTagger(_C4Tagger):
    """datatrove's defaults, under attributes/c4-paper-v1."""

    name = "c4-paper"


class C4CodeTagger(_C4Tagger):
    """tensorflow_datasets and DCLM, under attributes/c4-code-v1."""

    name = "c4-code"


class C4FinewebTagger(_C4Tagger):
    """datatrove without the rule of line ends, as FineWeb was made, under attributes/c4-fineweb-v1."""

    name = "c4-fineweb"
