"""What datatrove's filters make of texts, one line of JSON per text.

    .venv-peers/datatrove/bin/python tests/peers/record_filters_datatrove.py [single] < texts.jsonl > answers.jsonl

A line of the input is {"text": ...}. Runs inside datatrove's environment. An answer holds the reason of each filter with its
defaults ("" where the document is kept), the counts behind the filters (of repetition by its own functions, of quality counted
here from its words), digests of the words and of the text that the C4 filter leaves. With `single` it also says which rules of
the quality filter and of FineWeb's drop the document when they are the only one, and what C4 without its rule of line ends
does. The last line has the CPU seconds of each filter.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
import time
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters import gopher_repetition_filter as repetition
from datatrove.utils.text import PUNCTUATION_SET, split_into_words

QUALITY = ["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio",
           "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words"]  # fmt: skip
DEFAULTS = {"min_doc_words": 50, "max_doc_words": 100000, "min_avg_word_length": 3, "max_avg_word_length": 10,
            "max_symbol_word_ratio": 0.1, "max_bullet_lines_ratio": 0.9, "max_ellipsis_lines_ratio": 0.3,
            "max_non_alpha_words_ratio": 0.8, "min_stop_words": 2}  # fmt: skip
# thresholds that no document fails
OPEN = {"line_punct_thr": -1.0, "short_line_thr": 2.0, "char_duplicates_ratio": 2.0, "new_line_ratio": 1e9}
FINEWEB = {"line_punct_thr": 0.12, "short_line_thr": 0.67, "char_duplicates_ratio": 0.01, "new_line_ratio": 0.3}
# the C4 filters first: their sentences push the words of the whole text out of datatrove's cache
FILTERS = {
    "c4": C4QualityFilter(),
    "gopher_quality": GopherQualityFilter(),
    "gopher_repetition": GopherRepetitionFilter(),
    "fineweb": FineWebQualityFilter(),
    "fineweb_paper": FineWebQualityFilter(char_duplicates_ratio=0.1),
}
SINGLE = {
    name: GopherQualityFilter(**{key: DEFAULTS[key] if key == name else None for key in QUALITY}) for name in QUALITY
} | {name: FineWebQualityFilter(**(OPEN | {name: FINEWEB[name]})) for name in FINEWEB}


MORE = {"c4_any_end": C4QualityFilter(filter_no_terminal_punct=False)}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_filter(action: Any, text: str) -> tuple[str, str]:
    """(reason of the drop or "", the text that is left)."""
    document = Document(text=text, id="0")
    try:
        answer = action.filter(document)
    except ZeroDivisionError:
        return "ZeroDivisionError", ""
    return ("" if answer is True else answer[1]), document.text


def count_quality(text: str, words: list[str]) -> list[int]:
    """Words that are not punctuation, their chars, "#", ellipses, lines, bullet lines, ellipsis lines, words with a letter."""
    spoken = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
    lines = text.splitlines()
    return [
        len(spoken),
        sum(map(len, spoken)),
        text.count("#"),
        text.count("...") + text.count("\u2026"),
        len(lines),
        sum(line.lstrip().startswith(("\u2022", "-")) for line in lines),
        sum(line.rstrip().endswith(("...", "\u2026")) for line in lines),
        sum(any(char.isalpha() for char in word) for word in words),
    ]


def describe(text: str, seconds: dict[str, float], *, single: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for name, action in (MORE | FILTERS if single else FILTERS).items():
        begin = time.process_time()
        answer[name], left = run_filter(action, text)
        seconds[name] = seconds.get(name, 0.0) + time.process_time() - begin
        if name.startswith("c4"):
            answer[f"{name}_text"] = digest(left)
    if single:
        answer["single"] = [name for name, action in SINGLE.items() if run_filter(action, text)[0]]
    words = split_into_words(text)
    answer["words"], answer["words_digest"] = len(words), digest("\0".join(words))
    answer["quality"] = count_quality(text, words)
    paragraphs = FILTERS["gopher_repetition"].paragraph_exp.split(text.strip())
    lines = FILTERS["gopher_repetition"]._line_splitter.split(text)
    answer["paragraphs"] = [len(paragraphs), *repetition.find_duplicates(paragraphs)]
    answer["lines"] = [len(lines), *repetition.find_duplicates(lines)]
    grams = [repetition.get_n_grams(words, n) for n in (2, 3, 4)]
    answer["top"] = [repetition.find_top_duplicate(some) if some else 0 for some in grams]
    answer["dup"] = [repetition.find_all_duplicate(words, n) for n in range(5, 11)]
    return answer


def main() -> None:
    seconds: dict[str, float] = {}
    for line in sys.stdin:
        print(json.dumps(describe(json.loads(line)["text"], seconds, single="single" in sys.argv[1:]), sort_keys=True))
    about = {"tool": "datatrove", "version": importlib.metadata.version("datatrove"), "seconds": seconds}
    about["spacy"] = importlib.metadata.version("spacy")
    print(json.dumps(about, sort_keys=True))


if __name__ == "__main__":
    main()
