"""How good is decontamination? Items planted in documents in six forms with 0 to 20% of their words edited, and what is no item.

    DOLMA_PY_DATA=<folder> python -m benchmarks.contamination_quality               tables for every method
    DOLMA_PY_DATA=<folder> python -m benchmarks.contamination_quality default       one of them
    DOLMA_PY_DATA=<folder> python -m benchmarks.contamination_quality curves FILE   recall of all by edited words, as SVG

What is planted and what is no item: benchmarks/contamination_material.py; the forms: benchmarks/planted_items.py.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from benchmarks.contamination_material import SHARES, Material, Verdict, load_material, make_tagger, tag_texts
from benchmarks.planted_items import FORMS, Planted
from dolma_py.report_charts import COLORS, draw_svg

THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
OVERLAPS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)
LENGTHS = (5, 10, 15, 20, 30, 50, 100)  # words of a question, from which a group begins


class Method(NamedTuple):
    """A rule to compare; `dial` is the option that its curve turns, with the values."""

    name: str
    options: dict[str, Any]
    dial: str
    values: tuple[float, ...]
    default: float


METHODS = (
    Method("default", {}, "question_alone", (0.5, 0.6, 0.65, 0.7, 0.8, 0.9), 0.65),
    Method("question_alone=null", {"question_alone": None}, "threshold", THRESHOLDS, 0.8),
    Method("decon", {"preset": "decon"}, "threshold", THRESHOLDS, 0.8),
    Method("olmo3-synth", {"preset": "olmo3-synth"}, "threshold", (0.7, 0.78, 0.88), 0.78),
    Method("olmo3-web", {"preset": "olmo3-web"}, "threshold", (0.7, 0.78, 0.88), 0.88),
    Method("olmo3-posttrain", {"preset": "olmo3-posttrain"}, "min_overlap", (0.3, 0.4, 0.5, 0.6, 0.7), 0.5),
    Method("ngram_tokens=8", {"mode": "ngrams", "ngram_tokens": 8}, "min_overlap", OVERLAPS, 0.0),
    Method("ngram_tokens=13", {"mode": "ngrams", "ngram_tokens": 13}, "min_overlap", OVERLAPS, 0.0),
)  # fmt: skip


class Scores(NamedTuple):
    """One method at one place of its dial."""

    verdicts: dict[tuple[str, float], list[Verdict]]  # of the planted documents of each cell
    others: list[Verdict]  # of the other items
    recall: dict[tuple[str, float], float]
    right_item: float  # of the planted documents that are flagged, those whose item has the planted question
    other_items: float  # share flagged
    changed: float
    pool: int  # flagged documents


def score_method(material: Material, method: Method, value: float) -> Scores:
    """Tag everything once."""
    tagger = make_tagger(material.items, {**method.options, method.dial: value})
    questions = {item.id: item.question for item in material.items}
    verdicts = {key: tag_planted(tagger, documents) for key, documents in material.planted.items()}
    right: Counter[bool] = Counter()
    for key, documents in material.planted.items():
        for found, document in zip(verdicts[key], documents, strict=True):
            right[questions.get(found.item or "") == document.item.question] += found.is_flagged
    others = tag_planted(tagger, material.other_items)
    return Scores(
        verdicts=verdicts,
        others=others,
        recall={key: share_flagged(found) for key, found in verdicts.items()},
        right_item=right[True] / max(1, right.total()),
        other_items=share_flagged(others),
        changed=share_flagged(tag_planted(tagger, material.changed)),
        pool=sum(found.is_flagged for found in tag_texts(tagger, material.pool)),
    )


def tag_planted(tagger: Any, documents: list[Planted]) -> list[Verdict]:
    """Verdicts on planted documents."""
    return tag_texts(tagger, [document.text for document in documents])


def share_flagged(found: list[Verdict]) -> float:
    """Flagged of all, 0 of none."""
    return sum(one.is_flagged for one in found) / max(1, len(found))


def precision(material: Material, scores: Scores, form: str, share: float) -> float:
    """Planted among flagged: of the planted documents of a cell, as many other items, and all documents of the pool."""
    right = scores.recall[form, share] * len(material.planted[form, share])
    wrong = scores.other_items * len(material.other_items) + scores.pool
    return right / (right + wrong) if right + wrong else 1.0


def print_head(material: Material) -> None:
    planted = material.planted["verbatim", 0.0]
    counts = Counter(document.item.benchmark for document in planted)
    print(f"{len(material.items)} items looked for; planted {len(planted)}: {dict(sorted(counts.items()))}")
    print(
        f"{len(material.other_items)} other items, {len(material.changed)} with changed numbers, {len(material.pool)} documents of the pool"
    )
    for form in FORMS:
        print(f"  {form.name}: {form.meaning}")
    print(
        "\nRecall by form, and under it by share of edited words. other: share of other items flagged. numbers: share of those with changed\n"
        "numbers. pool: documents. right: of the flagged planted, those with the planted question's item. P: planted of the flagged, template\n"
        "at 10% with the other items and the pool. *: the method's own value."
    )


def print_method(material: Material, method: Method) -> Scores:
    """The curve of one method; returns the scores at its own value."""
    print(f"\n## {method.name}")
    print(
        f"{method.dial:>11s} "
        + " ".join(f"{form.name:>23s}" for form in FORMS)
        + "   other  numbers   pool  right      P"
    )
    print(" " * 12 + " ".join(" ".join(f"{share:5.0%}" for share in SHARES) for _ in FORMS))
    own = None
    for value in method.values:
        scores = score_method(material, method, value)
        cells = " ".join(" ".join(f"{scores.recall[form.name, share]:5.3f}" for share in SHARES) for form in FORMS)
        mark = "*" if value == method.default else " "
        own = scores if value == method.default else own
        wrong = f"{scores.other_items:7.3f} {scores.changed:8.3f} {scores.pool:6d} {scores.right_item:6.3f}"
        print(f"{value:10.2f}{mark} {cells} {wrong} {precision(material, scores, 'template', 0.1):6.3f}", flush=True)
    assert own is not None, f"{method.name} has no value {method.default}"
    return own


def print_groups(material: Material, scores: Scores) -> None:
    """Recall of the form `template` by length of the question and by benchmark, and the share of other items flagged."""
    groups: dict[str, dict[float, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for share in SHARES:
        for document, found in zip(
            material.planted["template", share], scores.verdicts["template", share], strict=True
        ):
            length = max(least for least in LENGTHS if len(document.item.question.split()) >= least)
            for name in (f"from {length:3d} words", document.item.benchmark):
                groups[name][share].append(found.is_flagged)
    for document, found in zip(material.other_items, scores.others, strict=True):
        groups[f"{document.item.benchmark}, other items"][0.0].append(found.is_flagged)
    print("\nthe form template           items " + " ".join(f"{share:5.0%}" for share in SHARES))
    for name, found in sorted(groups.items()):
        cells = " ".join(f"{sum(flags) / len(flags):5.3f}" for flags in found.values())
        print(f"  {name:24s} {len(found[0.0]):6d} {cells}", flush=True)


def draw_curves(material: Material) -> str:
    """Recall of the form `template` by edited words, a line per method at its own value; documents of the pool flagged in the legend."""
    lines = {}
    for method in METHODS:
        scores = score_method(material, method, method.default)
        label = f"{method.name} ({scores.pool} of {len(material.pool):,})"
        lines[label] = [scores.recall["template", share] for share in SHARES]

    def draw(axes: Axes) -> None:
        for color, (label, recall) in zip(COLORS, lines.items(), strict=False):
            axes.plot([100 * share for share in SHARES], recall, marker="o", markersize=3, color=color, label=label)
        axes.set_xlabel("edited words, %")
        axes.set_ylabel("recall")
        axes.set_ylim(0, 1.02)
        axes.figure.legend(fontsize=6, loc="outside upper left", ncols=2)

    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'  # a page needs none, a file does
    return draw_svg("recall by edited words", draw).replace("<svg", f"<svg {names}", 1)


def main() -> None:
    words = sys.argv[1:]
    known = {method.name: method for method in METHODS}
    if words and words[0] != "curves" and words[0] not in known:
        raise SystemExit(f"expected curves FILE, or one of {sorted(known)}")
    material = load_material(os.environ.get("DOLMA_PY_DATA"))
    if words[:1] == ["curves"]:
        Path(words[1]).write_text(draw_curves(material))
        return
    print_head(material)
    for method in [known[words[0]]] if words else METHODS:
        print_groups(material, print_method(material, method))


if __name__ == "__main__":
    main()
