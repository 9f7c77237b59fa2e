"""How well small fastText classifiers do on labelled texts of others: tables with 95 % intervals, and a calibration picture.

    DOLMA_PY_DATA=<folder> python -m benchmarks.classifier_quality                       tables
    DOLMA_PY_DATA=<folder> python -m benchmarks.classifier_quality --chart FILE.svg      and the picture

<folder> holds quality/ (TQ-IS, DCLM's human labels, HPLT's), pool/ and posttrain/. Sets of a thousand texts or so are measured by
cross-validation: five parts by hash of the text, each predicted by a model trained on the other four, all predictions put together.
Equal texts are in one part. No setting was chosen by looking at these figures: all that were tried are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from dolma_py.hashing import derive_seed, uniform_hash
from taggers.calibration_chart import draw_reliability
from taggers.classifier_figures import measure_labels
from taggers.fasttext_model import FastTextModel, load_model, normalize_text
from taggers.labelled_texts import ExampleSource, draw_examples
from taggers.recipes_by_name import load_recipe
from taggers.train_classifier import FastTextOptions, train_model
from taggers.train_labels import predict_probabilities, train_labels

SEED = 1
NUM_PARTS = 5
SETTINGS = {
    "fastText's defaults (5 epochs, rate 0.1)": FastTextOptions(),
    "25 epochs, rate 0.5": FastTextOptions(epochs=25, learning_rate=0.5),
    "25 epochs, rate 0.5, word bigrams": FastTextOptions(epochs=25, learning_rate=0.5, word_ngrams=2),
    "25 epochs, rate 0.5, characters 3 to 4": FastTextOptions(
        epochs=25, learning_rate=0.5, char_ngrams_min=3, char_ngrams_max=4
    ),
}
CHARTED = "25 epochs, rate 0.5, word bigrams"


def read_labelled(folder: Path, name: str, **options: Any) -> tuple[list[str], list[str]]:
    """(texts, labels) of one file, in the order of their hash."""
    drawn = draw_examples(ExampleSource(name=name, inputs=[str(folder)], **options), seed=SEED)
    return [example.text for example in drawn.examples], [example.label for example in drawn.examples]


def train_on(texts: Sequence[str], labels: Sequence[str], options: FastTextOptions) -> FastTextModel:
    """A model of these texts, all of them."""
    groups = {
        name: [normalize_text(text) for text, label in zip(texts, labels, strict=True) if label == name]
        for name in sorted(set(labels))
    }
    with tempfile.TemporaryDirectory(prefix="dolma-py-classifier-") as work:
        path = os.path.join(work, "model.bin")
        train_model(groups, work, SEED, options).save_model(path)
        trained = load_model(path)
        assert trained.model  # the library's own object, while the file is there
    load_model.cache_clear()
    return trained


def cross_validate(texts: list[str], labels: list[str], options: FastTextOptions) -> dict[str, Any]:
    """Figures of predictions by models that did not see the text."""
    names = sorted(set(labels))
    keys = np.array([xxhash.xxh64_intdigest(text.encode()) for text in texts], np.uint64)
    part = (uniform_hash(keys, seed=derive_seed(SEED, "benchmark", "parts")) * NUM_PARTS).astype(int)
    probabilities = np.full((len(texts), len(names)), np.nan, np.float32)
    for number in range(NUM_PARTS):
        rest, apart = np.flatnonzero(part != number), np.flatnonzero(part == number)
        model = train_on([texts[row] for row in rest], [labels[row] for row in rest], options)
        probabilities[apart] = predict_probabilities(model, [texts[row] for row in apart], names)
    truth = np.array([names.index(label) for label in labels], np.int64)
    return measure_labels(probabilities, truth, names, seed=SEED)


def interval(figures: dict[str, Any], name: str, percent: bool = False) -> str:
    """A figure with its interval, where the interval has a width."""
    if figures[name] is None:
        return "no figure"
    low, high = figures[f"{name}_interval"]
    if percent:
        return f"{100 * figures[name]:.1f} %" + (f" ({100 * low:.1f}-{100 * high:.1f})" if high > low else "")
    return f"{figures[name]:.3f}" + (f" ({low:.3f}-{high:.3f})" if high > low else "")


def print_cross_validated(name: str, texts: list[str], labels: list[str], positive: str) -> dict[str, Any]:
    """A table of all settings; the figures of the one that is charted."""
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    print(
        f"\n{name}: {len(texts)} texts, " + ", ".join(f"{count} {label}" for label, count in counts.items()), flush=True
    )
    print(f"| settings | F1 of {positive} | precision | recall | AUC | accuracy | calibration error | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    charted = {}
    for settings, options in SETTINGS.items():
        begin = time.process_time()
        figures = cross_validate(texts, labels, options)
        seconds = time.process_time() - begin
        row = figures["labels"][positive]
        cells = [interval(row, "f1", True), interval(row, "precision"), interval(row, "recall"), interval(row, "auc")]
        print(
            f"| {settings} | {' | '.join(cells)} | {interval(figures, 'accuracy')} | {row['calibration_error']:.3f} | {seconds:.1f} |",
            flush=True,
        )
        if settings == CHARTED:
            charted = row
    return charted


def read_instructions(folder: Path) -> list[str]:
    """Questions with their answers, as DCLM's positives are: Dolly, Alpaca and Stack Exchange, the samples that are there."""
    texts = []
    for line in (folder / "posttrain" / "dolly_hhrlhf_a.jsonl").read_text().splitlines():
        row = json.loads(line)
        texts.append(f"{row['prompt']}\n\n{row['response']}")
    for row in json.loads((folder / "posttrain" / "alpaca_tiny.json").read_text()):
        texts.append("\n\n".join(part for part in (row["instruction"], row.get("input", ""), row["output"]) if part))
    for row in json.loads((folder / "posttrain" / "stack_exchange_paired_tiny.json").read_text()):
        texts.append(f"{row['question']}\n\n{row['response_j']}")
    return texts


