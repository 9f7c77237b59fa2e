"""Rule filters of other tools as named presets: `gopher-paper`, `gopher-datatrove`, `gopher-dolma`, `fineweb`.

Columns are statistics, not decisions; the rules of each preset name the thresholds with their source, and a view decides.
docs/filters.md tells what each preset reads how, and how far it equals the tool that it is named after.

One sweep serves all, those of C4 (taggers.c4) too: words, chunks and lines are found once for the presets that a tagger writes.
Source: Rae et al. 2021, table A1 and section A.1.1; datatrove 0.10.1; dolma 1.2.1; Penedo et al. 2024 (FineWeb), section 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from taggers import preset_lines_kernels as lines
from taggers import rule_presets_kernels as kernels
from taggers.bad_words import BadWords
from taggers.c4 import (
    C4_RULES,
    C4_SCHEMA,
    C4TaggerConfig,
    Cleaned,
    allocate_cleaning,
    enlarge_cleaning,
    line_rules,
    open_bad_words,
    split_cleaning,
)
from taggers.c4 import PresetName as C4PresetName
from taggers.c4 import make_columns as c4_columns
from taggers.gopher import GOPHER_RULES, Rule
from taggers.preset_ngrams_kernels import BASE, NgramScratch
from taggers.spacy_words import allocate_chunks, allocate_words, word_tables

PresetName = Literal["gopher-paper", "gopher-datatrove", "gopher-dolma", "fineweb"]
# a number of scratch slots beyond the longest text, so that the empty text has some
_SPARE = 64


class Preset(NamedTuple):
    """A family of columns and the rules over them."""

    want: int  # WANT_... of rule_presets_kernels
    counts: dict[str, int]  # column -> column of the counts
    shares: dict[str, tuple[int, int]]  # column -> (counted, of how many)
    rules: tuple[Rule, ...]


def _rename(source_quality: str, source_repetition: str, changes: dict[str, tuple[Rule, ...]]) -> tuple[Rule, ...]:
    """GOPHER_RULES with the sources of a preset; `changes` puts other rules in the place of some."""
    found: list[Rule] = []
    for rule in GOPHER_RULES:
        source = source_repetition if rule.name.startswith(("dup_", "top_")) else source_quality
        found += [item._replace(source=source) for item in changes.get(rule.name, (rule,))]
    return tuple(found)


def _gram_shares(top: int, dup: int, whole: int) -> dict[str, tuple[int, int]]:
    shares = {f"top_{n}gram_char_frac": (top + n - 2, whole) for n in (2, 3, 4)}
    return shares | {f"dup_{n}gram_char_frac": (dup + n - 5, whole) for n in range(5, 11)}


_PAPER = "Rae et al. 2021, table A1"
# the paper tests hash signs and ellipses each by itself
_SYMBOLS = (
    Rule("hash_signs", "hash_to_word_ratio", "<=", 0.1, _PAPER),
    Rule("ellipses", "ellipsis_to_word_ratio", "<=", 0.1, _PAPER),
)
GOPHER_PAPER_RULES = _rename(_PAPER, "Rae et al. 2021, section A.1.1 and table A1", {"symbols": _SYMBOLS})

_QUALITY = "datatrove 0.10.1 GopherQualityFilter"
_REPETITION = "datatrove 0.10.1 GopherRepetitionFilter"
GOPHER_DATATROVE_RULES = (
    *_rename(_QUALITY, _REPETITION, {"symbols": _SYMBOLS}),
    Rule("empty", "num_chars", ">=", 1, _REPETITION),
)

_DOLMA = "dolma 1.2.1 gopher_v2; thresholds of Dolma 1.5 (configs/dolma-v1_5/mixing/cc-head.yaml)"
GOPHER_DOLMA_RULES = tuple(
    rule
    for rule in _rename(
        _DOLMA,
        _DOLMA,
        {
            "min_mean_word_chars": (Rule("min_median_word_chars", "median_word_chars", ">=", 3, _DOLMA),),
            "max_mean_word_chars": (Rule("max_median_word_chars", "median_word_chars", "<=", 10, _DOLMA),),
            "symbols": (Rule("symbol_words", "symbol_word_frac", "<=", 0.1, _DOLMA),),
            "dup_line_chars": (Rule("dup_line_chars", "dup_line_char_frac", "<=", 0.3, _DOLMA),),
        },
    )
    if "paragraph" not in rule.name
)
# that file reads fraction_of_characters_in_most_common_2gram, the tagger writes ...2grams: three rules that never fired
GOPHER_DOLMA_RELEASED_RULES = tuple(rule for rule in GOPHER_DOLMA_RULES if not rule.name.startswith("top_"))

_FINEWEB = "datatrove 0.10.1 FineWebQualityFilter"
_FINEWEB_LINES = (
    Rule("empty", "num_lines", ">=", 1, _FINEWEB),
    Rule("terminal_lines", "terminal_line_frac", ">=", 0.12, _FINEWEB),
    Rule("short_lines", "short_line_frac", "<=", 0.67, _FINEWEB),
)
_FINEWEB_NEWLINES = Rule("newlines", "newline_to_word_ratio", "<=", 0.3, _FINEWEB)
FINEWEB_RULES = (
    *_FINEWEB_LINES,
    Rule("dup_line_chars", "dup_line_char_frac", "<=", 0.01, _FINEWEB),
    _FINEWEB_NEWLINES,
)
# the paper and FineWeb-2 write a tenth where the code has a hundredth
FINEWEB_PAPER_RULES = (
    *_FINEWEB_LINES,
    Rule("dup_line_chars_paper", "dup_line_char_frac", "<=", 0.1, "Penedo et al. 2024 (FineWeb), section 3.6"),
    _FINEWEB_NEWLINES,
)

PRESETS: dict[str, Preset] = {
    "gopher-paper": Preset(
        kernels.WANT_PAPER,
        {"num_words": kernels.CHUNKS, "num_stop_words": kernels.STOP_KINDS},
        {
            "mean_word_chars": (kernels.CHUNK_CHARS, kernels.CHUNKS),
            "hash_to_word_ratio": (lines.HASH_SIGNS, kernels.CHUNKS),
            "ellipsis_to_word_ratio": (lines.ELLIPSES, kernels.CHUNKS),
            "bullet_line_frac": (lines.BULLET_LINES, lines.LINES),
            "ellipsis_line_frac": (lines.ELLIPSIS_LINES, lines.LINES),
            "alphabetic_word_frac": (kernels.LETTER_CHUNKS, kernels.CHUNKS),
            "dup_line_frac": (lines.COPIED_LINES, lines.LINES),
            "dup_line_char_frac": (lines.COPIED_LINE_CHARS, lines.CHARS),
            "dup_paragraph_frac": (lines.COPIED_PARAGRAPHS, lines.PARAGRAPHS),
            "dup_paragraph_char_frac": (lines.COPIED_PARAGRAPH_CHARS, lines.CHARS),
            **_gram_shares(kernels.PAPER_TOP, kernels.PAPER_DUP, lines.CHARS),
        },
        GOPHER_PAPER_RULES,
    ),
    "gopher-datatrove": Preset(
        kernels.WANT_DATATROVE,
        {"num_chars": lines.CHARS, "num_words": kernels.SPOKEN_WORDS, "num_stop_words": kernels.STOP_WORDS},
        {
            "mean_word_chars": (kernels.SPOKEN_WORD_CHARS, kernels.SPOKEN_WORDS),
            "hash_to_word_ratio": (lines.HASH_SIGNS, kernels.WORDS),
            "ellipsis_to_word_ratio": (lines.ELLIPSES, kernels.WORDS),
            "bullet_line_frac": (lines.BROKEN_BULLET_LINES, lines.BROKEN_LINES),
            "ellipsis_line_frac": (lines.BROKEN_ELLIPSIS_LINES, lines.BROKEN_LINES),
            "alphabetic_word_frac": (kernels.LETTER_WORDS, kernels.WORDS),
            "dup_line_frac": (lines.LATER_PIECES, lines.PIECES),
            "dup_line_char_frac": (lines.LATER_PIECE_CHARS, lines.CHARS),
            "dup_paragraph_frac": (lines.LATER_PARAGRAPHS, lines.PARAGRAPHS),
            "dup_paragraph_char_frac": (lines.LATER_PARAGRAPH_CHARS, lines.CHARS),
            **_gram_shares(kernels.WORD_TOP, kernels.WORD_DUP, lines.CHARS),
        },
        GOPHER_DATATROVE_RULES,
    ),
    "gopher-dolma": Preset(
        kernels.WANT_DOLMA,
        {"num_words": kernels.CHUNKS, "num_stop_words": kernels.STOP_CHUNKS},
        {
            "median_word_chars": (kernels.TWICE_MEDIAN_CHARS, kernels.TWO),
            "symbol_word_frac": (kernels.SYMBOL_CHUNKS, kernels.CHUNKS),
            "bullet_line_frac": (lines.STARRED_PIECES, lines.PIECES),
            "ellipsis_line_frac": (lines.DOTTED_PIECES, lines.PIECES),
            "alphabetic_word_frac": (kernels.LETTER_CHUNKS, kernels.CHUNKS),
            "dup_line_frac": (lines.COPIED_PIECES, lines.PIECES),
            "dup_line_char_frac": (lines.COPIED_PIECE_CHARS, kernels.CHUNK_CHARS),
            **{f"top_{n}gram_char_frac": (kernels.CHUNK_TOP + n - 2, kernels.CHUNK_CHARS) for n in (2, 3, 4)},
            **{f"dup_{n}gram_char_frac": (kernels.CHUNK_DUP + n - 5, kernels.CHUNK_ALL + n - 5) for n in range(5, 11)},
        },
        GOPHER_DOLMA_RULES,
    ),
    "fineweb": Preset(
        kernels.WANT_FINEWEB,
        {"num_lines": lines.LINES, "num_words": kernels.WORDS},
        {
            "terminal_line_frac": (lines.TERMINAL_LINES, lines.LINES),
            "short_line_frac": (lines.SHORT_LINES, lines.LINES),
            "dup_line_char_frac": (lines.LATER_LINE_CHARS, lines.OTHER_CHARS),
            "newline_to_word_ratio": (lines.LINE_FEEDS, kernels.WORDS),
        },
        FINEWEB_RULES,
    ),
}


def count_presets(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], want: int) -> npt.NDArray[np.int64]:
    """The integer counts behind the presets, int64 (N, 74), columns as named in the kernels: sweep_presets without C4."""
    return sweep_presets(data, offsets, want).counts


class Swept(NamedTuple):
    """What one sweep found in N documents."""

    counts: npt.NDArray[np.int64]  # (N, 74) columns as named in the kernels; of families that were not wanted 0
    cleaned: list[Cleaned]  # of each preset of C4


def sweep_presets(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    want: int,
    c4_presets: Sequence[C4PresetName] = (),
    bad_words: BadWords | None = None,
) -> Swept:
    """The counts behind the presets, and what presets of C4 cut and count, with words found once for all.

    Parameters
    ----------
    data : uint8 (B,)           texts in UTF-8, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing
    want : int                  WANT_... of the presets, added up; columns of others are 0
    bad_words : BadWords        for `c4-code`, which looks for them in lines

    Guarantees                  same counts for any batch split
    Cost                        O(B) time; about 160 bytes of scratch per byte of the longest text, 320 if it has more words than one
                                in two bytes; with presets of C4 half as much again
    """
    counts = np.zeros((len(offsets) - 1, kernels.NUM_COUNTS), np.int64)
    longest_bytes = int(np.diff(offsets).max(initial=0))
    row, capacity = 0, longest_bytes // 2 + _SPARE
    rules = line_rules(c4_presets, bad_words)
    cleaning = allocate_cleaning(len(c4_presets), len(counts), int(offsets[-1] - offsets[0]), capacity, longest_bytes)
    scratch = _allocate_scratch(capacity, longest_bytes)
    while row < len(counts):
        row = int(
            kernels.count_presets_kernel(data, offsets, word_tables(), want, row, *scratch, rules, cleaning, counts)
        )
        if row < len(counts):
            scratch = _allocate_scratch(longest_bytes + _SPARE, longest_bytes)
            cleaning = enlarge_cleaning(cleaning, longest_bytes)
    return Swept(counts, split_cleaning(cleaning))


def _allocate_scratch(capacity: int, longest_bytes: int) -> tuple[object, ...]:
    """Lines, words, chunks, n-grams and the histogram."""
    size = 64
    while size < 4 * capacity:
        size *= 2
    hash_slots = np.empty(size, np.uint64), np.empty(size, np.int32)
    segments = lines.LineScratch(
        *(np.empty(capacity, kind) for kind in (np.uint64, np.int64, np.uint64, np.int64, np.int32, np.int32)),
        *hash_slots,
    )
    ngrams = NgramScratch(
        *(np.empty(capacity, np.int32) for _ in range(3)),
        *(np.empty(capacity + 1, np.int64) for _ in range(2)),
        np.empty(longest_bytes + _SPARE, np.uint8),
        np.empty(capacity + 1, np.uint64),
        _powers(longest_bytes + _SPARE),
        *(np.empty(capacity, np.int64) for _ in range(2)),
        *hash_slots,
        np.empty(size, np.uint8),
    )
    histogram = np.empty(kernels.HISTOGRAM, np.int64)
    return segments, allocate_words(capacity), allocate_chunks(capacity), ngrams, histogram


def _powers(count: int) -> npt.NDArray[np.uint64]:
    """uint64 (count,): BASE ** i modulo 2^64."""
    powers = np.full(count, BASE, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


class RulePresetsTaggerConfig(C4TaggerConfig):
    """Which presets to write, and the list of bad words for those of C4."""

    presets: tuple[PresetName | C4PresetName, ...] = Field(
        tuple(PRESETS),
        min_length=1,
        description="presets whose columns are written, in this order; each once",  # type: ignore[arg-type]
    )

    @field_validator("presets")
    @classmethod
    def _each_once(cls, presets: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(presets)) < len(presets):
            raise ValueError("each preset once")
        return presets


class RulePresetsTagger:
    """Writes the columns of several presets, `<preset>__<column>` with underscores for hyphens, in one sweep."""

    config_model = RulePresetsTaggerConfig
    name = "rule-presets"
    version = 1

    def __init__(self, config: RulePresetsTaggerConfig) -> None:
        self.bad_words, fingerprint = open_bad_words(config, self.name)
        self.config = config.model_copy(update={"bad_words_fingerprint": fingerprint})
        self.c4_presets = [name for name in config.presets if name in C4_RULES]
        self.want = sum(PRESETS[name].want for name in config.presets if name in PRESETS)
        self.schema = pa.schema(
            [
                field.with_name(f"{name.replace('-', '_')}__{field.name}")
                for name in config.presets
                for field in (C4_SCHEMA if name in C4_RULES else preset_schema(name))
            ]
        )

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics and cuts per document."""
        view = view_text(batch.column("text"))
        swept = sweep_presets(*view, self.want, self.c4_presets, self.bad_words)
        cleaned = dict(zip(self.c4_presets, swept.cleaned, strict=True))
        columns: list[pa.Array] = []
        for name in self.config.presets:
            if name in cleaned:
                columns += c4_columns(cleaned[name], view, name, self.bad_words)
            else:
                columns += _make_columns(PRESETS[name], swept.counts)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class PresetTaggerConfig(Config):
    """No options: the columns are facts, the view decides."""


