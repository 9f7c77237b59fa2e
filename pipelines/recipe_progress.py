"""One progress line for a whole recipe: step, share of all expected work, speed, time left."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dolma_py.corpus import Corpus
from pipelines.recipe import Step

logger = logging.getLogger("dolma_py.build")


class RecipeProgress:
    """A bar on a terminal, one log line per step elsewhere. Steps weigh what their cost table expects."""

    def __init__(self, steps: list[Step], corpus: Corpus, *, enabled: bool) -> None:
        from pipelines import costs

        text_bytes = max(1, corpus.read_listing().text_bytes) or 1
        self.weights = {}
        for step in steps:
            cost = costs.COSTS[step.kind]
            self.weights[step.name] = cost.fixed_sec + max(text_bytes, 40_000_000) / 1e6 / cost.mb_per_core_sec
        self.num_steps = len(steps)
        self.enabled = enabled and sys.stderr.isatty()
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True), disable=not self.enabled,
        )  # fmt: skip
        self.task = self.bar.add_task("starting", total=sum(self.weights.values()), speed="")
        self.finished = 0.0
        self.current = ""
        self.started = 0.0

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def start_step(self, step: Step) -> None:
        """The bar names the step."""
        self.current, self.started = step.name, time.perf_counter()
        self.bar.update(self.task, description=f"[{step.index + 1}/{self.num_steps}] {step.name}", speed="")

    def report(self, phase: str, done_bytes: int, all_bytes: int) -> None:
        """A phase of the current step went on; called by the unit runner as units are published."""
        seconds = time.perf_counter() - self.started
        share = done_bytes / all_bytes if all_bytes else 1.0
        speed = f"{done_bytes / 1e6 / seconds:.1f} MB/s" if seconds > 0 else ""
        name = phase.rstrip("/").rsplit("/", 1)[-1]
        self.bar.update(
            self.task, completed=self.finished + 0.9 * share * self.weights[self.current],
            description=f"{self.current}: {name}", speed=speed,
        )  # fmt: skip

    def end_step(self, step: Step, skipped: bool) -> None:
        """The bar moves by the step's whole weight; without a terminal one line is logged."""
        self.finished += self.weights[step.name]
        self.bar.update(self.task, completed=self.finished)
        seconds = time.perf_counter() - self.started
        logger.info(
            "[%d/%d] %s %s", step.index + 1, self.num_steps, step.name, "was done" if skipped else f"{seconds:.1f} s"
        )
