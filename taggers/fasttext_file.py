"""fastText's model files (.bin, .ftz) as numpy arrays: dictionary, matrices, quantised rows, the tree of hierarchical softmax.

Legend: V entries, W words, L labels, R rows of the input matrix, D dimension.
Source: the file layout of fastText 0.9.2 (versions 11 and 12 of the format).
"""

from __future__ import annotations

import os
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_py.errors import DataError
from taggers.fasttext_file_kernels import fill_buckets_kernel, fill_slots_kernel, read_entries_kernel

MAGIC = 793712314
VERSIONS = (11, 12)
SUPERVISED = 3
HIERARCHICAL_SOFTMAX, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
LABEL_PREFIX = "__label__"
NUM_CENTROIDS = 256  # of each part of a row: a code is one byte
DENSE_BYTES = (
    64 << 20
)  # quantised rows that take no more than this as floats are kept as floats, which are added faster
MAX_LABELS = 1 << 16  # every text of a batch gets a float32 for each label
_MAX_DIM = 100_000
_MAX_NGRAM = 20  # words or characters; training allows 5 and 20
# a quantised output may take so many times the file's size, and so much more, when it is made dense; real ones take some 8 times
_DENSE_FACTOR, _DENSE_SPARE = 16, 64 << 20
_MAX_COUNT = 10**15  # of an inner node before it has its own

Floats = npt.NDArray[np.float32]


class Rows(NamedTuple):
    """The input matrix, as it is or quantised; what the other form holds is empty."""

    dense: Floats  # float32 (R, D)
    codes: npt.NDArray[np.uint8]  # uint8 (R, P): each row's centroid of each of its P parts
    centroids: Floats  # float32 (P * 256 * width,)
    norms: Floats  # float32 (R,): factor of each row; empty without norms
    width: int  # values of a part; the last part has what is left of D


class Words(NamedTuple):
    """Where words and bucket rows are found."""

    slots: npt.NDArray[np.uint64]  # (S, 2): see fasttext_file_kernels
    words: npt.NDArray[np.uint8]  # bytes of all entries
    starts: npt.NDArray[np.int64]  # (V,)
    ends: npt.NDArray[np.int64]  # (V,)
    pruned: npt.NDArray[
        np.int32
    ]  # (T, 2): bucket + 1 and its row behind the words, see fasttext_file_kernels; empty: no bucket was left out
    num_words: int
    num_buckets: int
    has_buckets: bool  # False: pruning left no bucket
    min_chars: int  # character n-grams
    max_chars: int
    word_ngrams: int


class Output(NamedTuple):
    """The last layer."""

    weights: Floats  # float32 (L, D); rows are inner nodes with hierarchical softmax
    children: npt.NDArray[np.int64]  # (2L - 1, 2) of the tree, -1: a leaf; empty with other losses
    ranks: npt.NDArray[np.int64]  # (L,) of equal labels the library takes the one with the highest rank
    loss: int


class ModelArrays(NamedTuple):
    """A supervised model."""

    words: Words
    rows: Rows
    output: Output
    labels: tuple[str, ...]  # without "__label__", in the file's order


class _Reader:
    """Values one after another from a file whose sizes nobody vouches for."""

    def __init__(self, path: str, name: str) -> None:
        self.data: npt.NDArray[np.uint8] = (
            np.memmap(path, np.uint8, mode="r") if os.path.getsize(path) else np.empty(0, np.uint8)
        )
        self.place, self.name = 0, name

    def fail(self, problem: str) -> DataError:
        return DataError(self.name, problem, hint="Expected a supervised fastText model (.bin or .ftz), whole.")

    def take(self, layout: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + layout)
        if self.place + size > len(self.data):
            raise self.fail("the file ends too early")
        self.place += size
        return struct.unpack("<" + layout, self.data[self.place - size : self.place].tobytes())

    def take_array(self, kind: Any, count: int) -> npt.NDArray[Any]:
        size = np.dtype(kind).itemsize * count
        if count < 0 or self.place + size > len(self.data):
            raise self.fail("the file ends too early")
        self.place += size
        return np.frombuffer(self.data[self.place - size : self.place].tobytes(), kind)


