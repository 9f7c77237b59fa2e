"""Text that came out of a PDF: how much of it is tables and numbers, and where it refers to URLs.

`url_reference_spans` is for an edit: cut, "[text](https://a.b)" keeps its text, and images, "<https://a.b>" and URLs in running text go. A link
whose target is no URL stays, for f[x](y) is one in form. Tables become HTML by replacing text, which no edit of a view can:
`dolma-py materialize --set markdown_tables=html` does it (dolma_py/markdown_tables.py).

What Olmo 3 asked of its PDFs: digits under a fifth of a line on average, under 30 % of lines delimited by pipes (`avg_fraction_numbers_in_line_v1`
< 0.2, `pipe_delimited_lines_v1` < 0.3). The code of those taggers was not published, so how they count is our reading: digits over characters that
are not white space, mean over lines; lines that begin with "|".

Source: Olmo 3 report, section 3.4.2; allenai/dolma3, README of the PDF pool; the two names and thresholds in olmocr's scripts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_py.arrow_buffers import TextView, view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.markdown_tables import find_tables
from dolma_py.spans import Spans, build_spans, count_bytes
from taggers import pdf_text_kernels as kernels
from taggers.characters import character_table
from taggers.gopher import Rule

PDF_RULES: tuple[Rule, ...] = (
    Rule("pdf_numbers", "mean_line_digit_frac", "<", 0.2, "Olmo 3, avg_fraction_numbers_in_line < 0.2"),
    Rule("pdf_tables", "pipe_start_line_frac", "<", 0.3, "Olmo 3, pipe_delimited_lines < 0.3"),
)


def count_pdf_lines(texts: TextView) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(int64 (N, 5), float64 (N,)): counts of lines and characters, and the sum of each line's share of digits; see the kernel."""
    num_docs = len(texts.offsets) - 1
    counts, sums = np.empty((num_docs, kernels.NUM_COUNTS), np.int64), np.empty(num_docs, np.float64)
    kernels.count_pdf_lines_kernel(*texts, character_table(), counts, sums)
    return counts, sums


def find_url_references(texts: TextView) -> Spans:
    """What goes when URLs and what points to them are cut from N texts; sorted and disjoint.

    Examples
    --------
    >>> text = np.frombuffer(b"see [x](http://a.b)", np.uint8)
    >>> found = find_url_references(TextView(text, np.array([0, len(text)])))
    >>> found.starts.tolist(), found.ends.tolist()
    ([4, 6], [5, 19])
    """
    num_docs = len(texts.offsets) - 1
    offsets, capacity, row = np.zeros(num_docs + 1, np.int64), 256, 0
    starts, ends = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    while True:
        row = int(kernels.find_url_references_kernel(*texts, row, offsets, starts, ends))
        if row == num_docs:
            break
        # a document that did not fit is read again with twice the room
        capacity *= 2
        starts, ends = np.resize(starts, capacity), np.resize(ends, capacity)
    return Spans(offsets, starts[: offsets[-1]].copy(), ends[: offsets[-1]].copy())


class PdfTextTaggerConfig(Config):
    """No options: the columns are facts, the view decides."""


class PdfTextTagger:
    """Writes under attributes/pdf-text-v1:

    mean_line_digit_frac    float64   share of digits in a line, mean over lines that are not blank
    digit_frac              float64   share of digits in all characters that are not white space
    pipe_start_line_frac    float64   lines that begin with "|"
    pipe_line_frac          float64   lines that hold "|"
    num_tables              int64     markdown tables
    table_byte_frac         float64   share of the text's bytes in them
    num_url_references      int64     spans below
    url_reference_spans     SPANS     links, images and URLs, for an edit

    Shares of an empty text are 0.
    """

    config_model = PdfTextTaggerConfig
    name = "pdf-text"
    version = 1
    schema = pa.schema(
        [
            ("mean_line_digit_frac", pa.float64()),
            ("digit_frac", pa.float64()),
            ("pipe_start_line_frac", pa.float64()),
            ("pipe_line_frac", pa.float64()),
            ("num_tables", pa.int64()),
            ("table_byte_frac", pa.float64()),
            ("num_url_references", pa.int64()),
            ("url_reference_spans", SPANS),
        ]
    )

    def __init__(self, config: PdfTextTaggerConfig) -> None:
        self.config = config

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One row of statistics and spans per document."""
        texts = view_text(batch.column("text"))
        counts, sums = count_pdf_lines(texts)
        tables, references = find_tables(texts), find_url_references(texts)
        lines, sizes = np.maximum(counts[:, kernels.LINES], 1), np.maximum(np.diff(texts.offsets), 1)
        columns = [
            pa.array(sums / lines),
            pa.array(counts[:, kernels.DIGITS] / np.maximum(counts[:, kernels.CHARS], 1)),
            pa.array(counts[:, kernels.PIPE_START_LINES] / lines),
            pa.array(counts[:, kernels.PIPE_LINES] / lines),
            pa.array(np.diff(tables.offsets)),
            pa.array(count_bytes(tables) / sizes),
            pa.array(np.diff(references.offsets)),
            build_spans(references),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)