def print_small_dclm(folder: Path, texts: list[str], labels: list[str]) -> None:
    """DCLM's recipe with the little that is here, on DCLM's human labels: no text of theirs is trained on."""
    positives = read_instructions(folder)
    negatives, _ = read_labelled(folder / "pool" / "web", "web", label="cc", max_docs=len(positives))
    print(
        f"\nDCLM's recipe in small: {len(positives)} instructions against {len(negatives)} web pages of the pool; on DCLM's human labels"
    )
    print("| settings | AUC |\n|---|---|")
    truth = np.array([int(label == "good") for label in labels], np.int64)
    for settings, options in SETTINGS.items():
        model = train_on([*positives, *negatives], ["hq"] * len(positives) + ["cc"] * len(negatives), options)
        found = measure_labels(predict_probabilities(model, texts, ["cc", "hq"]), truth, ["cc", "hq"], seed=SEED)
        print(f"| {settings} | {interval(found['labels']['hq'], 'auc')} |", flush=True)


def print_pool(folder: Path) -> dict[str, Any]:
    """The recipe pool-topics: whole and quantised."""
    config: Any = load_recipe("classifier", "pool-topics", inputs=[], overrides=["quantize=true"])
    with tempfile.TemporaryDirectory(prefix="dolma-py-classifier-") as work:
        begin = time.process_time()
        card, _ = train_labels(config, output_path=os.path.join(work, "pool.bin"), seed=SEED, folder=str(folder))
        seconds = time.process_time() - begin
    figures, small = card["held_out"], card["quantized"]
    print(
        f"\nEight kinds of text (recipe pool-topics): {figures['texts']} held-out texts, {seconds:.0f} s of CPU in all"
    )
    print("| model | MB | accuracy | macro F1 | calibration error |\n|---|---|---|---|---|")
    for name, found, size in (
        ("whole", figures, card["model_bytes"]),
        ("quantised", small["held_out"], small["model_bytes"]),
    ):
        print(
            f"| {name} | {size / 1e6:.1f} | {interval(found, 'accuracy')} | {interval(found, 'macro_f1')} | "
            f"{found['calibration_error']:.3f} |"
        )
    print("\n| kind | held out | precision | recall | F1 | AUC |\n|---|---|---|---|---|---|")
    for label, row in figures["labels"].items():
        cells = [interval(row, name) for name in ("precision", "recall", "f1", "auc")]
        print(f"| {label} | {row['texts']} | {' | '.join(cells)} |")
    return figures


def read_judged(folder: Path, name: str) -> tuple[list[str], list[str]]:
    """TQ-IS or DCLM's human labels: 1 is good."""
    return read_labelled(folder / "quality" / name, name, label_field="label", labels={"0": "bad", "1": "good"})


def main() -> None:
    """All parts, or those of --only; each is a function of the data folder that may give a line for the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=["tq-is", "dclm", "small-dclm", "hplt", "pool"], help="parts")
    parser.add_argument("--chart", help="SVG file for the calibration picture")
    arguments = parser.parse_args()
    folder = Path(os.environ["DOLMA_PY_DATA"])
    lines = []
    if "tq-is" in arguments.only:
        name = "TQ-IS (published F1 on all 2,000: perplexity 94.5 %, supervised 99.0 %)"
        row = print_cross_validated(name, *read_judged(folder, "tq_is.jsonl"), "good")
        lines.append(("TQ-IS, good", row["reliability"]))
    if "dclm" in arguments.only:
        row = print_cross_validated("DCLM's human labels", *read_judged(folder, "dclm_human.jsonl"), "good")
        lines.append(("DCLM, good", row["reliability"]))
    if "small-dclm" in arguments.only:
        print_small_dclm(folder, *read_judged(folder, "dclm_human.jsonl"))
    if "hplt" in arguments.only:
        texts, labels = read_labelled(
            folder / "quality" / "hplt_human.jsonl.gz", "hplt", label_field="unnatural",
            labels={"0": "natural", "1": "unnatural"},
        )  # fmt: skip
        row = print_cross_validated("HPLT's human labels, 22 languages", texts, labels, "unnatural")
        lines.append(("HPLT, unnatural", row["reliability"]))
    if "pool" in arguments.only:
        lines.append(("eight kinds, best", print_pool(folder)["reliability"]))
    if arguments.chart:
        Path(arguments.chart).write_text(
            draw_reliability(lines, share="texts where it is right", name="calibration of four classifiers")
        )


if __name__ == "__main__":
    main()
