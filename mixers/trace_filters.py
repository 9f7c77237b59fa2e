"""The tagger of traces: how often their sentences, paragraphs and phrases come again, and what else speaks against them.

Numbers are statistics, rules in a view compare them; the words of REASONS that are no numbers are columns of bool (dolma_py.trace_filters).

    {"tagger": "mixers.trace_filters:TraceFiltersTagger", "options": {"thinking": "required"}}
    keep: "not incomplete_thinking and sentence_repeats < 10 and paragraph_repeats < 10 and phrase_repeats < 50 and chinese_frac <= 0.05"
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dolma_py.trace_filters import TRACE_VERSION, TraceLimits, measure_traces, trace_problems
from dolma_py.trace_filters_kernels import CHARS, HAN, PARAGRAPHS, PHRASES, SENTENCES

FLAGS = ("empty", "incomplete_thinking", "cutoff_mention", "other_model")


class TraceFiltersTagger:
    """Writes sentence_repeats, paragraph_repeats, phrase_repeats: int64; chinese_frac: float64; and FLAGS: bool, whatever the limits."""

    config_model = TraceLimits
    name = "trace_filters"
    version = TRACE_VERSION
    schema = pa.schema(
        [(f"{unit}_repeats", pa.int64()) for unit in ("sentence", "paragraph", "phrase")]
        + [("chinese_frac", pa.float64())]
        + [(flag, pa.bool_()) for flag in FLAGS]
    )

    def __init__(self, config: TraceLimits) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row per document."""
        texts = batch.column("text")
        counts = measure_traces(texts, self.config)
        problems = trace_problems(texts, self.config)
        chars = np.maximum(counts[:, CHARS], 1)
        columns = [pa.array(counts[:, column]) for column in (SENTENCES, PARAGRAPHS, PHRASES)]
        columns += [pa.array(counts[:, HAN] / chars)]
        columns += [problems.column(flag).combine_chunks() for flag in FLAGS]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
