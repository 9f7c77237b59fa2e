"""Our presets beside recorded answers of datatrove's and dolma's filters, document by document.

The answers are lines of record_filters_datatrove.py and record_filters_dolma.py. Used by the tests on a few made documents and by
benchmarks/filter_parity.py on a whole pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from dolma_py.arrow_buffers import TextView
from taggers import preset_lines_kernels as lines
from taggers import rule_presets_kernels as words
from taggers.c4 import C4_RULES, clean_lines
from taggers.c4_kernels import CURLY_LINES, LOREM_IPSUM_LINES, SENTENCES
from taggers.gopher import Rule
from taggers.rule_presets import FINEWEB_PAPER_RULES, FINEWEB_RULES, GOPHER_DATATROVE_RULES, PRESETS, count_presets
from taggers.spacy_words import split_words

# our rule -> datatrove's reason
QUALITY_REASONS = {
    "min_words": "gopher_short_doc", "max_words": "gopher_long_doc", "min_mean_word_chars": "gopher_below_avg_threshold",
    "max_mean_word_chars": "gopher_above_avg_threshold", "hash_signs": "gopher_too_many_hashes",
    "ellipses": "gopher_too_many_ellipsis", "bullet_lines": "gopher_too_many_bullets",
    "ellipsis_lines": "gopher_too_many_end_ellipsis", "alphabetic_words": "gopher_below_alpha_threshold",
    "stop_words": "gopher_enough_stop_words",
}  # fmt: skip
REPETITION_REASONS = {
    "empty": "empty", "dup_paragraphs": "dup_para_frac", "dup_paragraph_chars": "dup_para_char_frac",
    "dup_lines": "dup_line_frac", "dup_line_chars": "dup_line_char_frac",
    **{f"top_{n}gram": f"top_{n}_gram" for n in (2, 3, 4)}, **{f"dup_{n}gram": f"duplicated_{n}_n_grams" for n in range(5, 11)},
}  # fmt: skip
FINEWEB_REASONS = {
    "empty": "empty", "terminal_lines": "line_punct_ratio", "short_lines": "short_line_ratio",
    "dup_line_chars": "char_dup_ratio", "dup_line_chars_paper": "char_dup_ratio", "newlines": "list_ratio",
}  # fmt: skip
# the single rules of record_filters_datatrove.py -> our rules
SINGLE_RULES = {
    "min_doc_words": ("min_words",), "max_doc_words": ("max_words",), "min_avg_word_length": ("min_mean_word_chars",),
    "max_avg_word_length": ("max_mean_word_chars",), "max_symbol_word_ratio": ("hash_signs", "ellipses"),
    "max_bullet_lines_ratio": ("bullet_lines",), "max_ellipsis_lines_ratio": ("ellipsis_lines",),
    "max_non_alpha_words_ratio": ("alphabetic_words",), "min_stop_words": ("stop_words",),
}  # fmt: skip
SINGLE_FINEWEB = {
    "line_punct_thr": "terminal_lines", "short_line_thr": "short_lines", "char_duplicates_ratio": "dup_line_chars",
    "new_line_ratio": "newlines",
}  # fmt: skip
# dolma's type -> our column
DOLMA_COLUMNS = {
    "word_count": "num_words", "median_word_length": "median_word_chars", "symbol_to_word_ratio": "symbol_word_frac",
    "fraction_of_words_with_alpha_character": "alphabetic_word_frac", "required_word_count": "num_stop_words",
    "fraction_of_lines_starting_with_bullet_point": "bullet_line_frac",
    "fraction_of_lines_ending_with_ellipsis": "ellipsis_line_frac", "fraction_of_duplicate_lines": "dup_line_frac",
    "fraction_of_characters_in_duplicate_lines": "dup_line_char_frac",
    **{f"fraction_of_characters_in_most_common_{n}grams": f"top_{n}gram_char_frac" for n in (2, 3, 4)},
    **{f"fraction_of_characters_in_duplicate_{n}grams": f"dup_{n}gram_char_frac" for n in range(5, 11)},
}  # fmt: skip


def join_texts(texts: list[bytes]) -> TextView:
    sizes = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return TextView(np.frombuffer(b"".join(texts), np.uint8), sizes)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def statistics(name: str, counts: np.ndarray) -> list[dict[str, float]]:
    """The columns of a preset, one dictionary per document."""
    preset = PRESETS[name]
    columns = {column: counts[:, number] for column, number in preset.counts.items()}
    columns |= {key: counts[:, top] / np.maximum(counts[:, whole], 1) for key, (top, whole) in preset.shares.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def broken_rules(rules: Iterable[Rule], row: dict[str, float]) -> list[str]:
    """Names of the rules that the document breaks."""
    return [rule.name for rule in rules if not rule.holds(row[rule.column])]


def first_reason(broken: list[str], reasons: dict[str, str]) -> str:
    """The reason that the tool gives: of the first of its rules that is broken."""
    return next((reason for name, reason in reasons.items() if name in broken), "")


def cut_text(text: bytes, spans: np.ndarray) -> bytes:
    left, at = [], 0
    for start, end in spans.tolist():
        left.append(text[at:start])
        at = end
    return b"".join([*left, text[at:]])


def describe_datatrove(texts: list[bytes], *, single: bool) -> list[dict[str, Any]]:
    """What record_filters_datatrove.py says, said by our presets."""
    view = join_texts(texts)
    counts = count_presets(*view, words.WANT_DATATROVE | words.WANT_FINEWEB)
    gopher, fineweb = statistics("gopher-datatrove", counts), statistics("fineweb", counts)
    presets = {"c4": "c4-paper"} | ({"c4_any_end": "c4-fineweb"} if single else {})
    cleaned = {key: clean_lines(*view, name) for key, name in presets.items()}
    answers = []
    for row, (text, spans) in enumerate(zip(texts, split_words(*view), strict=True)):
        broken, poor = broken_rules(GOPHER_DATATROVE_RULES, gopher[row]), broken_rules(FINEWEB_RULES, fineweb[row])
        tokens = [text[start:end].decode() for start, end in spans]
        count = counts[row].tolist()
        answer: dict[str, Any] = {
            "gopher_quality": first_reason(broken, QUALITY_REASONS),
            "gopher_repetition": first_reason(broken, REPETITION_REASONS),
            "fineweb": first_reason(poor, FINEWEB_REASONS),
            "fineweb_paper": first_reason(broken_rules(FINEWEB_PAPER_RULES, fineweb[row]), FINEWEB_REASONS),
            "words": len(tokens), "words_digest": digest("\0".join(tokens)),
            "quality": [count[column] for column in (
                words.SPOKEN_WORDS, words.SPOKEN_WORD_CHARS, lines.HASH_SIGNS, lines.ELLIPSES, lines.BROKEN_LINES,
                lines.BROKEN_BULLET_LINES, lines.BROKEN_ELLIPSIS_LINES, words.LETTER_WORDS)],
            "paragraphs": [count[column] for column in (lines.PARAGRAPHS, lines.LATER_PARAGRAPHS, lines.LATER_PARAGRAPH_CHARS)],
            "lines": [count[column] for column in (lines.PIECES, lines.LATER_PIECES, lines.LATER_PIECE_CHARS)],
            "top": count[words.WORD_TOP : words.WORD_TOP + 3], "dup": count[words.WORD_DUP : words.WORD_DUP + 6],
        }  # fmt: skip
        if single:
            answer["single"] = [name for name, rules in SINGLE_RULES.items() if set(rules) & set(broken)]
            answer["single"] += [name for name, rule in SINGLE_FINEWEB.items() if {rule, "empty"} & set(poor)]
        for key, result in cleaned.items():
            answer[key] = c4_reason(presets[key], result.counts[row])
            if answer[key] == "":
                left = cut_text(text, result.spans[result.bounds[row] : result.bounds[row + 1]])
                answer[f"{key}_text"] = digest(left.decode())
        answers.append(answer)
    return answers


def c4_reason(preset: str, counts: np.ndarray) -> str:
    """datatrove's reason, with "page" for either page mark: it names the one that comes first in the text."""
    if counts[LOREM_IPSUM_LINES] or counts[CURLY_LINES]:
        return "page"
    return "too_few_sentences" if counts[SENTENCES] < C4_RULES[preset][0].value else ""


