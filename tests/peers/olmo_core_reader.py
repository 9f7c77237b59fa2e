"""How OLMo-core reads token files, written down from its documentation; imports nothing of ours and knows no manifest.

Token files are flat arrays without a header although they are called .npy, in the smallest unsigned type that holds the largest id; each
document ends with the end token, none begins with one. A sidecar of the same name with .csv.gz has a row start,end[,id,source,line...]
per document, in tokens, the end exclusive. Instances of a fixed length are cut from each file alone and its remainder is dropped.
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

MAGIC = b"\x93NUMPY"  # of a file that numpy.save wrote, which these are not


def choose_type(vocab_size):
    """The smallest unsigned type that holds the ids 0 to vocab_size - 1."""
    return next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if vocab_size - 1 <= np.iinfo(kind).max)


def read_tokens(path, dtype):
    """The ids of one file."""
    content = Path(path).read_bytes()
    if content.startswith(MAGIC):
        raise ValueError(f"{path} has a header")
    if len(content) % np.dtype(dtype).itemsize:
        raise ValueError(f"{path} is no whole number of ids")
    return np.frombuffer(content, np.dtype(dtype).newbyteorder("<"))


def find_documents(tokens, eos):
    """(start, end) of each document, by its end token alone; ValueError when the last one has none."""
    ends = np.flatnonzero(tokens == eos) + 1
    if len(tokens) and (not len(ends) or ends[-1] != len(tokens)):
        raise ValueError("the last document has no end token")
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)) if len(ends) else []


def read_sidecar(path):
    """(start, end, rest of the row) of each document."""
    with gzip.open(str(path).removesuffix(".npy") + ".csv.gz", "rt", encoding="utf-8", newline="") as file:
        return [(int(start), int(end), rest) for start, end, *rest in csv.reader(file)]


def check_folder(folder, *, vocab_size, eos):
    """Read every token file of a folder both ways; returns the token list of each document, by file. ValueError when the two differ."""
    dtype = choose_type(max(vocab_size, 1 << 9))  # one byte holds no vocabulary of a byte-level tokenizer
    found = {}
    for path in sorted(Path(folder).glob("*.npy")):
        tokens = read_tokens(path, dtype)
        if len(tokens) and int(tokens.max()) >= vocab_size:
            raise ValueError(f"{path} has the id {int(tokens.max())}")
        by_token, rows = find_documents(tokens, eos), read_sidecar(path)
        if by_token != [(start, end) for start, end, _ in rows]:
            raise ValueError(f"{path} and its sidecar have other documents")
        found[path.name] = [tokens[start:end].tolist() for start, end in by_token]
    return found


def cut_instances(folder, *, vocab_size, length):
    """Instances of `length` tokens, file by file, remainders dropped."""
    dtype = choose_type(max(vocab_size, 1 << 9))
    instances = []
    for path in sorted(Path(folder).glob("*.npy")):
        tokens = read_tokens(path, dtype)
        instances += [tokens[start : start + length].tolist() for start in range(0, len(tokens) - length + 1, length)]
    return instances
