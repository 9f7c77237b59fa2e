"""Other tools' logs: TensorBoard and Weights & Biases. Both packages are optional and imported where they are asked for."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any, Protocol

from dolma_py.errors import MissingDependencyError
from train_bridge.run_log_config import LogsConfig

EXTRA = "logs"


class LogWriter(Protocol):
    """Numbers of a step, by name; names of metrics.jsonl stand as they are, others have slashes."""

    def write(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


def check_packages(config: LogsConfig) -> None:
    """MissingDependencyError before any work when a log is asked for that cannot be written."""
    wanted = ["tensorboard"] * config.tensorboard + ["wandb"] * (config.wandb.mode != "off")
    for package in wanted:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, EXTRA)


def open_writers(config: LogsConfig, output: Path, *, first_step: int, run_config: dict[str, Any]) -> list[LogWriter]:
    """Those that are asked for. A resumed run goes on in both after `first_step`."""
    check_packages(config)
    writers: list[LogWriter] = []
    if config.tensorboard:
        writers.append(TensorboardWriter(output / "tensorboard", first_step=first_step))
    if config.wandb.mode != "off":
        writers.append(WandbWriter(config, output, run_config=run_config))
    return writers


class TensorboardWriter:
    """One file of events per start; steps after the checkpoint that an earlier start wrote are purged by the reader."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge_step = first_step + 1 if folder.exists() else None
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            # names without a slash would each become a page section of their own
            self.writer.add_scalar(name if "/" in name else f"train/{name}", value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WandbWriter:
    """The run of a folder has one id for all its starts, so that `wandb sync` puts them together."""

    def __init__(self, config: LogsConfig, output: Path, *, run_config: dict[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        output.mkdir(parents=True, exist_ok=True)
        id_path = output / "wandb_id.txt"
        if not id_path.exists():
            id_path.write_text(os.urandom(8).hex())
        self.run = wandb.init(
            mode=config.wandb.mode,
            project=config.wandb.project,
            name=config.wandb.name or output.resolve().name,
            dir=str(output),
            id=id_path.read_text().strip(),
            resume="allow",
            config=run_config,
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        self.run.log({name if "/" in name else f"train/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self.run.finish()
