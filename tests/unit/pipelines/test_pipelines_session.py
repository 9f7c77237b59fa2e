"""The session: its plan without a JVM, what workers get, and that nothing is left behind however the process ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest

from dolma_py.errors import ConfigError
from pipelines import session
from pipelines.session import SessionConfig, leave_script_folder, open_session, plan_session, repository_root


@pytest.fixture
def bundle(tmp_path) -> dict[str, str]:
    """Two files in a folder with a space in its name."""
    folder = tmp_path / "a bundle"
    folder.mkdir()
    (folder / "code.zip").write_bytes(b"")
    (folder / "packages.tar.gz").write_bytes(b"")
    return {"code_zip": str(folder / "code.zip"), "packages_archive": str(folder / "packages.tar.gz")}


def plan(tmp_path: Path, **values) -> tuple[dict[str, str], dict[str, str]]:
    """Settings and environment that this configuration gives."""
    conf, environment = plan_session(SessionConfig(**values), folder=tmp_path, submitted=False)
    return dict(conf.getAll()), environment


def test_local_by_default(tmp_path):
    settings, environment = plan(tmp_path)
    assert settings["spark.master"] == "local[*,3]"
    assert environment["PYSPARK_PYTHON"] == sys.executable
    assert environment["SPARK_LOCAL_IP"] == settings["spark.driver.bindAddress"] == "127.0.0.1"
    assert settings["spark.ui.enabled"] == "false"
    assert os.access(Path(environment["JAVA_HOME"]) / "bin" / "java", os.X_OK)


@pytest.mark.parametrize(
    ("values", "key", "value"),
    [
        ({"master": "local[3]"}, "spark.master", "local[3,3]"),
        ({"driver_memory_bytes": 3 << 30}, "spark.driver.memory", "3072m"),
        ({"num_shuffle_partitions": 7}, "spark.sql.shuffle.partitions", "7"),
        ({"arrow_batch_rows": 3}, "spark.sql.execution.arrow.maxRecordsPerBatch", "3"),
        ({"arrow_batch_bytes": 1 << 20}, "spark.sql.execution.arrow.maxBytesPerBatch", "1048576"),
        ({"ui": True}, "spark.ui.enabled", "true"),
        ({"settings": {"spark.ui.enabled": "true"}}, "spark.ui.enabled", "true"),
        ({"settings": {"spark.my.own": "x"}}, "spark.my.own", "x"),
    ],
)
def test_each_field_reaches_spark(tmp_path, values, key, value):
    assert plan(tmp_path, **values)[0][key] == value


@pytest.mark.parametrize(
    "name", ["OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
)
def test_one_thread_per_task(tmp_path, name):
    assert plan(tmp_path)[0][f"spark.executorEnv.{name}"] == "1"


@pytest.mark.parametrize(
    ("machine_bytes", "heap"), [(2 << 30, "1024m"), (16 << 30, "4096m"), (24 << 30, "6144m"), (512 << 30, "8192m")]
)
def test_the_heap_is_a_quarter_of_the_machine(tmp_path, monkeypatch, machine_bytes, heap):
    monkeypatch.setattr(session, "read_memory_bytes", lambda: machine_bytes)
    assert plan(tmp_path)[0]["spark.driver.memory"] == heap


def test_local_folders_follow_the_configuration(tmp_path, monkeypatch):
    monkeypatch.delenv("SPARK_LOCAL_DIRS", raising=False)
    assert plan(tmp_path)[1]["SPARK_LOCAL_DIRS"] == str(tmp_path / "local")
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "/scratch")
    assert plan(tmp_path)[1]["SPARK_LOCAL_DIRS"] == "/scratch"
    assert plan(tmp_path, local_dir="/other")[1]["SPARK_LOCAL_DIRS"] == "/other"


def test_a_cluster_gets_the_bundle(tmp_path, bundle):
    settings, environment = plan(tmp_path, master="spark://far:7077", **bundle)
    assert settings["spark.submit.pyFiles"] == bundle["code_zip"]
    assert settings["spark.archives"] == Path(bundle["packages_archive"]).as_uri() + "#packages"
    assert " " in bundle["packages_archive"] and " " not in settings["spark.archives"]  # else Spark finds no such file
    assert environment["PYSPARK_PYTHON"] == settings["spark.pyspark.python"] == "./packages/bin/python"
    assert "spark.driver.bindAddress" not in settings and "SPARK_LOCAL_IP" not in environment
    assert [key for key in settings if "PYTHONPATH" in key] == []  # no path of this machine


@pytest.mark.parametrize("key", ["code_zip", "packages_archive"])
def test_a_missing_bundle_file_is_named(tmp_path, bundle, key):
    with pytest.raises(ConfigError, match="nowhere.zip") as caught:
        plan(tmp_path, master="spark://far:7077", **(bundle | {key: "nowhere.zip"}))
    assert caught.value.key == key and "make bundle" in caught.value.hint


def test_a_cluster_without_our_code_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="make bundle"):
        plan(tmp_path, master="spark://far:7077")


def test_a_script_folder_leaves_the_path(monkeypatch):
    root = str(repository_root())
    monkeypatch.setattr(sys, "path", [f"{root}/pipelines", "/elsewhere", f"{root}/pipelines/"])
    leave_script_folder()
    assert sys.path == [root, "/elsewhere"]
    leave_script_folder()
    assert sys.path == [root, "/elsewhere"]


def test_folders_of_killed_runs_go_and_of_living_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(session.tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "dolma-py-spark-killed"
    (left / "local").mkdir(parents=True)
    (left / "lock").write_text("")
    (tmp_path / "other").mkdir()
    with session._temporary_folder() as first:
        with session._temporary_folder() as second:
            assert sorted(tmp_path.iterdir()) == sorted([first, second, tmp_path / "other"])
        assert first.exists() and not second.exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


@pytest.mark.parametrize("moment", ["before open", "before lock"])
def test_a_folder_that_another_start_took_away_is_replaced(tmp_path, monkeypatch, moment):
    """Between making a folder and locking it, a second start takes it for one that was left."""
    monkeypatch.setattr(session.tempfile, "tempdir", str(tmp_path))
    made, taken = [], []

    def take():
        if not taken:
            taken.append(made[0])
            shutil.rmtree(made[0])

    make, lock = tempfile.mkdtemp, fcntl.flock

    def make_and_lose(**options):
        made.append(make(**options))
        if moment == "before open":
            take()
        return made[-1]

    def lose_and_lock(file, how):
        if moment == "before lock":
            take()
        lock(file, how)

    monkeypatch.setattr(session.tempfile, "mkdtemp", make_and_lose)
    monkeypatch.setattr(session.fcntl, "flock", lose_and_lock)
    with session._temporary_folder() as folder:
        assert (folder / "lock").is_file() and str(folder) not in taken and len(taken) == 1
    assert list(tmp_path.iterdir()) == []


def tell_worker(batches):
    """What a worker sees, as one row per batch."""
    import dolma_py
    import pipelines.session

    for batch in batches:
        yield pa.RecordBatch.from_pydict(
            {
                "num_rows": [batch.num_rows],
                "executable": [sys.executable],
                "code": [dolma_py.__file__],
                "threads": [os.environ["OMP_NUM_THREADS"] + os.environ["NUMBA_NUM_THREADS"]],
                "pool": [pa.default_memory_pool().backend_name],
                "same": [pipelines.session.__file__],
            }
        )


TOLD = "num_rows long, executable string, code string, threads string, pool string, same string"


def test_workers_run_this_python_with_our_code(spark):
    rows = spark.range(10).repartition(2).mapInArrow(tell_worker, TOLD).collect()
    assert sum(row.num_rows for row in rows) == 10
    assert max(row.num_rows for row in rows) <= 3  # the batch size of conftest
    assert {row.executable for row in rows} == {sys.executable}
    assert {row.threads for row in rows} == {"11"}
    assert {row.pool for row in rows} == {"system"}  # freed memory goes back
    assert {Path(row.code).parent.parent for row in rows} == {repository_root()}


def test_a_second_session_is_the_first_and_stays_open(spark):
    with open_session() as inner:
        assert inner is spark
    assert spark.range(3).count() == 3


def test_another_master_in_one_process_is_refused(spark):
    with pytest.raises(ConfigError, match=r"local\[7\]"), open_session(SessionConfig(master="local[7]")):
        pass


_SLEEPER = """
import time
from pipelines.session import SessionConfig, open_session

