"""What a mix costs at its full size: core-hours and disk of every step, from the sizes that its recipe names and measured speeds.

Every speed is that of a run on two cores over megabytes to gigabytes (costs.RATES names the page that shows it), and is taken to hold at any
size and on any number of cores: shuffles through a network, stragglers and failures are not in it. A guide, and the pages' speeds its only facts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Column, Table

from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError
from pipelines import costs
from pipelines.endpoint_estimates import describe_endpoints, print_endpoints
from pipelines.ingest_inputs import IngestConfig
from pipelines.recipe import Recipe, Step, build_steps, load_recipe
from pipelines.recipe_sources import StepSize
from pipelines.tag_documents import TagConfig

MACHINE_CORES = 64
MACHINE_COUNTS = (1, 16, 64, 256)
NOWHERE = Corpus("/nonexistent")  # of a mix that is only spoken of


class SizeLine(NamedTuple):
    """One step at its full size."""

    source: str  # "" for steps of the mix itself
    step: str
    kind: str
    text_bytes: int
    parts: int
    mb_per_core_sec: float
    core_hours: float
    disk_bytes: int
    task_memory_bytes: int
    driver_memory_bytes: int
    shown_in: tuple[str, ...]  # pages with the speeds; none: the quickstart's


def estimate_sizes(recipe: Recipe) -> list[SizeLine]:
    """A line for each size that the recipe names, those of its sources' recipes first.

    Raises ConfigError for a size of a step that its recipe does not have.
    """
    lines = []
    for number, source in enumerate(recipe.sources):
        if source.recipe is not None and source.sizes:
            made = load_recipe(source.recipe, [])
            lines += _estimate_recipe(made, source.sizes, source.name, f"sources.{number}.sizes")
    return lines + _estimate_recipe(recipe, recipe.sizes, "", "sizes")


def _estimate_recipe(recipe: Recipe, sizes: list[StepSize], source: str, key: str) -> list[SizeLine]:
    steps = {step.name: step for step in build_steps(recipe)}
    lines = []
    for number, size in enumerate(sizes):
        if size.step in steps:
            lines.append(_estimate_step(recipe, steps[size.step], size, source))
        elif size.step not in recipe.skipped:
            raise ConfigError(
                f"{key}.{number}.step", size.step, f"expected a step of {recipe.recipe}, one of {list(steps)}"
            )
    return lines


def _estimate_step(recipe: Recipe, step: Step, size: StepSize, source: str) -> SizeLine:
    text_bytes = round(size.text_tb * 1e12)
    part_bytes = text_bytes // size.parts
    read_bytes = text_bytes if size.read_tb is None else round(size.read_tb * 1e12)
    rates = find_rates(step, part_bytes)
    seconds_per_mb = sum(1 / rate.mb_per_core_sec for rate in rates)
    disk_bytes = size.parts * costs.estimate_disk(step, NOWHERE, part_bytes)
    if size.documents is not None and hasattr(step.module, "document_disk_bytes"):
        written = costs.COSTS[step.kind].disk_frac * text_bytes
        disk_bytes = int(written) + size.documents * step.module.document_disk_bytes(step.settings)
    if size.disk_tb is not None:
        disk_bytes = round(size.disk_tb * 1e12)
    pages = dict.fromkeys(rate.shown_in for rate in rates if rate.shown_in)
    return SizeLine(
        source, step.name, step.kind, text_bytes, size.parts, 1 / seconds_per_mb, read_bytes / 1e6 * seconds_per_mb / 3600,
        disk_bytes, costs.WORKER_BYTES + costs.held_bytes(step, recipe.split_bytes, part_bytes),
        costs.DRIVER_BYTES + costs.estimate_driver(step, part_bytes), tuple(pages),
    )  # fmt: skip


def find_rates(step: Step, text_bytes: int) -> list[costs.Rate]:
    """Of all that a step does one after the other with each byte; a kind without a measured speed has the quickstart's."""
    if isinstance(step.settings, IngestConfig):
        kinds = {"in place" if source.in_place else source.kind or "jsonl" for source in step.settings.sources}
        found = [costs.RATES.get(f"ingest {kind}") for kind in kinds]
        return [min(rate for rate in found if rate)] if all(found) else [quickstart_rate(step, text_bytes)]
    if not isinstance(step.settings, TagConfig):
        return [costs.RATES.get(step.kind) or quickstart_rate(step, text_bytes)]
    rates = [costs.RATES["ingest parquet"]]
    for choice in step.settings.taggers:
        name = choice.tagger
        if step.settings.short_circuit:
            name = f"{name}, short_circuit" if f"tag {name}, short_circuit" in costs.RATES else name
        rates.append(costs.RATES.get(f"tag {name}") or quickstart_rate(step, text_bytes))
    return rates