class _PresetTagger:
    """Writes the columns of one preset."""

    config_model = PresetTaggerConfig
    version = 1
    name: str

    def __init__(self, config: PresetTaggerConfig) -> None:
        self.config = config
        self.schema = preset_schema(self.name)

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics per document."""
        preset = PRESETS[self.name]
        counts = count_presets(*view_text(batch.column("text")), preset.want)
        return pa.RecordBatch.from_arrays(_make_columns(preset, counts), schema=self.schema)


class GopherPaperTagger(_PresetTagger):
    """Writes what GOPHER_PAPER_RULES read under attributes/gopher-paper-v1."""

    name = "gopher-paper"


class GopherDatatroveTagger(_PresetTagger):
    """Writes what GOPHER_DATATROVE_RULES read under attributes/gopher-datatrove-v1."""

    name = "gopher-datatrove"


class GopherDolmaTagger(_PresetTagger):
    """Writes what GOPHER_DOLMA_RULES read under attributes/gopher-dolma-v1."""

    name = "gopher-dolma"


class FinewebTagger(_PresetTagger):
    """Writes what FINEWEB_RULES and FINEWEB_PAPER_RULES read under attributes/fineweb-v1."""

    name = "fineweb"


def preset_schema(name: str) -> pa.Schema:
    """The columns of a preset: counts int64, shares float64."""
    preset = PRESETS[name]
    return pa.schema(
        [(column, pa.int64()) for column in preset.counts] + [(column, pa.float64()) for column in preset.shares]
    )


def _make_columns(preset: Preset, counts: npt.NDArray[np.int64]) -> list[pa.Array]:
    columns = [pa.array(np.ascontiguousarray(counts[:, column])) for column in preset.counts.values()]
    # nearly every numerator is 0 where its denominator is; dolma divides by 1 there, and so does this
    return columns + [
        pa.array(counts[:, top] / np.maximum(counts[:, whole], 1)) for top, whole in preset.shares.values()
    ]
