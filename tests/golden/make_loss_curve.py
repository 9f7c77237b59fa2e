"""The losses in loss_curves.json: ten steps of a small Olmo 3 on made shards, of fixed and of packed instances, for each kind of
processor and version of torch.

    PYTHONPATH=. python tests/golden/make_loss_curve.py

Run it after a change that is meant to change what training computes, and raise TRAIN_VERSION in train_bridge/run_training.py: under
the old one a run that was interrupted goes on as another. It refuses other losses of the same version. Where processor and torch
are recorded the losses are equal to the last bit; elsewhere the matrix products of other instructions end differently. The idea of
recorded curves is torchtitan's.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.made_shards import write_shards

RECORD = Path(__file__).parent / "loss_curves.json"
# on unknown hardware: instructions of SSE in place of AVX2 moved these losses by 1.1e-7, an epsilon of 1e-5 in the norms by more than this
REL_TOLERANCE = 1e-5
# layers 1 to 3 with a window, a full one, and the full last one; grouped heads
_MODEL = {
    "d_model": 32, "mlp_hidden": 64, "num_layers": 5, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "vocab_size": None,
    "window_tokens": 8,
}  # fmt: skip
_DATA = {"sequence_tokens": 48, "batch_instances": 4, "micro_batch_instances": 2, "seed": 5}
_REST = {
    "schedule": {"kind": "cosine", "peak_lr": 1e-2, "warmup_steps": 3},
    "run": {"steps": 10, "device": "cpu", "num_threads": 1, "log_every_steps": 1, "precision": "float32"},
}
CONFIGS = {
    # pretraining: files cut every 48 tokens, nothing masked
    "fixed": {"model": _MODEL, "data": _DATA, **_REST},
    # long context and SFT: documents masked from each other, padding, tokens without labels, rows that teach nothing, YaRN
    "packed": {
        "model": {**_MODEL, "yarn": {"factor": 4.0, "beta_fast": 2.0, "beta_slow": 0.5, "original_context_tokens": 16}},
        "data": {**_DATA, "instances": "packed", "instance_filter": {"repetition_max_count": 10}},
        **_REST,
    },
}
DOCUMENT_TOKENS = (7, 25, 48, 13, 60, 31)  # again and again; the third of every other round is a loop
LOOP = [3, 4] * 24


def write_data(folder: Path, name: str) -> Path:
    """The shards of one curve."""
    if name == "fixed":
        return write_shards(folder, file_tokens=(3000, 2200))
    rounds = (16, 12)
    lengths = [list(DOCUMENT_TOKENS) * count for count in rounds]
    tokens = [sum(one) for one in lengths]
    write_shards(folder, file_tokens=tokens, document_tokens=lengths, labels_mask=True)
    ids = np.fromfile(folder / "part-00000.npy", dtype="<u2").reshape(rounds[0], -1)
    start = sum(DOCUMENT_TOKENS[:2])
    ids[::2, start : start + len(LOOP)] = LOOP
    ids.tofile(folder / "part-00000.npy")
    return folder


def name_hardware() -> str:
    """Processor, its instructions as torch uses them, and torch's version."""
    import torch

    processor = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
        processor = " ".join(fields.get(name, "?") for name in ("model name", "cpu family", "model", "stepping"))
    return f"{processor}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def train_losses(folder: Path, name: str) -> list[float]:
    """Loss of each step of one of CONFIGS."""
    from train_bridge.run_training import train

    (folder / "golden.yaml").write_text(yaml.safe_dump(CONFIGS[name]))
    shards = write_data(folder / "shards", name)
    train(
        config=str(folder / "golden.yaml"), shards=str(shards), output=str(folder / "run"), overrides=[], dry_run=False
    )
    return [json.loads(line)["loss"] for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def find_difference(record: dict[str, Any], hardware: str, name: str, losses: list[float]) -> str:
    """What is not as recorded; empty for nothing. All recorded curves are of one version of the program."""
    curves = record["curves"]
    if hardware in curves:
        known = curves[hardware][name]
        return "" if known == losses else f"{name}, {hardware}: {losses} in place of {known}"
    for other, by_name in curves.items():
        expected = by_name[name]
        near = [abs(loss - one) <= REL_TOLERANCE * one for loss, one in zip(losses, expected, strict=True)]
        if not all(near):
            return f"{name}, {hardware}: {losses}, further from {expected} of {other} than hardware explains"
    return ""


def main() -> int:
    from train_bridge.run_training import TRAIN_VERSION

    losses = {}
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            losses[name] = train_losses(Path(folder), name)
    hardware = name_hardware()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"version": 0, "curves": {}}
    if record["version"] != TRAIN_VERSION:
        record = {"version": TRAIN_VERSION, "curves": {}}  # those of other machines are of another program
    differences = [find_difference(record, hardware, name, found) for name, found in losses.items()]
    if any(differences):
        sys.stderr.write(
            f"other losses of the same version: {'; '.join(filter(None, differences))}. Raise TRAIN_VERSION.\n"
        )
        return 1
    record["curves"][hardware] = losses
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
