"""Gopher quality and repetition statistics as columns, preset `gopher-dclm`: the reading of DCLM, which Olmo 3 uses.

Columns are statistics, not decisions; GOPHER_RULES names the standard thresholds, and a view decides.

What `gopher-dclm` decides where tools differ:
- words of num_words and of the n-grams: Unicode word boundaries, words that start with a letter or number, case kept;
  all other word statistics split at white space (str.split)
- symbols: "#", "...", ". . .", U+2026 counted together, divided by words; bullets: U+25CF U+2022 * -;
  ellipsis at line end: "...", ". . .", U+2026
- stop words: lower-cased, every occurrence counts
- lines at line feeds, paragraphs at two line feeds, stripped, blank ones left out; all copies of a duplicate count, the
  first included; denominators are the characters of the segments, or of the words, without the white space between
- the top n-gram counts only if it stands at least twice; of equally frequent ones the longest; duplicated n-grams cover
  each word once
A document without words or lines has 0 in every share.

Deviation: DCLM takes word boundaries from the package uniseg (the Word_Break property); here classes follow general
categories, so words differ for some rare signs.
Source: Rae et al. 2021, table A1 and section A.1.1; DCLM baselines/mappers (content_filters.py, core_utils.py, c7ed275).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from taggers import gopher_kernels as quality
from taggers import repetition_kernels as kernels
from taggers.characters import character_table


class Rule(NamedTuple):
    """A document passes when `column op value` holds; < and > where the source is strict, so that its own number stands here."""

    name: str
    column: str
    op: Literal[">=", "<=", "<", ">"]
    value: float
    source: str

    @property
    def expression(self) -> str:
        """The rule as a view writes it: `dup_line_frac <= 0.3`."""
        return f"{self.column} {self.op} {self.value:g}"

    def holds(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of `values`, of the rule's column, pass."""
        compare = {">=": np.greater_equal, "<=": np.less_equal, "<": np.less, ">": np.greater}[self.op]
        return np.asarray(compare(values, self.value))


_QUALITY = "Rae et al. 2021, table A1"
_REPETITION = "Rae et al. 2021, table A1 (repetition); DCLM massive_web_repetition_filters"
GOPHER_RULES: tuple[Rule, ...] = (
    Rule("min_words", "num_words", ">=", 50, _QUALITY),
    Rule("max_words", "num_words", "<=", 100_000, _QUALITY),
    Rule("min_mean_word_chars", "mean_word_chars", ">=", 3, _QUALITY),
    Rule("max_mean_word_chars", "mean_word_chars", "<=", 10, _QUALITY),
    Rule("symbols", "symbol_to_word_ratio", "<=", 0.1, _QUALITY),
    Rule("bullet_lines", "bullet_line_frac", "<=", 0.9, _QUALITY),
    Rule("ellipsis_lines", "ellipsis_line_frac", "<=", 0.3, _QUALITY),
    Rule("alphabetic_words", "alphabetic_word_frac", ">=", 0.8, _QUALITY),
    Rule("stop_words", "num_stop_words", ">=", 2, _QUALITY),
    Rule("dup_lines", "dup_line_frac", "<=", 0.3, _REPETITION),
    Rule("dup_paragraphs", "dup_paragraph_frac", "<=", 0.3, _REPETITION),
    Rule("dup_line_chars", "dup_line_char_frac", "<=", 0.2, _REPETITION),
    Rule("dup_paragraph_chars", "dup_paragraph_char_frac", "<=", 0.2, _REPETITION),
    Rule("top_2gram", "top_2gram_char_frac", "<=", 0.2, _REPETITION),
    Rule("top_3gram", "top_3gram_char_frac", "<=", 0.18, _REPETITION),
    Rule("top_4gram", "top_4gram_char_frac", "<=", 0.16, _REPETITION),
    Rule("dup_5gram", "dup_5gram_char_frac", "<=", 0.15, _REPETITION),
    Rule("dup_6gram", "dup_6gram_char_frac", "<=", 0.14, _REPETITION),
    Rule("dup_7gram", "dup_7gram_char_frac", "<=", 0.13, _REPETITION),
    Rule("dup_8gram", "dup_8gram_char_frac", "<=", 0.12, _REPETITION),
    Rule("dup_9gram", "dup_9gram_char_frac", "<=", 0.11, _REPETITION),
    Rule("dup_10gram", "dup_10gram_char_frac", "<=", 0.1, _REPETITION),
)

