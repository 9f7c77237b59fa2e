"""Input that means harm: counted or refused, bounded in memory and time, and the job goes on."""

from __future__ import annotations

import gzip
import json
import pickle
import time

import pytest
import zstandard

from dolma_py import config
from dolma_py.errors import ConfigError, DolmaError
from pipelines.build_recipe import BuildOptions, build
from pipelines.recipe import Recipe


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return (eval, ("__import__('pathlib').Path('pwned').touch()",))


def write_hostile(folder):
    """name of the file -> reason that its rejection must carry."""
    good = json.dumps({"text": "a fine document"}).encode() + b"\n"
    files = {
        "bomb.jsonl.zst": (
            zstandard.ZstdCompressor(19).compress(good + b'{"text": "' + b"0" * (400 << 20) + b'"}\n'),
            {"too_long", "bomb"},
        ),
        "torn.jsonl.gz": (gzip.compress(good * 1000)[:-20], {"truncated", "corrupt"}),
        "line.jsonl": (good + b'{"text": "' + b"x" * (80 << 20) + b'"}\n', {"too_long"}),
        "utf8.jsonl": (good + b'{"text": "\xff\xfe"}\n', {"not_utf8"}),
        "surrogate.jsonl": (good + b'{"text": "\\ud800"}\n', {"lone_surrogate"}),
        "pickle.jsonl": (pickle.dumps(Bomb()), {"not_utf8", "invalid_json", "not_object"}),
        "binary.txt": (b"\x00\x01\x02" * 1000, {"binary"}),
        "deep.html": (b"<div>" * 100_000 + b"text" + b"</div>" * 100_000, {"too_deep", "not_html", "no_text"}),
        "lying.parquet": (b"PAR1" + b"\xff" * 64 + b"PAR1", {"bad_parquet"}),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    return {name: reasons for name, (_, reasons) in files.items()}


def test_hostile_input_is_refused_or_counted(tmp_path, monkeypatch, _spark_of_this_run):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inputs").mkdir()
    expected = write_hostile(tmp_path / "inputs")
    recipe = Recipe(recipe="hostile", seed=1, steps=[{
        "kind": "ingest", "max_rejected_frac": 1.0, "sources": [{"name": "hostile", "inputs": [str(tmp_path / "inputs")]}]}])  # fmt: skip
    start = time.perf_counter()
    build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    assert time.perf_counter() - start < 200
    rejected = sorted((tmp_path / "corpus" / "rejected" / "hostile").glob("part-*.jsonl.gz"))
    lines = [line for path in rejected for line in gzip.decompress(path.read_bytes()).splitlines()]
    found = {}
    for line in map(json.loads, lines):
        found.setdefault(line["path"], set()).add(line["reason"])
    assert set(found) == set(expected)
    assert all(found[name] & reasons for name, reasons in expected.items()), found
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch pwned']",
        "a: &x [1]\nb: [*x, *x]",
        "a: 1\na: 2",
        "[" * 5000,
        "1: 2",
        "a: ${env:NOT_SET_ANYWHERE}",
    ],
)
def test_hostile_yaml_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        config.parse_yaml(text, "hostile.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../b", ""])
def test_names_that_climb_out_are_refused(name):
    with pytest.raises(DolmaError):
        config.build_config(Recipe, {"recipe": name, "seed": 1, "steps": [{"kind": "ingest"}]})
