"""Decontamination per core against all evaluation sets at once: words, pieces of a vocabulary, plain n-grams, and what the filter spares.

    python -m benchmarks.contamination_speed                           made word problems in made text
    DOLMA_PY_DATA=<folder> python -m benchmarks.contamination_speed    the packaged registry, and documents of <folder>/pool

Prints MB/s and documents per second of one thread (CPU time, best of 5), beside what decon publishes. Operations of words, aligned: one
load of a class and one multiplication for each byte; for each word 2 multiplications that roll its 3-gram on, 2 that mix it, and a bit of
the filter; a slot of the index for what passes the filter, one in eight at most where the index is small enough for its filter; some
20 operations for each item that has the seed; the alignments, n (n + n / 4 + 16) steps for a question of n words. Mode decon at its
stride of 10 looks up a hash of 5 at each tenth word and expands what it finds. Bytes moved are the text once, 24 for each word (hash and
place) and one line of cache for each n-gram looked up: the rate of memory is no bound here, the multiplications one after another are.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.contamination_material import read_items
from benchmarks.minhash_signatures import make_text, measure_sec, read_pool
from dolma_py.arrow_buffers import TextView
from dolma_py.token_ids import load_backend
from dolma_py.word_problems import make_word_problems
from mixers.tokenization import BpeConfig, train_bpe, use_one_thread
from taggers.contamination_settings import ContaminationTaggerConfig
from taggers.ngram_index import Item, ItemIndex, build_index
from taggers.ngram_match import find_items
from taggers.ngram_tokens import encode_pieces, make_tables, max_tokens, split_words
from taggers.ngram_tokens_kernels import split_tokens_kernel

TEXT_BYTES = 32_000_000
PIECES_BYTES = 2_000_000  # for the tokenizer, which is some hundred times slower
VOCABULARY = 8192
# decon's documentation (doc of commit e1bcb80): 5.16 million documents of 30 GB in 176 s, 34 us each
DECON_DOC_SEC, DECON_DOC_BYTES = 34e-6, 30e9 / 5.16e6


class Method(NamedTuple):
    """What is measured and how."""

    name: str
    options: dict[str, Any]


METHODS = (
    Method("words, default", {}),
    Method("preset decon", {"preset": "decon"}),
    Method("preset decon, every n-gram (stride 1)", {"preset": "decon", "stride_tokens": 1}),
    Method("preset gpt3-13-grams", {"preset": "gpt3-13-grams"}),
    Method("preset olmo3-posttrain", {"preset": "olmo3-posttrain"}),
)


def load_items(data: str | None) -> list[Item]:
    """Of the packaged registry, or made ones."""
    if data is not None:
        return read_items(Path(data))
    made = make_word_problems(20_000, 3)
    return [Item(str(one["id"]), str(one["question"]), str(one["answer"]), None, "word problems") for one in made]


def prepare(items: list[Item], options: dict[str, Any]) -> tuple[ItemIndex, ContaminationTaggerConfig]:
    """The index of one method."""
    config = ContaminationTaggerConfig(items_paths=("made here",), **options)
    return build_index(items, settings=config.settings, rules=config.rules), config


def print_rate(name: str, view: TextView, sec: float) -> None:
    num_bytes, num_docs = int(view.offsets[-1] - view.offsets[0]), len(view.offsets) - 1
    print(
        f"{name:42s} {num_bytes / sec / 1e6:8.1f} {num_docs / sec:10.0f} {sec / num_docs * 1e6:8.1f} "
        f"{sec / num_bytes * DECON_DOC_BYTES * 1e6:22.1f}"
    )


def split_only(view: TextView) -> Callable[[], None]:
    """The words alone, as the search gets them."""
    tables = make_tables()
    tokens = np.empty(max_tokens(int(np.diff(view.offsets).max())), np.uint64)
    places = np.empty((2, len(tokens)), np.int64)

    def run() -> None:
        for row in range(len(view.offsets) - 1):
            split_tokens_kernel(view.data, view.offsets[row], view.offsets[row + 1], tables, tokens, *places)

    return run


def print_words(view: TextView, items: list[Item]) -> None:
    """Every method, and the default one without its filter."""
    print_rate("words alone", view, measure_sec(split_only(view), repeats=5))
    for method in METHODS:
        index, config = prepare(items, method.options)
        settings = config.settings
        sec = measure_sec(lambda: find_items(view, index=index, settings=settings), repeats=5)  # noqa: B023
        print_rate(method.name, view, sec)
        if method.name.startswith("words, default"):
            open_filter = index.arrays._replace(filter=np.full_like(index.arrays.filter, 0xFF))
            without = index._replace(arrays=open_filter)
            sec = measure_sec(lambda: find_items(view, index=without, settings=settings), repeats=5)  # noqa: B023
            print_rate("  the same without the filter", view, sec)


def print_pieces(view: TextView, items: list[Item]) -> None:
    """Pieces of a byte-level BPE vocabulary that is trained on the text here, one thread, beside the tokenizer alone."""
    use_one_thread()
    last = int(np.searchsorted(view.offsets, PIECES_BYTES)) or 1
    part = TextView(view.data, view.offsets[: last + 1])
    texts = [
        bytes(part.data[a:b]).decode(errors="replace") for a, b in zip(part.offsets, part.offsets[1:], strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        Path(path).write_bytes(train_bpe(texts, BpeConfig(vocab_size=VOCABULARY)))
        backend = load_backend(path)

        def encode() -> None:
            for at in range(0, len(texts), 50):
                backend.encode_batch_fast(texts[at : at + 50], add_special_tokens=False)

        print_rate("the tokenizer alone, encode_batch_fast", part, measure_sec(encode, repeats=2))
        for name, options in (("default", {}), ("preset decon", {"preset": "decon"})):
            config = ContaminationTaggerConfig(items_paths=("made here",), tokenizer=path, **options)
            index = build_index(
                items,
                settings=config.settings,
                rules=config.rules,
                encode=lambda view: encode_pieces(view, tokenizer=path),
            )
            find = lambda: find_items(part, index=index, settings=config.settings, tokenizer=path)  # noqa: B023, E731
            print_rate(f"pieces, {name}", part, measure_sec(find, repeats=2))


def print_copies() -> None:
    """A document that asks one question 400 times, against 8,000 items that have it and an answer of their own each."""
    question = "Which of the seven statements about copper lanterns in the old harbour is correct here"
    texts = [f"{question}? " * 400]
    view = TextView(np.frombuffer(texts[0].encode(), np.uint8), np.array([0, len(texts[0])], np.int64))
    config = ContaminationTaggerConfig(items_paths=("made here",))
    for name, num_words in (("a word", 1), ("20 words", 20)):
        items = [
            Item(str(n), question, " ".join(f"w{(n + 7 * k) % 30_000}" for k in range(num_words))) for n in range(8000)
        ]
        index = build_index(items, settings=config.settings, rules=config.rules)
        sec = measure_sec(lambda: find_items(view, index=index, settings=config.settings), repeats=2)  # noqa: B023
        print(f"8,000 items of one question, answers of {name}: {sec:.2f} s for {len(texts[0]) / 1e3:.0f} kB")


def main() -> None:
    data = os.environ.get("DOLMA_PY_DATA")
    items = load_items(data)
    view = read_pool(Path(data), TEXT_BYTES) if data else make_text(TEXT_BYTES // 4)
    num_bytes, num_docs = len(view.data), len(view.offsets) - 1
    num_words = len(split_words(view).hashes)
    prepare(items[:100], {})  # compiles
    begin = time.thread_time()
    index, _ = prepare(items, {})
    sec = time.thread_time() - begin
    arrays = index.arrays
    bits = np.unpackbits(arrays.filter)
    print(f"text: {'pool' if data else 'made'}, {num_bytes / 1e6:.1f} MB, {num_docs} documents, {num_words} words")
    print(f"items: {len(items)} read, {len(index.items)} looked for; index built in {sec:.1f} s")
    print(
        f"{len(arrays.keys)} distinct seeds in {arrays.slots.nbytes / 1e6:.1f} MB of slots and {arrays.keys.nbytes / 1e6:.1f} MB of keys; "
        f"filter {arrays.filter.nbytes / 1e6:.2f} MB, {bits.mean():.3f} of its bits set"
    )
    print(f"{'':42s} {'MB/s':>8s} {'docs/s':>10s} {'us/doc':>8s} {'us/doc of 5.8 kB':>22s}")
    print_words(view, items)
    print_pieces(view, items)
    print_copies()
    print(
        f"decon, as it publishes for its author's machine: {DECON_DOC_SEC * 1e6:.0f} us for each document of "
        f"{DECON_DOC_BYTES / 1e3:.1f} kB on average"
    )


if __name__ == "__main__":
    main()
