"""Web filters of several tools as statistics and edit spans in one sweep: presets olmo3-web, olmo3-web-released, refinedweb-dclm, madlad400.

Columns are statistics and spans, not decisions: PRESETS names each preset's rules with their thresholds, and a view decides. What the presets
decide where tools differ stands in docs/filters.md.

Source: Olmo 3 report, A.2.1 and table T36; allenai/datamap-rs configs/all_dressed (546520a) and src/map_fxn.rs (021da52); DCLM
dclm_baseline_refinedweb.yaml and baselines/mappers (c7ed275); Kudugunta et al. 2023 (MADLAD-400), section 2.3; Rae et al. 2021.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from dolma_py import spans, storage
from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError
from dolma_py.rules import Clause
from dolma_py.spans import Spans
from taggers import gopher_kernels as quality
from taggers import line_edits_kernels as line_edits
from taggers import repetition_kernels as repetition
from taggers import sentence_rules_kernels as sentences
from taggers import web_filter_kernels as kernels
from taggers import web_sweep_kernels as sweep
from taggers.byte_patterns import BytePatterns, compile_patterns
from taggers.characters import character_table, lower_table
from taggers.gopher import GOPHER_RULES, Rule, allocate_words

MAX_CURSED_BYTES = 4 << 20
# kinds of text that MADLAD-400's fifth rule names, in our words; the authors' list comes by cursed_path. The last four are expressions.
CURSED_PATTERNS = (
    "orem ipsum", "dolor sit amet", "consectetur adipisci", " porn ", " xxx ", ".mp3", "Download now",
    r"\|\s*$", r"(?: \.\.\.){5}", r"(?: [^ ]){9}", r"(?:, ?\.\.){3}",
)  # fmt: skip
NUM_EXPRESSIONS = 4  # at the end of a cursed list, where the rest are literals

_FIRST = kernels.FIRST_SENTENCE_COUNT
# column -> (counted, of how many, part of the chain); None: the count itself. Shares are float64, as those of taggers.gopher
_COLUMNS: dict[str, tuple[int, int | None, int]] = {
    "num_chars": (sweep.CHARS, None, kernels.SWEEP),
    "num_words": (sweep.LENGTH_WORDS, None, kernels.SWEEP),
    "mean_word_chars": (quality.SPACED_WORD_CHARS, quality.SPACED_WORDS, kernels.SWEEP),
    "symbol_to_word_ratio": (quality.SYMBOLS, sweep.SYMBOL_WORDS, kernels.SWEEP),
    "bullet_line_frac": (quality.BULLET_LINES, sweep.BULLET_BASE, kernels.SWEEP),
    "ellipsis_line_frac": (quality.ELLIPSIS_LINES, sweep.ELLIPSIS_BASE, kernels.SWEEP),
    "alphabetic_word_frac": (quality.ALPHA_WORDS, quality.SPACED_WORDS, kernels.SWEEP),
    "num_stop_words": (quality.STOP_WORDS, None, kernels.SWEEP),
    "dup_line_frac": (repetition.DUP_LINES, quality.LINES, kernels.REPETITION),
    "dup_paragraph_frac": (repetition.DUP_PARAGRAPHS, repetition.PARAGRAPHS, kernels.REPETITION),
    "dup_line_char_frac": (repetition.DUP_LINE_CHARS, repetition.LINE_CHARS, kernels.REPETITION),
    "dup_paragraph_char_frac": (repetition.DUP_PARAGRAPH_CHARS, repetition.PARAGRAPH_CHARS, kernels.REPETITION),
    **{
        f"{'top' if n < 5 else 'dup'}_{n}gram_char_frac": (
            repetition.FIRST_NGRAM + n - 2,
            repetition.WORD_CHARS,
            kernels.REPETITION,
        )
        for n in range(2, 11)
    },
    "removed_word_frac": (kernels.REMOVED_WORDS, repetition.WORDS, kernels.EDITS),
    "num_sentences": (_FIRST + sentences.SENTENCES, None, kernels.SENTENCES),
    "list_case_sentence_frac": (_FIRST + sentences.LIST_CASE, _FIRST + sentences.SENTENCES, kernels.SENTENCES),
    "odd_length_sentence_frac": (_FIRST + sentences.ODD_LENGTH, _FIRST + sentences.SENTENCES, kernels.SENTENCES),
    "technical_sentence_frac": (_FIRST + sentences.TECHNICAL, _FIRST + sentences.SENTENCES, kernels.SENTENCES),
    "cursed_sentence_frac": (_FIRST + sentences.CURSED, _FIRST + sentences.SENTENCES, kernels.SENTENCES),
    "questionable_sentence_frac": (_FIRST + sentences.QUESTIONABLE, _FIRST + sentences.SENTENCES, kernels.SENTENCES),
}
EDITS = "edits"  # the spans column


class Preset(NamedTuple):
    """One tool's reading of the rules."""

    rules: tuple[Rule, ...]
    columns: tuple[str, ...]
    sentence_rules: tuple[int, ...]  # which make a sentence questionable
    in_bytes: bool = False
    edits: tuple[
        int, ...
    ] = ()  # options of line_edits_kernels that are on; with PHRASE_MAX_WORDS ten words, else any number
    has_edits: bool = True
    has_sentences: bool = True
    literal_cursed: bool = False  # all lines of the cursed list but the last four are literals


