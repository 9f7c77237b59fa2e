"""Packaged recipes for training classifiers and for asking a model for labels: found by name, changed by --set, checked before use."""

from __future__ import annotations

import importlib.resources
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from dolma_py import storage
from dolma_py.config import apply_overrides, build_config, parse_yaml
from dolma_py.errors import ConfigError, DolmaError, name_known
from taggers.annotate_texts import AnnotateConfig
from taggers.labelled_texts import ExampleSource, find_inputs
from taggers.train_labels import TrainLabelsConfig

Kind = Literal["classifier", "annotation"]
LABEL_FILES = "labels"  # name of the source made of --input
_ENDPOINT = {"base_url": "http://127.0.0.1:8000/v1", "model": "NAME", "cache": "FOLDER"}  # what has no default


def list_recipes(kind: Kind) -> list[str]:
    """Names of the packaged recipes."""
    folder = importlib.resources.files("taggers") / f"{kind}_recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_recipe(
    kind: Kind, name: str | None, *, inputs: list[str], overrides: list[str]
) -> TrainLabelsConfig | AnnotateConfig:
    """The settings of a packaged recipe or YAML file, with files of --input in place of its sources, and --set on top.

    inputs: label files (text and label) for a classifier, texts for annotation; --set examples.labels.text=body says where the text is.

    Raises ConfigError for no such recipe, a mistake in it, or neither sources nor inputs.
    """
    values: Any = {}
    where = ""
    if name is not None:
        where = find_recipe(kind, name)
        if storage.file_bytes(where) is None:
            raise ConfigError("--recipe", name, "expected a file", "Check the path.")
        values = parse_yaml(storage.read_bytes(where).decode("utf-8", "replace"), where)
        if not isinstance(values, dict):
            raise ConfigError("--recipe", name, "expected a mapping of settings", where=where)
    if inputs:
        source: dict[str, Any] = {"name": LABEL_FILES, "inputs": inputs}
        if kind == "classifier":
            source["label_field"] = "label"
        values = {**values, "examples": [source]}
    values = apply_overrides(values, overrides)
    if kind == "annotation":
        _check_endpoint(values)
    model = TrainLabelsConfig if kind == "classifier" else AnnotateConfig
    return build_config(model, values, where=where)


def _check_endpoint(values: dict[str, Any]) -> None:
    """Packaged recipes name no endpoint: what is missing of it is said in one sentence, with the options that give it."""
    given = values.get("endpoint")
    if given is None or isinstance(given, dict):
        missing = [name for name in _ENDPOINT if not (given or {}).get(name)]
        if missing:
            hint = " ".join(f"--set endpoint.{name}={_ENDPOINT[name]}" for name in missing)
            key = ", ".join(f"endpoint.{name}" for name in missing)
            raise ConfigError(
                key, None, "expected the model that is asked and a folder for its answers", f"Give {hint}."
            )


def find_recipe(kind: Kind, name: str) -> str:
    """The file of a packaged recipe's name, or the path itself."""
    if name.endswith((".yaml", ".yml")):
        return storage.resolve_path(name)
    known = list_recipes(kind)
    if name not in known:
        hint = name_known(name, known)
        raise ConfigError("--recipe", name, "expected a file ending in .yaml, or a packaged recipe", hint)
    return str(importlib.resources.files("taggers") / f"{kind}_recipes" / f"{name}.yaml")


class Standing(NamedTuple):
    """Whether a source's data is there; `problem` is "" when it is."""

    name: str
    about: str
    place: str
    files: int
    num_bytes: int
    problem: str
    seconds: float


def check_sources(sources: list[ExampleSource], folder: str | None = None) -> list[Standing]:
    """What each source is and whether its files are reached; nothing of them is read."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda source: check_source(source, folder), sources))


def check_source(source: ExampleSource, folder: str | None = None) -> Standing:
    """The same for one; what is wrong is told, not raised."""
    start = time.monotonic()
    place = source.corpus or " ".join(source.inputs)
    files = num_bytes = 0
    problem = ""
    try:
        if source.corpus is not None:
            from dolma_py.corpus import Corpus

            corpus = Corpus(source.corpus)
            corpus.load_view(source.view)
            listing = corpus.need_listing()
            files, num_bytes = len(listing.shards), listing.text_bytes
        else:
            found = find_inputs(source, folder)
            files, num_bytes = len(found.files), sum(info.num_bytes for info in found.files)
    except DolmaError as error:
        problem = str(error)
    except OSError as error:
        problem = str(error.strerror or error)
    return Standing(source.name, source.about, place, files, num_bytes, problem, time.monotonic() - start)
