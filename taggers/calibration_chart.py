"""The calibration of a classifier as an SVG file: how often it is right, by how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from dolma_py.report_charts import COLORS, INK, MAX_LINES, draw_svg, plain_label

_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def draw_calibration(figures: Mapping[str, Any], name: str = "calibration") -> str:
    """An SVG file of measured figures (taggers.classifier_figures.measure_labels).

    Two labels: P of the label that sorts last against the share of texts that have it; more: P of the best label against the share
    of texts where it is right. Bars are the 95 % intervals, the dashed line is a model that is as sure as it is right.
    """
    labels = figures["labels"]
    title = f"{figures['texts']} texts; numbers of texts at the points"
    if len(labels) == 2:
        label = sorted(labels)[-1]
        lines = [(f"P({label})", labels[label]["reliability"])]
        share = f"texts that are {plain_label(label)}"
    else:
        lines = [("best label", figures["reliability"])]
        share = "texts where it is right"
    return draw_reliability(lines, share=share, name=name, title=title, with_counts=True)


def draw_reliability(
    lines: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    *,
    share: str,
    name: str = "calibration",
    title: str = "",
    with_counts: bool = False,
) -> str:
    """An SVG file with a line per (label, calibration table); the first MAX_LINES. `with_counts`: the texts of each bin at its point."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        for (label, rows), color in zip(lines[:MAX_LINES], COLORS, strict=False):
            x = [row["mean_probability"] for row in rows]
            y = [row["share"] for row in rows]
            below = [max(0.0, row["share"] - row["interval"][0]) for row in rows]
            above = [max(0.0, row["interval"][1] - row["share"]) for row in rows]
            axes.errorbar(
                x,
                y,
                yerr=[below, above],
                color=color,
                linewidth=1.4,
                marker="o",
                markersize=3,
                capsize=2,
                label=plain_label(label),
            )
            for row in rows if with_counts else ():
                at = row["mean_probability"], row["share"]
                axes.annotate(str(row["count"]), at, xytext=(4, 3), textcoords="offset points", fontsize=6, color=color)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("probability that the model gives")
        axes.set_ylabel(share)
        if title:
            axes.set_title(title, fontsize=8)
        axes.legend(fontsize=8, handlelength=1.2, loc="lower right")

    head, _, rest = draw_svg(name, draw).partition(">")
    # a file stands alone: it needs its namespaces
    return f"{head.replace('<svg', f'<svg {_NAMESPACES}', 1)}>{rest}\n"