_OLMO3 = "Olmo 3 report, A.2.1; datamap-rs all_dressed_config.yaml"
_MADLAD = "Kudugunta et al. 2023, section 2.3"
_QUALITY_RULES, _REPETITION_RULES = GOPHER_RULES[:9], GOPHER_RULES[9:]
_REMOVED_WORDS = Rule("removed_words", "removed_word_frac", "<=", 0.05, "Penedo et al. 2023 (RefinedWeb), appendix G.2")
_OLMO3_RULES = (
    Rule("min_chars", "num_chars", ">=", 150, _OLMO3),
    *_QUALITY_RULES,
    *_REPETITION_RULES,
    _REMOVED_WORDS,
    Rule("min_sentences", "num_sentences", ">=", sentences.MIN_SENTENCES, _OLMO3),
    Rule("questionable_sentences", "questionable_sentence_frac", "<", 0.2, _OLMO3),
)
_MADLAD_RULES = (
    Rule("min_sentences", "num_sentences", ">=", sentences.MIN_SENTENCES, _MADLAD),
    Rule("questionable_sentences", "questionable_sentence_frac", "<=", 0.2, _MADLAD),
)
_DCLM_COLUMNS = tuple(
    column for column, (_, _, part) in _COLUMNS.items() if part < kernels.SENTENCES and column != "num_chars"
)
_OLMO3_COLUMNS = tuple(column for column in _COLUMNS if not column.startswith(("odd_length", "technical")))
_MADLAD_COLUMNS = tuple(column for column, (_, _, part) in _COLUMNS.items() if part == kernels.SENTENCES)

PRESETS: dict[str, Preset] = {
    "olmo3-web": Preset(
        _OLMO3_RULES, _OLMO3_COLUMNS, (sentences.LIST_CASE, sentences.CURSED),
        edits=(line_edits.COUNTER_OPEN, line_edits.PHRASE_MAX_WORDS, line_edits.LEAVES_SPACE, line_edits.CAPS_AGAIN),
    ),
    "olmo3-web-released": Preset(
        _OLMO3_RULES, _OLMO3_COLUMNS, (sentences.LIST_CASE, sentences.CURSED), in_bytes=True, literal_cursed=True,
        edits=(line_edits.ANY_SIGN, line_edits.LEAVES_SPACE, line_edits.TRIMS_RETURNS, line_edits.CAPS_AGAIN),
    ),
    "refinedweb-dclm": Preset(
        (*_QUALITY_RULES, *_REPETITION_RULES, _REMOVED_WORDS), _DCLM_COLUMNS, (), has_sentences=False,
        edits=(
            line_edits.SPACED_LINE_WORDS, line_edits.PHRASE_MAX_WORDS, line_edits.ANY_SIGN, line_edits.IGNORES_CASE, line_edits.STRIPS,
        ),
    ),
    "madlad400": Preset(
        _MADLAD_RULES, _MADLAD_COLUMNS, (sentences.LIST_CASE, sentences.ODD_LENGTH, sentences.TECHNICAL, sentences.CURSED), has_edits=False,
    ),
}  # fmt: skip


class WebCounts(NamedTuple):
    """What a filter found in N documents."""

    counts: npt.NDArray[np.int64]  # (N, 38) columns of web_filter_kernels; those of parts that were not reached are 0
    parts: npt.NDArray[np.int8]  # (N,) the last part of the chain that each went through
    edits: Spans  # what leaves each text


def no_gates() -> kernels.Gates:
    """Gates that stop no document."""
    empty, ends = np.empty(0, np.int64), np.zeros(kernels.NUM_PARTS, np.int64)
    return kernels.Gates(empty, empty, np.empty(0), np.empty(0), ends)


