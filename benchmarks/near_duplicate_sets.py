"""Texts with a truth about near-duplicates: the labelled sets of the sample data, read into one form. Made texts stand in for them."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import zstandard

from benchmarks.dedup_scores import Int64s, pair_codes
from benchmarks.made_texts import make_near_copies
from benchmarks.near_duplicates import equal_pairs, exact_similarity, regex_sets
from dedup.shingles import Shingles

SETS = {
    "docs_powershell": ("docs_powershell", "docs_powershell_2020"),
    "law_de": ("law_de_gesetze", "law_de_gesetze_2013"),
}


class LabelledPairs(NamedTuple):
    """Texts and all their pairs of similarity >= 0.5."""

    name: str
    texts: list[str]
    sets: Shingles  # word 5-grams as the truth defines them
    codes: Int64s  # pair_codes, ascending
    similarity: np.ndarray  # float64 (E,)  exact


def read_labelled_pairs(data: Path, name: str) -> LabelledPairs:
    """One file of neardup/exact_jaccard with the texts it speaks of."""
    rows = [row for source in SETS[name] for row in read_source(data, source)]
    number = {row["id"]: d for d, row in enumerate(rows)}
    with gzip.open(data / f"neardup/exact_jaccard/{name}.jsonl.gz") as file:
        pairs = [orjson.loads(line) for line in file][1:]
    first, second = (np.array([number[pair[key]] for pair in pairs], np.int64) for key in "ab")
    texts = [row["text"] for row in rows]
    sets = regex_sets(texts, num_words=5)
    codes = pair_codes(first, second)
    return LabelledPairs(name, texts, sets, codes, exact_similarity(sets, codes).astype(np.float64))


def read_source(data: Path, source: str) -> list[dict[str, str]]:
    """Rows of all files of one source of the pool."""
    rows = []
    for path in sorted((data / "pool").glob(f"*/{source}-[0-9a-z]*.jsonl.zst")):
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            rows += [orjson.loads(line) for line in io.BufferedReader(stream)]
    return [row for row in rows if row["source"] == source]


def made_labelled_pairs() -> LabelledPairs:
    """Made texts with near-copies, their pairs by exhaustive comparison."""
    texts = make_near_copies(num_texts=200, num_copies=4, seed=1)
    sets = regex_sets(texts, num_words=5)
    a, b = np.triu_indices(len(texts), 1)
    codes = pair_codes(a.astype(np.int64), b.astype(np.int64))
    similarity = exact_similarity(sets, codes).astype(np.float64)
    return LabelledPairs("made", texts, sets, codes[similarity >= 0.5], similarity[similarity >= 0.5])


class LabelledSet(NamedTuple):
    """Texts with labels from people; the pairs that the labels speak of."""

    name: str
    texts: list[str]
    labels: list[str]  # one cluster per label
    pairs: Int64s  # pair_codes that are judged
    true: Int64s  # those of them that are copies


def read_labelled_sets(data: Path) -> list[LabelledSet]:
    """The three sets of neardup/ that people labelled."""
    return [_short_answers(data), _java_programs(data), _news_articles(data)]


def _short_answers(data: Path) -> LabelledSet:
    rows = [orjson.loads(line) for line in (data / "neardup/short_answers/short_answers.jsonl").open()]
    rows.sort(key=lambda row: row["category"] != "orig")  # the source comes first, so that it is the one that stays
    sources = {row["task"]: d for d, row in enumerate(rows) if row["category"] == "orig"}
    answers = [(sources[row["task"]], d) for d, row in enumerate(rows) if row["category"] != "orig"]
    first, second = (np.array(column, np.int64) for column in zip(*answers, strict=True))
    copied = np.array([rows[d]["category"] in ("cut", "light", "heavy") for _, d in answers])
    labels = [row["task"] if row["category"] != "non" else row["id"] for row in rows]
    return LabelledSet(
        "short_answers", [row["text"] for row in rows], labels, pair_codes(first, second), pair_codes(first[copied], second[copied])
    )  # fmt: skip


def _java_programs(data: Path) -> LabelledSet:
    with gzip.open(data / "neardup/java_plagiarism/programs.jsonl.gz") as file:
        rows = [orjson.loads(line) for line in file]
    labels = [row["base"] for row in rows]
    a, b = np.triu_indices(len(rows), 1)
    return LabelledSet(
        "java_plagiarism", [row["text"] for row in rows], labels, pair_codes(a, b), equal_pairs(np.array(labels), np.arange(len(rows)))
    )  # fmt: skip


def _news_articles(data: Path) -> LabelledSet:
    folder = data / "neardup/news_articles"
    lines = (folder / "articles_1000.train").read_text(errors="replace").splitlines()
    number = {line.split(" ", 1)[0]: d for d, line in enumerate(lines)}
    labels = list(number)
    couples = [line.split() for line in (folder / "articles_1000.truth").read_text().splitlines()]
    for a, b in couples:
        labels[number[b]] = a
    a, b = np.triu_indices(len(lines), 1)
    true = pair_codes(
        *(np.array(column, np.int64) for column in zip(*[(number[a], number[b]) for a, b in couples], strict=True))
    )
    return LabelledSet("news_articles", [line.split(" ", 1)[1] for line in lines], labels, pair_codes(a, b), true)
