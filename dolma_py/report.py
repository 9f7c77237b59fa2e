"""One HTML page about a recipe's run and a training run: for people, in one file, the same bytes for the same inputs.

Documents, ids, names and metadata are untrusted: everything is escaped, characters that cannot be seen or that turn the
direction of text are shown by their code, and the page forbids scripts and loading anything.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from markupsafe import Markup

from dolma_py import pages, plan_charts, report_charts, report_data, report_examples, storage
from dolma_py.corpus import Corpus
from dolma_py.report_contamination import Finding
from dolma_py.report_data import Counts, Funnel, Report, total
from dolma_py.report_examples import Example, Planted

TEMPLATE = "report.html.j2"
MOST_REPEATS = 20  # texts that are seen without a click


class FunnelLine(NamedTuple):
    """One row of the funnel's table."""

    name: str
    condition: str
    is_edit: bool
    entering: Counts
    dropped: Counts
    leaving: Counts
    out_frac: float  # of the bytes before the first rule
    dropped_frac: float
    alone: tuple[int, int] | None  # documents asked, and dropped, where no other rule is asked


class Item(NamedTuple):
    """A headline number."""

    value: str
    label: str


def write_report(*, corpus: str, run: str | None, output: str, recipe: str | None) -> str:
    """Write the page and return the line that says so.

    Parameters
    ----------
    corpus : str            the corpus folder
    run : str or None       folder of a training run to show
    output : str            the HTML file
    recipe : str or None    which recipe's runs; None when there is only one

    Raises
    ------
    ConfigError             a corpus without runs, an unknown or ambiguous recipe, a page in folders that are not there
    DataError               a file of a run that cannot be read
    """
    pages.check_place(output, "--output")
    opened = Corpus(corpus)
    report = report_data.collect(opened, recipe=recipe, run=run)
    shown: list[list[Example]] = []
    kept: list[Example] = []
    items = report_examples.read_items(opened, report.steps)
    if report.funnel is not None and report.view is not None:
        shown, kept = report_examples.collect_examples(opened, report.view, funnel=report.funnel, items=items)
    planted = report_examples.collect_planted(opened, report.view, report.steps)
    findings = report_examples.collect_findings(opened, report.view, items)
    page = render(report, shown, kept=kept, planted=planted, findings=findings, has_run=run is not None)
    storage.write_bytes(output, page)
    return f"wrote {output} ({len(page) / 1000:,.0f} kB)"


def render(
    report: Report, shown: list[list[Example]], *, kept: list[Example], planted: Planted | None, findings: list[Finding], has_run: bool
) -> bytes:  # fmt: skip
    """The page as UTF-8. shown: examples of each rule of the funnel; findings: of decontamination, by benchmark and source."""
    filters = {
        "num": format_count, "mb": format_mb, "share": format_share, "duration": format_duration,
    }  # fmt: skip
    page = pages.make_environment(filters).get_template(TEMPLATE).render(
        report=report, headline=list_headlines(report), lead=write_lead(report), funnel=list_funnel(report.funnel), shown=shown,
        kept=kept, planted=planted, findings=findings, has_run=has_run, pictures=draw_pictures(report), total=total, packages=list_packages(report),
        max_lines=report_charts.MAX_LINES, most_repeats=MOST_REPEATS, seconds=sum_seconds(report),
    )  # fmt: skip
    return page.encode()


def format_count(number: float) -> str:
    """12345 as 12,345."""
    return f"{number:,.0f}"


def format_mb(num_bytes: float) -> str:
    """Bytes in units of 10^6, three decimals below 100 MB and one above."""
    return f"{num_bytes / 1e6:,.3f}" if abs(num_bytes) < 1e8 else f"{num_bytes / 1e6:,.1f}"


def format_few(num_bytes: float) -> str:
    """Bytes in units of 10^6 for a sentence: 46.6, 1,234 or 0.012."""
    value = num_bytes / 1e6
    decimals = 0 if value >= 100 else 1 if value >= 10 else 3 if value < 1 else 2
    return f"{value:,.{decimals}f}\N{NO-BREAK SPACE}MB"


def format_share(part: float, whole: float = 1) -> str:
    """part / whole as a percentage; a dash when there is no whole."""
    if not whole:
        return "-"
    frac = part / whole
    text = "< 0.01" if 0 < frac < 5e-5 else f"{100 * frac:,.2f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def format_duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def list_funnel(funnel: Funnel | None) -> list[FunnelLine]:
    """All sources together."""
    if funnel is None:
        return []
    original = max(1, total(funnel.entering).num_bytes)
    lines = []
    for rule in funnel.rules:
        entering, dropped, leaving = total(rule.entering), total(rule.dropped), total(rule.leaving)
        fracs = (leaving.num_bytes / original, dropped.num_bytes / original)
        lines.append(
            FunnelLine(rule.name, rule.condition, rule.is_edit, entering, dropped, leaving, *fracs, rule.alone)
        )
    return lines


