"""How much of the main text each extractor finds, and how fast: F1 against two labelled sets of 40 real pages each.

    DOLMA_PY_DATA=DIR python -m benchmarks.html_extraction

articles: the text a person marked (scrapinghub/article-extraction-benchmark). Precision and recall of word 4-grams, counted with
their repetitions, of each page; means over pages, F1 of the means, as that benchmark's own script computes them.
segments: some phrases that must be in the text and some that must not (adbar/trafilatura). Precision and recall over all phrases.
The interval is that of F1 over 1,000 drawings of the pages with replacement, 2.5 to 97.5%. Speed is 10^6 bytes of HTML per second
of one core, decoding and parsing included.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dolma_py.formats import Limits
from dolma_py.formats.html import extract_page
from dolma_py.formats.html_extractors import EXTRACTORS

NUM_DRAWS = 1000
_WORD = re.compile(r"\w+")


class LabelledPage(NamedTuple):
    """A page with its article, or with phrases that must and must not be in its text."""

    data: bytes
    article: str | None
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


class Score(NamedTuple):
    """Of one set of pages."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-12)


class Scores(NamedTuple):
    """Of both sets."""

    articles: Score
    segments: Score


def list_pages(data: Path) -> list[LabelledPage]:
    """The pages of both sets."""
    pages = []
    for name, label in json.loads((data / "html/scrapinghub/ground-truth.json").read_text()).items():
        page = gzip.decompress((data / f"html/scrapinghub/{name}.html.gz").read_bytes())
        pages.append(LabelledPage(page, label["articleBody"]))
    for label in json.loads((data / "html/trafilatura/evaldata.json").read_text()).values():
        page = gzip.decompress((data / f"html/trafilatura/pages/{label['file']}.gz").read_bytes())
        pages.append(LabelledPage(page, None, tuple(label["with"]), tuple(label["without"])))
    return pages


def count_matches(page: LabelledPage, text: str) -> tuple[float, ...]:
    """(precision, recall) of an article's 4-grams; (wanted found, wanted, unwanted found) of a page with phrases."""
    if page.article is None:
        found = sum(phrase in text for phrase in page.wanted)
        return found, len(page.wanted), sum(phrase in text for phrase in page.unwanted)
    true, given = _count_ngrams(page.article), _count_ngrams(text)
    common = (true & given).total()
    return common / max(given.total(), 1), common / max(true.total(), 1)


def _count_ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text)
    return Counter(tuple(words[start : start + 4]) for start in range(max(len(words) - 3, min(len(words), 1))))


def score_texts(pages: list[LabelledPage], texts: list[str], draw: np.ndarray | None = None) -> Scores:
    """Of all pages, or of those of a drawing."""
    matches = [(page.article is None, count_matches(page, text)) for page, text in zip(pages, texts, strict=True)]
    chosen = matches if draw is None else [matches[number] for number in draw]
    of_articles = np.array([match for is_phrases, match in chosen if not is_phrases])
    found, wanted, unwanted = np.array([match for is_phrases, match in chosen if is_phrases]).sum(axis=0)
    return Scores(Score(*of_articles.mean(axis=0)), Score(found / max(found + unwanted, 1), found / wanted))


def draw_f1(pages: list[LabelledPage], texts: list[str]) -> np.ndarray:
    """F1 of (articles, segments) of NUM_DRAWS drawings, float64 (NUM_DRAWS, 2); the same drawings for every extractor."""
    rng = np.random.default_rng(0)
    first = sum(page.article is not None for page in pages)
    found = []
    of_articles = np.array([count_matches(page, text) for page, text in zip(pages[:first], texts[:first], strict=True)])
    of_phrases = np.array([count_matches(page, text) for page, text in zip(pages[first:], texts[first:], strict=True)])
    for _ in range(NUM_DRAWS):
        precision, recall = of_articles[rng.integers(0, first, first)].mean(axis=0)
        hits, wanted, unwanted = of_phrases[rng.integers(0, len(of_phrases), len(of_phrases))].sum(axis=0)
        found.append((Score(precision, recall).f1, Score(hits / max(hits + unwanted, 1), hits / max(wanted, 1)).f1))
    return np.array(found)


def main() -> None:
    pages = list_pages(Path(os.environ["DOLMA_PY_DATA"]))
    num_mb = sum(len(page.data) for page in pages) / 1e6
    print(f"{len(pages)} pages, {num_mb:.2f} MB of HTML")
    print(f"{'extractor':24s} {'articles':>24s} {'F1 (95%)':>22s} {'segments':>20s} {'F1 (95%)':>20s}  MB/s per core")
    drawn = {}
    for name in EXTRACTORS:
        extract_page(pages[0].data, Limits(), extractor=name)  # imports
        begin = time.process_time()
        texts = [extract_page(page.data, Limits(), extractor=name).text for page in pages]
        seconds = time.process_time() - begin
        scores, drawn[name] = score_texts(pages, texts), draw_f1(pages, texts)
        cells = []
        for number, score in enumerate(scores):
            low, high = np.quantile(drawn[name][:, number], (0.025, 0.975))
            cells.append(f"P {score.precision:.3f} R {score.recall:.3f}  F1 {score.f1:.3f} ({low:.3f} to {high:.3f})")
        print(f"{name:24s} {cells[0]:>46s} {cells[1]:>46s} {num_mb / seconds:8.1f}")
    for name in EXTRACTORS[:-1]:
        better = (drawn["combined"] > drawn[name]).mean(axis=0)
        print(
            f"combined is above {name:24s} in {better[0]:.0%} of the drawings of articles, {better[1]:.0%} of segments"
        )


if __name__ == "__main__":
    main()
