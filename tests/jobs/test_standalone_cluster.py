"""A real cluster of a master and two workers runs our code from the bundle, and from nowhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.bundle import DRIVER_ONLY, PACKAGES, find_distributions, make_bundle
from pipelines.session import repository_root
from pipelines.standalone_cluster import clean_environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """A copy of our packages, so that nobody's editor changes the code between two builds."""
    root = tmp_path_factory.mktemp("code")
    for package in PACKAGES:
        shutil.copytree(repository_root() / package, root / package)
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, code, shared_bundle):
    """With the archive of packages that other tests use too; it takes 15 s to make."""
    folder = tmp_path_factory.mktemp("a bundle")
    archive = shared_bundle.packages_archive
    os.link(archive, folder / archive.name)  # a bundle is never changed in place, its mark is
    mark = archive.with_name(archive.name + ".fingerprint")
    shutil.copy(mark, folder / mark.name)
    return make_bundle(folder, root=code)


def test_the_code_is_all_there(bundle, code):
    names = set(zipfile.ZipFile(bundle.code_zip).namelist())
    ours = {path.relative_to(code).as_posix() for package in PACKAGES for path in (code / package).rglob("*.py")}
    assert ours <= names
    assert "train_bridge/configs/quickstart/pretrain.yaml" in names
    assert [name for name in names if "__pycache__" in name or name.startswith(("tests", "/", ".."))] == []


def test_the_archive_leaves_out_what_no_worker_needs(bundle):
    names = {distribution.name.lower().replace("_", "-") for distribution in find_distributions()}
    assert {"numpy", "pyarrow", "numba", "datasketch", "scipy", "pydantic"} <= names
    assert "hanta" in names  # of the extra synth, whose step runs on workers
    assert names & ({"torch", "pyspark", "pandas"} | DRIVER_ONLY) == set()
    with tarfile.open(bundle.packages_archive) as archive:
        first = archive.next()
    assert (first.name, first.mode, first.mtime) == ("bin/python", 0o755, 0)


def test_a_second_build_changes_nothing(bundle, code):
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in bundle]
    again = make_bundle(bundle.code_zip.parent, root=code)
    assert again == bundle
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in again] == before


def test_the_bytes_do_not_depend_on_the_day(bundle, code, tmp_path):
    again = make_bundle(tmp_path, root=code)
    assert again.code_zip.read_bytes() == bundle.code_zip.read_bytes()
    assert again.packages_archive.read_bytes() == bundle.packages_archive.read_bytes()


def test_a_truncated_archive_is_built_again(bundle, code, tmp_path):
    for path in bundle.code_zip.parent.iterdir():
        shutil.copy(path, tmp_path / path.name)
    whole = bundle.packages_archive.stat().st_size
    damaged = tmp_path / bundle.packages_archive.name
    damaged.unlink()
    damaged.write_bytes(b"half")
    assert make_bundle(tmp_path, root=code).packages_archive.stat().st_size == whole


def test_the_plain_python_has_none_of_it(tmp_path):
    """Else the cluster test below would prove nothing."""
    environment = clean_environment(tmp_path)
    code = "import importlib.util as u, sys; print([n for n in ('dolma_py', 'numba', 'pyarrow') if u.find_spec(n)])"
    answer = subprocess.run(
        [environment["PYSPARK_PYTHON"], "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[]"


_DRIVER = """
import sys
import pyarrow as pa
from pipelines.session import SessionConfig, open_session
from pipelines.standalone_cluster import start_cluster

def hash_rows(batches):
    import os
    import numba, numpy, dolma_py, pipelines.session
    from dolma_py.arrow_buffers import view_text
    from dolma_py.hashing import hash_texts
    for batch in batches:
        column = pa.array([f"text {number}" for number in batch["id"].to_pylist()], pa.large_string())
        digests = hash_texts(*view_text(column))
        yield pa.RecordBatch.from_pydict({
            "id": batch["id"],
            "digest": pa.array([str(value) for value in digests.tolist()]),
            "files": [" ".join([dolma_py.__file__, pipelines.session.__file__, numba.__file__, numpy.__file__, pa.__file__])] * batch.num_rows,
            "folder": [os.getcwd()] * batch.num_rows,
            "path": [os.pathsep.join(sys.path)] * batch.num_rows,
        })

with start_cluster(num_workers=2) as cluster:
    config = SessionConfig(master=cluster.master_url, code_zip=sys.argv[1], packages_archive=sys.argv[2], arrow_batch_rows=3)
    with open_session(config) as spark:
        numbers = spark.range(40).repartition(8)
        rows = numbers.mapInArrow(hash_rows, "id long, digest string, files string, folder string, path string").collect()
table = pa.Table.from_pylist([row.asDict() for row in rows])
with pa.OSFile(sys.argv[3], "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
    writer.write_table(table)
"""


@pytest.fixture(scope="module")
def told(bundle, tmp_path_factory) -> pa.Table:
    """What two workers answered: about 40 s, cluster, session and one unpacked archive per executor."""
    folder = tmp_path_factory.mktemp("driver")
    output = folder / "told.arrow"
    environment = {**os.environ, "PYTHONPATH": str(repository_root())}
    command = [sys.executable, "-c", _DRIVER, *map(str, bundle), str(output)]
    answer = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert output.exists(), answer.stderr[-4000:]
    return pa.ipc.open_file(pa.OSFile(str(output))).read_all()


def test_all_rows_come_back_from_both_workers(told):
    assert sorted(told["id"].to_pylist()) == list(range(40))
    assert len({Path(folder).parents[2].name for folder in told["folder"].to_pylist()}) == 2


def test_code_and_packages_come_from_the_bundle(told):
    for files, folder in zip(told["files"].to_pylist(), told["folder"].to_pylist(), strict=True):
        code, job, *packages = files.split(" ")
        assert code == "./dolma_py_code.zip/dolma_py/__init__.py"
        assert job == "./dolma_py_code.zip/pipelines/session.py"
        assert [path for path in packages if not path.startswith(f"{folder}/packages/lib/")] == []


def test_no_path_of_the_checkout_is_searched(told, repository):
    """But for Spark's own installation, which a worker has wherever Spark is installed."""
    import pyspark

    spark_home = str(Path(pyspark.__file__).parent)
    searched = {path for paths in told["path"].to_pylist() for path in paths.split(os.pathsep)}
    ours = [path for path in searched if path.startswith(str(repository)) and not path.startswith(spark_home)]
    assert ours == []


def test_a_compiled_kernel_gives_the_digests_of_this_machine(told):
    from dolma_py.arrow_buffers import view_text
    from dolma_py.hashing import hash_texts

    texts = pa.array([f"text {number}" for number in told["id"].to_pylist()], pa.large_string())
    here = hash_texts(*view_text(texts))
    assert told["digest"].to_pylist() == [str(value) for value in here.tolist()]
