"""Training steps on CPUs beside transformers' Trainer: seconds of a step and peak memory, for the same model, batches and steps.

Run:  python -m benchmarks.train_speed [--shape quickstart|ladder_14m|ladder_30m] [--rounds 3] [--steps 8] [--threads 1]
Each round starts each side in a process of its own, so that its peak memory is its own; rounds alternate, so that other load on
the machine meets both. Ours is `dolma-py train` as it is, the other side Trainer with Olmo3ForCausalLM and its default
optimizer, without checkpoints or reports; both float32, both on the same rows in the same order. The first third of the
steps does not count. CPU seconds are of all threads; memory is the largest resident size of the process, with torch and
everything else imported, and once more without what it was before the first step.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    # settings over the packaged quickstart: shape, instances of a step, tokens of one
    "quickstart": {"config": "quickstart/pretrain", "vocab": 8192, "batch": 16, "tokens": 256, "window": 64},
    "ladder_14m": {"config": "ladder_14m", "vocab": 32_768, "batch": 4, "tokens": 1024, "window": 256},
    "ladder_30m": {"config": "ladder_30m", "vocab": 32_768, "batch": 4, "tokens": 1024, "window": 256},
    "ladder_60m": {"config": "ladder_60m", "vocab": 16_384, "batch": 2, "tokens": 1024, "window": 256},
    "long": {"config": "ladder_14m", "vocab": 8192, "batch": 1, "tokens": 4096, "window": 256},
}


class Clock:
    """Wall and CPU seconds at the end of each step."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []
        self.before_bytes = 0

    def mark(self) -> None:
        if not self.marks:
            self.before_bytes = peak_bytes()
        self.marks.append((time.perf_counter(), time.process_time()))

    def result(self) -> dict[str, float]:
        first = max(1, len(self.marks) // 3)
        counted = len(self.marks) - 1 - first
        walls = [b[0] - a[0] for a, b in zip(self.marks[first:], self.marks[first + 1 :], strict=False)]
        return {
            "step_sec": statistics.median(walls),
            "step_cpu_sec": (self.marks[-1][1] - self.marks[first][1]) / counted,
            "peak_bytes": peak_bytes(),
            "peak_over_start_bytes": peak_bytes() - self.before_bytes,
        }


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def settings(arguments: argparse.Namespace) -> list[str]:
    shape = SHAPES[arguments.shape]
    values = [
        f"model.vocab_size={shape['vocab']}",
        f"model.window_tokens={shape['window']}",
        f"data.sequence_tokens={shape['tokens']}",
        f"data.batch_instances={shape['batch']}",
        f"data.micro_batch_instances={shape['batch']}",
        f"run.steps={arguments.steps + 1}",
        f"run.num_threads={arguments.threads}",
        "run.device=cpu",
        "run.log_every_steps=1000000",
        "checkpoints.permanent_every_steps=1000000",
        "optimizer.embedding_lr_factor=1",
        "schedule={kind: constant, peak_lr: 1e-3}",
    ]
    if shape["config"].startswith("ladder"):
        preset = shape["config"]
        names = ("d_model", "mlp_hidden", "num_heads", "num_kv_heads", "num_layers", "head_dim")
        from train_bridge.presets import preset_values

        values += [f"model.{name}={preset_values(preset)[name]}" for name in names]
    return values


def write_shards(folder: Path, arguments: argparse.Namespace) -> None:
    """Random ids, one instance after another, and what a run needs to know of them."""
    import numpy as np

    shape = SHAPES[arguments.shape]
    count = shape["tokens"] * shape["batch"] * (arguments.steps + 2)
    rng = np.random.Generator(np.random.PCG64(1))
    ids = rng.integers(0, shape["vocab"], count).astype("<u2")
    (folder / "part-00000.npy").write_bytes(ids.tobytes())
    file = {"path": "part-00000.npy", "tokens": count, "documents": 1, "bytes": 2 * count, "checksum": "0" * 32}
    tokenizer = {"path": "tokenizer.json", "fingerprint": "0" * 32}
    manifest = {
        "format": "dolma-py-shards", "version": 1, "fingerprint": "0" * 32, "dtype": "uint16", "vocab_size": shape["vocab"], "eos_token_id": 0,
        "tokens": count, "documents": 1, "files": [file], "tokenizer": tokenizer, "heldout": {},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


def run_ours(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """`train` itself; the clock is read where a batch is asked for."""
    from train_bridge import loader, run_training

    clock = Clock()
    original = loader.BatchLoader.next_batch

    def next_batch(self: loader.BatchLoader) -> Any:
        clock.mark()
        return original(self)

    loader.BatchLoader.next_batch = next_batch  # type: ignore[method-assign]
    run_training.train(config="quickstart/pretrain", shards=str(folder), output=str(folder / "run"),
                       overrides=settings(arguments), dry_run=False)  # fmt: skip
    return clock.result()


def run_trainer(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """transformers' Trainer on the same rows."""
    import torch
    import transformers

    from train_bridge.conversion import hf_config_values
    from train_bridge.run_training import open_dataset, read_manifest
    from train_bridge.train_config import load_train_config

    torch.set_num_threads(arguments.threads)
    manifest = read_manifest(str(folder))
    config = load_train_config("quickstart/pretrain", overrides=settings(arguments), manifest=manifest)
    dataset = open_dataset(str(folder), manifest, config.data)

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return dataset.num_instances

        def __getitem__(self, index: int) -> dict[str, Any]:
            ids_T = torch.from_numpy(dataset.read([index]).ids[0])
            return {"input_ids": ids_T, "labels": ids_T}

    clock = Clock()

    class Marks(transformers.TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.mark()

    values = hf_config_values(config.model, vocab_size=config.model.vocab_size,
                              context_tokens=max(config.data.sequence_tokens, 4096), eos_token_id=0)  # fmt: skip
    model = transformers.Olmo3ForCausalLM(transformers.Olmo3Config(**{**values, "use_cache": False}))
    given = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"), per_device_train_batch_size=config.data.batch_instances, max_steps=config.run.steps,
        learning_rate=1e-3, lr_scheduler_type="constant", weight_decay=0.1, adam_beta2=0.98, max_grad_norm=1.0, save_strategy="no",
        report_to=[], logging_strategy="no", use_cpu=True, disable_tqdm=True, dataloader_num_workers=0,
    )  # fmt: skip
    transformers.Trainer(model=model, args=given, train_dataset=Rows(), callbacks=[Marks()]).train()
    return clock.result()


SIDES = {"ours": run_ours, "trainer": run_trainer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="quickstart", choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, help="run this one here and print its numbers as JSON")
    arguments = parser.parse_args()
    if arguments.side is not None:
        with tempfile.TemporaryDirectory() as folder:
            write_shards(Path(folder), arguments)
            print(json.dumps(SIDES[arguments.side](Path(folder), arguments)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        for side in SIDES:
            words = [sys.executable, "-m", "benchmarks.train_speed", "--side", side, "--shape", arguments.shape]
            words += ["--steps", str(arguments.steps), "--threads", str(arguments.threads)]
            answer = subprocess.run(words, capture_output=True, text=True, check=False)
            if answer.returncode:
                sys.exit(answer.stderr)
            found[side].append(json.loads(answer.stdout.splitlines()[-1]))
    show(arguments, found)


def show(arguments: argparse.Namespace, found: dict[str, list[dict[str, float]]]) -> None:
    """Medians over rounds."""
    shape = SHAPES[arguments.shape]
    tokens = shape["batch"] * shape["tokens"]
    print(f"{arguments.shape}: {shape['batch']} x {shape['tokens']} tokens a step, vocabulary {shape['vocab']:,}, "
          f"{arguments.threads} thread(s), {arguments.rounds} rounds of {arguments.steps} steps\n")  # fmt: skip
    print(
        "| side | step, ms | step, CPU ms | tokens/s | peak memory, MB | over the start, MB |\n|---|---|---|---|---|---|"
    )
    middle = {
        side: {name: statistics.median(row[name] for row in rows) for name in rows[0]} for side, rows in found.items()
    }
    for side, row in middle.items():
        print(f"| {side} | {1e3 * row['step_sec']:.0f} | {1e3 * row['step_cpu_sec']:.0f} | {tokens / row['step_sec']:,.0f} | "
              f"{row['peak_bytes'] / 1e6:.0f} | {row['peak_over_start_bytes'] / 1e6:.0f} |")  # fmt: skip
    ours, other = middle["ours"], middle["trainer"]
    shares = [ours[name] / other[name] for name in ("step_sec", "step_cpu_sec", "peak_bytes", "peak_over_start_bytes")]
    print("| ours / trainer | {:.2f} | {:.2f} | | {:.2f} | {:.2f} |".format(*shares))


if __name__ == "__main__":
    main()
