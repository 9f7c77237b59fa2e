"""Training of a fastText classifier with any number of labels from labelled sources: split, train, measure, quantise, card.

A killed training leaves no model: what an earlier one left is taken away first, the .bin before all, and the new .bin appears last, whole.
"""

from __future__ import annotations

import heapq
import importlib.metadata
import os
import posixpath
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dolma_py import config as configuration
from dolma_py.config import Config, dump_config
from dolma_py.errors import ConfigError, DataError
from dolma_py.manifest import render_json
from dolma_py.storage import checksum_file, copy_file, file_bytes, path_exists, read_bytes, remove_file, write_bytes
from taggers.classifier_figures import are_scores, measure_labels, measure_scores
from taggers.fasttext_model import FastTextModel, check_label, join_texts, load_model, normalize_text, score_texts
from taggers.labelled_texts import (
    Drawn,
    ExampleSource,
    balance_labels,
    count_contradicting,
    draw_examples,
    group_by_label,
    is_held_out,
    join_wholes,
    words_key,
)
from taggers.train_classifier import FastTextOptions, train_model

VERSION = 2  # of what the same texts, settings and seed give; 2: the words of a text decide whether it is held out
CARD_VERSION = (
    3  # 3: figures from probabilities of the kernels that taggers run, which differ from the library's by rounding
)
NORMALISATION = "1: line feeds become spaces, nothing else"  # taggers.fasttext_model.normalize_text
_BATCH_TEXTS = 2000
_SAMPLE_TEXTS = 200  # of which the card keeps the keys
_OF_FIGURES = ("positive_label", "target_precision", "score_cut")  # settings that change no byte of the model
_LIBRARIES = (
    "fasttext-numpy2",
    "fasttext",
    "fasttext-wheel",
    "fasttext-numpy2-wheel",
)  # all bring the module `fasttext`


class TrainLabelsConfig(Config):
    """Sources of labelled texts, and how a classifier is made of them."""

    about: str = Field(default="", description="what the classifier is for, and whose recipe it follows")
    examples: list[ExampleSource] = Field(min_length=1, description="where the texts come from")
    classifier: FastTextOptions = Field(default=FastTextOptions(), description="of fastText")
    balance: bool = Field(
        default=False,
        description="labels are drawn down to as many texts as the rarest has, by hash (DCLM: equal numbers)",
    )
    max_docs_per_label: int | None = Field(
        default=None, ge=2, description="labels with more texts are drawn down to so many, by hash"
    )
    positive_label: str | None = Field(
        default=None, description="label that is looked for: its threshold is told first; null: none is special"
    )
    target_precision: float = Field(
        default=0.9, gt=0, le=1, description="precision for which the card suggests a threshold"
    )
    score_cut: int | None = Field(
        default=None,
        description="labels are scores (0, 1, 2 ...): texts of that score or more are good; FineWeb-Edu: 3",
    )
    quantize: bool = Field(
        default=False, description="write a quantised model (.ftz) too, and its figures beside those of the whole one"
    )


class Prepared(NamedTuple):
    """Texts before training; `held_out` and `training` by label."""

    drawn: dict[str, Drawn]  # by source
    training: dict[str, list[str]]
    held_out: dict[str, list[str]]
    made_from: str  # fingerprint of the texts, settings, seed, versions of the library and of this module
    num_contradicting: int  # texts, equal in their words, that stand under two labels or more


