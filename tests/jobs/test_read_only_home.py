"""make, and a build, on a machine whose home cannot be written, and without any Java but the one from pip.

Cost: one small build, about half a minute on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

# what Spark's start scripts call; java is not among them
TOOLS = (
    "bash",
    "basename",
    "cat",
    "dirname",
    "env",
    "expr",
    "grep",
    "id",
    "ps",
    "readlink",
    "rm",
    "sed",
    "sh",
    "uname",
)
CACHE_FOLDERS = {
    "XDG_CACHE_HOME": "",
    "HF_HOME": "huggingface",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
}


def show_caches(repository, environment):
    """Variables that name a cache, as a rule of the Makefile has them."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment}
    answer = subprocess.run(
        ["make", "--no-print-directory", "--eval=show: ; @env", "show"], cwd=repository, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    return {name: value for name, value in shown.items() if "CACHE" in name or name in CACHE_FOLDERS}


@pytest.mark.parametrize("environment", [{"HOME": "/proc"}, {"HOME": "/", "XDG_CACHE_HOME": "/proc/caches"}])
def test_make_puts_caches_into_the_checkout_where_the_home_cannot_be_written(repository, environment):
    caches = repository / ".venv" / "cache"
    expected = {name: str(caches / folder) for name, folder in CACHE_FOLDERS.items()}
    assert show_caches(repository, environment) == {**expected, "PIP_NO_CACHE_DIR": "1"}


def test_make_leaves_caches_where_they_are_in_a_home_that_can_be_written(repository, tmp_path):
    assert show_caches(repository, {"HOME": str(tmp_path)}) == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_build_needs_neither_a_home_nor_a_java(tmp_path):
    """HOME is /proc, where not even root can make a folder: caches go to the temporary folder, and nothing else is left."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "in.jsonl").write_text('{"text": "one two three"}\n{"text": "one two three"}\n{"text": "x"}\n')
    steps = [
        {"kind": "ingest", "sources": [{"name": "web", "inputs": [str(tmp_path / "in.jsonl")]}]},
        {"kind": "tag", "taggers": [{"tagger": "lengths"}], "rules": [{"name": "long", "keep": "num_words >= 2"}]},
        {"kind": "dedup_exact"},
    ]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"recipe": "small", "seed": 1, "steps": steps}))
    environment = {"HOME": "/proc", "PATH": str(tmp_path / "bin"), "TMPDIR": str(tmp_path / "tmp"), "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "dolma_py", "build", "--recipe", str(tmp_path / "small.yaml"), "--corpus"]
    answer = subprocess.run(
        [*command, str(tmp_path / "corpus")], cwd=tmp_path / "work", env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr[-3000:]
    assert "Warning" not in answer.stderr and "WARN" not in answer.stderr, answer.stderr
    made = json.loads((tmp_path / "corpus" / "runs" / "small" / "02-dedup_exact" / "manifest.json").read_text())
    assert made["funnel"]["kept"]["sources"]["web"]["documents"] == 1
    assert os.listdir(tmp_path / "work") == []  # no metastore, no warehouse, no log in the current folder
    caches = tmp_path / "tmp" / f"dolma-py-{os.getuid()}"
    assert sorted(path.name.partition("-")[0] for path in caches.iterdir()) == ["java", "numba"]
    assert [path.name for path in (tmp_path / "tmp").iterdir() if path.name.startswith("dolma-py-spark")] == []