def list_headlines(report: Report) -> list[Item]:
    """The numbers at the top, as far as they are there."""
    items = []
    if report.funnel is not None:
        came, stayed = total(report.funnel.entering), total(report.funnel.kept)
        dropped = Counts(came.documents - stayed.documents, came.num_bytes - stayed.num_bytes)
        for word, counts in (("in", came), ("kept", stayed), ("dropped", dropped)):
            items.append(Item(format_count(counts.documents), f"documents {word}, {format_few(counts.num_bytes)}"))
            items += list_drawn(report) if word == "kept" else []
    if report.shards is not None:
        parts = "part" if report.shards["parts"] == 1 else "parts"
        items.append(Item(format_count(report.shards["tokens"]), f"tokens in {report.shards['parts']:,} {parts}"))
    if report.training is not None:
        if "total" in report.training.parameters:
            items.append(Item(format_count(report.training.parameters["total"]), "parameters of the model"))
        when = "at the end" if report.training.is_finished else f"at step {report.training.steps:,}, still in training"
        items.append(Item(f"{report.training.last_loss:.3f}", f"loss {when}, nats per token"))
    everything = (report.evaluation or {}).get("all_documents", {})
    if "bits_per_byte" in everything:
        zstd = everything["zstd_each_document_bits_per_byte"]
        level = (report.evaluation or {})["zstd_level"]
        items.append(
            Item(
                f"{everything['bits_per_byte']:.3f}", f"bits per byte on held-out text; zstd -{level} needs {zstd:.3f}"
            )
        )
    return items


def list_drawn(report: Report) -> list[Item]:
    """How many of the kept documents are in the shards, and how many are held out of them."""
    sample = None if report.mix is None else report.mix.sample
    if sample is None:
        return []
    where = "in the shards" if report.shards is not None else "drawn for the shards"
    copies = "" if sample["copies"] == sample["documents"] else f", in {sample['copies']:,} copies"
    return [
        Item(format_count(sample["documents"]), f"of the kept documents {where}{copies}"),
        Item(format_count(sample["heldout_documents"]), "of the kept documents held out for evaluation"),
    ]


def write_lead(report: Report) -> str:
    """The page in two sentences."""
    if report.funnel is None:
        return "No step has counted documents yet."
    came, stayed = total(report.funnel.entering), total(report.funnel.kept)
    text = (
        f"Of {came.documents:,} documents ({format_few(came.num_bytes)}), {stayed.documents:,} stayed with "
        f"{format_share(stayed.num_bytes, came.num_bytes)} of the text after {len(report.funnel.rules)} rules and edits."
    )
    most = max(report.funnel.rules, key=lambda rule: total(rule.dropped).num_bytes, default=None)
    if most is not None and total(most.dropped).num_bytes:
        lost = total(most.dropped).num_bytes
        text += f" Most went with {most.name}: {format_share(lost, came.num_bytes)} of the bytes."
    return text


def draw_pictures(report: Report) -> dict[str, Markup]:
    """SVG elements by name."""
    pictures = {}
    if report.mix is not None and report.mix.rates:
        mix = report.mix
        pictures["rates"] = report_charts.draw_rates(mix.rates)
        drawn = plan_charts.draw_plan(mix.cells, mix.sources, mix.groups)
        if mix.cells.group_by(["source", "topic"]).aggregate([]).num_rows == len(mix.sources):
            del drawn["curves"]  # without topics they are the rates by source
        pictures |= drawn
    if report.training is not None and report.training.points:
        points = report.training.points
        pictures["loss"] = report_charts.draw_loss(points, report.training.vocab_size)
        pictures["lr"] = report_charts.draw_line(
            "learning rate", "learning rate", [(point.step, point.lr) for point in points]
        )
        speeds = [(point.step, point.tokens_per_sec) for point in points]
        pictures["speed"] = report_charts.draw_line("tokens per second", "tokens per second", speeds)
    return {
        name: Markup(picture) for name, picture in pictures.items()
    }  # our own text; names in it are escaped by matplotlib


def sum_seconds(report: Report) -> float:
    """Of all steps and the training run that tell their time."""
    training = [report.training.run] if report.training is not None else []
    return float(sum(run.get("seconds", 0.0) for run in [*(step.run for step in report.steps), *training]))


def list_packages(report: Report) -> dict[str, Any]:
    """Versions by name, of the last step that tells them, and torch of the training run."""
    found: dict[str, Any] = {}
    for step in report.steps:
        if "python" in step.run:
            found = {"Python": step.run["python"], **step.run.get("packages", {})}
    if report.training is not None and "torch" in report.training.run:
        found["torch"] = report.training.run["torch"]
    return found
