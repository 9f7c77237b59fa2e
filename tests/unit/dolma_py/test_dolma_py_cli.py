"""What the command says, and its exit status, when the machine fails or a person stops it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_RUN = """
import sys
from dolma_py import cli, doctor

def fail():
    {statement}

doctor.run_doctor = fail
sys.argv = ["dolma-py", "doctor"]
cli.main()
"""


def run(code: list[str], **environment: str) -> tuple[int, str]:
    answer = subprocess.run(
        [sys.executable, *code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    return answer.returncode, answer.stderr


def test_an_error_of_the_disk_is_one_sentence():
    code = ["-c", _RUN.format(statement='raise OSError(28, "No space left on device", "/data/x")')]
    status, said = run(code)
    assert status == 2 and said.count("\n") == 1, said
    assert said.startswith("error: /data/x: no space left on device. Free space")
    status, said = run(code, DOLMA_PY_TRACE="1")
    assert status == 1 and "Traceback" in said and said.endswith("No space left on device: '/data/x'\n")


def test_stopped_by_hand():
    assert run(["-c", _RUN.format(statement="raise KeyboardInterrupt")]) == (
        130, "stopped; the same command goes on from here\n",
    )  # fmt: skip


@pytest.mark.parametrize("way", ["command", "script"])
def test_a_corpus_where_none_can_be(tmp_path, repository, way):
    """Below a file, which nobody can make a folder in, the administrator included."""
    (tmp_path / "file").write_text("")
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    corpus = f"{tmp_path}/file/corpus"
    if way == "command":
        code = ["-m", "dolma_py", "ingest", "--corpus", corpus, "--input", f"{tmp_path}/in.jsonl"]
    else:
        config = tmp_path / "job.yaml"
        config.write_text(f"corpus: {corpus}\nstep:\n  sources: [{{inputs: [{tmp_path}/in.jsonl]}}]\n")
        code = [str(repository / "pipelines" / "ingest_documents.py"), "--config", str(config)]
    status, said = run(code)
    assert status == 2 and "Traceback" not in said, said
    assert f"error: {corpus}" in said and "not a directory. Check the path" in said
