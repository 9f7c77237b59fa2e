"""Pictures of a mix' plan as SVG text: where tokens lie before and after, copies by quality, shares of the sources.

Legend: G groups (source and topic), B buckets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from dolma_py.report_charts import COLORS, GRID, INK, MAX_LINES, draw_figure, draw_svg, plain_label

Floats = npt.NDArray[np.float64]

MAX_ROWS = 30  # groups, or sources, of one picture
MAX_GREY_LINES = 40
ROW_INCHES = 0.2
_NOT_PLANNED = ("empty", "no_share", "throwaway")  # of what binds a cell: nothing of it is planned
_BLUES = LinearSegmentedColormap.from_list("plan", ["#f3f6fb", "#bcd2ea", "#6f9fd0", "#2563a8", "#123458"])


class PlannedCells(NamedTuple):
    """A plan's cells by group, most planned tokens first."""

    names: list[tuple[str, str]]  # G of (source, topic)
    tokens: Floats  # (G, B)
    planned: Floats  # (G, B)


def read_cells(cells: pa.Table) -> PlannedCells:
    """Of cells.parquet: source, topic, bucket, tokens and planned_tokens of each cell; a cell that is not there has none."""
    pairs = list(zip(cells.column("source").to_pylist(), cells.column("topic").to_pylist(), strict=True))
    names = sorted(set(pairs))
    number = {name: g for g, name in enumerate(names)}
    group = np.array([number[pair] for pair in pairs], np.int64)
    bucket = cells.column("bucket").to_numpy()
    shape = (len(names), int(bucket.max()) + 1 if len(bucket) else 1)
    tokens, planned = np.zeros(shape), np.zeros(shape)
    for values, column in ((tokens, "tokens"), (planned, "planned_tokens")):
        values[group, bucket] = cells.column(column).to_numpy()
    order = np.argsort(-planned.sum(axis=1), kind="stable")
    return PlannedCells([names[g] for g in order], tokens[order], planned[order])