def build_gates(rules: Sequence[tuple[Clause, ...]], columns: Sequence[str]) -> kernels.Gates:
    """Gates for the clauses of rules that compare one of `columns` with a number by >=, <=, > or <; other clauses stop nothing.

    A document stopped by a gate breaks the clause, so a view with the rule drops it too.
    """
    chosen: list[tuple[int, int, int, float, float]] = []
    for column, op, value in (clause for rule in rules for clause in rule):
        if column not in columns or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        bound = float(value)
        bounds = {
            ">=": (bound, np.inf), ">": (np.nextafter(bound, np.inf), np.inf),
            "<=": (-np.inf, bound), "<": (-np.inf, np.nextafter(bound, -np.inf)),
        }  # fmt: skip
        if op in bounds and bound == value:
            top, whole, part = _COLUMNS[column]
            chosen.append((part, top, -1 if whole is None else whole, *bounds[op]))
    chosen.sort(key=lambda gate: gate[0])
    parts, tops, wholes, lows, highs = zip(*chosen, strict=True) if chosen else ((), (), (), (), ())
    ends = np.searchsorted(np.array(parts, np.int64), np.arange(kernels.NUM_PARTS), side="right")
    return kernels.Gates(
        np.array(tops, np.int64), np.array(wholes, np.int64), np.array(lows, np.float64), np.array(highs, np.float64), ends.astype(np.int64)
    )  # fmt: skip


def count_web(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    *,
    preset: Preset,
    patterns: BytePatterns,
    gates: kernels.Gates | None = None,
    whole: npt.NDArray[np.bool_] | None = None,
) -> WebCounts:
    """All counts and edits of a filter for N documents in UTF-8.

    Parameters
    ----------
    data : uint8 (B,)           texts, back to back; may be read-only
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]; non-decreasing
    patterns : BytePatterns     that make a sentence cursed
    gates : Gates               leave a document after the part whose gate it breaks; None: every document goes through the whole chain
    whole : bool (N,)           documents that no gate stops; None: none

    Guarantees                  same values for any batch split; input that is not UTF-8 gives some counts, never a crash
    Cost                        O(B) time; about 50 bytes of scratch per byte of the longest text, 150 if it is denser in words or lines than
                                one in three bytes
    """
    num_docs = len(offsets) - 1
    # a copy that may be written to: of the type that edited texts have, kernels are compiled once and not twice
    data, offsets = np.array(data[offsets[0] : offsets[-1]]), offsets - offsets[0]
    counts = np.zeros((num_docs, kernels.NUM_COUNTS), np.int64)
    parts = np.zeros(num_docs, np.int8)
    span_offsets = np.zeros(num_docs + 1, np.int64)
    whole = np.zeros(num_docs, np.bool_) if whole is None else whole
    chain = _build_chain(preset, patterns)
    longest_bytes = int(np.diff(offsets).max(initial=0))
    text = kernels.TextScratch(
        np.empty(longest_bytes + 8, np.uint8),
        np.empty(longest_bytes + 8, np.int32),
        np.empty(kernels.NUM_COUNTS, np.int64),
    )
    # words of ordinary text take more than three bytes each with the space; a denser document enlarges the scratch below
    capacity = longest_bytes // 3 + 64
    starts, ends = np.empty(num_docs * 8 + 64, np.int64), np.empty(num_docs * 8 + 64, np.int64)
    scratch = _allocate_lines(capacity)
    words = allocate_words(capacity)
    row = 0
    while row < num_docs:
        found = kernels.Found(counts, parts, span_offsets, starts, ends)
        reached = int(
            kernels.filter_documents_kernel(
                data, offsets, row, chain, gates or no_gates(), whole, scratch, words, text, found
            )
        )
        if reached < num_docs:
            if capacity < longest_bytes + 64:
                capacity = longest_bytes + 64
                scratch, words = _allocate_lines(capacity), allocate_words(capacity)
            more = np.empty(len(starts) + longest_bytes, np.int64)
            starts, ends = np.concatenate([starts, more]), np.concatenate([ends, more])
        row = reached
    num_spans = int(span_offsets[-1])
    return WebCounts(counts, parts, Spans(span_offsets, starts[:num_spans].copy(), ends[:num_spans].copy()))


def _build_chain(preset: Preset, patterns: BytePatterns) -> kernels.Chain:
    last_part = kernels.SENTENCES if preset.has_sentences else kernels.EDITS
    rules = np.zeros(sentences.NUM_SENTENCE_COUNTS, np.bool_)
    rules[list(preset.sentence_rules)] = True
    return kernels.Chain(
        character_table(),
        lower_table(),
        preset.in_bytes,
        _edit_options(preset),
        last_part,
        patterns.classes,
        patterns.steps,
        rules,
    )