def quickstart_rate(step: Step, text_bytes: int) -> costs.Rate:
    """What plans of small corpora take for a kind of step, or what its module says."""
    if hasattr(step.module, "mb_per_core_sec"):
        return costs.Rate(
            step.module.mb_per_core_sec(step.settings, text_bytes), f"docs/{step.kind.removeprefix('dedup_')}.md"
        )
    return costs.Rate(costs.COSTS[step.kind].mb_per_core_sec, "")


def describe_sizes(recipe: Recipe) -> dict[str, Any]:
    """The lines as plain values, with their sums."""
    lines = estimate_sizes(recipe)
    largest = max(lines, key=lambda line: line.task_memory_bytes, default=None)
    hours = sum(line.core_hours for line in lines)
    return {
        "sources": [source.model_dump() for source in recipe.sources],
        "lines": [line._asdict() for line in lines],
        "core_hours": hours,
        "disk_bytes": sum(line.disk_bytes for line in lines),
        "hours": {count: hours / (count * MACHINE_CORES) for count in MACHINE_COUNTS},
        "task_memory_bytes": largest.task_memory_bytes if largest else 0,
        "task_memory_of": f"{largest.source or 'mix'} {largest.step}" if largest else "",
        "driver_memory_bytes": max((line.driver_memory_bytes for line in lines), default=0),
        "endpoints": describe_endpoints(recipe),
    }


def print_sizes(sizes: dict[str, Any]) -> None:
    """The table of a mix at its full size."""
    console = Console(markup=False, emoji=False)
    names = ("TB text", "parts", "MB/s", "core-hours", "TB disk")
    table = Table(
        *(Column(name, no_wrap=True) for name in ("source", "step")),
        *(Column(name, justify="right", no_wrap=True) for name in names),
        "shown in",
    )
    for line in sizes["lines"]:
        numbers = [
            f"{line['text_bytes'] / 1e12:,.2f}", str(line["parts"]), f"{line['mb_per_core_sec']:.1f}", f"{line['core_hours']:,.0f}",
            f"{line['disk_bytes'] / 1e12:,.2f}",
        ]  # fmt: skip
        pages = [page.removeprefix("docs/").removesuffix(".md") for page in line["shown_in"]]
        table.add_row(line["source"] or "mix", line["step"], *numbers, ", ".join(pages) or "quickstart")
    print_endpoints(sizes["endpoints"])
    console.print("At full size, MB/s of one core:", highlight=False)
    console.print(table)
    hours = [
        f"{count} machine{'s' * (count > 1)} {hours:,.{int(hours < 10)}f} h" for count, hours in sizes["hours"].items()
    ]
    for text in (
        f"{sizes['core_hours']:,.0f} core-hours, {sizes['disk_bytes'] / 1e12:,.1f} TB of disk if nothing is deleted on the way.",
        f"With {MACHINE_CORES} cores each: {', '.join(hours)}; {MACHINE_CORES} tasks take at most "
        f"{MACHINE_CORES * sizes['task_memory_bytes'] / 1e9:,.0f} GB of a machine's memory ({sizes['task_memory_of']}), the driver "
        f"{sizes['driver_memory_bytes'] / 1e9:,.1f} GB.",
        "Speeds of two cores carried over; downloads and what endpoints do are not in it. Nothing was done.",
    ):
        console.print(text, highlight=False, soft_wrap=True)
