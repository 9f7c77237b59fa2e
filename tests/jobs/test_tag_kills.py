"""Kill -9 while taggers write, of the driver with all it started or of one worker: the bytes of a run that nobody disturbed.

About 20 s a kill: the killed command has a JVM of its own, what goes on after it runs in the session of the tests.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from dolma_py.corpus import Corpus
from pipelines.build_recipe import BuildOptions, build_from
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from tests.chat_server import ChatServer
from tests.jobs import killed_commands, made_pages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MAX_TRIES = 4
FOLDERS = {
    "pages": "runs/pages/00-tag",
    "short": "runs/short/00-tag",
    "models": "runs/models/00-tag",
    "papers": "runs/papers/01-tag",
}  # of the tag step of each recipe
_COMMAND = """
import sys, yaml
from dolma_py.corpus import Corpus
from pipelines.build_recipe import build_from
from pipelines.commands import make_options
from pipelines.done_steps import State
from pipelines.recipe import Recipe
from pipelines.session import open_session

recipe = yaml.safe_load(open(sys.argv[1]))
options = make_options({"master": "local[2,3]", "partitions": None, "bundle": None})
with open_session(options.session):
    corpus = Corpus(sys.argv[2])
    build_from(Recipe(**recipe), corpus, options, State(corpus.load_view(None) if "flow" in recipe else None, {}))
"""


class Undisturbed(NamedTuple):
    plain: Path
    recipes: dict[str, dict[str, Any]]
    expect: Callable[[str], dict[str, bytes]]


def finish(recipe: dict[str, Any], root: Path) -> dict[str, bytes]:
    """Build to the end in this process; what lies in the corpus."""
    corpus = Corpus(str(root))
    state = State(corpus.load_view(None) if "flow" in recipe else None, {})
    build_from(Recipe(**recipe), corpus, BuildOptions(show_progress=False), state)
    return list_made(root)


def list_made(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in made_pages.list_output(root).items() if not name.startswith("answers/")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _spark_of_this_run):
    folder = tmp_path_factory.mktemp("tag kills")
    made_pages.write_plain(folder / "plain")
    made_pages.write_lists(folder / "lists")
    made_pages.write_models(folder / "models of it")
    # an answer takes its time, so that a kill comes while taggers ask
    with ChatServer(made_pages.answer, seconds=0.2) as server:
        recipes = made_pages.make_recipes(folder / "lists", folder / "models of it", server.url)

        @functools.cache
        def expect(name: str) -> dict[str, bytes]:
            shutil.copytree(folder / "plain" / name, folder / "finished" / name)
            return finish(recipes[name], folder / "finished" / name)

        yield Undisturbed(folder / "plain", recipes, expect)


def start(undisturbed: Undisturbed, name: str, root: Path) -> tuple[killed_commands.Command, bool]:
    """The command over a copy of its corpus once a tagger's file is being written, and whether that came before its end."""
    shutil.copytree(undisturbed.plain / name, root)
    path = root.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(undisturbed.recipes[name]))
    command = killed_commands.start([sys.executable, "-c", _COMMAND, str(path), str(root)], root.with_suffix(".log"))
    return command, killed_commands.reach(command, lambda: any((root / FOLDERS[name]).glob("work/attempts/*")))


@pytest.mark.parametrize("name", FOLDERS)
def test_driver_and_all_killed(undisturbed, tmp_path, name):
    for number in range(MAX_TRIES):
        root = tmp_path / f"corpus-{number}"
        command, reached = start(undisturbed, name, root)
        if killed_commands.kill_all(command) and reached and not (root / FOLDERS[name] / "manifest.json").exists():
            break
    else:
        raise AssertionError(f"{MAX_TRIES} times too late: {command.words()}")
    assert finish(undisturbed.recipes[name], root) == undisturbed.expect(name)


@pytest.mark.parametrize("name", FOLDERS)
def test_one_worker_killed(undisturbed, tmp_path, name):
    """The run itself goes on: Spark starts the task again in another process."""
    root = tmp_path / "corpus"
    command, reached = start(undisturbed, name, root)
    assert reached
    killed_commands.kill_a_task(command)
    assert command.process.wait(timeout=killed_commands.WAIT_SEC) == 0, command.words()
    assert list_made(root) == undisturbed.expect(name)
