"""`dolma-py train --launcher local|slurm`: the same command on many ranks, by torchrun and by a batch file for Slurm.

Each rank runs `dolma-py train` itself and resumes from the newest checkpoint, so a stop needs no state here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from dolma_py.errors import ConfigError
from train_bridge.forking import local_path
from train_bridge.launch_config import LaunchConfig
from train_bridge.manifest import read_manifest
from train_bridge.metrics import LOGGER
from train_bridge.pair_files import read_pair_manifest
from train_bridge.train_config import load_train_config


def launch(*, launcher: str, arguments: list[str], config: str, shards: str, output: str, overrides: list[str],
           dry_run: bool) -> int:  # fmt: skip
    """Start a run, or with `dry_run` show how; returns an exit status. The configuration is checked here first.

    arguments: of `dolma-py` for one rank, the command first: train, sft or dpo (whose pairs are `shards` here)
    """
    if launcher not in ("local", "slurm"):
        raise ConfigError("--launcher", launcher, "expected local or slurm")
    local_path("--output", output)
    read = read_pair_manifest if arguments[0] == "dpo" else read_manifest
    manifest = None if dry_run else read(shards)
    settings = load_train_config(config, overrides=overrides, manifest=manifest, shards=shards)
    if launcher == "local":
        command = local_command(settings.launch, arguments)
        if dry_run:
            sys.stdout.write(shlex.join(command) + "\n")
            return 0
        LOGGER.info("starting %d ranks", _processes(settings.launch))
        return subprocess.run(command, check=False).returncode
    uses_gpus = settings.run.device != "cpu"
    script = sbatch_script(settings.launch, arguments, output=output, uses_gpus=uses_gpus, folder=os.getcwd())
    if dry_run:
        sys.stdout.write(script)
        return 0
    path = Path(output) / "launch" / "train.sbatch"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    if shutil.which("sbatch") is None:
        hint = f"{path} is written: submit it where sbatch is."
        raise ConfigError("--launcher", launcher, "expected the program sbatch on PATH", hint)
    return subprocess.run(["sbatch", str(path)], check=False).returncode


def _processes(config: LaunchConfig) -> int:
    return config.processes_per_node or max(torch.cuda.device_count(), 1)


def local_command(config: LaunchConfig, arguments: list[str]) -> list[str]:
    """torchrun on this machine, with a port of its own choice. ConfigError when more machines are asked for."""
    if config.nodes != 1:
        raise ConfigError("launch.nodes", config.nodes, "expected 1 with --launcher local")
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={_processes(config)}"]
    return [*agent, "-m", "dolma_py", *arguments]


def sbatch_script(config: LaunchConfig, arguments: list[str], *, output: str, uses_gpus: bool, folder: str) -> str:
    """A batch file: one torchrun a machine, which meet on the first machine of the job.

    uses_gpus: ask for one GPU a rank. folder: working folder of the job, the same path on every machine.
    Raises  ConfigError when processes_per_node is not set: the machine that submits has not the GPUs of those that run
    """
    if config.processes_per_node is None:
        hint = "Use: --set launch.processes_per_node=8"
        raise ConfigError("launch.processes_per_node", None, "expected a number with --launcher slurm", hint)
    processes = config.processes_per_node
    asked = {
        "job-name": f"train-{Path(output).name}",
        "nodes": config.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": processes if uses_gpus else None,
        "cpus-per-task": None if config.cpus_per_process is None else config.cpus_per_process * processes,
        "mem": config.memory_per_node,
        "time": config.time_limit,
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "chdir": folder,
        "output": f"{output}/launch/slurm-%j.log",
        "open-mode": "append",
        # to the batch shell alone, which then stops the ranks
        "signal": f"B:USR1@{config.stop_before_sec}" if config.requeue else None,
        **config.options,
    }
    lines = [f"#SBATCH --{name}={_quote(str(value))}" for name, value in asked.items() if value is not None]
    lines.append("#SBATCH --requeue" if config.requeue else "#SBATCH --no-requeue")
    agent = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={config.nodes}", f"--nproc-per-node={processes}",
             "--rdzv-backend=c10d"]  # fmt: skip
    start = (
        f'srun --kill-on-bad-exit=1 {shlex.join(agent)} \\\n  --rdzv-id="$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}" '
    )
    start += f'--rdzv-endpoint="${{hosts[0]}}:{config.port}" \\\n  {shlex.join(["-m", "dolma_py", *arguments])} &'
    body = [*_SET_UP, *config.setup, *_HOSTS, *(_REQUEUE if config.requeue else []), start, "ranks=$!", 'wait "$ranks"']
    return "\n".join(["#!/bin/bash", *lines, *body]) + "\n"


def _quote(value: str) -> str:
    return value if value == shlex.quote(value) or "%" in value and " " not in value else f'"{value}"'


_SET_UP = [
    "",
    "set -euo pipefail",
    "# written by dolma-py train --launcher slurm; a job that starts again resumes the run",
]
_HOSTS = ["", 'mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")']
_REQUEUE = [
    "",
    "# Slurm's warning before the time limit: stop the ranks, whose last checkpoint is whole, and queue again",
    "back_into_the_queue() {",
    '  kill -TERM "$ranks" 2>/dev/null || true',
    '  wait "$ranks" || true',
    '  scontrol requeue "$SLURM_JOB_ID"',
    "  exit 0",
    "}",
    "trap back_into_the_queue USR1",
    "",
]
