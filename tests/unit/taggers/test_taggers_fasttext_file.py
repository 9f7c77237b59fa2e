"""Model files that nobody trained: each is refused in one sentence, before it costs memory or time."""

import itertools
import struct
import time
import tracemalloc

import numpy as np
import pytest

from dolma_py.errors import DataError
from taggers.fasttext_file import MAGIC, MAX_LABELS, read_model
from taggers.fasttext_file_kernels import BUCKET_FACTOR, MAX_PROBES, fill_buckets_kernel, fill_slots_kernel
from taggers.fasttext_model import FastTextModel, join_texts, score_texts

LABELS = [b"__label__a", b"__label__b"]


def header(dim=4, *, buckets=100, ngrams=2, loss=3, chars=0):
    settings = struct.pack("<12id", dim, 5, 5, 1, 5, ngrams, loss, 3, buckets, 0, chars, 100, 1e-4)
    return struct.pack("<ii", MAGIC, 12) + settings


def dictionary(words=(b"</s>",), labels=LABELS, kept=None):
    sizes = len(words) + len(labels), len(words), len(labels), 10, -1 if kept is None else len(kept)
    parts = [struct.pack("<iiiqq", *sizes)]
    for kind, names in enumerate((words, labels)):
        parts += [name + b"\0" + struct.pack("<qb", 1, kind) for name in names]
    return b"".join(parts) + b"".join(struct.pack("<ii", *pair) for pair in kept or [])


def dense(rows, dim=4):
    return b"\0" + struct.pack("<qq", rows, dim) + bytes(4 * rows * dim)


def quantised(rows, dim):
    codes = struct.pack("<qqi", rows, dim, rows) + bytes(rows)
    return b"\1\0" + codes + struct.pack("<iiii", dim, 1, dim, dim) + bytes(dim * 256 * 4)


def read(folder, content):
    (folder / "m.bin").write_bytes(content)
    return read_model(str(folder / "m.bin"))


def test_the_made_file_is_a_model(tmp_path):
    assert read(tmp_path, header() + dictionary() + dense(101) + dense(2)).labels == ("a", "b")
    kept = [(7, 1), (99, 0)]
    arrays = read(tmp_path, header() + dictionary(kept=kept) + dense(3) + dense(2))
    assert sorted(row.tolist() for row in arrays.words.pruned if row[0]) == [[8, 1], [100, 0]]


@pytest.mark.parametrize(
    ("labels", "problem"), [(LABELS, "60000 rows of output for 2 labels"), (60000, "a quantised output of")]
)
def test_a_quantised_output_takes_no_memory_before_its_rows_are_counted(tmp_path, labels, problem):
    if isinstance(labels, int):
        labels = [b"__label__%d" % number for number in range(labels)]
    content = header(2000) + dictionary(labels=labels) + quantised(101, 2000) + quantised(60000, 2000)
    tracemalloc.start()
    with pytest.raises(DataError, match=problem):
        read(tmp_path, content)
    assert tracemalloc.get_traced_memory()[1] < 100e6  # 480 MB as floats
    tracemalloc.stop()


def test_too_many_labels_are_refused(tmp_path):
    labels = [b"%d" % number for number in range(MAX_LABELS + 1)]
    with pytest.raises(DataError, match="65537 labels, at most 65536"):
        read(tmp_path, header(1, ngrams=1) + dictionary(labels=labels) + dense(1, 1) + dense(len(labels), 1))


@pytest.mark.parametrize(
    "kept",
    [[(100, 0)], [(2**31 - 1, 0)], [(-1, 0)], [(5, 1)], [(5, -1)]],
    ids=["bucket", "largest", "below", "row", "negative"],
)
def test_kept_buckets_beyond_their_rows_are_refused(tmp_path, kept):
    with pytest.raises(DataError, match="points beyond"):
        read(tmp_path, header() + dictionary(kept=kept) + dense(2) + dense(2))


def test_the_largest_bucket_is_found(tmp_path):
    buckets = 2**31 - 1
    arrays = read(tmp_path, header(buckets=buckets) + dictionary(kept=[(buckets - 1, 0)]) + dense(2) + dense(2))
    assert arrays.words.pruned[:, 0].max() == buckets


def colliding_buckets(count, slots):
    """Buckets of one place of a table: the factor is odd, so its inverse leads back."""
    inverse = pow(BUCKET_FACTOR, -1, slots)
    return [(inverse * 5 + number * slots) % 2**40 for number in range(count)]


