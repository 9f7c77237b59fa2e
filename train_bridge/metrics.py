"""The log of a run: OUTPUT/metrics.jsonl, one line per logged step, events.jsonl, one per event, and lines of progress."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("dolma_py.train")
# of a line of metrics.jsonl: these differ from run to run on one machine, all others do not
TIMED_KEYS = (
    "tokens_per_sec", "step_sec", "mfu_window_aware", "data_wait_sec", "data_wait_frac", "peak_memory_bytes",
    "peak_device_memory_bytes", "device_alloc_retries",
)  # fmt: skip


def tokens_per_sec(num_tokens: int, seconds: float) -> float:
    """Measured rate; 0 when no time has passed."""
    return num_tokens / seconds if seconds > 0 else 0.0


def format_duration(seconds: float) -> str:
    """2 units at most: 42 s, 3 min 05 s, 7 h 12 min, 12 days, 3 years."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    days = seconds / 86400
    return f"{days:.0f} days" if days < 1000 else f"{days / 365.25:,.0f} years"


class MetricsLog:
    """Appends one JSON line per call; a resumed run first cuts the lines after its checkpoint, so that no step stands twice."""

    def __init__(
        self, path: Path, *, resume_step: int, stays: Callable[[dict[str, Any]], bool] = lambda record: False
    ) -> None:
        """stays: records that are kept though their step is after the checkpoint."""
        self.path = path
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    record = json.loads(line)
                    if record["step"] <= resume_step or stays(record):
                        kept.append(line)
                except (json.JSONDecodeError, KeyError):
                    break  # the half line that a kill left at the end
        partial = path.with_name(path.name + ".partial")
        partial.write_text("".join(line + "\n" for line in kept))
        partial.replace(path)

    def append(self, values: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, sort_keys=True) + "\n")

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]
