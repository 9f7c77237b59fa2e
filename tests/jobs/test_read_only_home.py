"""A build on a machine whose home cannot be written, without any Java but the one from pip.

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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
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