def wait(batches):
    print("WORKING", flush=True)
    time.sleep(600)
    yield from batches

with open_session(SessionConfig(master="local[2]")) as spark:
    print(spark.sparkContext._gateway.proc.pid, flush=True)
    spark.range(2).mapInArrow(wait, "id long").collect()
"""


def processes_below(pid: int) -> set[int]:
    """Every living descendant, from /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        fields = stat.read_text().rpartition(")")[2].split()
        parents[int(stat.parent.name)] = (fields[0], int(fields[1]))
    found, grown = {pid}, True
    while grown:
        more = {child for child, (state, parent) in parents.items() if parent in found and state != "Z"} - found
        found, grown = found | more, bool(more)
    return found - {pid}


def is_alive(pid: int) -> bool:
    """A process that ended and that nobody has waited for yet is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, timeout_sec: float = 120) -> bool:
    deadline = time.monotonic() + timeout_sec
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


@pytest.mark.slow  # about 10 s each: a JVM of its own
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_driver(tmp_path, sent):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(repository_root())}
    driver = subprocess.Popen(
        [sys.executable, "-c", _SLEEPER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    jvm = int(driver.stdout.readline())
    assert wait_until(lambda: len(processes_below(jvm)) >= 2)  # the daemon of the workers and a worker
    below = processes_below(driver.pid)
    assert jvm in below
    driver.send_signal(sent)
    driver.communicate(timeout=60)
    assert wait_until(lambda: not [pid for pid in below if is_alive(pid)], timeout_sec=30)


_WHOLE = """
import sys
from pipelines.session import SessionConfig, open_session

