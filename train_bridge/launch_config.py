"""The settings of `train --launcher`: how many processes on how many machines, and what Slurm is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from dolma_py.config import Config

# stands in one line of the batch file
Line = Annotated[str, StringConstraints(pattern=r"^[^\n\r]+$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.,:@%+/=\[\]-]+$")]


class LaunchConfig(Config):
    """Where a run is started; changes nothing of what is computed, but for the number of ranks."""

    nodes: int = Field(1, ge=1, description="Machines; local has one.")
    processes_per_node: int | None = Field(
        None, ge=1, description="Ranks on each, one a GPU; null: the GPUs of this machine, or 1 without any."
    )
    cpus_per_process: int | None = Field(None, ge=1, description="slurm: --cpus-per-task is this times the processes.")
    memory_per_node: Word | None = Field(None, description="slurm: --mem, such as 900G; null: the cluster's default.")
    time_limit: Word | None = Field(None, description="slurm: --time, such as 2-00:00:00; null: the cluster's default.")
    partition: Word | None = Field(None, description="slurm: --partition.")
    account: Word | None = Field(None, description="slurm: --account.")
    qos: Word | None = Field(None, description="slurm: --qos.")
    requeue: bool = Field(
        True, description="slurm: back into the queue after a lost machine and before the time limit; the run resumes."
    )
    stop_before_sec: int = Field(
        300, ge=60, description="slurm, with requeue: seconds before the time limit when the run is stopped."
    )
    options: dict[Word, Word] = Field(
        default_factory=dict, description="slurm: further options of sbatch by name, such as {constraint: h100}."
    )
    setup: tuple[Line, ...] = Field(
        (), description="slurm: shell lines before the start, such as 'module load cuda'; each must succeed."
    )
    port: int = Field(29_500, ge=1024, le=65_535, description="slurm: where ranks meet on the first machine.")