def test_buckets_that_collide_are_refused_in_no_time(tmp_path):
    count = 20_000
    slots = 1 << (2 * count).bit_length()
    buckets = [bucket for bucket in colliding_buckets(count, slots) if bucket < 2**31 - 1]
    assert len(buckets) > 10_000
    slots = 1 << (2 * len(buckets)).bit_length()
    kept = [(bucket, row) for row, bucket in enumerate(buckets)]
    content = header(buckets=2**31 - 1) + dictionary(kept=kept) + dense(1 + len(kept)) + dense(2)
    fill_buckets_kernel(np.zeros((1, 2), np.int32), np.zeros((4, 2), np.int32))  # compiled
    start = time.process_time()
    with pytest.raises(DataError, match="many at one place"):
        read(tmp_path, content)
    assert time.process_time() - start < 2


def test_a_bucket_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match="one twice"):
        read(tmp_path, header() + dictionary(kept=[(5, 0), (5, 1)]) + dense(3) + dense(2))


def colliding_words(bits):
    """2^bits words of one FNV-1a hash: pairs of pieces that lead to one state, one behind the other."""
    generator = np.random.default_rng(1)
    pairs, state = [], np.uint64(2166136261)
    for _ in range(bits):
        pieces = generator.integers(97, 123, (1 << 18, 12)).astype(np.uint8)
        values = np.full(len(pieces), state)
        for column in range(pieces.shape[1]):
            values = ((values ^ pieces[:, column]) * np.uint64(16777619)) & np.uint64(0xFFFFFFFF)
        order = np.argsort(values, kind="stable")
        at = np.flatnonzero(values[order][1:] == values[order][:-1])[0]
        pairs.append([pieces[order[place]].tobytes() for place in (at, at + 1)])
        state = values[order[at]]
    return [b"".join(parts) for parts in itertools.product(*pairs)]


def test_words_that_collide_are_refused_in_no_time(tmp_path):
    words = colliding_words(11)
    assert len(set(words)) == 2048
    content = header(1, ngrams=1) + dictionary(words=words) + dense(len(words), 1) + dense(2, 1)
    read(tmp_path, header(1, ngrams=1) + dictionary(words=words[:1000]) + dense(1000, 1) + dense(2, 1))
    start = time.process_time()
    with pytest.raises(DataError, match="words of one hash"):
        read(tmp_path, content)
    assert time.process_time() - start < 2


def test_a_lookup_in_a_table_of_neighbours_ends(tmp_path):
    """Each entry in its own place, and all places in a row: what is not there would be looked for behind all of them."""
    slots = 1 << 17
    inverse = pow(BUCKET_FACTOR, -1, slots)
    kept = [(inverse * place % slots, row) for row, place in enumerate(range(40_000))]
    rows = 1 + len(kept)
    arrays = read(tmp_path, header(1, buckets=2**31 - 1) + dictionary(kept=kept) + dense(rows, 1) + dense(2, 1))
    assert len(arrays.words.pruned) == slots
    model = FastTextModel("", arrays, "")
    text = " ".join(f"w{number % 977}{number}" for number in range(20_000))
    score_texts([model], *join_texts(["a b"]))
    start = time.process_time()
    score_texts([model], *join_texts([text]))
    # with no bound 20,000 lookups of which a third walk 20,000 slots on average
    assert time.process_time() - start < 0.2


def test_tables_of_real_sizes_stay_within_their_probes():
    """A million random buckets, and as many words, in the fullest tables that there are."""
    generator = np.random.default_rng(1)
    buckets = generator.permutation(2_000_000)[: (1 << 20) - 1].astype(np.int32)
    pairs = np.stack([buckets, np.arange(len(buckets), dtype=np.int32)], axis=1)
    assert fill_buckets_kernel(pairs, np.zeros((1 << 21, 2), np.int32)) == -1
    size = 1_398_101  # 1.5 times as many are just below 2^21
    assert int(size * 1.5).bit_length() == 21
    words = generator.integers(97, 123, 8 * size).astype(np.uint8)
    starts = np.arange(size, dtype=np.int64) * 8
    assert MAX_PROBES == 1024
    assert fill_slots_kernel(words, starts, starts + 8, np.zeros((1 << 21, 2), np.uint64)) == -1


@pytest.mark.parametrize(("ngrams", "chars"), [(21, 0), (1, 21)])
def test_ngrams_longer_than_any_training_are_refused(tmp_path, ngrams, chars):
    with pytest.raises(DataError, match="settings that no model has"):
        read(tmp_path, header(ngrams=ngrams, chars=chars) + dictionary() + dense(101) + dense(2))
