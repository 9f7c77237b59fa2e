"""Every YAML file that ships is found, and loads strictly: an unknown or repeated key in one of them is a red test."""

from __future__ import annotations

from pathlib import Path

import pytest

from dolma_py.config import load_yaml
from dolma_py.errors import ConfigError
from tests.conftest import REPOSITORY

RECIPES = REPOSITORY / "pipelines" / "recipes"
TRAINING = REPOSITORY / "train_bridge" / "configs"


def find_yaml(folder: Path) -> list[Path]:
    """Every YAML file at any depth."""
    return sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])


@pytest.mark.parametrize(("folder", "least"), [(RECIPES, 1), (TRAINING, 1)])
def test_files_are_found(folder, least):
    assert len(find_yaml(folder)) >= least


def test_deep_files_are_found(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.yaml").write_text("x: 1\n")
    assert find_yaml(tmp_path) == [tmp_path / "a" / "b" / "c.yaml"]


@pytest.mark.parametrize("path", find_yaml(RECIPES) + find_yaml(TRAINING), ids=lambda path: path.stem)
def test_it_is_strict_yaml(path):
    assert isinstance(load_yaml(path), dict)


@pytest.mark.parametrize("path", find_yaml(RECIPES), ids=lambda path: path.stem)
def test_the_recipe_builds_its_steps(path):
    from pipelines.recipe import build_steps, load_recipe

    assert build_steps(load_recipe(str(path), []))


@pytest.mark.parametrize("path", find_yaml(TRAINING), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_training_configuration_loads(path):
    from train_bridge.train_config import load_train_config

    # the shards' manifest gives the vocabulary; there is none here
    assert load_train_config(str(path), overrides=["model.vocab_size=8192"], manifest=None)


def test_a_planted_unknown_training_key_is_refused(tmp_path):
    from train_bridge.train_config import load_train_config

    (tmp_path / "bad.yaml").write_text(find_yaml(TRAINING)[0].read_text() + "\nno_such_key_here: 1\n")
    with pytest.raises(ConfigError, match="no_such_key_here"):
        load_train_config(str(tmp_path / "bad.yaml"), overrides=["model.vocab_size=8192"], manifest=None)


@pytest.mark.parametrize("text", ["steps: []\nsteps: []\n", "a: &x 1\nb: *x\n", "a: [1\n"])
def test_a_planted_fault_is_refused(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match="bad.yaml:"):
        load_yaml(tmp_path / "bad.yaml")


def test_a_planted_unknown_key_is_refused(tmp_path):
    from pipelines.recipe import load_recipe

    whole = find_yaml(RECIPES)[0].read_text()
    (tmp_path / "bad.yaml").write_text(whole + "\nno_such_key_here: 1\n")
    with pytest.raises(ConfigError, match="no_such_key_here"):
        load_recipe(str(tmp_path / "bad.yaml"), [])
