"""Differences to put between a corpus of made_recipe, its manifests and its report.html, and the recount that must see them."""

from __future__ import annotations

import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

WITHOUT_OURS = """
import runpy, sys
sys.modules.update(dict.fromkeys(["dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge", "tests"]))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def recount(repository, corpus, page):
    """tests/recount.py in an interpreter in which our packages cannot be imported."""
    script = str(repository / "tests" / "recount.py")
    command = [sys.executable, "-I", "-c", WITHOUT_OURS, script, str(corpus), "tiny", "tiny", str(page)]
    return subprocess.run(command, cwd=corpus, capture_output=True, text=True, check=False)


def say_one_more_copy(corpus):
    path = next(corpus.glob("runs/tiny/*-exact/manifest.json"))
    path.write_text(path.read_text().replace('"duplicates": 5', '"duplicates": 6'))


def say_other_similarity(corpus):
    for path in corpus.glob("attributes/minhash-v1/stories/*.parquet"):
        rows = pq.read_table(path).to_pylist()
        changed = [row | {"similarity": 0.85 if row["is_duplicate"] else row["similarity"]} for row in rows]
        pq.write_table(pa.Table.from_pylist(changed, schema=pq.read_schema(path)), path)


def say_one_more_document(corpus):
    page = (corpus / "report.html").read_text()
    (corpus / "report.html").write_text(re.sub(r"<b>\d+</b><span>documents kept", "<b>9</b><span>documents kept", page))
