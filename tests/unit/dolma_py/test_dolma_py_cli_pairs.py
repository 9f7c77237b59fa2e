"""`posttrain pairs`, `tool-sessions` and `tool-scores` as a person runs them."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.cli_pairs import add_pair_and_tool_commands
from dolma_py.errors import ConfigError
from tests.chat_server import ChatServer, question_of

RUNNER = CliRunner()


def run(*arguments: str) -> str:
    found = RUNNER.invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def fail(*arguments: str) -> Exception:
    found = RUNNER.invoke(app, list(arguments))
    assert found.exit_code != 0
    assert found.exception is not None
    return found.exception


def write(path, values) -> str:
    path.write_text(json.dumps(values))  # which is YAML
    return str(path)


def endpoint_of(url, tmp_path):
    return {
        "base_url": url,
        "model": "m",
        "cache": str(tmp_path / "answers"),
        "first_wait_seconds": 0.01,
        "max_tries": 2,
    }


def test_made_sessions(tmp_path):
    output = tmp_path / "sessions.jsonl"
    assert "Nothing was written" in run("posttrain", "tool-sessions", str(output), "--count", "21", "--dry-run")
    assert not output.exists()
    assert f"wrote {output}" in run("posttrain", "tool-sessions", str(output), "--count", "21", "--seed", "3")
    first = output.read_bytes()
    assert len(first.splitlines()) == 21
    assert isinstance(fail("posttrain", "tool-sessions", str(output), "--count", "21"), ConfigError)
    run("posttrain", "tool-sessions", str(output), "--count", "21", "--seed", "3", "--replace")
    assert output.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part", "dev"], "expected train or test"),
        (["--set", "sessions=3"], "expected --config"),
        (["--part", "test", "--config", "x.yaml"], "a model's sessions are for training"),
    ],
)
def test_options_that_do_not_fit(tmp_path, arguments, said):
    assert said in str(fail("posttrain", "tool-sessions", str(tmp_path / "o"), *arguments))


def test_a_model_is_scored(tmp_path):
    items, output = str(tmp_path / "items.jsonl"), tmp_path / "scores"
    run("posttrain", "tool-sessions", items, "--part", "test", "--count", "28")
    with ChatServer(
        lambda body: "<function_calls>f(</function_calls>" if "?" in question_of(body) else "No."
    ) as server:
        config = write(tmp_path / "m.yaml", {"endpoint": endpoint_of(server.url, tmp_path), "limits": {"max_steps": 2}})
        said = run("posttrain", "tool-scores", items, str(output), "--config", config, "--dry-run")
        assert "28 conversations with 36 turns of the user: at most 72 requests" in said and not server.bodies
        said = run("posttrain", "tool-scores", items, str(output), "--config", config)
    assert "| all | 28 |" in said and "block:syntax: " in said and f"wrote {output}/scores.json" in said
    facts = json.loads((output / "scores.json").read_text())
    assert facts["table"][-1]["conversations"] == 28 and facts["model"] == "m" and facts["failed_requests"] == 0
    assert len((output / "scores.jsonl").read_text().splitlines()) == 28


def test_items_of_other_worlds_are_refused(tmp_path):
    items = tmp_path / "items.jsonl"
    run("posttrain", "tool-sessions", str(items), "--part", "test", "--count", "1")
    items.write_text(items.read_text().replace('"domain": "library"', '"domain": "space"'))
    config = write(tmp_path / "m.yaml", {"endpoint": endpoint_of("http://127.0.0.1:1/v1", tmp_path)})
    assert "one is 'space'" in str(
        fail("posttrain", "tool-scores", str(items), str(tmp_path / "o"), "--config", config)
    )


def test_simulated_sessions(tmp_path):
    session = [{"role": "user", "content": "Cook."}, {"role": "assistant", "content": "I cannot."}]
    output = str(tmp_path / "o.jsonl")
    with ChatServer(lambda body: json.dumps({"messages": session})) as server:
        config = write(tmp_path / "s.yaml", {"endpoint": endpoint_of(server.url, tmp_path), "kinds": ["no_tool"]})
        said = run("posttrain", "tool-sessions", output, "--config", config, "--count", "4", "--dry-run")
        assert "4 sessions: 4 requests, 0 of them answered before" in said and not server.bodies
        assert "wanted 4, rows 4" in run("posttrain", "tool-sessions", output, "--config", config, "--count", "4")
        assert "nothing was done" in run("posttrain", "tool-sessions", output, "--config", config, "--count", "4")


def test_pairs(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"id": "a", "prompt": "one"}\n{"id": "b", "prompt": "two"}\n')
    output = str(tmp_path / "pairs.jsonl")
    with ChatServer(lambda body: f"{body['temperature']} {question_of(body)}") as server:
        one = {"endpoint": endpoint_of(server.url, tmp_path)}
        config = write(tmp_path / "p.yaml", {
            "kind": "delta", "strong": {"name": "s", "temperature": 0.1, **one}, "weak": {"name": "w", "temperature": 0.9, **one},
        })  # fmt: skip
        given = [config, output, "--input", str(tmp_path / "prompts.jsonl")]
        said = run("posttrain", "pairs", *given, "--dry-run")
        assert (
            "s: 2 requests" in said and "in all: at most 0.00 to pay. Nothing was asked." in said and not server.bodies
        )
        assert "wanted 2, rows 2" in run("posttrain", "pairs", *given)
        assert "nothing was done" in run("posttrain", "pairs", *given)
        assert "wanted 1, rows 1" in run("posttrain", "pairs", *given, "--set", "max_prompts=1", "--replace")
    [row] = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert (row["chosen"][-1]["content"], row["rejected"][-1]["content"]) == ("0.1 one", "0.9 one")


@pytest.mark.parametrize("command", ["pairs", "tool-sessions", "tool-scores"])
def test_settings_are_shown(command, capsys):
    assert "endpoint" in run("settings", "posttrain", command)


def test_the_group_is_joined_where_it_is_there():
    whole, group = typer.Typer(), typer.Typer()
    group.command("prepare")(lambda: None)
    whole.add_typer(group, name="posttrain")
    add_pair_and_tool_commands(whole, lambda command: None)
    said = RUNNER.invoke(whole, ["posttrain", "--help"]).output
    assert all(command in said for command in ("prepare", "pairs", "tool-sessions", "tool-scores"))