# column -> (counted, of how many); shares are float64, so that a count exactly at a threshold such as 3 of 10 meets 0.3
_SHARES = {
    "mean_word_chars": (quality.SPACED_WORD_CHARS, quality.SPACED_WORDS),
    "symbol_to_word_ratio": (quality.SYMBOLS, quality.SPACED_WORDS),
    "bullet_line_frac": (quality.BULLET_LINES, quality.LINES),
    "ellipsis_line_frac": (quality.ELLIPSIS_LINES, quality.LINES),
    "alphabetic_word_frac": (quality.ALPHA_WORDS, quality.SPACED_WORDS),
    "dup_line_frac": (kernels.DUP_LINES, quality.LINES),
    "dup_line_char_frac": (kernels.DUP_LINE_CHARS, kernels.LINE_CHARS),
    "dup_paragraph_frac": (kernels.DUP_PARAGRAPHS, kernels.PARAGRAPHS),
    "dup_paragraph_char_frac": (kernels.DUP_PARAGRAPH_CHARS, kernels.PARAGRAPH_CHARS),
    **{f"top_{n}gram_char_frac": (kernels.FIRST_NGRAM + n - 2, kernels.WORD_CHARS) for n in (2, 3, 4)},
    **{f"dup_{n}gram_char_frac": (kernels.FIRST_NGRAM + n - 2, kernels.WORD_CHARS) for n in (5, 6, 7, 8, 9, 10)},
}
_COUNTS = {"num_words": kernels.WORDS, "num_stop_words": quality.STOP_WORDS}


def count_gopher(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The integer counts behind all Gopher statistics, int64 (N, 26).

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing

    Returns
    -------
    counts : int64 (N, 26)      columns named by the constants of gopher_kernels and repetition_kernels

    Guarantees                  same counts for any batch split
    Cost                        O(B) time; about 20 bytes of scratch per byte of the longest text, 40 if it is denser in words
                                than one in three bytes
    """
    counts = np.zeros((len(offsets) - 1, kernels.NUM_COUNTS), np.int64)
    longest_bytes = int(np.diff(offsets).max(initial=0))
    # words of ordinary text take more than three bytes each with the space; a denser document enlarges the scratch below
    segments, words = _allocate_scratch(longest_bytes // 3 + 64)
    row = 0
    while row < len(offsets) - 1:
        row = int(kernels.gopher_counts_kernel(data, offsets, character_table(), row, segments, words, counts))
        if row < len(offsets) - 1:
            segments, words = _allocate_scratch(longest_bytes + 64)
    return counts


def _allocate_scratch(capacity: int) -> tuple[kernels.SegmentScratch, kernels.WordScratch]:
    segments = kernels.SegmentScratch(
        np.empty(capacity, np.uint64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.uint64),
        np.empty(capacity, np.int64),
    )
    return segments, allocate_words(capacity)


def allocate_words(capacity: int) -> kernels.WordScratch:
    """Scratch for documents of at most `capacity` words or lines."""
    size = 16
    while size < 2 * capacity:
        size *= 2
    numbers = [np.empty(capacity, np.int32) for _ in range(4)]
    return kernels.WordScratch(
        np.empty(capacity, np.uint64),
        np.empty(capacity + 1, np.int64),
        *numbers,
        np.empty(size, np.uint64),
        np.empty(size, np.int32),
    )


class GopherTaggerConfig(Config):
    """Which reading of the rules."""

    preset: Literal["gopher-dclm"] = Field("gopher-dclm", description="whose reading of the rules; DCLM's is Olmo 3's")


class GopherTagger:
    """Writes the columns of GOPHER_RULES under attributes/gopher-dclm-v1."""

    config_model = GopherTaggerConfig
    version = 1
    schema = pa.schema([(name, pa.int64()) for name in _COUNTS] + [(name, pa.float64()) for name in _SHARES])

    def __init__(self, config: GopherTaggerConfig) -> None:
        self.config = config
        self.name = config.preset

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics per document."""
        counts = count_gopher(*view_text(batch.column("text")))
        columns = [pa.array(np.ascontiguousarray(counts[:, column])) for column in _COUNTS.values()]
        # a numerator is 0 wherever its denominator is
        columns += [pa.array(counts[:, top] / np.maximum(counts[:, whole], 1)) for top, whole in _SHARES.values()]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
