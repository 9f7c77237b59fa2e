"""A whole build with its corpus in a bucket: the bytes of a local build, and no Hadoop file system in Spark.

Cost: two builds of the made recipe, about 4 minutes on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import made_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def bucket():
    """(environment that leads to a moto server of our own, a client of it)."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    environment = {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1"
    )
    client.create_bucket(Bucket="corpus")
    yield environment, client
    server.stop()


def run_build(folder, corpus, environment):
    """The command a user types."""
    command = [
        sys.executable, "-m", "dolma_py", "build", "mix", "--recipe", str(folder / "tiny.yaml"), "--corpus", corpus,
    ]  # fmt: skip
    answer = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr[-3000:]
    return answer


def list_objects(client, prefix):
    """Relative key -> content of every object but run.json."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="corpus", Prefix=prefix + "/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    wanted = [key for key in keys if not key.endswith(("/run.json", "/"))]
    return {
        key.removeprefix(prefix + "/"): client.get_object(Bucket="corpus", Key=key)["Body"].read() for key in wanted
    }


def test_a_corpus_in_a_bucket_has_the_bytes_of_a_local_one(tmp_path, bucket):
    """Every file but run.json and the local lock; the second run in the bucket finds everything done."""
    environment, client = bucket
    made_recipe.write_inputs(tmp_path)
    recipe = made_recipe.make_recipe(tmp_path)
    substring = next(step for step in recipe["steps"] if step["kind"] == "dedup_substring")
    substring["pool_bytes"] = 4096  # smaller than the text: it is searched as a whole, through buckets
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    run_build(tmp_path, "s3://corpus/a corpus", environment)
    run_build(tmp_path, str(tmp_path / "local"), {})
    local = made_recipe.list_bytes(tmp_path / "local")
    local.pop(".lock", None)
    remote = list_objects(client, "a corpus")
    assert sorted(remote) == sorted(local)
    assert [name for name in local if remote[name] != local[name]] == []
    facts = json.loads(next(data for name, data in remote.items() if name.endswith("-substring/manifest.json")))[
        "facts"
    ]
    assert facts["buckets"] > 1 and facts["spans"] > 1
    again = run_build(tmp_path, "s3://corpus/a corpus", environment)
    assert again.stdout.count("was done") == len(recipe["steps"])
    assert list_objects(client, "a corpus") == remote