def read_model(path: str, *, name: str = "") -> ModelArrays:
    """The arrays of a local model file.

    Parameters
    ----------
    name            what errors call the file; empty: its path

    Raises
    ------
    DataError       not a fastText file, a model without labels, a file that is cut, or one whose parts do not fit each other
    """
    reader = _Reader(path, name or path)
    if len(reader.data) < 8 or (header := reader.take("ii"))[0] != MAGIC:
        raise reader.fail("not a fastText model")
    version = header[1]
    if version not in VERSIONS:
        raise reader.fail(f"a fastText file of version {version}, not one of {VERSIONS}")
    dim, _, _, _, _, word_ngrams, loss, kind, num_buckets, min_chars, max_chars, _, _ = reader.take("12id")
    if kind != SUPERVISED:
        raise reader.fail("the model has no labels")
    if not 0 < dim <= _MAX_DIM or loss not in (1, 2, 3, 4) or num_buckets < 0:
        raise reader.fail(f"settings that no model has (dimension {dim}, loss {loss}, {num_buckets} buckets)")
    if not 0 <= word_ngrams <= _MAX_NGRAM or max_chars > _MAX_NGRAM:
        raise reader.fail(f"settings that no model has ({word_ngrams} words and {max_chars} characters of an n-gram)")
    if version == 11:
        max_chars = 0  # supervised models of that version have no character n-grams, whatever they say
    words, labels, counts = _read_dictionary(reader, num_buckets, (min_chars, max_chars, word_ngrams))
    is_quantised = _take_flag(reader)
    rows = _read_quantised(reader, dim) if is_quantised else _no_codes(_read_dense(reader, dim))
    if is_quantised and 4 * len(rows.codes) * dim <= DENSE_BYTES:
        rows = _no_codes(dense_rows(rows, dim))
    num_rows = max(len(rows.codes), len(rows.dense))
    needed = words.num_words + _num_bucket_rows(words)
    if num_rows < needed:
        raise reader.fail(f"{num_rows} rows for {needed} words and buckets")
    is_quantised &= _take_flag(reader)
    output = _read_quantised(reader, dim) if is_quantised else _no_codes(_read_dense(reader, dim))
    # before a row of one byte becomes one of 4 D bytes
    num_rows = max(len(output.codes), len(output.dense))
    if num_rows != len(labels):
        raise reader.fail(f"{num_rows} rows of output for {len(labels)} labels")
    if is_quantised and 4 * num_rows * dim > _DENSE_FACTOR * len(reader.data) + _DENSE_SPARE:
        raise reader.fail(f"a quantised output of {4 * num_rows * dim} bytes in a file of {len(reader.data)}")
    weights = dense_rows(output, dim) if is_quantised else output.dense
    parts = (rows.dense, rows.centroids, rows.norms, weights)
    if not all(np.isfinite(part).all() for part in parts):
        raise reader.fail("the model holds values that are not finite numbers")
    return ModelArrays(words, rows, _build_output(weights, loss, counts), labels)


def _take_flag(reader: _Reader) -> bool:
    (value,) = reader.take("B")
    if value > 1:
        raise reader.fail("a flag that is neither 0 nor 1")
    return bool(value)


def _read_dictionary(
    reader: _Reader, num_buckets: int, shape: tuple[int, int, int]
) -> tuple[Words, tuple[str, ...], npt.NDArray[np.int64]]:
    num_entries, num_words, num_labels, _, num_pruned = reader.take("iiiqq")
    if (
        min(num_entries, num_words, num_labels) < 0
        or num_words + num_labels != num_entries
        or num_entries * 10 > len(reader.data)
    ):
        raise reader.fail(f"a dictionary of {num_words} words and {num_labels} labels in {num_entries} entries")
    if not num_labels:
        raise reader.fail("the model has no labels")
    if num_labels > MAX_LABELS:
        raise reader.fail(f"{num_labels} labels, at most {MAX_LABELS} can be asked")
    starts, ends = np.empty(num_entries, np.int64), np.empty(num_entries, np.int64)
    kinds = np.empty(num_entries, np.int8)
    rest = reader.data[reader.place :]
    size = int(read_entries_kernel(rest, num_entries, starts, ends, kinds))
    if size < 0:
        raise reader.fail("the file ends inside the dictionary")
    entries = np.array(rest[:size])
    reader.place += size
    if (kinds[:num_words] != 0).any() or (kinds[num_words:] != 1).any():
        raise reader.fail("labels among the words of its dictionary")
    slots = np.zeros((1 << max(4, int(num_entries * 1.5).bit_length()), 2), np.uint64)
    if fill_slots_kernel(entries, starts, ends, slots) >= 0:
        raise reader.fail("words of one hash by the thousand, which no text has")
    names = [entries[starts[i] : ends[i]].tobytes().decode("utf-8", "replace") for i in range(num_words, num_entries)]
    counts = np.array(
        [
            int.from_bytes(entries[ends[i] + 1 : ends[i] + 9].tobytes(), "little", signed=True)
            for i in range(num_words, num_entries)
        ],
        np.int64,
    )
    if (counts < 0).any() or (counts >= _MAX_COUNT).any():
        raise reader.fail("counts of labels that no training has")
    pruned = np.empty((0, 2), np.int32)
    if num_pruned > 0:
        pairs = reader.take_array("<i4", 2 * num_pruned).reshape(-1, 2)
        if (pairs < 0).any() or (pairs[:, 1] >= num_pruned).any() or (pairs[:, 0] >= num_buckets).any():
            raise reader.fail("a table of kept buckets that points beyond its buckets or rows")
        pruned = np.zeros((1 << int(2 * len(pairs)).bit_length(), 2), np.int32)
        if fill_buckets_kernel(pairs, pruned) >= 0:
            raise reader.fail("a table of kept buckets with one twice, or many at one place, which no pruning makes")
    has_buckets = num_pruned != 0 and num_buckets > 0
    words = Words(slots, entries, starts, ends, pruned, num_words, max(num_buckets, 1), has_buckets, *shape)
    return words, _strip(names), counts


