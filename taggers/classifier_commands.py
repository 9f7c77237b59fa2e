"""What `dolma-py classifier ...` calls: options to functions, and what is said at the end. No Spark; a corpus' own step is elsewhere."""

from __future__ import annotations

import sys
from typing import Any, cast

from rich.console import Console
from rich.table import Column, Table

from dolma_py.endpoint import Endpoint
from dolma_py.errors import ConfigError, DolmaError
from dolma_py.manifest import render_json
from dolma_py.storage import write_bytes
from taggers.annotate_texts import AnnotateConfig, count_blank, estimate, read_texts, run_annotation
from taggers.classifier_figures import LEAST_CALLED
from taggers.recipes_by_name import check_sources, list_recipes, load_recipe
from taggers.train_labels import TrainLabelsConfig, measure_model, prepare_labels, quantized_path, train_labels

MAX_CONFUSED = 12  # labels of a confusion table that a terminal shows


def _console() -> Console:
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def _interval(figures: dict[str, Any], name: str, *, in_cell: bool = False) -> str:
    """A figure and its interval, in a table's cell below it; none where the method gives it no width, as of an AUC of 1: that is no certainty."""
    if figures[name] is None:
        return "no figure"
    low, high = figures[f"{name}_interval"]
    between = f"{low:.3f}-{high:.3f}"
    if high <= low:
        return f"{figures[name]:.3f}"
    return f"{figures[name]:.3f}\n{between}" if in_cell else f"{figures[name]:.3f} ({between})"


def run_train(
    *, recipe: str | None, inputs: list[str], output: str | None, folder: str | None, overrides: list[str], seed: int,
    mode: dict[str, bool],
) -> None:  # fmt: skip
    """`dolma-py classifier train` without a corpus; `mode` has check, dry_run and replace."""
    config = _load_training(recipe, inputs, overrides)
    if mode["check"]:
        print_check(config, folder)
        return
    if mode["dry_run"]:
        print_training_plan(config, folder, seed)
        return
    if output is None:
        raise ConfigError("--output", None, "expected a file for the model, ending in .bin")
    card, is_new = train_labels(config, output_path=output, seed=seed, folder=folder, replace=mode["replace"])
    print_figures(card["held_out"], "held-out texts", config.positive_label)
    print_scores(card["scores"])
    print_left_out(card["data"])
    if card.get("quantized"):
        console, small = _console(), card["quantized"]
        console.print(
            f"quantised: {small['model_bytes'] / 1e6:.1f} MB in place of {card['model_bytes'] / 1e6:.1f}, accuracy "
            f"{_interval(small['held_out'], 'accuracy')} in place of {_interval(card['held_out'], 'accuracy')}"
        )
    if not config.classifier.repeatable:
        _console().print(
            "trained on several threads: another run gives another model. The card has this one's fingerprint."
        )
    if is_new:
        extra = f", {quantized_path(output)}" if config.quantize else ""
        _console().print(f"wrote {output}, its .card.json and .calibration.svg{extra}")
    else:
        _console().print(f"{output} was made from the same texts, settings and seed: nothing was done")


def _load_training(recipe: str | None, inputs: list[str], overrides: list[str]) -> TrainLabelsConfig:
    if recipe is None and not inputs and not any(item.startswith("examples") for item in overrides):
        names = ", ".join(list_recipes("classifier"))
        raise ConfigError("--input, --recipe", None, "expected label files, or a recipe", f"Packaged recipes: {names}.")
    return cast(TrainLabelsConfig, load_recipe("classifier", recipe, inputs=inputs, overrides=overrides))


def run_measure(
    *, model: str, recipe: str | None, inputs: list[str], output: str | None, folder: str | None, overrides: list[str],
    seed: int,
) -> None:  # fmt: skip
    """`dolma-py classifier measure`: the tables of an existing model on labelled texts."""
    config = _load_training(recipe, inputs, overrides)
    found = measure_model(
        model,
        config.examples,
        seed=seed,
        folder=folder,
        target_precision=config.target_precision,
        score_cut=config.score_cut,
    )
    print_figures(found["figures"], "texts", config.positive_label)
    print_scores(found["scores"])
    print_left_out(found)
    if found["trained_on_frac"]:
        _console().print(
            f"the model was trained on these texts, on about {found['trained_on_frac']:.0%} of its training texts: its figures here "
            "say nothing of other texts. The card has those of the held-out ones."
        )
    if output is not None:
        from taggers.calibration_chart import draw_calibration  # matplotlib is slow to import

        write_bytes(output + ".calibration.svg", draw_calibration(found["figures"]).encode())
        write_bytes(output, render_json(found))
        _console().print(f"wrote {output} and its .calibration.svg")