def double(batches):
    import dolma_py
    yield from batches

for _ in range(2):
    with open_session(SessionConfig(master="local[1]")) as spark:
        assert spark.range(5).mapInArrow(double, "id long").count() == 5
print("DONE")
"""


@pytest.mark.slow  # about 20 s: two JVMs, one after the other
def test_a_hostile_place(tmp_path):
    """No Java, a home that is no folder, spaces in the temporary folder, another Spark's variables left in the shell."""
    folder = tmp_path / "a place with spaces"
    folder.mkdir()
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": "/dev/null", "TMPDIR": str(folder), "PYTHONPATH": str(repository_root()),
        "JAVA_HOME": "", "PYSPARK_PYTHON": "/no/such/python", "PYSPARK_DRIVER_PYTHON": "/no/such/python",
    }  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-c", _WHOLE],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert answer.stdout == "DONE\n", answer.stderr
    assert answer.stderr == ""  # quiet
    assert [
        path.name for path in folder.iterdir() if "dolma-py-spark" in path.name or path.name.startswith("derby")
    ] == []


@pytest.mark.slow  # about 10 s
def test_spark_submit_runs_a_file_of_pipelines(tmp_path):
    """As a script it has pipelines/ first on its path; the session takes it off and keeps what spark-submit was told."""
    job = repository_root() / "pipelines" / "session.py"
    script = tmp_path / "job.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(job.parent)!r})\nsys.path.insert(1, {str(job.parent.parent)!r})\n"
        "from pipelines.session import open_session\n"
        "with open_session() as spark:\n"
        "    print('MASTER', spark.sparkContext.master, spark.conf.get('spark.sql.shuffle.partitions'))\n"
        f"    assert {str(job.parent)!r} not in sys.path\n"
    )
    import pyspark

    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    environment = {
        **os.environ, "SPARK_HOME": str(submit.parent.parent), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": session.find_java().home,
    }  # fmt: skip
    command = [submit, "--master", "local[1]", "--conf", "spark.sql.shuffle.partitions=5", script]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert "MASTER local[1] 5" in answer.stdout, answer.stderr


@pytest.mark.parametrize(("cores", "expected"), [(2, True), (4, True), (5, False)])
def test_few_cores_are_left_to_the_workers(tmp_path, monkeypatch, cores, expected):
    monkeypatch.setattr(session, "count_cores", lambda: cores)
    settings, _ = plan(tmp_path)
    flags = settings["spark.driver.extraJavaOptions"]
    assert ("-XX:TieredStopAtLevel=1" in flags and "-XX:+UseSerialGC" in flags) == expected
