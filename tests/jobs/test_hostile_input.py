"""Input that means harm: counted or refused, bounded in memory and time, and the job goes on."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random

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


def compress_line(noise_bytes, num_mib):
    """A zst file of a good line, one of `num_mib` MiB, and another good one; each MiB begins with `noise_bytes` of hex digits."""
    sink = io.BytesIO()
    good, rng = b'{"text": "a fine document"}\n', random.Random(1)
    with zstandard.ZstdCompressor(level=1).stream_writer(sink, closefd=False) as stream:
        stream.write(good + b'{"text": "')
        for _ in range(num_mib):
            stream.write(rng.randbytes(noise_bytes // 2).hex().encode().ljust(1 << 20, b"0"))
        stream.write(b'"}\n' + good)
    return sink.getvalue()


def write_hostile(folder):
    """name of the file -> reason that its rejection must carry."""
    good = json.dumps({"text": "a fine document"}).encode() + b"\n"
    files = {
        "bomb.jsonl.zst": (compress_line(0, 400), {"bomb"}),
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
    build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    rejected = sorted((tmp_path / "corpus" / "rejected" / "hostile").glob("part-*.jsonl.gz"))
    lines = [line for path in rejected for line in gzip.decompress(path.read_bytes()).splitlines()]
    found = {}
    for line in map(json.loads, lines):
        found.setdefault(line["path"], set()).add(line["reason"])
    assert set(found) == set(expected)
    assert all(found[name] & reasons for name, reasons in expected.items()), found
    assert not (tmp_path / "pwned").exists()


@pytest.mark.slow  # about 20 s on two cores, half of them to write the file
@pytest.mark.parametrize(("noise_bytes", "reason", "documents"), [(8192, "too_long", 2), (0, "bomb", 1)])
def test_a_line_of_2_gib_needs_no_memory(tmp_path, _spark_of_this_run, noise_bytes, reason, documents):
    """With noise it is compressed to a 200th, which the limits allow, and is read to its end; without it is a bomb."""
    path = tmp_path / "line.jsonl.zst"
    path.write_bytes(compress_line(noise_bytes, 2048))
    recipe = Recipe(recipe="long", seed=1, steps=[{
        "kind": "ingest", "max_rejected_frac": 1.0, "sources": [{"name": "long", "inputs": [str(path)]}]}])  # fmt: skip
    (outcome,) = build(recipe, str(tmp_path / "corpus"), BuildOptions(show_progress=False))
    assert outcome.manifest["facts"]["rejected"] == {"long": {reason: 1}}
    assert outcome.manifest["funnel"]["kept"]["sources"]["long"]["documents"] == documents
    run = json.loads((tmp_path / "corpus" / "runs" / "long" / "00-ingest" / "run.json").read_text())
    assert 0 < run["peak_worker_bytes"] < 1 << 30  # half the line; 0.4 GiB are Python, Arrow and 64 MiB of record


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
