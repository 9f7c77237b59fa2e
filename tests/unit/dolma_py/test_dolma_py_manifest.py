"""manifest.json has no clock and no order of its own; run.json has the rest."""

from __future__ import annotations

import json

import pytest

from dolma_py import manifest
from dolma_py.errors import DataError


def test_a_manifest_comes_back(tmp_path):
    content = {"b": [1, {"z": None, "a": "\u00e9\u4e2d"}], "a": 0.1}
    assert manifest.read_manifest(str(tmp_path)) is None
    manifest.write_manifest(str(tmp_path / "step"), content)
    assert manifest.read_manifest(str(tmp_path / "step")) == content


def test_bytes_do_not_depend_on_order_of_keys(tmp_path):
    manifest.write_manifest(str(tmp_path / "one"), {"a": 1, "b": {"c": 2, "d": 3}})
    manifest.write_manifest(str(tmp_path / "two"), {"b": {"d": 3, "c": 2}, "a": 1})
    one, two = ((tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two"))
    assert one == two == b'{\n "a": 1,\n "b": {\n  "c": 2,\n  "d": 3\n }\n}\n'
    assert manifest.render_line({"b": "\u00e9", "a": 1}) == '{"a": 1, "b": "\u00e9"}\n'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"x"])
def test_what_json_has_not_is_refused_and_nothing_written(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        manifest.write_manifest(str(tmp_path), {"a": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff"])
def test_a_broken_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError) as caught:
        manifest.read_manifest(str(tmp_path))
    assert caught.value.path.endswith("manifest.json")


def test_manifests_of_all_steps_and_nothing_else(tmp_path):
    assert list(manifest.iterate_manifests(str(tmp_path / "runs"))) == []
    for name in ("b/00-x", "a/01-y", "a/00-z", "a/00-z/work/deep"):
        manifest.write_manifest(str(tmp_path / "runs" / name), {"name": name})
    (tmp_path / "runs" / "a" / "03-unfinished").mkdir()
    (tmp_path / "runs" / "a" / "_lock").write_bytes(b"")
    (tmp_path / "runs" / "manifest.json").write_bytes(b"{}")
    assert [found["name"] for found in manifest.iterate_manifests(str(tmp_path / "runs"))] == [
        "a/00-z",
        "a/01-y",
        "b/00-x",
    ]
    (tmp_path / "runs" / "a" / "03-unfinished" / "manifest.json").write_bytes(b"{")
    with pytest.raises(DataError, match="03-unfinished"):
        list(manifest.iterate_manifests(str(tmp_path / "runs")))


def test_a_run_tells_where_it_ran(tmp_path):
    manifest.write_run(str(tmp_path), {"seconds": {"ingest": 1.5}})
    run = json.loads((tmp_path / "run.json").read_bytes())
    assert run["seconds"] == {"ingest": 1.5} and run["packages"]["numpy"] and run["cores"] >= 1
    assert run["peak_driver_bytes"] > 10**7 and run["finished"].endswith("Z")
    assert {"host", "python", "platform"} <= run.keys()


@pytest.mark.parametrize(("num_bytes", "seconds", "rate"), [(5_000_000, 2.0, 2.5), (1, 0.0, 0.0), (0, 1.0, 0.0)])
def test_mb_per_sec(num_bytes, seconds, rate):
    assert manifest.mb_per_sec(num_bytes, seconds) == rate
