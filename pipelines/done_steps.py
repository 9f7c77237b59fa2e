"""What stands of a recipe's steps: the fingerprint of each, whether its output is there, and if not, why it runs again."""

from __future__ import annotations

from typing import Any, NamedTuple

from dolma_py import config, manifest, storage, views
from dolma_py.config import Config
from dolma_py.corpus import Corpus
from dolma_py.errors import ConfigError, DataError
from dolma_py.views import View
from pipelines.recipe import Recipe, Step
from pipelines.steps import attribute_set_stands, fingerprint_named_sets

DONE = "done"
RECOUNT = "its view again: rules changed"


class State(NamedTuple):
    """What the steps so far have left."""

    view: View | None
    artifacts: dict[str, str]


class Standing(NamedTuple):
    """One step before a run."""

    word: str  # DONE, RECOUNT, "to do", or why it is done again
    state: State  # before it, as far as it is known: that before the first step not done for those after it

    @property
    def is_done(self) -> bool:
        return self.word == DONE


def step_folder(recipe: Recipe, step: Step) -> str:
    """Of its manifest, below the corpus."""
    return f"runs/{recipe.recipe}/{step.index:02d}-{step.name}"


def read_view(step: Step, state: State) -> View | None:
    """The view that the step gets."""
    return state.view if getattr(step.module, "READS_VIEW", True) else None


def fingerprint_step(recipe: Recipe, step: Step, corpus: Corpus, state: State) -> str:
    """Of what decides the step's output: settings, version, seed, splits, view, artifacts and attribute sets used, inputs."""
    named_artifacts = {name: path for name, path in state.artifacts.items() if uses_artifact(step.settings, name)}
    used = {name: storage.checksum_file(corpus.path(path)) for name, path in named_artifacts.items()}
    inputs = getattr(step.module, "fingerprint_inputs", None)
    seen = inputs(corpus, step.settings) if inputs else None
    named = fingerprint_named_sets(corpus, step.identity())
    view = read_view(step, state)
    mark = None if view is None else view.fingerprint
    return config.fingerprint(step.identity(), recipe.seed, recipe.split_bytes, mark, used, named, seen)


def uses_artifact(settings: Config, name: str) -> bool:
    """Whether the settings name the artifact, as artifact:NAME or in a field called after it."""
    return f'"artifact:{name}"' in settings.model_dump_json()


def output_stands(corpus: Corpus, found: dict[str, Any]) -> bool:
    """Whether the attribute sets, artifacts, files and view that a manifest speaks of are still there."""
    if not all(attribute_set_stands(corpus, name, mark) for name, mark in found["attributes"].items()):
        return False
    if any(storage.file_bytes(corpus.path(path)) != num_bytes for path, num_bytes in found["files"].items()):
        return False
    checksums = found["artifact_checksums"]
    for name, path in found["artifacts"].items():
        path = corpus.path(path)
        if storage.file_bytes(path) is None or storage.checksum_file(path) != checksums[name]:
            return False
    if found["view"] is None:
        return True
    path = corpus.path("views", f"{found['view']}.yaml")
    return storage.file_bytes(path) is not None and views.load_view(path).fingerprint == found["view_fingerprint"]


def list_rules(step: Step) -> list[dict[str, Any]]:
    """As a manifest has them."""
    return [config.dump_config(rule) for rule in step.rules]


def advance(corpus: Corpus, state: State, done: dict[str, Any]) -> State:
    """What stands after a step with that manifest."""
    view = state.view if done["view"] is None else corpus.load_view(done["view"])
    return State(view, state.artifacts | done["artifacts"])


def find_standing(recipe: Recipe, steps: list[Step], corpus: Corpus, state: State) -> list[Standing]:
    """Of every step, without doing anything: what the same command would find.

    Behind the first step that is not done nothing is known of the view that a step would read: of those with the same
    settings that what they read changes is said, which is what mostly happens.
    """
    found: list[Standing] = []
    known = True
    for step in steps:
        made = manifest.read_manifest(corpus.path(step_folder(recipe, step)))
        if made is None:
            word = "to do"
        elif known or not getattr(step.module, "READS_VIEW", True):
            word = _compare(recipe, step, corpus, state, made)
        else:
            word = _find_change(step, made) or "again: what it reads changes"
        found.append(Standing(word, state))
        known = known and word == DONE
        if known and made is not None:
            state = advance(corpus, state, made)
    return found


def _compare(recipe: Recipe, step: Step, corpus: Corpus, state: State, made: dict[str, Any]) -> str:
    """As run_step in pipelines.build_recipe decides."""
    try:
        mark = fingerprint_step(recipe, step, corpus, state)
    except (ConfigError, DataError):  # an input or an attribute set is missing, which the run itself tells
        mark = ""
    if mark == made["fingerprint"] and output_stands(corpus, made):
        return DONE if made["rules"] == list_rules(step) else RECOUNT
    return explain_again(step, mark, made)


def explain_again(step: Step, fingerprint: str, made: dict[str, Any]) -> str:
    """Why a step that left the manifest `made`, and would now have `fingerprint`, is run again."""
    if fingerprint == made["fingerprint"]:
        return "again: its output is not all there"
    return _find_change(step, made) or "again: what it reads changed"


def _find_change(step: Step, made: dict[str, Any]) -> str:
    """Which setting or version differs from that of the step that left the manifest `made`; empty when none does."""
    now = step.identity()
    if made.get("kind") != now["kind"]:
        return f"again: was a {made.get('kind')}"
    if made["version"] != now["version"]:
        return f"again: version {made['version']} became {now['version']}"
    changed = sorted(_find_changes(made["config"], now["config"]))
    if changed:
        more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
        return f"again: {', '.join(changed[:2])}{more} changed"
    return ""


def _find_changes(before: Any, now: Any, prefix: str = "") -> list[str]:
    """Dotted names of settings that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted({*before, *now})
        return [name for key in names for name in _find_changes(before.get(key), now.get(key), f"{prefix}{key}.")]
    return [] if before == now else [prefix.rstrip(".")]
