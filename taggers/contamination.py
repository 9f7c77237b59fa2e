"""Which documents hold evaluation items: decontamination in the manner of Olmo 3, and the plain n-gram rule.

Mode `items` follows the Olmo 3 report (A.5) and the tool that ran it, decon: words, an inverted index of question n-grams,
look-up at a stride, expansion to both sides with a budget of misses, overlap weighted by idf, the answer near the question.
Deviations from decon:
- tokens are lower-cased words instead of BPE pieces, so lengths in tokens mean about 3/4 as many words
- scanning goes on inside a cluster, so an item that starts within another's cluster is found (decon skips to the end)
- idf is ln((I + 1) / df) instead of ln(I / df), which would be 0 for a single item
- weights of question and answer are multiplied by their confidences and normalised; decon moves the lost weight
- the length rule is folded into the score (see below), so that `score` has one threshold for texts of any length
- passages are not looked at
- overlap "words" (ours): once n-grams have found the place, the question's words that stand there are weighed, so that an
  edited word costs itself and not ngram_tokens n-grams; overlap "ngrams" is decon's
Mode `ngrams` is the older rule: any shared n-gram (13 words: GPT-3; 8: Llama 2, and Olmo 3's post-training data with
min_overlap 0.5).
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal

import numpy as np
import orjson
import pyarrow as pa
from pydantic import Field, model_validator

from dolma_py.arrow_buffers import view_text
from dolma_py.config import Config, build_config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError, DataError
from dolma_py.spans import Spans, build_spans
from dolma_py.storage import open_read
from taggers.evaluation_sets import dump_items, list_registry_files, read_registry
from taggers.ngram_match import Item, build_index, find_items
from taggers.ngram_match_kernels import Settings

_DECON = "decon's default"


class ContaminationTaggerConfig(Config):
    """Items to look for and the thresholds; defaults are decon's where it has them."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("items_paths", "evaluation_sets", "evaluation_folder")

    evaluation_sets: str | None = Field(
        None, description="registry of evaluation sets: a .yaml file, or the packaged `benchmarks`"
    )
    evaluation_folder: str | None = Field(None, description="what {folder} stands for in the registry's paths")
    items_paths: tuple[str, ...] = Field(
        (),
        description='JSON lines files of items: {"id", "question", "answer", "passage", "benchmark"}; the last three may be left out',
    )
    items_fingerprint: str = Field("", description="of the items in order; checked when given, else filled in")
    mode: Literal["items", "ngrams"] = Field(
        "items", description="items: question and answer scored; ngrams: any shared n-gram"
    )
    ngram_tokens: int = Field(5, ge=1, le=64, description=f"words of an n-gram; {_DECON}; 8 or 13 for mode ngrams")
    stride_tokens: int = Field(10, ge=1, description=f"every how many words a document is probed; {_DECON}")
    max_misses: int = Field(11, ge=1, description=f"n-grams in a row without the item that end its expansion; {_DECON}")
    hot_ngram_items: int = Field(2000, ge=1, description=f"n-grams of more items start no expansion; {_DECON} floor")
    threshold: float = Field(
        0.8, gt=0, le=1, description=f"score from which a document is contaminated; {_DECON}; 0.88 for web"
    )
    overlap: Literal["ngrams", "words"] = Field(
        "words", description="what of the question counts as found; ngrams is decon's"
    )
    decay_start_tokens: int = Field(20, ge=0, description=f"items of up to so many words must match wholly; {_DECON}")
    decay_end_tokens: int = Field(50, ge=1, description=f"items of so many words need the threshold alone; {_DECON}")
    short_answer_tokens: int = Field(
        3, ge=1, description=f"answers of up to so many words are looked for word by word; {_DECON}"
    )
    answer_window_tokens: int = Field(
        50, ge=1, description=f"words after the question that hold a short answer; {_DECON}"
    )
    answer_ngram_tokens: int = Field(3, ge=1, description=f"n-grams of longer answers; {_DECON}")
    long_answer_window_tokens: int = Field(
        100, ge=1, description=f"window of longer answers, at least twice their length; {_DECON}"
    )
    min_question_tokens: int = Field(
        15, ge=1, description="shorter questions are left out; decon: 20 BPE tokens, about 15 words"
    )
    min_overlap: float = Field(
        0.0, ge=0, le=1, description="mode ngrams: least share of an item's n-grams; Olmo 3 post-training: 0.5"
    )

    @model_validator(mode="after")
    def _check_lengths(self) -> ContaminationTaggerConfig:
        if not self.items_paths and self.evaluation_sets is None:
            raise ValueError("expected evaluation_sets or items_paths")
        if self.evaluation_folder is not None and self.evaluation_sets is None:
            raise ValueError("expected evaluation_sets with evaluation_folder")
        if self.decay_end_tokens <= self.decay_start_tokens:
            raise ValueError("decay_end_tokens must be above decay_start_tokens")
        if self.answer_ngram_tokens > self.short_answer_tokens + 1:
            raise ValueError(
                "answer_ngram_tokens must be at most short_answer_tokens + 1, else some answers have no n-gram"
            )
        return self

    @property
    def settings(self) -> Settings:
        """The numbers that kernels take."""
        return Settings(
            ngram_tokens=self.ngram_tokens,
            stride_tokens=self.stride_tokens,
            max_misses=self.max_misses,
            hot_ngram_items=self.hot_ngram_items,
            threshold=self.threshold,
            decay_start_tokens=self.decay_start_tokens,
            decay_end_tokens=self.decay_end_tokens,
            short_answer_tokens=self.short_answer_tokens,
            answer_window_tokens=self.answer_window_tokens,
            answer_ngram_tokens=self.answer_ngram_tokens,
            long_answer_window_tokens=self.long_answer_window_tokens,
            count_words=self.overlap == "words",
        )


