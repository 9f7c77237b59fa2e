"""Speed of counting and of scoring with n-gram language models, beside KenLM's where it is installed, on the same text.

    DOLMA_PY_DATA=<folder> python -m benchmarks.perplexity_speed [--kenlm-python PYTHON] [--lmplz PROGRAM]

Text: English of <folder>/pool, books for the model and web pages to score. Seconds are CPU seconds of one process; scoring is the median of
three, after one that compiles. KenLM scores the same normalised lines from the same ARPA file (in a probing table); its time is that of
Model.score alone, without normalisation, which "normalised before" leaves out of ours too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.perplexity_quality import read_pool, view
from taggers.language_model import load_model, score_texts, score_units
from taggers.language_model_tokens import LanguageModelText, normalize_text, split_units
from taggers.language_model_training import LanguageModelConfig, train_language_model

ORDER = 5
KENLM_SCRIPT = """
import json, sys, time
import kenlm
model = kenlm.Model(sys.argv[1]); lines = json.load(open(sys.argv[2])); seconds = []
for _ in range(3):
    begin = time.process_time()
    total = sum(model.score(line) for line in lines)
    seconds.append(time.process_time() - begin)
print(json.dumps({"sec": sorted(seconds)[1], "log_prob": total}))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kenlm-python", help="a Python that has the module kenlm")
    parser.add_argument("--lmplz", help="KenLM's program")
    parser.add_argument("--megabytes", type=int, default=10, help="of text to count")
    options = parser.parse_args()
    data = Path(os.environ["DOLMA_PY_DATA"]) / "pool"
    books = "".join(row["text"] for row in read_pool(data / "books", "books_en_novels"))[
        : options.megabytes * 1_000_000
    ]
    pages = [row["text"] for row in read_pool(data / "web", "web_c4_sample")]
    num_mb = sum(len(text.encode()) for text in pages) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.lm"
        config = LanguageModelConfig(order=ORDER)
        train_language_model([view(["warm up"])], output_path=path, config=LanguageModelConfig(order=2))
        begin = time.process_time()
        card = train_language_model([view([books])], output_path=path, config=config)
        sec = time.process_time() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        tokens = card["data"]["num_tokens"] + 2 * card["data"]["num_units"]
        print(f"text to count: {len(books.encode()) / 1e6:.1f} MB, {tokens:,} tokens; n-grams {card['num_ngrams']}")
        size = len(books.encode()) / 1e6
        print(f"| counting | MB/s | peak MB |\n|---|---|---|\n| dolma-py | {size / sec:.2f} | {peak:.0f} |")
        begin = time.process_time()
        train_language_model([view([books])], output_path=path, config=config.model_copy(update={"arpa": True}))
        print(f"| dolma-py, ARPA file written too | {size / (time.process_time() - begin):.2f} | |")
        if options.lmplz:
            print(f"| lmplz, ARPA file | {size / run_lmplz(options.lmplz, books, folder):.2f} | |")
        model, texts = load_model(path), view(pages)
        units = split_units(texts, config.text)
        plain = LanguageModelText.plain()
        lines = [line for text in pages for line in normalize_text(text, config.text)]
        ready = view(["\n".join(lines)])
        print(
            f"text to score: {num_mb:.1f} MB, {len(units.hashes):,} words\n| scoring | MB/s | log10 P |\n|---|---|---|"
        )
        rows: list[tuple[str, Callable[[], Any]]] = [
            ("dolma-py, CCNet's normalisation", lambda: score_texts(model, texts)),
            ("dolma-py, normalised before", lambda: score_texts(model, ready, plain)),
            ("dolma-py, words hashed before", lambda: score_units(model, units)),
        ]
        for name, run in rows:
            print(f"| {name} | {num_mb / median_sec(run):.1f} | {run().log_probs.sum():.1f} |")
        if options.kenlm_python:
            found = score_by_kenlm(options.kenlm_python, path + ".arpa", lines, folder)
            print(f"| KenLM, normalised before | {num_mb / found['sec']:.1f} | {found['log_prob']:.1f} |")


def median_sec(run: Callable[[], Any]) -> float:
    run()
    seconds = []
    for _ in range(3):
        begin = time.process_time()
        run()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def run_lmplz(program: str, text: str, folder: str) -> float:
    """CPU seconds, of the same normalised text."""
    lines = normalize_text(text, LanguageModelText())
    Path(folder, "text.txt").write_text("\n".join(lines) + "\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [program, "-o", str(ORDER), "-S", "1G", "-T", folder, "--skip_symbols", "--discount_fallback"]
    with open(f"{folder}/text.txt") as source, open(f"{folder}/lmplz.arpa", "w") as sink:
        subprocess.run(command, stdin=source, stdout=sink, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def score_by_kenlm(python: str, arpa: str, lines: list[str], folder: str) -> dict[str, float]:
    Path(folder, "lines.json").write_text(json.dumps(lines))
    answer = subprocess.run(
        [python, "-c", KENLM_SCRIPT, arpa, f"{folder}/lines.json"], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        sys.exit(answer.stderr)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


if __name__ == "__main__":
    main()