def prepare_labels(config: TrainLabelsConfig, *, seed: int, folder: str | None = None) -> Prepared:
    """Draw and split.

    Raises
    ------
    ConfigError, DataError      a source without files or texts; fewer than two labels, or one without training or held-out texts
    """
    names = [source.name for source in config.examples]
    if len(set(names)) < len(names):
        raise ConfigError("examples", names, "expected sources of different names")
    drawn = {source.name: draw_examples(source, seed=seed, folder=folder) for source in config.examples}
    groups = group_by_label(drawn.values())
    if config.max_docs_per_label is not None:
        groups = balance_labels(groups, config.max_docs_per_label, seed=seed)
    if config.balance:
        groups = balance_labels(groups, None, seed=seed)
    training: dict[str, list[str]] = {}
    held_out: dict[str, list[str]] = {}
    wholes = join_wholes(drawn.values())
    for label, texts in groups.items():
        apart = is_held_out(texts, seed=seed, held_out_frac=config.classifier.held_out_frac, wholes=wholes)
        held_out[label] = [text for text, is_apart in zip(texts, apart, strict=True) if is_apart]
        training[label] = [text for text, is_apart in zip(texts, apart, strict=True) if not is_apart]
    if len(groups) < 2:
        raise DataError("classifier training", f"one label only, {[*groups]}", hint="Give texts of two labels or more.")
    for label in groups:
        if not training[label] or not held_out[label]:
            problem = f"label {label} has {len(training[label])} training and {len(held_out[label])} held-out texts"
            raise DataError("classifier training", problem, hint="Give more texts of that label.")
    if config.positive_label is not None and config.positive_label not in groups:
        raise ConfigError("positive_label", config.positive_label, f"expected one of the labels {[*groups]}")
    if config.score_cut is not None and not are_scores([*groups]):
        raise ConfigError(
            "score_cut", config.score_cut, f"expected labels that are whole numbers, they are {[*groups]}"
        )
    marks = {name: part.fingerprint for name, part in drawn.items()}
    return Prepared(
        drawn,
        training,
        held_out,
        configuration.fingerprint(VERSION, name_library(), dump_config(_identity(config)), seed, marks),
        count_contradicting(groups),
    )


def _identity(config: TrainLabelsConfig) -> TrainLabelsConfig:
    """Without what changes no byte of the model: words, the places where the texts lie, and what is asked of the figures."""
    examples = [source.model_copy(update={"about": "", "inputs": [], "corpus": None}) for source in config.examples]
    figures = {name: TrainLabelsConfig.model_fields[name].default for name in _OF_FIGURES}
    return config.model_copy(update={"about": "", "examples": examples, **figures})


def train_labels(
    config: TrainLabelsConfig, *, output_path: str, seed: int = 0, folder: str | None = None, replace: bool = False
) -> tuple[dict[str, Any], bool]:
    """Train, measure and write; (card, whether a model was trained: False when the same one stood there already).

    Writes `output_path` (.bin), `output_path`.card.json, `output_path`.calibration.svg and, when quantising, the .ftz beside it with a
    card of its own.

    Raises
    ------
    ConfigError     another model stands at output_path and `replace` is false; a mistake in the settings
    DataError       texts that do not suffice
    DolmaError      weights that are not finite
    """
    from taggers.calibration_chart import draw_calibration  # matplotlib is slow to import

    if not output_path.endswith(".bin"):
        raise ConfigError("--output", output_path, "expected a name that ends in .bin")
    prepared = prepare_labels(config, seed=seed, folder=folder)
    standing = _find_standing(output_path, config, prepared)
    if standing is not None:
        if standing["config"] != dump_config(config):  # only what is asked of the figures, or said of it, is another
            standing = _measure_again(output_path, config, prepared, seed)
        return standing, False
    if not replace:
        _refuse_others(output_path, config)
    with tempfile.TemporaryDirectory(prefix="dolma-py-classifier-") as work:
        made = os.path.join(work, "model.bin")
        normalised = {label: [normalize_text(text) for text in texts] for label, texts in prepared.training.items()}
        model = train_model(normalised, work, seed, config.classifier)
        model.save_model(made)
        card = _make_card(config, prepared, made, seed)
        if config.quantize:
            small = os.path.join(work, "model.ftz")
            _quantize(model)
            model.save_model(small)
            small_card = _make_card(config, prepared, small, seed)
            card["quantized"] = _describe_quantized(small_card)
        _remove_earlier(output_path)
        if config.quantize:
            small_path = quantized_path(output_path)
            write_bytes(small_path + ".card.json", render_json(small_card))
            copy_file(small, small_path)
        write_bytes(_picture_path(output_path), draw_calibration(card["held_out"]).encode())
        write_bytes(output_path + ".card.json", render_json(card))
        copy_file(made, output_path)
    load_model.cache_clear()  # the path may have held another model
    return card, True


