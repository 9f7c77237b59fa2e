"""Which documents hold evaluation items: by alignment, by the search of Olmo 3's decontamination, and by plain n-gram rules.

Mode `aligned` (default): n-grams of an item that are telling lead to a place, and the question's words are looked for there in their
order, weighed by idf; then the answer behind it and the passage before it (taggers/ngram_align_kernels.py). An edited word costs its
own weight, not that of every n-gram around it, and a question that is there to most of its words counts without its answer.

Mode `decon` follows the Olmo 3 report (A.5) and the tool that ran it, decon: an inverted index of question n-grams in two tiers,
look-up at a stride, expansion to both sides with a set of active items and a budget of misses each, n-grams of very many items start
nothing, overlap weighted by idf, the answer behind the question, the passage before it, weights by how sure each part is, and a length
under which more is needed. Deviations from decon:
- scanning goes on inside a cluster, so an item that starts within another's cluster is found (decon skips to its end)
- an n-gram that was found already keeps an expansion going as a new one does
- idf is ln((I + 1) / df) instead of ln(I / df), which would be 0 for a single item
- a perfect score is 1 within 1e-9
- the best item of a place is reported, decon reports all of them
- without `tokenizer`, tokens are lower-cased words instead of BPE pieces, so lengths in tokens mean about 4/3 as much text

Both weigh question, answer and passage as decon does. `final_mark`, which mode decon leaves out unless it is given: a worked answer that
ends in "#### 18", as GSM8K's do, counts as found when its last part is: another may have worked it out.

Mode `ngrams` is the older rule: any shared n-gram (13 words: GPT-3), or a share of an item's n-grams (Olmo 3's post-training data).
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import view_text
from dolma_py.config import build_config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError
from dolma_py.spans import Spans, build_spans
from taggers.contamination_items import fingerprint_items, read_items
from taggers.contamination_settings import PRESETS, ContaminationTaggerConfig
from taggers.evaluation_sets import dump_items, list_registry_files, read_registry
from taggers.ngram_index import Item, build_index
from taggers.ngram_match import find_items
from taggers.ngram_tokens import encode_pieces, fingerprint_tokenizer, split_words

__all__ = ["PRESETS", "ContaminationTagger", "ContaminationTaggerConfig", "Item", "fingerprint_items", "read_items"]


def gather_items(config: ContaminationTaggerConfig) -> tuple[list[Item], dict[str, dict[str, int]]]:
    """(items of the registry, then those of items_paths; counts by evaluation set)."""
    items, counts = [], {}
    if config.evaluation_sets is not None:
        items, counts = read_registry(config.evaluation_sets, config.evaluation_folder)
    return [*items, *read_items(config.items_paths)], counts


class ContaminationTagger:
    """Writes under attributes/contamination-v3:

    contaminated    bool      the best item reaches the threshold (mode ngrams: shares an n-gram and reaches min_overlap)
    score           float32   of the best item, 0 when none was met; mode ngrams: share of the item's n-grams
    item            string    id of the best item, null when none was met
    benchmark       string    of the best item
    question_overlap, answer_overlap, passage_overlap
                    float32   how much of the best item's parts was found; 0 for what it does not have, or was not looked for since the
                              question did not suffice
    spans           SPANS     contaminated parts in UTF-8 bytes of the text, each with its best score: questions, and answers and passages
                              of which at least half was found
    span_items      list<string>  id of the item that each span is of; where spans of several met, the one with the best score
    """

    config_model = ContaminationTaggerConfig
    ITEMS_OPTIONS: ClassVar[tuple[str, ...]] = ("items_paths", "evaluation_sets", "evaluation_folder")
    name = "contamination"
    version = 3
    schema = pa.schema(
        [
            ("contaminated", pa.bool_()),
            ("score", pa.float32()),
            ("item", pa.string()),
            ("benchmark", pa.string()),
            ("question_overlap", pa.float32()),
            ("answer_overlap", pa.float32()),
            ("passage_overlap", pa.float32()),
            ("spans", SPANS),
            ("span_items", pa.list_(pa.string())),
        ]
    )

    def __init__(self, config: ContaminationTaggerConfig) -> None:
        items, _ = gather_items(config)
        known = {"items_fingerprint": fingerprint_items(items)}
        if config.tokenizer is not None:
            known["tokenizer_fingerprint"] = fingerprint_tokenizer(config.tokenizer)
        for key, value in known.items():
            if getattr(config, key) not in ("", value):
                rule = f"expected the fingerprint of what {key.replace('fingerprint', 'paths')} names, which is {value}"
                raise ConfigError(f"contamination.{key}", getattr(config, key), rule)
        self.config = config.model_copy(update=known)
        self.settings = config.settings
        encode = functools.partial(encode_pieces, tokenizer=config.tokenizer) if config.tokenizer else split_words
        self.index = build_index(items, settings=self.settings, rules=config.rules, encode=encode)
        self.ids = pa.array(self.index.ids, pa.string())
        self.benchmarks = pa.array([item.benchmark for item in self.index.items], pa.string())

    @property
    def not_searched(self) -> dict[str, dict[str, int]]:
        """benchmark -> reason -> items that are not looked for."""
        return self.index.count_skipped()

    @property
    def warnings(self) -> list[str]:
        """What whoever runs the tagger is to be told."""
        return self.config.warnings

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
        texts = view_text(batch.column("text"))
        found = find_items(texts, index=self.index, settings=self.settings, tokenizer=self.config.tokenizer)
        met = found.items >= 0
        contaminated = met & (found.scores >= self.settings.threshold)
        best = pa.array(np.maximum(found.items, 0), mask=~met)
        spans = Spans(found.span_offsets, found.span_starts, found.span_ends)
        span_items = pa.ListArray.from_arrays(
            pa.array(found.span_offsets.astype(np.int32)), self.ids.take(pa.array(found.span_items))
        )
        columns = [
            pa.array(contaminated),
            _to_float32(found.scores),
            self.ids.take(best),
            self.benchmarks.take(best),
            *(_to_float32(found.overlaps[:, part]) for part in range(3)),
            build_spans(spans, found.span_scores.astype(np.float32)),
            span_items,
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _to_float32(values: npt.NDArray[np.float64]) -> pa.Array:
    return pa.array(values.astype(np.float32))
