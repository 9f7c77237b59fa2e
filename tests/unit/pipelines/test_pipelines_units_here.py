"""Units in processes of this machine: their files are published, their errors told, and a killed process is no hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dolma_py.done import DoneFile
from dolma_py.errors import DataError, DolmaError
from dolma_py.machine import reset_peak
from dolma_py.storage import write_attempt
from pipelines.units import Unit, _run_unit, run_units


def write_number(params, attempts):
    """Writes the number; 13 is refused, 14 kills its process."""
    if params["number"] == 13:
        raise DataError("numbers", "13 brings bad luck")
    if params["number"] == 14:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(sink):
        sink.write(str(params["number"]).encode())
        return 1

    return [write_attempt(params["root"], attempts, f"{params['number']}.txt", write)], {"process": os.getpid()}


def no_spark():
    raise AssertionError("a session was opened")


def run(root, numbers):
    done = DoneFile(str(root), "work", "f")
    units = [Unit(f"unit-{number}", {"root": str(root), "number": number}, number) for number in numbers]
    run_units(no_spark, units, write_number, done=done, attempts="attempts", here=True)
    return done


def test_files_are_published_and_found_again(tmp_path):
    done = run(tmp_path, [1, 2, 3])
    assert {path.name: path.read_text() for path in tmp_path.glob("*.txt")} == {
        "1.txt": "1",
        "2.txt": "2",
        "3.txt": "3",
    }
    assert os.getpid() not in {line["facts"]["process"] for line in done.units.values()}
    before = (tmp_path / "1.txt").stat().st_mtime_ns
    assert sorted(run(tmp_path, [1, 2, 3, 4]).units) == ["unit-1", "unit-2", "unit-3", "unit-4"]
    assert (tmp_path / "1.txt").stat().st_mtime_ns == before


@pytest.mark.parametrize(("number", "words"), [(13, "bad luck"), (14, "was killed")])
def test_an_error_is_told(tmp_path, number, words):
    with pytest.raises(DolmaError, match=words):
        run(tmp_path, [number, *range(1, 6)])
    assert sorted(run(tmp_path, range(1, 6)).units) == [f"unit-{other}" for other in range(1, 6)]


def test_processes_end_with_a_killed_parent(tmp_path):
    """Nobody else would: a pool's processes wait for work that never comes."""
    code = (
        "import os, multiprocessing, time; from concurrent.futures import ProcessPoolExecutor\n"
        "from pipelines.units import _end_with_parent\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    pool = ProcessPoolExecutor(1, context, _end_with_parent, (os.getpid(),))\n"
        "    print(pool.submit(os.getpid).result(), flush=True); time.sleep(60)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{child}")


def hold_bytes(params, attempts):
    """Holds as many bytes as it is told to, and writes nothing."""
    assert np.ones(params["num_bytes"], np.uint8).all()
    return [], {}


@pytest.mark.skipif(not reset_peak(), reason="no process may reset its peak here")
def test_the_peak_of_a_unit_is_its_own():
    large, small = (_run_unit("one", {"num_bytes": num_bytes}, hold_bytes, "") for num_bytes in (300 << 20, 1))
    assert small["peak_bytes"] < large["peak_bytes"] - (200 << 20)
