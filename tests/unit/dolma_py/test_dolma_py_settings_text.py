"""Settings as YAML text: nothing is left out, and what is printed is what a job without settings gets."""

import subprocess
import sys
from typing import Literal

import pytest
import yaml
from pydantic import Field

from dolma_py.config import Config, parse_yaml
from dolma_py.settings_text import render_settings
from pipelines.commands import SETTINGS
from pipelines.recipe import KINDS, settings_class


class Inner(Config):
    share: float = Field(default=0.5, description="of the whole: a colon # and a hash")
    words: tuple[str, ...] = Field(default=("no", "1e-3", "null"), description="look like other values")


class Outer(Config):
    path: str = Field(description="where")
    inner: Inner = Field(default=Inner(share=0.25), description="below")
    maybe: Inner | None = Field(default=None, description="or none")
    several: list[Inner] = Field(default_factory=lambda: [Inner()], description="of them")
    mode: Literal["a", "b"] | None = Field(default="a", description="how")


def test_the_text_is_the_defaults():
    lines = render_settings(Outer)
    values = parse_yaml("\n".join(lines), "here")
    assert values.pop("path") is None and lines[0].split() == ["path:", "null", "#", "required;", "where"]
    assert Outer(path="x", **values) == Outer(path="x")
    assert values["inner"]["share"] == 0.25
    assert any(line.startswith("#   share: 0.5") for line in lines)
    assert "one of a, b; how" in lines[-1]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_job(kind):
    model = settings_class(kind)
    values = yaml.safe_load("\n".join(render_settings(model)))
    assert list(values) == list(model.model_fields)
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    assert {name for name, value in values.items() if value is None} >= required


def test_every_setting_of_every_job_is_described():
    bare = [
        f"{kind}.{name}" for kind in KINDS for name, field in settings_class(kind).model_fields.items()
        if not (field.description or "").strip()
    ]  # fmt: skip
    assert bare == []


@pytest.mark.parametrize("command", ["dedup minhash", "train", "contamination"])
def test_the_command(command):
    answer = subprocess.run(
        [sys.executable, "-m", "dolma_py", "settings", *command.split()], capture_output=True, text=True, check=True
    )
    assert isinstance(yaml.safe_load(answer.stdout), dict)


def test_a_tagger_without_settings_says_so():
    assert render_settings(Config) == ["# no settings"]


def test_an_unknown_name_is_told_with_the_known():
    answer = subprocess.run(
        [sys.executable, "-m", "dolma_py", "settings", "dedup", "nothing"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2 and "dedup minhash" in answer.stderr and "Traceback" not in answer.stderr


def test_every_command_of_a_job_is_there():
    from dolma_py.cli import COMMANDS

    jobs = {
        name
        for name, target in COMMANDS.items()
        if target.startswith("pipelines.") and name not in ("build", "settings")
    }
    assert jobs == set(SETTINGS)
