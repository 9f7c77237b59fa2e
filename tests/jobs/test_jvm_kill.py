"""Spark's JVM killed in the middle of a step: one sentence, exit status 2, and the same command finishes the work.

Cost: two Spark sessions, about 40 seconds on two cores.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dolma_py.corpus import Corpus

pytestmark = pytest.mark.slow
WAIT_SEC = 300


def find_java(parent):
    """The process id of the JVM below a process."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has just ended
        children.setdefault(int(rest.split()[1]), []).append((int(status.parent.name), name))
    left = [parent]
    while left:
        for child, name in children.get(left.pop(), []):
            if name == "java":
                return child
            left.append(child)
    return None


def wait_for(condition):
    """Polls until there is an answer; fails after WAIT_SEC."""
    end = time.monotonic() + WAIT_SEC
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_a_killed_jvm_is_a_sentence_and_the_same_command_goes_on(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for number in range(12):  # three waves of four on two cores
        lines = (json.dumps({"id": f"{number}-{n}", "text": f"{n} words of a document " * 40}) for n in range(2000))
        (inputs / f"{number:02d}.jsonl").write_text("\n".join(lines))
    command = [
        sys.executable, "-m", "dolma_py", "ingest", "--corpus", str(tmp_path / "corpus"), "--input", str(inputs),
        "--set", "unit_bytes=1000000", "--master", "local[2,3]",
    ]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        documents = tmp_path / "corpus" / "documents"
        wait_for(lambda: any(documents.rglob("*.parquet")) or running.poll() is not None)
        assert running.poll() is None
        os.kill(find_java(running.pid), signal.SIGKILL)
        _, words = running.communicate(timeout=WAIT_SEC)
    finally:
        running.kill()
    assert running.returncode == 2, words
    assert "Traceback" not in words
    sentences = [line for line in words.splitlines() if line]
    assert len(sentences) == 1 and sentences[0].startswith("error: step ingest: Spark failed: its JVM ended"), words
    assert "row_group_text_bytes" in sentences[0]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert Corpus(str(tmp_path / "corpus")).read_listing().rows == 24_000
    assert not any((tmp_path / "corpus").rglob("attempts"))