def run_annotate(
    *, recipe: str | None, inputs: list[str], output: str | None, folder: str | None, overrides: list[str], seed: int,
    mode: dict[str, bool],
) -> None:  # fmt: skip
    """`dolma-py classifier annotate`; `mode` has dry_run and replace."""
    if recipe is None:
        names = ", ".join(list_recipes("annotation"))
        raise ConfigError("--recipe", None, "expected a packaged recipe or a YAML file", f"Packaged: {names}.")
    config = cast(AnnotateConfig, load_recipe("annotation", recipe, inputs=inputs, overrides=overrides))
    console = _console()
    if mode["dry_run"]:
        examples, drawn = read_texts(config, seed=seed, folder=folder)
        with Endpoint(config.endpoint) as endpoint:
            expected = estimate((example.text for example in examples), config, endpoint)
        priced = "" if config.endpoint.price_per_million_completion else "; no price is set"
        more = (
            f"; a text without a usable answer is asked about {config.answer_tries} times"
            if config.answer_tries > 1
            else ""
        )
        _tell_blank(console, count_blank(drawn))
        console.print(f"{len(examples)} texts: {expected.describe()}{priced}{more}. Nothing was asked.")
        return
    if output is None:
        raise ConfigError("--output", None, "expected a file for the labels, such as labels.jsonl")
    summary, is_new = run_annotation(config, output_path=output, seed=seed, folder=folder, replace=mode["replace"])
    counts = summary["counts"]
    if not is_new:
        console.print(
            f"{output} was made from the same texts, settings and seed ({counts['labelled']} of {counts['texts']} texts have a "
            "label): nothing was done"
        )
        failed = sum(count for name, count in counts.items() if name.startswith("no_label:failed_"))
        if failed:
            console.print(f"{failed} texts were left without label by failed requests: --replace asks about them again")
        return
    _tell_blank(console, counts.get("no_text", 0))
    table = Table("label", "texts")
    for name in sorted(counts):
        if name.startswith("label:"):
            table.add_row(name.removeprefix("label:"), str(counts[name]))
    console.print(table)
    for name, count in counts.items():
        if name.startswith("answer:"):
            kept = counts.get(f"no_label:{name.removeprefix('answer:')}", 0)
            console.print(f"{name.removeprefix('answer:')}: {count} answers, {kept} texts left without label by it")
    console.print(
        f"{counts['labelled']} of {counts['texts']} texts have a label: wrote {output}, its .summary.json and .rejected.jsonl"
    )


def _tell_blank(console: Console, count: int) -> None:
    if count:
        console.print(f"no_text: {count} texts hold nothing to be read; they are neither asked about nor labelled")


def print_left_out(data: dict[str, Any]) -> None:
    """What the sources had and was not taken, and texts under two labels; nothing where all was taken."""
    for name, source in data["sources"].items():
        counts = {key: count for key, count in source["counts"].items() if key not in ("read", "drawn")}
        if counts:
            told = ", ".join(f"{key} {count}" for key, count in counts.items())
            _console().print(f"{name}: of {source['counts'].get('read', 0)} read not taken: {told}")
    if data.get("texts_under_two_labels"):
        _console().print(f"{data['texts_under_two_labels']} texts stand under two labels or more")


def print_check(config: TrainLabelsConfig, folder: str | None) -> None:
    """What each data set is, and whether it can be reached; DolmaError when one cannot."""
    console = _console()
    if config.about:
        console.print(config.about)
    missing = 0
    for standing in check_sources(config.examples, folder):
        console.print(f"{standing.name}: {standing.about}" if standing.about else standing.name)
        console.print(f"  {standing.place}")
        if standing.problem:
            missing += 1
            console.print(f"  not reached: {standing.problem}")
        else:
            console.print(f"  reached: {standing.files} files, {standing.num_bytes / 1e6:,.1f} MB")
    if missing:
        raise DolmaError(
            f"{missing} of {len(config.examples)} data sets cannot be reached. Set inputs to copies of them, such as "
            "--set examples.NAME.inputs=[FILES], or give them by --input."
        )