def _quantize(model: Any) -> None:
    """In place: product quantisation by k-means with a fixed seed of the library's own, no retraining."""
    try:
        model.quantize()
    except ValueError as error:
        problem = f"the model cannot be quantised ({error})"
        raise DataError("classifier training", problem, hint="Give more texts, or quantize: false.") from error


def _describe_quantized(card: dict[str, Any]) -> dict[str, Any]:
    return {name: card[name] for name in ("model_bytes", "model_fingerprint", "held_out", "scores")}


def _find_standing(output_path: str, config: TrainLabelsConfig, prepared: Prepared) -> dict[str, Any] | None:
    """The card of a model that the same training left at output_path, all its files of that training; else None."""
    card = find_card(output_path)
    if card is None or card.get("made_from") != prepared.made_from or not path_exists(_picture_path(output_path)):
        return None
    if config.quantize:
        small = find_card(quantized_path(output_path))
        if small is None or small["model_fingerprint"] != card.get("quantized", {}).get("model_fingerprint"):
            return None
    return card


def _measure_again(output_path: str, config: TrainLabelsConfig, prepared: Prepared, seed: int) -> dict[str, Any]:
    """New cards and a new picture for the model that stands at output_path."""
    from taggers.calibration_chart import draw_calibration  # matplotlib is slow to import

    card = _make_card(config, prepared, output_path, seed)
    if config.quantize:
        small_path = quantized_path(output_path)
        small_card = _make_card(config, prepared, small_path, seed)
        card["quantized"] = _describe_quantized(small_card)
        write_bytes(small_path + ".card.json", render_json(small_card))
    write_bytes(_picture_path(output_path), draw_calibration(card["held_out"]).encode())
    write_bytes(output_path + ".card.json", render_json(card))
    return card


def _refuse_others(output_path: str, config: TrainLabelsConfig) -> None:
    """Raise ConfigError where a file would be written over that this training has not left behind half done."""
    hint = "Choose another name, or give --replace."
    if path_exists(output_path):
        raise ConfigError("--output", output_path, "another model stands there", hint)
    small_path = quantized_path(output_path)
    if config.quantize and path_exists(small_path) and find_card(small_path) is None:
        raise ConfigError("--output", small_path, "another model stands there", hint)


def _remove_earlier(output_path: str) -> None:
    """Take away what an earlier training left, the .bin first: what stands beside a .bin is then always of its training."""
    remove_file(output_path)
    small_path = quantized_path(output_path)
    # a .ftz without a card of ours is somebody's own
    of_small = [small_path, small_path + ".card.json"] if find_card(small_path) or not path_exists(small_path) else []
    for path in (*of_small, _picture_path(output_path), output_path + ".card.json"):
        remove_file(path)


def _picture_path(output_path: str) -> str:
    return output_path + ".calibration.svg"


def quantized_path(output_path: str) -> str:
    """Where the quantised model of a .bin lies."""
    return posixpath.splitext(output_path)[0] + ".ftz"


def find_card(model_path: str) -> dict[str, Any] | None:
    """The card beside a model, None when there is none or it is another model's."""
    import orjson

    if not file_bytes(model_path) or not file_bytes(model_path + ".card.json"):
        return None
    try:
        card: dict[str, Any] = orjson.loads(read_bytes(model_path + ".card.json"))
    except orjson.JSONDecodeError:
        return None
    return card if card.get("model_fingerprint") == checksum_file(model_path) else None


def _make_card(config: TrainLabelsConfig, prepared: Prepared, path: str, seed: int) -> dict[str, Any]:
    trained = load_model(path)
    sources = {
        name: {
            "counts": part.counts,
            "fingerprint": part.fingerprint,
            "about": next(source.about for source in config.examples if source.name == name),
        }
        for name, part in prepared.drawn.items()
    }
    figures, scores = measure_groups(
        trained, prepared.held_out, seed=seed, target_precision=config.target_precision, score_cut=config.score_cut
    )
    return {
        "format": "dolma-py-classifier",
        "version": CARD_VERSION,
        "about": config.about,
        "config": dump_config(config),
        "seed": seed,
        "made_from": prepared.made_from,
        "library": name_library(),
        "normalisation": NORMALISATION,
        "labels": sorted(trained.labels),
        "model_bytes": file_bytes(path),
        "model_fingerprint": checksum_file(path),
        "num_words": trained.arrays.words.num_words,
        "data": {
            "sources": sources,
            "labels": {
                label: {"training": len(prepared.training[label]), "held_out": len(prepared.held_out[label])}
                for label in prepared.training
            },
            "texts_under_two_labels": prepared.num_contradicting,
            "sample_of_training": [f"{key:016x}" for key in sample_keys(prepared.training)],
        },
        "held_out": figures,
        "scores": scores,
    }


