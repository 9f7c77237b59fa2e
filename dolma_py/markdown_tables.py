"""Markdown tables: where they stand in a text, and the text with HTML in their place, as Olmo 3 has the tables of its PDFs.

A cell says in HTML what it says in markdown: tags, comments and character references stay, and "<", ">" and "&" of its text and its code become
"&lt;", "&gt;" and "&amp;", which is what the HTML tables of olmOCR's own training pages have and what dolma_py/pdf_tables.py writes. Other markup
(emphasis, links, formulas) stays as it is, "\\|" becomes "|"; alignment is lost, and a row has the cells that it has: to fill short ones, as
markdown does, would let a small text grow without bound.
Legend: N documents, B bytes of all texts.
"""

from __future__ import annotations

import numpy as np

from dolma_py import markdown_tables_kernels as kernels
from dolma_py.arrow_buffers import TextView
from dolma_py.spans import Spans


def find_tables(texts: TextView) -> Spans:
    """Spans of the tables of N texts in UTF-8, from the first byte of the first row to the last of the last.

    Guarantees      same spans for any batch split; a span ends before a line feed or at the text's end
    Cost            O(B) time

    Examples
    --------
    >>> text = np.frombuffer(b"|a|\\n|-|\\nx", np.uint8)
    >>> tables = find_tables(TextView(text, np.array([0, len(text)])))
    >>> tables.starts.tolist(), tables.ends.tolist()
    ([0], [7])
    """
    room = int(np.count_nonzero(texts.data == 10)) // 2 + len(texts.offsets)
    offsets, starts, ends = np.zeros(len(texts.offsets), np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    written = kernels.find_tables_kernel(*texts, offsets, starts, ends)
    return Spans(offsets, starts[:written].copy(), ends[:written].copy())


def write_tables(texts: TextView) -> TextView:
    """N texts with their markdown tables as HTML; a text without a table stays as it is.

    Guarantees      same bytes for any batch split; applied twice it changes nothing more
    Cost            O(B) time, memory for the longer texts

    Examples
    --------
    >>> text = np.frombuffer(b"|a|\\n|-|\\n|b<5<br>|", np.uint8)
    >>> write_tables(TextView(text, np.array([0, len(text)]))).data.tobytes()
    b'<table>\\n<tr><th>a</th></tr>\\n<tr><td>b&lt;5<br></td></tr>\\n</table>'
    """
    tables = find_tables(texts)
    num_bytes = int(texts.offsets[-1] - texts.offsets[0])
    if len(tables.starts) == 0:
        return texts
    lines, borders = int(np.count_nonzero(texts.data == 10)), int(np.count_nonzero(texts.data == 124))
    signs = int(sum(np.count_nonzero(texts.data == sign) for sign in b"<>&"))
    out_data = np.empty(num_bytes + 16 * borders + 64 * (lines + len(texts.offsets)) + 4 * signs, np.uint8)
    out_offsets = np.zeros(len(texts.offsets), np.int64)
    written = kernels.write_tables_kernel(*texts, *tables, out_data, out_offsets)
    return TextView(out_data[:written].copy(), out_offsets)
