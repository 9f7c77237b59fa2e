"""What a finished command or job says at its end: a line per step, and what was written where."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from pipelines.build_recipe import Outcome


def print_outcomes(outcomes: list[Outcome], corpus: str) -> None:
    """A line per step, the funnel's two ends, and where things are."""
    console = Console(markup=False, emoji=False)
    for outcome in outcomes:
        funnel = outcome.manifest["funnel"]
        left = ""
        if funnel is not None:
            sums = [sum(counts[key] for counts in funnel["kept"]["sources"].values()) for key in ("documents", "bytes")]
            left = f"{sums[0]:,} documents, {sums[1] / 1e6:.1f} MB in the view"
        done = "was done" if outcome.skipped else f"{outcome.seconds:6.1f} s"
        notes = [left] if left else []
        rejected = count_rejected(outcome.manifest)
        notes += [f"{rejected:,} records could not be read: rejected/"] if rejected else []
        skipped = count_rejected(outcome.manifest, "skipped")
        notes += [f"{skipped:,} passed over by the settings of their source"] if skipped else []
        notes += ["with the start of Spark"] if outcome.started_spark else []
        console.print(f"{outcome.name:<16} {done:>9}  {'; '.join(notes)}".rstrip(), highlight=False, soft_wrap=True)
    last = outcomes[-1].manifest
    where = [f"view {last['view']}"] if last["view"] else []
    where += [f"{name}: {path}" for name, path in last["artifacts"].items()]
    if where:
        console.print(f"in {corpus}: {'; '.join(where)}", highlight=False, soft_wrap=True)


def count_rejected(made: dict[str, Any], fate: str = "rejected") -> int:
    """Records of the corpus that no ingest could read, by the manifest of an ingest; 0 for other steps.

    fate: "skipped" for those that were read well and are no documents.
    """
    by_source = made["facts"].get(fate, {}) if made.get("kind") == "ingest" else {}
    return sum(count for reasons in by_source.values() for count in reasons.values())


def print_written(step: dict[str, Any]) -> None:
    """Where a job that writes outside of the corpus has written."""
    if "output" in step:
        Console(markup=False, emoji=False).print(f"written: {step['output']}", highlight=False, soft_wrap=True)


def print_plain(outcomes: list[Outcome], output: str) -> None:
    """A line per step, and what was written where."""
    console = Console(markup=False, emoji=False)
    for outcome in outcomes:
        done = "was done" if outcome.skipped else f"{outcome.seconds:6.1f} s"
        console.print(f"{outcome.name:<16} {done:>9}", highlight=False)
    counts = outcomes[-1].manifest["facts"]
    written = [path.removeprefix("../") for path in outcomes[-1].manifest["files"]]
    parts = [f"{counts['kept']:,} of {counts['rows_in']:,} rows kept, {counts['dropped']:,} dropped"]
    if counts["edited"]:
        parts.append(f"{counts['edited']:,} edited")
    if counts["rejected"]:
        parts.append(f"{counts['rejected']:,} could not be read (rejected/)")
    num_files = sum(path.startswith("data/") for path in written)
    where = [f"{num_files} {'file' if num_files == 1 else 'files'} in data/"]
    where += [name for name in ("duplicates.parquet", "manifest.json") if name in written]
    where += ["attributes/"] if any(path.startswith("attributes/") for path in written) else []
    console.print(f"{', '.join(parts)}. In {output}: {', '.join(where)}", highlight=False, soft_wrap=True)