def draw_plan(
    cells: pa.Table, sources: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """The three pictures as <svg> elements by name: heat, curves, shares."""
    read = read_cells(cells)
    return {"heat": draw_heat(read, groups), "curves": draw_curves(read, groups), "shares": draw_shares(sources)}


def name_groups(names: Sequence[tuple[str, str]]) -> list[str]:
    """Short labels: without the source where there is one only.

    >>> name_groups([("web", "art"), ("web", "law")]), name_groups([("web", "art"), ("code", "")])
    (['art', 'law'], ['web / art', 'code'])
    """
    is_single = len({source for source, _ in names}) == 1
    labels = [topic if is_single and topic else " / ".join(filter(None, (source, topic))) for source, topic in names]
    return [plain_label(label.replace("_", " ")) for label in labels]


def draw_heat(cells: PlannedCells, groups: Sequence[Mapping[str, Any]] = ()) -> str:
    """Share of all tokens in each cell, before and after, and beside it the share of each group before and after and what binds it.

    groups: the plan's, for what binds; cells at max_repetition are marked. The groups beyond MAX_ROWS are summed in the last line.
    """
    names = cells.names[:MAX_ROWS]
    shares = [100 * values / max(float(values.sum()), 1.0) for values in (cells.tokens, cells.planned)]
    parts = [share[:MAX_ROWS] for share in shares]  # (G, B) each
    rest = [float(share[MAX_ROWS:].sum()) for share in shares]
    top = max(float(part.max()) for part in parts) or 1.0
    binds = _find_binds(names, groups, parts[0].shape[1])
    num_left = len(cells.names) - len(names)
    num_lines = len(names) + bool(num_left)

    def draw(figure: Figure) -> None:
        layout = figure.subplot_mosaic(
            [["available", "planned"], ["scale", "marks"]], height_ratios=[ROW_INCHES * num_lines, 0.12]
        )
        left, right = layout["available"], layout["planned"]
        right.sharey(left)
        right.tick_params(labelleft=False)
        for axes, part, title in ((left, parts[0], "available"), (right, parts[1], "planned")):
            shown = np.ma.masked_equal(part, 0)
            axes.pcolormesh(
                shown, cmap=_BLUES, norm=PowerNorm(0.5, 0, top), edgecolor="white", linewidth=0.4, clip_on=False
            )
            axes.set_title(title, fontsize=9, color=INK, loc="left")
            axes.set_xlabel("bucket, lowest quality first")
            axes.grid(visible=False)
            axes.tick_params(length=0)
            ticks = [b for b in range(part.shape[1]) if b % 5 == 4 or b in (0, part.shape[1] - 1)]
            axes.set_xticks([b + 0.5 for b in ticks], [str(b + 1) for b in ticks])
            for spine in axes.spines.values():
                spine.set_visible(False)
        labels = name_groups(names) + [f"{num_left} more"] * bool(num_left)
        left.set_ylim(num_lines, 0)
        left.set_yticks([row + 0.5 for row in range(num_lines)], labels)
        beside = right.get_yaxis_transform()  # x in widths of the panel
        for row in range(num_lines):
            sums = [part[row].sum() for part in parts] if row < len(names) else rest
            text = f"{_percent(sums[0])} to {_percent(sums[1])} %"
            words = [word for word in dict.fromkeys(binds[row]) if word] if row < len(names) else []
            text += "".join(f", {plain_label(word.replace('_', ' '))}" for word in words)
            right.text(1.015, row + 0.5, text, va="center", fontsize=8, color=INK, transform=beside)
        _draw_scale(layout["scale"], top)
        _mark_caps(right, layout["marks"], binds)

    return draw_figure("tokens before and after", draw, (9.4, 1.5 + ROW_INCHES * num_lines))


def _find_binds(
    names: Sequence[tuple[str, str]], groups: Sequence[Mapping[str, Any]], num_buckets: int
) -> list[list[str]]:
    """What binds each cell that is planned, (G, B); "" where nothing of it is, or where the groups do not say."""
    said = {(row["source"], row["topic"]): row for row in groups}
    found = []
    for name in names:
        row = said.get(name, {})
        words = row.get("binds_by_bucket") or [row.get("binds", "")] * num_buckets
        found.append(["" if word in _NOT_PLANNED else word for word in words])
    return found


def _mark_caps(planned: Axes, legend: Axes, binds: Sequence[Sequence[str]]) -> None:
    """A dot in each planned cell that is repeated as often as it may be, and what a dot means below."""
    at = [(b + 0.5, g + 0.5) for g, row in enumerate(binds) for b, word in enumerate(row) if word == "max_repetition"]
    legend.set_axis_off()
    if not at:
        return
    x, y = zip(*at, strict=True)
    planned.scatter(x, y, s=9, color=COLORS[1], edgecolors="white", linewidths=0.4, zorder=3)
    legend.set_xlim(0, 1)
    legend.set_ylim(0, 1)
    legend.scatter([0.02], [0.5], s=9, color=COLORS[1], clip_on=False)
    legend.text(0.045, 0.5, "repeated max_repetition times", va="center", fontsize=8, color=INK)


def _draw_scale(axes: Axes, top: float) -> None:
    """The colours from 0 to `top` percent, as even steps of their root; a colour bar of matplotlib would be an image."""
    edges = top * np.linspace(0, 1, 41) ** 2
    middles = ((edges[1:] + edges[:-1]) / 2)[None, :]
    axes.pcolormesh(np.linspace(0, 1, 41), [0, 1], middles, cmap=_BLUES, norm=PowerNorm(0.5, 0, top))
    shown = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(shown, ["0" if at == 0 else f"{top * at**2:.2g}" for at in shown])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xlabel("share of all tokens, %", fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _percent(value: float) -> str:
    """Three digits.

    >>> _percent(21.034), _percent(0.0456), _percent(0.0)
    ('21.0', '0.046', '0')
    """
    return "0" if value == 0 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def draw_curves(cells: PlannedCells, groups: Sequence[Mapping[str, Any]]) -> str:
    """Copies by percentile of a group's tokens: steps of the MAX_LINES groups with most planned tokens, the others grey.

    groups: the plan's, for the curves that the rates are means of and for the cap.
    """
    said = {(row["source"], row["topic"]): row for row in groups}
    labels = name_groups(cells.names)

    def draw(axes: Axes) -> None:
        top = 0.0
        for g in reversed(range(min(len(cells.names), MAX_GREY_LINES))):
            edges, rates = _find_steps(cells.tokens[g], cells.planned[g])
            if not len(rates):
                continue
            top = max(top, float(rates.max()))
            is_named = g < MAX_LINES
            color = COLORS[g] if is_named else GRID
            label = labels[g] if is_named else None
            axes.stairs(rates, edges, baseline=None, color=color, linewidth=1.7 if is_named else 0.8, label=label)
            curve = said.get(cells.names[g], {}).get("curve")
            if is_named and curve is not None:
                x = np.linspace(curve["start"], 1, 200)[1:] - curve["start"]
                y = curve["scale"] * x ** curve["power"] * np.exp(curve["growth"] * x)
                axes.plot(100 * (x + curve["start"]), y, color=color, linewidth=0.8, alpha=0.6)
                top = max(top, float(y.max()))
        caps = {
            said[name]["max_repetition"] for name in cells.names[:MAX_LINES] if "max_repetition" in said.get(name, {})
        }
        if len(caps) == 1 and min(caps) < 2.5 * top:
            axes.axhline(min(caps), color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(
                f"max_repetition {min(caps):g}", (0, min(caps)), xycoords=("axes fraction", "data"), xytext=(4, 3),
                textcoords="offset points", fontsize=8, color=INK,
            )  # fmt: skip
            top = max(top, min(caps))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 1.12 * top if top else 1.0)
        axes.set_xlabel("quality of the document, percentile of the group's tokens")
        axes.set_ylabel("copies in the mix")
        handles, texts = axes.get_legend_handles_labels()
        axes.legend(
            handles[::-1], texts[::-1], fontsize=8, handlelength=1.2, loc="center left", bbox_to_anchor=(1.01, 0.5),
            title=_tell_others(len(cells.names)), title_fontsize=8,
        )  # fmt: skip

    return draw_svg("copies by quality", draw, (7.4, 3.4))


def _tell_others(num_groups: int) -> str | None:
    """Which groups a picture of curves does not name.

    >>> _tell_others(3), _tell_others(480)
    (None, '32 more in grey,\\n440 are not drawn')
    """
    grey = min(num_groups, MAX_GREY_LINES) - MAX_LINES
    if grey <= 0:
        return None
    left = num_groups - MAX_GREY_LINES
    return f"{grey} more in grey" + (f",\n{left} are not drawn" if left > 0 else "")


def _find_steps(tokens: Floats, planned: Floats) -> tuple[Floats, Floats]:
    """(edges in percent of the group's tokens, rates between them) of the buckets that have tokens."""
    used = tokens > 0
    edges = 100 * np.concatenate([[0.0], np.cumsum(tokens[used])]) / max(float(tokens.sum()), 1.0)
    return edges, planned[used] / tokens[used]


def draw_shares(sources: Sequence[Mapping[str, Any]]) -> str:
    """Share of each source in the tokens that there are and in the mix, and what its share alone would give; most planned first."""
    rows = sorted(sources, key=lambda row: (-row["planned_tokens"], row["source"]))[:MAX_ROWS]
    more = f"; {len(sources) - len(rows)} smaller sources are not drawn" if len(sources) > len(rows) else ""
    totals = {key: max(sum(row[key] for row in sources), 1) for key in ("tokens", "wanted_tokens", "planned_tokens")}
    shares = {key: [100 * row[key] / total for row in rows] for key, total in totals.items()}

    def draw(axes: Axes) -> None:
        y = np.arange(len(rows))
        axes.barh(y - 0.19, shares["tokens"], 0.34, color="#c3c9d2", label="available")
        axes.barh(y + 0.19, shares["planned_tokens"], 0.34, color=COLORS[0], label="planned")
        axes.vlines(shares["wanted_tokens"], y - 0.02, y + 0.4, color=COLORS[1], linewidth=2, label="target")
        most = max((max(values) for values in shares.values()), default=1.0) or 1.0
        for row in range(len(rows)):
            x = max(shares[key][row] for key in shares)
            copies, binds = rows[row]["repetition"], rows[row]["binds"]
            text = f"{_percent(shares['planned_tokens'][row])} %, {copies:.3g} x, {plain_label(binds)}"
            axes.text(x + 0.012 * most, row + 0.02, text, va="center", fontsize=8, color=INK)
        axes.set_yticks(y, [plain_label(row["source"]) for row in rows])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.45 * most)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= min(100.0, 1.45 * most)])
        axes.set_xlabel(f"share of the tokens, %{more}")
        axes.legend(fontsize=8, handlelength=1.0, loc="lower right", ncols=3, bbox_to_anchor=(1.0, 1.0), borderpad=0)

    return draw_svg("shares of the sources", draw, (7.4, 1.2 + 0.42 * len(rows)))