def read_items(paths: tuple[str, ...]) -> list[Item]:
    """All items of JSON lines files, in order; blank lines are skipped.

    Raises
    ------
    DataError       a line that is no object with the strings id and question, and answer, passage and benchmark a string, null or
                    absent (names the line)
    """
    items = []
    for path in paths:
        with open_read(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    items.append(_parse_item(line, path, number))
    return items


def gather_items(config: ContaminationTaggerConfig) -> tuple[list[Item], dict[str, dict[str, int]]]:
    """(items of the registry, then those of items_paths; counts by evaluation set)."""
    items, counts = [], {}
    if config.evaluation_sets is not None:
        items, counts = read_registry(config.evaluation_sets, config.evaluation_folder)
    return [*items, *read_items(config.items_paths)], counts


def _parse_item(line: bytes, path: str, number: int) -> Item:
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(path, f"not JSON ({error})", number) from error
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("id", "question")):
        raise DataError(path, "expected an object with the strings id and question", number)
    for key in ("answer", "passage", "benchmark"):
        if not isinstance(record.get(key), str | None):
            raise DataError(path, f"expected {key} to be a string or null", number)
    item = Item(record["id"], record["question"], record.get("answer"), record.get("passage"))
    return item._replace(benchmark=record.get("benchmark") or "", source=path)


def fingerprint_items(items: list[Item]) -> str:
    """blake2b-128 of ids, questions, answers, passages and benchmarks in order, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        parts = [item.id, item.question, item.answer]
        if item.passage is not None or item.benchmark:
            parts += [item.passage, item.benchmark]
        digest.update(orjson.dumps(parts) + b"\n")
    return digest.hexdigest()


class ContaminationTagger:
    """Writes under attributes/contamination-v1:

    contaminated    bool      the best item reaches the threshold (mode ngrams: shares an n-gram and reaches min_overlap)
    score           float32   of the best item, 0 when none was met; mode ngrams: share of the item's n-grams
    item            string    id of the best item, null when none was met
    spans           SPANS     contaminated parts in UTF-8 bytes of the text, each with its best score
    """

    config_model = ContaminationTaggerConfig
    ITEMS_OPTIONS: ClassVar[tuple[str, ...]] = ContaminationTaggerConfig.NOT_IDENTITY
    name = "contamination"
    version = 1
    schema = pa.schema([("contaminated", pa.bool_()), ("score", pa.float32()), ("item", pa.string()), ("spans", SPANS)])

    def __init__(self, config: ContaminationTaggerConfig) -> None:
        items, _ = gather_items(config)
        fingerprint = fingerprint_items(items)
        if config.items_fingerprint not in ("", fingerprint):
            rule = f"expected the fingerprint of {list(config.items_paths)}, which is {fingerprint}"
            raise ConfigError("contamination.items_fingerprint", config.items_fingerprint, rule)
        self.config = config.model_copy(update={"items_fingerprint": fingerprint})
        self.index = build_index(
            items,
            ngram_tokens=config.ngram_tokens,
            min_question_tokens=config.min_question_tokens,
            answer_ngram_tokens=config.answer_ngram_tokens,
            short_answer_tokens=config.short_answer_tokens,
        )
        self.ids = pa.array(self.index.ids, pa.string())

    @classmethod
    def collect_items(cls, options: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """(all items as one file for items_paths, what became of the records by evaluation set): the driver's work."""
        items, counts = gather_items(build_config(cls.config_model, options, prefix=cls.name))
        return dump_items(items), counts

    @classmethod
    def list_input_files(cls, options: dict[str, Any]) -> list[str]:
        """The files that a registry names, whose content decides the output."""
        registry = options.get("evaluation_sets")
        return [] if registry is None else list_registry_files(registry, options.get("evaluation_folder"))

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One finding per document."""
        data, offsets = view_text(batch.column("text"))
        plain = self.config.mode == "ngrams"
        matches = find_items(data, offsets, index=self.index, settings=self.config.settings, plain=plain)
        if plain:
            contaminated = (matches.items >= 0) & (matches.scores >= self.config.min_overlap)
        else:
            contaminated = matches.scores >= self.config.threshold
        spans = build_spans(
            Spans(matches.span_offsets, matches.span_starts, matches.span_ends), matches.span_scores.astype(np.float32)
        )
        met = matches.items >= 0
        items = self.ids.take(pa.array(np.maximum(matches.items, 0), mask=~met))
        columns = [pa.array(contaminated), pa.array(matches.scores.astype(np.float32)), items, spans]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
