"""What every test may use: the repository on the path, hypothesis profiles, one lazy Spark session, the shared data."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipelines.bundle import Bundle

REPOSITORY = Path(__file__).resolve().parent.parent
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

# ci: the same examples every time, so that a red run can be repeated; the first call of a kernel compiles, hence no
# deadline. nightly: many more, new ones each time (HYPOTHESIS_PROFILE=nightly).
hypothesis.settings.register_profile(
    "ci",
    derandomize=True,
    max_examples=25,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "nightly",
    max_examples=1000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# in a run of the slow tests these begin, so that none of them ends it alone on one of two cores
LONGEST = [
    "test_build_kills.py",
    "test_spark_submit.py",
    "test_dedup_kills.py",
    "test_dedup_matrix.py",
    "test_build_recipe.py",
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files of LONGEST first, in that order, where only slow tests are asked for."""
    if str(config.option.markexpr).startswith("slow"):
        items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Packed bytes hold the second they were made in, and the two workers of a run must name their tests alike."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


@pytest.fixture(scope="session")
def _spark_of_this_run() -> Iterator[SparkSession]:
    from pipelines.session import SessionConfig, open_session

    config = SessionConfig(
        master="local[2,3]",  # two tasks at once: races can show; a killed worker is replaced
        app_name="tests",
        driver_memory_bytes=1 << 30,  # the smallest that runs everything: a job that collects shows at once
        num_shuffle_partitions=3,  # odd and not 1: what depends on partitioning shows
        arrow_batch_rows=3,  # tiny: what depends on batch borders shows
        ui=False,  # no port, faster start
        settings={"spark.ui.retainedJobs": "1"},  # hundreds of jobs in one run: their records would pile up
    )
    with open_session(config) as spark:
        yield spark


@pytest.fixture
def spark(_spark_of_this_run: SparkSession, request: pytest.FixtureRequest) -> Iterator[SparkSession]:
    """The one session of this run, started by the first test that asks; views and caches are dropped after each test.

    Functions of the test's own file travel to the workers by value: no worker can import a test.
    """
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(request.module)
    yield _spark_of_this_run
    cloudpickle.unregister_pickle_by_value(request.module)
    for table in _spark_of_this_run.catalog.listTables():
        _spark_of_this_run.catalog.dropTempView(table.name)
    _spark_of_this_run.catalog.clearCache()


@pytest.fixture(scope="session")
def shared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Code and packages for the workers of a cluster, made once for all processes of this run."""
    from pipelines.bundle import make_bundle

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "a shared bundle"
    folder.mkdir(exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return make_bundle(folder)  # what stands there stays


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of sample data that DOLMA_PY_DATA names; the test is skipped where there is none."""
    folder = os.environ.get("DOLMA_PY_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DOLMA_PY_DATA names no folder of sample data")
    return Path(folder)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout these tests belong to."""
    return REPOSITORY
