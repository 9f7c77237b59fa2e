"""Settings as YAML text: nothing is left out, and what is printed is what a job without settings gets."""

import subprocess
import sys
from typing import Literal

import pytest
import yaml
from pydantic import Field

from dolma_py.config import Config, build_config, parse_yaml
from dolma_py.settings_text import render_settings
from pipelines.commands import SETTINGS, run_settings
from pipelines.plain_commands import PlainOptions, make_recipe
from pipelines.recipe import KINDS, SYNTH_KINDS, build_steps, settings_class


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


# some value for every key that has no default
NEEDED = {
    "sources": [{"inputs": ["x"]}], "positives": ["x"], "negatives": ["x"], "taggers": [{"tagger": "lengths"}], "plan": {"token_budget": 1},
    "mix": "x", "output": "x", "inputs": ["x"], "job": "x",
    "recipe": "cwe", "tokenizer": "x", "endpoint": {"base_url": "http://127.0.0.1:1/v1", "model": "m", "cache": "c"},
}  # fmt: skip
NEEDED_OF = {"prepare_posttrain": {"sources": [{"name": "x", "inputs": ["x"]}]}}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_job(kind):
    """What is printed is what a job gets that is given nothing but what it must be given."""
    model = settings_class(kind)
    values = parse_yaml("\n".join(render_settings(model)), "here")
    assert list(values) == list(model.model_fields)
    some = NEEDED | NEEDED_OF.get(kind, {})
    needed = {name: some[name] for name, field in model.model_fields.items() if field.is_required()}
    assert {values[name] for name in needed} <= {None}
    assert build_config(model, values | needed) == model(**needed)


def test_every_setting_of_every_job_is_described():
    bare = [
        f"{kind}.{name}" for kind in KINDS for name, field in settings_class(kind).model_fields.items()
        if not (field.description or "").strip()
    ]  # fmt: skip
    assert bare == []


@pytest.mark.parametrize(
    "command", ["dedup minhash", "train", "contamination", "classifier recipe", "classifier annotate"]
)
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
    assert (
        answer.returncode == 2
        and "dedup minhash" in answer.stderr
        and ", train," in answer.stderr
        and "Traceback" not in answer.stderr
    )


def test_every_command_of_a_job_is_there():
    from dolma_py.cli import COMMANDS

    jobs = {
        name
        for name, target in COMMANDS.items()
        if target.startswith("pipelines.") and name not in ("build", "settings")
    }
    assert jobs == set(SETTINGS) - {f"synth {recipe}" for recipe in SYNTH_KINDS}


def uncomment(text):
    """The block of `plain:`, as a user takes it over."""
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("# plain:"))
    return "\n".join(line.removeprefix("# ") for line in lines[start:])


@pytest.mark.parametrize("command", ["tag", "decontaminate", "dedup exact", "dedup minhash"])
def test_how_plain_files_are_read_is_told_for_the_commands_that_take_them(capsys, command):
    run_settings(name=command)
    plain = parse_yaml(uncomment(capsys.readouterr().out), "here")["plain"]
    assert plain["max_rejected_frac"] == 0.05 and plain["limits"]["batch_rows"] > 0
    kind = SETTINGS[command]
    settings = {"plain": plain} | ({"taggers": NEEDED["taggers"]} if kind == "tag" else {})
    recipe, _ = make_recipe(
        kind, settings, {"name": "job", "seed": 0}, PlainOptions(["in"], "out", "text", None, False)
    )
    assert build_steps(recipe)[0].settings.max_rejected_frac == 0.05


def test_the_other_commands_say_nothing_of_plain_files(capsys):
    run_settings(name="tokenize")
    assert "plain" not in capsys.readouterr().out