def compare_datatrove(text: bytes, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Keys in which the two answers differ."""
    found = []
    for key, value in ours.items():
        other = theirs[key]
        if key in ("c4", "c4_any_end"):
            other = "page" if other in ("lorem_ipsum", "curly_bracket") else other
        if key.endswith("_text") and theirs[key.removesuffix("_text")]:
            continue  # differs already
        if key == "single" and not theirs["words"]:
            continue  # its single rules divide by zero words, or compare with NaN; the whole filters have said no before
        if value != other:
            found.append(key)
    return found


def describe_dolma(texts: list[bytes]) -> list[dict[str, float]]:
    """Scores of gopher_v2 by type, said by gopher-dolma; an n-gram longer than the text has none."""
    rows = statistics("gopher-dolma", count_presets(*join_texts(texts), words.WANT_DOLMA))
    return [
        {"character_count": len(text.decode()), **{kind: float(row[column]) for kind, column in DOLMA_COLUMNS.items()}}
        for text, row in zip(texts, rows, strict=True)
    ]


def compare_dolma(text: bytes, ours: dict[str, float], theirs: dict[str, float]) -> list[str]:
    """Types in which the two answers differ; what dolma leaves out is 0, and of an empty text it says nothing but 0."""
    if not text:
        return [kind for kind, value in theirs.items() if value != 0]
    return [kind for kind, value in ours.items() if value != theirs.get(kind, 0.0)]
