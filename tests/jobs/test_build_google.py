"""A build with its inputs and its corpus in a Google bucket: the bytes of a corpus in a folder.

Cost: two builds of nine steps and a third that finds all done, about 3 minutes on two cores.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dolma_py import storage
from tests.remote_places import open_google_bucket

sys.path.insert(0, str(Path(__file__).parent))
import made_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LEFT_OUT = ("minhash", "substring", "decontaminate")  # a build in an S3 bucket has them too


@pytest.fixture
def bucket():
    with open_google_bucket("corpora") as place:
        yield place


def run_build(folder, corpus):
    """The command a user types."""
    command = [
        sys.executable, "-m", "dolma_py", "build", "mix", "--recipe", str(folder / "tiny.yaml"), "--corpus", corpus,
    ]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr[-3000:]
    return answer


def read_files(corpus):
    """Relative path -> content of every file but run.json and the local lock."""
    paths = [info.path for info in storage.list_files(corpus)]
    wanted = [path for path in paths if not path.endswith(("/run.json", "/.lock"))]
    return {path.removeprefix(corpus + "/"): storage.read_bytes(path) for path in wanted}


def test_a_corpus_in_a_google_bucket_has_the_bytes_of_a_local_one(tmp_path, bucket):
    """No hidden file stays; the second run in the bucket finds everything done."""
    made_recipe.write_inputs(tmp_path)
    recipe = made_recipe.make_recipe(tmp_path)
    recipe["steps"] = [step for step in recipe["steps"] if step["name"] not in LEFT_OUT]
    for source in recipe["steps"][0]["sources"]:
        (given,) = source["inputs"]
        source["inputs"] = [f"{bucket}/given/{source['name']}"]
        for info in storage.list_files(given):
            storage.copy_file(info.path, info.path.replace(given, source["inputs"][0]))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    run_build(tmp_path, f"{bucket}/a corpus")
    run_build(tmp_path, str(tmp_path / "local"))
    local, remote = read_files(str(tmp_path / "local")), read_files(f"{bucket}/a corpus")
    assert sorted(remote) == sorted(local) and any(name.endswith(".npy") for name in local)
    assert [name for name in local if remote[name] != local[name]] == []
    again = run_build(tmp_path, f"{bucket}/a corpus")
    assert again.stdout.count("was done") == len(recipe["steps"])
    assert read_files(f"{bucket}/a corpus") == remote
