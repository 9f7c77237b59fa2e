"""Globs in a bucket and folders that a glob matches, through the commands a user types.

Cost: three Spark sessions, about a minute on two cores.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from dolma_py.corpus import Corpus

pytestmark = pytest.mark.slow


@pytest.fixture
def environment():
    """Leads to a moto server of our own, with two folders of documents and things that are none in s3://inputs/a."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="none", aws_secret_access_key="none", region_name="us-east-1"
    )
    client.create_bucket(Bucket="inputs")
    for name in ("web/0", "web/1", "books/deep/0", "books/.git/0"):
        lines = "".join(json.dumps({"id": f"{name}-{n}", "text": f"text {n} of a document"}) + "\n" for n in (0, 1))
        client.put_object(Bucket="inputs", Key=f"a/{name}.jsonl.gz", Body=gzip.compress(lines.encode(), mtime=0))
    client.put_object(Bucket="inputs", Key="a/web/_SUCCESS", Body=b"")
    yield {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    server.stop()


def run(environment, *arguments):
    command = [sys.executable, "-m", "dolma_py", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_folders_behind_a_glob_are_ingested_from_a_bucket(tmp_path, environment):
    corpus = str(tmp_path / "corpus")
    answer = run(environment, "ingest", "--corpus", corpus, "--input", "s3://inputs/a/*")
    assert answer.returncode == 0, answer.stderr[-3000:]
    inputs = [(shard.source, name) for shard in Corpus(corpus).read_listing().shards for name, _, _ in shard.inputs]
    assert inputs == [
        ("books", "books/deep/0.jsonl.gz"), ("web", "web/0.jsonl.gz"), ("web", "web/1.jsonl.gz")
    ]  # fmt: skip
    assert [line for line in answer.stderr.splitlines() if "2 left out: books/.git, web/_SUCCESS (" in line]
    (path,) = (tmp_path / "corpus" / "runs").rglob("manifest.json")
    assert json.loads(path.read_text())["facts"]["left_out"] == ["books/.git", "web/_SUCCESS"]
    again = run(environment, "ingest", "--corpus", corpus, "--input", "s3://inputs/a/.git*/*", "--dry-run")
    assert again.returncode == 2 and "expected at least one file" in again.stderr


def test_plain_files_of_a_bucket_by_glob(tmp_path, environment):
    output = tmp_path / "out"
    answer = run(environment, "dedup", "exact", "--input", "s3://inputs/a/web/*.jsonl.gz", "--output", str(output))
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "2 of 4 rows kept" in answer.stdout
    assert [gzip.decompress(path.read_bytes()).count(b"\n") for path in sorted((output / "data").iterdir())] == [2, 0]
    assert pq.read_table(output / "duplicates.parquet").num_rows == 4
    whole = run(environment, "dedup", "exact", "--input", "s3://inputs/a/*", "--output", str(tmp_path / "whole"))
    assert "2 of 6 rows kept" in whole.stdout and "2 left out: books/.git, web/_SUCCESS (" in whole.stderr
