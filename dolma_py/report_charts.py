"""Pictures of a report as SVG text to put into a page: the same bytes for the same numbers, no fonts, no links."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dolma_py.report_data import Rate
from dolma_py.report_training import Point

MAX_LINES = 8  # colours that can be told apart
MAX_LABEL_CHARS = 28
COLORS = ("#2563a8", "#d1603d", "#3a8f5c", "#8457a8", "#b58a1a", "#3c9aa6", "#a63c63", "#6b7280")
INCHES = (
    4.7,
    2.7,
)  # text is as large as on the page where a picture is 340 px wide: three beside each other, or a phone
INK, GRID = "#4b5563", "#e5e7eb"
_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text; the page chooses the font
    "text.parse_math": False,  # a source called $x$ is a name
    "font.size": 9, "axes.edgecolor": GRID, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True,
    "grid.color": GRID, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
}  # fmt: skip


def draw_svg(name: str, draw: Callable[[Axes], None], inches: tuple[float, float] = INCHES) -> str:
    """An <svg> element of what `draw` puts on the axes. `name` keeps the ids of several pictures on a page apart."""
    return draw_figure(name, lambda figure: draw(figure.add_subplot()), inches)


def draw_figure(name: str, draw: Callable[[Figure], None], inches: tuple[float, float]) -> str:
    """draw_svg for a picture of several axes."""
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": f"dolma-py {name}"}):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # who made it and when
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # the page's own style says it for all pictures
    # ids of groups (figure_1, axes_1, ...) are the same in every picture and nothing refers to them
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    head, _, rest = text.partition(">")
    head = re.sub(r' (?:width|height|version|xmlns(?::xlink)?)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{name}">{rest}'.strip()


def as_file(picture: str) -> str:
    """An <svg> element as the text of a file, which stands alone and needs its namespaces."""
    return f"{picture.replace('<svg', f'<svg {_NAMESPACES}', 1)}\n"


def plain_label(text: str) -> str:
    """A name as one short line of printable characters."""
    label = "".join(sign if sign.isprintable() else "?" for sign in text)
    return label if len(label) <= MAX_LABEL_CHARS else f"{label[: MAX_LABEL_CHARS - 3]}..."


def draw_rates(rates: Sequence[Rate]) -> str:
    """Copies per document by quality bucket, a line of steps per source; the first MAX_LINES sources."""

    def draw(axes: Axes) -> None:
        for rate, color in zip(rates[:MAX_LINES], COLORS, strict=False):
            edges = [100 * bucket / len(rate.rates) for bucket in range(len(rate.rates) + 1)]
            heights = [math.nan if value is None else value for value in rate.rates]
            axes.stairs(heights, edges, baseline=None, color=color, linewidth=1.8, label=plain_label(rate.source))
        axes.set_xlim(0, 100)
        top = max((value for rate in rates for value in rate.rates if value is not None), default=0.0)
        axes.set_ylim(0, 1.1 * top if top else 1.0)
        axes.set_xlabel("quality of the document, percentile in its source")
        axes.set_ylabel("copies in the mix")
        axes.legend(fontsize=8, handlelength=1.2)

    return draw_svg("rates by quality", draw)


def draw_loss(points: Sequence[Point], vocab_size: int | None) -> str:
    """Loss by step, with the loss of a uniform guess as a line."""

    def draw(axes: Axes) -> None:
        axes.plot([point.step for point in points], [point.loss for point in points], color=COLORS[0], linewidth=1.6)
        if vocab_size is not None and points:
            axes.axhline(math.log(vocab_size), color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(
                f"uniform guess, ln {vocab_size:,} = {math.log(vocab_size):.2f}", (1, math.log(vocab_size)),
                xycoords=("axes fraction", "data"), xytext=(-2, -3), textcoords="offset points", ha="right", va="top", fontsize=8,
                color=INK,
            )  # fmt: skip
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats per token")

    return draw_svg("loss", draw)


def draw_line(name: str, label: str, points: Sequence[tuple[float, float]]) -> str:
    """One quantity by step, from 0."""

    def draw(axes: Axes) -> None:
        axes.plot([x for x, _ in points], [y for _, y in points], color=COLORS[0], linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.set_ylabel(label)

    return draw_svg(name, draw)
