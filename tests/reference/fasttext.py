"""Slow twins: fastText's reader of words, its rows, its losses, over the bytes of a model file. Python and plain numpy float32."""

import math
import re
import struct

import numpy as np

SEPARATORS = re.compile(rb"[ \n\r\t\v\f\0]+")


def hash_bytes(data):
    """FNV-1a with signed bytes, 32 bits."""
    value = 2166136261
    for byte in data:
        value = (value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619 % 2**32
    return value


def split_words(text):
    """Words of one text as bytes, the end of text behind them; what stands behind a word </s> is not read."""
    words = [word for word in SEPARATORS.split(text) if word] + [b"</s>"]
    return words[: words.index(b"</s>") + 1]


def read_entries(data, num_entries):
    """[(word, kind)] of a dictionary and the first byte behind it; None when the data end inside it."""
    found, place = [], 0
    for _ in range(num_entries):
        end = data.find(b"\0", place)
        if end < 0 or end + 10 > len(data):
            return None
        found.append((data[place:end], data[end + 9]))
        place = end + 10
    return found, place


class Model:
    """A model file, read field by field."""

    def __init__(self, data):
        self.data, self.place = data, 0
        magic, version = self.take("ii")
        assert magic == 793712314
        fields = self.take("12id")
        self.dim, self.word_ngrams, self.loss, self.buckets, self.minn, self.maxn = (
            fields[i] for i in (0, 5, 6, 8, 9, 10)
        )
        self.maxn = 0 if version == 11 else self.maxn
        size, self.num_words, self.num_labels, _, num_pruned = self.take("iiiqq")
        entries = []
        self.counts = []
        for _ in range(size):
            end = data.index(b"\0", self.place)
            word = data[self.place : end]
            self.place = end + 1
            count, _ = self.take("qb")
            entries.append(word)
            self.counts.append(count)
        self.ids = {word: number for number, word in enumerate(entries)}
        self.labels = [word.decode().removeprefix("__label__") for word in entries[self.num_words :]]
        self.pruned = None if num_pruned < 0 else dict(self.take("ii") for _ in range(num_pruned))
        quantised = self.take("?")[0]
        self.input = self.quantised_matrix() if quantised else self.matrix()
        self.output = self.quantised_matrix() if self.take("?")[0] and quantised else self.matrix()

    def take(self, layout):
        size = struct.calcsize("<" + layout)
        self.place += size
        return struct.unpack("<" + layout, self.data[self.place - size : self.place])

    def floats(self, count):
        return np.array(self.take(f"{count}f"), np.float32)

    def matrix(self):
        rows, columns = self.take("qq")
        return self.floats(rows * columns).reshape(rows, columns)

    def quantiser(self):
        dim, parts, width, last = self.take("4i")
        values = self.floats(dim * 256)
        tables = [values[i * 256 * width : (i + 1) * 256 * width].reshape(256, width) for i in range(parts - 1)]
        return [*tables, values[(parts - 1) * 256 * width :].reshape(256, last)]

    def quantised_matrix(self):
        norms = self.take("?")[0]
        rows, _, num_codes = self.take("qqi")
        codes = np.array(self.take(f"{num_codes}B")).reshape(rows, -1)
        tables = self.quantiser()
        found = np.concatenate([table[codes[:, part]] for part, table in enumerate(tables)], axis=1)
        if norms:
            norm_codes = np.array(self.take(f"{rows}B"))
            found = found * self.quantiser()[0][norm_codes]
        return found

    def bucket_row(self, bucket):
        """[row] or [] for a bucket."""
        if self.pruned is None:
            return [self.num_words + bucket]
        return [self.num_words + self.pruned[bucket]] if bucket in self.pruned else []

    def char_rows(self, word):
        """Rows of the character n-grams of <word>."""
        padded = b"<" + word + b">"
        starts = [i for i, byte in enumerate(padded) if byte & 0xC0 != 0x80] + [len(padded)]
        # a broken character at the front of a word hangs on the sign before it, so starts[0] is 0
        rows = []
        for first in range(len(starts) - 1):
            for length in range(1, self.maxn + 1):
                if first + length >= len(starts):
                    break
                piece = padded[starts[first] : starts[first + length]]
                at_edge = length == 1 and (first == 0 or first + length == len(starts) - 1)
                if length >= self.minn and not at_edge:
                    rows += self.bucket_row(hash_bytes(piece) % self.buckets)
        return rows

    def hidden_vectors(self, text):
        """(mean of rows, how many) of one text."""
        rows, hashes = [], []
        for word in split_words(text):
            number = self.ids.get(word, -1)
            if number >= self.num_words or (number < 0 and word.startswith(b"__label__")):
                continue
            value = hash_bytes(word)
            hashes.append(value - 2**32 if value >= 2**31 else value)
            rows += [number] if number >= 0 else []
            rows += self.char_rows(word) if self.maxn > 0 and word != b"</s>" else []
        for first in range(len(hashes)):
            value = hashes[first] % 2**64
            for other in hashes[first + 1 : first + self.word_ngrams]:
                value = (value * 116049371 + other) % 2**64
                rows += self.bucket_row(value % self.buckets)
        total = np.zeros(self.dim, np.float32)
        for row in rows:
            total += self.input[row]
        return total * np.float32(1 / max(len(rows), 1)), len(rows)

    def score_labels(self, hidden):
        """log(p + 1e-5) of every label."""
        if self.loss == 1:
            return self.score_tree(hidden)
        values = [float(np.dot(row, hidden)) for row in self.output]
        if self.loss == 3:
            powers = [math.exp(value - max(values)) for value in values]
            return [math.log(power / sum(powers) + 1e-5) for power in powers]
        return [math.log(table_sigmoid(value) + 1e-5) for value in values]

    def score_tree(self, hidden):
        # Huffman: join the two smallest of leaves (from the back) and inner nodes (from the front), a leaf only if it is smaller
        leaves = [(count, ("leaf", i)) for i, count in enumerate(self.counts[self.num_words :])]
        inner, made = [], 0
        while len(leaves) + len(inner) > 1:
            pair = []
            for _ in range(2):
                from_leaves = bool(leaves) and (not inner or leaves[-1][0] < inner[0][0])
                pair.append(leaves.pop() if from_leaves else inner.pop(0))
            inner.append((pair[0][0] + pair[1][0], ("node", made, pair[0][1], pair[1][1])))
            made += 1
        scores = [-math.inf] * self.num_labels
        stack = [(inner[0][1] if inner else leaves[0][1], 0.0)]
        while stack:
            node, score = stack.pop()
            if score < math.log(1e-5):
                continue
            if node[0] == "leaf":
                scores[node[1]] = score
                continue
            right = 1 / (1 + math.exp(-float(np.dot(self.output[node[1]], hidden))))
            stack += [(node[2], score + math.log(1 - right + 1e-5)), (node[3], score + math.log(right + 1e-5))]
        return scores

    def best_labels(self, text):
        """The label with the highest score, -1 for a text of which nothing is known."""
        hidden, count = self.hidden_vectors(text)
        scores = self.score_labels(hidden)
        return max(range(self.num_labels), key=lambda label: scores[label]) if count else -1


def table_sigmoid(value):
    """From a table of 513 values between -8 and 8."""
    if abs(value) > 8:
        return float(value > 0)
    return 1 / (1 + math.exp(-(int((value + 8) * 32) / 32 - 8)))
