"""Gopher quality and repetition statistics per core beside slow Python and, when installed, datatrove, in one run on one text.

    python -m benchmarks.gopher_rules                           made text
    DOLMA_PY_DATA=<folder> python -m benchmarks.gopher_rules    the documents of <folder>/pool

Prints MB/s of one thread (CPU time, so that a busy machine does not change it much; best of 5), bytes moved and their share
of what np.copyto moves on this machine in the same run. Bytes moved are estimated: the text twice, 40 bytes for each word
(hash, sum, numbers and table slots), 26 counts for each document. The peers get a small part of the text, since they are slow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.minhash_signatures import copy_rate, make_text, measure_sec, read_pool
from dolma_py.arrow_buffers import TextView
from taggers import repetition_kernels
from taggers.code_rules import count_code
from taggers.gopher import count_gopher
from taggers.lengths import count_lengths
from tests.reference import gopher, repetition, word_stats

PEER_BYTES = 1_000_000
PEER_ENVIRONMENTS = (Path(".venv-peers/datatrove/bin/python"), Path(".venv-peers/bin/python"))
# reads texts parted by NUL from stdin; prints CPU seconds of the two filters, the first document not counted
DATATROVE_SCRIPT = """
import sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
texts = sys.stdin.buffer.read().decode().split("\\0")
filters = [GopherQualityFilter(), GopherRepetitionFilter()]
for text in texts[:1]:
    [f.filter(Document(text=text, id="0")) for f in filters]
begin = time.process_time()
for text in texts:
    [f.filter(Document(text=text, id="0")) for f in filters]
print(time.process_time() - begin)
"""


def take_texts(view: TextView, num_bytes: int) -> list[str]:
    """Documents from evenly spread places, about num_bytes in all."""
    bounds = view.offsets
    step = max(int(bounds[-1]) // num_bytes, 1)
    return [bytes(view.data[bounds[i] : bounds[i + 1]]).decode() for i in range(0, len(bounds) - 1, step)]


def count_slowly(text: str) -> None:
    """The slow twin's statistics of one document."""
    words = word_stats.split_words(text)
    lines, paragraphs = gopher.split_segments(text, "\n"), gopher.split_segments(text, "\n\n")
    gopher.count_gopher(text)
    repetition.count_repetition(words, lines, paragraphs)


def time_datatrove(texts: list[str]) -> float | None:
    """CPU seconds of datatrove's two Gopher filters in its own environment, None where there is none."""
    for python in PEER_ENVIRONMENTS:
        if python.exists():
            done = subprocess.run(
                [str(python), "-c", DATATROVE_SCRIPT], input="\0".join(texts).encode(), capture_output=True, check=False
            )
            if done.returncode == 0:
                return float(done.stdout)
            print(f"datatrove in {python}: {done.stderr.decode().strip().splitlines()[-1]}", file=sys.stderr)
    return None


def main() -> None:
    data_folder = os.environ.get("DOLMA_PY_DATA")
    view = read_pool(Path(data_folder), 16_000_000) if data_folder else make_text(8_000_000)
    num_bytes, num_docs = len(view.data), len(view.offsets) - 1
    num_words = int(count_gopher(*view)[:, repetition_kernels.WORDS].sum())
    rate = copy_rate()
    print(
        f"text: {'pool' if data_folder else 'made'}, {num_bytes / 1e6:.1f} MB, {num_docs} documents, {num_words} words"
    )
    print(f"copy rate of this machine: {rate / 1e9:.1f} GB/s (np.copyto, read + written)")
    print(f"{'statistics':40s} {'MB/s/core':>9s} {'ns/word':>8s} {'moved MB':>9s} {'of copy rate':>12s}")
    steps = [
        (
            "Gopher quality + repetition, fused",
            lambda: count_gopher(*view),
            2 * num_bytes + 40 * num_words + 208 * num_docs,
        ),
        ("lengths", lambda: count_lengths(*view), num_bytes + 40 * num_docs),
        ("code rules", lambda: count_code(*view), num_bytes + 48 * num_docs),
    ]
    for name, action, moved in steps:
        sec = measure_sec(action, repeats=5)
        print(
            f"{name:40s} {num_bytes / sec / 1e6:9.1f} {sec / num_words * 1e9:8.1f} {moved / 1e6:9.0f} {moved / sec / rate:12.3f}"
        )
    texts = take_texts(view, PEER_BYTES)
    peer_bytes = sum(len(text.encode()) for text in texts)
    sec = measure_sec(lambda: [count_slowly(text) for text in texts], repeats=1)
    print(f"{'pure Python (the slow twin), same counts':40s} {peer_bytes / sec / 1e6:9.2f}")
    sec_or_none = time_datatrove(texts)
    if sec_or_none is None:
        print("datatrove: not installed here (looked for .venv-peers/datatrove and .venv-peers)")
    else:
        print(f"{'datatrove, its two Gopher filters':40s} {peer_bytes / sec_or_none / 1e6:9.2f}")


if __name__ == "__main__":
    main()
