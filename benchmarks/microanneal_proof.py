"""Does `mix microanneal` tell a good source from a bad one? Mathematics against the same words in random order, beside web pages.

    DOLMA_PY_DATA=DIR python -m benchmarks.microanneal_proof OUTPUT     # the same command goes on

A small model (quickstart/pretrain) is trained on web pages at a constant rate. From it, `dolma-py mix microanneal` tries two candidates beside
web pages that it has not seen: `math`, and `shuffled`, the same documents with the words of each in random order. They are judged on held-out
mathematics and web pages. Proof: math is better than web alone by its verdict, and better than shuffled by its verdict. Exit status 0 when both hold.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.mix_grid import hold_out, read_texts, write_sources

BASE_TEXT = "web/web_pages_rawtext-*"
SOURCES = {"web": "web/web_c4_sample-*", "math": "math/math_stacks-*"}
COMMAND = (sys.executable, "-m", "dolma_py")


def shuffle_words(texts: list[str]) -> list[str]:
    """Each text with its words, as spaces and line breaks divide them, in random order."""
    generator = np.random.Generator(np.random.PCG64(0))
    found = []
    for text in texts:
        words = text.split()
        found.append(" ".join(words[place] for place in generator.permutation(len(words))))
    return found


def write_texts(shards: Path, vocab: int) -> None:
    pool = Path(os.environ["DOLMA_PY_DATA"]) / "pool"
    trained, heldout = hold_out({name: read_texts(pool, pattern) for name, pattern in SOURCES.items()})
    base = [text for text in read_texts(pool, BASE_TEXT) if text not in set(heldout["web"])]
    every = {"web": trained["web"], "base": base, "math": trained["math"], "shuffled": shuffle_words(trained["math"])}
    write_sources(shards, every, heldout, vocab)


def train_base(shards: Path, output: Path, arguments: argparse.Namespace) -> None:
    settings = [
        "run.num_threads=1", "run.device=cpu", f"run.steps={arguments.base_steps}", f"data.sequence_tokens={arguments.tokens}",
        f"data.batch_instances={arguments.rows}", f"data.micro_batch_instances={arguments.rows}",
        f"schedule={{kind: constant, peak_lr: {arguments.lr}, warmup_steps: 20}}",
    ]  # fmt: skip
    command = [
        *COMMAND,
        "train",
        "--config",
        "quickstart/pretrain",
        "--shards",
        str(shards / "base"),
        "--output",
        str(output),
    ]
    subprocess.run([*command, *(word for setting in settings for word in ("--set", setting))], check=True)


def make_settings(shards: Path, base: Path, arguments: argparse.Namespace) -> dict[str, object]:
    return {
        "base": str(base),
        "web": {"shards": str(shards / "web")},
        "candidates": {name: {"shards": str(shards / name)} for name in ("math", "shuffled")},
        "anneal": {
            "steps": arguments.steps, "peak_lr": arguments.lr, "seeds": arguments.seeds, "overrides": ["run.num_threads=1"],
            "workers": arguments.workers, "keep_weights": False,
        },
        "max_docs": arguments.docs,
        "tasks": {name: {"heldout": name, "shards": str(shards / "web")} for name in SOURCES},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--base-steps", type=int, default=1200)
    parser.add_argument("--steps", type=int, default=120, help="of a microanneal")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8, help="instances of a step")
    parser.add_argument("--tokens", type=int, default=128, help="of an instance")
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--docs", type=int, help="held-out documents of each kind; default: all 40")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    output = Path(arguments.output)
    shards, base = output / "shards", output / "base"
    if not (shards / "shuffled" / "manifest.json").is_file():
        write_texts(shards, arguments.vocab)
    train_base(shards, base, arguments)
    config = output / "microanneal.json"  # JSON is YAML
    config.write_text(json.dumps(make_settings(shards, base, arguments), indent=1))
    command = [*COMMAND, "mix", "microanneal", str(config), str(output / "microanneals")]
    status = subprocess.run(command, check=False).returncode
    report = json.loads((output / "microanneals" / "report.json").read_text())
    good = next(found["mean"] for found in report["comparisons"] if found["mix"] == "math")
    apart = report["pairs"][0]["mean"]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\nexit status of the command: {status}; CPU seconds of all: {used.ru_utime + used.ru_stime:.0f}")
    for name, found in (("math against web", good), ("math against shuffled", apart)):
        print(f"{name}: {found['difference']:+.4f} bits per byte, {abs(found['difference']) / found['error']:.1f} standard errors, "
              f"{found['errors_needed']:.1f} needed: {found['verdict'] or 'no verdict'}")  # fmt: skip
    sys.exit(0 if good["verdict"] == apart["verdict"] == "better" else 1)


if __name__ == "__main__":
    main()
