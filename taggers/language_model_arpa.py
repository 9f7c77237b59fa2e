"""Language models as ARPA text: written for KenLM, SRILM and others, read from them.

Source of the format: SRILM's ngram-format(5). Blanks and tabs part the fields; a missing backoff is 0. Models that were pruned by other
programs may list an n-gram without its suffix (the n-gram without its first word); the suffix is then added with the probability that
backing off gives it, so that no score changes (KenLM does the same).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dolma_py.errors import DataError
from dolma_py.storage import checksum_file, file_bytes, read_bytes, write_file
from taggers import language_model_arpa_kernels as kernels
from taggers.language_model import MAX_ORDER, LanguageModel, NGrams, build_table
from taggers.language_model_tokens import MARKS

_HEADER = re.compile(rb"\s*\\data\\[ \t\r]*\n((?:[ \t\r]*ngram[ \t]+\d+[ \t]*=[ \t]*\d+[ \t\r]*\n)+)")
_COUNT = re.compile(rb"(\d+)[ \t]*=[ \t]*(\d+)")
_HINT = "Expected an ARPA file."


def is_arpa(start: bytes) -> bool:
    """Whether a file that begins so is an ARPA file."""
    return start.lstrip().startswith(b"\\data\\")


@functools.lru_cache(maxsize=2)
def read_arpa(path: str) -> LanguageModel:
    """The model of an ARPA file; a process reads each path once.

    Raises
    ------
    DataError       no such file, no ARPA file, an order above MAX_ORDER, another number of n-grams than it says, a line that is none (named),
                    or an n-gram that stands twice

    Cost            50 MB/s; memory 3 times the file
    """
    if not file_bytes(path):
        raise DataError(path, "no such file, or an empty one", hint=_HINT)
    content = read_bytes(path)
    header = _HEADER.match(content)
    if header is None:
        raise DataError(path, "it does not begin with \\data\\ and counts of n-grams", hint=_HINT)
    counts = {int(order): int(count) for order, count in _COUNT.findall(header[1])}
    if sorted(counts) != list(range(1, len(counts) + 1)) or len(counts) > MAX_ORDER:
        raise DataError(path, f"its orders are {sorted(counts)}, expected 1 to at most {MAX_ORDER}", hint=_HINT)
    data = np.frombuffer(content, np.uint8)
    orders, words = [], []
    at = header.end()
    for order, count in sorted(counts.items()):
        if count > len(data):
            raise DataError(path, f"{count} {order}-grams in {len(data)} bytes", hint=_HINT)
        title = content.find(b"\\%d-grams:" % order, at)
        if title < 0 or content[at:title].strip():
            raise DataError(path, f"no section of {order}-grams where one is expected", content.count(b"\n", 0, at) + 1)
        values = np.zeros((2, count), np.float32)
        row_words = np.zeros((count, order), np.uint64)
        stopped = np.zeros(1, np.int64)
        read = kernels.parse_ngrams_kernel(data, content.find(b"\n", title) + 1, *values, row_words, stopped)
        at = int(stopped[0])
        if read < count:
            raise DataError(path, f"not one of {count} {order}-grams", content.count(b"\n", 0, at) + 1, hint=_HINT)
        keys = np.zeros(count, np.uint64)
        kernels.hash_rows_kernel(row_words, 0, keys)
        orders.append(NGrams(keys, values[0], values[1]))
        words.append(row_words)
    if not content[at:].strip().startswith(b"\\end\\"):
        raise DataError(path, "expected \\end\\ after the last n-gram", content.count(b"\n", 0, at) + 1, hint=_HINT)
    for order, grams in enumerate(orders, 1):
        if len(np.unique(grams.keys)) < len(grams.keys):
            raise DataError(path, f"a {order}-gram stands twice", hint=_HINT)
    return LanguageModel(len(orders), tuple(counts.values()), None, _add_suffixes(orders, words), checksum_file(path))


def _add_suffixes(orders: list[NGrams], words: list[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """The table of all n-grams and of the suffixes that are not listed."""
    missing: list[npt.NDArray[np.uint64]] = [np.zeros((0, order + 1), np.uint64) for order in range(len(orders))]
    for order in range(len(orders) - 1, 0, -1):  # of the (order + 1)-grams
        rows = np.concatenate([words[order], missing[order]])
        keys = np.zeros(len(rows), np.uint64)
        kernels.hash_rows_kernel(rows, 1, keys)
        keys, firsts = np.unique(keys, return_index=True)
        lacking = ~np.isin(keys, orders[order - 1].keys)
        missing[order - 1] = np.ascontiguousarray(rows[firsts[lacking], 1:])
    if not any(len(rows) for rows in missing):
        return _build(orders)
    # low orders first: a context's own suffixes must be there when it is asked for
    for order, rows in enumerate(missing, 1):
        if len(rows):
            table = _build(orders)
            keys, scores = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.float32)
            kernels.hash_rows_kernel(rows, 0, keys)
            kernels.back_off_kernel(table, table.view(np.float32), len(orders), MARKS[2], rows, scores)
            added = zip(orders[order - 1], (keys, scores, np.zeros_like(scores)), strict=True)
            orders[order - 1] = NGrams(*(np.concatenate(pair) for pair in added))
    return _build(orders)


def _build(orders: list[NGrams]) -> npt.NDArray[np.uint64]:
    return build_table(orders, sum(len(grams.keys) for grams in orders))


def write_arpa(path: str, names: Sequence[bytes], orders: Sequence[Any], estimates: Sequence[Any]) -> None:
    """Write a model that was just estimated; see taggers.language_model_training for the arguments' types.

    names : V words in order of their numbers; orders : Grams of each order; estimates : what is listed of each
    """
    with write_file(path) as stream:
        stream.write(b"\\data\\\n")
        for order, estimate in enumerate(estimates, 1):
            stream.write(b"ngram %d=%d\n" % (order, len(estimate.rows)))
        texts: list[bytes] = []
        for order, (grams, estimate) in enumerate(zip(orders, estimates, strict=True), 1):
            stream.write(b"\n\\%d-grams:\n" % order)
            if order == 1:
                texts = list(names)
            else:
                pairs = zip(grams.first_words.tolist(), grams.suffixes.tolist(), strict=True)
                texts = [names[word] + b" " + texts[suffix] for word, suffix in pairs]
            last = order == len(orders)
            values = zip(estimate.rows.tolist(), estimate.log_probs, estimate.backoffs, strict=True)
            # str of a float32: the shortest text that reads as the same float32
            stream.writelines(
                b"%s\t%s\n" % (str(prob).encode(), texts[row])
                if last
                else b"%s\t%s\t%s\n" % (str(prob).encode(), texts[row], str(backoff).encode())
                for row, prob, backoff in values
            )
        stream.write(b"\n\\end\\\n")