def _edit_options(preset: Preset) -> npt.NDArray[np.int64]:
    if not preset.has_edits:
        return np.full(line_edits.NUM_OPTIONS, -1, np.int64)
    options = np.zeros(line_edits.NUM_OPTIONS, np.int64)
    options[list(preset.edits)] = 1
    limited = line_edits.PHRASE_MAX_WORDS in preset.edits
    options[line_edits.PHRASE_MAX_WORDS] = 10 if limited else line_edits.ANY_LENGTH
    return options


def _allocate_lines(capacity: int) -> sweep.LineScratch:
    return sweep.LineScratch(
        np.empty((capacity, sweep.NUM_LINE_COLUMNS), np.int64),
        np.empty(capacity, np.uint64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.uint64),
        np.empty(capacity, np.int64),
        np.zeros(sweep.NUM_FACTS, np.int64),
        np.zeros(sweep.NUM_OPEN, np.int64),
        np.empty(capacity, np.int64),
    )


def read_cursed(path: str) -> list[str]:
    """The lines of a cursed list, blank ones left out; `.gz` is unpacked.

    Raises
    ------
    ConfigError     no such file, not UTF-8, or more than 4 MiB
    """
    key = "cursed_path"
    try:
        content = storage.read_bytes(path)
        if path.endswith(".gz"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_CURSED_BYTES + 1)
        text = content.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(key, path, f"expected a text file with one pattern a line ({error})") from error
    if len(content) > MAX_CURSED_BYTES:
        raise ConfigError(key, path, f"expected at most {MAX_CURSED_BYTES} bytes")
    return [line for line in text.split("\n") if line.strip("\r\n")]


class WebFilterTaggerConfig(Config):
    """Which tool's reading, and the patterns of MADLAD-400's fifth rule."""

    preset: Literal["olmo3-web", "olmo3-web-released", "refinedweb-dclm", "madlad400"] = Field(
        "olmo3-web", description="whose reading of the rules; see docs/filters.md"
    )
    cursed_path: str = Field(
        "",
        description="file of cursed patterns, one a line, plain or .gz; empty: eleven of our own (taggers.web_filter.CURSED_PATTERNS)",
    )


class WebFilterTagger:
    """Writes a preset's columns and, where it edits, the spans that leave each text, under attributes/<preset>-v1."""

    config_model = WebFilterTaggerConfig
    version = 1

    def __init__(self, config: WebFilterTaggerConfig) -> None:
        self.config = config
        self.name = config.preset
        self.preset = PRESETS[config.preset]
        lines = read_cursed(config.cursed_path) if config.cursed_path else list(CURSED_PATTERNS)
        cut = max(0, len(lines) - NUM_EXPRESSIONS) if self.preset.literal_cursed else 0
        self.patterns = compile_patterns(lines[:cut], lines[cut:], where="cursed_path")
        fields = [
            pa.field(column, pa.int64() if _COLUMNS[column][1] is None else pa.float64())
            for column in self.preset.columns
        ]
        if self.preset.has_edits:
            fields.insert(self.preset.columns.index("removed_word_frac") + 1, pa.field(EDITS, SPANS))
        self.schema = pa.schema(fields)

    @property
    def parts(self) -> dict[str, int]:
        """Part of the chain that each column comes from: rules over later ones are spared where an earlier one dropped the row."""
        return {name: kernels.EDITS if name == EDITS else _COLUMNS[name][2] for name in self.schema.names}

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics and edits per document."""
        return self.tag_gated(batch, [], np.ones(batch.num_rows, np.bool_))

    def tag_gated(
        self, batch: pa.RecordBatch, rules: Sequence[tuple[Clause, ...]], whole: npt.NDArray[np.bool_]
    ) -> pa.RecordBatch:
        """As `tag`, but a document that breaks a clause goes no further; columns of the parts after it are null.

        whole : bool (N,)   documents that get every column
        """
        view = view_text(batch.column("text"))
        gates = build_gates(rules, self.preset.columns)
        found = count_web(view.data, view.offsets, preset=self.preset, patterns=self.patterns, gates=gates, whole=whole)
        columns = []
        for field in self.schema:
            missing = found.parts < self.parts[field.name]
            if field.name == EDITS:
                columns.append(spans.build_spans(found.edits, mask=pa.array(missing) if missing.any() else None))
                continue
            top, share_of, _ = _COLUMNS[field.name]
            values: npt.NDArray[np.int64] | npt.NDArray[np.float64] = np.ascontiguousarray(found.counts[:, top])
            if share_of is not None:
                values = values / np.maximum(found.counts[:, share_of], 1)
            columns.append(pa.array(values, mask=missing if missing.any() else None))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
