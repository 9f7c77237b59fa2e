"""MB/s per core of the rule taggers, from an Arrow batch of texts to a batch of columns, best of three by CPU time.

python -m benchmarks.rule_taggers_speed                           made text
DOLMA_PY_DATA=<folder> python -m benchmarks.rule_taggers_speed    the documents of <folder>/pool
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa

from benchmarks.minhash_signatures import make_text, measure_sec, read_pool
from dolma_py.arrow_buffers import build_text
from taggers.registry import build_tagger

TAGGERS = (
    ("pii", {}),
    ("ngram-loops", {}),
    ("ngram-loops", {"items": "bytes"}),
    ("gzip-ratio", {}),
    ("code-rules", {}),
    ("code-content", {}),
    ("pdf-text", {}),
    ("lengths", {}),
)


def main() -> None:
    data_folder = os.environ.get("DOLMA_PY_DATA")
    view = read_pool(Path(data_folder), 32_000_000) if data_folder else make_text(16_000_000)
    num_docs = len(view.offsets) - 1
    # the made metadata make every fourth document Python, JavaScript, HTML or JSON, so that each part of code-content runs
    names = [f'{{"ext": ".{("py", "js", "html", "json")[row % 4]}"}}' for row in range(num_docs)]
    batch = pa.record_batch({"text": build_text(view.data, view.offsets), "metadata": pa.array(names)})
    print(f"text: {'pool' if data_folder else 'made'}, {len(view.data) / 1e6:.1f} MB, {num_docs} documents")
    for name, options in TAGGERS:
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        tagger = build_tagger(name, dict(options))
        sec = measure_sec(lambda tagger=tagger: tagger.tag(batch), repeats=3)
        print(f"{name + ' ' + str(options or ''):34s} {len(view.data) / sec / 1e6:8.1f} MB/s")


if __name__ == "__main__":
    main()