def print_training_plan(config: TrainLabelsConfig, folder: str | None, seed: int) -> None:
    """Texts of each label after drawing, balancing and splitting, and what training them costs. Reads the texts, trains nothing."""
    prepared = prepare_labels(config, seed=seed, folder=folder)
    console = _console()
    table = Table(
        "label", Column("training", justify="right"), Column("held out", justify="right"), Column("MB", justify="right")
    )
    total = 0
    for label, texts in prepared.training.items():
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        total += size
        table.add_row(label, str(len(texts)), str(len(prepared.held_out[label])), f"{size / 1e6:.1f}")
    console.print(table)
    for name, part in prepared.drawn.items():
        console.print(f"{name}: " + ", ".join(f"{key} {count}" for key, count in part.counts.items()))
    options = config.classifier
    rows = options.num_buckets if options.has_hash_rows else 0
    words = len({word for texts in prepared.training.values() for text in texts for word in text.split()})
    model_bytes = words * (4 * options.dim + 16) + rows * 4 * options.dim
    held = sum(sys.getsizeof(text) for part in prepared.drawn.values() for text, _, _ in part.examples)
    # each text as it was and as fastText reads it; the library's model, its copy of the input and the model that is measured
    console.print(
        f"{total / 1e6:.1f} MB to train on, {options.epochs} times; about {words:,} words and {rows:,} hash buckets of n-grams: a model of "
        f"about {model_bytes / 1e6:,.0f} MB, {(2 * held + 3 * model_bytes) / 1e6:,.0f} MB of memory. Nothing was done."
    )


def print_figures(figures: dict[str, Any], what: str, positive: str | None = None) -> None:
    """The tables of measured figures."""
    console = _console()
    console.print(
        f"{figures['texts']} {what}: accuracy {_interval(figures, 'accuracy')}, macro F1 {_interval(figures, 'macro_f1')}, "
        f"calibration error {figures['calibration_error']:.3f}; 95 % intervals"
    )
    if figures["without_answer"]:
        console.print(f"{figures['without_answer']} texts hold no word that the model knows: they got no label")
    # figure over interval: a row fits a terminal of 80 columns
    figure: dict[str, Any] = {"justify": "right", "no_wrap": True, "min_width": 11}
    table = Table(
        Column("label", overflow="fold"),
        Column("texts", justify="right", no_wrap=True),
        *(Column(name, **figure) for name in ("precision", "recall", "F1", "AUC")),
    )
    for label, row in figures["labels"].items():
        cells = [_interval(row, name, in_cell=True) for name in ("precision", "recall", "f1", "auc")]
        table.add_row(label, str(row["texts"]), *cells)
    console.print(table)
    called = [label for label, row in figures["labels"].items() if row["called"]]
    if len(called) == 1 and sum(row["texts"] > 0 for row in figures["labels"].values()) > 1:
        console.print(f"every text is called {called[0]}: the model has learnt nothing. More epochs, or a higher rate?")
    names = figures["confusion"]["labels"]
    if len(names) <= MAX_CONFUSED:
        confused = Table("is \\ called", *(Column(name, justify="right") for name in [*names, "none"]))
        for name, row in zip(names, figures["confusion"]["rows"], strict=True):
            confused.add_row(name, *map(str, row))
        console.print(confused)
    order = sorted(figures["labels"], key=lambda label: label != positive)
    for label in order if positive is None else order[:1]:
        row = figures["labels"][label]
        console.print(describe_threshold(label, row["threshold"], row["texts"]))


def describe_threshold(label: str, found: dict[str, Any], num_texts: int) -> str:
    """The suggestion as a sentence; `num_texts` have the label."""
    if found["threshold"] is None:
        if num_texts < LEAST_CALLED:
            return f"{label}: no threshold, {num_texts} texts are too few: one must call {LEAST_CALLED} or more"
        best = f"; the best is {found['best_precision']:.3f}" if found["best_precision"] else ""
        return f"{label}: no threshold gives a precision of {found['target']:g} on 10 texts or more{best}"
    low, high = found["precision_interval"]
    below, above = found["recall_interval"]
    sure = "" if found["is_sure"] else ", not sure: the interval reaches below"
    return (
        f"{label}: P >= {found['threshold']:.6f} gives a precision of {found['precision']:.3f} ({low:.3f}-{high:.3f}; wanted "
        f"{found['target']:g}{sure}) and a recall of {found['recall']:.3f} ({below:.3f}-{above:.3f})"
    )


def print_scores(scores: dict[str, Any] | None) -> None:
    """Figures of labels that are scores."""
    if scores is not None:
        _console().print(
            f"score of {scores['cut']} or more: F1 {_interval(scores, 'f1')}, precision {_interval(scores, 'precision')}, recall "
            f"{_interval(scores, 'recall')}, AUC {_interval(scores, 'auc')}; mean absolute error "
            f"{scores['mean_absolute_error']:.3f}, correlation {scores['correlation']:.3f}"
        )