def _strip(names: list[str]) -> tuple[str, ...]:
    return tuple(name.removeprefix(LABEL_PREFIX) for name in names)


def _num_bucket_rows(words: Words) -> int:
    """Rows behind those of the words that some text can reach."""
    if not words.has_buckets or (words.max_chars <= 0 and words.word_ngrams <= 1):
        return 0
    return int(words.pruned[:, 1].max()) + 1 if len(words.pruned) else words.num_buckets


def _read_dense(reader: _Reader, dim: int) -> Floats:
    num_rows, columns = reader.take("qq")
    if columns != dim or num_rows < 0:
        raise reader.fail(f"a matrix of {num_rows} times {columns} values for dimension {dim}")
    return reader.take_array("<f4", num_rows * dim).reshape(num_rows, dim)


def _no_codes(dense: Floats) -> Rows:
    empty = np.empty(0, np.float32)
    return Rows(dense, np.empty((0, 0), np.uint8), empty, empty, 1)


def _read_quantised(reader: _Reader, dim: int) -> Rows:
    has_norms = _take_flag(reader)
    num_rows, columns, num_codes = reader.take("qqi")
    if columns != dim or num_rows < 0 or num_codes < 0:
        raise reader.fail(f"a quantised matrix of {num_rows} times {columns} values for dimension {dim}")
    codes = reader.take_array(np.uint8, num_codes)
    centroids, parts, width = _read_quantiser(reader, dim)
    if num_codes != num_rows * parts:
        raise reader.fail(f"{num_codes} codes for {num_rows} rows of {parts} parts")
    norms = np.empty(0, np.float32)
    if has_norms:
        norm_codes = reader.take_array(np.uint8, num_rows)
        norms = _read_quantiser(reader, 1)[0][norm_codes]
    return Rows(np.empty((0, 0), np.float32), codes.reshape(num_rows, parts), centroids, norms, width)


def _read_quantiser(reader: _Reader, dim: int) -> tuple[Floats, int, int]:
    its_dim, parts, width, last_width = reader.take("iiii")
    if (
        its_dim != dim
        or parts < 1
        or width < 1
        or (parts - 1) * width + last_width != dim
        or not 0 < last_width <= width
    ):
        raise reader.fail(f"a quantiser of {parts} parts of {width} values for dimension {dim}")
    return reader.take_array("<f4", dim * NUM_CENTROIDS), parts, width


def dense_rows(rows: Rows, dim: int) -> Floats:
    """The matrix that quantised rows stand for, float32 (R, D)."""
    num_rows, parts = rows.codes.shape
    found = np.empty((num_rows, dim), np.float32)
    for part in range(parts):
        first, last = part * rows.width, min((part + 1) * rows.width, dim)
        block = rows.centroids[first * NUM_CENTROIDS : last * NUM_CENTROIDS].reshape(NUM_CENTROIDS, last - first)
        found[:, first:last] = block[rows.codes[:, part]]
    return found * rows.norms[:, None] if len(rows.norms) else found


def _build_output(weights: Floats, loss: int, counts: npt.NDArray[np.int64]) -> Output:
    ranks = np.arange(len(counts), dtype=np.int64)
    if loss != HIERARCHICAL_SOFTMAX:
        return Output(weights, np.empty((0, 2), np.int64), ranks, loss)
    children = build_tree(counts.tolist())
    stack = [len(children) - 1]
    reached = 0
    while stack:  # from the left, as the library walks
        node = stack.pop()
        if children[node][0] < 0:
            ranks[node] = reached
            reached += 1
        else:
            stack += [children[node][1], children[node][0]]
    return Output(weights, np.array(children, np.int64), ranks, loss)


def build_tree(counts: list[int]) -> list[tuple[int, int]]:
    """Huffman tree over labels in falling order of their counts: (left, right) of each node, (-1, -1) of the leaves 0 to L - 1; the root is last.

    build_tree([4, 2, 1]) == [(-1, -1), (-1, -1), (-1, -1), (2, 1), (3, 0)]
    """
    num_labels = len(counts)
    totals = [*counts, *([_MAX_COUNT] * (num_labels - 1))]
    children = [(-1, -1)] * num_labels
    leaf, node = num_labels - 1, num_labels
    for parent in range(num_labels, 2 * num_labels - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and totals[leaf] < totals[node]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        children.append((pair[0], pair[1]))
        totals[parent] = totals[pair[0]] + totals[pair[1]]
    return children