def name_library() -> str:
    """The distribution that brings the module `fasttext`, and its version: models differ from build to build."""
    found = set(importlib.metadata.packages_distributions().get("fasttext", [])) & set(_LIBRARIES)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(found)) or "unknown"


def measure_groups(
    model: FastTextModel,
    groups: Mapping[str, Sequence[str]],
    *,
    seed: int = 0,
    target_precision: float = 0.9,
    score_cut: int | None = None,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(figures, figures of labels that are scores or None) of texts grouped by the label that they have.

    Raises ConfigError for a label that the model has not.
    """
    labels = sorted(model.labels)
    unknown = sorted(set(groups) - set(labels))
    if unknown:
        raise ConfigError("label", unknown[0], f"expected labels of the model, {labels[:30]}", "Map them by labels.")
    texts = [text for label in sorted(groups) for text in groups[label]]
    truth = np.array([labels.index(label) for label in sorted(groups) for _ in groups[label]], np.int64)
    probabilities = predict_probabilities(model, texts, labels)
    figures = measure_labels(probabilities, truth, labels, seed=seed, target_precision=target_precision)
    if score_cut is None:
        return figures, None
    return figures, measure_scores(probabilities, truth, labels, score_cut)


def predict_probabilities(model: FastTextModel, texts: Sequence[str], labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """P of each of `labels` for each text, float32 (N, L) in [0, 1]; NaN where the model knows nothing of the text.

    Raises ConfigError for a label that the model has not.
    """
    numbers = [check_label(model, label, "label") for label in labels]
    found = np.empty((len(texts), len(labels)), np.float32)
    for first in range(0, len(texts), _BATCH_TEXTS):
        (scores,) = score_texts([model], *join_texts(texts[first : first + _BATCH_TEXTS]))
        for column, number in enumerate(numbers):
            found[first : first + _BATCH_TEXTS, column] = scores.probabilities(number)
    return found


def sample_keys(groups: Mapping[str, Sequence[str]]) -> list[int]:
    """The smallest keys of the texts' words: by them it is told which of the training texts stand among others, without the texts."""
    keys = {words_key(text) for texts in groups.values() for text in texts}
    return heapq.nsmallest(_SAMPLE_TEXTS, keys)


def _find_trained_on(model_path: str, groups: Mapping[str, Sequence[str]]) -> float | None:
    """About which share of the texts that the model was trained on are among these; None without a card that says so."""
    card = find_card(model_path)
    sample = {int(key, 16) for key in (card or {}).get("data", {}).get("sample_of_training", [])}
    if not sample:
        return None
    return len(sample & {words_key(text) for texts in groups.values() for text in texts}) / len(sample)


def measure_model(
    model_path: str, sources: Sequence[ExampleSource], *, seed: int = 0, folder: str | None = None, **options: Any
) -> dict[str, Any]:
    """The figures of an existing model on labelled sources, and what was measured on."""
    model = load_model(model_path)
    drawn = {source.name: draw_examples(source, seed=seed, folder=folder) for source in sources}
    groups = group_by_label(drawn.values())
    figures, scores = measure_groups(model, groups, seed=seed, **options)
    return {
        "model": {
            "fingerprint": model.fingerprint,
            "model_bytes": file_bytes(model_path),
            "labels": sorted(model.labels),
        },
        "sources": {name: {"counts": part.counts, "fingerprint": part.fingerprint} for name, part in drawn.items()},
        "trained_on_frac": _find_trained_on(model_path, groups),
        "normalisation": NORMALISATION,
        "figures": figures,
        "scores": scores,
    }
