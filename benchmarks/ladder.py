"""Three ladder sizes on texts of the pool: loss against tokens and against compute, a table and one picture with both.

Run:  DOLMA_PY_DATA=DIR python -m benchmarks.ladder OUTPUT [--minutes 20] [--sizes ladder_1m ladder_14m ladder_30m]
Texts of web, documentation, books, law, mathematics and code in equal shares of characters, shuffled by document, become one
shard with a BPE vocabulary of --vocab trained on them. Every size sees the same tokens in the same order, all of them or what fits
into the budget by a measurement of the speed beforehand, and each once, so that the logged loss is of texts not seen before.
`dolma-py train` does the training; its rates are those of one run, not tuned for each size. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from train_bridge.cost import counts_of, flops_per_token
from train_bridge.run_training import train
from train_bridge.train_config import load_train_config

DOMAINS = ("web", "docs", "books", "law", "math", "code")
RATES = {"ladder_1m": 1e-2, "ladder_14m": 5e-3, "ladder_30m": 3e-3, "ladder_100m": 2e-3}


def read_texts(pool: Path, num_chars: int) -> list[str]:
    """Documents of each domain up to its share of `num_chars`, a long one cut, in one shuffled order."""
    import zstandard

    pieces: list[str] = []
    for domain in DOMAINS:
        left = num_chars // len(DOMAINS)
        for path in sorted((pool / domain).glob("*.jsonl.zst")):
            with zstandard.open(path, "rt", encoding="utf-8") as file:
                for line in file:
                    text = json.loads(line)["text"][: min(20_000, left)]
                    pieces.append(text)
                    left -= len(text)
                    if left <= 0:
                        break
            if left <= 0:
                break
    random.Random(1).shuffle(pieces)
    return pieces


def write_shard(folder: Path, texts: list[str], vocab: int) -> int:
    """One token file with its manifest; returns its tokens."""
    import tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts[:: max(1, len(texts) // 2000)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = np.concatenate([np.array([*encoding.ids, 0], dtype="<u2") for encoding in tokenizer.encode_batch(texts)])
    (folder / "part-00000.npy").write_bytes(ids.tobytes())
    manifest = {
        "format": "dolma-py-shards", "version": 1, "dtype": "uint16", "vocab_size": tokenizer.get_vocab_size(),
        "eos_token_id": 0, "tokens": len(ids), "documents": len(texts), "fingerprint": f"{len(ids):032x}",
        "tokenizer": {"path": "tokenizer.json", "fingerprint": f"{vocab:032x}"}, "heldout": {},
        "files": [{"path": "part-00000.npy", "tokens": len(ids), "documents": len(texts), "checksum": f"{len(ids):032x}"}],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "characters.json").write_text(json.dumps({"characters": sum(map(len, texts)), "documents": len(texts)}))
    return len(ids)


def settings(size: str, steps: int, arguments: argparse.Namespace) -> list[str]:
    from train_bridge.presets import preset_values

    shape = preset_values(size)
    names = ("d_model", "mlp_hidden", "num_heads", "num_kv_heads", "num_layers", "head_dim")
    return [
        *(f"model.{name}={shape[name]}" for name in names),
        f"model.vocab_size={arguments.vocab}", f"model.window_tokens={arguments.tokens // 4}",
        f"data.sequence_tokens={arguments.tokens}", f"data.batch_instances={arguments.rows}",
        f"data.micro_batch_instances={arguments.rows}", f"run.steps={steps}", f"run.device={arguments.device}",
        "run.precision=auto", f"run.num_threads={arguments.threads}", f"run.log_every_steps={max(1, steps // 100)}",
        "optimizer.embedding_lr_factor=1", f"checkpoints.ephemeral_every_steps={max(100, steps // 4)}",
        f"schedule={{kind: cosine, peak_lr: {RATES.get(size, 3e-3)}, warmup_steps: {max(1, steps // 20)}, final_frac: 0.1}}",
    ]  # fmt: skip


def run_size(size: str, steps: int, output: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    shards, overrides = Path(arguments.output) / "shards", settings(size, steps, arguments)
    train(config="quickstart/pretrain", shards=str(shards), output=str(output), overrides=overrides, dry_run=False)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def choose_steps(arguments: argparse.Namespace, num_tokens: int) -> int:
    """A few steps of each size are timed; as many of all sizes as the budget has time for, at most once over the data."""
    seconds = 0.0
    for size in arguments.sizes:
        times = [0.0, 0.0]
        for number, steps in enumerate((2, 8)):
            started = time.perf_counter()
            run_size(size, steps, Path(arguments.output) / f"probe-{size}-{steps}", arguments)
            times[number] = time.perf_counter() - started
        seconds += max(times[1] - times[0], 0.1 * times[1]) / 6
    whole = num_tokens // arguments.tokens // arguments.rows
    return max(20, min(whole, int(60 * arguments.minutes / seconds)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--sizes", nargs="+", default=["ladder_1m", "ladder_14m", "ladder_30m"])
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--million-chars", type=float, default=24)
    parser.add_argument("--tokens", type=int, default=256, help="of an instance; windows are a quarter of it")
    parser.add_argument("--rows", type=int, default=8, help="instances of a step")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    output = Path(arguments.output)
    shards, plan = output / "shards", output / "plan.json"
    if not (shards / "characters.json").is_file():
        texts = read_texts(Path(os.environ["DOLMA_PY_DATA"]) / "pool", int(arguments.million_chars * 1e6))
        write_shard(shards, texts, arguments.vocab)
    num_tokens = json.loads((shards / "manifest.json").read_text())["tokens"]
    characters = json.loads((shards / "characters.json").read_text())["characters"]
    if not plan.is_file():
        plan.write_text(json.dumps({"steps": choose_steps(arguments, num_tokens)}))
    steps = json.loads(plan.read_text())["steps"]
    print(f"{num_tokens:,} tokens, {characters / num_tokens:.2f} characters each; {steps:,} steps of {arguments.rows} x "
          f"{arguments.tokens} tokens\n")  # fmt: skip
    print("| size | parameters without input embedding | tokens | 1e12 operations | loss, last tenth | bits a character |\n"
          "|---|---|---|---|---|---|")  # fmt: skip
    curves = {}
    for size in arguments.sizes:
        lines = run_size(size, steps, output / size, arguments)
        config = load_train_config("quickstart/pretrain", overrides=settings(size, steps, arguments), manifest=None)
        flops = flops_per_token(config.model, arguments.tokens)
        curves[size] = [(line["tokens"], line["tokens"] * flops, line["loss"]) for line in lines]
        tail = [line["loss"] for line in lines[-max(1, len(lines) // 10) :]]
        loss = sum(tail) / len(tail)
        bits = loss / np.log(2) * num_tokens / characters
        print(f"| {size} | {counts_of(config.model).without_input_embedding:,} | {lines[-1]['tokens']:,} | "
              f"{lines[-1]['tokens'] * flops / 1e12:.2f} | {loss:.3f} | {bits:.3f} |", flush=True)  # fmt: skip
    (output / "curves.json").write_text(json.dumps(curves))
    draw(curves, output / "ladder.svg")


def draw(curves: dict[str, list[tuple[float, float, float]]], path: Path) -> None:
    """Loss against tokens and against operations, side by side, running means of five logged steps."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ladder"
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, constrained_layout=True)
    for size, points in curves.items():
        tokens, flops, losses = (np.array(values) for values in zip(*points, strict=True))
        smooth = np.convolve(losses, np.ones(5) / 5, mode="valid") if len(losses) >= 5 else losses
        cut = len(losses) - len(smooth)
        for panel, x in zip(panels, (tokens, flops), strict=True):
            panel.plot(x[cut:], smooth, label=size)
    for panel, name in zip(panels, ("tokens", "operations"), strict=True):
        panel.set(xscale="log", xlabel=name)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("loss of unseen text, nats a token")
    panels[0].legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
