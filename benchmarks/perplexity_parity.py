"""What the tagger `perplexity` writes by its own model, by the same as ARPA file and by KenLM's module over both of its binary formats.

    DOLMA_PY_DATA=<folder> python -m benchmarks.perplexity_parity --build-binary PROGRAM

Needs KenLM's module (`pip install kenlm`) and its program `build_binary`. A model of order 5 without longer n-grams that stand once is
counted on 700 C4 pages of <folder>/pool; texts are the other 300, every ninth excerpt in some 180 languages, and odd ones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.perplexity_quality import read_pool, view
from taggers.language_model_training import LanguageModelConfig, train_language_model
from taggers.registry import build_tagger

ODD = [
    "", "   ", "\n\n", "a", "</s>", "<s> x <unk>", "\u00e9" * 500, "\U0001f600 hi", "a b\n\n c\nd", "x\u2028y", "\x0b \x1f tab\there",
    "word " * 3000, "\u00a0no\u00a0break", "\uff41\uff42\uff43", "a\u0085b", "a\x00b c",
]  # fmt: skip


def largest_difference(ours: pa.Array, theirs: pa.Array) -> float:
    """Relative; infinite where one has no value and the other has."""
    if not ours.is_null().equals(theirs.is_null()):
        return np.inf
    left, right = (column.drop_null().to_numpy(zero_copy_only=False).astype(np.float64) for column in (ours, theirs))
    return float((np.abs(left - right) / np.maximum(np.abs(left), 1e-9)).max(initial=0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build-binary", required=True, help="KenLM's program")
    program = parser.parse_args().build_binary
    pool = Path(os.environ["DOLMA_PY_DATA"]) / "pool"
    pages = [row["text"] for row in read_pool(pool / "web", "web_c4_sample")]
    excerpts = [row["text"] for row in read_pool(pool / "multilingual", "web_hplt_v2")][::9]
    texts = [*pages[700:], *excerpts, *ODD]
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    num_mb = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        own = f"{folder}/model.lm"
        train_language_model(
            [view(pages[:700])], output_path=own, config=LanguageModelConfig(order=5, prune=(0, 0, 1), arpa=True)
        )
        paths = {"own model": own, "ARPA file": f"{own}.arpa"}
        for kind in ("probing", "trie"):
            paths[f"KenLM, {kind}"] = f"{folder}/{kind}.binary"
            command = [program, kind, f"{own}.arpa", paths[f"KenLM, {kind}"]]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = {}
        print(
            f"{len(texts)} texts, {num_mb:.1f} MB\n| model | largest relative difference of any column | MB/s of CPU time |\n|---|---|---|"
        )
        for name, path in paths.items():
            tagger = build_tagger("perplexity", {"model_path": path})
            tagger.tag(batch.slice(0, 5))  # compiles
            begin = time.process_time()
            found[name] = tagger.tag(batch)
            seconds = time.process_time() - begin
            columns = zip(found["own model"].columns, found[name].columns, strict=True)
            print(
                f"| {name} | {max(largest_difference(*pair) for pair in columns):.1e} | {num_mb / seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
