"""A real Spark cluster on this machine, from the Spark that pip installed: one master and some workers.

    python -m pipelines.standalone_cluster --workers 2

Each process starts in a temporary folder of its own, with a clean environment: no PYTHONPATH, no virtual environment on
PATH, the plain Python that the virtual environment was made from. So a job that runs here owes nothing to the checkout.
pip's Spark lacks the start scripts of a full installation; `bin/spark-class` starts the same classes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyspark

from dolma_py.errors import DataError
from dolma_py.java_home import find_java

logger = logging.getLogger(__name__)

START_TIMEOUT_SEC = 180.0  # 7 s on an idle machine of two cores; a loaded one was seen to need 60


class StandaloneCluster(NamedTuple):
    """A running cluster; `folder` holds one folder per process with its log."""

    master_url: str  # spark://127.0.0.1:41234
    web_url: str  # http://127.0.0.1:41235; its page /json/ tells the state
    folder: Path


@contextlib.contextmanager
def start_cluster(
    *, num_workers: int = 2, cores_per_worker: int = 1, worker_memory_bytes: int = 3 << 30
) -> Iterator[StandaloneCluster]:
    """A master and `num_workers` workers, all alive when the block starts and gone when it ends.

    Raises
    ------
    DataError       a process ended, or the workers did not report within three minutes; its log's end is in the text
    """
    folder = Path(tempfile.mkdtemp(prefix="dolma-py-cluster-"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        master = _start(processes, folder / "master", "master.Master", ["--port", "0"])
        log = master / "log"
        master_url = _wait_for(processes, log, lambda: _find(log, r"Starting Spark master at (spark://\S+)"))
        web_url = _wait_for(processes, log, lambda: _find(log, r"MasterWebUI .*started at (http://\S+)"))
        web_url = re.sub(r"//[^:/]+", "//127.0.0.1", web_url)
        for number in range(num_workers):
            own = folder / f"worker-{number}"
            size = ["--cores", str(cores_per_worker), "--memory", f"{worker_memory_bytes >> 20}m"]
            _start(processes, own, "worker.Worker", ["--work-dir", str(own / "work"), *size, master_url])
        _wait_for(processes, log, lambda: count_alive_workers(web_url) == num_workers)
        yield StandaloneCluster(master_url, web_url, folder)
    finally:
        _stop(processes)
        shutil.rmtree(folder, ignore_errors=True)


def count_alive_workers(web_url: str) -> int:
    """Workers that the master counts as alive, from its JSON page; 0 before the page is served."""
    try:
        with urllib.request.urlopen(f"{web_url}/json/", timeout=10) as page:
            return int(json.load(page)["aliveworkers"])
    except OSError:
        return 0


def clean_environment(home: Path) -> dict[str, str]:
    """What a worker's processes get: nothing of ours but where Spark, Java and a plain Python are."""
    python = Path(sys.base_exec_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home),
        "JAVA_HOME": find_java().home,
        "SPARK_HOME": os.path.dirname(pyspark.__file__),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "512m",
        "PYSPARK_PYTHON": str(python),
        "DOLMA_PY_PYTHON": str(python),
    }


def _start(processes: list[subprocess.Popen[bytes]], folder: Path, name: str, arguments: list[str]) -> Path:
    folder.mkdir()
    command = [os.path.join(os.path.dirname(pyspark.__file__), "bin", "spark-class")]
    command += [f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1", "--webui-port", "0", *arguments]
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "TERM", *command]  # it ends with us even when we are killed
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=clean_environment(folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,  # Ctrl-C here must not race with our own orderly end
        )  # fmt: skip
    processes.append(process)
    return folder


def _find(log: Path, pattern: str) -> str:
    found = re.search(pattern, log.read_text(errors="replace"))
    return found.group(1) if found else ""


def _wait_for(processes, log: Path, condition):  # type: ignore[no-untyped-def]
    """The first true answer of `condition`, asked five times a second."""
    deadline = time.monotonic() + START_TIMEOUT_SEC
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        if any(process.poll() is not None for process in processes):
            break
        time.sleep(0.2)
    ends = [path.read_text(errors="replace")[-1500:] for path in sorted(log.parent.parent.glob("*/log"))]
    raise DataError(str(log), "the cluster did not start", hint="\n".join(ends))


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Workers first: they take their executors with them. What is left after ten seconds is killed with its group."""
    for process in reversed(processes):
        process.terminate()
    deadline = time.monotonic() + 10
    for process in reversed(processes):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(argv: list[str] | None = None) -> int:
    """Run a cluster until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.standalone_cluster", description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="number of workers (2)")
    parser.add_argument("--cores", type=int, default=1, help="cores of each worker (1)")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with start_cluster(num_workers=arguments.workers, cores_per_worker=arguments.cores) as cluster:
        logger.info("master: %s, its page: %s, logs: %s", *cluster)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
